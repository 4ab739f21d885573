"""The verdict: one line that says how the run does, composed of its open problems or else the trend of its return.

No I/O and no clock. Called by the judge; the form is in docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypedDict

from hud_web.monitor.detectors import first_of
from hud_web.monitor.problems import Problems

Level = Literal["early", "good", "flat", "warning", "bad", "ended"]

#: Problems in the line, the most severe first; a reader of a phone or a tab's title sees two.
MAX_PROBLEMS = 3

#: Kinds from the most to the least severe, with the level that they give. NaN comes between a hang and a collapse.
SEVERITY: dict[str, Level] = {
    "process_died": "bad",
    "session_lapsed": "bad",
    "process_lost": "bad",
    "hung_phase": "bad",
    "stall": "bad",
    "non_finite": "bad",
    "collapse": "bad",
    "env_runner_lost": "warning",
    "symptom": "warning",
    "vision_failing": "warning",
}
_RANKS = {kind: rank for rank, kind in enumerate(SEVERITY)}


class Clause(TypedDict):
    """A part of the line, with its evidence."""

    text: str
    pattern: str | None
    fields: list[str]
    time_ms: int | None
    step: int | None
    entry_id: str | None


class Verdict(TypedDict):
    """The verdict on a run; `text` joins the clauses."""

    level: Level
    text: str
    clauses: list[Clause]
    time_ms: int


def clause(text: str, about: Mapping[str, Any] | None = None) -> Clause:
    """Return a clause with the evidence of `about`: pattern, fields, time_ms, step and entry_id."""
    known = about or {}
    return {
        "text": text, "pattern": known.get("pattern"), "fields": list(known.get("fields", ())),
        "time_ms": known.get("time_ms"), "step": known.get("step"), "entry_id": known.get("entry_id"),
    }  # fmt: skip


def compose(level: Level, clauses: Iterable[Clause], now_ms: int) -> Verdict:
    """Return a verdict of these clauses."""
    parts = list(clauses)
    return {"level": level, "text": ", ".join(part["text"] for part in parts), "clauses": parts, "time_ms": now_ms}


def rank(problems: Problems, not_finite: Mapping[str, Any]) -> tuple[Level | None, list[Clause]]:
    """Return the level and the clauses of the most severe problems; (None, []) if there are none."""
    found = sorted(_all(problems, not_finite), key=lambda one: (_RANKS[one["kind"]], one["time_ms"]))
    if not found:
        return None, []
    clauses = [clause(_lower(one["text"]) if number else one["text"], one) for number, one in enumerate(found)]
    return SEVERITY[found[0]["kind"]], clauses[:MAX_PROBLEMS]


def _all(problems: Problems, not_finite: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from problems.open.values()
    if not_finite:
        paths = sorted(not_finite, key=lambda path: not_finite[path]["time_ms"])
        first = not_finite[paths[0]]
        where = "" if first["step"] is None else f" since step {first['step']:,}"
        text = f"{first['value']}: {first_of(paths)}{where}"
        yield {"kind": "non_finite", "text": text, "pattern": "nan", "fields": paths[:8], **first, "entry_id": None}


def _lower(text: str) -> str:
    """Return the text of a later clause: its first letter in lower case, except for a name such as "KL"."""
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
