"""The counters of this process since its start, as plain numbers: cheap enough to count on every delivery.

Uses no library: `metrics` turns them into Prometheus' form for a scrape. Called by the code that is counted.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

logger = logging.getLogger("hud.tally")

#: Causes that are logged, over all channels together.
MAX_SAID = 1_000
RequestKey = tuple[str, str, int]
AlertResult = Literal["sent", "failed", "given up"]
DropReason = Literal["frame skipped", "viewer fell behind", "viewer stalled"]

#: Upper bounds of the lag histogram in seconds; a lag below 5 ms is invisible, as the page shows it with its next
#: repaint.
LAG_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


@dataclass(slots=True)
class Histogram:
    """Counts of values by upper bound; the last one has no bound."""

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
        drops: frames, events and viewers that were dropped, by reason.
        redis_errors: failed Redis calls, by kind.
        unreadable: stored items that were skipped since they cannot be read, by kind.
        alerts: alerts that a target accepted ("sent"), failed attempts ("failed"), and alerts that became too old for
            one ("given up").
        alerts_pending: alerts that this replica has to deliver now.
        requests: answered requests by (method, route, status).
        lag: seconds from an entry's arrival in Redis until this process has read it, newest entry of each read.
        monitor_lag: seconds from an entry's arrival in Redis until the monitor judged it, newest entry of each read.
    """

    deliveries: int = 0
    delivered_bytes: int = 0
    entries: Counter[tuple[str, str]] = field(default_factory=Counter)
    drops: Counter[DropReason] = field(default_factory=Counter)
    redis_errors: Counter[str] = field(default_factory=Counter)
    unreadable: Counter[str] = field(default_factory=Counter)
    alerts: Counter[AlertResult] = field(default_factory=Counter)
    alerts_pending: int = 0
    requests: Counter[RequestKey] = field(default_factory=Counter)
    lag: Histogram = field(default_factory=lambda: Histogram(LAG_BUCKETS_S))
    monitor_lag: Histogram = field(default_factory=lambda: Histogram(LAG_BUCKETS_S))
    _said: set[tuple[str, str]] = field(default_factory=set)

    def pass_over(self, channel: str, kind: str, reason: object) -> None:
        """Count a stored item that cannot be read; the first of a channel and kind is logged.

        Args:
            channel: the channel that it belongs to.
            kind: the name of a stream, "state" …
            reason: the fault of the item.
        """
        self.unreadable[kind] += 1
        if (channel, kind) not in self._said and len(self._said) < MAX_SAID:
            self._said.add((channel, kind))
            logger.warning("channel %s: passed over an item of %s that cannot be read: %s", channel, kind, reason)
