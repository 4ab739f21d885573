"""The publisher's thread: when to send, when to ask who watches, when to sleep.

While nothing is sent a heartbeat keeps the session and brings the viewers' count. `turn` does one round and says how
long to sleep; it knows no thread, so tests drive it by hand. What becomes of a batch is hud_publisher.delivery's part,
the session hud_publisher.session's.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable

from hud_publisher.backoff import Backoff
from hud_publisher.composer import Composer
from hud_publisher.delivery import Delivery
from hud_publisher.link import Link
from hud_publisher.pacer import SLOW_S
from hud_publisher.protocol.batch import FRAMES_TOGETHER, Batch
from hud_publisher.protocol.errors import HudError
from hud_publisher.protocol.replies import Registered
from hud_publisher.session import Session
from hud_publisher.sink import Sink

logger = logging.getLogger("hud_publisher")

#: Values of metrics per call, 48 entries of ten: to write the call down, or the message to the helper, takes a third of
#: a millisecond in one piece, and each call lets a busy training thread have the interpreter for 5 ms.
BATCH_VALUES = 480
#: The same while closing, when nobody trains any more and time is short: Redis is held for two milliseconds.
CLOSING_VALUES = 2560
#: How often the thread looks into the outbox while there is traffic and somebody watches: adds 5 ms on average to what
#: a viewer sees.
POLL_S = 0.01
#: The same with nobody watching.
SLOW_POLL_S = 0.04
#: Of one core, while more waits than one call takes: the interpreter is training's. A flood above what that lets pass
#: is thinned out in the outbox.
MAX_SHARE = 0.12
#: How often what was logged is bounded while nothing can be sent.
COLLECT_S = 1.0
#: Traffic is dense where the thread finds some again within so many looks: then it goes on looking, else it asks to be
#: rung for. A ring costs the caller some microseconds, and so little only where calls are few; each look costs training
#: a change of the interpreter lock's owner, a hundred times a second.
DENSE_LOOKS = 3
#: While the last picture is so young and others follow as fast, fields wait for the next one and go with it: a call
#: less for those that would go alone, such as the end of an episode. More entries than so many do not wait.
RIDE_S = 0.1
RIDE_ENTRIES = 40
#: A worker that gathers sends the pictures of so long with one call, no more than FRAMES_TOGETHER: each call costs the
#: machine as much as three pictures (docs/decisions/publisher.md). Beside them a call has room for as many thumbnails.
GATHER_S = 0.2
#: By how much two pictures are further apart than they are due: each comes with a step.
LATE_S = 0.015
#: How often a thread without traffic looks whether somebody has begun to ask for pictures.
IDLE_S = 2.0
#: The same while thumbnails are asked for, which do not ring: one call for those of all envs, not one for each.
THUMBS_S = 0.5
#: How old the viewers' count may be while somebody offers frames: they rise within a second of the first viewer.
FRAMES_REFRESH_S = 0.8
#: The same for thumbnails, and how often a claim is renewed; another env may take over after 10 s of silence.
CLAIM_REFRESH_S = 2.0
#: Whoever started the thread waits until it runs; it must not begin with all that a first connection takes.
START_S = 0.001
#: For how long a question whether a picture is due counts as interest.
INTEREST_S = 5.0


def gathered(period_s: float) -> int:
    """How many pictures go with one call of a worker that gathers, where they come with this period."""
    return max(1, min(FRAMES_TOGETHER, int(GATHER_S / period_s + 1e-6)))


class Worker:
    """One writer of a session."""

    def __init__(
        self,
        link: Link,
        sink: Sink,
        composer: Composer,
        *,
        writer: str,
        fast_period_s: float,
        is_watched_only: bool,
        takeover: bool = False,
        gathers: bool = False,
        clock: Callable[[], float] = time.monotonic,
        work_clock: Callable[[], float] = time.thread_time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._link, self._sink = link, sink
        self._session = Session(link, sink, draw, takeover=takeover)
        self._delivery = Delivery(link, sink, self._session, composer, writer, draw)
        self._fast_period_s, self._is_watched_only = fast_period_s, is_watched_only
        self._gathers = gathers
        self._clock, self._work_clock = clock, work_clock
        self._not_before = float("-inf")
        self._active_at = float("-inf")
        self._is_dense = False
        self._trouble = Backoff(0.5, 30.0, draw)

    @property
    def inflight(self) -> Batch | None:
        """The batch that is not acknowledged yet."""
        return self._delivery.inflight

    def run(self) -> None:
        """Be the thread: take turns until asked to end, then send the rest, in bounded time."""
        link = self._link
        time.sleep(START_S)
        while not self._is_done():
            try:
                sleep_s = self.turn()
                self._trouble.reset()
            except Exception as error:  # the only place: whatever goes wrong here must not end the thread
                self._delivery.survive(error)
                sleep_s = self._trouble.next_s()
            if not link.doorbell.is_armed:
                sleep_s = min(sleep_s, COLLECT_S)
            if link.close_by is not None:
                sleep_s = 0.0 if self._is_done() else min(sleep_s, link.close_by - self._clock())
            link.doorbell.wait(sleep_s)
        self._end()

    def turn(self) -> float:
        """Do at most one call; return how many seconds to sleep, unless the doorbell rings."""
        now = self._clock()
        self._link.breath.begin()
        if now < self._not_before:
            self._link.outbox.collect()
            return self._not_before - now
        if self._delivery.is_awaited:
            wait_s = self._delivery.receive()
            self._follow_viewers()
            if wait_s:
                self._not_before = self._clock() + wait_s
                return wait_s
        registered = self._link.session
        if registered is None:
            self._not_before = self._clock() + self._session.open()
            return max(0.0, self._not_before - self._clock())
        worked_at = self._work_clock()
        if self._delivery.load(BATCH_VALUES if self._link.close_by is None else CLOSING_VALUES):
            self._is_dense = self._is_recent(now)
            self._active_at = now
            rides_s = self._rides_s(now)
            # What the answer says of who is shown must not wait for as long as pictures are gathered.
            wait_s = self._delivery.send(registered, ahead=rides_s > 0.0 and not self._gathers)
            if self._delivery.is_awaited:  # the answer comes before the next picture does, and is taken then
                return self._rest(now, now + rides_s, rides_s)
        else:
            refresh_at = self._refresh_at(registered, now)
            if now < refresh_at:
                return self._rest(now, refresh_at, self._rides_s(now))
            wait_s = self._delivery.heartbeat(registered)
        self._follow_viewers()
        if wait_s:
            self._not_before = self._clock() + wait_s
            return wait_s
        now = self._clock()
        rides_s = self._rides_s(now)
        if self._delivery.is_idle and not self._has_work(rides_s):
            return self._rest(now, self._refresh_at(registered, now), rides_s)
        return self._pause_s(self._work_clock() - worked_at)

    def _follow_viewers(self) -> None:
        link = self._link
        if self._is_watched_only:
            slow_s = max(SLOW_S, self._fast_period_s)
            link.frames.set_period(self._fast_period_s if link.feedback.viewers else slow_s)

    def _poll_s(self) -> float:
        return POLL_S if self._link.feedback.viewers else SLOW_POLL_S

    def _is_recent(self, now: float) -> bool:
        """Whether the last traffic was found within few looks."""
        return now - self._active_at < DENSE_LOOKS * self._poll_s()

    def _pause_s(self, worked_s: float) -> float:
        """How long to sleep while more waits than one call took: as much as keeps this thread within its share."""
        return 0.0 if self._link.close_by is not None else max(0.001, worked_s * (1 / MAX_SHARE - 1))

    def _rest(self, now: float, refresh_at: float, rides_s: float) -> float:
        if rides_s and self._gathers:  # what comes meanwhile need not ring
            return 0.0 if self._has_work(rides_s) else max(0.0, min(rides_s, refresh_at - now))
        if self._is_dense and self._is_recent(now):
            return max(0.0, min(self._poll_s(), refresh_at - now))
        link = self._link
        link.doorbell.arm(for_fields=not rides_s)
        # Whoever offered before seeing the doorbell armed did not ring.
        if self._has_work(rides_s):
            return 0.0
        if rides_s:
            return max(0.0, min(rides_s, refresh_at - now))
        has_thumbs = link.thumbs.is_open and now - link.thumbs.asked_at < INTEREST_S
        return max(0.0, min(THUMBS_S if has_thumbs else IDLE_S, refresh_at - now))

    def _rides_s(self, now: float) -> float:
        """For how long what waits may wait for the next picture; 0 where none is expected in that time."""
        link = self._link
        period_s = link.frames.period_s
        if period_s >= (GATHER_S if self._gathers else RIDE_S) or link.close_by is not None:
            return 0.0
        ride_s = period_s * self._together() + LATE_S if self._gathers else RIDE_S
        return max(0.0, link.frames.taken_at + ride_s - now)

    def _together(self) -> int:
        """How many pictures go with one call."""
        return gathered(self._link.frames.period_s) if self._gathers else 1

    def _has_work(self, rides_s: float) -> bool:
        """Whether something waits that does not wait for a picture."""
        outbox = self._link.outbox
        return outbox.has_more_than(RIDE_ENTRIES, self._together() - 1) if rides_s else not outbox.is_empty()

    def _refresh_at(self, registered: Registered, now: float) -> float:
        """When a heartbeat is due: so long after the last answer."""
        link = self._link
        refresh_s = registered.ttl_ms / 3000
        if link.claim is not None or now - link.thumbs.asked_at < INTEREST_S:
            refresh_s = min(refresh_s, CLAIM_REFRESH_S)
        if self._is_watched_only and link.feedback.viewers == 0 and now - link.frames.asked_at < INTEREST_S:
            refresh_s = min(refresh_s, FRAMES_REFRESH_S)
        return link.feedback_at + refresh_s

    def _is_done(self) -> bool:
        link = self._link
        if link.close_by is None:
            return False
        is_sent = self._delivery.is_idle and link.outbox.is_empty()
        # Another run's session will not end in the time that is left.
        return is_sent or link.status == "refused" or self._clock() >= link.close_by

    def _end(self) -> None:
        link = self._link
        self._delivery.abandon()
        link.outbox.clear()
        releases = self._session.is_ours if link.release is None else link.release
        try:
            if link.session is not None and releases:
                self._sink.release(link.session.session_id)
        except HudError as error:
            logger.info("HUD: the session was not released, it ends by itself: %s", error)
        finally:
            self._sink.close()
            link.session = None
            link.status = "closed"
