"""The blocking read that follows one channel's streams, on a separate connection.

It runs for each batch of every channel, so its cost matters: redis-py connects, and this module parses the replies. For
each read, redis-py's client takes a connection from a pool, starts a task and two timers, and packs in Python, which
together cost four times the parsing of the reply; its connection makes forty calls from the socket to the reply. Called
by the tailer.

Redis before 7.2 answers a blocking read with only the first stream that received an entry. For a batch of fields and a
picture, the picture would then take another read, and another write to every viewer. So there a second read, which does
not block, follows in the same write: Redis runs it after the first, and both answers arrive together.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import hiredis
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError, ResponseError

from hud_publisher.protocol.entries import EntryId
from hud_publisher.protocol.internals import missing_of, report_missing
from hud_publisher.protocol.transport.redis_clients import CLIENT_ERRORS, CLOSED, reply_parser

_VERSION = re.compile(rb"redis_version:(\d+)\.(\d+)")
#: From this version on, Redis answers a blocking read with all streams.
_ANSWERS_WITH_ALL = (7, 2)
#: Attributes of redis-py's connection that this module uses and that redis-py does not document.
_INTERNALS = ("_writer", "_parser.parse_error")
#: id → fields of the entries of one stream.
Entries = list[tuple[bytes, dict[bytes, bytes]]]


class ChannelReader:
    """Reads the entries after given ones, or waits for them."""

    def __init__(self, client: Redis, *, timeout_s: float) -> None:
        """Store the client; opens no connection yet.

        Args:
            client: provides the connection. It runs the reads itself if it is a cluster's, since it knows the
                channel's node, or if its connection lacks an attribute that this module needs.
            timeout_s: time limit for connecting and for one read; above the longest block.
        """
        self._client = client
        self._timeout_s = timeout_s
        self._connection: Any = None
        self._replies: _Replies | None = None
        self._is_old = True
        if isinstance(client, Redis):
            pool: Any = client.connection_pool
            connection = pool.make_connection()
            if missing := missing_of(connection, _INTERNALS):
                report_missing("redis", missing, "redis-py reads the streams, which costs several times as much")
            else:
                self._connection = connection
                connection.socket_timeout = None  # this reader's time-out replaces those of each send and receive

    @property
    def is_direct(self) -> bool:
        """Whether it reads on a separate connection, not through the client."""
        return self._connection is not None

    async def read(
        self, after: Mapping[bytes, EntryId], *, count: int, block_ms: int, is_shared: bool = False
    ) -> list[tuple[bytes, Entries]]:
        """Return the newer entries of each stream, within block_ms, at most `count` of each stream.

        Args:
            after: key of each stream → id of the last entry to leave out.
            count: largest number of entries of each stream.
            block_ms: how long to wait for the first entry.
            is_shared: the streams are those of several channels, so no entry waits for those of other streams.

        Raises:
            RedisError, RedisClusterException, OSError: Redis is unreachable or refuses; a TimeoutError is an OSError.
        """
        try:
            return await self._read(after, count, block_ms, asks_twice=not is_shared)
        except (RedisError, RedisClusterException, OSError):
            raise
        except (*CLIENT_ERRORS, TypeError, ValueError) as error:  # the connection broke, or the server is not Redis
            await self.aclose()
            raise RedisConnectionError(
                f"Redis sent no answer that can be read ({type(error).__name__}: {error})"
            ) from error

    async def _read(
        self, after: Mapping[bytes, EntryId], count: int, block_ms: int, *, asks_twice: bool
    ) -> list[tuple[bytes, Entries]]:
        if self._connection is None:
            keys: Any = dict(after)
            found: Any = await self._client.xread(keys, count=count, block=block_ms)
            return list(found or ())
        try:
            replies = self._replies or await self._connect()
            streams = (b"STREAMS", *after, *after.values())
            command = _pack(b"XREAD", b"COUNT", count, b"BLOCK", block_ms, *streams)
            asks_twice = asks_twice and self._is_old
            if asks_twice:
                command += _pack(b"XREAD", b"COUNT", count, *streams)
            answers = await replies.ask(command, 2 if asks_twice else 1)
            if not answers:  # interrupted
                await self.aclose()
        except BaseException:  # an answer may still be on its way
            await self.aclose()
            raise
        found = {}
        for answer in answers:  # both from the same positions, so the second includes the first
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
            except ResponseError:  # this user may not run INFO
                version = None
        self._is_old = version is None or (int(version[1]), int(version[2])) < _ANSWERS_WITH_ALL
        replies = self._replies = _Replies(connection._writer.transport, reply_parser(connection), self._timeout_s)
        return replies

    def interrupt(self) -> None:
        """End the wait for entries, if there is one: the read returns none. Costs a new connection."""
        if self._replies is not None:
            self._replies.interrupt()

    async def aclose(self) -> None:
        """Close the connection; the next read makes a new one."""
        if self._replies is not None:
            self._replies.close()
            self._replies = None
        if self._connection is not None:
            await self._connection.disconnect(nowait=True)


class _Replies(asyncio.Protocol):
    """Takes over an open connection, sends commands, and parses the replies."""

    def __init__(self, transport: Any, parser: Any, timeout_s: float) -> None:
        self._parser = parser
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._asked_s = self._loop.time()
        self._answers: list[Any] = []
        self._count = 0
        self._waiter: asyncio.Future[list[Any]] = self._loop.create_future()
        self._waiter.cancel()  # no caller waits yet
        self._transport = transport
        transport.set_protocol(self)
        # One timer for all commands: it is set again only when it fires, since setting one costs as much as a command.
        self._alarm = self._loop.call_later(timeout_s, self._look)

    def ask(self, command: bytes, count: int) -> asyncio.Future[list[Any]]:
        """Send one or several commands and return `count` answers; an error is an answer too."""
        if self._transport.is_closing():
            raise RedisConnectionError(CLOSED)
        self._asked_s = self._loop.time()
        self._answers, self._count = [], count
        waiter = self._waiter = self._loop.create_future()
        self._transport.write(command)
        return waiter

    def interrupt(self) -> None:
        """End the wait for the answers; the caller of `ask` gets none."""
        if not self._waiter.done():
            self._waiter.set_result([])

    def close(self) -> None:
        """Stop waiting for answers."""
        self._alarm.cancel()
        self._waiter.cancel()

    def data_received(self, data: bytes) -> None:
        self._parser.feed(data)
        while (answer := self._parser.gets()) is not False:
            self._answers.append(answer)
        if len(self._answers) >= self._count and not self._waiter.done():
            self._waiter.set_result(self._answers)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(RedisConnectionError(CLOSED))

    def _look(self) -> None:
        left_s = self._asked_s + self._timeout_s - self._loop.time()
        if left_s > 0:
            self._alarm = self._loop.call_later(left_s, self._look)
        else:  # a waiting caller closes the connection; without one, the next command finds it closed
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
