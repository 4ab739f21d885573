"""Follows one channel in Redis and feeds its hub: one blocking read per process and channel for any number of viewers.

Owns the reading position and the reaction to an unreachable Redis, lost data, a changed session and an expired lease.
Retries forever with jittered pauses. Called by `channels`, which runs it as a task.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from dataclasses import replace

from redis.exceptions import RedisClusterException, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from hud_publisher.protocol import scripts
from hud_publisher.protocol.entries import START, EntryId, StreamName, parse_env
from hud_publisher.protocol.errors import NotFoundError, UnavailableError
from hud_publisher.protocol.keys import ChannelKeys, Sid
from hud_publisher.protocol.replies import Marks, text
from hud_publisher.protocol.scripts import ScriptCall
from hud_publisher.protocol.stored import read_int
from hud_web.live.hub import Hub, Remembered
from hud_web.live.readers import Reader
from hud_web.live.replay import MAX_SESSIONS, encode_entry
from hud_web.monitor.annotations import decode
from hud_web.store import sse
from hud_web.store.cancellation import is_cancelled
from hud_web.store.redis_client import BLOCK_MS
from hud_web.store.slices import Slices
from hud_web.store.snapshot import PICTURES, encode_mind, encode_picture
from hud_web.store.sse import Position
from hud_web.store.store import Store
from hud_web.store.views import Fields, SessionView

logger = logging.getLogger("hud.tailer")

#: Entries per stream and read: bounds the time and memory of one read.
READ_COUNT = 500
#: How often the lease is checked and the viewers' count is written. A check costs as much as twenty entries, so with
#: more than CHECKS_PER_S × CHECK_S channels it comes less often: every 5 s at 1,000 channels.
CHECK_S = 2.0
CHECKS_PER_S = 200
#: The count of viewers lasts for this many checks.
CHECKS_LAST = 3
#: Tailers that open or check their channels at once: a thousand pages may reconnect together, and requests need
#: connections to Redis too.
CHECKS_AT_ONCE = 64
RETRY_S = (0.1, 1.0)
#: Errors of the store and of the reader while Redis is unreachable.
AWAY = (UnavailableError, RedisError, RedisClusterException, OSError)
#: A read of at least this many entries is followed by a short pause, so that the next one brings more: a read costs the
#: time of ten entries (docs/decisions/fan-out.md).
BUSY_ENTRIES = 4
BUSY_PAUSE_S = 0.005
#: A delivery is followed by a pause as long as the delivery, up to this. So deliveries take at most half of the
#: process's time, and join the entries of that time. The wait of the read counts as a pause too, and an event on an
#: idle stream is delivered at once.
MOST_PAUSE_S = 0.05
#: Shorter pauses are not worth a timer.
SHORTEST_PAUSE_S = 0.0005
#: Entries before the current state that a replica reads when it opens a channel, so that the viewers of a replica that
#: ended find their missed events here: 10 s at 100 per second. Vision calls hold pictures, so there are fewer.
WARM_ENTRIES = 1_000
WARM_VISION = 16


class Checks:
    """Spreads the work of all tailers that is not the reading of entries.

    Attributes:
        slots: bound the tailers that open or check their channels at once.
        interval_s: time between two checks of a channel; less by up to a fifth, so that they spread.
    """

    def __init__(self) -> None:
        self.slots = asyncio.Semaphore(CHECKS_AT_ONCE)
        self.interval_s = CHECK_S

    def share(self, channels: int) -> None:
        """Set the interval for a number of channels."""
        self.interval_s = max(CHECK_S, channels / CHECKS_PER_S)


class Tailer:
    """Reads a channel's streams into its hub until cancelled."""

    def __init__(self, hub: Hub, store: Store, reader: Reader, *, replica: str, checks: Checks) -> None:
        """Make a tailer.

        Args:
            hub: receives the events.
            store: for all calls except the blocking read.
            reader: for the blocking read; closed when the tailer ends.
            replica: this process's name among the replicas.
            checks: of all tailers.
        """
        self._hub = hub
        self._store = store
        self._reader = reader
        self._replica = replica
        self._checks = checks
        self._keys = ChannelKeys(hub.channel)
        self._events_key = self._keys.events.encode()
        self._streams: tuple[Sid | None, dict[bytes, StreamName]] = (None, {})
        self._at: dict[str, EntryId] = {}
        #: Whether the current session's hash existed when its reading began; the hub's view of it may be newer.
        self._had_info = False
        self._state_fields = 0
        #: Entries that each stream had ever had when all of it was read, and entries read since.
        self._added: dict[str, int] = {}
        self._read_since: Counter[str] = Counter()
        self._count = READ_COUNT
        self._no_streams: set[bytes] = set()
        self._next_check_s = 0.0
        self._wants_check = asyncio.Event()

    async def run(self) -> None:
        """Follow the channel; returns only by cancellation."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_forever())
                group.create_task(self._tick())
                group.create_task(self._tell_of_viewers())
        finally:
            await self._reader.aclose()

    def check_soon(self) -> None:
        """Report the first viewer to Redis now, because the rate of frames rises only with a viewer."""
        self._wants_check.set()

    async def _tell_of_viewers(self) -> None:
        while not is_cancelled():
            await self._wants_check.wait()
            self._wants_check.clear()
            with contextlib.suppress(UnavailableError):
                self._hub.set_viewers(await self.report_viewers())

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._hub.tick()

    async def _follow_forever(self) -> None:
        pause_s = RETRY_S[0]
        while not is_cancelled():
            try:
                async with self._checks.slots:
                    await self._open()
                pause_s = RETRY_S[0]
                while not is_cancelled():
                    await self._step()
            except AWAY as error:
                if isinstance(error, (TimeoutError, RedisTimeoutError)):  # a slow network needs smaller answers
                    self._count = max(1, self._count // 4)
                self._note_trouble(error)
                await asyncio.sleep(random.uniform(pause_s / 2, pause_s))
                pause_s = min(pause_s * 2, RETRY_S[1])

    def _note_trouble(self, error: Exception) -> None:
        reason = str(error) if isinstance(error, UnavailableError) else type(error).__name__
        if not isinstance(error, UnavailableError):  # the store has counted those
            self._hub.tally.redis_errors[type(error).__name__] += 1
        if self._hub.redis_trouble is None or not self._hub.is_ready:
            logger.warning("channel %s: Redis is away: %s", self._hub.channel, reason)
        if self._hub.redis_trouble != reason:
            self._hub.set_trouble(reason)
            self._hub.wake()

    async def _open(self) -> None:
        """Begin, or continue after trouble: with the same session no entry is skipped, because positions are kept."""
        hub = self._hub
        if hub.is_ready:
            await self._verify()
        else:
            await self._turn_to(await self._store.current_sid(hub.channel))
        hub.set_trouble(None)
        await self._check_lease()
        hub.wake()

    async def _verify(self) -> None:
        """Switch to the channel's newest session, and start over if Redis lost entries that viewers have seen."""
        hub = self._hub
        newest = await self._store.current_sid(hub.channel)
        await self._compare(newest, await self._store.marks(hub.channel, hub.position.sid, self._at))

    async def _compare(self, current: Sid | None, marks: Marks) -> None:
        """React to the channel's newest session and to the marks of the session that is read."""
        hub, newest = self._hub, current or Sid("0")
        is_newer = int(newest) > int(hub.position.sid)
        reason = self._lost(marks, is_over=is_newer)
        if int(newest) < int(hub.position.sid):
            reason = "Redis lost its data"
        if reason is not None:
            await self._start_over(newest if newest != "0" else None, reason)
        elif is_newer:
            await self._turn_to_newer(newest)

    def _lost(self, marks: Marks, *, is_over: bool) -> str | None:
        """Return the reason to start over: data of the current session that Redis has lost; None if it has all.

        After a failover or a crash, the last entries may be missing, and newer ones may already be in their place.
        After a long outage, newer entries may have pushed the last one that was read out of the stream, and others
        with it. Keys may be deleted, or restored from an older copy, under a connection that never broke: then
        a stream has had fewer entries than were read of it.

        Args:
            marks: of the session, as stored.
            is_over: another session followed, whose beginning may have deleted this one's pictures to make room.
        """
        if self._had_info and not marks.has_info:
            return "Redis lost its data"
        if is_over:
            return None
        if marks.state_fields < self._state_fields:  # a state's fields never become fewer
            return "Redis lost the state"
        self._state_fields = marks.state_fields
        for name, read in self._at.items():
            is_lost = sse.order(marks.newest[name]) < sse.order(read)
            added = marks.added.get(name, -1)
            if 0 <= added < self._added.get(name, 0) + self._read_since[name]:
                is_lost = True
            elif marks.newest[name] == read:  # nothing is unread, so the counts of read and added entries are equal
                self._added[name], self._read_since[name] = max(0, added), 0
            if is_lost or (name in sse.PARTS and read != START and name not in marks.kept):
                return "Redis has forgotten what was shown last"
        return None

    def _forget_marks(self) -> None:
        """Forget the counts of the previous session's keys."""
        self._had_info = self._hub.session.started_ms is not None
        self._state_fields = 0
        self._added.clear()
        self._read_since.clear()

    async def _turn_to(self, sid: Sid | None, *, is_warm: bool = True) -> None:
        """Show another session, beginning with its current state; a warm one has its newest entries in the ring."""
        while True:
            try:
                opening = await self._store.open(self._hub.channel, sid)
            except NotFoundError:  # the fence outlives the session's own keys
                opening = await self._store.open(self._hub.channel, None)
            # No event would announce a session that began meanwhile: its start precedes the position of the opening.
            newest = await self._store.current_sid(self._hub.channel)
            if newest == sid:
                break
            sid = newest
        ids = {name: opening.newest[name][0] for name in sse.ALL_STREAMS if name in opening.newest}
        kept = {name: ids[name] for name in sse.KEPT_STREAMS if name in ids}
        session = opening.session
        position = Position(session.sid or sid or Sid("0"), events=opening.events, **kept)
        base, events = await self._read_recent(position) if is_warm else (position, [])
        self._hub.switch(session, position, opening.state)
        self._forget_marks()
        self._hub.preload(base, events)
        self._at = {"events": opening.events} | {name: ids.get(name, START) for name in sse.ALL_STREAMS}
        for name in PICTURES:
            if name in opening.newest:
                self._store.readable(self._hub.channel, name, self._show_picture, name, *opening.newest[name])

    async def _read_recent(self, until: Position) -> tuple[Position, list[Remembered]]:
        """Read the newest entries up to a position, for viewers that come from another replica.

        Returns:
            The position of a client that has missed exactly these entries, and their events.
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
        slices = Slices()
        for entry_id, name, fields in found:
            await slices.rest()
            position = position.after(name, entry_id)
            encoded = self._store.readable(self._hub.channel, name, encode_entry, name, entry_id, fields)
            if encoded is not None:
                events.append((sse.event(*encoded, position), position, name))
        return base, events

    async def _start_over(self, sid: Sid | None, reason: str) -> None:
        """Show a session from its current state, and tell all viewers of this replica the reason.

        A client that has seen a part of this session on another replica lost nothing: it continues from Redis, because
        the ring has no entry before the reset.
        """
        hub = self._hub
        await self._turn_to(sid, is_warm=False)
        hub.put(sse.event("reset", sse.dump({"reason": reason})))
        hub.put(hub.session_event_without_id())
        hub.put(hub.snapshot_event())

    async def _step(self) -> None:
        """Make one blocking read, deliver its entries, and run the regular checks."""
        asked_s = time.monotonic()
        count = await self._read(block_ms=BLOCK_MS)
        began_s = time.monotonic()
        self._hub.wake()
        now_s = time.monotonic()
        waited_s, spent_s = began_s - asked_s, now_s - began_s
        # After the delivery, because no viewer waits for a check; and a channel reads on while others are checked.
        if now_s >= self._next_check_s and not self._checks.slots.locked():
            async with self._checks.slots:
                await self._check_lease()
            self._hub.wake()
        pause_s = max(min(spent_s, MOST_PAUSE_S), BUSY_PAUSE_S if count >= BUSY_ENTRIES else 0.0) - waited_s
        if pause_s > SHORTEST_PAUSE_S:
            await asyncio.sleep(pause_s)

    async def _read(self, block_ms: int) -> int:
        names = self._streams_of(self._hub.position.sid)
        after = {key: self._at[name] for key, name in names.items() if key not in self._no_streams}
        if self._events_key not in self._no_streams:
            after[self._events_key] = self._at["events"]
        found: list[tuple[EntryId, StreamName, Fields]] = []
        events: list[tuple[EntryId, Fields]] = []
        try:
            came = await self._reader.read(after, count=self._count, block_ms=block_ms) if after else []
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            await self._find_streams()
            return 0
        if not after:
            await asyncio.sleep(block_ms / 1000)
        self._count = min(READ_COUNT, self._count * 2)
        for key, entries in came:
            if key in names:
                found += [(EntryId(entry_id.decode()), names[key], fields) for entry_id, fields in entries]
            else:
                events += [(EntryId(entry_id.decode()), fields) for entry_id, fields in entries]
        if len(found) > 1:  # the answer is ordered by stream; ids give the order of writing
            found.sort(key=lambda item: sse.order(item[0]))
        slices = Slices()
        for entry_id, name, fields in found:
            self._hub.tally.entries[self._hub.channel, name] += 1
            self._put_entry(name, entry_id, fields)
            await slices.rest()
        if found:
            self._hub.tally.lag.add(max(0.0, time.time() - sse.time_ms_of(found[-1][0]) / 1000))
        if events:
            self._at["events"] = events[-1][0]
            self._read_since["events"] += len(events)
            await self._handle_events(events)
        return len(found) + len(events)

    async def _find_streams(self) -> None:
        """Exclude keys that hold values of another type from the reading, for as long as they do."""
        keys = [self._events_key, *self._streams_of(self._hub.position.sid)]
        self._no_streams = await self._store.wrong_types(keys)
        for key in self._no_streams:
            self._store.pass_over(self._hub.channel, "key", f"{key.decode()} holds no stream")

    def _streams_of(self, sid: Sid) -> dict[bytes, StreamName]:
        """The keys of a session's streams; made once for each session."""
        if self._streams[0] != sid:
            session = self._keys.session(sid)
            self._streams = (sid, {session.stream(name).encode(): name for name in sse.ALL_STREAMS})
        return self._streams[1]

    def _put_entry(self, name: StreamName, entry_id: EntryId, fields: Fields) -> None:
        hub = self._hub
        self._at[name] = entry_id
        self._read_since[name] += 1
        try:
            if name in sse.KEPT_STREAMS:
                event, data = encode_entry(name, entry_id, fields, hub.merge_fields)
                if name == "vision":
                    hub.pictures.put_vision(data)
                elif name == "annotations":
                    hub.put_annotation(decode(fields))
                hub.put_entry(name, entry_id, event, data)
            else:
                self._show_picture(name, entry_id, fields)
        except ValueError as error:
            self._store.pass_over(hub.channel, name, error)
            if name in sse.KEPT_STREAMS:
                hub.advance(name, entry_id)

    def _show_picture(self, name: StreamName, entry_id: EntryId, fields: Fields) -> None:
        if name == "mind":
            self._hub.pictures.put_mind(*encode_mind((entry_id, fields)))
            return
        encoded = encode_picture(name, (entry_id, fields))
        if name == "vision":
            self._hub.pictures.put_vision(encoded)
        elif name == "frames":
            self._hub.pictures.put_frame(encoded, sse.time_ms_of(entry_id), read_int(fields, b"time") or 0)
        else:
            self._hub.pictures.put_thumb(parse_env(text(fields.get(b"env", b""))), encoded)

    async def _handle_events(self, events: list[tuple[EntryId, Fields]]) -> None:
        """Show the changes of the channel's session."""
        hub = self._hub
        shown = hub.position.sid
        await self._verify()
        if hub.position.sid == shown:
            hub.set_session(await self._session())
            hub.advance("events", events[-1][0])
            hub.put(hub.session_event(), "events")

    async def _turn_to_newer(self, newest: Sid) -> None:
        """Show the sessions that began after the current one: viewers miss no event, even of a short session."""
        shown = int(self._hub.position.sid)
        views = await self._store.sessions(self._hub.channel, limit=MAX_SESSIONS + 1)
        later = {view.sid for view in views if view.sid is not None and shown < int(view.sid) < int(newest)}
        if len(later) >= MAX_SESSIONS:
            await self._start_over(newest, "too many sessions came since")
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
        hub.switch(await self._store.session(hub.channel, sid), Position(sid, events=events_at), {})
        self._forget_marks()
        self._at = {"events": events_at} | dict.fromkeys(sse.ALL_STREAMS, START)
        hub.put(hub.session_event(), "turn")
        hub.put(hub.snapshot_event(), "turn")

    async def _drain(self) -> int:
        hub, most, slices = self._hub, 0, Slices()
        for name in sse.KEPT_STREAMS:
            entries = await self._store.entries(
                hub.channel, hub.position.sid, name, first=f"({self._at[name]}", limit=READ_COUNT
            )
            for entry_id, fields in entries:
                self._put_entry(name, entry_id, fields)
                await slices.rest()
            most = max(most, len(entries))
        return most

    async def _session(self) -> SessionView:
        sid = self._hub.position.sid
        return await self._store.session(self._hub.channel, None if sid == "0" else sid)

    async def _check_lease(self) -> None:
        """Check that Redis still has the entries that were read, update the session, and report the viewers here."""
        hub = self._hub
        self._next_check_s = time.monotonic() + random.uniform(0.8, 1.0) * self._checks.interval_s
        sid = hub.position.sid
        check = await self._store.check(hub.channel, sid, self._at, self._watch())
        await self._compare(check.newest, check.marks)
        if self._no_streams:
            await self._find_streams()
        session = check.session if hub.position.sid == sid else await self._session()
        total = hub.viewers_total if check.viewers is None else check.viewers
        has_changed = _lasting(session) != _lasting(hub.session)
        is_judged_anew = (session.rhythm, session.verdict) != (hub.session.rhythm, hub.session.verdict)
        hub.set_session(session)
        if has_changed:
            hub.put(hub.session_event(), "events")
        if total != hub.viewers_total or is_judged_anew:
            hub.set_viewers(total)
            hub.put(hub.status_event())

    async def report_viewers(self) -> int:
        """Write this replica's number of viewers; returns how many there are over all replicas."""
        return int(await self._store.run(self._watch()))

    def _watch(self) -> ScriptCall:
        lasts_ms = round(CHECKS_LAST * self._checks.interval_s * 1000)
        return scripts.watch(
            self._hub.channel, replica=self._replica, viewers=len(self._hub.subscribers), lasts_ms=lasts_ms
        )


def _lasting(session: SessionView) -> SessionView:
    """Return a session without the numbers that change with every read."""
    return replace(session, ttl_ms=None, rhythm=None, not_finite={}, verdict=None)
