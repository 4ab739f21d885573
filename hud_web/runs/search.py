"""Which runs a request for `/api/runs` means, and in which order: filters, the regular expression, sorting.

A pattern such as `(a+)+$` may take Python's `re` years, with the interpreter held. So the filter is one of RE2, whose
time is linear in the text, and runs in a thread. No I/O. Called by the endpoint.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import re2
from starlette.requests import Request

from hud_publisher.protocol.errors import MalformedError
from hud_publisher.protocol.keys import Sid, check_channel, is_channel, is_sid
from hud_web.http.query import parameter, parameters, whole_number
from hud_web.runs.run import Key, Run

DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET = 100, 500, 100_000
#: Bytes of the filter, and characters of the texts of one run that it searches.
MAX_FILTER_BYTES, MAX_TEXT_CHARS = 400, 8_000
#: Time for the filter over all runs together, in seconds.
FILTER_S = 1.0
#: Values of a repeatable parameter.
MAX_VALUES = 500
STATUSES = ("live", "lapsed", "ended", "taken over")
SORTS = ("started", "ended", "name", "channel", "status", "duration", "step", "return")
COLUMN = re.compile(r"(?:config|result)\.[^\x00-\x1f]{1,256}")
#: Columns of one answer.
MAX_COLUMNS = 100

_OPTIONS = re2.Options()
_OPTIONS.case_sensitive = False
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 1024 * 1024  # bytes of a compiled pattern
_filters = ThreadPoolExecutor(2, "hud-filter")


@dataclass(frozen=True, slots=True)
class Query:
    """A request for runs.

    Attributes:
        limit: greatest number of runs in the answer.
        offset: runs before the first one.
        pattern: the regular expression; "" for any run.
        statuses: the wanted ones; empty for all. Likewise channels, tags and runs.
        channels: see statuses.
        tags: see statuses; a run needs all of them.
        runs: see statuses.
        sort: the value by which the runs are sorted.
        is_ascending: the least value first.
        is_pinned_first: pinned runs precede the others.
        columns: `config.PATH` and `result.PATH` for each run.
        wants_columns: the answer lists the known columns.
    """

    limit: int
    offset: int
    pattern: str
    statuses: frozenset[str]
    channels: frozenset[str]
    tags: frozenset[str]
    runs: frozenset[Key]
    sort: str
    is_ascending: bool
    is_pinned_first: bool
    columns: tuple[str, ...]
    wants_columns: bool

    @classmethod
    def of(cls, request: Request) -> Self:
        """Read the query.

        Raises:
            HudError: a parameter is malformed.
        """
        sort = parameter(request, "sort") or "started"
        if sort not in SORTS and not COLUMN.fullmatch(sort):
            raise MalformedError(
                f"expected sort to be {', '.join(SORTS)}, config.PATH or result.PATH: got {sort[:40]!r}"
            )
        pattern = parameter(request, "filter") or ""
        if len(pattern.encode("utf-8", "replace")) > MAX_FILTER_BYTES:
            raise MalformedError(f"expected a filter of at most {MAX_FILTER_BYTES} bytes: shorten it")
        compile_filter(pattern)
        columns = _values(request, "column", MAX_COLUMNS)
        for column in columns:
            if not COLUMN.fullmatch(column):
                raise MalformedError(f"expected column to be config.PATH or result.PATH, got {column[:40]!r}")
        statuses = _values(request, "status")
        for status in statuses:
            if status not in STATUSES:
                raise MalformedError(f"expected status to be one of {', '.join(STATUSES)}, got {status[:40]!r}")
        return cls(
            whole_number(request, "limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT),
            whole_number(request, "offset", 0, least=0, most=MAX_OFFSET),
            pattern, frozenset(statuses), frozenset(map(check_channel, _values(request, "channel"))),
            frozenset(_values(request, "tag")), frozenset(map(read_key, _values(request, "run"))), sort,
            _choice(request, "order", "desc", ("asc", "desc")) == "asc",
            _choice(request, "pinned_first", "1", ("0", "1")) == "1", tuple(dict.fromkeys(columns)),
            _choice(request, "columns", "0", ("0", "1")) == "1",
        )  # fmt: skip

    @property
    def needs_states(self) -> bool:
        """Whether every run's state decides about the answer, not only those of the page."""
        by_state = self.sort in ("step", "return", "duration") or "." in self.sort
        return by_state or self.wants_columns or bool(self.pattern and self.columns)

    @property
    def needs_configs(self) -> bool:
        """Whether configurations are read."""
        return self.wants_columns or any(name.startswith("config.") for name in (*self.columns, self.sort))

    def accepts(self, run: Run) -> bool:
        """Return whether a run meets every condition except the pattern."""
        session = run.session
        return (
            (not self.statuses or session.status in self.statuses)
            and (not self.channels or session.channel in self.channels)
            and (not self.runs or run.key in self.runs)
            and self.tags.issubset(run.labels.tags)
        )

    def sorted(self, runs: Sequence[Run], now_ms: int) -> list[Run]:
        """Return the runs in order; those without a value come last, and equal ones in the order of their start."""
        runs = sorted(runs, key=lambda run: run.session.started_ms or 0, reverse=True)
        values = [(_sort_value(run, self.sort, now_ms), run) for run in runs]
        known = [pair for pair in values if pair[0] is not None]
        known.sort(key=lambda pair: pair[0], reverse=not self.is_ascending)
        ordered = [run for _value, run in known] + [run for value, run in values if value is None]
        if self.is_pinned_first:
            ordered.sort(key=lambda run: not run.labels.pinned)
        return ordered


async def matching(query: Query, runs: Sequence[Run]) -> list[Run]:
    """Return the runs that the pattern of a query matches.

    Raises:
        MalformedError: it took too long.
    """
    if not query.pattern:
        return list(runs)
    return await asyncio.get_running_loop().run_in_executor(_filters, _matching, query, runs)


def _matching(query: Query, runs: Sequence[Run]) -> list[Run]:
    pattern, ends_s, found = compile_filter(query.pattern), time.monotonic() + FILTER_S, []
    for run in runs:
        if pattern.search(_text_of(run, query.columns).encode("utf-8", "replace")):
            found.append(run)
        if time.monotonic() > ends_s:
            raise MalformedError(
                f"the filter {query.pattern[:40]!r} took longer than {FILTER_S:g} s: shorten it, or choose channels too"
            )
    return found


def compile_filter(pattern: str) -> Any:
    """Return the compiled pattern.

    Raises:
        MalformedError: it is not a regular expression of RE2, or too large.
    """
    try:
        return re2.compile(b"(?m)" + pattern.encode("utf-8", "replace"), _OPTIONS)
    except re2.error as error:
        why = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        raise MalformedError(
            f"the filter is no regular expression of RE2 ({why[:80]}): write \\ before each of . * + ? ( ) [ ] {{ }} | "
            "^ $ that stands for itself"
        ) from error


def _text_of(run: Run, columns: Sequence[str]) -> str:
    session, labels = run.session, run.labels
    verdict = session.verdict.get("text", "") if session.verdict else ""
    about = (session.info.get(name, "") for name in ("env", "algorithm"))
    cells = (f"{column.partition('.')[2]}={run.cell(column)}" for column in columns if run.cell(column) is not None)
    parts = (session.channel, session.name, session.status, *about, *labels.tags, labels.note, str(verdict), *cells)
    return "\n".join(parts)[:MAX_TEXT_CHARS]


def _sort_value(run: Run, sort: str, now_ms: int) -> Any:
    session = run.session
    if "." in sort:
        value = run.cell(sort)
        # Texts follow numbers.
        return None if value is None else (isinstance(value, str), value)
    if sort == "started":
        return session.started_ms
    if sort == "ended":
        return session.ended_ms
    if sort == "duration":
        return run.duration_ms(now_ms)
    if sort == "step":
        return run.step
    if sort == "return":
        return run.returns.value
    return {"name": session.name.casefold(), "channel": session.channel, "status": session.status}[sort]


def read_key(text: str) -> Key:
    """Return (channel, SID) of `CHANNEL:SID`, or raise MalformedError."""
    channel, _, sid = text.rpartition(":")
    if not (is_channel(channel) and is_sid(sid)):
        raise MalformedError(f"expected a run as CHANNEL:SID, got {text[:80]!r}: take both from /api/runs")
    return channel, Sid(sid)


def _values(request: Request, name: str, most: int = MAX_VALUES) -> list[str]:
    values = parameters(request, name)
    if len(values) > most:
        raise MalformedError(f"expected {name} at most {most} times, got it {len(values)} times: ask in parts")
    return values


def _choice(request: Request, name: str, default: str, choices: tuple[str, ...]) -> str:
    value = parameter(request, name) or default
    if value not in choices:
        raise MalformedError(f"expected {name} to be {' or '.join(choices)}, got {value[:40]!r}")
    return value
