"""One channel's live events in this process: what stands on display, a ring of the newest events, and who watches.

Every event is encoded once. What one read of Redis brought is joined and goes to every viewer that keeps up in one
write; the others find it in the ring (`subscriber`). No I/O but writes that never wait, and no task. Called by the
tailer, which puts, and by the stream endpoint.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from hud_publisher.protocol.batch import FRAMES_TOGETHER
from hud_publisher.protocol.entries import EntryId, StreamName
from hud_publisher.protocol.keys import Sid
from hud_publisher.protocol.values import MAX_STATE_FIELDS, flatten, merge
from hud_web.cohort import Cohort
from hud_web.outlet import Piece
from hud_web.ring import Kind, Ring
from hud_web.snapshot import encode_snapshot
from hud_web.sse import HEARTBEAT, Position, dump, event
from hud_web.store import SessionView
from hud_web.subscriber import Subscriber
from hud_web.tally import Tally

#: Proxies cut a stream that is silent for 30 s; the contract says 10 s at most, and this is looked at once a second.
HEARTBEAT_S = 8.0
#: Frames of one call of a publisher are given together; these are no further apart. Where several calls came with one
#: read, the frames of the newest one are given.
TOGETHER_MS = 1
#: Frames count as so far apart as a viewer wants them from this share of it on: no loop takes them evenly.
EVENNESS = 0.9
#: Envs whose thumbnails are kept for the strip.
MAX_THUMBS = 256

Env = tuple[int, int]
#: An event that was delivered elsewhere: encoded, where it stands, and what it tells of.
Remembered = tuple[bytes, Position, Kind]


def _call_later(delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(delay_s, callback)


class Hub:
    """What a channel's viewers share.

    Attributes:
        position: where a client stands that has seen everything put so far.
        delivered: number of the first event that was not yet delivered to those who keep up.
        is_ready: Redis was read at least once.
        subscribers: all who watch.
    """

    def __init__(
        self,
        channel: str,
        tally: Tally | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        call_later: Callable[[float, Callable[[], None]], asyncio.TimerHandle] = _call_later,
    ) -> None:
        self.channel = channel
        self.tally = tally or Tally()
        self.clock = clock
        self.call_later = call_later
        self.session = SessionView(channel)
        self.position = Position(self.session.sid or Sid("0"))
        self.state: dict[str, Any] = {}
        self._room = MAX_STATE_FIELDS
        self.vision: bytes | None = None
        self.viewers_total = 0
        self.redis_trouble: str | None = "not connected yet"
        self.is_ready = False
        self.subscribers: set[Subscriber] = set()
        self.ring = Ring(self.position)
        self.delivered = 0
        self.frame: bytes | None = None
        self.frame_number = 0
        self.frame_at_ms: int | None = None
        self.thumbs_number = 0
        self._thumbs: dict[Env | None, tuple[int, bytes]] = {}
        #: Those of the newest call: when each was taken, in ms, and its event.
        self._newest_frames: deque[tuple[int, bytes]] = deque(maxlen=FRAMES_TOGETHER)
        self._cohorts: dict[float | None, Cohort] = {}
        self._past: set[Subscriber] = set()
        self._fresh: list[bytes] = []
        self._put_s = self._past_beat_s = clock()
        self._snapshot: bytes | None = None

    # -- what the tailer puts -----------------------------------------------------------------------------------------

    def put(self, encoded: bytes, kind: Kind = None) -> None:
        """Append an event; viewers get it when `wake` is called."""
        self._put_s = self.clock()
        self.ring.append(encoded, self.position, kind)
        self._fresh.append(encoded)
        self._snapshot = None

    def put_entry(self, stream: StreamName, entry_id: EntryId, name: str, data: bytes) -> None:
        """Append the event of a stream's entry, and stand behind it."""
        self.position = self.position.after(stream, entry_id)
        self.put(event(name, data, self.position), stream)

    def put_frame(self, encoded: bytes, at_ms: int | None = None, taken_ms: int = 0) -> None:
        """Replace the newest frame; `at_ms` is when Redis got it, `taken_ms` when it was taken, by its writer."""
        before_ms, self.frame_at_ms = self.frame_at_ms, at_ms
        if before_ms is None or at_ms is None or at_ms - before_ms > TOGETHER_MS:
            self._newest_frames.clear()
        self._newest_frames.append((taken_ms, event("vision_update", encoded)))
        self.frame = encoded
        self.frame_number += 1
        self._snapshot = None

    def put_thumb(self, env: Env | None, encoded: bytes) -> None:
        """Replace one env's thumbnail."""
        if len(self._thumbs) >= MAX_THUMBS and env not in self._thumbs:
            return
        self.thumbs_number += 1
        self._thumbs[env] = (self.thumbs_number, event("thumbnail", encoded))

    def learn(self, data: dict[str, Any]) -> None:
        """Lay an entry's fields over the state that newcomers get."""
        self._room -= merge(self.state, data, self._room)

    def begin(self, session: SessionView, position: Position, state: dict[str, Any]) -> None:
        """Turn to another session (or to the first): nothing of the one before stays on display."""
        self.session, self.position, self.state = session, position, state
        self._room = MAX_STATE_FIELDS - sum(1 for _ in flatten(state))
        self.frame = self.vision = self.frame_at_ms = None
        self._thumbs = {}
        self._newest_frames.clear()
        self._snapshot = None

    def become_ready(self) -> None:
        """Redis was read for the first time: let those go on who wait for that."""
        if not self.is_ready:
            self.is_ready = True
            self.let_go_on()

    def let_go_on(self) -> None:
        """Tell those who wait for Redis that something is known of it."""
        for subscriber in self.subscribers:
            subscriber.go_on()

    def warm(self, base: Position, events: list[Remembered]) -> None:
        """Fill the ring with what came before `position`, for viewers who saw its beginning on another replica.

        Args:
            base: where a client must stand at the least to have missed nothing but these.
            events: in order.
        """
        self.ring.restart(base)
        for encoded, position, kind in events:
            self.ring.append(encoded, position, kind)
        self.delivered = self.ring.end

    def wake(self) -> int:
        """Deliver what was put since to all who keep up; returns the number of the next event."""
        self.delivered = self.ring.end
        events = b"".join(self._fresh)
        self._fresh.clear()
        for cohort in tuple(self._cohorts.values()):
            cohort.deliver(events)
        return self.delivered

    # -- who watches --------------------------------------------------------------------------------------------------

    def enter(self, interval_s: float | None, *, ends_s: float) -> Subscriber:
        """Add a viewer; it gets nothing until it follows.

        Args:
            interval_s: least time between two frames, 0 for every frame, None for no pictures.
            ends_s: when its stream has lasted long enough, on this hub's clock.
        """
        cohort = self._cohorts.get(interval_s)
        if cohort is None:
            cohort = self._cohorts[interval_s] = Cohort(self, interval_s)
        subscriber = Subscriber(cohort, ends_s=ends_s)
        self.subscribers.add(subscriber)
        return subscriber

    def watch_past(self, subscriber: Subscriber) -> None:
        """Let a viewer of a past session have heartbeats alone."""
        self._past.add(subscriber)

    def leave(self, subscriber: Subscriber) -> None:
        """Remove a viewer that was closed."""
        self.subscribers.discard(subscriber)
        self._past.discard(subscriber)

    def tend(self) -> None:
        """What is done about once a second: heartbeats where it was silent, an end for those who are due."""
        now = self.clock()
        if now - self._put_s >= HEARTBEAT_S:
            self.put(HEARTBEAT)
            self.wake()
        if now - self._past_beat_s >= HEARTBEAT_S:
            self._past_beat_s = now
            beat = Piece(HEARTBEAT)
            for subscriber in self._past:
                subscriber.beat(beat)
        for subscriber in tuple(self.subscribers):
            subscriber.look_after(now)
        used = {subscriber.cohort for subscriber in self.subscribers}
        self._cohorts = {interval_s: cohort for interval_s, cohort in self._cohorts.items() if cohort in used}

    # -- what they see ------------------------------------------------------------------------------------------------

    def newest_frames(self, most: int, interval_s: float) -> list[bytes]:
        """Return the events of the newest call's frames, oldest first.

        Args:
            most: how many at the most.
            interval_s: least time between two of them, by when they were taken; the newest is always there.
        """
        chosen: list[bytes] = []
        next_ms = 0
        for taken_ms, encoded in list(self._newest_frames)[-most:][::-1]:
            if not chosen or abs(next_ms - taken_ms) >= interval_s * 1000 * EVENNESS:  # that clock may be set back
                chosen.append(encoded)
                next_ms = taken_ms
        return chosen[::-1]

    def thumbs_between(self, after: int, last: int) -> bytes:
        """Return the thumbnails that came after one of this number, up to another."""
        return b"".join([encoded for number, encoded in self._thumbs.values() if after < number <= last])

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

    def whole_picture(self) -> tuple[bytes, int]:
        """Return what a newcomer gets, and the number of the event from which it follows."""
        cursor = self.wake()
        return self.session_event() + self.snapshot_event(), cursor

    def missed(self, since: Position) -> tuple[bytes, int] | None:
        """Return what a client that has seen `since` gets first, and from where it follows; see Ring.find."""
        self.wake()
        return self.ring.find(since)
