"""`Sender`: the loop of the thread that sends.

`turn` makes at most one call and returns how long to sleep. It uses no thread, so tests call it directly. The parts:
`Schedule` decides when, `Session` registers, `Delivery` settles batches.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable

from hud_publisher.intake.intake import Intake
from hud_publisher.protocol.errors import HudError
from hud_publisher.protocol.replies import Registered
from hud_publisher.protocol.settings import Settings
from hud_publisher.sender.delivery import Delivery
from hud_publisher.sender.encoder import Encoder
from hud_publisher.sender.pauses import Backoff, GilYield
from hud_publisher.sender.schedule import LOOK_S, Schedule
from hud_publisher.sender.session import Session
from hud_publisher.sinks.sink import Sink

logger = logging.getLogger("hud_publisher")

#: Values of metrics per call, 48 entries of ten values: writing the call holds the interpreter lock for a third of a
#: millisecond, and each call can give that lock to a busy training thread for 5 ms.
BATCH_VALUES = 480
#: The same while closing, when training has ended and the time limit is short: a call keeps Redis busy for 2 ms.
CLOSING_VALUES = 2560
#: Share of one core for the sender while more is queued than one call takes: training needs the interpreter. The queue
#: drops the oldest entries of a flood that exceeds this rate.
MAX_SHARE = 0.12
#: The caller of `Thread.start` waits until the thread runs. This sleep returns control to it before the first
#: connection.
START_S = 0.001


class Sender:
    """One writer of a session.

    Args:
        intake: of the publisher.
        sink: the target.
        settings: of the publisher.
        writer: the writer's name.
        takeover: end another run's session once, instead of waiting.
        begins: whether this process began the run and so ends its session; None: if it was the first to register.
        before_release: called with the session before it is ended.
        work_clock: processor time of this thread, in seconds.
        draw: a random number from 0 to 1.
    """

    def __init__(
        self,
        intake: Intake,
        sink: Sink,
        settings: Settings,
        *,
        writer: str,
        takeover: bool = False,
        begins: bool | None = None,
        before_release: Callable[[Registered], None] = lambda _session: None,
        work_clock: Callable[[], float] = time.thread_time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._intake, self._sink, self._clock, self._work_clock = intake, sink, intake.clock, work_clock
        self._begins, self._before_release = begins, before_release
        self._yield_gil = GilYield()
        encoder = Encoder(
            quality=settings.jpeg_quality,
            image_format=settings.frame_format,
            max_side=settings.max_side,
            gil_released=self._yield_gil.restart,
        )
        self._session = Session(intake, sink, settings, draw, takeover=takeover)
        self._schedule = Schedule(intake, settings)
        self.delivery = Delivery(intake, sink, self._session, encoder, writer, self._yield_gil, draw)
        self._not_before = float("-inf")
        self._trouble = Backoff(0.5, 30.0, draw)

    def run(self) -> None:
        """Run in the thread: take turns until asked to end, then send the rest within the time limit."""
        intake = self._intake
        time.sleep(START_S)
        while not self._is_done():
            try:
                sleep_s = self.turn()
                self._trouble.reset()
            except Exception as error:  # the only broad handler: no error may end the thread
                self.delivery.survive(error)
                sleep_s = self._trouble.next_s()
            if intake.close_by is not None:
                sleep_s = 0.0 if self._is_done() else min(sleep_s, intake.close_by - self._clock())
            intake.wait(min(sleep_s, LOOK_S))
        self._end()

    def turn(self) -> float:
        """Make at most one call; return how many seconds to sleep, unless the intake wakes the sender."""
        intake, delivery, schedule = self._intake, self.delivery, self._schedule
        now, is_closing = self._clock(), intake.close_by is not None
        self._yield_gil.restart()
        self._yield_gil.is_off = is_closing
        if now < self._not_before:
            intake.collect(self._yield_gil)
            return self._not_before - now
        session = intake.report.session
        if session is None:
            intake.collect(self._yield_gil)
            return self._hold(self._session.open())
        worked_at, wait_s = self._work_clock(), 0.0
        if delivery.load(CLOSING_VALUES if is_closing else BATCH_VALUES):
            schedule.note_batch(now)
            wait_s = delivery.send(session.session_id)
        elif now >= schedule.heartbeat_at(now):
            wait_s = delivery.heartbeat(session.session_id)
        if wait_s:
            return self._hold(wait_s)
        now = self._clock()
        if delivery.is_idle and (sleep_s := schedule.rest(now)):
            return sleep_s
        # More is queued than one call took: keep this thread within MAX_SHARE.
        return 0.0 if is_closing else max(0.001, (self._work_clock() - worked_at) * (1 / MAX_SHARE - 1))

    def _hold(self, wait_s: float) -> float:
        """Make no call for this long, counted from the end of the last call, which may have taken seconds."""
        self._not_before = self._clock() + wait_s
        return wait_s

    def _is_done(self) -> bool:
        intake = self._intake
        if intake.close_by is None:
            return False
        if intake.release is False and intake.report.session is None and intake.counters.events["losses"]:
            return True  # registering only to release would show the session of an ended run again
        is_sent = self.delivery.is_idle and intake.is_empty()
        # Another run's session will not end in the time that is left.
        return is_sent or intake.report.status == "refused" or self._clock() >= intake.close_by

    def _end(self) -> None:
        intake, report = self._intake, self._intake.report
        self.delivery.abandon()
        intake.clear()
        # Pictures replace each other and do not count.
        unsent = sum(intake.counters.dropped[f"{stream}/closed"] for stream in ("metrics", "iterations", "vision"))
        if unsent:
            is_refused = report.status == "refused"
            why = "another run held the channel" if is_refused else "there was no time left to send them"
            logger.warning("HUD: %d entries were dropped when the publisher closed: %s", unsent, why)
        releases = intake.release
        if releases is None:
            releases = self._session.is_ours if self._begins is None else self._begins
        self._session.report(session=None)
        try:
            if report.session is not None and releases:
                self._before_release(report.session)
                self._sink.release(report.session.session_id)
        except HudError as error:
            logger.info("HUD: the session was not released, it ends by itself: %s", error)
        finally:
            self._sink.close()
            self._session.report(status="closed")
