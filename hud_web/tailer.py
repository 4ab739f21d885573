"""Follows one channel in Redis and feeds its hub: one blocking read per process and channel, whatever the viewers.

Owns the reading position and what happens when Redis is away, a session changes or a lease runs out. Keeps trying for
ever with jittered pauses. Called by `rooms`, which runs it as a task.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import time
from dataclasses import replace

from redis.asyncio import Redis

from hud_publisher.protocol import scripts
from hud_publisher.protocol.entries import START, STREAMS, EntryId, StreamName, parse_env
from hud_publisher.protocol.errors import NotFoundError, UnavailableError
from hud_publisher.protocol.keys import ChannelKeys, Sid
from hud_publisher.protocol.replies import text
from hud_web import sse
from hud_web.channel_reader import ChannelReader
from hud_web.hub import Hub, Remembered
from hud_web.replay import MAX_SESSIONS
from hud_web.snapshot import encode_picture
from hud_web.sse import Position
from hud_web.store import CLIENT_ERRORS, Fields, SessionView, Store

logger = logging.getLogger("hud.tailer")

#: Shorter than the reading client's socket time-out, so a silent Redis is told from a quiet stream. Short, since with
#: that time-out it is the time for which a Redis that stopped answering goes unnoticed.
BLOCK_MS = 1_000
#: Above the blocking read's own time, so only a silent server is cut.
READ_TIMEOUT_S = BLOCK_MS / 1000 + 2.0
#: Entries per stream and read: bounds what one read costs in time and memory.
READ_COUNT = 500
#: How often the lease is looked at and the viewers are told; a third of VIEWERS_LAST_MS.
CHECK_S = 2.0
VIEWERS_LAST_MS = 6_000
RETRY_S = (0.1, 1.0)
#: What reading an entry raises that somebody else wrote.
NOT_OURS = (ValueError, KeyError, AttributeError, TypeError)
#: A read that brings so many is followed by a short pause, so that the next one brings more: each costs as much as ten
#: entries do (docs/decisions/fan-out.md).
BUSY_ENTRIES = 4
BUSY_PAUSE_S = 0.005
#: A delivery is followed by a pause as long as it took, up to this: so deliveries take half of the process's time at
#: most, and join what came meanwhile. What the read waited counts as a pause, too, and an event that finds the stream
#: idle waits for nothing.
MOST_PAUSE_S = 0.05
#: Shorter pauses are not worth a timer.
SHORTEST_PAUSE_S = 0.0005
#: Entries before the present state that a replica reads when it opens a channel, so that the viewers of one that went
#: away find what they missed here: 10 s at 100 per second. Vision calls hold pictures, so there are fewer.
WARM_ENTRIES = 1_000
WARM_VISION = 16
#: Entries encoded without giving way to other tasks: a few milliseconds.
WARM_CHUNK = 200


class Tailer:
    """Reads a channel's streams into its hub until cancelled."""

    def __init__(self, hub: Hub, store: Store, reader: Redis, *, replica: str) -> None:
        """Make a tailer.

        Args:
            hub: where events go.
            store: for everything but the blocking read.
            reader: a client for the blocking read, that never retries.
            replica: this process's name among the replicas.
        """
        self._hub = hub
        self._store = store
        self._reader = ChannelReader(reader, timeout_s=READ_TIMEOUT_S)
        self._replica = replica
        self._keys = ChannelKeys(hub.channel)
        self._events_key = self._keys.events.encode()
        self._streams: tuple[Sid | None, dict[bytes, StreamName]] = (None, {})
        self._at: dict[str, EntryId] = {}
        self._next_check_s = 0.0
        self._wants_check = asyncio.Event()

    async def run(self) -> None:
        """Follow the channel; returns only by cancellation."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_for_ever())
                group.create_task(self._keep_streams_awake())
                group.create_task(self._tell_of_viewers())
        finally:
            await self._reader.aclose()

    def check_soon(self) -> None:
        """Tell Redis of the first viewer now: frames rise from 1 per second only when somebody watches."""
        self._wants_check.set()

    async def _tell_of_viewers(self) -> None:
        while not _is_cancelled():
            await self._wants_check.wait()
            self._wants_check.clear()
            with contextlib.suppress(UnavailableError):
                self._hub.viewers_total = await self.report_viewers()

    async def _keep_streams_awake(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._hub.tend()

    async def _follow_for_ever(self) -> None:
        pause_s = RETRY_S[0]
        while not _is_cancelled():
            try:
                await self._open()
                pause_s = RETRY_S[0]
                while not _is_cancelled():
                    await self._step()
            except (UnavailableError, *CLIENT_ERRORS) as error:
                self._note_trouble(error)
                await asyncio.sleep(random.uniform(pause_s / 2, pause_s))
                pause_s = min(pause_s * 2, RETRY_S[1])

    def _note_trouble(self, error: Exception) -> None:
        reason = str(error) if isinstance(error, UnavailableError) else type(error).__name__
        if not isinstance(error, UnavailableError):  # those the store has counted
            self._hub.tally.redis_errors[type(error).__name__] += 1
        if self._hub.redis_trouble is None or not self._hub.is_ready:
            logger.warning("channel %s: Redis is away: %s", self._hub.channel, reason)
        if self._hub.redis_trouble != reason:
            self._hub.redis_trouble = reason
            self._hub.put(self._hub.status_event())
            self._hub.wake()
            if not self._hub.is_ready:
                self._hub.let_go_on()

    async def _open(self) -> None:
        """Begin, or go on after trouble: with the same session nothing is skipped, since positions are kept."""
        hub = self._hub
        sid = await self._store.current_sid(hub.channel)
        if not hub.is_ready or sid is None or int(sid) < int(hub.position.sid):
            # The first time; or Redis came back empty, or older than what viewers have seen.
            was_ready = hub.is_ready
            await self._turn_to(sid)
            if was_ready:
                self._start_over("Redis lost its data")
        elif int(sid) > int(hub.position.sid):
            await self._turn_to_newer(sid)
        elif not await self._is_last_entry_there(sid):
            await self._turn_to(sid)
            self._start_over("Redis has forgotten what was shown last")
        hub.redis_trouble = None
        hub.become_ready()
        hub.put(hub.status_event())
        await self._check_lease()
        hub.wake()

    async def _is_last_entry_there(self, sid: Sid) -> bool:
        """Whether each stream still has the entry that was read last.

        After a failover, or a crash, the last moments may be forgotten, and newer entries may stand in their place
        already; after a long outage, what came since may have pushed it out, and other entries with it.
        """
        for name in sse.KEPT_STREAMS:
            read = self._at[name]
            if read == START:
                continue
            newest = await self._store.newest(self._hub.channel, sid, name, 1, up_to=read)
            if not newest or newest[0][0] != read:
                return False
        return True

    async def _turn_to(self, sid: Sid | None) -> None:
        """Show another session from its present state on."""
        while True:
            try:
                opening = await self._store.open(self._hub.channel, sid)
            except NotFoundError:  # the fence outlives the session's own keys
                opening = await self._store.open(self._hub.channel, None)
            # A session that began since stands behind the opening's position: it would never be heard of.
            newest = await self._store.current_sid(self._hub.channel)
            if newest == sid:
                break
            sid = newest
        ids = {name: opening.newest[name][0] for name in STREAMS if name in opening.newest}
        kept = {name: ids[name] for name in sse.KEPT_STREAMS if name in ids}
        session = opening.session
        position = Position(session.sid or sid or Sid("0"), events=opening.events, **kept)
        base, events = await self._read_recent(position)
        self._hub.begin(session, position, opening.state)
        self._hub.warm(base, events)
        self._at = {"events": opening.events} | {name: ids.get(name, EntryId("0-0")) for name in STREAMS}
        pictures: tuple[StreamName, ...] = ("frames", "vision")
        for name in pictures:
            if name in opening.newest:
                self._show_picture(name, *opening.newest[name])

    async def _read_recent(self, until: Position) -> tuple[Position, list[Remembered]]:
        """Read the newest entries up to a position, for viewers who come from another replica.

        Returns:
            Where a client must stand to have missed nothing but these, and their events.
        """
        base = replace(until, events=START)
        found: list[tuple[EntryId, StreamName, Fields]] = []
        for name in sse.KEPT_STREAMS:
            newest = until.of(name)
            if newest == START:
                continue
            most = WARM_VISION if name == "vision" else WARM_ENTRIES
            entries = await self._store.newest(self._hub.channel, until.sid, name, most, up_to=newest)
            base = base.after(name, entries[-1][0] if entries else newest)
            found += [(entry_id, name, fields) for entry_id, fields in entries[:-1]]
        found.sort(key=lambda item: sse.order(item[0]))
        position = replace(base, events=until.events)
        events: list[Remembered] = []
        for number, (entry_id, name, fields) in enumerate(found):
            if number % WARM_CHUNK == 0:
                await asyncio.sleep(0)
            position = position.after(name, entry_id)
            try:
                kind, data = self._encode(name, entry_id, fields)
                events.append((sse.event(kind, data, position), position, name))
            except NOT_OURS as error:
                self._pass_over(name, entry_id, error)
        return base, events

    def _start_over(self, reason: str) -> None:
        hub = self._hub
        hub.put(sse.event("reset", sse.dump({"reason": reason})))
        hub.put(hub.session_event())
        hub.put(hub.snapshot_event())

    async def _step(self) -> None:
        """One blocking read, and what follows from it."""
        asked_s = time.monotonic()
        count = await self._read(block_ms=BLOCK_MS)
        began_s = time.monotonic()
        self._hub.wake()
        now_s = time.monotonic()
        waited_s, spent_s = began_s - asked_s, now_s - began_s
        if now_s >= self._next_check_s:  # only now: nobody waits for its answers
            await self._check_lease()
            self._hub.wake()
        pause_s = max(min(spent_s, MOST_PAUSE_S), BUSY_PAUSE_S if count >= BUSY_ENTRIES else 0.0) - waited_s
        if pause_s > SHORTEST_PAUSE_S:
            await asyncio.sleep(pause_s)

    async def _read(self, block_ms: int) -> int:
        names = self._streams_of(self._hub.position.sid)
        after = {key: self._at[name] for key, name in names.items()}
        after[self._events_key] = self._at["events"]
        found: list[tuple[EntryId, StreamName, Fields]] = []
        events: list[tuple[EntryId, Fields]] = []
        for key, entries in await self._reader.read(after, count=READ_COUNT, block_ms=block_ms):
            if key in names:
                found += [(EntryId(entry_id.decode()), names[key], fields) for entry_id, fields in entries]
            else:
                events += [(EntryId(entry_id.decode()), fields) for entry_id, fields in entries]
        if len(found) > 1:  # streams come one after another; by id they come as they were written
            found.sort(key=lambda item: sse.order(item[0]))
        for entry_id, name, fields in found:
            self._at[name] = entry_id
            self._hub.tally.entries[self._hub.channel, name] += 1
            self._put_entry(name, entry_id, fields)
        if found:
            self._hub.tally.lag.add(max(0.0, time.time() - _millis(found[-1][0]) / 1000))
        if events:
            self._at["events"] = events[-1][0]
            await self._handle_events(events)
        return len(found) + len(events)

    def _streams_of(self, sid: Sid) -> dict[bytes, StreamName]:
        """The keys of a session's streams; made once for each session."""
        if self._streams[0] != sid:
            session = self._keys.session(sid)
            self._streams = (sid, {session.stream(name).encode(): name for name in STREAMS})
        return self._streams[1]

    def _put_entry(self, name: StreamName, entry_id: EntryId, fields: Fields) -> None:
        hub = self._hub
        try:
            if name in sse.KEPT_STREAMS:
                event, data = self._encode(name, entry_id, fields, learn=True)
                hub.put_entry(name, entry_id, event, data)
            else:
                self._show_picture(name, entry_id, fields)
        except NOT_OURS as error:
            self._pass_over(name, entry_id, error)

    def _encode(self, name: StreamName, entry_id: EntryId, fields: Fields, *, learn: bool = False) -> tuple[str, bytes]:
        """Return the name and the data of an entry's event."""
        if name == "vision":
            encoded = encode_picture(name, (entry_id, fields))
            if learn:
                self._hub.vision = encoded
            return "vision_update", encoded
        data = json.loads(fields[b"data"])
        update = sse.training_update(fields, data, entry_id, name)
        if learn:
            data.pop("_hud", None)
            self._hub.learn(data)
        return "training_update", update

    def _show_picture(self, name: StreamName, entry_id: EntryId, fields: Fields) -> None:
        encoded = encode_picture(name, (entry_id, fields))
        if name == "vision":
            self._hub.vision = encoded
        elif name == "frames":
            self._hub.put_frame(encoded, _millis(entry_id), int(fields.get(b"time", b"0")))
        else:
            self._hub.put_thumb(parse_env(text(fields.get(b"env", b""))), encoded)

    def _pass_over(self, name: StreamName, entry_id: EntryId, error: Exception) -> None:
        """An entry that is not one of ours costs only itself."""
        logger.warning("channel %s: passed over entry %s of %s: %r", self._hub.channel, entry_id, name, error)

    async def _handle_events(self, events: list[tuple[EntryId, Fields]]) -> None:
        """Tell what happened to the channel's session."""
        hub = self._hub
        newest = await self._store.current_sid(hub.channel)
        if newest is not None and int(newest) > int(hub.position.sid):
            await self._turn_to_newer(newest)
        else:
            session = await self._session()
            hub.position = hub.position.after("events", events[-1][0])
            hub.session = session
            hub.put(hub.session_event(), "events")

    async def _turn_to_newer(self, newest: Sid) -> None:
        """Show the sessions that began after the present one: viewers miss nothing of any, however short it was."""
        shown = int(self._hub.position.sid)
        views = await self._store.sessions(self._hub.channel, limit=MAX_SESSIONS + 1)
        later = {view.sid for view in views if view.sid is not None and shown < int(view.sid) < int(newest)}
        if len(later) >= MAX_SESSIONS:
            await self._turn_to(newest)
            self._start_over("too many sessions came since")
            return
        for sid in [*sorted(later, key=int), newest]:
            await self._turn_to_next(sid)

    async def _turn_to_next(self, sid: Sid) -> None:
        hub = self._hub
        # Nothing can be appended to the old session's streams any more, so a short read means their end.
        while await self._drain() >= READ_COUNT:
            hub.wake()
        hub.put(sse.event("session", sse.dump((await self._session()).describe()), hub.position), "events")
        hub.wake()
        events_at = self._at["events"]
        hub.begin(await self._store.session(hub.channel, sid), Position(sid, events=events_at), {})
        self._at = {"events": events_at} | {name: EntryId("0-0") for name in STREAMS}
        hub.put(hub.session_event(), "turn")
        hub.put(hub.snapshot_event(), "turn")

    async def _drain(self) -> int:
        hub, most = self._hub, 0
        for name in sse.KEPT_STREAMS:
            entries = await self._store.entries(
                hub.channel, hub.position.sid, name, first=f"({self._at[name]}", limit=READ_COUNT
            )
            for entry_id, fields in entries:
                self._at[name] = entry_id
                self._put_entry(name, entry_id, fields)
            most = max(most, len(entries))
        return most

    async def _session(self) -> SessionView:
        sid = self._hub.position.sid
        return await self._store.session(self._hub.channel, None if sid == "0" else sid)

    async def _check_lease(self) -> None:
        """Look whether the session still holds the channel, and say how many watch here."""
        hub = self._hub
        self._next_check_s = time.monotonic() + CHECK_S
        session = await self._session()
        total = hub.viewers_total
        # A Redis that is full, or whose disk is, still tells what it has.
        with contextlib.suppress(UnavailableError):
            total = await self.report_viewers()
        has_changed = (session.sid, session.status, session.reporter) != (
            hub.session.sid, hub.session.status, hub.session.reporter
        )  # fmt: skip
        hub.session = session
        if has_changed:
            hub.put(hub.session_event(), "events")
        if total != hub.viewers_total:
            hub.viewers_total = total
            hub.put(hub.status_event())

    async def report_viewers(self) -> int:
        """Write this replica's number of viewers; returns how many there are over all replicas."""
        call = scripts.watch(
            self._hub.channel, replica=self._replica, viewers=len(self._hub.subscribers), lasts_ms=VIEWERS_LAST_MS
        )
        return int(await self._store.run(call))


def _millis(entry_id: EntryId) -> int:
    """When Redis got an entry, in Unix milliseconds."""
    return int(entry_id.partition("-")[0])


def _is_cancelled() -> bool:
    """Whether this task was asked to end: redis-py loses a cancellation that comes together with an answer."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
