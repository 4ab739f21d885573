"""Whether a series grows: its slope with a confidence interval that knows how much neighbouring samples are alike.

This module knows nothing of the measured quantity. Called by tests.faults.soak.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, linear_regression
from typing import Literal

#: Two-sided 95 % of the normal distribution; there are more than thirty samples.
Z = 1.96
#: Growth over the whole run that is too small to matter even if it is certain, as a share of the mean.
NEGLIGIBLE = 0.02


@dataclass(frozen=True, slots=True)
class Slope:
    """The course of a series.

    Attributes:
        mean: of the samples.
        per_hour: slope of the line of least squares.
        error_per_hour: half of its 95 % confidence interval.
        hours: from the first sample to the last.
    """

    mean: float
    per_hour: float
    error_per_hour: float
    hours: float

    @property
    def is_growing(self) -> bool:
        """Whether the series grows beyond its noise, by an amount that matters."""
        return self.verdict == "GROWS"

    @property
    def verdict(self) -> Literal["flat", "creeps", "GROWS"]:
        """Flat: zero is within the noise, or the series falls. Creeps: it grows by a negligible amount."""
        if self.per_hour - self.error_per_hour <= 0:
            return "flat"
        return "GROWS" if self.per_hour * self.hours > NEGLIGIBLE * abs(self.mean) else "creeps"


def slope_of(times_s: Sequence[float], values: Sequence[float]) -> Slope:
    """Fit a line; the fewer samples are independent (by their residuals' lag-1 correlation), the wider the interval."""
    hours = [(time - times_s[0]) / 3600 for time in times_s]
    per_hour, start = linear_regression(hours, values)
    residuals = [value - start - per_hour * hour for hour, value in zip(hours, values, strict=True)]
    total = sum(residual * residual for residual in residuals)
    correlation = sum(before * after for before, after in pairwise(residuals)) / total if total else 0.0
    correlation = min(0.99, max(0.0, correlation))
    spread = sum((hour - fmean(hours)) ** 2 for hour in hours)
    error = math.sqrt(total / (len(values) - 2) / spread * (1 + correlation) / (1 - correlation))
    return Slope(fmean(values), per_hour, Z * error, hours[-1])
