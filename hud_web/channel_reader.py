"""The blocking read that follows one channel's streams, on a connection of its own.

It runs for each batch of every channel, so it is kept short: redis-py connects, and then what comes is parsed here.
Its client asks a pool for each read, starts a task and two timers, and packs in Python, which together cost four times
as much as the reply; its connection's own way from the socket to the reply is forty calls. Called by the tailer.

Redis before 7.2 answers a read that waited with the first stream alone that got something; of a batch of fields and a
picture the picture would take another read, and another write to every viewer. So there the read that waits is followed
at once by one that does not: Redis takes it up when it has answered the first, and both answers come together.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any

import hiredis
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ResponseError

from hud_publisher.protocol.entries import EntryId

_VERSION = re.compile(rb"redis_version:(\d+)\.(\d+)")
#: From this version on a read that waited is answered as one that did not.
_ANSWERS_WITH_ALL = (7, 2)
_CLOSED = "Redis closed the connection"
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
        self._replies: _Replies | None = None
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
        try:
            replies = self._replies or await self._connect()
            streams = (b"STREAMS", *after, *after.values())
            command = _pack(b"XREAD", b"COUNT", count, b"BLOCK", block_ms, *streams)
            if self._asks_twice:
                command += _pack(b"XREAD", b"COUNT", count, *streams)
            answers = await replies.ask(command, 2 if self._asks_twice else 1)
        except BaseException:  # an answer may still be on its way
            await self.aclose()
            raise
        found = {}
        for answer in answers:  # both from the same positions, so the second has what the first has
            if isinstance(answer, Exception):
                await self.aclose()
                raise answer
            found.update(answer or ())
        return [(key, [(entry_id, _pairs(flat)) for entry_id, flat in entries]) for key, entries in found.items()]

    async def _connect(self) -> _Replies:
        connection = self._connection
        async with asyncio.timeout(self._timeout_s):
            await connection.connect()
            await connection.send_packed_command(_pack(b"INFO", b"server"), check_health=False)
            try:
                version = _VERSION.search(await connection.read_response())
            except ResponseError:  # this user may not ask
                version = None
        self._asks_twice = version is None or (int(version[1]), int(version[2])) < _ANSWERS_WITH_ALL
        replies = self._replies = _Replies(
            connection._writer.transport, connection._parser.parse_error, self._timeout_s
        )
        return replies

    async def aclose(self) -> None:
        """Close the connection; the next read makes a new one."""
        if self._replies is not None:
            self._replies.close()
            self._replies = None
        if self._connection is not None:
            await self._connection.disconnect(nowait=True)


class _Replies(asyncio.Protocol):
    """Takes over a connection that stands, sends what is asked, and parses what comes."""

    def __init__(self, transport: Any, error_of: Callable[[str], Exception], timeout_s: float) -> None:
        self._parser = hiredis.Reader(protocolError=InvalidResponse, replyError=error_of)
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._asked_s = self._loop.time()
        self._answers: list[Any] = []
        self._count = 0
        self._waiter: asyncio.Future[list[Any]] = self._loop.create_future()
        self._waiter.cancel()  # nobody waits yet
        self._transport = transport
        transport.set_protocol(self)
        # One for all questions: it is set anew only when it rings, since each costs as much as a question.
        self._alarm = self._loop.call_later(timeout_s, self._look)

    def ask(self, command: bytes, count: int) -> asyncio.Future[list[Any]]:
        """Send a command, or several, and return so many answers; an error is an answer, too."""
        if self._transport.is_closing():
            raise RedisConnectionError(_CLOSED)
        self._asked_s = self._loop.time()
        self._answers, self._count = [], count
        waiter = self._waiter = self._loop.create_future()
        self._transport.write(command)
        return waiter

    def close(self) -> None:
        """Wait for nothing more."""
        self._alarm.cancel()
        self._waiter.cancel()

    def data_received(self, data: bytes) -> None:
        self._parser.feed(data)
        while (answer := self._parser.gets()) is not False:
            self._answers.append(answer)
        if len(self._answers) >= self._count and not self._waiter.done():
            self._waiter.set_result(self._answers)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(RedisConnectionError(_CLOSED))

    def _look(self) -> None:
        left_s = self._asked_s + self._timeout_s - self._loop.time()
        if left_s > 0:
            self._alarm = self._loop.call_later(left_s, self._look)
        else:  # whoever waits closes; whoever does not finds it closed the next time
            self._transport.abort()
            self._fail(TimeoutError(f"Redis gave no answer within {self._timeout_s:g} s"))

    def _fail(self, error: Exception) -> None:
        if not self._waiter.done():
            self._waiter.set_exception(error)


def _pack(*command: Any) -> bytes:
    packed: bytes = hiredis.pack_command(command)
    return packed


def _pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
