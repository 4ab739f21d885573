"""The newest points of several runs in one answer: a page that draws live runs beside each other asks every 2 s.

It reads the entries after the positions that the page names, and keeps nothing: the histories of 24 large runs would
displace each other from the memory of a replica. Called by the archive endpoints.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from hud_publisher.protocol.entries import StreamName
from hud_publisher.protocol.errors import MalformedError
from hud_publisher.protocol.keys import Sid, check_channel, check_sid
from hud_publisher.protocol.scripts import DOWNSAMPLED
from hud_publisher.protocol.stored import read_int
from hud_web.api.history import OF_MACHINE, numbers
from hud_web.api.series import Point, describe
from hud_web.store.pages import pages
from hud_web.store.slices import Slices
from hud_web.store.sse import time_ms_of
from hud_web.store.store import Store

#: Runs of one request; a page draws 24.
MAX_RUNS = 32
#: Entries that one answer reads from a stream of a run. A page that asks for more fetches the history.
MAX_ENTRIES = 1_000
#: Points of all fields and runs of one answer: about 1 MB of JSON.
MAX_ANSWER_POINTS = 30_000
#: A position has one entry id for each of these, or one time for all.
_STREAMS: tuple[StreamName, ...] = (*DOWNSAMPLED, "machine")
_POSITION = re.compile(
    rf"[0-9]{{1,16}}|[0-9]{{1,16}}-[0-9]{{1,16}}(?:~[0-9]{{1,16}}-[0-9]{{1,16}}){{{len(_STREAMS) - 1}}}"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A run, and the last entry of each stream that the page has."""

    channel: str
    sid: Sid
    after: tuple[str, ...]

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the run that `CHANNEL:SID@POSITION` names.

        Raises:
            MalformedError, ConfigError: the text has another form.
        """
        run, _, position = text.partition("@")
        channel, _, sid = run.partition(":")
        if not _POSITION.fullmatch(position):
            raise MalformedError(
                f"expected run=CHANNEL:SID@POSITION, got {text[:120]!r}: send a Unix time in milliseconds, or the "
                "position of the answer before"
            )
        after = position.split("~") if "-" in position else [f"{position}-0"] * len(_STREAMS)
        return cls(check_channel(channel), check_sid(sid), tuple(after))

    @property
    def name(self) -> str:
        """The name of the run in addresses: `CHANNEL:SID`."""
        return f"{self.channel}:{self.sid}"


async def newest_points(store: Store, asked: Sequence[Asked], fields: frozenset[str]) -> dict[str, Any]:
    """Return the points of these fields that each run has after its position; a run that is gone has none.

    Raises:
        MalformedError: more than MAX_RUNS runs.
    """
    if len(asked) > MAX_RUNS:
        raise MalformedError(f"expected at most {MAX_RUNS} runs, got {len(asked)}: ask for the others separately")
    most = MAX_ANSWER_POINTS // max(1, len(asked))
    return {run.name: await _of_run(store, run, fields, most) for run in asked}


async def _of_run(store: Store, run: Asked, fields: frozenset[str], most: int) -> dict[str, Any]:
    found: dict[str, list[Point]] = {}
    position, is_complete, slices = list(run.after), True, Slices(store.turns)
    for at, name in enumerate(_STREAMS):
        if name == "machine" and not any(path.startswith(OF_MACHINE) for path in fields):
            continue
        count = 0
        async for entries in pages(store, run.channel, run.sid, name, first=f"({run.after[at]}"):
            if count >= MAX_ENTRIES or sum(map(len, found.values())) >= most:
                is_complete = False
                break
            count += len(entries)
            for entry_id, entry in entries:
                position[at] = entry_id
                step = read_int(entry, b"step")
                place = float("nan") if step is None else float(step), float(time_ms_of(entry_id))
                for path, value in _numbers(entry.get(b"data", b"")):
                    if path in fields:
                        found.setdefault(path, []).append((*place, value))
                await slices.rest()
    for points in found.values():
        points.sort(key=lambda point: point[1])
    return {
        "position": "~".join(position),
        "complete": is_complete,
        "series": {path: describe(points) for path, points in found.items()},
    }


def _numbers(text: bytes) -> Any:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    return numbers(data) if isinstance(data, dict) else ()
