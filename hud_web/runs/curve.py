"""The course of a run's return in few points: from its history when it is first seen, then from each look.

Called by the overview.
"""

from __future__ import annotations

from typing import Any

from hud_publisher.protocol.keys import ChannelKeys, Sid
from hud_publisher.protocol.replies import text
from hud_publisher.protocol.scripts import DOWNSAMPLED
from hud_publisher.protocol.stored import read_int
from hud_web.runs.run import Key
from hud_web.store.sse import time_ms_of
from hud_web.store.store import Store
from hud_web.store.views import read_mapping

MAX_POINTS = 60
#: Pieces of the history that are read of each stream, evenly over the run.
PIECES = 30
#: Newest entries that are read besides: the last ten are in no piece yet.
ENTRIES = 12

Point = tuple[int, int | None, float]


class Curve:
    """Points in the order of time; the last one is the newest value."""

    def __init__(self, points: list[Point] | None = None) -> None:
        self._points: list[Point] = []
        for point in points or ():
            self.add(*point)

    def __len__(self) -> int:
        return len(self._points)

    @property
    def points(self) -> list[Point]:
        """Time in ms, step, value of each."""
        return list(self._points)

    def add(self, time_ms: int, step: int | None, value: float) -> None:
        """Add the newest value; it replaces the last point if that is closer to its neighbour than the others."""
        points = self._points
        if points and time_ms <= points[-1][0]:
            return
        if len(points) >= 2 and points[-1][0] - points[-2][0] < (time_ms - points[0][0]) / MAX_POINTS:
            points.pop()
        points.append((time_ms, step, value))
        if len(points) > MAX_POINTS:
            del points[1:-1:2]

    def describe(self) -> dict[str, list[Any]]:
        """Return the part `curve` of a card."""
        times, steps, values = zip(*self._points, strict=True) if self._points else ((), (), ())
        return {"time_ms": list(times), "step": list(steps), "value": [float(f"{value:.5g}") for value in values]}


async def past_points(store: Store, key: Key, path: str, from_ms: int, to_ms: int) -> list[Point]:
    """Return points of a field's course from Redis: of pieces evenly over the time, and of the newest entries."""
    channel, sid = key
    session = ChannelKeys(channel).session(Sid(sid))
    commands: list[tuple[Any, ...]] = []
    for name in DOWNSAMPLED:
        commands += [
            ("XRANGE", session.past(name), from_ms + (to_ms - from_ms) * at // PIECES, "+", "COUNT", 1)
            for at in range(PIECES)
        ]
    newest = [("XREVRANGE", session.stream(name), "+", "-", "COUNT", ENTRIES) for name in DOWNSAMPLED]
    points: dict[int, Point] = {}
    for found in await store.pipelined([*commands, *newest]):
        for entry_id, fields in found or ():
            point = _point(text(entry_id), fields or {}, path)
            if point is not None:
                points[point[0]] = point
    return [points[time_ms] for time_ms in sorted(points)]


def _point(entry_id: str, fields: dict[bytes, bytes], path: str) -> Point | None:
    time_ms = time_ms_of(entry_id)
    if b"data" in fields:
        value: Any = read_mapping(fields[b"data"])
        for name in path.split("/"):
            value = value.get(name) if isinstance(value, dict) else None
        return (time_ms, read_int(fields, b"step"), float(value)) if _is_number(value) else None
    low, high = (read_mapping(fields.get(part)).get(path) for part in (b"low", b"high"))
    if low is None or high is None or not (_is_number(low) and _is_number(high)):
        return None
    return time_ms, read_int(fields, b"until_step"), low / 2 + high / 2


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
