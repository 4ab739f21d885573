"""Wakes the publisher's thread, at next to no cost for whoever rings.

Waking a thread for each `log` call costs microseconds and two changes of the interpreter lock's owner, so the thread
looks into the outbox by itself while there is traffic, and asks to be rung for (`is_armed`) only when it goes idle.
Whoever logs fields sees that in the inbox they go to, so that there is one thing to look at.
"""

from __future__ import annotations

import contextlib
import threading

from hud_publisher.outbox import MAX_INBOX, Inbox


class Doorbell:
    """One sleeper, many ringers.

    Args:
        inbox: where fields go.
    """

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        #: Free while a ring has not been heard; a lock is the cheapest thing that one can wait for with a time-out.
        self._silence = threading.Lock()
        self._silence.acquire()
        #: Set by the sleeper when it wants to be rung for each offer.
        self.is_armed = False

    @property
    def is_armed_for_fields(self) -> bool:
        """The same for fields, which may wait for a picture to go with."""
        return self._inbox.easy_up_to == 0

    def arm(self, *, for_fields: bool) -> None:
        """Ask to be rung for each offer, or for all but fields."""
        self._inbox.easy_up_to = 0 if for_fields else MAX_INBOX
        self.is_armed = True

    def disarm(self) -> None:
        """Need no ring: the sleeper is awake, or looks by itself."""
        self.is_armed = False
        self._inbox.easy_up_to = MAX_INBOX

    def ring(self) -> None:
        """Wake the sleeper, or keep it from sleeping the next time."""
        self.disarm()
        with contextlib.suppress(RuntimeError):  # it has been rung already
            self._silence.release()

    def ring_for_frame(self) -> None:
        """The same for a frame."""
        self.ring()

    def wait(self, timeout_s: float) -> None:
        """Sleep until rung, at most this long."""
        self._silence.acquire(timeout=min(max(0.0, timeout_s), threading.TIMEOUT_MAX))
        self.disarm()
