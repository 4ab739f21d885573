"""The whole run of a session, thinned for charts, and the index of its kept frames.

A replica reads a session's streams once and then only what came since, so a page load costs no more late in a run than
early. It is a cache: any replica can build it from Redis. Called by the archive endpoints.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from hud_publisher.protocol.entries import START, EntryId, FrameEntry, StreamName, decode_entry
from hud_publisher.protocol.keys import Sid
from hud_publisher.protocol.values import PATH_SEPARATOR, flatten
from hud_web.series import Series
from hud_web.sse import order
from hud_web.store import Store, StreamEntry

#: Entries per read of metrics, and of frames with their pictures: a few milliseconds of Redis each.
READ_METRICS = 1_000
READ_FRAMES = 100
#: Sessions whose history a replica keeps; one of 200 metrics is about 20 MB at the most.
MAX_SESSIONS = 8
#: Metrics that get a chart; what comes later is still in the table and the export.
MAX_FIELDS = 2_000


class History:
    """One session's series and frame index as far as they were read."""

    def __init__(self, channel: str, sid: Sid) -> None:
        self._channel = channel
        self._sid = sid
        self._read_to: dict[StreamName, EntryId] = {}
        self._series: dict[str, Series] = {}
        self._frames: dict[EntryId, dict[str, Any]] = {}
        self._lock = asyncio.Lock()

    async def series(self, store: Store, fields: list[str] | None, points: int) -> dict[str, Any]:
        """Return the thinned series of these fields (all if None) and the names of all."""
        async with self._lock:
            streams: tuple[StreamName, ...] = ("iterations", "metrics")
            for name in streams:
                await self._follow(store, name, READ_METRICS)
        wanted = (
            self._series if fields is None else {name: self._series[name] for name in fields if name in self._series}
        )
        return {
            "fields": sorted(self._series),
            "series": {name: series.describe(points) for name, series in wanted.items()},
        }

    async def frames(self, store: Store, from_ms: int, to_ms: int) -> list[dict[str, Any]]:
        """Return what is kept of frames between two times (Unix milliseconds), oldest first, without pictures."""
        async with self._lock:
            await self._follow(store, "frames", READ_FRAMES)
            oldest = await store.entries(self._channel, self._sid, "frames", limit=1)
            first = order(oldest[0][0]) if oldest else (2**63, 0)
            for entry_id in [entry_id for entry_id in self._frames if order(entry_id) < first]:
                del self._frames[entry_id]
        return [frame for frame in self._frames.values() if from_ms <= frame["time_ms"] <= to_ms]

    async def _follow(self, store: Store, name: StreamName, count: int) -> None:
        while True:
            since = self._read_to.get(name, START)
            entries = await store.entries(self._channel, self._sid, name, first=f"({since}", limit=count)
            for entry in entries:
                self._take(name, entry)
            if entries:
                self._read_to[name] = entries[-1][0]
            if len(entries) < count:
                return

    def _take(self, name: StreamName, entry: StreamEntry) -> None:
        entry_id, fields = entry
        if name == "frames":
            frame = decode_entry(name, fields)
            assert isinstance(frame, FrameEntry)
            self._frames[entry_id] = {
                "id": entry_id, "time_ms": frame.time_ms, "step": frame.step, "episode": frame.episode,
                "env": frame.env, "bytes": len(frame.image),
            }  # fmt: skip
            return
        step = fields.get(b"step")
        time_ms = int(fields.get(b"time", b"0"))
        for path, value in numbers(json.loads(fields[b"data"])):
            series = self._series.get(path)
            if series is None:
                if len(self._series) >= MAX_FIELDS:
                    continue
                series = self._series[path] = Series()
            series.add(None if step is None else int(step), time_ms, value)


class Histories:
    """The histories that this replica keeps, the least recently asked for leaving first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, Sid], History] = OrderedDict()

    def of(self, channel: str, sid: Sid) -> History:
        """Return a session's history, empty if it is new here."""
        key = (channel, sid)
        history = self._kept.get(key)
        if history is None:
            history = self._kept[key] = History(channel, sid)
        self._kept.move_to_end(key)
        while len(self._kept) > MAX_SESSIONS:
            self._kept.popitem(last=False)
        return history


def numbers(data: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield (path, number) of an entry's numeric fields; the steps of nested ones are joined by `/`."""
    for path, value in flatten(data):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield path.replace(PATH_SEPARATOR, "/"), float(value)
