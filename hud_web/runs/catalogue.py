"""All runs of all channels, cached in this replica: `/api/runs` lists and searches them.

A session that has ended does not change, except by labels and deletion, which reach the other replicas through the
stream `hud:changes`. Live sessions are read again for each request, at most once a second. States and configurations
are read when a request first needs them. Any replica can build the catalogue from Redis. Called by the endpoints.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence

from hud_publisher.protocol.keys import CHANGES, ChannelKeys, Sid, is_channel, is_sid
from hud_publisher.protocol.replies import text
from hud_publisher.protocol.scripts import MAX_CHANNELS
from hud_web.runs.columns import Pool
from hud_web.runs.reading import channels_since, keys_of, read_configs, read_states, runs_of, sids_of
from hud_web.runs.run import Key, Run
from hud_web.store.store import Store

#: Runs that the catalogue holds, the newest ones; one takes about 4 KB with its columns.
MAX_RUNS = 20_000
#: Sessions of one channel.
MAX_SESSIONS = 5_000
#: Live runs are at most this old in an answer, in seconds; if reading them takes long, this multiple of that time.
FRESH_S = 1.0
BUSY_SHARE = 5
#: Every session is checked again after this time, in seconds: sessions whose retention ended leave no trace.
SWEEP_S = 300.0
#: A session that lapsed may return for this time after its channel's last activity, in ms.
LAPSED_MS = 15 * 60_000
#: Changes read at once.
MOST_CHANGES = 1_000
#: Changes stay long enough for each replica to read them.
_CHANGES_TTL_MS = 24 * 3600 * 1000
#: Sessions in one read: some milliseconds.
GROUP = 100


class Catalogue:
    """The runs of all channels.

    Attributes:
        pool: of the cells of all runs.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.pool = Pool()
        self._runs: dict[Key, Run] = {}
        self._channels: dict[str, int] = {}
        self._changes_at: str | None = None
        self._looked_s = self._swept_s = float("-inf")
        self._pause_s = FRESH_S
        self._filled: dict[Key, tuple[float, float]] = {}
        self._lock = asyncio.Lock()

    async def runs(self) -> list[Run]:
        """Return all runs; the live ones are at most about FRESH_S old, without their states and configurations.

        Raises:
            UnavailableError: Redis did not answer.
        """
        async with self._lock:
            began_s = time.monotonic()
            if began_s - self._looked_s > self._pause_s:
                await self._look()
                self._looked_s = time.monotonic()
                self._pause_s = max(FRESH_S, BUSY_SHARE * (self._looked_s - began_s))
        return list(self._runs.values())

    async def read_again(self, key: Key) -> Run | None:
        """Read one run again, after it was labelled or deleted; None if it does not exist (any more)."""
        async with self._lock:
            await self._read([key])
        run = self._runs.get(key)
        if run is not None:
            await self.fill([run])
        return run

    async def fill(self, runs: Sequence[Run], *, configs: bool = False) -> None:
        """Read the states of runs, and their configurations, unless they are known and do not change any more."""
        now_s = time.monotonic()
        states = [run for run in runs if self._is_stale(run, run.results is None, 0, now_s)]
        if states:
            await read_states(self._store, states, self.pool)
        trees = [run for run in runs if configs and self._is_stale(run, run.config is None, 1, now_s)]
        if trees:
            await read_configs(self._store, trees, self.pool)
        for run in states:
            self._filled[run.key] = (now_s, self._filled.get(run.key, (0.0, 0.0))[1])
        for run in trees:
            self._filled[run.key] = (self._filled.get(run.key, (0.0, 0.0))[0], now_s)

    def _is_stale(self, run: Run, is_missing: bool, part: int, now_s: float) -> bool:
        if is_missing:
            return True
        if run.session.status not in ("live", "lapsed"):
            return False
        return now_s - self._filled.get(run.key, (0.0, 0.0))[part] > self._pause_s

    async def _look(self) -> None:
        store, now_s = self._store, time.monotonic()
        channels = await channels_since(store, 0, MAX_CHANNELS)
        if now_s - self._swept_s > SWEEP_S:
            self._swept_s = now_s
            await self._sweep()
        again = await self._changed()
        active_ms = max(channels.values(), default=0) - LAPSED_MS
        for (channel, sid), run in self._runs.items():
            status = run.session.status
            if status == "live" or (status == "lapsed" and channels.get(channel, 0) > active_ms):
                again.add((channel, sid))
        busy = {channel for channel, _sid in again}
        listed = [name for name, at_ms in channels.items() if name in busy or self._channels.get(name) != at_ms]
        for first in range(0, len(listed), GROUP):
            names = listed[first : first + GROUP]
            found = keys_of(names, await sids_of(store, names, MAX_SESSIONS))
            again.update(key for key in found if key not in self._runs)
            kept, among = set(found), set(names)
            for key in [key for key in self._runs if key[0] in among and key not in kept]:
                del self._runs[key]
        await self._read(list(again))
        self._channels = channels
        if len(self._runs) > MAX_RUNS:
            newest = sorted(self._runs.values(), key=lambda run: run.session.started_ms or 0, reverse=True)
            self._runs = {run.key: run for run in newest[:MAX_RUNS]}
        self._filled = {key: when for key, when in self._filled.items() if key in self._runs}

    async def _sweep(self) -> None:
        """Remove the runs that Redis does not hold any more, and list all channels again."""
        self._channels.clear()
        keys = list(self._runs)
        found = await self._store.pipelined([("EXISTS", ChannelKeys(name).session(sid).info) for name, sid in keys])
        for key, is_there in zip(keys, found, strict=True):
            if not is_there:
                del self._runs[key]

    async def _read(self, keys: Sequence[Key]) -> None:
        for first in range(0, len(keys), GROUP):
            group = keys[first : first + GROUP]
            for key, run in zip(group, await runs_of(self._store, group), strict=True):
                known = self._runs.get(key)
                if run is None:
                    self._runs.pop(key, None)
                    continue
                if known is not None:
                    run.take_progress(known)
                self._runs[key] = run

    async def _changed(self) -> set[Key]:
        """Return the runs that were labelled or deleted since the last look, through any replica."""
        if self._changes_at is None:
            (newest,) = await self._store.pipelined([("XREVRANGE", CHANGES, "+", "-", "COUNT", 1)])
            self._changes_at = text(newest[0][0]) if newest else "0-0"
            return set()
        first = f"({self._changes_at}"
        (found,) = await self._store.pipelined([("XRANGE", CHANGES, first, "+", "COUNT", MOST_CHANGES)])
        changed: set[Key] = set()
        for entry_id, fields in found or []:
            self._changes_at = text(entry_id)
            channel, sid = (text((fields or {}).get(name, b"")) for name in (b"channel", b"sid"))
            if is_channel(channel) and is_sid(sid):
                changed.add((channel, Sid(sid)))
        return changed


async def note_change(store: Store, key: Key) -> None:
    """Let the catalogues of all replicas read a run again."""
    channel, sid = key
    await store.pipelined([
        ("XADD", CHANGES, "MAXLEN", "~", MOST_CHANGES, "*", "channel", channel, "sid", sid),
        ("PEXPIRE", CHANGES, _CHANGES_TTL_MS),
    ])  # fmt: skip


def column_counts(runs: Iterable[Run]) -> list[dict[str, object]]:
    """Return the columns of runs with the number of runs that have each: the most frequent first."""
    counts: dict[str, int] = {}
    shared: dict[int, tuple[str, Iterable[str], int]] = {}
    for run in runs:
        for kind, cells in (("config", run.config), ("result", run.results)):
            if cells is not None:
                paths = cells.paths()
                _kind, _paths, count = shared.get(id(paths), (kind, paths, 0))
                shared[id(paths)] = (kind, paths, count + 1)
    for kind, paths, count in shared.values():
        for path in paths:
            name = f"{kind}.{path}"
            counts[name] = counts.get(name, 0) + count
    return [{"name": name, "runs": count} for name, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]
