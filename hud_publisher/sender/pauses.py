"""The pauses of the sender's thread: after a failed call, and between two pieces of work."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

#: Longest work without releasing the GIL, unless a single piece takes longer: a third of the time that a call may cost.
STRETCH_S = 0.0003
#: Long enough that a waiting thread wakes and takes the GIL; after a release without a sleep this thread takes it
#: again.
REST_S = 0.0001


class GilYield:
    """Releases the GIL at least every STRETCH_S, so that `log` never waits long for the sender.

    Python takes the GIL from a computing thread only after 5 ms (`sys.getswitchinterval`, which belongs to the
    program), and a `log` call that meets the busy sender would take that long.

    Attributes:
        is_off: no training thread needs the GIL, as while closing: never release it.
    """

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._until = float("-inf")
        self.is_off = False

    def restart(self) -> None:
        """Restart the timer: the thread has just slept, or released the GIL for a codec or an answer."""
        self._until = self._clock() + STRETCH_S

    def __call__(self) -> None:
        """Release the GIL if this thread has kept it for STRETCH_S. Costs one clock read."""
        if self._clock() >= self._until and not self.is_off:
            self._sleep(REST_S)
            self.restart()


class Backoff:
    """Waits of one kind of trouble: growing, bounded and random.

    Random waits, from half of the full wait to the whole of it, spread the attempts of processes that failed together.
    """

    def __init__(self, first_s: float, most_s: float, draw: Callable[[], float] = random.random) -> None:
        self._first_s, self._most_s, self._draw = first_s, most_s, draw
        self._wait_s = first_s

    def next_s(self, at_least_s: float = 0.0) -> float:
        """Return the next wait in seconds: the wait that the other side asked for, or up to half more."""
        wait_s = max(self._wait_s, at_least_s)
        self._wait_s = min(self._most_s, self._wait_s * 2)
        return wait_s * (1.0 + 0.5 * self._draw()) if at_least_s else wait_s * (0.5 + 0.5 * self._draw())

    def reset(self) -> None:
        """Begin with the first wait again."""
        self._wait_s = self._first_s
