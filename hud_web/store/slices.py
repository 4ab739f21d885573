"""Cuts long work into slices, so that the event loop serves streams and other requests between them.

Called by the export, the history, the tailer and the monitor.
"""

from __future__ import annotations

import asyncio
import time

#: Work between two yields to other tasks.
SLICE_S = 0.005


class Turns:
    """Lets only one of the long answers work in each pass of the event loop.

    Without it, a pass takes SLICE_S for each of them: 50 exports at once delayed every stream by 0.25 s.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def next(self) -> None:
        """Return once all earlier callers have had their slice, at the earliest in the next pass."""
        async with self._turn:
            await asyncio.sleep(0)


class Slices:
    """Work that yields to other tasks every SLICE_S; work with the same `turns` takes turns."""

    def __init__(self, turns: Turns | None = None) -> None:
        self._turns = turns
        self._began_s = time.monotonic() if turns is None else float("-inf")

    async def rest(self) -> None:
        """Yield to other tasks, if this one has run for SLICE_S or waits for its first turn."""
        if time.monotonic() - self._began_s > SLICE_S:
            await (self._turns.next() if self._turns else asyncio.sleep(0))
            self._began_s = time.monotonic()
