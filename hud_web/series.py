"""One metric's whole run in bounded room: points thin out evenly as the run grows, but every spike stays.

A stretch of entries keeps its lowest and its highest value, in their order (the M4 idea of Jugel et al., VLDB 2014).
All stretches of a series are of one width, in entries of its stream; when there are too many, the width doubles and
every two become one. So the resolution is the same from the run's beginning to its end. No I/O. Called by `history`.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

#: What a chart 2,000 pixels wide can show; the page never gets more.
MAX_POINTS = 2_000
#: Points kept, so that there are MAX_POINTS just after the width has doubled. Each takes 32 bytes.
KEPT_POINTS = 2 * MAX_POINTS
Column = list[int | float | None]
Point = tuple[float, float, float]
#: Number of an entry among all of its stream, its step (NaN where unknown), its time in Unix milliseconds.
Place = tuple[int, float, float]


class Series:
    """Values with their steps and times, in order."""

    __slots__ = ("_in_stretch", "_last", "_points", "_stretch", "_width")

    def __init__(self, width: int = 1) -> None:
        """Make an empty series.

        Args:
            width: of a stretch, in entries; for a series that begins with a long run.
        """
        self._points = array("d")  # at, step, time, value; at, step, …
        self._width = width
        self._stretch = -1
        self._in_stretch = 0
        self._last: Point = (math.nan, 0.0, 0.0)

    def __len__(self) -> int:
        return len(self._points) // 4

    def add(self, at: int, step: float, time_ms: float, value: float) -> None:
        """Append a point.

        Args:
            at: number of its entry among all of its stream, never below the one before.
            step: NaN where unknown.
            time_ms: Unix time in milliseconds.
            value: finite.
        """
        self._last = (step, time_ms, value)
        stretch = at // self._width
        if stretch != self._stretch:
            self._stretch, self._in_stretch = stretch, 0
        elif self._in_stretch == 2:
            self._lay_over(at, step, time_ms, value)
            return
        self._points.extend((at, step, time_ms, value))
        self._in_stretch += 1
        self._keep_within_bounds()

    def add_span(self, first: Place, lowest: float, last: Place, highest: float) -> None:
        """Append what is known of many entries together, a stretch of them or more.

        Args:
            first: where the first of them stands; their lowest value is put there.
            lowest: of all.
            last: where the last of them stands; their highest value is put there.
            highest: of all.
        """
        self._points.extend((*first, lowest))
        if highest != lowest:
            self._points.extend((*last, highest))
        self._stretch, self._in_stretch = last[0] // self._width, 1 if highest == lowest else 2
        self._last = (last[1], last[2], highest)
        self._keep_within_bounds()

    def _keep_within_bounds(self) -> None:
        while len(self._points) > 4 * KEPT_POINTS:  # stretches of one entry each make one of two: nothing goes yet
            self._widen()

    def _lay_over(self, at: int, step: float, time_ms: float, value: float) -> None:
        """The newest stretch has its two points: the new one takes the place of the one that it surpasses, if any."""
        first, second = self._points[-5], self._points[-1]
        if min(first, second) <= value <= max(first, second):
            return
        # It is the lowest or the highest so far, so the one of the two that lay on its side goes.
        if (value < first) == (first <= second):
            del self._points[-8:-4]
        else:
            del self._points[-4:]
        self._points.extend((at, step, time_ms, value))

    def _widen(self) -> None:
        self._width *= 2
        width, old, at, values = self._width, self._points, self._points[0::4], self._points[3::4]
        self._points = array("d")
        start = 0
        while start < len(at):
            stop = bisect_right(at, (at[start] // width + 1) * width - 1, start)
            chosen = _extremes(values, start, stop)
            for i in chosen:
                self._points.extend(old[4 * i : 4 * i + 4])
            start, self._in_stretch = stop, len(chosen)
        self._stretch = int(at[-1] // width)

    def points(self, most: int) -> list[Point]:
        """Return at most about `most` points (step, time in Unix milliseconds, value), the newest value among them."""
        count = len(self)
        steps, times_ms, values = self._points[1::4], self._points[2::4], self._points[3::4]
        chosen: Sequence[int] = range(count)
        if count > most:
            stretches = max(1, most // 2)
            bounds = [number * count // stretches for number in range(stretches + 1)]
            chosen = [i for start, stop in pairwise(bounds) for i in _extremes(values, start, stop)]
        found = [(steps[i], times_ms[i], values[i]) for i in chosen]
        if found and found[-1][1:] != self._last[1:]:
            found.append(self._last)
        return found


def width_for(entries: int) -> int:
    """Return the width at which so many entries fit."""
    width = 1
    while entries / width > MAX_POINTS:
        width *= 2
    return width


def describe(points: Sequence[Point]) -> dict[str, Column]:
    """Return points as the columns that a page gets: steps (None where unknown), Unix milliseconds, values."""
    return {
        "step": [None if step != step else int(step) for step, _time_ms, _value in points],  # NaN is not itself
        "time_ms": [int(time_ms) for _step, time_ms, _value in points],
        "value": [_short(value) for _step, _time_ms, value in points],
    }


def _extremes(values: array[float], start: int, stop: int) -> list[int]:
    """The numbers of the lowest and the highest value from `start` to before `stop`, in order."""
    if stop - start <= 2:
        return list(range(start, stop))
    part = values[start:stop]
    lowest, highest = part.index(min(part)), part.index(max(part))
    return [start + lowest] if lowest == highest else sorted((start + lowest, start + highest))


def _short(value: float) -> float | int:
    """Six significant digits: more than a screen can show, and half the bytes."""
    if value.is_integer() and abs(value) < 1e15:
        return int(value)
    return float(f"{value:.6g}")
