"""The newest events of a channel, encoded and numbered; lagging and returning viewers catch up from them.

Owns the stored events, and the search for the position of a returning client, so that viewers that reconnect together
cause no load on Redis. No I/O. Called by the hub.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from itertools import islice
from typing import Literal, NamedTuple

from hud_publisher.protocol.entries import StreamName
from hud_web.store import sse
from hud_web.store.sse import Position

#: A page reads a few thousand events within a second; a snapshot serves a viewer that is further behind better.
RING_EVENTS = 4_096
RING_BYTES = 8 * 1024 * 1024

#: The kind of an event: an entry of a stream, a change of the session ("events"), a new session from
#: its beginning ("turn"), or a momentary state (None), which no client needs later.
Kind = StreamName | Literal["events", "turn"] | None


class _Item(NamedTuple):
    encoded: bytes
    position: Position
    kind: Kind


class Ring:
    """Events in order; the oldest are dropped first.

    Attributes:
        first: number of the oldest stored event; numbers only grow.
    """

    def __init__(self, base: Position) -> None:
        self.first = 0
        self._items: deque[_Item] = deque()
        self._bytes = 0
        self._most_bytes = RING_BYTES
        self._base = base

    def limit(self, most_bytes: int) -> None:
        """Keep at most `most_bytes`, and at most RING_BYTES, from now on."""
        self._most_bytes = min(RING_BYTES, most_bytes)
        self._drop_oldest()

    @property
    def end(self) -> int:
        """The number that the next event will get."""
        return self.first + len(self._items)

    def append(self, encoded: bytes, position: Position, kind: Kind) -> None:
        """Keep an event; `position` is the position of a client that has seen it and all earlier events."""
        self._items.append(_Item(encoded, position, kind))
        self._bytes += len(encoded)
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        while len(self._items) > RING_EVENTS or self._bytes > self._most_bytes:
            oldest = self._items.popleft()
            self._bytes -= len(oldest.encoded)
            self._base = oldest.position
            self.first += 1

    def restart(self, base: Position) -> None:
        """Drop all events: the next ones do not continue them, so no client resumes across this point.

        Args:
            base: a client at this position misses no event that is appended from now on.
        """
        self.first = self.end
        self._items.clear()
        self._bytes = 0
        self._base = base

    def joined(self, start: int, stop: int, most_bytes: int) -> tuple[bytes, int]:
        """Return the events from `start`, at least one, and the number of the next one.

        Args:
            start: a number from `first` to below `stop`.
            stop: the number of the first event to leave out.
            most_bytes: approximate size of the result.
        """
        parts: list[bytes] = []
        size = 0
        for item in islice(self._items, start - self.first, stop - self.first):
            parts.append(item.encoded)
            size += len(item.encoded)
            if size >= most_bytes:
                break
        return b"".join(parts), start + len(parts)

    def find(self, since: Position) -> tuple[bytes, int] | None:
        """Return how a client that has seen `since` continues: events to send first, then the number to follow from.

        Another replica may have read two streams in another order than this one. So from the first event that the
        client may not have seen, the events that it has seen are left out, and the others carry ids that never precede
        `since`.

        Returns:
            None if some of the missed events are no longer stored, or never were.
        """
        items = self._items
        if not since.covers(self._base):
            return None
        # A client of a newer session than the base's needs an event of that session in the ring. If there is none,
        # Redis lost that session before this replica read it.
        if since.sid != self._base.sid and all(item.position.sid != since.sid for item in items):
            return None
        number = bisect_left(range(len(items)), True, key=lambda index: not since.covers(items[index].position))
        before = items[number - 1].position if number else self._base
        parts: list[bytes] = []
        at = since
        for item in islice(items, number, None):
            if before.covers(at):  # from here on both replicas' orders are equal for the client
                break
            before = item.position
            number += 1
            if item.kind is not None and not _has_seen(at, item):
                at = at.union(item.position)
                parts.append(sse.with_position(item.encoded, at))
        return b"".join(parts), self.first + number


def _has_seen(at: Position, item: _Item) -> bool:
    position, kind = item.position, item.kind
    if position.sid != at.sid or kind == "turn" or kind is None:
        return at.covers(position)
    return sse.order(position.of(kind)) <= sse.order(at.of(kind))
