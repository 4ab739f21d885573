"""Without an internal of a library, streams and publishing work in its documented way, and the log says so once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
import redis
import redis.asyncio

from hud_publisher import Publisher
from hud_publisher.protocol.entries import START, EntryId
from hud_publisher.protocol.internals import report_missing
from hud_publisher.protocol.keys import ChannelKeys
from hud_publisher.sinks.redis_client import OneConnection, connect_one
from hud_web.live.channel_reader import ChannelReader
from hud_web.store.redis_client import connect_reader, connect_writer
from tests.fixtures.internals import hide
from tests.fixtures.servers import Server, wait_until
from tests.fixtures.web import SseClient, WebServer

KEYS = ChannelKeys("default")


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    report_missing.cache_clear()
    yield
    report_missing.cache_clear()


def missing(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    return [line for line in lines if " has no " in line]


@pytest.mark.parametrize(
    ("kind", "name", "internal"),
    [
        (redis.Connection, "_sock", "Connection._sock"),
        (redis.Connection, "_parser", "Connection._parser.parse_error"),
        (type(redis.Connection()._parser), "parse_error", "Connection._parser.parse_error"),
    ],
    ids=["the socket", "the parser", "the parser of errors"],
)
def test_a_publisher_whose_redis_py_lacks_an_internal_stores_every_entry(
    redis_server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    kind: type, name: str, internal: str,
) -> None:  # fmt: skip
    hide(monkeypatch, kind, name)
    for _ in range(2):
        client = connect_one(redis_server.url)
        assert not isinstance(client, OneConnection)
        client.close()
    with Publisher(redis_url=redis_server.url) as publisher, redis.Redis.from_url(redis_server.url) as link:
        for step in range(20):
            publisher.log({"loss": step}, step=step)
        wait_until(lambda: link.keys("*:metrics"), "the first entries")
        publisher.close()
        (key,) = link.keys("*:metrics")
        entries = link.xrange(key)
    assert [int(fields[b"step"]) for _id, fields in entries] == list(range(20))
    (line,) = missing(caplog)
    assert line.startswith(f"redis {redis.__version__} has no {internal}: the publisher uses")


@pytest.mark.parametrize(
    ("kind", "name", "internal"),
    [
        (redis.asyncio.Connection, "_writer", "Connection._writer"),
        (redis.asyncio.Connection, "_parser", "Connection._parser.parse_error"),
    ],
)
async def test_a_channel_is_read_by_redis_py_if_that_lacks_an_internal(
    redis_server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    kind: type, name: str, internal: str,
) -> None:  # fmt: skip
    hide(monkeypatch, kind, name)
    client, writer = connect_reader(redis_server.url), connect_writer(redis_server.url)
    readers = [ChannelReader(client, timeout_s=3.0) for _ in range(2)]
    try:
        await writer.xadd(b"s", {"a": "1"}, id="1-1")
        for reader in readers:
            assert await reader.read({b"s": START}, count=10, block_ms=50) == [[b"s", [(b"1-1", {b"a": b"1"})]]]
            assert await reader.read({b"s": EntryId("1-1")}, count=10, block_ms=50) == []
    finally:
        for reader in readers:
            await reader.aclose()
        await client.aclose()
        await writer.aclose()
    (line,) = missing(caplog)
    assert line.startswith(f"redis {redis.__version__} has no {internal}: redis-py reads")


@pytest.mark.parametrize("name", ["cycle", "_unset_keepalive_if_required", "response_complete"])
def test_a_server_whose_uvicorn_lacks_an_internal_streams_by_asgi_messages(
    redis_server: Server, watch: Callable[..., SseClient], name: str
) -> None:
    web = WebServer(redis_server.url, environment={"HIDDEN": name}, program="tests.fixtures.other_uvicorn")
    try:
        client = watch(web)
        session_id = web.post("/api/register_session")[1]["session_id"]
        for n in range(20):
            web.post("/api/update_training", {"session_id": session_id, "data": {"n": n}})
        client.wait(lambda c: [data.get("n") for data in c.named("training_update")] == list(range(20)), "20 updates")
        assert web.terminate() == 0
    finally:
        web.close()
    (line,) = [line for line in web.output if " has no " in line]
    assert f".{name}: streams use ASGI messages" in line
