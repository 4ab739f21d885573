"""The blocking read of a channel, on the servers that answer it in different ways."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from hud_publisher.protocol.entries import START, EntryId
from hud_web.live.channel_reader import ChannelReader
from hud_web.store.redis_client import connect_reader, connect_writer
from tests.fixtures.servers import Server

METRICS, FRAMES = b"hud:{c}:metrics", b"hud:{c}:frames"
FROM_START = {METRICS: START, FRAMES: START}


@pytest.fixture
async def writer(any_server: Server) -> AsyncIterator[Redis]:
    client = connect_writer(any_server.url)
    yield client
    await client.aclose()


@pytest.fixture
async def reader(any_server: Server) -> AsyncIterator[ChannelReader]:
    client = connect_reader(any_server.url)
    reader = ChannelReader(client, timeout_s=3.0)
    yield reader
    await reader.aclose()
    await client.aclose()


async def write_both(writer: Redis) -> None:
    async with writer.pipeline(transaction=True) as batch:
        batch.xadd(METRICS, {"data": "{}"}, id="1-1")
        batch.xadd(FRAMES, {"image": b"\x00\xff"}, id="2-1")
        await batch.execute()


async def test_fields_and_picture_of_one_batch_come_with_one_read(reader: ChannelReader, writer: Redis) -> None:
    waiting = asyncio.create_task(reader.read(FROM_START, count=10, block_ms=2_000))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await write_both(writer)
    assert dict(await waiting) == {METRICS: [(b"1-1", {b"data": b"{}"})], FRAMES: [(b"2-1", {b"image": b"\x00\xff"})]}
    assert dict(await reader.read({METRICS: EntryId("1-1"), FRAMES: START}, count=10, block_ms=50)).keys() == {FRAMES}


async def test_a_silent_channel_gives_nothing_in_its_time(reader: ChannelReader) -> None:
    began = time.monotonic()
    assert await reader.read(FROM_START, count=10, block_ms=200) == []
    assert time.monotonic() - began >= 0.2


async def test_after_an_error_the_next_read_has_its_own_answer(reader: ChannelReader, writer: Redis) -> None:
    await writer.set(METRICS, "no stream")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await reader.read(FROM_START, count=10, block_ms=50)
    await writer.delete(METRICS)
    await write_both(writer)
    assert dict(await reader.read(FROM_START, count=10, block_ms=50)).keys() == {METRICS, FRAMES}


async def test_a_cancelled_read_leaves_nothing_for_the_next_one(reader: ChannelReader, writer: Redis) -> None:
    waiting = asyncio.create_task(reader.read(FROM_START, count=10, block_ms=2_000))
    await asyncio.sleep(0.2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await write_both(writer)
    assert await reader.read({METRICS: EntryId("9-9"), FRAMES: EntryId("9-9")}, count=10, block_ms=50) == []


async def test_a_server_that_stopped_answering_is_noticed_and_found_again(
    reader: ChannelReader, writer: Redis, any_server: Server
) -> None:
    await reader.read(FROM_START, count=10, block_ms=10)
    any_server.stop()
    began = time.monotonic()
    with pytest.raises((RedisError, OSError)):
        await reader.read(FROM_START, count=10, block_ms=50)
    assert 2.5 < time.monotonic() - began < 10
    any_server.cont()
    await write_both(writer)
    assert dict(await reader.read(FROM_START, count=10, block_ms=50)).keys() == {METRICS, FRAMES}
