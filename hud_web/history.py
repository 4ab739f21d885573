"""The whole run of a session, thinned for charts, and the index of its kept frames.

A short run is read as it was logged. Of a long one, what Redis keeps of its course is read (fold.lua: pieces of it,
each with the lowest and the highest of every number), then the entries since; so a page load costs no more late in a
run than early, whichever replica it comes to. From then on a replica reads only what came since. It is a cache: any
replica can build it from Redis. Called by the archive endpoints.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from hud_publisher.protocol.entries import START, EntryId, FrameEntry, StreamName, decode_entry
from hud_publisher.protocol.keys import Sid
from hud_publisher.protocol.scripts import FOLDED
from hud_web.series import Place, Point, Series, describe, width_for
from hud_web.sse import order
from hud_web.store import Fields, Store, StreamEntry

#: Entries per read, and between two looks at who else wants the process: a few milliseconds.
READ_ENTRIES = 250
READ_PIECES = 100
READ_FRAMES = 100
#: Streams up to this long are read whole, so that short runs are exact to the entry.
EXACT_ENTRIES = 6_000
#: Metrics that get a chart; what comes later is still in the table and the export.
MAX_FIELDS = 1_000
#: Points that the histories of a replica hold together, of 32 bytes each: 64 MB. The least recently asked for go first.
MAX_KEPT_POINTS = 2_000_000
#: Points of an answer: about 100 KB of JSON, and as much when a larger one is compressed.
ANSWER_POINTS, COMPRESSED_ANSWER_POINTS = 3_000, 8_000
#: Fewer of a field say nothing; where there is no room for so many of each, the last fields are only named.
LEAST_POINTS = 50


@dataclass(slots=True)
class _Course:
    """What was read of one stream: up to which entry, how many, and its series by path, which begin at some width."""

    width: int = 1
    at: EntryId = START
    count: int = 0
    series: dict[str, Series] = field(default_factory=dict)


@dataclass(slots=True)
class _Span:
    """A piece, or some that follow each other: where it begins and ends, the lowest and highest number of each path."""

    first: Place
    last: Place
    low: dict[str, float]
    high: dict[str, float]

    @classmethod
    def of(cls, fields: Fields, at: int, low: dict[str, float], high: dict[str, float]) -> Self:
        """Return the piece that stands in Redis; its first entry is number `at` of its stream."""
        first = (at, float(fields[b"step"] or b"nan"), float(fields[b"time"]))
        last = (at + int(fields[b"n"]) - 1, float(fields[b"until_step"] or b"nan"), float(fields[b"until_time"]))
        return cls(first, last, low, high)

    def add(self, piece: _Span) -> None:
        """Take the piece that follows."""
        self.last, low, high = piece.last, self.low, self.high
        for path, value in piece.low.items():
            if path not in low or value < low[path]:
                low[path] = value
        for path, value in piece.high.items():
            if path not in high or value > high[path]:
                high[path] = value


class History:
    """One session's series and frame index as far as they were read."""

    def __init__(self, channel: str, sid: Sid) -> None:
        self._channel = channel
        self._sid = sid
        self._courses: dict[StreamName, _Course] = {}
        self._frames: dict[EntryId, dict[str, Any]] = {}
        self._frames_at = START
        self._lock = asyncio.Lock()

    @property
    def size(self) -> int:
        """How many points it holds."""
        return sum(len(series) for course in self._courses.values() for series in course.series.values())

    async def series(self, store: Store, fields: list[str] | None, points: int, most_points: int) -> dict[str, Any]:
        """Return the thinned series of these fields (all if None) and the names of all.

        Args:
            store: to read from.
            fields: paths, the steps of nested ones joined by `/`.
            points: about the most of each field.
            most_points: about the most of all fields together.
        """
        async with self._lock:
            for name in FOLDED:
                await self._follow(store, name)
        known = sorted({path for course in self._courses.values() for path in course.series})
        wanted = known if fields is None else [path for path in dict.fromkeys(fields) if path in set(known)]
        wanted = wanted[: max(1, most_points // LEAST_POINTS)]
        each = min(points, max(2, most_points // max(1, len(wanted))))
        return {"fields": known, "series": {path: describe(self._points(path, each)) for path in wanted}}

    def _points(self, path: str, most: int) -> list[Point]:
        found = [course.series[path] for course in self._courses.values() if path in course.series]
        if len(found) == 1:
            return found[0].points(most)
        both = [point for series in found for point in series.points(most // len(found))]
        return sorted(both, key=lambda point: point[1])

    async def frames(self, store: Store, from_ms: int, to_ms: int) -> list[dict[str, Any]]:
        """Return what is kept of frames between two times (Unix milliseconds), oldest first, without pictures."""
        async with self._lock:
            await self._follow_frames(store)
            oldest = await store.entries(self._channel, self._sid, "frames", limit=1)
            first = order(oldest[0][0]) if oldest else (2**63, 0)
            for entry_id in [entry_id for entry_id in self._frames if order(entry_id) < first]:
                del self._frames[entry_id]
        return [frame for frame in self._frames.values() if from_ms <= frame["time_ms"] <= to_ms]

    # -- reading ------------------------------------------------------------------------------------------------------

    async def _follow(self, store: Store, name: StreamName) -> None:
        course = self._courses.get(name)
        if course is None:
            length, folded = await store.lengths(self._channel, self._sid, name)
            course = _Course(width_for(folded or length))
            if folded > EXACT_ENTRIES or folded > length:
                await self._read_pieces(store, name, course)
            self._courses[name] = course
        while True:
            entries = await store.entries(self._channel, self._sid, name, first=f"({course.at}", limit=READ_ENTRIES)
            for (entry_id, fields), data in zip(entries, _parsed(entries), strict=True):
                self._take(course, fields, data)
                course.at = entry_id
            if len(entries) < READ_ENTRIES:
                return

    async def _read_pieces(self, store: Store, name: StreamName, course: _Course) -> None:
        span: _Span | None = None
        while True:
            pieces = await store.pieces(self._channel, self._sid, name, after=course.at, limit=READ_PIECES)
            texts = [fields[part] for _entry_id, fields in pieces for part in (b"low", b"high")]
            parsed = json.loads(b"[%b]" % b",".join(texts))
            for number, (entry_id, fields) in enumerate(pieces):
                piece = _Span.of(fields, course.count, parsed[2 * number], parsed[2 * number + 1])
                course.at, course.count = entry_id, piece.last[0] + 1
                if span is not None and span.first[0] // course.width == piece.first[0] // course.width:
                    span.add(piece)
                else:
                    self._take_span(course, span)
                    span = piece
            if len(pieces) < READ_PIECES:
                self._take_span(course, span)
                return

    def _take(self, course: _Course, fields: Fields, data: Any) -> None:
        step, time_ms = float(fields.get(b"step", b"nan")), float(fields.get(b"time", b"0"))
        at = course.count
        course.count += 1
        if not isinstance(data, dict):
            return
        for path, value in numbers(data):
            series = self._series(course, path)
            if series is not None:
                series.add(at, step, time_ms, value)

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

    async def _follow_frames(self, store: Store) -> None:
        while True:
            entries = await store.entries(
                self._channel, self._sid, "frames", first=f"({self._frames_at}", limit=READ_FRAMES
            )
            for entry_id, fields in entries:
                frame = decode_entry("frames", fields)
                assert isinstance(frame, FrameEntry)
                self._frames_at = entry_id
                self._frames[entry_id] = {
                    "id": entry_id, "time_ms": frame.time_ms, "step": frame.step, "episode": frame.episode,
                    "env": frame.env, "bytes": len(frame.image),
                }  # fmt: skip
            if len(entries) < READ_FRAMES:
                return


class Histories:
    """The histories that this replica keeps, the least recently asked for leaving first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, Sid], History] = OrderedDict()

    def of(self, channel: str, sid: Sid) -> History:
        """Return a session's history, empty if it is new here."""
        key = (channel, sid)
        history = self._kept.get(key)
        if history is None:
            history = self._kept[key] = History(channel, sid)
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and sum(kept.size for kept in self._kept.values()) > MAX_KEPT_POINTS:
            self._kept.popitem(last=False)
        return history


def numbers(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield (path, number) of an entry's numeric fields; the steps of nested ones are joined by `/`."""
    for name, value in data.items():
        kind = type(value)
        if kind is float or kind is int:
            if -1e300 < value < 1e300:  # as fold.lua has it; Python reads NaN and Infinity, which are no JSON
                yield prefix + name, float(value)
        elif kind is dict:
            yield from numbers(value, f"{prefix}{name}/")


def _parsed(entries: list[StreamEntry]) -> list[Any]:
    """Parse all entries' data at once, which is twice as fast as one by one; None for what is no JSON."""
    texts = [fields.get(b"data", b"null") for _entry_id, fields in entries]
    try:
        parsed: list[Any] = json.loads(b"[%b]" % b",".join(texts))
        if len(parsed) == len(texts):
            return parsed
    except ValueError:
        pass
    return [_parse(text) for text in texts]


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
