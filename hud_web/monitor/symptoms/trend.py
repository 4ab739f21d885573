"""Trends of noisy, autocorrelated series, and the bounded course of a quantity over a run.

The statistics are the Mann-Kendall test (Mann 1945, Kendall 1975) on block means, with the correction for
autocorrelation of Yue and Wang (2004), and Sen's slope (Sen 1968). They are written here with the standard library,
because pymannkendall needs numpy and scipy, which the web tier must not load. At most POINTS block means enter a test,
so it takes about 0.1 ms. No I/O and no clock. Called by `patterns` and `learning`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

#: Block means in one test: it compares each pair of them.
POINTS = 24
#: Fewer block means show no trend: the test's normal approximation needs 8 to 10 (Kendall 1975).
LEAST_POINTS = 8
#: The z of the test beyond which a trend counts: 1 % of series without a trend reach 2.58 on either side.
SIGNIFICANT = 2.58
#: Blocks of a course; with twice as many values, pairs of blocks are merged.
BLOCKS = 48


class Trend(NamedTuple):
    """The trend of a series.

    Attributes:
        z: of the corrected Mann-Kendall test; positive for a rise.
        change: Sen's slope times the length of the series: the typical change from its first to its last value.
    """

    z: float
    change: float

    @property
    def rises(self) -> bool:
        """Whether the rise is significant."""
        return self.z > SIGNIFICANT

    @property
    def falls(self) -> bool:
        """Whether the fall is significant."""
        return self.z < -SIGNIFICANT


NO_TREND = Trend(0.0, 0.0)


def mann_kendall(values: Sequence[float]) -> Trend:
    """Return the trend of equidistant values; NO_TREND for fewer than LEAST_POINTS.

    The variance of the test's S is multiplied by the factor of Yue and Wang: 1 + 2 Σ (1 - k/n) r(k), where r(k) is the
    autocorrelation at lag k of the series without its Sen slope. The sum ends before the first r(k) that is not
    positive (Geyer's initial positive sequence, 1992), because later ones are noise. The factor is at least 1.
    """
    count = len(values)
    if count < LEAST_POINTS:
        return NO_TREND
    slopes: list[float] = []
    signs = 0
    for later in range(1, count):
        newer = values[later]
        for earlier in range(later):
            rise = newer - values[earlier]
            signs += (rise > 0) - (rise < 0)
            slopes.append(rise / (later - earlier))
    slope = median(slopes)
    variance = count * (count - 1) * (2 * count + 5) / 18
    if len(set(values)) < count:
        variance -= sum(ties * (ties - 1) * (2 * ties + 5) for ties in _ties(values)) / 18
    if variance <= 0 or signs == 0:
        return Trend(0.0, slope * (count - 1))
    variance *= _correction([value - slope * number for number, value in enumerate(values)])
    return Trend((signs - math.copysign(1, signs)) / math.sqrt(variance), slope * (count - 1))


def _ties(values: Sequence[float]) -> list[int]:
    counts: dict[float, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return [count for count in counts.values() if count > 1]


def _correction(rest: Sequence[float]) -> float:
    count = len(rest)
    mean = sum(rest) / count
    centred = [value - mean for value in rest]
    total = sum(value * value for value in centred)
    if total <= 0:
        return 1.0
    factor = 1.0
    for lag in range(1, count // 2):
        share = sum(centred[at] * centred[at + lag] for at in range(count - lag)) / total
        if share <= 0:
            break
        factor += 2 * (1 - lag / count) * share
    return factor


def correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Pearson's correlation of two series of the same length; 0 if one of them is constant."""
    count = len(first)
    if count < 2:
        return 0.0
    mean_first, mean_second = sum(first) / count, sum(second) / count
    both = sum((a - mean_first) * (b - mean_second) for a, b in zip(first, second, strict=True))
    square = sum((a - mean_first) ** 2 for a in first) * sum((b - mean_second) ** 2 for b in second)
    return both / math.sqrt(square) if square > 0 else 0.0


class Block(NamedTuple):
    """Consecutive values of a course.

    Attributes:
        time_ms: of the first value, in Unix milliseconds.
        step: of the last value; -1 if unknown.
        mean: of the values.
        size: number of the values.
    """

    time_ms: int
    step: int
    mean: float
    size: int


@dataclass(slots=True)
class Course:
    """The values of one quantity over a run, in at most BLOCKS blocks of equal duration.

    The duration doubles as the run grows, up to `longest_ms`; after that the oldest blocks are dropped.

    Attributes:
        width_ms: duration of a block.
        blocks: the blocks in order, as lists of the values of `Block`.
    """

    width_ms: int = 500
    blocks: list[list[float]] = field(default_factory=list)

    def add(self, time_ms: int, step: int | None, value: float, longest_ms: float = math.inf) -> None:
        """Append a value."""
        blocks = self.blocks
        if blocks and time_ms // self.width_ms <= blocks[-1][0] // self.width_ms:
            last = blocks[-1]
            last[3] += 1
            last[2] += (value - last[2]) / last[3]
            last[1] = last[1] if step is None else step
            return
        blocks.append([time_ms, -1 if step is None else step, value, 1])
        while len(blocks) > BLOCKS:
            if 2 * self.width_ms > longest_ms:
                del blocks[0]
                return
            self.width_ms *= 2
            blocks[:] = _merged(blocks, self.width_ms)

    @property
    def count(self) -> int:
        """The number of values in the blocks."""
        return int(sum(block[3] for block in self.blocks))

    def since(self, time_ms: float) -> list[Block]:
        """Return the blocks that begin at or after a time."""
        return [_block(block) for block in self.blocks if block[0] >= time_ms]

    def at_step(self, step: int) -> float | None:
        """Return the mean around a step: that of the block that holds it and its neighbours; None if none does."""
        if not self.blocks or step > self.blocks[-1][1] * 1.02:
            return None
        at = bisect_left([block[1] for block in self.blocks], step)
        return mean_of([_block(block) for block in self.blocks[max(0, at - 1) : at + 2]])


def _block(values: Sequence[float]) -> Block:
    return Block(int(values[0]), int(values[1]), values[2], int(values[3]))


def _merged(blocks: list[list[float]], width_ms: int) -> list[list[float]]:
    merged: list[list[float]] = []
    for block in blocks:
        if merged and merged[-1][0] // width_ms == block[0] // width_ms:
            last = merged[-1]
            count = last[3] + block[3]
            mean = last[2] + (block[2] - last[2]) * block[3] / count
            merged[-1] = [last[0], max(last[1], block[1]), mean, count]
        else:
            merged.append(block)
    return merged


def mean_of(blocks: Sequence[Block]) -> float | None:
    """Return the mean of all values in blocks; None without blocks."""
    total = sum(block.size for block in blocks)
    return sum(block.mean * block.size for block in blocks) / total if total else None


def trend_of(blocks: Sequence[Block]) -> Trend:
    """Return the trend of a course's blocks, which are joined to at most POINTS means."""
    each = -(-len(blocks) // POINTS)
    if each <= 1:
        return mann_kendall([block.mean for block in blocks])
    groups = [blocks[max(0, end - each) : end] for end in range(len(blocks), 0, -each)]
    return mann_kendall([mean for group in reversed(groups) if (mean := mean_of(group)) is not None])
