"""One metric's whole run in bounded memory: the points are thinned evenly as the run grows, but every extreme is kept.

A series consists of stretches of equal width, in entries of its stream. A stretch keeps its lowest and its highest
value, in their order (M4, Jugel et al., VLDB 2014). When there are too many stretches, the width doubles and each pair
becomes one. So the resolution is the same from the beginning of the run to its end. No I/O. Called by `history`.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

#: Points of a chart 2,000 pixels wide; the page never gets more.
MAX_POINTS = 2_000
#: Points kept, so that there are MAX_POINTS just after the width has doubled. Each takes 32 bytes.
KEPT_POINTS = 2 * MAX_POINTS
Column = list[int | float | None]
Point = tuple[float, float, float]
#: Number of an entry among all entries of its stream, its step (NaN if unknown), its time in Unix milliseconds.
Place = tuple[int, float, float]


class Series:
    """Values with their steps and times, in order."""

    __slots__ = ("_in_stretch", "_last", "_points", "_stretch", "_width")

    def __init__(self, width: int = 1) -> None:
        """Make an empty series.

        Args:
            width: of a stretch, in entries; above 1 for a run that is long already.
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
            at: number of its entry among all entries of its stream, never below the previous one.
            step: NaN if unknown.
            time_ms: Unix time in milliseconds.
            value: finite.
        """
        value = float(value)  # JSON gives whole numbers as int, which lack methods of float before Python 3.12
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
        """Append the extremes of many entries, at least one stretch.

        Args:
            first: place of the first entry; the lowest value is put there.
            lowest: lowest value of all.
            last: place of the last entry; the highest value is put there.
            highest: highest value of all.
        """
        lowest, highest = float(lowest), float(highest)  # as in `add`
        self._points.extend((*first, lowest))
        if highest != lowest:
            self._points.extend((*last, highest))
        self._stretch, self._in_stretch = last[0] // self._width, 1 if highest == lowest else 2
        self._last = (last[1], last[2], highest)
        self._keep_within_bounds()

    def _keep_within_bounds(self) -> None:
        while len(self._points) > 4 * KEPT_POINTS:  # two stretches of one entry each become one: no point is lost yet
            self._widen()

    def thin(self) -> None:
        """Drop about half of the points, evenly over the run."""
        if len(self) > 2:
            self._widen()

    def _lay_over(self, at: int, step: float, time_ms: float, value: float) -> None:
        """Update the newest stretch, which has two points: a new extreme replaces the point that it surpasses."""
        first, second = self._points[-5], self._points[-1]
        if min(first, second) <= value <= max(first, second):
            return
        # It is the new lowest or highest value, so the old extreme of that side is dropped.
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
    """Return the width at which a stream of this length fits."""
    width = 1
    while entries / width > MAX_POINTS:
        width *= 2
    return width


def describe(points: Sequence[Point]) -> dict[str, Column]:
    """Return points as the columns for a page: steps (None if unknown), Unix milliseconds, values."""
    return {
        "step": [None if step != step else int(step) for step, _time_ms, _value in points],  # NaN is not itself
        "time_ms": [int(time_ms) for _step, time_ms, _value in points],
        "value": [_short(value) for _step, _time_ms, value in points],
    }


def _extremes(values: array[float], start: int, stop: int) -> list[int]:
    """Return the indices of the lowest and the highest value from `start` to before `stop`, in order."""
    if stop - start <= 2:
        return list(range(start, stop))
    part = values[start:stop]
    lowest, highest = part.index(min(part)), part.index(max(part))
    return [start + lowest] if lowest == highest else sorted((start + lowest, start + highest))


def _short(value: float) -> float | int:
    """Round to six significant digits: more than a screen can show, and half of the bytes."""
    if value.is_integer() and abs(value) < 1e15:
        return int(value)
    return float(f"{value:.6g}")
