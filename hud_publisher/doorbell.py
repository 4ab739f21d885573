"""Wakes the publisher's thread, at next to no cost for whoever rings.

Waking a thread for each `log` call costs microseconds and two changes of the interpreter lock's owner, so the thread
looks into the outbox by itself while there is traffic, and asks to be rung for (`is_armed`) only when it goes idle.
"""

from __future__ import annotations

import contextlib
from queue import Empty, SimpleQueue


class Doorbell:
    """One sleeper, many ringers."""

    def __init__(self) -> None:
        self._rings: SimpleQueue[None] = SimpleQueue()
        #: Set by the sleeper when it wants to be rung for each offer.
        self.is_armed = False

    def ring(self) -> None:
        """Wake the sleeper, or keep it from sleeping the next time."""
        self.is_armed = False
        self._rings.put(None)

    def wait(self, timeout_s: float) -> None:
        """Sleep until rung, at most this long."""
        with contextlib.suppress(Empty):
            self._rings.get(timeout=max(0.0, timeout_s))
        self.is_armed = False
        with contextlib.suppress(Empty):
            while True:
                self._rings.get_nowait()
