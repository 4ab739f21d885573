"""How long to wait before the next try: growing, bounded, and never the same for two processes.

Full jitter over the upper half keeps a thousand processes that failed together from coming back together.
"""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Waits of one kind of trouble."""

    def __init__(self, first_s: float, most_s: float, draw: Callable[[], float] = random.random) -> None:
        self._first_s, self._most_s, self._draw = first_s, most_s, draw
        self._wait_s = first_s

    def next_s(self, at_least_s: float = 0.0) -> float:
        """Return the next wait in seconds: at least what the other side asked for, at most half as much again."""
        wait_s = max(self._wait_s, at_least_s)
        self._wait_s = min(self._most_s, self._wait_s * 2)
        return wait_s * (1.0 + 0.5 * self._draw()) if at_least_s else wait_s * (0.5 + 0.5 * self._draw())

    def reset(self) -> None:
        """Begin with the first wait again."""
        self._wait_s = self._first_s
