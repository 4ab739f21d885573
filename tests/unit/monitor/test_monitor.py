"""The monitor's loop, without Redis."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, cast

from hud_web.monitor import monitor as monitor_module
from hud_web.monitor.monitor import Monitor
from hud_web.store.store import Store


async def test_a_monitor_ends_although_a_call_to_redis_swallowed_the_cancellation(monkeypatch: Any) -> None:
    is_waiting = asyncio.Event()

    class Swallowing(Monitor):
        async def turn(self, now_s: float) -> None:
            if is_waiting.is_set():
                return
            is_waiting.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(30)

    monkeypatch.setattr(monitor_module, "ROUND_S", 0.0)
    task = asyncio.create_task(Swallowing(cast("Store", None)).run())
    await is_waiting.wait()
    task.cancel()
    ended, _running = await asyncio.wait([task], timeout=1)
    task.cancel()
    assert ended
