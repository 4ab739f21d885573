"""What waits to be sent: bounded, newest first to survive, never blocking.

Step metrics and iterations wait in queues of their own, so a flood of steps cannot push an iteration out. Of frames
and thumbnails only the newest of each env waits. Filled by training threads, emptied by the publisher's thread; both
hold its lock for a few steps only.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hud_publisher.protocol.entries import StreamName
from hud_publisher.stats import Counters

Env = tuple[int, int]


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


@dataclass(frozen=True, slots=True)
class Room:
    """How much may wait.

    Attributes:
        metrics: values (fields, items of lists) of step metrics; 200,000 are about 16 MB, or 20,000 entries of ten.
        iterations: values of iterations; 200,000 are about 400 results of RLlib.
        vision: calls of the vision LLM; each holds a picture.
        envs: envs with a frame or thumbnail waiting.
    """

    metrics: int = 200_000
    iterations: int = 200_000
    vision: int = 16
    envs: int = 256


class Outbox:
    """The queues and slots, and their bounds."""

    def __init__(self, counters: Counters, room: Room | None = None) -> None:
        self._counters = counters
        self._room = room or Room()
        # Re-entrant: a signal handler or a finalizer may log while its own thread is inside.
        self._lock = threading.RLock()
        self._metrics: deque[Fields] = deque()
        self._iterations: deque[Fields] = deque()
        self._vision: deque[Vision] = deque()
        self._frames: dict[Env | None, Picture] = {}
        self._thumbs: dict[Env | None, Picture] = {}
        self._weights: dict[StreamName, int] = {"metrics": 0, "iterations": 0}

    def offer_fields(self, item: Fields) -> None:
        """Put metrics at the end; the oldest of the same stream give way where there is no room."""
        is_metrics = item.stream == "metrics"
        queue, room = (self._metrics, self._room.metrics) if is_metrics else (self._iterations, self._room.iterations)
        with self._lock:
            queue.append(item)
            self._counters.taken[item.stream] += 1
            weight = self._weights[item.stream] + item.weight
            while weight > room and len(queue) > 1:
                weight -= queue.popleft().weight
                self._counters.drop(item.stream, "overflow")
            self._weights[item.stream] = weight

    def offer_picture(self, item: Picture) -> None:
        """Put a frame or thumbnail in its env's slot, in place of an older one that was not sent yet."""
        slots = self._frames if item.stream == "frames" else self._thumbs
        with self._lock:
            self._counters.taken[item.stream] += 1
            if slots.pop(item.env, None) is not None:
                self._counters.drop(item.stream, "replaced")
            elif len(slots) >= self._room.envs:
                slots.pop(next(iter(slots)))
                self._counters.drop(item.stream, "overflow")
            slots[item.env] = item

    def offer_vision(self, item: Vision) -> None:
        """Put a call of the vision LLM at the end; the oldest gives way where there is no room."""
        with self._lock:
            self._counters.taken["vision"] += 1
            self._vision.append(item)
            if len(self._vision) > self._room.vision:
                self._vision.popleft()
                self._counters.drop("vision", "overflow")

    def take(self, max_fields: int, max_pictures: int) -> list[Item]:
        """Remove and return the next items: fields in the order they were logged, then pictures, oldest slot first."""
        taken: list[Item] = []
        with self._lock:
            for queue in (self._iterations, self._metrics):
                while queue and len(taken) < max_fields:
                    item = queue.popleft()
                    self._weights[item.stream] -= item.weight
                    taken.append(item)
            taken.sort(key=lambda item: item.time_ms)
            for _ in range(max_pictures):
                if self._frames:
                    taken.append(self._frames.pop(next(iter(self._frames))))
                elif self._vision:
                    taken.append(self._vision.popleft())
                elif self._thumbs:
                    taken.append(self._thumbs.pop(next(iter(self._thumbs))))
        return taken

    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not (self._metrics or self._frames or self._iterations or self._vision or self._thumbs)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            for queue in (self._metrics, self._iterations, self._vision, self._frames, self._thumbs):
                queue.clear()
            self._weights = {"metrics": 0, "iterations": 0}

    def waiting(self) -> Mapping[StreamName, int]:
        """How many entries of each stream wait."""
        return {
            "metrics": len(self._metrics),
            "iterations": len(self._iterations),
            "frames": len(self._frames),
            "thumbs": len(self._thumbs),
            "vision": len(self._vision),
        }
