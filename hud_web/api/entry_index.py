"""The index of one stored stream of pictures: what each entry is, without its picture, in memory.

Later requests read only new entries, and the index forgets those that Redis has trimmed. It is a cache: any replica can
build it from Redis. Owned by the history of a session, which counts its size.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from hud_publisher.protocol.entries import START, Entry, EntryId, StreamName
from hud_publisher.protocol.keys import Sid
from hud_publisher.protocol.stored import decode_entry
from hud_web.store.pages import pages
from hud_web.store.sse import order
from hud_web.store.store import Store

#: Memory of an item besides its text, in bytes.
ITEM_BYTES = 400


@dataclass(frozen=True, slots=True)
class Item:
    """An entry without its picture: its time on the writer's clock, in Unix ms, and its description as JSON."""

    time_ms: int
    text: bytes


class EntryIndex:
    """The entries of one stream of a session, as far as they have been read.

    Attributes:
        size: its size in memory, in bytes.
    """

    def __init__(self, channel: str, sid: Sid, stream: StreamName, describe: Callable[[EntryId, Entry], bytes]) -> None:
        """Make an empty index; `describe` returns the JSON of an entry without its picture."""
        self._channel, self._sid, self._stream, self._describe = channel, sid, stream, describe
        self._items: dict[EntryId, Item] = {}
        self._at = START
        self._lock = asyncio.Lock()
        self.size = 0

    async def between(self, store: Store, from_ms: int, to_ms: int, most_bytes: int | None = None) -> list[bytes]:
        """Return the JSON of the stored entries between two times (Unix milliseconds), oldest first.

        Args:
            store: to read from.
            from_ms: least time of an entry.
            to_ms: greatest time of an entry.
            most_bytes: leave out the oldest ones, so that the others take at most this many bytes together.
        """
        async with self._lock:
            await self._follow(store)
            oldest = await store.entries(self._channel, self._sid, self._stream, limit=1)
            first = order(oldest[0][0]) if oldest else (2**63, 0)
            for entry_id in [entry_id for entry_id in self._items if order(entry_id) < first]:
                self.size -= ITEM_BYTES + len(self._items.pop(entry_id).text)
        found = [item.text for item in self._items.values() if from_ms <= item.time_ms <= to_ms]
        if most_bytes is not None:
            room = most_bytes
            for number in range(len(found) - 1, -1, -1):
                room -= len(found[number])
                if room < 0:
                    return found[number + 1 :]
        return found

    async def _follow(self, store: Store) -> None:
        async for entries in pages(store, self._channel, self._sid, self._stream, first=f"({self._at}"):
            for entry_id, fields in entries:
                self._at = entry_id
                entry = store.readable(self._channel, self._stream, decode_entry, self._stream, fields)
                if entry is not None:
                    item = self._items[entry_id] = Item(entry.time_ms, self._describe(entry_id, entry))
                    self.size += ITEM_BYTES + len(item.text)
