"""The histograms of one field over time, in bounded memory: the columns of its chart. No I/O. Called by `history`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from hud_publisher.protocol.histogram import MAX_BINS, is_field
from hud_publisher.protocol.stored import MAX_PATH_STEPS

#: Columns that are kept: a chart is about as many pixels wide. If there are more, every second one is dropped.
MOST_COLUMNS = 240
#: Memory of a column: a tuple, its numbers and a list of MAX_BINS counts, most of them small.
COLUMN_BYTES = 1_200

_NUMBERS = ("low", "high", "mean")


class Column(NamedTuple):
    """A histogram at one time; `step` is None if it is unknown, `mean` None without a finite number."""

    step: int | None
    time_ms: int
    n: int
    low: float
    high: float
    mean: float | None
    counts: list[int]


class Columns:
    """Histograms in order of time; the newest one is always kept."""

    __slots__ = ("_columns", "_every", "_newest", "_passed")

    def __init__(self) -> None:
        self._columns: list[Column] = []
        self._newest: Column | None = None
        #: One of this many histograms is kept, and those since the last kept one.
        self._every = 1
        self._passed = 0

    @property
    def size(self) -> int:
        """Its memory in bytes."""
        return COLUMN_BYTES * len(self._columns)

    def add(self, step: float, time_ms: float, found: Mapping[str, Any]) -> None:
        """Append a histogram; `step` is NaN if it is unknown."""
        self._newest = Column(
            None if math.isnan(step) else int(step), int(time_ms), found["n"], found["low"], found["high"],
            found.get("mean"), found["counts"],
        )  # fmt: skip
        self._passed += 1
        if self._passed < self._every:
            return
        self._passed = 0
        self._columns.append(self._newest)
        if len(self._columns) > MOST_COLUMNS:
            self._columns = self._columns[::2]
            self._every *= 2

    def describe(self, most: int) -> dict[str, list[Any]]:
        """Return at most about `most` histograms as columns, the newest among them."""
        kept = self._columns[:: max(1, -(-len(self._columns) // most))]
        if self._newest is not None and kept[-1:] != [self._newest]:
            kept = [*kept, self._newest]
        return {name: [getattr(column, name) for column in kept] for name in Column._fields}


def histograms(
    data: Mapping[str, Any], prefix: str = "", depth: int = MAX_PATH_STEPS
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (path, histogram) of an entry's fields; what another client wrote in a wrong form is left out."""
    for name, value in data.items():
        if is_field(value):
            if _is_sound(value[1]):
                yield prefix + name, value[1]
        elif isinstance(value, dict) and depth:
            yield from histograms(value, f"{prefix}{name}/", depth - 1)


def _is_sound(found: Mapping[str, Any]) -> bool:
    counts = found.get("counts")
    if not isinstance(counts, list) or len(counts) > MAX_BINS or type(found.get("n")) is not int:
        return False
    numbers = [found.get(name, 0.0) for name in _NUMBERS]
    if "low" not in found or "high" not in found or not all(type(count) is int and count >= 0 for count in counts):
        return False
    return all(type(number) in (int, float) and math.isfinite(number) for number in numbers)
