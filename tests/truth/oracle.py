"""The oracle: the content of each text of the page at a time, computed from the sent entries.

It knows nothing of the page's or the server's code. Numbers are not formatted and compared as texts: the number that a
text says must be a value that the run had sent, to half a unit of the text's last digit and to half a percent. A live
page may be `LAG_MS` behind; one that shows an earlier moment may be off by the millisecond to which its link rounds.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from PIL import Image

from tests.truth.expected import EMPTY, LINES, TILES, Named
from tests.truth.past import SYMBOLS, Course, Past, Point, Shot, leaves
from tests.truth.reading import Axis, Reading, half_unit, mark

#: How far a live page may be behind Redis: transport, and five paintings a second.
LAG_MS = 1_500.0
#: The age of a value shows after this multiple of its longest interval, and no earlier than after OLD_MS.
OLD_INTERVALS, OLD_MS = 3, 5_000.0
#: The longest span of the changes that tiles show.
SPAN_S = 60
#: Steps per second are computed over this time.
RATE_MS = 20_000.0

Complaints = Iterator[str]


@dataclass(frozen=True)
class Shown:
    """The time that a page shows: the texts must be true at some time from `from_ms` to `to_ms`.

    Attributes:
        now_ms: the time of reading.
        is_past: the page is paused at an earlier moment.
    """

    from_ms: float
    to_ms: float
    now_ms: float
    is_past: bool


def shown_by(reading: Reading, past: Past) -> Shown:
    """The time that a page shows: the moment that it was set to, the run's end, or now."""
    now_ms, ended_ms = reading.now_ms, past.run.ended_ms
    if reading.moment_ms is not None:
        # The link rounds the page's moment to a millisecond.
        return Shown(reading.moment_ms - 1, reading.moment_ms + 1, now_ms, True)
    if ended_ms is not None and ended_ms < now_ms - LAG_MS:
        newest = float(past.newest_ms(now_ms) or ended_ms)
        return Shown(newest, newest, now_ms, False)
    return Shown(now_ms - LAG_MS, now_ms, now_ms, False)


def complaints(reading: Reading, past: Past) -> list[str]:
    """Every text of the page that is not true; of the table, the rows in view."""
    shown = shown_by(reading, past)
    found = []
    for part in (header, tiles, legends, extremes, caption, scrubber, events, vision):
        try:
            found += [f"{part.__name__}: {text}" for text in part(reading, past, shown)]
        except (ValueError, KeyError, IndexError) as error:  # of a page that is drawn in part, or of another form
            found.append(f"{part.__name__} cannot be read: {error!r}")
    rows = [(path, text, at) for path, text, _old, at in reading["rows"]]
    return found + [f"row {text}" for text in rows_of(rows, reading, past, shown, is_whole=False)]


def table_complaints(table: Sequence[tuple[str, str, float]], reading: Reading, past: Past) -> list[str]:
    """Every row of the whole metrics table that is not true, and the missing ones."""
    shown = shown_by(reading, past)
    return [f"row {text}" for text in rows_of(table, reading, past, shown, is_whole=True)]


# -- numbers and times ------------------------------------------------------------------------------------------------


def says(text: str, value: float) -> bool:
    """Whether a text is this number, rounded."""
    told = mark(text)
    if told is None:
        return False
    off = abs(told - value)  # the history of a run has six digits, so a text may be rounded twice
    return off <= half_unit(text) * 1.05 and off <= abs(value) * 0.005 + 1e-300


def says_any(text: str, points: Sequence[Point]) -> bool:
    """Whether a text is the value of one of these points; "—" of none."""
    if not points:
        return text == "—"
    return any(tells(text, one.value) for one in points)


def tells(text: str, value: Any) -> bool:
    """Whether a text is this value."""
    if isinstance(value, bool):
        return text == ("yes" if value else "no")
    if isinstance(value, (int, float)):
        return says(text, value)
    if isinstance(value, list):
        inner = text.removeprefix("[").removesuffix("]").removesuffix("…")
        told = [one for one in inner.split(", ") if one]
        pairs = zip(told[: -1 if text.endswith("…") else None], value, strict=False)
        return text.startswith("[") and all(tells(one, item) for one, item in pairs)
    whole = str(value)
    return text in (whole, whole[: len(text) - 1] + "…")


def clock(ms: float) -> str:
    """The time of day in UTC, where the browser is."""
    return time.strftime("%H:%M:%S", time.gmtime(ms / 1000))


def since(point: Point) -> str:
    """The text of a field that is not finite."""
    return f"{point.symbol} since {clock(point.at_ms)}"


_UNITS = {"ms": 1.0, "s": 1e3, "min": 60e3, "h": 3600e3, "d": 86400e3}


def lasting(text: str) -> float | None:
    """A length of time such as "3 min 05 s", in milliseconds."""
    parts = re.findall(r"(\d+(?:\.\d+)?) (ms|s|min|h|d)\b", text)
    return sum(float(size) * _UNITS[unit] for size, unit in parts) if parts else None


def is_near(value: float | None, wanted: float, off: float) -> bool:
    return value is not None and abs(value - wanted) <= off


# -- the bar ----------------------------------------------------------------------------------------------------------


def header(reading: Reading, past: Past, shown: Shown) -> Complaints:
    """State, title, lights and chips."""
    run = past.run
    word, detail = reading["state"]
    wanted = sorted(set(states(past, shown)))
    if not any(re.fullmatch(pattern, word) for pattern in wanted):
        yield f"the state is {word} {detail}, expected {wanted}"
    if word == "PAUSED":
        behind = [_ends(past, shown.now_ms) - shown.from_ms]
        if not any(is_near(minutes(detail.removeprefix("−")), one, 1_500) for one in behind):
            yield f"paused {detail}, expected {behind[0] / 1000:.1f} s"
    elif word == "ENDED" and run.ended_ms is not None:
        if not is_near(lasting(detail), shown.now_ms - run.ended_ms, 2_500):
            yield f"ended {detail}, expected {(shown.now_ms - run.ended_ms) / 1000:.1f} s ago"
    elif word == "LIVE" and detail and not 0 <= (lasting(detail) or -1) <= 5_000:
        yield f"the delay is {detail}"
    elif word == "LEARNING" and detail:
        yield from _phase_lasts(detail, past, shown)
    told = f"{word} {detail.partition(' without')[0]}" if word == "STALLED" else word
    name, _, rest = reading["title"].partition(" · ")
    if rest != f"{run.name} · HUD" or not (name == told or (name and reading["verdict"].startswith(name))):
        yield f"the title is {reading['title']!r} beside {told!r} and {reading['verdict']!r}"
    if reading["name"] != run.name:
        yield f"the name is {reading['name']!r}"
    if reading["lights"][0] != "Server connected":
        yield f"lights {reading['lights']}"
    yield from _chips(reading, past, shown)


def states(past: Past, shown: Shown) -> Iterator[str]:
    """The words that may show the run's state."""
    ended = past.run.ended_ms
    if shown.is_past:
        yield "PAUSED"
        return
    if ended is not None and ended <= shown.now_ms:
        yield "ENDED"
        if ended < shown.now_ms - LAG_MS:
            return
    newest = past.newest_ms(shown.to_ms)
    quiet = shown.now_ms - newest if newest else 0.0
    phase = past.course("phase").at(shown.to_ms)
    is_silent_phase = phase is not None and phase.value not in ("sampling", "")
    if is_silent_phase and quiet > 1_000 - LAG_MS / 2:
        yield "LEARNING|[A-Z]+"
    if not (is_silent_phase and quiet > 1_000 + LAG_MS) and quiet <= 10_000 + LAG_MS:
        yield "LIVE"
    if quiet > 10_000 and not is_silent_phase:
        yield "STALLED"
        yield "LIVE"


def _phase_lasts(detail: str, past: Past, shown: Shown) -> Complaints:
    course = past.course("phase").until(shown.to_ms)
    begun = [
        one.at_ms
        for one, before in zip(course, [None, *course], strict=False)
        if not before or one.value != before.value
    ]
    told = lasting(detail.partition("(")[0])
    if not any(is_near(told, shown.now_ms - one, LAG_MS + 1_000) for one in begun[-2:]):
        yield f"the phase lasts {detail}, expected {(shown.now_ms - begun[-1]) / 1000:.1f} s"


def _ends(past: Past, now_ms: float) -> float:
    """The newest moment of the run."""
    if past.run.ended_ms is None or past.run.ended_ms > now_ms:
        return now_ms
    return float(past.newest_ms(now_ms, "metrics", "iterations", "frames") or past.run.ended_ms)


def minutes(text: str) -> float | None:
    """A text such as "04:07", in milliseconds."""
    if not re.fullmatch(r"(\d+:)?\d\d:\d\d", text):
        return None
    seconds = 0
    for part in text.split(":"):
        seconds = 60 * seconds + int(part)
    return seconds * 1000.0


def _chips(reading: Reading, past: Past, shown: Shown) -> Complaints:
    run = past.run
    chip = re.fullmatch(r"session …(\d+)· (for|ran) (.+?)(· TTL (\d+) s)?", reading["chip"])
    is_over = run.ended_ms is not None and run.ended_ms < shown.now_ms - LAG_MS
    if not reading["chip"]:
        return  # a banner takes the place of the chips
    if not chip or not run.sid.endswith(chip[1]):
        yield f"the session is {reading['chip']!r}"
    else:
        until = min(shown.now_ms, run.ended_ms or shown.now_ms)
        if not is_near(lasting(chip[3]), until - run.started_ms, 2_500):
            yield f"the run lasts {chip[3]}, expected {(until - run.started_ms) / 1000:.1f} s"
        if is_over and chip[2] != "ran":
            yield f"the ended run goes on: {reading['chip']!r}"
    flow = dict(re.findall(r"(fps|writers|viewers) ([\d.]+)", reading["flow"]))
    writers = {one.writer for one in past.sent if one.entry.stream in ("metrics", "iterations")}
    if int(flow.get("writers", 0)) > len(writers):
        yield f"{flow['writers']} writers, expected {len(writers)}"
    seconds = 3.0
    frames = [one for one in past.shots if shown.now_ms - 1000 * seconds - LAG_MS <= one.at_ms]
    if float(flow.get("fps", 0)) > len(frames) / seconds + 1.2:
        yield f"{flow['fps']} frames per second, expected {len(frames) / seconds:.1f}"


# -- the tiles --------------------------------------------------------------------------------------------------------


def tiles(reading: Reading, past: Past, shown: Shown) -> Complaints:
    """Label, value, change, span and age of each tile."""
    spans = set()
    for place, candidates in enumerate(TILES[past.run.recording.name]):
        tile = reading.tile(place)
        fields = dict(candidates)
        labels = {_label_at(past, candidates, place, at) for at in (shown.now_ms - LAG_MS, shown.now_ms)}
        if tile["label"] not in labels:
            yield f"{tile['label']!r} is shown, expected {sorted(labels)}"
            continue
        field = fields.get(tile["label"], "")
        if span := re.search(r" in (\d+) s$", tile["change"]):
            spans.add(int(span[1]))
        if isinstance(field, str) and field:
            yield from (f"{tile['label']} {text}" for text in _tile(tile, field, past, shown))
        elif field:
            yield from _tile_of_policies(tile, field, past, shown)
        elif EMPTY[place] == "Env steps":
            values = past.steps.between(shown.from_ms - 1, shown.to_ms)
            if not says_any(tile["value"], values):
                yield f"Env steps {tile['value']}, expected {_texts(values)}"
            at = Shown(shown.from_ms - 1, shown.to_ms, shown.now_ms, shown.is_past)
            yield from (f"Env steps {text}" for text in _change(tile, past.steps, at))
        elif EMPTY[place] == "Steps / s":
            yield from _rate(tile["value"], past, shown)
        elif tile["value"] != "—":
            yield f"{tile['label']} {tile['value']}, expected nothing"
    if len(spans) > 1:
        yield f"the changes cover {sorted(spans)} s"
    known = (shown.to_ms - past.run.started_ms) / 1000
    if any(span > min(SPAN_S, known + 1) for span in spans):
        yield f"the changes cover {spans} s of {known:.0f} s"


def _label_at(past: Past, candidates: Sequence[Named], place: int, at_ms: float) -> str:
    """The label of the first candidate that was sent by then."""
    for label, field in candidates:
        paths = [field] if isinstance(field, str) else list(field.values())
        if any(past.is_known(path, at_ms) for path in paths):
            return label
    return EMPTY[place]


def _tile_of_policies(tile: dict[str, Any], fields: Mapping[str, str], past: Past, shown: Shown) -> Complaints:
    """A tile with a value for each policy."""
    told = dict(line.rsplit(maxsplit=1) for line in tile["value"].splitlines())
    if set(told) != set(fields):
        yield f"{tile['label']}: {sorted(told)}, expected {sorted(fields)}"
        return
    for policy, path in fields.items():
        values = past.course(path).between(shown.from_ms, shown.to_ms)
        if not says_any(told[policy], values):
            yield f"{tile['label']} of {policy} is {told[policy]}, expected {_texts(values)}"


def _tile(tile: dict[str, Any], path: str, past: Past, shown: Shown) -> Complaints:
    course = past.course(path)
    values = course.between(shown.from_ms, shown.to_ms)
    broken = [one for at in (shown.from_ms, shown.to_ms) if (one := course.broken_since(at))]
    if tile["value"] in SYMBOLS.values():
        broken = [one for one in broken if one.symbol == tile["value"]]
        told = {f"since {clock(one.at_ms)}" + ("" if one.step is None else f", step {one.step:,}") for one in broken}
        if tile["change"] not in told:
            yield f"{tile['value']} {tile['change']}, expected {told}"
        return
    if broken and course.broken_since(shown.from_ms) and course.broken_since(shown.to_ms):
        yield f"is {tile['value']}, expected {since(broken[0])}"
        return
    if not says_any(tile["value"], values):
        yield f"is {tile['value']}, expected {_texts(values)}"
        return
    exact = tile["title"].removeprefix(f"{path}: ")
    if tile["value"] != "—" and float(exact) not in {float(one.value) for one in values}:
        yield f"says {tile['title']!r} on hover"
    if tile["value"] != "—":
        yield from _change(tile, course, shown)


def _texts(points: Sequence[Point]) -> list[Any]:
    return [one.value for one in points][:6]


def _age(course: Course, at_ms: float) -> tuple[float, float, bool]:
    """How old the newest value is, its longest interval, and whether it came more than once."""
    points = course.until(at_ms)
    gaps = [after.at_ms - before.at_ms for before, after in pairwise(points)]
    return at_ms - points[-1].at_ms, max(gaps, default=0.0), bool(gaps)


def _change(tile: dict[str, Any], course: Course, shown: Shown) -> Complaints:
    text = tile["change"]
    if text.endswith(" old"):
        ages = [_age(course, at)[0] for at in (shown.from_ms, shown.to_ms) if course.until(at)]
        if not any(is_near(lasting(text), age, 1_600) for age in ages) or max(ages) < OLD_MS - 1_000:
            yield f"is {text}, expected {[round(age / 1000, 1) for age in ages]} s"
        return
    match = re.fullmatch(r"(\S+) in (\d+) s", text)
    if not match:
        if text:
            yield f"says {text!r}"
        return
    span_ms = int(match[2]) * 1000
    # The page's history has the writer's time, which is a little earlier.
    before = course.between(shown.from_ms - span_ms - 1_200, shown.to_ms - span_ms + 1_200)
    after = course.between(shown.from_ms, shown.to_ms)
    changes = [one.value - other.value for one in after for other in before]
    blur = max((abs(one.value) for one in before), default=0.0) * 1e-5  # the history of a run has six digits
    told = 0.0 if match[1] == "±0" else mark(match[1])
    unit = half_unit(tile["value"]) if match[1] == "±0" else half_unit(match[1])
    if told is None or not any(abs(told - change) <= unit * 1.05 + blur for change in changes):
        yield f"changed {text}, expected {[round(one, 4) for one in changes[:6]]}"


def _rate(text: str, past: Past, shown: Shown) -> Complaints:
    rates = []
    for at in (shown.from_ms, shown.to_ms):
        points = past.steps.until(at)
        if len(points) < 2:
            continue
        window = past.steps.between(points[-1].at_ms - RATE_MS, points[-1].at_ms)
        again = [
            i
            for i in range(1, len(window))
            if window[i - 1].value - window[i].value > max(10, window[i - 1].value / 100)
        ]
        window = window[again[-1] if again else 0 :]
        passed = window[-1].at_ms - window[0].at_ms
        if passed < 1_200:
            rates.append(0.0)  # too short to tell
        else:
            rates.append((max(one.value for one in window) - window[0].value) * 1000 / passed)
    told = mark(text)
    if not rates and told is None:
        return
    if told is None:
        if min(rates) and shown.to_ms - past.run.started_ms > 5_000:
            yield f"Steps / s {text}, expected {rates}"
    elif not any(abs(told - rate) <= 0.15 * rate + 1 for rate in rates):
        yield f"Steps / s {text}, expected {rates}"


# -- the table --------------------------------------------------------------------------------------------------------


def rows_of(
    rows: Sequence[tuple[str, str, float]], reading: Reading, past: Past, shown: Shown, *, is_whole: bool
) -> Complaints:
    """Each row of the metrics table, and their number."""
    for path, text, at_ms in rows:
        course = past.courses.get(path)
        if course is None:
            yield f"{path} was never sent"
            continue
        is_fixed = shown.is_past or shown.from_ms == shown.to_ms
        from_ms, to_ms = (shown.from_ms, shown.to_ms) if is_fixed else (at_ms - LAG_MS, at_ms)
        broken = course.broken_since(to_ms) or course.broken_since(from_ms)
        if " since " in text and broken:
            if text != since(broken):
                yield f"{path} is {text}, expected {since(broken)}"
        elif broken and course.broken_since(from_ms):
            yield f"{path} is {text}, expected {since(broken)}"
        elif not says_any(text, course.between(from_ms, to_ms)):
            yield f"{path} is {text}, expected {_texts(course.between(from_ms, to_ms))}"
    known = {path for path, course in past.courses.items() if course.until(shown.now_ms - LAG_MS)}
    if reading["rowCount"] not in {str(len(known)), str(len(past.courses)), ""}:
        yield f"count {reading['rowCount']}, expected {len(known)}"
    if is_whole and len(known) < 250:
        missing = sorted(known - {path for path, _text, _at in rows})
        if missing:
            yield f"missing: {missing[:8]}"


# -- the charts -------------------------------------------------------------------------------------------------------


def legends(reading: Reading, past: Past, shown: Shown) -> Complaints:
    """The lines of each key chart, and the newest value of each line."""
    key = LINES[past.run.recording.name]
    for chart in reading["charts"]:
        named = key.get(chart["title"])
        for path, text in chart["legend"]:
            label, value = _split(text)
            if named is not None and not any(path == other and _is_short(label, one) for one, other in named):
                yield f"{chart['title']}: {text!r} of {path}, expected one of {named}"
            elif named is None and path != chart["title"]:
                yield f"{chart['title']} shows {path}"
            if _is_rate(chart["title"], path):
                yield from _rate_of_line(value, path, past, shown)
            else:
                yield from (f"{chart['title']}: {one}" for one in _legend(value, path, past, shown))


def _is_rate(title: str, path: str) -> bool:
    """Whether a line is the rate of the steps at which a field came, and not its value."""
    return title == "Steps / s" and path in ("iteration", "global_step")


def _is_short(text: str, label: str) -> bool:
    """Whether a text is this label, or its beginning."""
    return text == label or (text.endswith("…") and len(text) > 16 and label.startswith(text[:-1]))


def _split(text: str) -> tuple[str, str]:
    """Label and value of a line of a legend."""
    if match := re.fullmatch(r"(.*?)((?:NaN|∞|−∞) since \S+)", text):
        return match[1].strip(), match[2]
    label, _, value = text.rpartition(" ")
    return (label, value) if value == "" or mark(value) is not None else (text.strip(), "")


def _legend(value: str, path: str, past: Past, shown: Shown) -> Complaints:
    course = past.course(path)
    broken = course.broken_since(shown.to_ms) or course.broken_since(shown.from_ms)
    if " since " in value:
        if not broken or value != since(broken):
            yield f"{path} {value}, expected {since(broken) if broken else 'a number'}"
        return
    if broken and course.broken_since(shown.from_ms):
        yield f"{path} {value}, expected {since(broken)}"
        return
    values = course.between(shown.from_ms, shown.to_ms)
    if value == "" and values:
        yield f"{path} is not told, expected {_texts(values)}"
    elif value and not says_any(value, values):
        yield f"{path} {value}, expected {_texts(values)}"


def _rate_of_line(value: str, path: str, past: Past, shown: Shown) -> Complaints:
    points = past.course(path).between(shown.from_ms - 60_000, shown.to_ms)
    rates = [
        (after.step - before.step) * 1000 / (after.at_ms - before.at_ms)
        for i, before in enumerate(points)
        for after in points[i + 1 :]
        if after.step is not None and before.step is not None and after.at_ms - before.at_ms >= 1_000
    ][-8:]
    told = mark(value) if value else None
    if told is not None and not any(abs(told - rate) <= 0.1 * abs(rate) + 0.5 for rate in rates):
        yield f"steps/s {value}, expected one of {[round(rate, 1) for rate in rates]}"


def extremes(reading: Reading, past: Past, shown: Shown) -> Complaints:
    """The y axes of each chart reach from the lowest value that was sent to the highest, and little further."""
    key = LINES[past.run.recording.name]
    for chart in reading["charts"]:
        if any(_is_rate(chart["title"], path) for path, _text in chart["legend"]):
            continue
        axes = reading.axes(chart["title"])
        sides: dict[str, list[str]] = {}
        for path, text in chart["legend"]:
            is_right = len(axes) > 1 and _split(text)[0].startswith(("Value loss", "KL")) and chart["title"] in key
            sides.setdefault("right" if is_right else "left", []).append(path)
        for side, paths in sides.items():
            if side in axes and not any(
                _fits(axes[side], paths, past, at) for at in (shown.now_ms - LAG_MS, shown.now_ms)
            ):
                found = _range(paths, past, shown.now_ms)
                yield f"{chart['title']}: the {side} axis is {axes[side]}, the values {found}"


def _range(paths: Sequence[str], past: Past, at_ms: float) -> tuple[float, float] | None:
    values = [one.value for path in paths for one in past.course(path).until(at_ms) if one.is_finite]
    return (min(values), max(values)) if values else None


def _fits(axis: Axis, paths: Sequence[str], past: Past, at_ms: float) -> bool:
    found = _range(paths, past, at_ms)
    if found is None:
        return True
    low, high = found
    largest = max(abs(low), abs(high))
    size = high - low if high - low > 1e-9 * largest else largest or 1.0
    blur = 0.03 * size  # marks are on whole pixels
    return low - 0.12 * size <= axis.low <= low + blur and high - blur <= axis.high <= high + 0.12 * size


# -- the stage --------------------------------------------------------------------------------------------------------

_RETURNS = ("episode_reward", "episode_return")
_ACTIONS = ("action_name", "action")


def caption(reading: Reading, past: Past, shown: Shown) -> Complaints:
    """Episode, step, return, env, action and phase beside the frame, and which frame is shown."""
    facts = list(reading["facts"].values())
    episode, step, earned = (facts[i].removeprefix(name) for i, name in enumerate(("EP", "STEP", "RETURN")))
    phases = past.course("phase").between(shown.from_ms, shown.to_ms)
    if facts[-1] not in {str(one.value) for one in phases} | ({""} if not phases else set()):
        yield f"the phase is {facts[-1]!r}, expected {_texts(phases)}"
    index = next((i for i, shot in enumerate(past.shots) if shot.id == reading["frame"]), None)
    if index is None:
        if reading["frame"]:
            yield f"the frame {reading['frame']} was never sent"
        elif past.shots and past.shots[0].at_ms < shown.from_ms:
            yield "no frame is shown"
        return
    shot = past.shots[index]
    entry = shot.entry
    following = past.shots[index + 1] if index + 1 < len(past.shots) else None
    is_early = following is not None and following.at_ms <= shown.from_ms
    is_late = shot.at_ms > shown.to_ms + 200 and index > 0
    if is_early or is_late:
        yield f"the frame is of {clock(shot.at_ms)}, {(shown.to_ms - shot.at_ms) / 1000:.2f} s from the time shown"
    if entry.episode is not None and not says(episode, entry.episode):
        yield f"the episode is {episode}, expected {entry.episode}"
    if entry.step is not None and not says(step, entry.step):
        yield f"the step is {step}, expected {entry.step}"
    if facts[3] != ("" if entry.env is None else f"w{entry.env[0]}/e{entry.env[1]}"):
        yield f"the env is {facts[3]!r}, expected {entry.env}"
    returns = returns_of(past, shot)
    if earned == "—":
        if returns and returns[0] is not None and returns[1] is not None:
            yield f"no return, expected {returns}"
    elif not any(value is not None and says(earned, value) for value in returns):
        yield f"the return is {earned}, expected {returns} (episode {entry.episode} of {entry.env}, step {entry.step})"
    size = Image.open(io.BytesIO(entry.image)).size
    kind = entry.mime.removeprefix("image/")
    if not reading["meta"].startswith(f"{size[0]}×{size[1]} {kind} "):
        yield f"the picture is {reading['meta']}, expected {size} {kind}"
    if f"{episode}, step {step}" not in (reading["aria"] or ""):
        yield f"the picture's name is {reading['aria']!r}"
    actions = next((past.courses[path] for path in _ACTIONS if path in past.courses), Course())
    near = actions.between(shot.at_ms - 200, shot.at_ms + 200)
    if reading["action"] and not any(tells(reading["action"], one.value) for one in near):
        yield f"the action is {reading['action']!r}, expected {_texts(near)}"


def returns_of(past: Past, shot: Shot) -> list[float | None]:
    """The return of the frame's env and episode, as told last before the frame and first after it; None: not told."""
    before: float | None = None
    after: float | None = None
    taken_ms = shot.entry.time_ms
    for sent in past.metrics:
        data: Any = sent.entry.data  # type: ignore[union-attr]
        value = next((data[name] for name in _RETURNS if isinstance(data.get(name), (int, float))), None)
        if value is None or data.get("episode", shot.entry.episode) != shot.entry.episode:
            continue
        env = (data.get("worker_index"), data.get("env_index"))
        if None not in env and shot.entry.env is not None and env != shot.entry.env:
            continue
        if not taken_ms - 60_000 < sent.entry.time_ms < taken_ms + 5_000:
            continue
        if sent.entry.time_ms <= taken_ms:
            before = value
        elif after is None:
            after = value
    return [before, after]


def scrubber(reading: Reading, past: Past, shown: Shown) -> Complaints:
    """The moment and the episode beside the time line."""
    where = reading["where"]
    match = re.fullmatch(r"(now|the end|−[\d:]+) of ([\d:]+) kept(?: · ep ([\d,]+))?", where)
    if not match:
        if where != "nothing kept" or past.sent:
            yield f"says {where!r}"
        return
    end = _ends(past, shown.now_ms)
    if shown.is_past and not is_near(minutes(match[1].removeprefix("−")), end - shown.from_ms, 1_600):
        yield f"says {match[1]}, expected {(end - shown.from_ms) / 1000:.1f} s"
    first = past.shots[0].at_ms if past.shots else past.run.started_ms
    if not is_near(minutes(match[2]), end - first, 2_600):
        yield f"{match[2]} is kept, expected {(end - first) / 1000:.1f} s"
    if match[3]:
        near = [shot.entry.episode for shot in past.shots if shown.from_ms - 200 <= shot.at_ms <= shown.to_ms + 200]
        last = [shot.entry.episode for shot in past.shots if shot.at_ms <= shown.from_ms][-1:]
        if int(match[3].replace(",", "")) not in near + last:
            yield f"the episode is {match[3]}, expected {near + last}"


# -- the events -------------------------------------------------------------------------------------------------------

#: A clock causes these events, not an entry; they are checked for truth, not for presence.
_BY_CLOCK = {"stall", "resumed", "hung_phase", "phase_ended", "collapse", "recovered", "reporter_changed"}


@dataclass(frozen=True)
class Happened:
    """An event that the page must list."""

    at_ms: int
    kind: str
    text: str
    step: int | None
    iteration: int | None

    @property
    def title(self) -> str:
        parts = [clock(self.at_ms)]
        parts += [] if self.step is None else [f"step {self.step:,}"]
        parts += [] if self.iteration is None else [f"iteration {self.iteration:,}"]
        return f"{self.text} ({', '.join(parts)})"


def events(reading: Reading, past: Past, shown: Shown) -> Complaints:
    """The list of events: kind, text, time, step and iteration of each, newest first."""
    told = reading["events"]
    due = [one.title for one in happened(past) if one.at_ms < shown.now_ms - LAG_MS - 2_500]
    known = [one.title for one in happened(past)]
    listed = [one["title"] for one in reversed(told) if one["kind"] not in _BY_CLOCK]
    if missing := [title for title in due if title not in listed]:
        yield f"missing {missing[:4]}"
    if unknown := [title for title in listed if title not in known]:
        yield f"never happened: {unknown[:4]}"
    if len(listed) != len(set(listed)):
        yield f"told twice: {[title for title in set(listed) if listed.count(title) > 1]}"
    order = [known.index(title) for title in listed if title in known]
    if order != sorted(order):
        yield f"out of order: {listed}"
    if reading["eventCount"] not in (str(len(told)), ""):
        yield f"count {reading['eventCount']}, listed {len(told)}"
    for one in told:
        if one["kind"] in ("stall", "hung_phase"):
            yield from _silence(one, past)


def _silence(told: dict[str, Any], past: Past) -> Complaints:
    """A silence must be as long as it is said to be."""
    at_ms = int(told["id"].partition("-")[0])
    length = lasting(told["text"].partition("(")[0])
    quiet = at_ms - (past.newest_ms(at_ms - 3_000) or 0)
    if told["kind"] == "stall" and (length is None or length > quiet + 3_000):
        yield f"{told['text']!r} at {told['time']}, the silence is {quiet / 1000:.1f} s"


def _first(paths: list[str]) -> str:
    return ", ".join(paths[:3]) + (f" … and {len(paths) - 3} more" if len(paths) > 3 else "")


def happened(past: Past) -> list[Happened]:
    """The events that entries show, in order."""
    run = past.run
    found = [Happened(run.started_ms, "session_started", "The session started", None, None)]
    best: float | None = None
    broken: dict[str, tuple[int, str]] = {}
    flags: dict[str, bool] = {}
    steps: dict[tuple[str, str], int] = {}
    step: int | None = None
    iteration: int | None = None

    def tell(at_ms: int, kind: str, text: str) -> None:
        found.append(Happened(at_ms, kind, text, step, iteration))

    for sent in past.metrics:
        entry: Any = sent.entry
        values = dict(leaves(entry.data))
        step = entry.step if entry.step is not None else step
        iteration = next(
            (int(values[name]) for name in ("iteration", "training_iteration") if name in values), iteration
        )
        turned: dict[str, list[str]] = {}
        for path, name in entry.not_finite.items():
            if broken.get(path, (0, ""))[1] != name:
                broken[path] = (broken.get(path, (sent.at_ms, ""))[0], name)
                turned.setdefault(name, []).append(path)
        for name, paths in turned.items():
            text = f"{paths[0]} is {name}" if len(paths) == 1 else f"{name} in {len(paths)} fields: {_first(paths)}"
            tell(sent.at_ms, "non_finite", text)
        mended: dict[str, list[str]] = {}
        for path in [path for path in broken if isinstance(values.get(path), (int, float))]:
            lasted = (sent.at_ms - broken.pop(path)[0]) / 1000
            mended.setdefault(f"{lasted:.1f} s" if lasted < 10 else f"{lasted:.0f} s", []).append(path)
        for length, paths in mended.items():
            text = f"{paths[0]} is a number again after {length}"
            if len(paths) > 1:
                text = f"{len(paths)} fields are numbers again after {length}: {_first(paths)}"
            tell(sent.at_ms, "finite_again", text)
        for path in ("episode_return", "episode_return_max"):
            value = values.get(path)
            if not isinstance(value, (int, float)):
                continue
            if best is not None and value > best:
                shown = f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
                tell(sent.at_ms, "best_episode", f"Best episode: return {shown}")
            best = value if best is None else max(best, value)
        for path, value in values.items():
            if isinstance(value, bool) and "/" in path:
                if value and flags.get(path) is False:
                    tell(sent.at_ms, "milestone", f"Milestone: {path.rpartition('/')[2].replace('_', ' ')}")
                flags[path] = value
        if entry.step is not None:
            before = steps.get((sent.writer, entry.stream))
            if before is not None and before - entry.step > max(10, before / 100):
                tell(sent.at_ms, "steps_restarted", f"Steps began again at {entry.step:,}, after {before:,}")
            steps[sent.writer, entry.stream] = entry.step
    if run.ended_ms is not None:
        tell(run.ended_ms, "session_ended", "The session ended")
    return found


# -- the vision LLM ---------------------------------------------------------------------------------------------------


def vision(reading: Reading, past: Past, shown: Shown) -> Complaints:
    """The call that is shown: answer, prompt, model and response time."""
    told = reading["vision"]
    due = [one for one in past.calls if one.at_ms <= shown.from_ms]
    may = [one for one in past.calls if shown.from_ms < one.at_ms <= shown.to_ms]
    if told is None:
        if due and reading["layout"] != "none":
            yield "no call is shown"
        return
    if not due and not may:
        if told["response"] or not told["empty"]:
            yield f"a call is shown before there was one: {told['response']!r}"
        return
    for call in reversed(due[-1:] + may):
        entry: Any = call.entry
        if told["response"] == (entry.response or ""):
            break
    else:
        yield f"the answer is {told['response']!r}, expected {(due + may)[-1].entry.response!r}"  # type: ignore[union-attr]
        return
    if told["prompt"] != (entry.prompt or ""):
        yield f"the prompt is {told['prompt']!r}"
    if entry.response_time_ms is not None and f"{entry.response_time_ms:.0f} ms" not in told["meta"]:
        yield f"meta {told['meta']!r}, expected {entry.response_time_ms:.0f} ms"
