"""The channels that a replica follows, and the end of its streams when it shuts down. No sleeping."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hud_publisher.protocol.errors import TooManyRequestsError, UnavailableError
from hud_publisher.protocol.keys import Sid
from hud_web.live import channels as module
from hud_web.live.channels import ADDRESS_KNOWN, ADDRESS_UNKNOWN, MAX_KNOWN, MAX_UNKNOWN, Channels, WatchedChannel
from hud_web.live.hub import CHANNEL_BYTES, CHANNELS_BYTES, Hub
from hud_web.live.subscriber import Subscriber
from hud_web.store.views import SessionView


class Viewer:
    """Records the time at which it was closed."""

    def __init__(self, clock: list[float]) -> None:
        self._clock = clock
        self.closed_at: float | None = None

    def close(self) -> None:
        self.closed_at = self._clock[0]


@pytest.mark.parametrize("lateness_s", [0.0, 0.4, 60.0])
async def test_every_stream_ends_once_even_where_the_machine_is_too_busy_to_wake_in_time(
    monkeypatch: pytest.MonkeyPatch, lateness_s: float
) -> None:
    clock = [1000.0]
    viewers = {Viewer(clock) for _ in range(12)}
    channels = Channels(cast("Any", None), cast("Any", None))

    async def sleep(seconds: float) -> None:
        clock[0] += seconds + lateness_s

    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    hub = cast("Any", SimpleNamespace(subscribers=viewers))
    channels._channels["default"] = WatchedChannel(hub, cast("Any", None), empty_since_s=time.monotonic())
    await channels.drain()
    assert all(viewer.closed_at is not None for viewer in viewers)
    if not lateness_s:
        assert len({viewer.closed_at for viewer in viewers}) > 3  # not all at once


class Sessions:
    """A store that knows which channels have had a session."""

    def __init__(self, *channels: str) -> None:
        self.channels = set(channels)
        self.is_away = False

    async def current_sid(self, channel: str) -> Sid | None:
        if self.is_away:
            raise UnavailableError("away")
        return Sid("7") if channel in self.channels else None


class IdleTailer:
    """Follows nothing."""

    def __init__(self, *_arguments: object, **_options: object) -> None: ...

    async def run(self) -> None:
        await asyncio.Event().wait()

    def check_soon(self) -> None: ...


@pytest.fixture
async def channels(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Channels]:
    monkeypatch.setattr(module, "Tailer", IdleTailer)
    store = Sessions("own", *(f"real{number}" for number in range(2 * MAX_KNOWN)))
    found = Channels(cast("Any", store), cast("Any", None), own_channel="own")
    keeper = asyncio.create_task(found.run())
    await asyncio.sleep(0)
    yield found
    keeper.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeper


async def enter(channels: Channels, channel: str, address: str = "stranger") -> Subscriber:
    _hub, viewer = await channels.enter(channel, None, ends_s=1e12, address=address)
    viewer.at_close = channels.leave
    viewer.outlet = cast("Any", None)
    return viewer


def hub_of(channels: Channels, channel: str) -> Hub:
    return next(hub for hub in channels.hubs if hub.channel == channel)


def share_of(hub: Hub) -> float:
    return 8 / 5 * hub.pictures._most_bytes


async def fill(channels: Channels, kind: str, count: int, addresses: int = 1) -> list[Subscriber]:
    """Enter `count` channels; the refused ones are left out."""
    viewers = []
    for number in range(count):
        with contextlib.suppress(TooManyRequestsError):
            viewers.append(await enter(channels, f"{kind}{number}", f"stranger {number % addresses}"))
    return viewers


async def test_invented_channels_displace_no_channels_that_exist(channels: Channels) -> None:
    assert len(await fill(channels, "x", 256)) == ADDRESS_UNKNOWN
    assert len(await fill(channels, "y", 1_000, addresses=100)) == MAX_UNKNOWN - ADDRESS_UNKNOWN
    assert len(await fill(channels, "real", MAX_KNOWN, addresses=8)) == MAX_KNOWN
    await enter(channels, "own")
    await enter(channels, "real0", "somebody else")


async def test_one_address_cannot_hold_all_channels_that_exist(channels: Channels) -> None:
    assert len(await fill(channels, "real", 2 * MAX_KNOWN)) == ADDRESS_KNOWN
    await enter(channels, f"real{2 * MAX_KNOWN - 1}", "somebody else")
    await enter(channels, "mine", "somebody else")


async def test_channels_that_nobody_watches_any_more_give_way_at_once(channels: Channels) -> None:
    for viewer in await fill(channels, "x", 1_000, addresses=100):
        viewer.close()
    assert not channels.hubs
    strangers = await fill(channels, "real", MAX_KNOWN, addresses=8)
    with pytest.raises(TooManyRequestsError):
        await enter(channels, f"real{MAX_KNOWN}", "somebody else")
    for viewer in strangers:
        viewer.close()
    assert len(channels.hubs) == MAX_KNOWN  # a page that reloads finds them warm
    assert len([await enter(channels, f"real{MAX_KNOWN + number}", "a") for number in range(100)]) == 100
    assert len(channels.hubs) == MAX_KNOWN


async def test_the_servers_own_channel_is_followed_although_redis_is_away(channels: Channels) -> None:
    cast("Any", channels)._store.is_away = True
    await fill(channels, "real", 1_000, addresses=100)
    await fill(channels, "x", 1_000, addresses=100)
    assert len(channels.hubs) == MAX_UNKNOWN
    await enter(channels, "own")


async def test_a_channel_that_gets_its_first_session_leaves_the_waiting_ones(channels: Channels) -> None:
    viewers = await fill(channels, "x", 1_000, addresses=100)
    hub_of(channels, "x0").set_session(SessionView("x0", Sid("8")))
    await enter(channels, "y", "somebody else")
    viewers[0].close()
    assert "x0" in {hub.channel for hub in channels.hubs}


async def test_counts_of_a_channel_end_with_its_last_viewer(channels: Channels) -> None:
    viewer = await enter(channels, "x")
    channels.tally.entries["x", "metrics"] += 1
    channels.tally.entries["y", "metrics"] += 1
    viewer.close()
    assert set(channels.tally.entries) == {("y", "metrics")}


async def test_channels_share_the_memory_for_events_and_pictures(channels: Channels) -> None:
    await enter(channels, "own")
    first = hub_of(channels, "own")
    assert share_of(first) == CHANNEL_BYTES
    viewers = await fill(channels, "real", MAX_KNOWN, addresses=8)
    assert sum(map(share_of, channels.hubs)) <= CHANNELS_BYTES
    for viewer in viewers[10:]:
        viewer.close()
    assert share_of(first) <= CHANNEL_BYTES
