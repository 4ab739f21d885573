"""The newest events of a channel, encoded and numbered: what lagging and returning viewers catch up from.

Owns what is kept, and the search for where a returning client left off, so that a whole hall coming back costs Redis
nothing. No I/O. Called by the hub.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from itertools import islice
from typing import Literal, NamedTuple

from hud_publisher.protocol.entries import StreamName
from hud_web import sse
from hud_web.sse import Position

#: A page reads a few thousand events within a second; who is further behind is better served by a snapshot.
RING_EVENTS = 4_096
RING_BYTES = 16 * 1024 * 1024

#: What an event tells of: an entry of a stream, something that happened to the session ("events"), a new session from
#: its beginning ("turn"), or only how things stand just now (None), which nobody needs later.
Kind = StreamName | Literal["events", "turn"] | None


class _Item(NamedTuple):
    encoded: bytes
    position: Position
    kind: Kind


class Ring:
    """Events in order, the oldest giving way.

    Attributes:
        first: number of the oldest event that is kept; numbers only grow.
    """

    def __init__(self, base: Position) -> None:
        self.first = 0
        self._items: deque[_Item] = deque()
        self._bytes = 0
        self._base = base

    @property
    def end(self) -> int:
        """The number of the next event to come."""
        return self.first + len(self._items)

    def append(self, encoded: bytes, position: Position, kind: Kind) -> None:
        """Keep an event; `position` is where a client stands that has seen it and all before."""
        self._items.append(_Item(encoded, position, kind))
        self._bytes += len(encoded)
        while len(self._items) > RING_EVENTS or self._bytes > RING_BYTES:
            oldest = self._items.popleft()
            self._bytes -= len(oldest.encoded)
            self._base = oldest.position
            self.first += 1

    def restart(self, base: Position) -> None:
        """What follows does not go on from what came before: nobody resumes across this point.

        Args:
            base: who has seen this misses nothing that is appended from here on.
        """
        self.first = self.end
        self._items.clear()
        self._bytes = 0
        self._base = base

    def joined(self, start: int, stop: int, most_bytes: int) -> tuple[bytes, int]:
        """Return the events from `start`, one at the least, and the number of the next one.

        Args:
            start: a number from `first` to below `stop`.
            stop: the number of the first event to leave out.
            most_bytes: about how much to return at once.
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
        """Return how a client that has seen `since` goes on: events to send first, then the number to follow from.

        Another replica may have read two streams in another order than this one. So from the first event that the
        client may not have seen, those that it has seen are left out, and those that it has not carry ids that do not
        go back behind `since`.

        Returns:
            None if some of what it missed is not kept (any more).
        """
        if not since.covers(self._base):
            return None
        items = self._items
        number = bisect_left(range(len(items)), True, key=lambda index: not since.covers(items[index].position))
        before = items[number - 1].position if number else self._base
        parts: list[bytes] = []
        at = since
        for item in islice(items, number, None):
            if before.covers(at):  # from here on both replicas' orders are the same to the client
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
