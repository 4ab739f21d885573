"""The blocking read that follows one channel's streams, on a connection of its own.

It runs for each batch of every channel, so it is kept short: redis-py's client asks its pool, starts a task and two
timers, and packs in Python, which together cost four times as much as the reply. Called by the tailer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import hiredis
from redis.asyncio import Redis

from hud_publisher.protocol.entries import EntryId

#: id → fields of the entries of one stream.
Entries = list[tuple[bytes, dict[bytes, bytes]]]


class ChannelReader:
    """Reads what came after some entries, or waits for it."""

    def __init__(self, client: Redis, *, timeout_s: float) -> None:
        """Make a reader; connects to nothing yet.

        Args:
            client: whose connections to use; a cluster's is asked itself, since it knows which node has the channel.
            timeout_s: how long connecting and one read may take; above the longest block.
        """
        self._client = client
        self._timeout_s = timeout_s
        self._connection: Any = None
        if isinstance(client, Redis):
            pool: Any = client.connection_pool
            self._connection = pool.make_connection()
            self._connection.socket_timeout = None  # ours stands for those of each send and receive

    async def read(self, after: Mapping[bytes, EntryId], *, count: int, block_ms: int) -> list[tuple[bytes, Entries]]:
        """Return the newer entries of each stream that has some, within block_ms; of each so many at most.

        Raises:
            RedisError, OSError: Redis is away, or says so; a TimeoutError is the latter.
        """
        if self._connection is None:
            keys: Any = dict(after)
            found: Any = await self._client.xread(keys, count=count, block=block_ms)
            return list(found or ())
        command: Any = (b"XREAD", b"COUNT", count, b"BLOCK", block_ms, b"STREAMS", *after, *after.values())
        async with asyncio.timeout(self._timeout_s):
            if not self._connection.is_connected:
                await self._connection.connect()
            await self._connection.send_packed_command(hiredis.pack_command(command), check_health=False)
            reply = await self._connection.read_response()
        return [(key, [(entry_id, _pairs(flat)) for entry_id, flat in entries]) for key, entries in reply or ()]

    async def aclose(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.disconnect(nowait=True)


def _pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
