"""Limits the rate of calls that reach people, such as alerts: a token bucket. Called by training threads."""

from __future__ import annotations

import time
from collections.abc import Callable


class Allowance:
    """At most `burst` calls at once, and one more per period."""

    def __init__(self, burst: int, period_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._period_s, self._clock = burst, period_s, clock
        #: When the allowance is full again, on the clock.
        self._full_at = float("-inf")

    def take(self) -> bool:
        """Return whether a call is allowed, and count it if so."""
        now = self._clock()
        full_at = max(self._full_at, now) + self._period_s
        if full_at - now > self._burst * self._period_s:
            return False
        self._full_at = full_at
        return True
