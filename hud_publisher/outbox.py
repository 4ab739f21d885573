"""What waits to be sent: bounded, newest first to survive, never blocking.

Two parts. *Inboxes and slots* take what training threads offer, with single operations that need no lock: a thread that
logs cannot be held up by the one that sends. *Queues* belong to the publisher's thread alone: it moves the inboxes into
them at least once a second and bounds them there. Step metrics and iterations wait apart, so a flood of steps cannot
push an iteration out. Of frames and thumbnails only the newest of each env waits, or as many as go with one call.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hud_publisher.protocol.entries import StreamName
from hud_publisher.stats import Counters

Env = tuple[int, int]
#: Unix time in ns, step, fields, and how many values the fields hold (0: as many as there are fields).
Offered = tuple[int, int | None, dict[Any, Any], int]

#: Entries that an inbox holds at most, while the thread waits in a call that nobody answers: 7 MB with ten values each.
MAX_INBOX = 10_000
#: What an entry costs besides its values, in values.
LEAST_WEIGHT = 6
#: Fields that an entry may grow to by inheriting; more are names that change with every step.
MAX_INHERITED = 500


class Inbox(deque[Offered]):
    """What training threads logged and the publisher's thread has not seen yet, oldest first.

    Attributes:
        easy_up_to: where it holds no more entries than this afterwards, appending is all there is to do; otherwise it
            is too full, or whoever appends is asked to ring.
    """

    __slots__ = ("easy_up_to",)

    def __init__(self) -> None:
        super().__init__()
        self.easy_up_to = MAX_INBOX


@dataclass(slots=True)
class Fields:
    """Metrics as they were logged, copied but not cleaned yet; `weight` is about how many values it holds."""

    data: dict[Any, Any]
    time_ms: int
    step: int | None
    stream: Literal["metrics", "iterations"]
    weight: int


@dataclass(slots=True)
class Picture:
    """A frame or thumbnail: pixels to encode, or bytes that are encoded already."""

    pixels: Any
    time_ms: int
    step: int | None
    episode: int | None
    env: Env | None
    stream: Literal["frames", "thumbs"]


@dataclass(slots=True)
class Vision:
    """A call of the vision LLM; `image` are pixels to encode, or bytes to keep as they are."""

    image: Any
    time_ms: int
    step: int | None
    prompt: str | None
    response: str | None
    response_time_ms: float | None
    extra: dict[Any, Any] = field(default_factory=dict)
    stream: Literal["vision"] = "vision"


Item = Fields | Picture | Vision
#: What waits by its env, and which it is of those of its env.
Slots = dict[tuple[Env | None, int], Picture]


@dataclass(frozen=True, slots=True)
class Room:
    """How much may wait.

    Attributes:
        metrics: values (fields, items of lists) of step metrics; 200,000 are about 16 MB, or 20,000 entries of ten.
        iterations: values of iterations; 200,000 are about 400 results of RLlib.
        vision: calls of the vision LLM; each holds a picture.
        envs: envs with a frame or thumbnail waiting.
        frames: frames of one env.
    """

    metrics: int = 200_000
    iterations: int = 200_000
    vision: int = 16
    envs: int = 256
    frames: int = 1


class _Queue:
    """Entries of one stream in the publisher's thread, bounded by how many values they hold."""

    def __init__(
        self, stream: Literal["metrics", "iterations"], room: int, counters: Counters, breathe: Callable[[], None]
    ) -> None:
        self.inbox = Inbox()
        self.waiting: deque[Fields] = deque()
        self._stream, self._room, self._counters, self._breathe = stream, room, counters, breathe
        self._weight = 0

    def collect(self) -> None:
        """Move the inbox here; the oldest entries give way where there is no room.

        A field of a dropped step entry that the next one does not have goes over to it, so that in a flood of steps the
        newest value of every field survives.
        """
        for _ in range(len(self.inbox)):  # what is logged meanwhile waits for the next time
            self._breathe()
            if not self.inbox:  # a training thread has just made room
                break
            time_ns, step, data, weight = self.inbox.popleft()
            weight = weight or len(data)
            self.waiting.append(Fields(data, time_ns // 1_000_000, step, self._stream, weight))
            self._counters.taken[self._stream] += 1
            self._weight += weight
        while self._weight > self._room and len(self.waiting) > 1:
            self._breathe()
            oldest = self.waiting.popleft()
            self._weight -= oldest.weight
            self._counters.drop(self._stream, "overflow")
            if self._stream == "metrics":
                self._hand_over(oldest, self.waiting[0])

    def _hand_over(self, oldest: Fields, heir: Fields) -> None:
        orphans = oldest.data.keys() - heir.data.keys()
        if orphans and len(orphans) + len(heir.data) <= MAX_INHERITED:
            heir.data = {**{name: oldest.data[name] for name in orphans}, **heir.data}
            added = min(oldest.weight, len(orphans) * (1 + oldest.weight // max(1, len(oldest.data))))
            heir.weight += added
            self._weight += added

    def take(self) -> Fields:
        item = self.waiting.popleft()
        self._weight -= item.weight
        return item

    def __len__(self) -> int:
        return len(self.inbox) + len(self.waiting)


class Outbox:
    """The inboxes, slots and queues, and their bounds.

    Args:
        counters: of the publisher's thread.
        refusals: of the training threads.
        room: how much may wait.
        breathe: called between pieces of the publisher's thread's work.
    """

    def __init__(
        self,
        counters: Counters,
        refusals: Counters,
        room: Room | None = None,
        breathe: Callable[[], None] = lambda: None,
    ) -> None:
        self._counters, self._refusals = counters, refusals
        self._room = room or Room()
        self._metrics = _Queue("metrics", self._room.metrics, counters, breathe)
        self._iterations = _Queue("iterations", self._room.iterations, counters, breathe)
        self._vision: deque[Vision] = deque()
        self._frames: Slots = {}
        self._thumbs: Slots = {}
        self._frames_offered = itertools.count()
        #: Never others, so that one look tells whether something waits.
        self._all = (
            self._metrics.inbox, self._frames, self._metrics.waiting, self._iterations.inbox, self._iterations.waiting,
            self._vision, self._thumbs,
        )  # fmt: skip
        #: Whoever appends looks at the length afterwards, see `make_room`.
        self.metrics_inbox = self._metrics.inbox
        self.iterations_inbox = self._iterations.inbox

    # -- for training threads -----------------------------------------------------------------------------------------

    def make_room(self, stream: Literal["metrics", "iterations"]) -> None:
        """Drop the oldest entry of an inbox that is too full."""
        inbox = self.metrics_inbox if stream == "metrics" else self.iterations_inbox
        try:
            inbox.popleft()
        except IndexError:  # the publisher's thread has just emptied it
            return
        self._refusals.drop(stream, "overflow")

    def offer_picture(self, item: Picture) -> None:
        """Put a frame or thumbnail in a slot of its env, in place of an older one that was not sent yet."""
        slots, key = (self._frames if item.stream == "frames" else self._thumbs), (item.env, 0)
        if item.stream == "frames" and self._room.frames > 1:
            others = [other for other in tuple(slots) if other[0] == item.env]
            oldest = others[0] if len(others) >= self._room.frames else None
            key = (item.env, next(self._frames_offered))
        else:
            oldest = key
        if oldest is not None and slots.pop(oldest, None) is not None:
            self._refusals.drop(item.stream, "replaced")
        slots[key] = item
        if len(slots) > self._room.envs * self._room.frames and _pop_oldest(slots) is not None:
            self._refusals.drop(item.stream, "overflow")

    def offer_vision(self, item: Vision) -> None:
        """Put a call of the vision LLM at the end; the oldest gives way where there is no room."""
        self._vision.append(item)
        if len(self._vision) > self._room.vision:
            try:
                self._vision.popleft()
            except IndexError:  # the publisher's thread has just emptied it
                return
            self._refusals.drop("vision", "overflow")

    # -- for the publisher's thread -----------------------------------------------------------------------------------

    def collect(self) -> None:
        """Bound what was logged since the last time. Called at least once a second."""
        for queue in (self._metrics, self._iterations):
            if queue.inbox:
                queue.collect()

    def take(self, max_values: int, max_pictures: int) -> list[Item]:
        """Remove and return the next items: fields in the order they were logged, then pictures, oldest slot first.

        Args:
            max_values: how many values the fields may hold together; one entry may have more.
            max_pictures: frames, thumbnails and vision calls together.
        """
        self.collect()
        taken: list[Item] = []
        for queue in (self._iterations, self._metrics):
            while queue.waiting and max_values > 0:
                item = queue.take()
                max_values -= max(item.weight, LEAST_WEIGHT)
                taken.append(item)
        if len(taken) > 1:
            taken.sort(key=lambda item: item.time_ms)
        while max_pictures > 0 and (picture := self._take_picture()) is not None:
            self._counters.taken[picture.stream] += 1
            taken.append(picture)
            max_pictures -= 1
        return taken

    def _take_picture(self) -> Picture | Vision | None:
        if self._frames and (frame := _pop_oldest(self._frames)) is not None:
            return frame
        if self._vision:
            try:
                return self._vision.popleft()
            except IndexError:  # a training thread has just dropped it for a newer one
                pass
        return _pop_oldest(self._thumbs) if self._thumbs else None

    def clear(self) -> None:
        """Count everything that waits as dropped at closing, and forget it."""
        while items := self.take(1000, 1000):
            for item in items:
                self._counters.drop(item.stream, "closed")

    def forget_frames(self) -> None:
        """Drop the frames that wait: another env is shown now."""
        while self._frames and _pop_oldest(self._frames) is not None:
            self._refusals.drop("frames", "replaced")

    # -- for both -----------------------------------------------------------------------------------------------------

    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not any(self._all)

    def has_more_than(self, fields: int, frames: int = 0) -> bool:
        """Whether more waits than so many step metrics and frames; thumbnails do not count."""
        return (
            len(self._metrics) > fields
            or len(self._frames) > frames
            or any((self._iterations.inbox, self._iterations.waiting, self._vision))
        )

    def waiting(self) -> Mapping[StreamName, int]:
        """How many entries of each stream wait."""
        return {**self.offered(), "metrics": len(self._metrics), "iterations": len(self._iterations)}

    def offered(self) -> Mapping[StreamName, int]:
        """How many entries of each stream wait where the publisher's thread has not seen them yet."""
        return {
            "metrics": len(self.metrics_inbox),
            "iterations": len(self.iterations_inbox),
            "frames": len(self._frames),
            "thumbs": len(self._thumbs),
            "vision": len(self._vision),
        }


def _pop_oldest(slots: Slots) -> Picture | None:
    """Remove and return the slot that was filled first; None where another thread was faster."""
    try:
        return slots.pop(next(iter(slots)))
    except (StopIteration, KeyError, RuntimeError):
        return None
