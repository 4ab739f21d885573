"""The server's background work: garbage collection."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from hud_web.command import server


class Knot:
    """An object in a reference cycle."""

    def __init__(self) -> None:
        self.self = self


async def test_cycles_go_although_the_collector_by_itself_would_not_come_for_hours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "TIDY_S", 0.01)
    gc.disable()
    try:
        knot = weakref.ref(Knot())
        await asyncio.sleep(0.05)
        assert knot() is not None
        tidying = asyncio.create_task(server._tidy_memory())
        await asyncio.sleep(0.1)
        tidying.cancel()
        assert knot() is None
    finally:
        gc.enable()
