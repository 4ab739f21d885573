"""Wakes the publisher's thread, at next to no cost for whoever rings.

Waking a thread for each `log` call costs microseconds and two changes of the interpreter lock's owner, so the thread
looks into the outbox by itself while there is traffic, and asks to be rung for (`is_armed`) only when it goes idle.
"""

from __future__ import annotations

import contextlib
import threading


class Doorbell:
    """One sleeper, many ringers."""

    def __init__(self) -> None:
        #: Free while a ring has not been heard; a lock is the cheapest thing that one can wait for with a time-out.
        self._silence = threading.Lock()
        self._silence.acquire()
        #: Set by the sleeper when it wants to be rung for each offer.
        self.is_armed = False
        #: The same for fields, which may wait for a picture to go with.
        self.is_armed_for_fields = False

    def arm(self, *, for_fields: bool) -> None:
        """Ask to be rung for each offer, or for all but fields."""
        self.is_armed_for_fields = for_fields
        self.is_armed = True

    def ring(self) -> None:
        """Wake the sleeper, or keep it from sleeping the next time."""
        self.is_armed = self.is_armed_for_fields = False
        with contextlib.suppress(RuntimeError):  # it has been rung already
            self._silence.release()

    def ring_for_frame(self) -> None:
        """The same for a frame."""
        self.ring()

    def wait(self, timeout_s: float) -> None:
        """Sleep until rung, at most this long."""
        self._silence.acquire(timeout=min(max(0.0, timeout_s), threading.TIMEOUT_MAX))
        self.is_armed = self.is_armed_for_fields = False
