"""Every caller treats any connection error of a Redis client as Redis being unavailable."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import hiredis
import pytest
import redis.exceptions as redis_errors

from hud_publisher.protocol import scripts
from hud_publisher.protocol.entries import EntryId, Limits
from hud_publisher.protocol.errors import UnavailableError
from hud_publisher.sinks.redis_sink import RedisSink
from hud_web.live.channel_reader import ChannelReader
from hud_web.live.tailer import AWAY
from hud_web.store.store import Store

ERRORS = [
    RuntimeError("unable to perform operation on <TCPTransport closed=True reading=False>; the handler is closed"),
    RuntimeError("Event loop is closed"),
    asyncio.IncompleteReadError(b"+O", 5),
    EOFError(),
    hiredis.ProtocolError("Protocol error, got \"H\" as reply type byte"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ssl.SSLError("record layer failure"),
    ssl.SSLCertVerificationError("self-signed certificate"),
    ConnectionResetError(),
    BrokenPipeError(),
    TimeoutError(),
    redis_errors.ConnectionError("Error while reading"),
    redis_errors.TimeoutError(),
    redis_errors.InvalidResponse("Protocol Error"),
    redis_errors.BusyLoadingError("Redis is loading the dataset in memory"),
    redis_errors.ReadOnlyError("You can't write against a read only replica."),
    redis_errors.ResponseError("BUSY Redis is busy running a script."),
    redis_errors.ResponseError("MISCONF Redis is configured to save RDB snapshots"),
    redis_errors.RedisClusterException("Redis Cluster cannot be connected"),
    redis_errors.ClusterDownError("CLUSTERDOWN The cluster is down"),
]  # fmt: skip


class Broken:
    """A client each of whose calls fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def execute_command(self, *_args: Any) -> Any:
        raise self._error

    def close(self) -> None:
        raise self._error

    async def evalsha(self, *_args: Any) -> Any:
        raise self._error

    async def ping(self) -> Any:
        raise self._error

    async def xread(self, *_args: Any, **_options: Any) -> Any:
        raise self._error


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_publisher_tries_again_later(error: Exception) -> None:
    sink = RedisSink(
        "redis://fake", channel="default", run_id=None, name="n", info={}, limits=Limits(),
        connect=lambda _target: Broken(error),
    )  # fmt: skip
    with pytest.raises(UnavailableError):
        sink.register()
    sink.close()


@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_an_endpoint_answers_503(error: Exception) -> None:
    client: Any = Broken(error)
    store = Store(client)
    with pytest.raises(UnavailableError):
        await store.run(scripts.reset("default"))
    with pytest.raises(UnavailableError):
        await store.ping()


@pytest.mark.parametrize("error", [*ERRORS, TypeError("'int' object is not iterable"), ValueError("x")], ids=repr)
async def test_a_tailer_reads_again(error: Exception) -> None:
    client: Any = Broken(error)
    reader = ChannelReader(client, timeout_s=1.0)
    with pytest.raises(AWAY):
        await reader.read({b"key": EntryId("0-0")}, count=1, block_ms=1)
