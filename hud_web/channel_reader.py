"""The blocking read that follows one channel's streams, on a connection of its own.

It runs for each batch of every channel, so it is kept short: redis-py's client asks its pool, starts a task and two
timers, and packs in Python, which together cost four times as much as the reply. Called by the tailer.

Redis before 7.2 answers a read that waited with the first stream alone that got something; of a batch of fields and a
picture the picture would take another read, and another write to every viewer. So there the read that waits is followed
at once by one that does not: Redis takes it up when it has answered the first, and both answers come together.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import hiredis
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from hud_publisher.protocol.entries import EntryId

_VERSION = re.compile(rb"redis_version:(\d+)\.(\d+)")
#: From this version on a read that waited is answered as one that did not.
_ANSWERS_WITH_ALL = (7, 2)
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
        self._asks_twice = True
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
        streams = (b"STREAMS", *after, *after.values())
        command = _pack(b"XREAD", b"COUNT", count, b"BLOCK", block_ms, *streams)
        try:
            async with asyncio.timeout(self._timeout_s):
                if not self._connection.is_connected:
                    await self._connect()
                if self._asks_twice:
                    command += _pack(b"XREAD", b"COUNT", count, *streams)
                await self._connection.send_packed_command(command, check_health=False)
                found = dict(await self._connection.read_response() or ())
                if self._asks_twice:  # from the same positions, so it has what the first has
                    found.update(await self._connection.read_response() or ())
        except BaseException:  # an answer may still be on its way
            await self._connection.disconnect(nowait=True)
            raise
        return [(key, [(entry_id, _pairs(flat)) for entry_id, flat in entries]) for key, entries in found.items()]

    async def _connect(self) -> None:
        await self._connection.connect()
        await self._connection.send_packed_command(_pack(b"INFO", b"server"), check_health=False)
        try:
            version = _VERSION.search(await self._connection.read_response())
        except ResponseError:  # this user may not ask
            version = None
        self._asks_twice = version is None or (int(version[1]), int(version[2])) < _ANSWERS_WITH_ALL

    async def aclose(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.disconnect(nowait=True)


def _pack(*command: Any) -> bytes:
    packed: bytes = hiredis.pack_command(command)
    return packed


def _pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
