"""Keeps the Redis of `hud up` from filling up with the runs of many channels, which its folder keeps.

`HUD_RETENTION` bounds each channel, and nothing else bounds all of them; a full Redis refuses every write. Above a
share of its memory, the runs that ended first lose their pictures, which take most of it. If that is not enough, the
first runs are removed. Live and pinned runs stay. Runs beside the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from redis.asyncio import Redis

from hud_publisher.protocol import scripts
from hud_publisher.protocol.entries import StreamName
from hud_publisher.protocol.errors import UnavailableError
from hud_publisher.protocol.keys import ChannelKeys
from hud_publisher.protocol.scripts import MAX_CHANNELS
from hud_publisher.protocol.transport.redis_clients import CLIENT_ERRORS
from hud_web.runs.catalogue import MAX_SESSIONS, note_change
from hud_web.runs.reading import channels_since, keys_of, runs_of, sids_of
from hud_web.runs.run import Run
from hud_web.store.redis_client import connect_writer
from hud_web.store.store import Store

logger = logging.getLogger("hud.room")

#: Between two looks at the used memory. The rest of it is enough for the entries of this time.
CHECK_S = 10.0
#: Shares of Redis' memory: room is made above the first, until the second is left.
MOST_USED, LEFT_USED = 0.75, 0.6
_PICTURES: tuple[StreamName, ...] = ("frames", "thumbs", "vision", "mind")


async def keep_room(redis_url: str) -> None:
    """Make room whenever it is needed, until cancelled."""
    client = connect_writer(redis_url)
    room = Room(client)
    try:
        while True:
            with contextlib.suppress(*CLIENT_ERRORS, UnavailableError):  # the server reports a Redis that is away
                await room.make()
            await asyncio.sleep(CHECK_S)
    finally:
        await client.aclose()


class Room:
    """The memory of one Redis."""

    def __init__(self, client: Redis) -> None:
        self._client, self._store = client, Store(client)
        self._is_told = False

    async def make(self) -> None:
        """Remove the oldest pictures and runs if more than MOST_USED of the memory is used."""
        used, most = await self._memory()
        if used <= MOST_USED * most:
            self._is_told = False
            return
        runs = await self._oldest_first()
        pictures = await self._remove(runs, most, whole=False)
        removed = await self._remove(runs, most, whole=True)
        left, _most = await self._memory()
        if pictures or removed:
            logger.warning(
                "Redis held %d of %d MB: the %d oldest runs lost their pictures, and %d of them were removed. Pin a "
                "run to keep it",
                used >> 20, most >> 20, pictures, removed,
            )  # fmt: skip
        if left > MOST_USED * most and not self._is_told:
            self._is_told = True
            logger.warning(
                "Redis holds %d of %d MB in live and pinned runs: end or unpin some before it is full, or set "
                "REDIS_URL to a Redis with more memory",
                left >> 20, most >> 20,
            )  # fmt: skip

    async def _memory(self) -> tuple[int, int]:
        """Return the used memory and its limit in bytes; the limit of a Redis without one counts as never reached."""
        info = await self._client.info("memory")
        return int(info["used_memory"]), int(info.get("maxmemory", 0)) or 1 << 62

    async def _oldest_first(self) -> list[Run]:
        """Return the runs that may go: neither live nor pinned, the one that ended first at the beginning."""
        channels = await channels_since(self._store, 0, MAX_CHANNELS)
        keys = keys_of(channels, await sids_of(self._store, list(channels), MAX_SESSIONS))
        runs = [run for run in await runs_of(self._store, keys) if run is not None]
        return sorted(
            (run for run in runs if run.session.status != "live" and not run.labels.pinned),
            key=lambda run: run.session.ended_ms or channels[run.session.channel],
        )

    async def _remove(self, runs: Sequence[Run], most: int, *, whole: bool) -> int:
        """Remove runs, or their pictures alone, until LEFT_USED is left; return how many."""
        count = 0
        for run in runs:
            used, _most = await self._memory()
            if used <= LEFT_USED * most:
                break
            channel, sid = run.key
            if whole:
                await self._store.run(scripts.delete(channel, sid))
                await note_change(self._store, run.key)
                count += 1
            else:
                session = ChannelKeys(channel).session(sid)
                count += bool(await self._client.delete(*[session.stream(name) for name in _PICTURES]))
        return count
