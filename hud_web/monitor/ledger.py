"""The monitor's reads and writes in Redis: leases, positions, entries of many sessions at once.

Every call pipelines its commands, so that a thousand channels cost one round trip. Called by `monitor`.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hud_publisher.protocol.entries import Field
from hud_publisher.protocol.info import clean_info
from hud_publisher.protocol.keys import ALERTS, CHANNELS, ChannelKeys, SessionKeys, Sid, is_channel, is_sid
from hud_publisher.protocol.replies import text
from hud_publisher.protocol.scripts import ALERTS_TTL_MS, ScriptCall
from hud_publisher.protocol.stored import read_int, read_value
from hud_web.monitor.detectors import SessionState
from hud_web.monitor.memory import restored
from hud_web.monitor.symptoms.learning import Learning
from hud_web.monitor.verdict import Earlier
from hud_web.store.sse import order
from hud_web.store.store import Store, is_entry_id
from hud_web.store.views import Fields, read_mapping

#: The streams that the monitor reads; of frames it uses only the time of the newest batch.
STREAMS = ("metrics", "iterations", "vision", "machine", "reports")

Session = tuple[str, Sid]


@dataclass(frozen=True, slots=True)
class Lease:
    """The answer of lease.lua."""

    is_ours: bool
    sid: Sid
    left_ms: int
    now_ms: int


@dataclass(frozen=True, slots=True)
class Saved:
    """The stored state of a session's monitor; version 0: none yet."""

    version: int = 0
    memory: Mapping[str, Any] | None = None
    positions: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    alerts: object = None


@dataclass(frozen=True, slots=True)
class Entries:
    """New entries of one session, in the order in which they were appended: (stream, id, fields).

    Attributes:
        found: the entries.
        size: of their values, in bytes.
        is_last: whether the session had no further entries.
    """

    found: list[tuple[str, str, Fields]]
    size: int
    is_last: bool


class Ledger:
    """Reads and writes for many channels at once."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def active_channels(self, since_ms: int, most: int) -> list[str]:
        """Return the channels with activity after `since_ms` by Redis' clock, newest first."""
        [found] = await self._store.pipelined([("ZREVRANGE", CHANNELS, 0, most - 1, "WITHSCORES")])
        scored = zip((found or ())[::2], (found or ())[1::2], strict=True)
        return [name for name in (text(name) for name, at_ms in scored if float(at_ms) > since_ms) if is_channel(name)]

    async def leases(self, calls: Sequence[ScriptCall]) -> list[Lease]:
        """Take or renew leases."""
        replies = await self._store.run_all(calls)
        return [Lease(bool(ours), Sid(text(sid)), int(left), int(now)) for ours, sid, left, now in replies]

    async def newest_sessions(self, channels: Sequence[str], most: int) -> list[Session]:
        """Return the newest sessions of each channel, oldest first."""
        commands = [("ZREVRANGE", ChannelKeys(channel).sessions, 0, most - 1) for channel in channels]
        found = zip(channels, await self._store.pipelined(commands), strict=True)
        named = [(channel, Sid(text(sid))) for channel, sids in found for sid in reversed(sids or ())]
        return [(channel, sid) for channel, sid in named if is_sid(sid)]

    async def saved(self, wanted: Sequence[Session]) -> list[Saved]:
        """Return the stored state of each session's monitor."""
        commands: list[tuple[Field, ...]] = []
        for keys in _keys(wanted):
            commands += [("HMGET", keys.monitor, "version", "memory"), ("HGET", keys.info, "roles")]
        found = await self._store.pipelined(commands)
        pairs = zip(found[::2], found[1::2], strict=True)
        return [_parse_saved(roles, *(saved or (None, None))) for saved, roles in pairs]

    async def earlier(self, pairs: Sequence[tuple[Session, Session]]) -> list[Earlier | None]:
        """Return the course of a previous run for each pair of a session and a previous one.

        None if the previous run has none, or names another env.
        """
        commands: list[tuple[Field, ...]] = []
        for session, previous in pairs:
            [now], [before] = _keys([session]), _keys([previous])
            commands += [("HGET", now.info, "info"), ("HMGET", before.info, "name", "info")]
            commands.append(("HGET", before.monitor, "memory"))
        found = await self._store.pipelined(commands)
        replies = zip(found[::3], found[1::3], found[2::3], strict=True)
        return [_parse_earlier(info, about or (None, None), memory) for info, about, memory in replies]

    async def sessions(self, wanted: Sequence[Session]) -> list[SessionState | None]:
        """Return the state of each session, without its lease; None if it is not stored any more."""
        commands: list[tuple[Field, ...]] = []
        for keys in _keys(wanted):
            commands += [("HMGET", keys.info, "started", "ended", "ended_by", "shown"), ("HVALS", keys.seq)]
        found = await self._store.pipelined(commands)
        pairs = zip(found[::2], found[1::2], strict=True)
        return [_parse_state(batches or (), *(info or (None,) * 4)) for info, batches in pairs]

    async def read(self, wanted: Sequence[tuple[Session, Mapping[str, str], int]]) -> list[Entries]:
        """Return the entries after each session's positions, at most a number of each stream."""
        commands: list[tuple[Field, ...]] = []
        for (channel, sid), positions, limit in wanted:
            session = ChannelKeys(channel).session(sid)
            keys = [session.stream(name) for name in STREAMS]
            commands.append(("XREAD", "COUNT", limit, "STREAMS", *keys, *[positions[name] for name in STREAMS]))
        replies = await self._store.pipelined(commands)
        return [_in_order(found, limit) for found, (_session, _positions, limit) in zip(replies, wanted, strict=True)]

    async def expect_alerts(self, channels: Sequence[str], now_ms: int) -> None:
        """Record that these channels have alerts to deliver, before they are stored: a crash between loses nothing."""
        if channels:
            marks: list[tuple[Field, ...]] = [("ZADD", ALERTS, now_ms, channel) for channel in channels]
            await self._store.pipelined([*marks, ("PEXPIRE", ALERTS, ALERTS_TTL_MS)])

    async def save(self, calls: Sequence[ScriptCall]) -> list[bool]:
        """Store annotations and positions; return whether each lease and position were still ours."""
        return [text(reply[0]) == "saved" for reply in await self._store.run_all(calls)]


def _keys(wanted: Sequence[Session]) -> list[SessionKeys]:
    return [ChannelKeys(channel).session(sid) for channel, sid in wanted]


def _in_order(found: Any, limit: int) -> Entries:
    """Merge the streams of one XREAD by entry id.

    A stream that returned `limit` entries may have more: entries of the others behind its last one wait for the next
    read, so that every monitor sees the same order.
    """
    streams = {text(key).rpartition(":")[2]: entries for key, entries in (found or [])}
    parts = [[(name, text(entry_id), fields) for entry_id, fields in entries] for name, entries in streams.items()]
    # The entries of one batch share their millisecond, so their writer's times tell the order across streams.
    merged = list(heapq.merge(*parts, key=lambda item: (order(item[1])[0], read_int(item[2], b"time") or 0)))
    ends = [order(text(entries[-1][0])) for entries in streams.values() if len(entries) >= limit]
    if ends:
        merged = [item for item in merged if order(item[1]) <= min(ends)]
    size = sum(len(value) for _name, _id, fields in merged for value in fields.values())
    return Entries(merged, size, is_last=not ends)


def _parse_saved(roles: bytes | None, version: bytes | None, memory: bytes | None) -> Saved:
    chosen = read_value(roles or b"")
    by_role = clean_info(chosen) if isinstance(chosen, dict) else {}
    if version is None or memory is None:
        return Saved(roles=by_role)
    if not version.isdigit() or len(version) > 15:
        return Saved(roles=by_role)
    known = read_value(memory)
    parts = known if isinstance(known, dict) else {}
    judge, positions = parts.get("judge"), parts.get("positions")
    if not isinstance(judge, dict) or not isinstance(positions, dict):  # of another version: start over
        return Saved(int(version), roles=by_role)
    known_ids = {name: at for name, at in positions.items() if isinstance(at, str) and is_entry_id(at)}
    return Saved(int(version), judge, known_ids, by_role, parts.get("alerts"))


def _parse_earlier(info: bytes | None, about: Sequence[bytes | None], memory: bytes | None) -> Earlier | None:
    name, info_before = about
    known = read_mapping(read_mapping(memory).get("judge"))
    envs = [read_mapping(stored).get("env") for stored in (info, info_before)]
    if not known.get("learning") or (all(envs) and envs[0] != envs[1]):
        return None
    return Earlier(text(name or b"") or "the previous run", restored(Learning, known["learning"]))


def _parse_state(batches: Sequence[bytes], *values: bytes | None) -> SessionState | None:
    started, ended, ended_by, shown = (None if value is None else text(value) for value in values)
    times = [int(at_ms) for at_ms in (batch.partition(b" ")[2] for batch in batches) if at_ms.isdigit()]
    times = [at_ms for at_ms in times if at_ms]  # 0: the writer sent only entries of machine and reports
    try:
        if started is None:
            return None
        return SessionState(
            int(started), int(ended) if ended else None, ended_by, shown or "", last_batch_ms=max(times, default=None)
        )
    except ValueError:
        return None
