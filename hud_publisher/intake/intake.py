"""`Intake`: everything that training hands to the sender, and the sender's newest report.

Bounded and non-blocking; the newest entries survive. Step metrics and iterations have separate queues, so a flood of
steps cannot push an iteration out. Of frames and thumbnails, each env has one slot for its newest, or as many slots as
one call takes.

Waking a thread for each `log` call would cost microseconds and two switches of the GIL. So the sender asks to be woken
(`ask_to_wake`) only when it goes idle, and `log` reads that request from the inbox that it appends to.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from hud_publisher.intake.allowance import Allowance
from hud_publisher.intake.copying import picture_bytes
from hud_publisher.intake.fields import MAX_INBOX, WIDE, FieldsQueue
from hud_publisher.intake.items import (
    Env,
    FieldsStream,
    Item,
    Mind,
    NoPicture,
    PacedStream,
    Picture,
    PictureStream,
    Vision,
)
from hud_publisher.intake.lines import LogLines
from hud_publisher.intake.pacer import Pacer
from hud_publisher.intake.report import Counters, Report, make_stats

if TYPE_CHECKING:
    from hud_publisher.intake.fields import Inbox
    from hud_publisher.intake.report import Stats
    from hud_publisher.protocol.batch import Claim
    from hud_publisher.protocol.entries import StreamName

#: Memory of queued frames, and of queued thumbnails.
MAX_PICTURE_BYTES = 64 * 1024 * 1024
#: Bytes of observations per second and env, before they become pictures: views with more than 200 KB come less often
#: than five times a second, so that no viewer's connection carries more for them than for frames.
MIND_BYTES_PER_S = 1024 * 1024
#: Cost of an entry besides its values, counted in values.
LEAST_WEIGHT = 6


S = TypeVar("S")
#: Pictures or views by (env, index among those of that env).
Slots = dict[tuple[Env | None, int], S]


#: Alerts that training may send at once, and the time in which one more is allowed, in seconds.
ALERTS_AT_ONCE = 10
ALERT_PERIOD_S = 1.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many entries the intake may hold.

    Attributes:
        metrics: values (fields, items of lists) of step metrics; 200,000 are about 16 MB, or 20,000 entries of ten.
        iterations: values of iterations; 200,000 are about 400 results of RLlib.
        machine: values of the machine's use.
        reports: values of deaths, restarts, log lines and alerts; 20,000 are more than 2,000 of them.
        vision: calls of the vision LLM.
        vision_bytes: memory of their pictures; past it the oldest calls lose their pictures.
        envs: envs with a queued frame or thumbnail.
        frames: frames of one env.
        minds: envs with a queued view of the policy, each of which may hold an observation of 4 MB.
    """

    metrics: int = 200_000
    iterations: int = 200_000
    machine: int = 20_000
    reports: int = 20_000
    vision: int = 16
    vision_bytes: int = 128 * 1024 * 1024
    envs: int = 256
    frames: int = 1
    minds: int = 16


class Intake:
    """The queues, frame slots, pacers, claim and close request of one publisher in one process.

    Attributes:
        report: the sender's state; only the sender replaces it.
        counters: the part of `stats` that the sender counts.
        early: the part that training threads count.
        alerts: limits the rate of alerts.
        lines: the program's log lines that wait to be sent.
        claim: attached to every following batch.
        close_by: set to ask the sender to end by this time, on the monotonic clock.
        release: whether to end the session on closing; None: if this process began it.
        used_at: when the sender last took an entry of training, on the monotonic clock.
        may_yield: the session may be given up for another run of this process, since no other process has its run id.
        is_yielding: another run of this process asked for the session.
    """

    def __init__(
        self,
        bounds: Bounds | None = None,
        *,
        report: Report | None = None,
        claim: Claim | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bounds = bounds or Bounds()
        self.report, self.claim, self.clock = report or Report(), claim, clock
        self.counters, self.early = Counters(), Counters()
        self.close_by: float | None = None
        self.release: bool | None = None
        self.used_at = clock()
        self.may_yield = self.is_yielding = False
        self.alerts = Allowance(ALERTS_AT_ONCE, ALERT_PERIOD_S, clock)
        self.lines = LogLines(clock)
        self.pacers: dict[PacedStream, Pacer] = {name: Pacer(clock) for name in get_args(PacedStream)}
        self._queues: dict[FieldsStream, FieldsQueue] = {
            "reports": FieldsQueue("reports", self._bounds.reports, self.counters),
            "iterations": FieldsQueue("iterations", self._bounds.iterations, self.counters),
            "metrics": FieldsQueue("metrics", self._bounds.metrics, self.counters),
            "machine": FieldsQueue("machine", self._bounds.machine, self.counters),
        }
        self._vision: deque[Vision] = deque()
        self._slots: dict[PictureStream, Slots[Picture]] = {"frames": {}, "thumbs": {}}
        self._minds: Slots[Mind] = {}
        self._frames_offered = itertools.count()
        #: Released by `wake` until the sender wakes; a lock is the cheapest object that supports a wait with a timeout.
        self._sleep = threading.Lock()
        self._sleep.acquire()
        #: Whether the sender asked to be woken by the next frame, vision call or iteration.
        self.is_wake_asked = False

    # -- for training threads -----------------------------------------------------------------------------------------

    def is_due(self, stream: PacedStream, env: Env | None) -> bool:
        """Whether a picture of this env would be taken now. Costs one clock read."""
        return self.pacers[stream].is_due(env, self.report.period_s[stream] if self.close_by is None else None)

    def begin(self, stream: PacedStream, env: Env | None) -> bool:
        """Return whether a picture of this env is due; if so, the next one is due a period later."""
        return self.pacers[stream].take(env, self.report.period_s[stream] if self.close_by is None else None)

    def inbox(self, stream: FieldsStream) -> Inbox:
        """Return the inbox of a stream, to which `log` appends directly; then it may have to call `attend`."""
        return self._queues[stream].inbox

    def attend(self, stream: FieldsStream, weight: int, *, wakes: bool = True) -> None:
        """Bound an inbox after an entry of `weight` values, and wake the sender if it asked for that."""
        queue = self._queues[stream]
        if len(queue.inbox) > MAX_INBOX or weight > WIDE:
            queue.relieve(weight)
        if wakes and (self.is_wake_asked if stream != "metrics" else len(queue.inbox) > queue.inbox.alert_above):
            self.wake()

    def offer_picture(self, item: Picture) -> None:
        """Put a frame or thumbnail into a slot of its env; it replaces an older one that was not sent yet."""
        slots, key = self._slots[item.stream], (item.env, 0)
        if item.stream == "frames" and self._bounds.frames > 1:
            others = [other for other in tuple(slots) if other[0] == item.env]
            oldest = others[0] if len(others) >= self._bounds.frames else None
            key = (item.env, next(self._frames_offered))
        else:
            oldest = key
        if oldest is not None and slots.pop(oldest, None) is not None:
            self.early.drop(item.stream, "replaced")
        slots[key] = item
        # Assume that all are as large as the newest: a sum over all slots would cost more than copying the picture.
        fitting = max(1, MAX_PICTURE_BYTES // max(1, picture_bytes([item.pixels])))
        most = min(fitting, self._bounds.envs * self._bounds.frames)
        while len(slots) > most and _pop_oldest(slots) is not None:
            self.early.drop(item.stream, "overflow")
        if item.stream == "frames" and self.is_wake_asked:
            self.wake()

    def offer_mind(self, item: Mind, size: int = 0) -> None:
        """Put a view of the policy into the slot of its env; it replaces an older one that was not sent yet.

        Args:
            item: the view.
            size: bytes of its observation's arrays; views with large ones are due less often.
        """
        self.pacers["mind"].postpone(item.env, self.report.period_s["mind"], size / MIND_BYTES_PER_S)
        minds, key = self._minds, (item.env, 0)
        if minds.pop(key, None) is not None:
            self.early.drop("mind", "replaced")
        minds[key] = item
        while len(minds) > self._bounds.minds and _pop_oldest(minds) is not None:
            self.early.drop("mind", "overflow")
        if self.is_wake_asked:
            self.wake()

    def offer_vision(self, item: Vision) -> None:
        """Append a call of the vision LLM; drop the oldest call if there is no room."""
        self._vision.append(item)
        if len(self._vision) > self._bounds.vision:
            with contextlib.suppress(IndexError):  # the sender has just emptied it
                self._vision.popleft()
                self.early.drop("vision", "overflow")
        waiting = tuple(self._vision)
        excess = sum(picture_bytes(call.images) for call in waiting) - self._bounds.vision_bytes
        for call in waiting[:-1]:
            if excess <= 0:
                break
            excess -= picture_bytes(call.images)
            call.images = [NoPicture("too many large pictures were queued")]
        if self.is_wake_asked:
            self.wake()

    def offer_line(self, time_ms: int, line: dict[str, Any]) -> None:
        """Append a log line of the program."""
        self.lines.offer(time_ms, line)
        if self.is_wake_asked:
            self.wake()

    def set_claim(self, claim: Claim | None) -> None:
        """Set or withdraw the claim; withdrawing drops frames and views, which would mix with those of another env."""
        if claim is None and self.claim is not None:
            while _pop_oldest(self._slots["frames"]) is not None:
                self.early.drop("frames", "replaced")
            while _pop_oldest(self._minds) is not None:
                self.early.drop("mind", "replaced")
        is_new, self.claim = claim is not None and claim != self.claim, claim
        if is_new:
            self.wake()

    def close(self, close_by: float, release: bool | None) -> None:
        """Ask the sender to end by this time, on the monotonic clock; the first call decides."""
        if self.close_by is None:
            self.release = release
            self.close_by = close_by
        self.wake()

    def ask_to_yield(self) -> None:
        """Ask the sender to end the session once the queue is sent, until the next entry."""
        self.is_yielding = True
        self.wake()

    def wake(self) -> None:
        """Wake the sender, or make its next wait return at once."""
        self._forget_wake()
        with contextlib.suppress(RuntimeError):  # it has been woken already
            self._sleep.release()

    # -- for the sender -----------------------------------------------------------------------------------------------

    def ask_to_wake(self, *, by_frames: bool, above_fields: int) -> None:
        """Ask to be woken by the next frame, vision call or iteration, and by step metrics above a number."""
        self._queues["metrics"].inbox.alert_above = above_fields
        self.is_wake_asked = by_frames

    def _forget_wake(self) -> None:
        self.is_wake_asked = False
        self._queues["metrics"].inbox.alert_above = MAX_INBOX

    def wait(self, timeout_s: float) -> None:
        """Sleep until woken, at most this long."""
        self._sleep.acquire(timeout=min(max(0.0, timeout_s), threading.TIMEOUT_MAX))
        self._forget_wake()

    def collect(self, yield_gil: Callable[[], None] = lambda: None) -> None:
        """Bound the entries that were logged since the last call. Called at least once a second."""
        for queue in self._queues.values():
            if queue.inbox:
                queue.collect(yield_gil)

    def take_batch(
        self, max_values: int, max_pictures: int, yield_gil: Callable[[], None] = lambda: None
    ) -> list[Item]:
        """Remove and return the next items: fields in the order they were logged, then pictures, oldest slot first.

        Args:
            max_values: how many values the fields may hold together; one entry may have more.
            max_pictures: frames, thumbnails, vision calls and views of the policy together.
            yield_gil: called between two pieces of the work.
        """
        self.collect(yield_gil)
        taken: list[Item] = []
        for queue in self._queues.values():
            while max_values > 0 and (item := queue.take()) is not None:
                max_values -= max(item.weight, LEAST_WEIGHT)
                taken.append(item)
        if self.lines:
            lines = self.lines.take(is_closing=self.close_by is not None)
            self.counters.taken["reports"] += len(lines)
            taken = [*lines, *taken]  # before the report of a death in the same millisecond
        if len(taken) > 1:
            taken.sort(key=lambda item: item.time_ms)
        while max_pictures > 0 and (picture := self._take_picture()) is not None:
            self.counters.taken[picture.stream] += 1
            taken.append(picture)
            max_pictures -= 1
        return taken

    def _take_picture(self) -> Picture | Vision | Mind | None:
        if (mind := _pop_oldest(self._minds)) is not None:
            return mind
        if (frame := _pop_oldest(self._slots["frames"])) is not None:
            return frame
        if self._vision:
            with contextlib.suppress(IndexError):  # a training thread has just dropped it for a newer one
                return self._vision.popleft()
        return _pop_oldest(self._slots["thumbs"])

    def clear(self) -> None:
        """Drop all queued entries and count them as dropped at closing."""
        while items := self.take_batch(1000, 1000):
            for item in items:
                self.counters.drop(item.stream, "closed")

    # -- for both -----------------------------------------------------------------------------------------------------

    def is_empty(self) -> bool:
        """Whether no entry is queued."""
        return not (self._slots["thumbs"] or self.lines or len(self._queues["machine"]) or self.has_more_than(0))

    def has_more_than(self, fields: int, frames: int = 0) -> bool:
        """Whether more than `fields` step metrics or `frames` frames are queued, or an entry that goes at once."""
        return (
            len(self._queues["metrics"]) > fields
            or len(self._slots["frames"]) > frames
            or bool(self._vision)
            or (bool(self._minds) and not frames)  # a view goes with its frame, if frames are batched
            or any(len(self._queues[name]) for name in ("iterations", "reports"))
        )

    def offered(self) -> Mapping[StreamName, int]:
        """How many entries of each stream the sender has not read yet."""
        counts: dict[StreamName, int] = {"vision": len(self._vision), "mind": len(self._minds)}
        counts |= {stream: len(queue.inbox) for stream, queue in self._queues.items()}
        counts |= {stream: len(slots) for stream, slots in self._slots.items()}
        return counts

    def stats(self) -> Stats:
        """Return the current counts."""
        return make_stats(self.counters, self.early, self.offered())


def _pop_oldest(slots: Slots[S]) -> S | None:
    """Remove and return the slot that was filled first; None if there is none, or another thread was faster."""
    try:
        return slots.pop(next(iter(slots)))
    except (StopIteration, KeyError, RuntimeError):
        return None
