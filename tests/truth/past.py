"""The entries that a run had sent until a time, from the ledger of a replay alone: values, steps, frames and calls."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hud_publisher.protocol.entries import FrameEntry, MetricsEntry, VisionEntry
from tests.truth.replay import Replayed, Sent

#: How the page names a value that is not finite, and how the wire does.
SYMBOLS = {"NaN": "NaN", "Infinity": "∞", "-Infinity": "−∞"}


@dataclass(frozen=True)
class Point:
    """A value of a field: when it was appended and logged, its step, and the value.

    Attributes:
        symbol: "NaN", "∞" or "−∞"; "" if the value is finite.
    """

    at_ms: int
    time_ms: int
    step: int | None
    value: Any
    symbol: str = ""

    @property
    def is_finite(self) -> bool:
        return not self.symbol


@dataclass
class Course:
    """All values of one field, in order."""

    points: list[Point] = field(default_factory=list)
    _times: list[int] = field(default_factory=list)

    def add(self, point: Point) -> None:
        self.points.append(point)
        self._times.append(point.at_ms)

    def remove_newest(self) -> None:
        self.points.pop()
        self._times.pop()

    def until(self, at_ms: float) -> list[Point]:
        """The values that were appended by then."""
        return self.points[: bisect_right(self._times, at_ms)]

    def at(self, at_ms: float) -> Point | None:
        """The newest finite value by then."""
        return next((one for one in reversed(self.until(at_ms)) if one.is_finite), None)

    def broken_since(self, at_ms: float) -> Point | None:
        """The first of the equal values at the end that are not finite; None if the newest is finite."""
        first: Point | None = None
        for one in reversed(self.until(at_ms)):
            if one.is_finite or (first is not None and one.symbol != first.symbol):
                break
            first = one
        return first

    def between(self, from_ms: float, to_ms: float) -> list[Point]:
        """The finite values that were the newest one at some time between."""
        first = self.at(from_ms)
        later = [one for one in self.until(to_ms) if one.at_ms > from_ms and one.is_finite]
        return ([first] if first else []) + later


@dataclass(frozen=True)
class Shot:
    """A frame with the id that Redis gave it."""

    id: str
    at_ms: int
    entry: FrameEntry


class Past:
    """All entries that a run has sent until now."""

    def __init__(self, run: Replayed) -> None:
        self.run = run
        self.sent: list[Sent] = list(run.sent)
        self.courses: dict[str, Course] = {}
        self.shots: list[Shot] = []
        self.calls: list[Sent] = []
        self.metrics: list[Sent] = []
        self.steps = Course()
        for sent in self.sent:
            entry = sent.entry
            if isinstance(entry, MetricsEntry):
                self.metrics.append(sent)
                self._take(sent, entry)
            elif isinstance(entry, VisionEntry):
                self.calls.append(sent)
            elif entry.stream == "frames":
                self.shots.append(Shot(sent.id, sent.at_ms, entry))
            if entry.step is not None and not isinstance(entry, VisionEntry) and entry.stream != "thumbs":
                # Redis orders the entries of different streams by milliseconds only: the highest step of one counts.
                if self.steps.points and self.steps.points[-1].at_ms == sent.at_ms:
                    if entry.step <= self.steps.points[-1].value:
                        continue
                    self.steps.remove_newest()
                self.steps.add(Point(sent.at_ms, entry.time_ms, entry.step, entry.step))

    def _take(self, sent: Sent, entry: MetricsEntry) -> None:
        for path, value in leaves(entry.data):
            self.courses.setdefault(path, Course()).add(Point(sent.at_ms, entry.time_ms, entry.step, value))
        for path, name in entry.not_finite.items():
            point = Point(sent.at_ms, entry.time_ms, entry.step, math.nan, SYMBOLS[name])
            self.courses.setdefault(path, Course()).add(point)

    def course(self, path: str) -> Course:
        return self.courses.get(path, Course())

    def is_known(self, path: str, at_ms: float) -> bool:
        """Whether a number, or a NaN, of this field was sent by then."""
        return any(isinstance(one.value, (int, float)) for one in self.course(path).until(at_ms))

    def newest_ms(self, at_ms: float, *streams: str) -> int | None:
        """When the newest entry by then was appended, of these streams or of all but thumbnails."""
        wanted = streams or ("metrics", "iterations", "frames", "vision")
        found = [one.at_ms for one in self.sent if one.at_ms <= at_ms and one.entry.stream in wanted]
        return found[-1] if found else None


def leaves(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of nested mappings by path."""
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}/")
        elif value is not None:
            yield f"{prefix}{name}", value
