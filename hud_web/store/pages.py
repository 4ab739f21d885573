"""Reads a stream in pages of bounded size.

A page is bounded in bytes, since entries differ: 20 bytes or half a megabyte. Called by the export, the history and the
monitor.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from hud_publisher.protocol.entries import StreamName
from hud_publisher.protocol.keys import Sid
from hud_web.store.store import Store
from hud_web.store.views import StreamEntry

#: About the size of a page: a few milliseconds of parsing.
PAGE_BYTES = 256 * 1024
#: Entries of the first page, while the size of an entry is unknown, and of any page.
FIRST_ENTRIES = 8
MAX_ENTRIES = 500


async def pages(
    store: Store, channel: str, sid: Sid, stream: StreamName, *, first: str = "-", last: str = "+"
) -> AsyncGenerator[list[StreamEntry]]:
    """Yield a stream's entries from `first` to `last`, oldest first, about PAGE_BYTES at a time."""
    limit = FIRST_ENTRIES
    while entries := await store.entries(channel, sid, stream, first=first, last=last, limit=limit):
        await store.turns.next()
        yield entries
        if len(entries) < limit:
            return
        first = f"({entries[-1][0]}"
        size = sum(len(value) for _entry_id, fields in entries for value in fields.values())
        limit = next_limit(limit, len(entries), size)


def next_limit(limit: int, entries: int, size: int) -> int:
    """Return the number of entries of the next page, after a page of `limit` that held `entries` and `size` bytes."""
    fitting = entries * PAGE_BYTES // max(1, size)
    return max(1, min(fitting, 4 * limit, MAX_ENTRIES))
