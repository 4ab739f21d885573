"""What this process has done since its start, as plain numbers: cheap enough to count on every delivery.

Knows no library: `metrics` turns it into Prometheus' form when somebody asks. Called by whoever does the counted thing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

RequestKey = tuple[str, str, int]
DropReason = Literal["frame skipped", "viewer fell behind", "viewer stalled"]

#: Upper bounds of the lag histogram in seconds: below 5 ms a page shows it with its next repaint anyway.
LAG_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


@dataclass(slots=True)
class Histogram:
    """Counts of values by upper bound, the last one without bound."""

    bounds: tuple[float, ...]
    total: float = 0.0
    counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count one value."""
        self.total += value
        for index, bound in enumerate(self.bounds):
            if value <= bound:
                self.counts[index] += 1
                return
        self.counts[-1] += 1


@dataclass(slots=True)
class Tally:
    """Numbers that only grow.

    Attributes:
        deliveries: writes to viewers; one may carry many events.
        delivered_bytes: of those writes.
        entries: stream entries read from Redis, by (channel, stream).
        drops: what viewers did not get, by reason.
        redis_errors: failed Redis calls, by kind.
        requests: answered requests by (method, route, status).
        lag: seconds from an entry's place in Redis to this process having read it, newest entry of each read.
    """

    deliveries: int = 0
    delivered_bytes: int = 0
    entries: Counter[tuple[str, str]] = field(default_factory=Counter)
    drops: Counter[DropReason] = field(default_factory=Counter)
    redis_errors: Counter[str] = field(default_factory=Counter)
    requests: Counter[RequestKey] = field(default_factory=Counter)
    lag: Histogram = field(default_factory=lambda: Histogram(LAG_BUCKETS_S))
