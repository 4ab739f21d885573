"""Long work yields to other tasks."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

from hud_publisher.protocol.entries import EntryId
from hud_publisher.protocol.keys import ChannelKeys, Sid
from hud_web.live.hub import Hub
from hud_web.live.tailer import Checks, Tailer
from hud_web.store.slices import SLICE_S, Slices, Turns
from hud_web.store.sse import ALL_STREAMS, Position
from hud_web.store.store import Store
from hud_web.store.views import SessionView


async def longest_turn_s(work: Callable[[], Awaitable[object]]) -> tuple[float, int]:
    """Return the processor time of the longest turn of some work, and how many turns it took."""
    turns: list[float] = []
    is_over = False

    async def watch() -> None:
        before_s = time.thread_time()
        while not is_over:
            await asyncio.sleep(0)
            now_s = time.thread_time()
            turns.append(now_s - before_s)
            before_s = now_s

    watcher = asyncio.create_task(watch())
    await asyncio.sleep(0)
    await work()
    is_over = True
    await watcher
    return max(turns), len(turns)


async def test_work_rests_every_few_milliseconds() -> None:
    async def work() -> None:
        slices = Slices()
        for _ in range(2_000):
            sum(range(1_000))
            await slices.rest()

    longest_s, turns = await longest_turn_s(work)
    assert turns >= 3
    assert longest_s < 10 * SLICE_S


async def test_many_long_answers_take_turns() -> None:
    turns = Turns()

    async def answer() -> None:
        slices = Slices(turns)
        for _ in range(2_000):
            await slices.rest()
            sum(range(1_000))

    longest_s, _turns = await longest_turn_s(lambda: asyncio.gather(*(answer() for _ in range(30))))
    assert longest_s < 10 * SLICE_S  # without turns, one pass of the loop has a slice of each: 0.15 s


class WideReader:
    """A read that brings many wide entries at once."""

    async def read(self, *_arguments: Any, **_options: Any) -> list[Any]:
        data = json.dumps({f"field {number}": number / 7 for number in range(2_000)}).encode()
        key = ChannelKeys("default").session(Sid("7")).stream("metrics").encode()
        return [(key, [(b"%d-0" % number, {b"data": data, b"time": b"1"}) for number in range(1, 101)])]


async def test_a_read_of_many_wide_entries_gives_way_between_them() -> None:
    hub = Hub("default")
    hub.switch(SessionView("default", Sid("7")), Position(Sid("7")), {})
    tailer = Tailer(hub, cast("Store", None), cast("Any", None), replica="r", checks=Checks())
    tailer._reader = cast("Any", WideReader())
    tailer._at = {"events": EntryId("0-0")} | {name: EntryId("0-0") for name in ALL_STREAMS}
    longest_s, turns = await longest_turn_s(lambda: tailer._read(block_ms=1))
    assert hub.ring.end == 100
    assert turns >= 10
    assert longest_s < 0.1
