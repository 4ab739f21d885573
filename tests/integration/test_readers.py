"""Channels whose streams one connection reads, on the servers that answer a blocking read in different ways."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from hud_publisher.protocol import scripts
from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.entries import FrameEntry, Limits, MetricsEntry
from hud_publisher.protocol.keys import ChannelKeys, SessionId
from hud_publisher.protocol.replies import parse_register
from hud_web.live import readers as module
from hud_web.live.channels import Channels
from hud_web.live.hub import Hub
from hud_web.live.subscriber import Subscriber
from hud_web.store.redis_client import connect_reader, connect_writer
from hud_web.store.store import Store
from tests.fixtures.servers import Server

NAMES = ("a", "b", "c", "d")


class Stage:
    """Four channels with a session each, on two connections: `a` may have its own, the others share one."""

    def __init__(self, store: Store, client: Redis, channels: Channels) -> None:
        self.store, self.client, self.channels = store, client, channels
        self.sessions: dict[str, SessionId] = {}
        self.hubs: dict[str, Hub] = {}
        self._numbers = dict.fromkeys(NAMES, 0)

    async def register(self, name: str, *, takeover: bool = False) -> None:
        call = scripts.register(name, run_id=None, name=name, limits=Limits(), takeover=takeover)
        self.sessions[name] = parse_register(await self.store.run(call)).session_id

    async def enter(self, name: str) -> None:
        self.hubs[name], viewer = await self.channels.enter(name, None, ends_s=1e12, address="here")
        viewer.outlet, viewer.at_close = cast("Any", None), self.leave

    def leave(self, viewer: Subscriber) -> None:
        self.channels.leave(viewer)

    async def write(self, name: str, n: int) -> None:
        self._numbers[name] += 1
        entries = MetricsEntry({"n": n}, n), FrameEntry(b"\xff\xd8" + bytes([n % 256]), n, env=(1, 0))
        await self.store.run(scripts.publish(self.sessions[name], Batch("w", self._numbers[name], entries), Limits()))

    async def until(self, claim: Callable[[], object], seconds: float = 10.0) -> float:
        """Return how long the claim took to come true."""
        began = time.monotonic()
        while not claim():
            assert time.monotonic() - began < seconds, {name: hub.state for name, hub in self.hubs.items()}
            await asyncio.sleep(0.005)
        return time.monotonic() - began

    def shows(self, name: str, n: int) -> bool:
        hub = self.hubs[name]
        return hub.state.get("n") == n and hub.pictures.frame is not None


@pytest.fixture
async def stage(any_server: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(module, "OWN_CONNECTIONS", 2)
    client, reader = connect_writer(any_server.url), connect_reader(any_server.url)
    channels = Channels(Store(client), reader)
    keeper = asyncio.create_task(channels.run())
    await asyncio.sleep(0)
    found = Stage(Store(client), client, channels)
    for name in NAMES:
        await found.register(name)
        await found.enter(name)
    await found.until(lambda: all(hub.is_ready for hub in found.hubs.values()))
    yield found
    keeper.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeper
    await client.aclose()
    await reader.aclose()


async def test_each_channel_shows_its_entries_soon_and_all_take_few_connections(stage: Stage) -> None:
    for n in range(1, 20):
        for name in NAMES:
            await stage.write(name, 100 * n + ord(name))
        for name in NAMES:
            await stage.until(lambda name=name, n=n: stage.shows(name, 100 * n + ord(name)))  # type: ignore[misc]
    assert stage.channels.connections == 2
    waits = []
    for n in range(5_000, 5_010):
        await asyncio.sleep(0.15)  # the shared read waits meanwhile
        await stage.write("d", n)
        waits.append(await stage.until(lambda n=n: stage.hubs["d"].state.get("n") == n))  # type: ignore[misc]
    assert sorted(waits)[5] < 0.3


async def test_a_key_that_holds_no_stream_costs_the_other_channels_nothing(stage: Stage) -> None:
    sid = stage.hubs["c"].position.sid
    await stage.client.set(ChannelKeys("c").session(sid).stream("machine"), "no stream")
    for n in range(1, 6):
        for name in NAMES:
            await stage.write(name, n)
    await stage.until(lambda: all(stage.shows(name, 5) for name in NAMES))
    assert all(hub.redis_trouble is None for hub in stage.hubs.values())


async def test_a_takeover_of_one_channel_is_shown_while_the_others_go_on(stage: Stage) -> None:
    before = {name: stage.hubs[name].position.sid for name in NAMES}
    await stage.register("b", takeover=True)
    await asyncio.gather(*(stage.write(name, 7) for name in NAMES))
    await stage.until(lambda: all(stage.shows(name, 7) for name in NAMES))
    changed = {name for name in NAMES if stage.hubs[name].position.sid != before[name]}
    assert changed == {"b"}


async def test_lost_connections_lose_no_entry(stage: Stage) -> None:
    await stage.client.client_kill_filter(_type="normal", skipme=True)
    for n in range(1, 4):
        await asyncio.gather(*(stage.write(name, n) for name in NAMES), return_exceptions=True)
    for name in NAMES:
        await stage.write(name, 9)
    await stage.until(lambda: all(stage.shows(name, 9) for name in NAMES))
    assert all(hub.ring.end >= 1 and hub.redis_trouble is None for hub in stage.hubs.values())
