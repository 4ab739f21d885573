"""Keeps costly work within a share of the program's time. Called by the integrations before they work for a viewer."""

from __future__ import annotations

import time
from collections.abc import Callable


class TimeShare:
    """Decides when the next piece of work is due, from the time that the last ones took.

    Args:
        most: greatest share of the time, above 0.
        clock: seconds.
        is_first_typical: the first piece of work counts; it does not if it loads modules.
    """

    def __init__(
        self, most: float, clock: Callable[[], float] = time.perf_counter, *, is_first_typical: bool = True
    ) -> None:
        self._pause = 1 / most - 1
        self._clock = clock
        self._resume_at = float("-inf")
        self._before_s = float("inf") if is_first_typical else 0.0

    def is_free(self) -> bool:
        """Whether another piece of work keeps within the share. Costs one clock read."""
        return self._clock() >= self._resume_at

    def spend(self, began_at: float) -> None:
        """Count a piece of work that ends now.

        One that took long because the machine was busy does not predict the next one, so the shorter of two counts.

        Args:
            began_at: when it began, on the clock.
        """
        ended_at = self._clock()
        took_s = ended_at - began_at
        self._resume_at = ended_at + min(took_s, self._before_s) * self._pause
        self._before_s = took_s

    def rest(self, seconds: float) -> None:
        """Allow no work for this time."""
        self._resume_at = self._clock() + seconds
