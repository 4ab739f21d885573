"""Gets the session and gets it back: when to ask, how long to wait, what to say in the log.

A refused or lost publisher waits quietly: at least as long as the holder's lease, longer each time, spread at random,
so that a thousand of them cost the server a few requests a second. Called by hud_publisher.worker.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

from hud_publisher.backoff import Backoff
from hud_publisher.link import Link, Status
from hud_publisher.protocol.errors import (
    HudError,
    SessionHeldError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
)
from hud_publisher.sink import Sink

logger = logging.getLogger("hud_publisher")

#: Nothing that a run can do makes a wrong password right; look again now and then, since secrets are rotated.
DENIED_WAIT_S = 60.0


class Session:
    """The way from `connecting` to `registered` or `joined`, and back."""

    def __init__(
        self, link: Link, sink: Sink, draw: Callable[[], float] = random.random, *, takeover: bool = False
    ) -> None:
        self._link, self._sink, self._draw = link, sink, draw
        # Once only: two runs that both take over must not take the channel from each other for ever.
        self._takeover = takeover
        self._held = Backoff(2.0, 60.0, draw)
        # Where a spare takes over, the page shall live again within five seconds.
        self._away = Backoff(0.25, 2.0, draw)
        self._said: set[str] = set()
        #: Whether this process began the session, and so ends it.
        self.is_ours = False

    def open(self) -> float:
        """Ask for the session once. Returns how many seconds to wait before the next try; 0 once it is there."""
        link = self._link
        try:
            registered = self._sink.register(takeover=self._takeover)
        except SessionHeldError as error:
            link.counters.refusals += 1
            self._set_status("refused")
            self.say("refused", str(error))
            return self._held.next_s(at_least_s=max(1.0, error.holder.retry_after_ms / 1000))
        except HudError as error:
            link.counters.failures += 1
            return self.wait_after(error)
        self._held.reset()
        self._takeover = False
        if not link.counters.registrations:
            self.is_ours = not registered.joined
        link.counters.registrations += 1
        link.session = registered
        self.heal()
        return 0.0

    def lose(self) -> float:
        """The session is gone. Returns how many seconds to wait before asking for it again."""
        self._link.counters.losses += 1
        self._link.session = None
        self._set_status("lost")
        self.say("lost", "the session ended or went to another run: training goes on, waiting to come back")
        # All writers of a run learn it at the same moment.
        return self._draw()

    def wait_after(self, error: HudError) -> float:
        """Say what is wrong, once; return how many seconds to wait before the next call."""
        if isinstance(error, TooManyRequestsError):
            return error.retry_after_s * (1.0 + 0.5 * self._draw())
        self._set_status("connecting")
        self.say(type(error).__name__, str(error))
        if isinstance(error, UnavailableError):
            return self._away.next_s(at_least_s=error.retry_after_s)
        if isinstance(error, UnauthorizedError):
            return DENIED_WAIT_S * (0.5 + self._draw())
        return self._held.next_s()

    def heal(self, *, is_heartbeat: bool = False) -> None:
        """A call was answered: whatever was wrong is over, except that a heartbeat passes when Redis is full too."""
        if self._said and (over := self._said - {"full"} if is_heartbeat else set(self._said)):
            logger.warning("HUD: publishing again")
            self._said -= over
        self._away.reset()
        session = self._link.session
        if session is not None:
            self._set_status("joined" if session.joined else "registered")

    def say(self, cause: str, text: str) -> None:
        """Log a trouble; once per cause until everything is well again."""
        if cause not in self._said:
            self._said.add(cause)
            logger.warning("HUD: %s", text)

    def _set_status(self, status: Status) -> None:
        link = self._link
        link.status = status
        # While another run holds the channel nothing is rendered or copied for it.
        link.frames.is_open = link.wants_frames and status != "refused"
        link.thumbs.is_open = link.wants_frames and status in ("registered", "joined") and link.feedback.viewers > 0
