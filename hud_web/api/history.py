"""The whole run of a session, downsampled for charts, and the indexes of its stored pictures.

A replica reads every entry of a short run. Of a long run it reads the pieces that Redis keeps (downsample.lua: each has
the lowest and the highest value of every number), then the entries since. So a page load costs the same late in a run
as early. Later requests read only new entries. The history is a cache: any replica can build it from Redis.
Called by the archive endpoints.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from hud_publisher.protocol.entries import START, Entry, EntryId, FrameEntry, MindEntry, StreamName
from hud_publisher.protocol.keys import Sid
from hud_publisher.protocol.scripts import DOWNSAMPLED
from hud_publisher.protocol.stored import MAX_PATH_STEPS, read_int
from hud_publisher.protocol.values import NotFinite
from hud_web.api.entry_index import EntryIndex
from hud_web.api.histograms import MOST_COLUMNS, Columns, histograms
from hud_web.api.series import Place, Point, Series, describe, width_for
from hud_web.monitor.annotations import decode
from hud_web.store.pages import pages
from hud_web.store.roles import RoleMap, Roles
from hud_web.store.slices import Slices
from hud_web.store.sse import about_mind, dump, time_ms_of
from hud_web.store.store import Store
from hud_web.store.views import Fields

#: Pieces per read: a few milliseconds.
READ_PIECES = 100
#: Streams up to this long are read whole, so that short runs are exact to the entry.
EXACT_ENTRIES = 6_000
#: The stream of the machine is read for requests that name its fields: it is long, and most page loads need none of it.
OF_MACHINE = "machine/"
#: Greatest number of metrics with a chart, as many as a session's state has fields. With that many, each has some 40
#: points (MAX_SESSION_POINTS).
MAX_FIELDS = 20_000
#: Size of a series besides its points, in points.
SERIES_POINTS = 8
#: The newest changes of one field to NaN or infinity and back.
MAX_TURNS = 400
#: Points that the histories of a replica hold together, of 32 bytes each: 64 MB. The least recently used are dropped.
MAX_KEPT_POINTS = 2_000_000
#: Points of one session, for any number of metrics: 32 MB.
MAX_SESSION_POINTS = 1_000_000
#: Size of a point, and the greatest number of sessions that a replica remembers.
POINT_BYTES = 32
MAX_HISTORIES = 256
#: Points of an answer: about 100 KB of JSON, and the same size when a larger answer is compressed.
ANSWER_POINTS, COMPRESSED_ANSWER_POINTS = 3_000, 8_000
#: Fields with histograms over time, and the points of an answer that take the space of one histogram.
MAX_HISTOGRAM_FIELDS = 200
POINTS_PER_HISTOGRAM = 8
#: Fewer points of a field are useless: if not every field can have this number, the last fields are only named.
LEAST_POINTS = 50


@dataclass(slots=True)
class _Course:
    """The part of one stream that was read: the last entry, the number of entries, and their series by path."""

    width: int = 1
    at: EntryId = START
    count: int = 0
    series: dict[str, Series] = field(default_factory=dict)


@dataclass(slots=True)
class _Span:
    """One or several consecutive pieces: first and last place, the lowest and the highest number of each path."""

    first: Place
    last: Place
    low: dict[str, float]
    high: dict[str, float]

    @classmethod
    def of(cls, entry_id: EntryId, fields: Fields, course: _Course, low: Any, high: Any) -> Self:
        """Return the piece that Redis stores in these fields; it continues the course.

        Raises:
            ValueError: the fields are not a piece.
        """
        count = read_int(fields, b"n") or 0
        low, high = low or {}, high or {}  # Lua's encoder writes an empty table as a list or an object
        if count < 1 or not (_is_numeric(low) and _is_numeric(high) and low.keys() == high.keys()):
            raise ValueError("expected a piece of a stream's course")
        at, end_ms = course.count, float(time_ms_of(entry_id))
        first = (at, _float(fields, b"step", math.nan), min(end_ms, _float(fields, b"time", 0.0)))
        last = (at + count - 1, _float(fields, b"until_step", math.nan), end_ms)
        return cls(first, last, low, high)

    def add(self, piece: _Span) -> None:
        """Add the next piece."""
        self.last, low, high = piece.last, self.low, self.high
        for path, value in piece.low.items():
            if path not in low or value < low[path]:
                low[path] = value
        for path, value in piece.high.items():
            if path not in high or value > high[path]:
                high[path] = value


class History:
    """The series of one session, as far as they have been read.

    Attributes:
        frames: the index of its stored frames.
        minds: the index of its stored views of the policy.
    """

    def __init__(self, channel: str, sid: Sid) -> None:
        self._channel = channel
        self._sid = sid
        self._courses: dict[StreamName, _Course] = {}
        self._histograms: dict[str, Columns] = {}
        self.frames = EntryIndex(channel, sid, "frames", _describe_frame)
        self.minds = EntryIndex(channel, sid, "mind", _describe_mind)
        #: Of each field that was NaN or infinite: the step, the time and the value of each change, None for a number.
        self._turns: dict[str, deque[tuple[int | None, int, NotFinite | None]]] = {}
        self._turns_at = START
        self._roles: RoleMap | None = None
        self._with_role_decided: set[str] = set()
        self._lock = asyncio.Lock()

    @property
    def size(self) -> int:
        """Its size in memory, in points."""
        all_series = (series for course in self._courses.values() for series in course.series.values())
        points = sum(SERIES_POINTS + len(series) for series in all_series)
        points += sum(columns.size for columns in self._histograms.values()) // POINT_BYTES
        return points + (self.frames.size + self.minds.size) // POINT_BYTES

    async def series(self, store: Store, fields: list[str] | None, points: int, most_points: int) -> dict[str, Any]:
        """Return the thinned series of these fields (all if None), and the names and roles of all fields.

        Args:
            store: to read from.
            fields: paths; `/` joins the names of nested fields.
            points: approximate greatest number of points of each field.
            most_points: the same for all fields together.
        """
        async with self._lock:
            await self._check_kept(store)
            for name in DOWNSAMPLED:
                await self._follow(store, name)
            if fields is None or any(path.startswith(OF_MACHINE) for path in fields):
                await self._follow(store, "machine")
            await self._follow_turns(store)
            roles = await self._learn_roles(store)
        present = self._present()
        known = sorted(present | self._histograms.keys())
        asked = known if fields is None else list(dict.fromkeys(fields))
        wanted = [path for path in asked if path in present][: max(1, most_points // LEAST_POINTS)]
        each = min(points, max(2, most_points // max(1, len(wanted))))
        over_time = [path for path in asked if path in self._histograms]
        most_columns = min(MOST_COLUMNS, points, most_points // POINTS_PER_HISTOGRAM // max(1, len(over_time)))
        return {
            "fields": known,
            "roles": roles,
            "series": {path: describe(self._points(path, each)) for path in wanted},
            "histograms": {path: self._histograms[path].describe(max(2, most_columns)) for path in over_time},
            "not_finite": {path: self._describe_turns(path, each) for path in wanted if path in self._turns},
        }

    def _points(self, path: str, most: int) -> list[Point]:
        found = [course.series[path] for course in self._courses.values() if path in course.series]
        points = [point for series in found for point in series.points(most // len(found))]
        return points if len(found) == 1 else sorted(points, key=lambda point: point[1])

    def _present(self) -> set[str]:
        return {path for course in self._courses.values() for path in course.series} | self._turns.keys()

    def _describe_turns(self, path: str, most: int) -> dict[str, list[Any]]:
        step, time_ms, value = zip(*list(self._turns[path])[-most:], strict=True)
        return {"step": list(step), "time_ms": list(time_ms), "value": list(value)}

    # -- reading ------------------------------------------------------------------------------------------------------

    async def _check_kept(self, store: Store) -> None:
        """Start over if the last entry that was read is gone: trimmed, deleted, or lost by Redis."""
        seen: dict[str, str] = {name: course.at for name, course in self._courses.items() if course.at != START}
        if seen and len((await store.marks(self._channel, self._sid, seen)).kept) < len(seen):
            self._courses.clear()
            self._histograms.clear()

    async def _follow(self, store: Store, name: StreamName) -> None:
        course = self._courses.get(name)
        if course is None:
            length, downsampled = await store.lengths(self._channel, self._sid, name)
            course = _Course(width_for(downsampled or length))
            if downsampled > EXACT_ENTRIES or downsampled > length:
                await self._read_pieces(store, name, course)
            self._courses[name] = course
        slices = Slices(store.turns)
        async for entries in pages(store, self._channel, self._sid, name, first=f"({course.at}"):
            parsed = _parsed([fields.get(b"data", b"") for _entry_id, fields in entries])
            for (entry_id, fields), data in zip(entries, parsed, strict=True):
                if not isinstance(data, dict):
                    store.pass_over(self._channel, name, "its data is not a JSON object")
                self._take(course, entry_id, fields, data)
                course.at = entry_id
                await slices.rest()
            await self._thin(slices)

    async def _read_pieces(self, store: Store, name: StreamName, course: _Course) -> None:
        span, slices = None, Slices(store.turns)
        while True:
            pieces = await store.pieces(self._channel, self._sid, name, after=course.at, limit=READ_PIECES)
            parsed = _parsed([fields.get(part, b"") for _entry_id, fields in pieces for part in (b"low", b"high")])
            for number, (entry_id, fields) in enumerate(pieces):
                course.at = entry_id
                parts = entry_id, fields, course, parsed[2 * number], parsed[2 * number + 1]
                piece = store.readable(self._channel, f"{name}:past", _Span.of, *parts)
                if piece is None:
                    continue
                course.count = piece.last[0] + 1
                if span is not None and span.first[0] // course.width == piece.first[0] // course.width:
                    span.add(piece)
                else:
                    self._take_span(course, span)
                    span = piece
                await slices.rest()
            await self._thin(slices)
            if len(pieces) < READ_PIECES:
                self._take_span(course, span)
                return

    async def _thin(self, slices: Slices) -> None:
        before = 0
        while MAX_SESSION_POINTS < self.size != before:
            before = self.size
            for course in self._courses.values():
                for series in course.series.values():
                    series.thin()
                    await slices.rest()

    def _take(self, course: _Course, entry_id: EntryId, fields: Fields, data: Any) -> None:
        step, time_ms = _float(fields, b"step", math.nan), float(time_ms_of(entry_id))
        at = course.count
        course.count += 1
        if not isinstance(data, dict):
            return
        for path, value in numbers(data):
            series = self._series(course, path)
            if series is not None:
                series.add(at, step, time_ms, value)
        if b'"histogram"' in fields.get(b"data", b""):
            for path, found in histograms(data):
                columns = self._histograms.get(path)
                if columns is None and len(self._histograms) < MAX_HISTOGRAM_FIELDS:
                    columns = self._histograms[path] = Columns()
                if columns is not None:
                    columns.add(step, time_ms, found)

    def _take_span(self, course: _Course, span: _Span | None) -> None:
        if span is None:
            return
        for path, lowest in span.low.items():
            series = self._series(course, path)
            if series is not None:
                series.add_span(span.first, lowest, span.last, span.high[path])

    def _series(self, course: _Course, path: str) -> Series | None:
        series = course.series.get(path)
        if series is None and len(course.series) < MAX_FIELDS:
            series = course.series[path] = Series(course.width)
        return series

    async def _follow_turns(self, store: Store) -> None:
        async for entries in pages(store, self._channel, self._sid, "annotations", first=f"({self._turns_at}"):
            for entry_id, fields in entries:
                self._turns_at = entry_id
                annotation = store.readable(self._channel, "annotations", decode, fields)
                if annotation is None or annotation.kind not in ("non_finite", "finite_again"):
                    continue
                for path in annotation.fields:
                    if path in self._turns or len(self._turns) < MAX_FIELDS:
                        turns = self._turns.setdefault(path, deque(maxlen=MAX_TURNS))
                        turns.append((annotation.step, annotation.time_ms, annotation.value))

    async def _learn_roles(self, store: Store) -> Roles:
        if self._roles is None:  # a session's own choice never changes
            self._roles = RoleMap((await store.session(self._channel, self._sid)).chosen_roles)
        slices, fresh = Slices(store.turns), self._present() - self._with_role_decided
        for path in sorted(fresh):
            self._roles.add(path)
            await slices.rest()
        self._with_role_decided |= fresh
        return self._roles.roles


def _describe_frame(entry_id: EntryId, frame: Entry) -> bytes:
    assert isinstance(frame, FrameEntry)
    return dump({
        "id": entry_id, "time_ms": frame.time_ms, "step": frame.step, "episode": frame.episode, "env": frame.env,
        "bytes": len(frame.image),
    })  # fmt: skip


def _describe_mind(entry_id: EntryId, mind: Entry) -> bytes:
    assert isinstance(mind, MindEntry)
    return dump(about_mind(mind, entry_id))


class Histories:
    """The histories in this replica; the least recently used are dropped first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, Sid], History] = OrderedDict()

    def of(self, channel: str, sid: Sid) -> History:
        """Return a session's history; an empty one if this replica has none."""
        key = (channel, sid)
        history = self._kept.get(key)
        if history is None:
            history = self._kept[key] = History(channel, sid)
        self._kept.move_to_end(key)
        sizes = {key: kept.size for key, kept in self._kept.items()}
        total = sum(sizes.values())
        while len(self._kept) > 1 and (total > MAX_KEPT_POINTS or len(self._kept) > MAX_HISTORIES):
            oldest, _history = self._kept.popitem(last=False)
            total -= sizes[oldest]
        return history


def numbers(data: Mapping[str, Any], prefix: str = "", depth: int = MAX_PATH_STEPS) -> Iterator[tuple[str, float]]:
    """Yield (path, number) of an entry's numeric fields; `/` joins the names of nested fields."""
    for name, value in data.items():
        kind = type(value)
        if kind is float or kind is int:
            if -1e300 < value < 1e300:  # as in downsample.lua; Python also parses NaN and Infinity
                yield prefix + name, float(value)
        elif kind is dict and depth:
            yield from numbers(value, f"{prefix}{name}/", depth - 1)


def _float(fields: Fields, name: bytes, absent: float) -> float:
    number = read_int(fields, name)
    return absent if number is None else float(number)


def _is_numeric(values: object) -> bool:
    """Whether these are names with finite numbers."""
    try:
        return isinstance(values, dict) and all(map(math.isfinite, values.values()))
    except (TypeError, OverflowError):
        return False


def _parsed(texts: list[bytes]) -> list[Any]:
    """Parse all texts at once, which is twice as fast as one by one; None for a text that is not JSON."""
    try:
        parsed: list[Any] = json.loads(b"[%b]" % b",".join(texts))
        if len(parsed) == len(texts):
            return parsed
    except (ValueError, RecursionError):
        pass
    return [_parse(text) for text in texts]


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
