"""`Histogram`: many numbers as counts over equal intervals, which the page shows over time.

The field of a histogram is a list, `["histogram", {…}]`, because mappings are nested fields and merge name by name.
Knows numpy and torch by their attributes, so it loads neither. `cleaning` makes histograms of long lists and arrays.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

#: First item of the field of a histogram.
TAG = "histogram"
#: Intervals of a histogram: a chart is about 150 pixels high.
MAX_BINS = 64
#: Numbers of an array that are looked at, a regular sample of it: `log` copies them in 10 µs, the sender counts them in
#: less than 1 ms, and each of MAX_BINS gets 128 of them.
MAX_SAMPLE = 8_192
#: The same for a list, whose numbers cost ten times as much without numpy.
MAX_LIST_SAMPLE = 2_048
#: Greatest magnitude: differences of larger doubles overflow.
MAX_MAGNITUDE = 1e150
#: Half the width of the interval of equal numbers, as a share of them.
_NARROW = 0.005


class Histogram:
    """Many numbers, to be logged as one field and shown as a histogram over time.

    `hud.log({"weights": Histogram(layer.weight)})` shows the same as `hud.log({"weights": layer.weight})` for more than
    32 numbers; use it for fewer of them, or for counts that you have already.
    """

    __slots__ = ("_bins", "_counts", "_edges", "_numbers", "count")

    def __init__(
        self, values: Any = None, *, np_histogram: tuple[Any, Any] | None = None, bins: int = MAX_BINS
    ) -> None:
        """Copy up to 8,192 of the numbers, a regular sample of them.

        Args:
            values: an array or a tensor of any shape, or a list.
            np_histogram: instead of values, the result of `numpy.histogram`: the counts, and one more edge than counts.
            bins: intervals, from 1 to 64.

        Raises:
            TypeError: the values are no numbers, or there are none.
            ValueError: the counts and edges do not fit together.
        """
        self._bins = max(1, min(MAX_BINS, int(bins)))
        self._numbers: Any = None
        self._counts: list[float] = []
        self._edges: list[float] = []
        if np_histogram is None:
            self._numbers, self.count = _sample(values)
            return
        self._counts, self._edges = ([float(number) for number in _listed(part)] for part in np_histogram)
        rising = all(one < other for one, other in pairwise(self._edges))
        if len(self._edges) != len(self._counts) + 1 or not self._counts or not rising or min(self._counts) < 0:
            raise ValueError(
                "expected counts from 0 up and one more rising edge than counts, as numpy.histogram returns"
            )
        if not (math.isfinite(sum(self._counts)) and -MAX_MAGNITUDE < self._edges[0] < self._edges[-1] < MAX_MAGNITUDE):
            raise ValueError("expected finite counts and edges")
        self.count = round(sum(self._counts))

    @property
    def weight(self) -> int:
        """Its memory, counted in values of a field."""
        numbers = self._counts if self._numbers is None else self._numbers
        return 8 + (math.prod(numbers.shape) if hasattr(numbers, "shape") else len(numbers)) // 8

    def field(self) -> list[Any]:
        """Return the field: TAG, and the counts of equal intervals from `low` to `high`, with the mean and deviation.

        Raises:
            TypeError: the values are no numbers.
        """
        if self._numbers is None:
            return [TAG, self._rebinned()]
        found = _count_array(self._numbers, self._bins)
        return [TAG, {"n": self.count} | (_count_list(_listed(self._numbers), self._bins) if found is None else found)]

    def _rebinned(self) -> dict[str, Any]:
        low, high, total = self._edges[0], self._edges[-1], sum(self._counts)
        below = [0.0, *accumulate(self._counts)]
        bins = min(self._bins, len(self._counts))
        marks, at = [0], 0
        for number in range(1, bins + 1):  # counts are spread evenly over their interval
            edge = high if number == bins else low + (high - low) * number / bins
            while self._edges[at + 1] < edge:
                at += 1
            share = (edge - self._edges[at]) / (self._edges[at + 1] - self._edges[at])
            marks.append(round(below[at] + share * self._counts[at]))
        middles = [(one + other) / 2 for one, other in pairwise(self._edges)]
        mean = sum(map(float.__mul__, middles, self._counts)) / (total or 1.0)
        square = sum(count * (middle - mean) ** 2 for middle, count in zip(middles, self._counts, strict=True))
        counts = [after - before for before, after in pairwise(marks)]
        return {"n": self.count} | _described(low, high, counts, mean, math.sqrt(square / (total or 1.0)), 0, 0)


def histogram_of(value: Any) -> Histogram | None:
    """Return a histogram of our own or of Weights & Biases as ours; None for any other value."""
    kind = type(value)
    if kind is Histogram:
        return value  # type: ignore[no-any-return]
    if kind.__name__ == "Histogram" and hasattr(value, "histogram") and hasattr(value, "bins"):
        return Histogram(np_histogram=(value.histogram, value.bins))
    return None


def is_field(value: object) -> bool:
    """Whether a cleaned value is the field of a histogram."""
    return isinstance(value, list) and len(value) == 2 and value[0] == TAG and isinstance(value[1], dict)


def _sample(values: Any) -> tuple[Any, int]:
    """Return a copy of at most about MAX_SAMPLE numbers, and how many there are."""
    if not hasattr(values, "shape"):
        items = values if isinstance(values, (list, tuple, range)) else list(values)
        count, numbers = len(items), list(items[:: 1 + len(items) // MAX_LIST_SAMPLE])
    else:
        shape = [int(size) for size in values.shape]
        count, by, sizes = math.prod(shape), [1] * len(shape), shape
        while math.prod(sizes) > MAX_SAMPLE:
            by[sizes.index(max(sizes))] *= 2
            sizes = [-(-size // one) for size, one in zip(shape, by, strict=True)]
        # A view along each dimension, so that no array, contiguous or not, is copied whole.
        view = values.detach() if hasattr(values, "detach") else getattr(values, "values", values)
        view = view[tuple(slice(None, None, one) for one in by)]
        numbers = view.clone() if hasattr(view, "clone") else view.copy()
    if not count:
        raise TypeError(f"expected numbers, got {type(values).__name__}")
    return numbers, count


def _listed(values: Any) -> list[Any]:
    """Return numbers as a flat list."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    values = values.tolist() if hasattr(values, "tolist") else list(values)
    while values and isinstance(values[0], list):
        values = [item for part in values for item in part]
    return values  # type: ignore[no-any-return]


def _count_array(values: Any, bins: int) -> dict[str, Any] | None:
    """Count the numbers with numpy; None if it is not loaded."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.float() if "bfloat16" in str(values.dtype) else values).numpy()
    array = numpy.asarray(values if hasattr(values, "shape") else [math.nan if one is None else one for one in values])
    if array.dtype.kind not in "buif":
        raise TypeError(f"expected numbers, got an array of {array.dtype}")
    is_whole = array.dtype.kind in "bui"
    flat = array.ravel().astype(numpy.float64)
    finite = flat[numpy.abs(flat) < MAX_MAGNITUDE]  # NaN is not below anything
    nan = int(numpy.isnan(flat).sum())
    if not finite.size:
        return _described(0.0, 0.0, [], None, None, nan, flat.size - nan)
    low, high, bins = _range(float(finite.min()), float(finite.max()), is_whole, bins)
    counts = numpy.histogram(finite, bins, (low, high))[0].tolist()
    mean, deviation = float(finite.mean()), float(finite.std())
    return _described(low, high, counts, mean, deviation, nan, flat.size - nan - finite.size)


def _count_list(values: Sequence[Any], bins: int) -> dict[str, Any]:
    """Count the numbers of a list; None means NaN."""
    numbers = [math.nan if value is None else float(value) for value in values]
    finite = [number for number in numbers if abs(number) < MAX_MAGNITUDE]
    nan = sum(map(math.isnan, numbers))
    if not finite:
        return _described(0.0, 0.0, [], None, None, nan, len(numbers) - nan)
    is_whole = all(type(value) is int or value is None for value in values)
    low, high, bins = _range(min(finite), max(finite), is_whole, bins)
    counts, scale, last = [0] * bins, bins / (high - low), bins - 1
    for number in finite:
        counts[min(last, int((number - low) * scale))] += 1
    mean = math.fsum(finite) / len(finite)
    deviation = math.sqrt(math.fsum((number - mean) ** 2 for number in finite) / len(finite))
    return _described(low, high, counts, mean, deviation, nan, len(numbers) - nan - len(finite))


def _range(low: float, high: float, is_whole: bool, bins: int) -> tuple[float, float, int]:
    """Return the edges of the intervals, and how many there are: one for each whole number if there are few of them."""
    if is_whole and high - low < bins:
        return low - 0.5, high + 0.5, int(high - low) + 1
    if high - low > abs(high) * 1e-12:
        return low, high, bins
    pad = abs(low) * _NARROW or _NARROW
    return low - pad, high + pad, 1


def _described(
    low: float, high: float, counts: list[int], mean: float | None, deviation: float | None, nan: int, infinite: int
) -> dict[str, Any]:
    about = {"low": _short(low), "high": _short(high), "counts": counts}
    if mean is not None and deviation is not None:
        about |= {"mean": _short(mean), "deviation": _short(deviation)}
    # Only the counts above 0, so that a histogram of finite numbers stays small.
    return about | ({"nan": nan} if nan else {}) | ({"infinite": int(infinite)} if infinite else {})


def _short(number: float) -> float:
    """Round to seven significant digits: more than a screen can show, and half of the bytes."""
    return float(f"{number:.7g}")
