"""One metric's whole run in bounded room: points thin out as the run grows, but every spike stays.

Each time a series is full, every four neighbours become two, the lowest and the highest of them in their order; so the
minimum and the maximum of any stretch survive all thinning (the M4 idea of Jugel et al., VLDB 2014). No I/O. Called by
`history`.
"""

from __future__ import annotations

import math
from array import array
from typing import Any

#: What a chart 2,000 pixels wide can show; the page never gets more.
MAX_POINTS = 2_000
_NAN = math.nan


class Series:
    """Values with their steps and times, at most twice MAX_POINTS of each."""

    __slots__ = ("_steps", "_times_ms", "_values")

    def __init__(self) -> None:
        self._steps = array("d")
        self._times_ms = array("d")
        self._values = array("d")

    def __len__(self) -> int:
        return len(self._values)

    def add(self, step: int | None, time_ms: int, value: float) -> None:
        """Append a point."""
        self._steps.append(_NAN if step is None else step)
        self._times_ms.append(time_ms)
        self._values.append(value)
        if len(self._values) > 2 * MAX_POINTS:
            self._keep(_extremes(self._values, MAX_POINTS))

    def _keep(self, numbers: list[int]) -> None:
        self._steps = array("d", [self._steps[i] for i in numbers])
        self._times_ms = array("d", [self._times_ms[i] for i in numbers])
        self._values = array("d", [self._values[i] for i in numbers])

    def describe(self, points: int) -> dict[str, list[Any]]:
        """Return at most about `points` points as lists: steps (None where unknown), Unix milliseconds, values."""
        numbers = range(len(self._values)) if len(self._values) <= points else _extremes(self._values, points)
        return {
            "step": [None if math.isnan(self._steps[i]) else int(self._steps[i]) for i in numbers],
            "time_ms": [int(self._times_ms[i]) for i in numbers],
            "value": [_short(self._values[i]) for i in numbers],
        }


def _extremes(values: array[float], points: int) -> list[int]:
    """The numbers of the lowest and highest value of each of `points` / 2 stretches, and of the very last value."""
    count = len(values)
    stretches = max(1, points // 2)
    chosen: list[int] = []
    for number in range(stretches):
        start, stop = number * count // stretches, (number + 1) * count // stretches
        if start < stop:
            stretch = range(start, stop)
            chosen += sorted({min(stretch, key=values.__getitem__), max(stretch, key=values.__getitem__)})
    if chosen[-1] != count - 1:
        chosen.append(count - 1)
    return chosen


def _short(value: float) -> float | int:
    """Six significant digits: more than a screen can show, and half the bytes."""
    if value.is_integer() and abs(value) < 1e15:
        return int(value)
    return float(f"{value:.6g}")
