"""A Redis that many kept runs fill: the runs that ended first lose their pictures, then they go."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hud_publisher.protocol import replies, scripts
from hud_publisher.protocol.entries import Limits
from hud_publisher.protocol.keys import CHANGES, ChannelKeys
from hud_web.command.room import Room
from hud_web.store.redis_client import connect_writer
from hud_web.store.store import Store
from tests.fixtures.servers import redis_binary, running

#: Takes about 0.9 MB of Redis' memory.
ENTRY = bytes(900_000)


class Filled:
    """A Redis with 32 MB, and runs in it: room is made above 24 MB, until 19 MB are left."""

    def __init__(self, url: str) -> None:
        self.client = connect_writer(url)
        self.store, self.room = Store(self.client), Room(self.client)

    async def run(self, channel: str, *, pictures: int = 0, numbers: int = 0, status: str = "ended") -> str:
        """Store a run, newer than all before; return its session."""
        call = scripts.register(channel, run_id=None, name=channel, limits=Limits())
        registered = replies.parse_register(await self.store.run(call))
        await self.store.run(scripts.touch(channel, Limits()))
        session = ChannelKeys(channel).session(registered.sid)
        for stream, size in (("frames", pictures), ("metrics", numbers)):
            for _ in range(size):
                await self.client.xadd(session.stream(stream), {"data": ENTRY})
        if status == "ended":
            await self.store.run(scripts.release(registered.session_id))
        if status == "pinned":
            await self.store.run(scripts.release(registered.session_id))
            await self.store.run(scripts.label(channel, registered.sid, {"pinned": "1"}, Limits()))
        return str(registered.sid)

    async def has(self, channel: str, sid: str, stream: str = "") -> bool:
        session = ChannelKeys(channel).session(sid)
        return bool(await self.client.exists(session.stream(stream) if stream else session.info))


@pytest.fixture
async def filled(tmp_path: Path) -> AsyncIterator[Filled]:
    with running(redis_binary(), tmp_path / "redis", "--maxmemory", "32mb") as server:
        made = Filled(server.url)
        async with contextlib.aclosing(made.client):
            yield made


async def test_below_the_limit_nothing_goes(filled: Filled, caplog: pytest.LogCaptureFixture) -> None:
    sid = await filled.run("a", pictures=20)
    await filled.room.make()
    assert await filled.has("a", sid, "frames")
    assert not caplog.messages


async def test_the_runs_that_ended_first_lose_their_pictures_first(
    filled: Filled, caplog: pytest.LogCaptureFixture
) -> None:
    live = await filled.run("live", pictures=4, status="live")
    old = [await filled.run(f"old-{n}", pictures=6, numbers=1) for n in range(3)]
    newest = await filled.run("newest", pictures=6)
    await filled.room.make()
    assert [await filled.has(f"old-{n}", sid, "frames") for n, sid in enumerate(old)] == [False, False, True]
    assert [await filled.has(f"old-{n}", sid, "metrics") for n, sid in enumerate(old)] == [True, True, True]
    assert await filled.has("newest", newest, "frames")
    assert await filled.has("live", live, "frames")
    assert "the 2 oldest runs lost their pictures, and 0 of them were removed" in caplog.text


async def test_then_the_oldest_runs_go_but_no_pinned_and_no_live_one(
    filled: Filled, caplog: pytest.LogCaptureFixture
) -> None:
    pinned = await filled.run("pinned", numbers=6, status="pinned")
    old = [await filled.run(f"old-{n}", numbers=5) for n in range(3)]
    live = await filled.run("live", numbers=6, status="live")
    await filled.room.make()
    assert [await filled.has(f"old-{n}", sid) for n, sid in enumerate(old)] == [False, False, True]
    assert await filled.has("pinned", pinned, "metrics")
    assert await filled.has("live", live, "metrics")
    assert "2 of them were removed" in caplog.text
    assert await filled.client.xlen(CHANGES) == 2


async def test_live_runs_that_fill_it_are_reported_once(filled: Filled, caplog: pytest.LogCaptureFixture) -> None:
    sid = await filled.run("live", numbers=27, status="live")
    await filled.room.make()
    await filled.room.make()
    assert await filled.has("live", sid, "metrics")
    assert len(caplog.messages) == 1
    assert "in live and pinned runs: end or unpin some" in caplog.messages[0]
