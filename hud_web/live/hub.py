"""One channel's live events in this process: the state on display, a ring of the newest events, and the viewers.

Every event is encoded once. The events of one read of Redis are joined and written at once to every viewer that keeps
up; the others read them from the ring (`subscriber`). No task, and no I/O except writes that never block. Called by the
tailer, which puts events, and by the stream endpoint.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

from hud_publisher.protocol.entries import EntryId, StreamName
from hud_publisher.protocol.keys import Sid
from hud_publisher.protocol.values import MAX_STATE_FIELDS, flatten, learn_numbers, merge, to_json
from hud_web.access.budget import Share
from hud_web.live.cohort import Cohort
from hud_web.live.outlet import Payload
from hud_web.live.pictures import Pictures
from hud_web.live.ring import Kind, Ring
from hud_web.live.subscriber import Subscriber
from hud_web.monitor.annotations import Annotation, follow
from hud_web.store.roles import RoleMap, Roles
from hud_web.store.snapshot import encode_snapshot
from hud_web.store.sse import HEARTBEAT, Position, dump, event
from hud_web.store.tally import Tally
from hud_web.store.views import SessionView

#: Proxies cut a stream that is silent for 30 s; the contract says at most 10 s, and `tick` checks once per second.
HEARTBEAT_S = 8.0
#: Memory for events and pictures of one channel, and of all channels of a replica, which share it equally. A snapshot
#: takes the size of its pictures once more.
CHANNEL_BYTES = 24 * 1024 * 1024
CHANNELS_BYTES = 192 * 1024 * 1024
#: Size of a session's state; past it, only the numbers of known fields are updated.
MAX_STATE_BYTES = 2 * 1024 * 1024

#: An event that another replica delivered: encoded, its position, and its kind.
Remembered = tuple[bytes, Position, Kind]


def _call_later(delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(delay_s, callback)


class Hub:
    """The state that the viewers of a channel share; only its methods change it.

    Attributes:
        session: the session on display.
        position: the position of a client that has seen every event until now.
        state: the session's newest value of each field.
        not_finite: the fields that are NaN or infinite now, as in the snapshot.
        pictures: the newest ones.
        ring: the newest events.
        delivered: number of the first event that was not yet delivered to the viewers that keep up.
        viewers_total: viewers of the channel on all replicas.
        redis_trouble: why Redis does not answer; None if it does.
        is_ready: Redis has been read at least once.
        subscribers: all viewers.
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
        self.not_finite: dict[str, Any] = {}
        self._roles = RoleMap()
        self._room = MAX_STATE_FIELDS
        self._learned_bytes = 0
        self._is_state_full = False
        self.pictures = Pictures(self.tally, 5 * CHANNEL_BYTES // 8)
        self.viewers_total = 0
        self.redis_trouble: str | None = "not connected yet"
        self.is_ready = False
        self.subscribers: set[Subscriber] = set()
        self.ring = Ring(self.position)
        self.delivered = 0
        self._cohorts: dict[float | None, Cohort] = {}
        self._past: set[Subscriber] = set()
        self._fresh: list[bytes] = []
        self._put_s = self._past_beat_s = clock()
        #: The snapshot event, and the numbers of events and pictures when it was encoded.
        self._snapshot = ((-1, -1), b"")

    def limit(self, share: int) -> None:
        """Keep the events within 3/8 of `share` bytes, and the pictures within 5/8."""
        self.ring.limit(3 * share // 8)
        self.pictures.limit(5 * share // 8)

    # -- written by the tailer -----------------------------------------------------------------------------------------

    def put(self, encoded: bytes, kind: Kind = None) -> None:
        """Append an event; viewers get it when `wake` is called."""
        self._put_s = self.clock()
        self.ring.append(encoded, self.position, kind)
        self._fresh.append(encoded)

    def put_entry(self, stream: StreamName, entry_id: EntryId, name: str, data: bytes) -> None:
        """Append the event of a stream's entry, and advance the position past it."""
        self.advance(stream, entry_id)
        self.put(event(name, data, self.position), stream)

    def advance(self, stream: str, entry_id: EntryId) -> None:
        """Move the position past an entry that has no event."""
        self.position = self.position.after(stream, entry_id)

    def put_annotation(self, annotation: Annotation) -> None:
        """Update the fields that are not finite from an annotation."""
        follow(self.not_finite, annotation)

    def merge_fields(self, data: dict[str, Any], not_finite: Iterable[str], size: int) -> Roles | None:
        """Merge an entry's fields into the state for new viewers.

        Args:
            data: the fields.
            not_finite: paths of the fields that were NaN or infinite in this entry.
            size: of the fields' JSON, in bytes.

        Returns:
            The roles of the session's fields, if this entry changed them.
        """
        self._learned_bytes += size
        if self._learned_bytes > MAX_STATE_BYTES:  # measured once in this many bytes, since that takes milliseconds
            self._learned_bytes = 0
            self._is_state_full = len(to_json(self.state)) > MAX_STATE_BYTES
        if self._is_state_full:
            learn_numbers(self.state, data)
            return None
        added = merge(self.state, data, self._room)
        self._room -= added
        has_changed = False
        if added:
            has_changed = self._roles.add_numbers(data)
        for path in not_finite:
            has_changed |= self._roles.add(path)
        return self._roles.roles if has_changed else None

    def switch(self, session: SessionView, position: Position, state: dict[str, Any]) -> None:
        """Switch to another session (or to the first) and drop all data of the previous one.

        A viewer who named one of the two reconnects: the previous session is past now, and the next one was shown as
        past to a viewer who named it before this process knew of it.
        """
        before = self.position.sid
        self.session, self.position, self.state = session, position, state
        self._room = MAX_STATE_FIELDS - sum(1 for _ in flatten(state))
        self.not_finite = dict(session.not_finite)
        self._roles = RoleMap.of(session.chosen_roles, state, self.not_finite)
        self.pictures.forget()
        self._learned_bytes, self._is_state_full = MAX_STATE_BYTES, False  # measured with the first entry
        if before != position.sid:
            for subscriber in tuple(self.subscribers):
                if subscriber.sid == before or (subscriber.sid == position.sid and subscriber in self._past):
                    subscriber.close()

    def set_session(self, session: SessionView) -> None:
        """Replace the description of the session on display."""
        self.session = session

    def set_viewers(self, total: int) -> None:
        """Set the number of viewers on all replicas."""
        self.viewers_total = total

    def set_trouble(self, reason: str | None) -> None:
        """Put a status event with the reason why Redis does not answer; None: it was read."""
        self.redis_trouble = reason
        self.put(self.status_event())
        if not self.is_ready:
            self.is_ready = reason is None
            for subscriber in self.subscribers:  # they wait for the first answer of Redis
                subscriber.resume()

    def preload(self, base: Position, events: list[Remembered]) -> None:
        """Fill the ring with events before `position`, for viewers that come from another replica.

        Args:
            base: the earliest position of a client that missed only these events.
            events: in order.
        """
        self.ring.restart(base)
        for encoded, position, kind in events:
            self.ring.append(encoded, position, kind)
        self.delivered = self.ring.end

    def wake(self) -> int:
        """Deliver new events to all viewers that keep up; returns the number of the next event."""
        self.delivered = self.ring.end
        events = b"".join(self._fresh)
        self._fresh.clear()
        for cohort in tuple(self._cohorts.values()):
            cohort.deliver(events)
        return self.delivered

    # -- viewers --------------------------------------------------------------------------------------------------

    def enter(
        self, interval_s: float | None, *, ends_s: float, share: Share | None = None, sid: Sid | None = None
    ) -> Subscriber:
        """Add a viewer; it gets no events until `Subscriber.follow`.

        Args:
            interval_s: least time between two frames, 0 for every frame, None for no pictures.
            ends_s: when its stream ends, on this hub's clock.
            share: the bytes that the viewer has not read count against it.
            sid: the only session that it wants to see; None: the channel's, whichever that is.
        """
        cohort = self._cohorts.get(interval_s)
        if cohort is None:
            cohort = self._cohorts[interval_s] = Cohort(self, interval_s)
        subscriber = Subscriber(cohort, ends_s=ends_s, share=share, sid=sid)
        self.subscribers.add(subscriber)
        return subscriber

    def watch_past(self, subscriber: Subscriber) -> None:
        """Send heartbeats only to a viewer of a past session; it reconnects if that is the current one meanwhile."""
        if subscriber.sid == self.position.sid:
            subscriber.close()
        elif not subscriber.is_closed:
            self._past.add(subscriber)

    def leave(self, subscriber: Subscriber) -> None:
        """Remove a viewer that was closed."""
        self.subscribers.discard(subscriber)
        self._past.discard(subscriber)

    def tick(self) -> None:
        """Run once per second: send heartbeats after silence, and end the streams that are due."""
        now = self.clock()
        if now - self._put_s >= HEARTBEAT_S:
            self.put(HEARTBEAT)
            self.wake()
        if now - self._past_beat_s >= HEARTBEAT_S:
            self._past_beat_s = now
            heartbeat = Payload(HEARTBEAT)
            for subscriber in self._past:
                subscriber.send_heartbeat(heartbeat)
        for subscriber in tuple(self.subscribers):
            subscriber.check_deadlines(now)
        used = {subscriber.cohort for subscriber in self.subscribers}
        self._cohorts = {interval_s: cohort for interval_s, cohort in self._cohorts.items() if cohort in used}

    # -- content ------------------------------------------------------------------------------------------------

    def status_event(self, sid: Sid | None = None) -> bytes:
        """Return the state of this replica's connection to Redis, for a viewer of `sid` or of the current session."""
        is_current = sid in (None, self.position.sid)
        trouble = self.redis_trouble
        data = {
            "redis": "away" if trouble else "ok", "detail": trouble, "viewers": self.viewers_total,
            "server_time_ms": int(time.time() * 1000),
            "rhythm": self.session.rhythm if is_current else None,
            "verdict": self.session.verdict if is_current else None,
        }  # fmt: skip
        return event("status", dump(data))

    def _describe(self) -> dict[str, Any]:
        return self.session.describe() | {"roles": self._roles.roles}

    def session_event(self) -> bytes:
        """Return the event of the channel's session, with this position."""
        return event("session", dump(self._describe()), self.position)

    def session_event_without_id(self) -> bytes:
        """Return the same for a client that still lacks missed events: with an id it would skip them."""
        return event("session", dump(self._describe()))

    def snapshot_event(self) -> bytes:
        """Return the snapshot for a new viewer, encoded once until something changes."""
        numbers = (self.ring.end, self.pictures.changes)
        if self._snapshot[0] != numbers:
            body = encode_snapshot(
                self.session, self.state, self.not_finite, self._roles.roles, self.pictures.frame,
                self.pictures.vision, self.pictures.mind, self.viewers_total,
            )  # fmt: skip
            self._snapshot = (numbers, event("snapshot", body, self.position))
        return self._snapshot[1]

    def whole_picture(self) -> tuple[bytes, int]:
        """Return the session and snapshot for a new viewer, and the number of the event from which it follows."""
        cursor = self.wake()
        return self.session_event_without_id() + self.snapshot_event(), cursor

    def missed(self, since: Position) -> tuple[bytes, int] | None:
        """Return the missed events of a client that has seen `since`, and the number to follow from; see Ring.find."""
        self.wake()
        return self.ring.find(since)
