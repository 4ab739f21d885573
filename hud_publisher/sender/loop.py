"""`Sender`: the loop of the thread that sends, and the schedule of its calls.

`turn` makes at most one call and returns how long to sleep. It uses no thread, so tests call it directly. `Session`
registers, `Delivery` settles batches.

A batch is sent if it is full, a frame or a field has waited its bound, or a heartbeat is due. The first entry after an
idle time wakes the sender and goes at once. Then the sender sleeps for the bound, and entries that come meanwhile send
no signal, because a signal costs the caller some microseconds. A frame wakes the sender at once, unless frames are
batched.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from hud_publisher.protocol.batch import FRAMES_TOGETHER
from hud_publisher.protocol.errors import HudError
from hud_publisher.sender.delivery import Delivery
from hud_publisher.sender.pauses import Backoff
from hud_publisher.sender.session import Session

if TYPE_CHECKING:
    from hud_publisher.intake.intake import Intake
    from hud_publisher.intake.items import Item
    from hud_publisher.machine.sampler import Machine
    from hud_publisher.protocol.batch import Registered
    from hud_publisher.protocol.entries import Entry
    from hud_publisher.protocol.settings import Settings
    from hud_publisher.sender.describer import Describer
    from hud_publisher.sender.pauses import GilYield
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
#: Fields wait at most this long after the last batch: 25 calls per second, and a delay that no chart shows.
FIELDS_WAIT_S = 0.04
#: While frames come at least this often, fields wait for the next frame: that saves a call for a single entry, such as
#: the end of an episode.
FRAME_WAIT_S = 0.1
#: The same for batched frames, at most FRAMES_TOGETHER of them: each call costs the machine the time of three frames
#: (docs/decisions/frames-in-one-call.md). The call has room for as many thumbnails besides.
BATCH_WAIT_S = 0.2
#: Slack for frame jitter: frames arrive on step boundaries, up to this late.
LATE_S = 0.015
#: With more step metrics than this a batch is full: nothing waits for a frame.
FULL_FIELDS = 40
#: How often an idle sender looks for thumbnails, which send no signal (one call serves all envs), bounds the logged
#: entries, and checks whether training began to ask for pictures.
LOOK_S = 0.5
#: Greatest age of the viewers' count while training offers frames: the rate rises within a second of the first viewer.
FRAMES_REFRESH_S = 0.8
#: The same for thumbnails, and how often a claim is renewed; another env may take over after 10 s of silence.
CLAIM_REFRESH_S = 2.0
#: How often the main process of a run writes at least: another run that finds the channel held then knows within two
#: seconds that this one lives.
MAIN_REFRESH_S = 1.0
#: For how long a question whether a picture is due counts as interest.
INTEREST_S = 5.0


class Sender:
    """One writer of a session.

    Args:
        intake: of the publisher.
        sink: the target.
        settings: of the publisher.
        compose: makes entries of queued items.
        yield_gil: releases the GIL between two pieces of work; shared with `compose`.
        writer: the writer's name.
        takeover: end another run's session once, instead of waiting.
        is_main: whether this is the run's main process; None: if it was the first to register.
        follows: leave the choice of a channel to the driver; see Session.
        ask_for: ask a publisher of this process for its session; see Session.
        begins: whether this process began the run and so ends its session; None: if it was the first to register.
        before_release: called with the session before it is ended.
        machine: measures this process and its node; None: nothing is measured.
        describer: sends the run's configuration; None: nothing is sent.
        work_clock: processor time of this thread, in seconds.
        draw: a random number from 0 to 1.
    """

    def __init__(
        self,
        intake: Intake,
        sink: Sink,
        settings: Settings,
        compose: Callable[[list[Item]], tuple[Entry, ...]],
        yield_gil: GilYield,
        *,
        writer: str,
        takeover: bool = False,
        is_main: bool | None = None,
        follows: bool = False,
        ask_for: Callable[[str, str], bool | None] = lambda _channel, _sid: None,
        begins: bool | None = None,
        before_release: Callable[[Registered], None] = lambda _session: None,
        machine: Machine | None = None,
        describer: Describer | None = None,
        work_clock: Callable[[], float] = time.thread_time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._intake, self._sink, self._clock, self._work_clock = intake, sink, intake.clock, work_clock
        self._begins, self._before_release, self._machine = begins, before_release, machine
        self._is_measured = False
        self._describer = describer
        self._yield_gil = yield_gil
        self._batches_frames = settings.batch_frames
        self._is_watched_only = settings.frames == "watched"
        self._session = Session(
            intake, sink, settings, draw, takeover=takeover, is_main=is_main, follows=follows, ask_for=ask_for
        )
        self.delivery = Delivery(intake, sink, self._session, compose, writer, yield_gil, draw)
        #: When the last batch was sent.
        self._sent_at = float("-inf")
        self._not_before = float("-inf")
        self._trouble = Backoff(0.5, 30.0, draw)

    def run(self) -> None:
        """Run in the thread: take turns until asked to end, then send the rest within the time limit."""
        intake = self._intake
        time.sleep(START_S)
        while not self._ends():
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
        intake, delivery = self._intake, self.delivery
        now, is_closing = self._clock(), intake.close_by is not None
        self._yield_gil.restart()
        self._yield_gil.is_off = is_closing
        if now < self._not_before and not (is_closing and self._is_refused_only()):
            intake.collect(self._yield_gil)
            return self._not_before - now
        session = intake.report.session
        if session is None:
            intake.collect(self._yield_gil)
            if intake.is_yielding and not intake.has_more_than(0):
                intake.ask_to_wake(by_frames=True, above_fields=0)
                return LOOK_S
            intake.is_yielding = False
            if self._session.has_given_up:
                intake.clear()
                return LOOK_S
            return self._hold(self._session.open(is_closing=is_closing))
        if self._describer is not None and self._describer.tell(
            session, now, is_ours=self._session.is_ours, is_closing=is_closing, rest=self._yield_gil
        ):
            return 0.0
        if intake.has_more_than(0):
            intake.used_at, intake.is_yielding = now, False
        elif intake.is_yielding and delivery.is_idle and intake.is_empty():
            self._session.yield_session()
            return LOOK_S
        worked_at, wait_s = self._work_clock(), 0.0
        if self._machine is not None and not is_closing:
            self._measure(self._machine, session, now)
        if delivery.load(CLOSING_VALUES if is_closing else BATCH_VALUES):
            self._sent_at = now
            wait_s = delivery.send(session.session_id)
        elif now >= self._heartbeat_at(now):
            wait_s = delivery.heartbeat(session.session_id)
        if wait_s:
            return self._hold(wait_s)
        now = self._clock()
        if delivery.is_idle and (sleep_s := self._rest(now)):
            if self._describer is not None and not is_closing:
                self._describer.look()
            return sleep_s
        # More is queued than one call took: keep this thread within MAX_SHARE.
        return 0.0 if is_closing else max(0.001, (self._work_clock() - worked_at) * (1 / MAX_SHARE - 1))

    def _measure(self, machine: Machine, session: Registered, now: float) -> None:
        """Queue a sample of the machine if one is due; the next batch takes it along."""
        sample = machine.sample(now, session.session_id, self._yield_gil)
        if sample is not None:
            self._intake.inbox("machine").append((time.time_ns(), None, *sample))
            self._is_measured = True

    def _say_end(self) -> None:
        """Report once that this process leaves a session that goes on, so that its silence is no loss."""
        is_leaving = self._is_measured and self._intake.report.session is not None and not self._releases()
        if is_leaving and self._machine is not None:
            self._is_measured = False
            report = {"kind": "end", "process": self._machine.name}
            self._intake.inbox("reports").append((time.time_ns(), None, report, 0))

    def _releases(self) -> bool:
        """Whether this process ends the session when it closes."""
        if self._intake.release is not None:
            return self._intake.release
        return self._session.is_ours if self._begins is None else self._begins

    def _hold(self, wait_s: float) -> float:
        """Make no call for this long, counted from the end of the last call, which may have taken seconds."""
        self._not_before = self._clock() + wait_s
        return wait_s

    def _frame_wait_s(self, now: float) -> float:
        """How long queued entries may wait for the next frame; 0 if none is expected soon."""
        intake, period_s = self._intake, self._intake.report.period_s["frames"]
        most_s = BATCH_WAIT_S if self._batches_frames else FRAME_WAIT_S
        if period_s is None or period_s >= most_s or intake.close_by is not None:
            return 0.0
        frames = max(1, min(FRAMES_TOGETHER, int(most_s / period_s + 1e-6)))
        return max(0.0, intake.pacers["frames"].taken_at + frames * period_s + LATE_S - now)

    def _rest(self, now: float) -> float:
        """Return how long to sleep; 0 if a batch is due. Entries that are due before then wake the sender."""
        intake, frame_s = self._intake, self._frame_wait_s(now)
        wait_s = frame_s if intake.close_by is not None else max(frame_s, self._sent_at + FIELDS_WAIT_S - now)
        batches_frames = self._batches_frames and frame_s > 0.0
        fields = FULL_FIELDS if wait_s > 0.0 else 0
        intake.ask_to_wake(by_frames=not batches_frames, above_fields=fields)
        # A caller that offered an entry before this request did not wake the sender.
        if intake.has_more_than(fields, FRAMES_TOGETHER - 1 if batches_frames else 0):
            return 0.0
        return max(0.0, min(wait_s if wait_s > 0.0 else LOOK_S, self._heartbeat_at(now) - now))

    def _heartbeat_at(self, now: float) -> float:
        """When a heartbeat is due, counted from the last answer."""
        intake = self._intake
        report = intake.report
        refresh_s = report.session.ttl_ms / 3000 if report.session else 0.0
        if self._session.is_main:
            refresh_s = min(refresh_s, MAIN_REFRESH_S)
        if intake.claim is not None or now - intake.pacers["thumbs"].asked_at < INTEREST_S:
            refresh_s = min(refresh_s, CLAIM_REFRESH_S)
        asked_at = max(intake.pacers["frames"].asked_at, intake.pacers["mind"].asked_at)
        is_asked = now - asked_at < INTEREST_S
        if self._is_watched_only and report.feedback.viewers == 0 and is_asked:
            refresh_s = min(refresh_s, FRAMES_REFRESH_S)
        return report.feedback_at + refresh_s

    def _ends(self) -> bool:
        """Whether the thread ends now; before that, say so to the session."""
        if self._intake.close_by is not None:
            self._say_end()
        return self._is_done()

    def _is_done(self) -> bool:
        intake = self._intake
        if intake.close_by is None:
            return False
        if intake.release is False and intake.report.session is None and intake.counters.events["losses"]:
            return True  # registering only to release would show the session of an ended run again
        is_sent = self.delivery.is_idle and intake.is_empty()
        if is_sent and intake.report.session is not None and self._describer is not None:
            is_sent = not self._describer.is_pending()
        # Another run's session will not end in the time that is left.
        is_stuck = intake.report.status == "refused" and not self._is_refused_only()
        return is_sent or is_stuck or self._clock() >= intake.close_by

    def _is_refused_only(self) -> bool:
        """Whether a registration was refused, and the next one can take a channel beside it."""
        return self._intake.report.status == "refused" and self._session.may_go_aside

    def _end(self) -> None:
        intake, report = self._intake, self._intake.report
        self.delivery.abandon()
        intake.clear()
        # Pictures replace each other and do not count.
        unsent = sum(
            intake.counters.dropped[f"{stream}/closed"] for stream in ("metrics", "iterations", "vision", "reports")
        )
        if unsent and not self._session.has_given_up:
            is_refused = report.status == "refused"
            why = "another run held the channel" if is_refused else "there was no time left to send them"
            logger.warning("HUD: %d entries were dropped when the publisher closed: %s", unsent, why)
        releases = self._releases()
        self._session.report(session=None)
        try:
            if report.session is not None and releases:
                self._before_release(report.session)
                self._sink.release(report.session.session_id)
        except HudError as error:
            logger.info("HUD: the session was not released, it ends by itself: %s", error)
        finally:
            if self._machine is not None:
                self._machine.close()
            self._sink.close()
            self._session.report(status="closed")
