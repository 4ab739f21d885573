"""Keeps each stretch of the publisher's thread short, so that a training thread never waits long for the interpreter.

Python takes its lock away from a thread that computes only after 5 ms (`sys.getswitchinterval`, which is the program's
to set), and a `log` call that meets our thread at work would last that long. So the thread lets go by itself between
pieces of its work. Used by whatever works in that thread: the outbox, the composer, the sinks.
"""

from __future__ import annotations

import time
from collections.abc import Callable

#: The longest stretch between two breaths, but for a single piece that is longer: a third of what a call may cost.
STRETCH_S = 0.0003
#: Long enough that a waiting thread wakes and takes the lock; giving it away without sleeping takes it right back.
REST_S = 0.0001


class Breath:
    """Call it between two pieces of work.

    Attributes:
        is_held: nobody trains any more, as while closing: work on without a pause.
    """

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._until = float("-inf")
        self.is_held = False

    def begin(self) -> None:
        """A stretch begins here: the thread has just slept, or waited for an answer."""
        self._until = self._clock() + STRETCH_S

    def __call__(self) -> None:
        """Let others run if this stretch has lasted long enough. Costs one clock read."""
        if self._clock() >= self._until and not self.is_held:
            self._sleep(REST_S)
            self._until = self._clock() + STRETCH_S
