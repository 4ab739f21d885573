"""Registers the session, and registers again after a loss; writes the report; keeps the waits and the log lines.

A refused or lost publisher waits at least as long as the holder's lease, longer each time, and for a random time, so
that a thousand of them cost the server a few requests per second. Called by sender.loop and sender.delivery.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hud_publisher.once import LogOnce
from hud_publisher.protocol.errors import (
    HudError,
    SessionHeldError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
)
from hud_publisher.sender.pauses import Backoff

if TYPE_CHECKING:
    from hud_publisher.intake.intake import Intake
    from hud_publisher.intake.items import PacedStream
    from hud_publisher.protocol.batch import Published
    from hud_publisher.protocol.errors import Holder
    from hud_publisher.protocol.settings import Settings
    from hud_publisher.sinks.sink import Sink

logger = logging.getLogger("hud_publisher")

#: Seconds between two frames without a viewer, kept for rewinding, and between two thumbnails of one env.
SLOW_S = 1.0
#: Between two views of the policy: more than five per second cannot be read.
MIND_S = 0.2
#: A wrong password stays wrong until an administrator changes it; retry at this interval, since secrets are rotated.
DENIED_WAIT_S = 60.0
#: A cause that comes and goes, such as a server that refuses every second call, is logged at most once in this time.
QUIET_S = 60.0


class Session:
    """The transitions from `connecting` to `registered` or `joined`, and back. The only writer of the report."""

    def __init__(
        self,
        intake: Intake,
        sink: Sink,
        settings: Settings,
        draw: Callable[[], float] = random.random,
        *,
        takeover: bool = False,
    ) -> None:
        self._intake, self._sink, self._settings, self._draw = intake, sink, settings, draw
        # Once only: two runs that both take over must not take the channel from each other repeatedly.
        self._takeover = takeover
        self._held = Backoff(2.0, 60.0, draw)
        # After a failover to a replica, the page must be live again within five seconds.
        self._away = Backoff(0.25, 2.0, draw)
        # A server that asks to slow down gets fewer calls each time it does so in a row.
        self._busy = Backoff(1.0, 60.0, draw)
        # Causes of the current trouble.
        self._troubles: set[str] = set()
        self._log_once = LogOnce(QUIET_S, intake.clock)
        self._is_healing_told = False
        #: Whether this process began the session, and so ends it.
        self.is_ours = False
        self.report()

    def report(self, **changes: Any) -> None:
        """Replace the report; the changes decide how often pictures are wanted.

        Without a viewer the rate of frames falls to one per second; it rises when the first viewer comes. While another
        run holds the channel nothing is rendered or copied for it.
        """
        old = self._intake.report
        status, feedback = changes.get("status", old.status), changes.get("feedback", old.feedback)
        is_watched, frames = feedback.viewers > 0, self._settings.frames
        frame_s: float | None = None
        if frames != "off" and status not in ("refused", "closed"):
            frame_s = 1.0 / self._settings.fps
            frame_s = frame_s if is_watched or frames == "always" else max(SLOW_S, frame_s)
        takes_thumbnails = frames != "off" and is_watched and status in ("registered", "joined")
        takes_minds = takes_thumbnails or (frame_s is not None and frames == "always")
        period_s: dict[PacedStream, float | None] = {
            "frames": frame_s,
            "thumbs": SLOW_S if takes_thumbnails else None,
            "mind": MIND_S if takes_minds else None,
        }
        self._intake.report = replace(old, **changes, period_s=period_s)

    def open(self) -> float:
        """Try once to register. Returns how many seconds to wait before the next attempt; 0 after success."""
        counters = self._intake.counters
        try:
            registered = self._sink.register(takeover=self._takeover)
        except SessionHeldError as error:
            counters.events["refusals"] += 1
            self.report(status="refused")
            self.warn("refused", self._held_text(error.holder))
            return self._held.next_s(at_least_s=max(1.0, error.holder.retry_after_ms / 1000))
        except HudError as error:
            counters.events["failures"] += 1
            if self._takeover and isinstance(error, UnauthorizedError):
                # A takeover needs a token even if writing needs none: the run waits for the channel like any other.
                self._takeover = False
                self.warn("takeover", f"the channel cannot be taken over: {error}")
                return self._draw()
            return self.wait_after(error)
        self._held.reset()
        self._takeover = False
        is_first = not counters.events["registrations"]
        counters.events["registrations"] += 1
        if is_first:
            self.is_ours = not registered.joined
            self._troubles.clear()
            to = self._sink.destination
            level = logging.WARNING if self.is_ours else logging.INFO  # a warning is visible without any logging set-up
            logger.log(level, "HUD: publishing to %s, channel %s%s", to.address, to.channel, to.note)
        self._end_trouble()
        self.report(session=registered, status="joined" if registered.joined else "registered")
        return 0.0

    def _held_text(self, holder: Holder) -> str:
        to = self._sink.destination
        return (
            f"channel {to.channel} at {to.address} is held by run {holder.name!r} (session {holder.sid}). This run "
            "waits and is shown when that one ends; until then it keeps the newest metrics and takes no frames. To see "
            "it now, set HUD_CHANNEL to another name, stop the other run, or end its session with "
            f"`hud reset --channel {to.channel}`"
        )

    def acknowledge(self, reply: Published, *, is_heartbeat: bool) -> None:
        """Record an answered call, which ends all trouble, except that a full Redis answers heartbeats too."""
        self._end_trouble("full" if is_heartbeat else "")
        session = self._intake.report.session
        status = {} if session is None else {"status": "joined" if session.joined else "registered"}
        self.report(feedback=reply, feedback_at=self._intake.clock(), **status)

    def _end_trouble(self, lasting: str = "") -> None:
        if over := self._troubles - {lasting}:
            self._troubles -= over
            if self._is_healing_told:
                logger.warning("HUD: publishing again")
                self._is_healing_told = bool(self._troubles)
        self._away.reset()
        self._busy.reset()

    def lose(self) -> float:
        """Record the loss of the session. Returns how many seconds to wait before asking for it again."""
        self._intake.counters.events["losses"] += 1
        self.report(session=None, status="lost")
        self.warn("lost", "the session ended or went to another run: training goes on, waiting to come back")
        # All writers of a run notice the loss at the same moment, so each waits for a random time.
        return self._draw()

    def wait_after(self, error: HudError) -> float:
        """Log the trouble once; return the seconds to wait before the next call."""
        if isinstance(error, TooManyRequestsError):
            self.warn("busy", str(error))
            return self._busy.next_s(at_least_s=error.retry_after_s)
        self.report(status="connecting")
        self.warn(type(error).__name__, str(error))
        if isinstance(error, UnavailableError):
            return self._away.next_s(at_least_s=error.retry_after_s)
        if isinstance(error, UnauthorizedError):
            return DENIED_WAIT_S * (0.5 + self._draw())
        return self._held.next_s()

    def warn(self, cause: str, text: str) -> None:
        """Log a trouble, once per cause until it is over, and at most once in QUIET_S if it comes and goes."""
        if cause not in self._troubles:
            self._troubles.add(cause)
            self._is_healing_told |= self._log_once(cause, "HUD: %s", text)
