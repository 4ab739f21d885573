"""One channel's live events in this process: a ring of encoded events and a cursor per viewer.

Every event is encoded once. A viewer that keeps up is woken once for all that one read of Redis brought and takes it
joined; one that is slow finds the newest frame only; one that fell off the ring is told `reset` and gets a snapshot. A
viewer never costs memory: what it has not taken stands in the ring alone. No I/O, no task. Called by the tailer, which
puts, and by the stream endpoint, which takes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

from hud_publisher.protocol.values import merge
from hud_web.snapshot import encode_snapshot
from hud_web.sse import HEARTBEAT, Position, dump, event
from hud_web.store import SessionView
from hud_web.tally import Tally

#: A page reads a few thousand events within a second; who is further behind is better served by a snapshot.
RING_EVENTS = 4_096
RING_BYTES = 16 * 1024 * 1024


class Hub:
    """What a channel's viewers share."""

    def __init__(self, channel: str, tally: Tally | None = None) -> None:
        self.channel = channel
        self.tally = tally or Tally()
        self.session = SessionView(channel)
        self.position = Position(self.session.sid or _NO_SID)
        self.state: dict[str, Any] = {}
        self.vision: bytes | None = None
        self.viewers_total = 0
        self.redis_trouble: str | None = "not connected yet"
        self.is_ready = asyncio.Event()
        self.subscribers: set[Subscriber] = set()
        self.last_put_s = time.monotonic()
        self.frame: bytes | None = None
        self.frame_number = 0
        self.frame_at_ms: int | None = None
        self.thumbs: dict[tuple[int, int] | None, bytes] = {}
        self.thumbs_number = 0
        self._ring: deque[bytes] = deque()
        self._ring_bytes = 0
        self._first = 0
        self._snapshot: bytes | None = None

    @property
    def end(self) -> int:
        """The number of the next event to come."""
        return self._first + len(self._ring)

    @property
    def first(self) -> int:
        """The number of the oldest event still in the ring."""
        return self._first

    def put(self, encoded: bytes) -> None:
        """Append one event; viewers see it when `wake` is called."""
        self.last_put_s = time.monotonic()
        self._ring.append(encoded)
        self._ring_bytes += len(encoded)
        while len(self._ring) > RING_EVENTS or self._ring_bytes > RING_BYTES:
            self._ring_bytes -= len(self._ring.popleft())
            self._first += 1
        self._snapshot = None

    def put_frame(self, encoded: bytes, at_ms: int | None = None) -> None:
        """Replace the newest frame; `at_ms` is when Redis got it."""
        self.frame = encoded
        self.frame_at_ms = at_ms
        self.frame_number += 1
        self._snapshot = None

    def put_thumb(self, env: tuple[int, int] | None, encoded: bytes) -> None:
        """Replace one env's thumbnail."""
        if len(self.thumbs) >= _MAX_THUMBS and env not in self.thumbs:
            return
        self.thumbs[env] = encoded
        self.thumbs_number += 1

    def learn(self, data: dict[str, Any]) -> None:
        """Lay an entry's fields over the state that newcomers get."""
        merge(self.state, data)

    def wake(self) -> None:
        """Let every viewer take what was put since."""
        for subscriber in self.subscribers:
            subscriber.wake()

    def beat(self) -> None:
        """Put a heartbeat; one shared event instead of a timer per viewer."""
        self.put(HEARTBEAT)
        self.wake()

    def between(self, start: int, stop: int) -> list[bytes]:
        """Return the ring's events of these numbers."""
        ring, first = self._ring, self._first
        return [ring[number - first] for number in range(start, stop)]

    def status_event(self) -> bytes:
        """Return how this replica stands with Redis."""
        trouble = self.redis_trouble
        data = {
            "redis": "away" if trouble else "ok", "detail": trouble, "viewers": self.viewers_total,
            "server_time_ms": int(time.time() * 1000),
        }  # fmt: skip
        return event("status", dump(data))

    def session_event(self) -> bytes:
        """Return who holds the channel, as of this position."""
        return event("session", dump(self.session.describe()), self.position)

    def session_event_without_id(self) -> bytes:
        """Return the same for a client that has yet to get what it missed: an id would skip that."""
        return event("session", dump(self.session.describe()))

    def snapshot_event(self) -> bytes:
        """Return everything a newcomer needs, encoded once until something changes."""
        if self._snapshot is None:
            body = encode_snapshot(self.session, self.state, self.frame, self.vision, self.viewers_total)
            self._snapshot = event("snapshot", body, self.position)
        return self._snapshot

    def begin(self, session: SessionView, position: Position, state: dict[str, Any]) -> None:
        """Turn to another session (or to the first): nothing of the one before stays on display."""
        self.session, self.position, self.state = session, position, state
        self.frame = self.vision = self.frame_at_ms = None
        self.thumbs = {}
        self._snapshot = None


class Subscriber:
    """One viewer: a cursor into the hub's ring and what it has seen of the newest-wins pictures."""

    def __init__(self, hub: Hub, *, wants_frames: bool, fps: float | None) -> None:
        self._hub = hub
        self._cursor = hub.end
        self._wants_frames = wants_frames
        self._interval_s = 1.0 / fps if fps else 0.0
        self._next_frame_s = 0.0
        self._frame_number = hub.frame_number
        self._thumbs_number = -1
        self._seen_thumbs: dict[tuple[int, int] | None, bytes] = {}
        self._waiter: asyncio.Future[None] | None = None
        self.is_closed = False

    def wake(self) -> None:
        """End this viewer's `wait`."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """End this viewer's stream."""
        self.is_closed = True
        self.wake()

    def skip(self) -> None:
        """Leave out all events put so far: the caller shows them in another way."""
        self._cursor = self._hub.end

    def want_frame_again(self) -> None:
        """Let the next `take` bring the newest frame even if nothing new came."""
        self._frame_number = -1

    async def wait(self) -> None:
        """Return when there may be something to take, or the viewer was closed."""
        if self._has_some() or self.is_closed:
            await asyncio.sleep(0)  # one turn for others, so that a busy stream starves nobody
            return
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        frame_in_s = self._frame_in_s()
        timer = None if frame_in_s is None else loop.call_later(frame_in_s, self.wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    async def wait_for_close(self) -> None:
        """Return when the viewer was closed, whatever happens in the hub meanwhile."""
        while not self.is_closed:
            self.skip()
            self._frame_number, self._thumbs_number = self._hub.frame_number, self._hub.thumbs_number
            await self.wait()

    def _has_some(self) -> bool:
        frame_in_s = self._frame_in_s()
        return self._cursor < self._hub.end or (frame_in_s is not None and frame_in_s <= 0)

    def _frame_in_s(self) -> float | None:
        """In how many seconds this viewer is due a frame that it has not had; None if there is no such frame."""
        hub = self._hub
        if not self._wants_frames or self._frame_number == hub.frame_number or hub.frame is None:
            return None
        return self._next_frame_s - time.monotonic()

    def take(self) -> bytes:
        """Return everything new, joined; empty if there is nothing. Never waits."""
        hub = self._hub
        parts: list[bytes] = []
        if self._cursor < hub.first:
            hub.tally.drops["viewer fell behind"] += 1
            parts += [event("reset", dump({"reason": "this viewer fell behind"})), hub.session_event()]
            parts.append(hub.snapshot_event())
        elif self._cursor < hub.end:
            parts += hub.between(self._cursor, hub.end)
        self._cursor = hub.end
        if self._wants_frames:
            if self._thumbs_number != hub.thumbs_number:
                parts += [thumb for env, thumb in hub.thumbs.items() if self._seen_thumbs.get(env) is not thumb]
                self._seen_thumbs, self._thumbs_number = dict(hub.thumbs), hub.thumbs_number
            frame_in_s = self._frame_in_s()
            if frame_in_s is not None and frame_in_s <= 0 and hub.frame is not None:
                if self._frame_number >= 0:
                    hub.tally.drops["frame skipped"] += hub.frame_number - self._frame_number - 1
                self._frame_number = hub.frame_number
                self._next_frame_s = time.monotonic() + self._interval_s
                parts.append(event("vision_update", hub.frame))
        return b"".join(parts)


_NO_SID: Any = "0"
#: Envs whose thumbnails are kept for the strip.
_MAX_THUMBS = 256
