"""The verdict: one line that says how the run does, composed of its open problems or else the trend of its return.

The first clause names the most severe problem; without one, it names the trend of the return over the last 10 minutes
(Mann-Kendall test on block means, Sen's slope; see `trend`). No I/O and no clock. Called by the judge; the form is in
docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypedDict

from hud_web.monitor.detectors import figure, first_of, span
from hud_web.monitor.problems import MAX_FIELDS
from hud_web.monitor.symptoms.learning import WINDOW_MS, Learning
from hud_web.monitor.symptoms.patterns import RANKS
from hud_web.monitor.symptoms.trend import Block, mean_of, trend_of

Level = Literal["early", "good", "flat", "warning", "bad", "ended"]

#: Problems in the line, the most severe first; a reader of a phone or a tab's title sees two.
MAX_PROBLEMS = 3

#: Kinds from the most to the least severe, with the level that they give. NaN comes between a hang and a collapse.
SEVERITY: dict[str, Level] = {
    "process_died": "bad",
    "process_lost": "bad",
    "session_lapsed": "bad",
    "hung_phase": "bad",
    "stall": "bad",
    "non_finite": "bad",
    "collapse": "bad",
    "env_runner_lost": "warning",
    "symptom": "warning",
    "vision_failing": "warning",
}
#: Symptoms in this order: a machine that is full explains the others.
_PATTERN_RANKS = {"memory_full": -3, "disk_full": -2, "memory_growth": -1, **RANKS}
_RANKS = {kind: rank for rank, kind in enumerate(SEVERITY)}
#: Returns and time after which a return without a trend is called flat instead of "too early to tell".
FLAT_RETURNS = 200
FLAT_MS = 2 * 60_000
#: A return near its best is called steady after this time and half of the run; before it, the gain is named.
STEADY_MS = 60_000
#: Means within this share of each other are level.
LEVEL = 0.05


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


def rank(problems: Iterable[Mapping[str, Any]]) -> tuple[Level | None, list[Clause]]:
    """Return the level and the clauses of the most severe problems; (None, []) if there are none.

    Args:
        problems: in the form of `Problems.open`, and of `not_finite_problem`.
    """
    found = sorted(problems, key=_severity)
    if not found:
        return None, []
    clauses = [clause(_lower(one["text"]) if number else one["text"], one) for number, one in enumerate(found)]
    return SEVERITY[found[0]["kind"]], clauses[:MAX_PROBLEMS]


def _severity(one: Mapping[str, Any]) -> tuple[int, int, int]:
    return _RANKS[one["kind"]], _PATTERN_RANKS.get(one["pattern"], len(RANKS)), one["time_ms"]


def not_finite_problem(not_finite: Mapping[str, Any]) -> dict[str, Any]:
    """Return the problem of the fields that are NaN or infinite; the first of them is named first."""
    paths = sorted(not_finite, key=lambda path: not_finite[path]["time_ms"])
    first = not_finite[paths[0]]
    where = "" if first["step"] is None else f" since step {first['step']:,}"
    return {
        "kind": "non_finite", "text": f"{first['value']}: {first_of(paths)}{where}", "pattern": "nan",
        "fields": paths[:MAX_FIELDS], "time_ms": first["time_ms"], "step": first["step"], "entry_id": None,
    }  # fmt: skip


def in_line(part: Clause) -> Clause:
    """Return a clause as a later one of a line."""
    return {**part, "text": _lower(part["text"].removeprefix("Learning: "))}


def _lower(text: str) -> str:
    """Return the text of a later clause: its first letter in lower case, except for a name such as "KL"."""
    return text[:1].lower() + text[1:] if text[1:2].islower() and not text.startswith("NaN") else text


class Earlier(NamedTuple):
    """The previous run of the channel.

    Attributes:
        name: of the run.
        learning: its courses.
    """

    name: str
    learning: Learning


def outlook(learning: Learning, now_ms: int, earlier: Earlier | None = None) -> tuple[Level, list[Clause]]:
    """Return the level and the clauses of a run without problems, from the course of its return."""
    level, first = _trend(learning, now_ms)
    clauses = [first]
    if level != "early":
        clauses += _best(learning)
        clauses += _comparison(learning, earlier) if earlier is not None else []
    return level, clauses


def _trend(learning: Learning, now_ms: int) -> tuple[Level, Clause]:
    about = {"fields": [learning.path] if learning.path else []} | {
        name: learning.newest.get(name) for name in ("time_ms", "step", "entry_id")
    }
    if not learning.count:
        return _told("early", "Too early to tell: no return yet")
    progress = learning.progress()
    if progress is None:
        return _told("early", f"Too early to tell: {_episodes(learning)}", about)
    window = learning.window()
    trend = trend_of(window)
    if trend.rises and trend.change > 0:
        return _told("good", f"Learning: return {_signed(trend.change)} in {_span_of(window, now_ms)}", about)
    blocks = learning.whole.since(0)
    if progress.is_near_best:
        flat_ms = now_ms - blocks[_first_near(blocks, progress.first, progress.best)].time_ms
        if flat_ms < max(STEADY_MS, (now_ms - learning.first_ms) / 2):
            gain = progress.now - progress.first
            return _told("good", f"Learning: return {_signed(gain)} in {_span_of(blocks, now_ms)}", about)
        return _told("good", f"Steady: return {figure(_short(progress.now))} for {span(flat_ms)}", about)
    if progress.has_gained and trend.falls:
        return _told("warning", f"Falling: return {_signed(trend.change)} in {_span_of(window, now_ms)}", about)
    lasts_ms = now_ms - learning.first_ms
    if (whole := trend_of(blocks)).rises:
        return _told("good", f"Learning: return {_signed(whole.change)} in {_span_of(blocks, now_ms)}", about)
    if lasts_ms >= WINDOW_MS or (lasts_ms >= FLAT_MS and learning.count >= learning.values_of(FLAT_RETURNS)):
        return _told("flat", f"Flat for {span(lasts_ms)}: return {figure(_short(progress.now))}", about)
    return _told("early", f"Too early to tell: {_episodes(learning)} without a trend", about)


def _told(level: Level, text: str, about: Mapping[str, Any] | None = None) -> tuple[Level, Clause]:
    return level, clause(text, about)


def _first_near(blocks: list[Block], first: float, best: float) -> int:
    """Return the number of the first block that is near the best."""
    return next((at for at, block in enumerate(blocks) if block.mean > first + 0.8 * (best - first)), 0)


def _best(learning: Learning) -> list[Clause]:
    best = learning.best
    where = "" if best["step"] is None else f" at step {steps(best['step'])}"
    return [clause(f"best {figure(_short(best['value']))}{where}", best)]


def _comparison(learning: Learning, earlier: Earlier) -> list[Clause]:
    """Compare with the previous run at equal steps, if it logged the same return and came that far."""
    blocks = learning.whole.since(0)
    if earlier.learning.path != learning.path or not blocks or blocks[-1].step < 0:
        return []
    recent = blocks[-3:]
    now = mean_of(recent)
    before = earlier.learning.whole.at_step(recent[len(recent) // 2].step)
    if before is None or now is None:
        return []
    gap, name = now - before, earlier.name[:60]
    about = {"fields": [learning.path], "time_ms": recent[-1].time_ms, "step": recent[-1].step}
    if abs(gap) <= LEVEL * max(abs(before), abs(now)):
        return [clause(f"level with {name} at equal steps", about)]
    word = "above" if gap > 0 else "below"
    size = f"{abs(gap) / before:.0%}".replace("%", " %") if before > 0 and now > 0 else figure(_short(abs(gap)))
    return [clause(f"{size} {word} {name} at equal steps", about)]


def _episodes(learning: Learning) -> str:
    if learning.episodes >= 0 or not learning.is_mean:
        number = int(max(learning.episodes, 0 if learning.is_mean else learning.count))
        return f"{number:,} episode{'' if number == 1 else 's'}"
    return f"{learning.count} mean return{'' if learning.count == 1 else 's'}"


def _span_of(blocks: list[Block], now_ms: int) -> str:
    return span(max(1000, now_ms - blocks[0].time_ms))


def _short(value: float) -> float:
    """Return a number with three significant digits, integers up to six digits."""
    return float(round(value)) if 1000 <= abs(value) < 1e6 else float(f"{value:.3g}")


def _signed(value: float) -> str:
    return ("+" if value > 0 else "−") + figure(_short(abs(value)))


def steps(value: int) -> str:
    """Return a number of steps as text: "950", "140k", "1.2M"."""
    for limit, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (10_000, "k")):
        if value >= limit:
            number = value / (1000 if unit == "k" else limit)
            return f"{number:.3g}{unit}" if number < 1000 else f"{number:.0f}{unit}"
    return f"{value:,}"


def collapse_text(learning: Learning) -> str | None:
    """Return the text of a collapse with the current numbers; None before they are known."""
    progress = learning.progress()
    if progress is None:
        return None
    blocks = learning.whole.since(0)
    top = max(range(len(blocks)), key=lambda at: blocks[at].mean)
    lasted = span(max(1000, blocks[-1].time_ms - blocks[top].time_ms))
    return f"Collapsing: {figure(_short(progress.best))} to {figure(_short(progress.now))} in {lasted}"
