"""Registers the session, and registers again after a loss; writes the report; keeps the waits and the log lines.

A run that finds its channel held asks often until it knows whether the holder lives (`Contention`), and then continues
in its own channel, waits, or gives up. A publisher that waits does so at least as long as the holder's lease, longer
each time, and for a random time, so that a thousand of them cost the server a few requests per second. Called by
sender.loop and sender.delivery.
"""

from __future__ import annotations

import contextlib
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
from hud_publisher.sender.contention import Contention
from hud_publisher.sender.pauses import Backoff

if TYPE_CHECKING:
    from hud_publisher.intake.intake import Intake
    from hud_publisher.intake.items import PacedStream
    from hud_publisher.protocol.batch import Published, Registered
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
#: Between two attempts while the run that holds the channel is one of this process, which yields if it is forgotten.
NEIGHBOUR_S = 0.1
#: A cause that comes and goes, such as a server that refuses every second call, is logged at most once in this time.
QUIET_S = 60.0
#: Added to the log line about an address that cannot be used.
_HELP = ". Training goes on, and the publisher tries again; `hud doctor` finds the cause and the fix"


class Session:
    """The transitions from `connecting` to `registered` or `joined`, and back. The only writer of the report.

    Args:
        intake: of the publisher.
        sink: the target.
        settings: of the publisher.
        draw: a random number from 0 to 1.
        takeover: end another run's session once, instead of waiting.
        is_main: whether this is the run's main process; None: if it begins the session.
        follows: this process never chooses a channel for its run, since the driver does, unless it closes. An env
            runner whose driver was killed must not show a run that ended.
        ask_for: asks the publisher of this process that holds a session, by channel and SID, to give it up; returns
            whether it does, None if there is none.
    """

    def __init__(
        self,
        intake: Intake,
        sink: Sink,
        settings: Settings,
        draw: Callable[[], float] = random.random,
        *,
        takeover: bool = False,
        is_main: bool | None = None,
        follows: bool = False,
        ask_for: Callable[[str, str], bool | None] = lambda _channel, _sid: None,
    ) -> None:
        self._intake, self._sink, self._settings, self._draw = intake, sink, settings, draw
        self._is_main, self._follows, self._ask_for = is_main, follows, ask_for
        # Once only: two runs that both take over must not take the channel from each other repeatedly.
        self._takeover = takeover
        self._held = Backoff(2.0, 60.0, draw)
        self._following = Backoff(0.5, 60.0, draw)
        self._contention: Contention | None = None
        self._has_yielded = False
        #: Every channel beside the held one is refused too, or the server is too old to have them.
        self._is_aside_refused = False
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
        #: Whether the run publishes nothing, because another run held its channel.
        self.has_given_up = False
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

    @property
    def is_main(self) -> bool:
        """Whether this is the run's main process, whose writes show that the run lives."""
        return self.is_ours if self._is_main is None else self._is_main

    @property
    def may_go_aside(self) -> bool:
        """Whether a refused process that closes can still deliver its entries."""
        return self._settings.when_held == "aside" and not self._is_aside_refused

    def open(self, *, is_closing: bool = False) -> float:
        """Try once to register. Returns how many seconds to wait before the next attempt; 0 after success."""
        counters, clock = self._intake.counters, self._intake.clock
        contention, sent_at = self._contention, clock()
        is_decided = contention is not None and (is_closing or (contention.is_over and not self._follows))
        try:
            registered = self._sink.register(takeover=self._takeover, aside=is_decided and self.may_go_aside)
        except SessionHeldError as error:
            counters.events["refusals"] += 1
            self.report(status="refused")
            self._is_aside_refused |= is_decided and self.may_go_aside
            return self._refuse(error.holder, sent_at, clock(), is_closing=is_closing)
        except HudError as error:
            counters.events["failures"] += 1
            if self._takeover and isinstance(error, UnauthorizedError):
                # A takeover needs a token even if writing needs none: the run waits for the channel like any other.
                self._takeover = False
                self.warn("takeover", f"the channel cannot be taken over: {error}")
                return self._draw()
            return self.wait_after(error)
        is_moved = registered.channel != (self._intake.report.channel or self._sink.destination.channel)
        if contention is not None and contention.holder is not None and is_moved and not registered.joined:
            text = f"{self._held_text(contention.holder)}: this run continues in channel {registered.channel}"
            link = page_link(registered)
            logger.warning("HUD: %s%s", text, f": {link}" if link else "")
            self._troubles.discard("refused")
        self._held.reset()
        self._following.reset()
        self._contention, self._takeover, self._is_aside_refused = None, False, False
        is_first = not counters.events["registrations"]
        counters.events["registrations"] += 1
        if is_first:
            self.is_ours = not registered.joined
            self._troubles.clear()
            to = self._sink.destination
            # A warning is visible without any logging set-up, and from Ray's workers.
            level = logging.WARNING if self.is_ours or self.is_main else logging.INFO
            logger.log(level, "HUD: publishing to %s, channel %s%s", to.address, registered.channel, to.note)
            if self.is_main and (link := page_link(registered)):
                logger.warning("HUD: %s", link)
        self._end_trouble()
        status = "joined" if registered.joined else "registered"
        self.report(session=registered, channel=registered.channel, status=status)
        return 0.0

    def _refuse(self, holder: Holder, sent_at: float, now: float, *, is_closing: bool) -> float:
        """Return how many seconds a refused run waits; log its action, once."""
        when_held = self._settings.when_held
        if when_held == "wait" or self._is_aside_refused:
            self.warn("refused", self._waiting_text(holder))
            return self._held.next_s(at_least_s=max(1.0, holder.retry_after_ms / 1000))
        if self._contention is None:
            self._contention = Contention(self._settings.session_ttl_s, self._draw)
        wait_s = self._contention.refuse(holder, sent_at, now)
        # Two runs that are used in turn must not take the channel from each other repeatedly.
        yields = None if self._has_yielded else self._ask_for(self._sink.destination.channel, holder.sid)
        if yields is not None and not is_closing:
            self._contention.ask_neighbour(is_used=not yields, now=now)
            wait_s = min(wait_s, NEIGHBOUR_S)
        if self._follows and not is_closing:
            return self._following.next_s()
        if (self._contention.is_over or is_closing) and when_held == "off":
            self.has_given_up = True
            logger.warning("HUD: %s: this run is not shown, because HUD_WHEN_HELD is off", self._held_text(holder))
        elif self._contention.is_over or is_closing:
            return 0.0
        elif self._contention.is_long:
            self.warn(
                "refused",
                f"{self._held_text(holder)}, which may have crashed. This run waits at most "
                f"{self._settings.session_ttl_s:g} s for its lease to run out, and keeps the newest metrics",
            )
        return wait_s

    def _held_text(self, holder: Holder) -> str:
        to = self._sink.destination
        return f"channel {to.channel} at {to.address} is held by run {holder.name!r} (session {holder.sid})"

    def _waiting_text(self, holder: Holder) -> str:
        return (
            f"{self._held_text(holder)}. This run waits and is shown when that one ends; until then it keeps the "
            "newest metrics and takes no frames. To see it now, set HUD_CHANNEL to another name, stop the other run, "
            f"or end its session with `hud reset --channel {self._sink.destination.channel}`"
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
        self.warn("lost", "the session ended or went to another run: training goes on, registering again")
        # All writers of a run notice the loss at the same moment, so each waits for a random time.
        return self._draw()

    def yield_session(self) -> None:
        """End the session for another run of this process; the next entry registers again."""
        self._has_yielded = True
        session = self._intake.report.session
        self.report(session=None, status="connecting")
        if session is not None:
            with contextlib.suppress(HudError):  # its lease ends by itself
                self._sink.release(session.session_id)

    def wait_after(self, error: HudError) -> float:
        """Log the trouble once; return the seconds to wait before the next call."""
        if isinstance(error, TooManyRequestsError):
            self.warn("busy", str(error))
            return self._busy.next_s(at_least_s=error.retry_after_s)
        self.report(status="connecting")
        is_away = isinstance(error, (UnavailableError, UnauthorizedError))
        self.warn(type(error).__name__, f"{error}{_HELP}" if is_away else str(error))
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


def page_link(session: Registered) -> str | None:
    """Return the address of the page that shows a session's channel; None if it is unknown."""
    return f"{session.page}/?channel={session.channel}" if session.page else None
