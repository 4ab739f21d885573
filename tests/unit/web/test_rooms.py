"""How a replica that goes away ends its streams. No sleeping."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hud_web import rooms as module
from hud_web.rooms import Room, Rooms


class Viewer:
    """Notes when it was closed."""

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

    async def sleep(seconds: float) -> None:
        clock[0] += seconds + lateness_s

    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    rooms = Rooms(cast("Any", None), cast("Any", None))
    hub = cast("Any", SimpleNamespace(subscribers=viewers))
    rooms._rooms["default"] = Room(hub, cast("Any", None), empty_since_s=time.monotonic())
    await rooms.drain()
    assert all(viewer.closed_at is not None for viewer in viewers)
    if not lateness_s:
        assert len({viewer.closed_at for viewer in viewers}) > 3  # not all at once
