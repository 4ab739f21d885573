"""The monitor of a replica: follows every live channel whose lease it holds, and stores the annotations.

Each channel with a live session has one monitor, even without viewers. Replicas find the channels in the index and
compete for a lease per channel. One script stores the annotations and the position after them: a replica that dies
leaves the position of its last save, and its successor reads the same entries with the same memory. Called by the app's
life cycle.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from hud_publisher.protocol import scripts
from hud_publisher.protocol.entries import START
from hud_publisher.protocol.errors import UnavailableError
from hud_publisher.protocol.keys import Sid
from hud_publisher.protocol.scripts import ScriptCall
from hud_publisher.protocol.stored import read_int, read_not_finite, read_object, read_value
from hud_publisher.protocol.values import flatten, to_json
from hud_web.monitor.annotations import Annotation
from hud_web.monitor.detectors import Observation, SessionState
from hud_web.monitor.judge import Judge
from hud_web.monitor.ledger import STREAMS, Entries, Lease, Ledger, Session
from hud_web.store.cancellation import is_cancelled
from hud_web.store.pages import FIRST_ENTRIES, next_limit
from hud_web.store.roles import Roles
from hud_web.store.slices import Slices
from hud_web.store.sse import time_ms_of
from hud_web.store.store import Store

logger = logging.getLogger("hud.monitor")

#: Time between two rounds of reading, in seconds: the delay of an annotation. A round costs something for each channel,
#: so with many channels the rounds are further apart: 3 s at 1,000 channels.
ROUND_S = 1.0
ROUND_PER_CHANNEL_S = 0.003
#: Time between two renewals of the leases, in seconds; a lease ends after three missed renewals.
LEASE_S = 2.0
LEASE_TTL_MS = 7_000
#: The memory is saved at least this often, in seconds: a successor reads at most this much again. Each save also renews
#: the TTL of the session's annotations.
SAVE_S = 10.0
#: A channel is followed for this time after its last activity in the index, in milliseconds: longer than any lease, so
#: that the lapse of a session is noticed.
ACTIVE_MS = 15 * 60_000
#: Sessions of a channel whose end a new monitor reports: several may begin and end while a lease changes hands.
UNFINISHED = 4
#: Sessions in one read: each holds about `pages.PAGE_BYTES` at most.
GROUP = 20


class Alert(Protocol):
    """An alert to be delivered."""

    def encode(self, sid: str) -> list[str]:
        """Return the fields of its entry in the outbox, names and values in turn."""


class Evaluator(Protocol):
    """Judges the alert rules of one session (hud_web.alerts.evaluator)."""

    def see(self, entry: Observation, roles: Roles) -> Sequence[Alert]:
        """Judge the fields of an entry."""

    def follow(self, annotations: Sequence[Annotation]) -> Sequence[Alert]:
        """Judge annotations."""

    def pass_time(self, now_ms: int) -> Sequence[Alert]:
        """Return the alerts that are due by now."""

    def memory(self) -> dict[str, Any]:
        """Return the memory for a later evaluator, as JSON values."""


class Rules(Protocol):
    """The alert rules of a server."""

    def evaluator(self, channel: str, memory: object = None) -> Evaluator | None:
        """Return the evaluator of a session of this channel with its memory; None if no rule is about the channel."""


class NoRules:
    """The rules of a server without alerts."""

    def evaluator(self, channel: str, memory: object = None) -> None:
        """Return None."""


@dataclass(slots=True)
class Watch:
    """One session that this replica monitors.

    Attributes:
        channel: of the session.
        sid: of the session.
        judge: holds the memory after the entries up to `positions`.
        positions: stream → id of the newest entry that was judged.
        version: of the stored memory that this one continues.
        roles: role → field path, as the user decided.
        limit: entries of each stream in the next read.
        state: of the session, with Redis' time at which it was read; None once it was judged.
        has_failed: whether a failure has already cost the session its memory.
        saved_s: when the memory was saved, on the event loop's clock.
        pending: annotations that are not stored yet.
        evaluator: of the alert rules; None if no rule is about the channel.
        alerts: that are not stored yet.
    """

    channel: str
    sid: Sid
    judge: Judge
    positions: dict[str, str]
    version: int
    roles: Mapping[str, str]
    limit: int = FIRST_ENTRIES
    state: tuple[SessionState, int] | None = None
    has_failed: bool = False
    saved_s: float = 0.0
    pending: list[Annotation] = field(default_factory=list)
    evaluator: Evaluator | None = None
    alerts: list[Alert] = field(default_factory=list)

    def note(self, annotations: Sequence[Annotation], entry: Observation | None = None) -> None:
        """Remember new annotations, and the alerts about them and about the entry that they came with."""
        self.pending += annotations
        if self.evaluator is not None:
            self.alerts += self.evaluator.follow(annotations)
            if entry is not None:
                self.alerts += self.evaluator.see(entry, self.judge.roles)

    @property
    def session(self) -> Session:
        """The channel and the SID."""
        return self.channel, self.sid


class Monitor:
    """Monitors channels until cancelled; keeps trying while Redis is unreachable.

    Attributes:
        token: names this replica as the owner of a lease.
    """

    def __init__(self, store: Store, rules: Rules | None = None, wake: Callable[[], None] | None = None) -> None:
        """Make a monitor.

        Args:
            store: the access to Redis.
            rules: of alerts; None: there are no alerts.
            wake: called after new alerts were stored.
        """
        self._store = store
        self._rules = rules or NoRules()
        self._wake = wake or (lambda: None)
        self._ledger = Ledger(store)
        self.token = secrets.token_hex(8)
        self._watches: dict[Session, Watch] = {}
        self._leases: dict[str, Lease] = {}
        self._leased_s = float("-inf")
        self._now_ms = 0

    async def run(self) -> None:
        """Monitor until cancelled."""
        loop = asyncio.get_running_loop()
        while not is_cancelled():
            began_s = loop.time()
            try:
                await self.turn(began_s)
            except UnavailableError:
                self._forget_all()
            except Exception:  # a bug must not end the replica's monitor
                logger.exception("the monitor failed and starts again")
                self._forget_all()
            round_s = max(ROUND_S, ROUND_PER_CHANNEL_S * len(self._watches))
            await asyncio.sleep(max(ROUND_S / 10, began_s + round_s - loop.time()))

    def _forget_all(self) -> None:
        """Read everything from Redis again, because it is unknown whether the last save succeeded."""
        self._watches.clear()
        self._leases.clear()
        self._leased_s = float("-inf")

    async def turn(self, now_s: float) -> None:
        """Run one round: renew the leases if they are due, read and judge new entries, and save the findings.

        Raises:
            UnavailableError: Redis did not answer.
        """
        if now_s - self._leased_s >= LEASE_S:
            self._leased_s = now_s
            await self._renew(now_s)
        until = time.monotonic() + LEASE_S  # the leases must be renewed, however long the backlog is
        behind = list(self._watches.values())
        while behind and time.monotonic() < until:
            groups = [behind[first : first + GROUP] for first in range(0, len(behind), GROUP)]
            behind = [watch for group in groups for watch in await self._follow(group, now_s)]

    @contextlib.contextmanager
    def _apart(self, watch: Watch) -> Iterator[None]:
        """Limit a failure to its session, which continues without its memory, and ends at a second failure."""
        try:
            yield
        except UnavailableError:
            raise
        except Exception:  # a memory that another program wrote, or a bug
            logger.exception("channel %s: the monitor of session %s failed", watch.channel, watch.sid)
            if watch.has_failed:
                self._watches.pop(watch.session, None)
            watch.judge, watch.pending, watch.has_failed = Judge(None, watch.roles), [], True
            watch.evaluator, watch.alerts = self._rules.evaluator(watch.channel), []

    # -- leases and sessions ------------------------------------------------------------------------------------------

    async def _renew(self, now_s: float) -> None:
        # The lease of one channel tells the first round Redis' time: an index of a week may hold thousands.
        most = scripts.MAX_CHANNELS if self._now_ms else 1
        channels = await self._ledger.active_channels(self._now_ms - ACTIVE_MS, most)
        calls = [scripts.lease(channel, self.token, LEASE_TTL_MS) for channel in channels]
        leases = dict(zip(channels, await self._ledger.leases(calls), strict=True))
        before, self._leases = self._leases, {name: one for name, one in leases.items() if one.is_ours and one.sid}
        self._now_ms = max((lease.now_ms for lease in leases.values()), default=0)
        self._watches = {key: watch for key, watch in self._watches.items() if key[0] in self._leases}
        turned = [name for name, lease in self._leases.items() if name not in before or before[name].sid != lease.sid]
        await self._open(turned, now_s)
        await self._look_at_sessions()

    async def _open(self, channels: list[str], now_s: float) -> None:
        """Follow the newest session of each channel, and earlier ones whose end was not reported."""
        found = await self._ledger.newest_sessions(channels, UNFINISHED)
        wanted = [session for session in found if session not in self._watches]
        for (channel, sid), saved in zip(wanted, await self._ledger.saved(wanted), strict=True):
            positions = {**dict.fromkeys(STREAMS, START), **saved.positions}
            watch = Watch(channel, sid, Judge(None, saved.roles), positions, saved.version, saved.roles, saved_s=now_s)
            with self._apart(watch):
                watch.judge = Judge(saved.memory, saved.roles)
                watch.evaluator = self._rules.evaluator(channel, saved.alerts)
            if not watch.judge.is_done:
                self._watches[watch.session] = watch
        previous = dict(zip(found[1:], found, strict=False))  # oldest first
        pairs = [(one, previous[one]) for one in wanted if one in self._watches and one in previous]
        pairs = [(one, before) for one, before in pairs if one[0] == before[0]]
        for (session, _before), earlier in zip(pairs, await self._ledger.earlier(pairs), strict=True):
            self._watches[session].judge.earlier = earlier

    async def _look_at_sessions(self) -> None:
        """Read the state of each session; it is judged after the entries that were appended before."""
        states = await self._ledger.sessions(list(self._watches))
        for watch, state in zip(list(self._watches.values()), states, strict=True):
            if state is None:  # its retention ended
                del self._watches[watch.session]
                continue
            lease = self._leases[watch.channel]
            has_lease = watch.sid == lease.sid and lease.left_ms > 0
            watch.state = replace(state, has_lease=has_lease), lease.now_ms
            with self._apart(watch):
                watch.note(watch.judge.begin(state.started_ms))

    # -- entries ------------------------------------------------------------------------------------------------------

    async def _follow(self, watches: list[Watch], now_s: float) -> list[Watch]:
        """Judge new entries of these sessions, save the findings, and return the sessions that have further entries."""
        found = await self._ledger.read([(watch.session, watch.positions, watch.limit) for watch in watches])
        slices = Slices()
        behind = []
        for watch, entries in zip(watches, found, strict=True):
            with self._apart(watch):
                await self._judge(watch, entries, slices)
                if not entries.is_last:
                    behind.append(watch)
                elif watch.state is not None:
                    # Nothing is appended to a session after its end, so all of its entries were read.
                    state, now_ms = watch.state
                    watch.note(watch.judge.see_session(state, now_ms))
                    if watch.evaluator is not None and state.has_lease and state.ended_ms is None:
                        watch.alerts += watch.evaluator.pass_time(now_ms)
                    watch.state = None
        await self._save([one for one in watches if one.pending or one.alerts or now_s - one.saved_s >= SAVE_S], now_s)
        return [watch for watch in behind if watch.session in self._watches]

    async def _judge(self, watch: Watch, entries: Entries, slices: Slices) -> None:
        if entries.found:
            watch.limit = next_limit(watch.limit, len(entries.found), entries.size)
        for stream, entry_id, fields in entries.found:
            await slices.rest()
            watch.positions[stream] = entry_id
            time_ms = time_ms_of(entry_id)
            try:
                if stream == "vision":
                    extra = read_value(fields.get(b"extra", b"{}"))
                    error = extra.get("error") if isinstance(extra, dict) else None
                    watch.note(watch.judge.see_vision(entry_id, time_ms, str(error) if error else None))
                else:
                    entry = _observe(stream, entry_id, time_ms, fields)
                    see = watch.judge.see_process if stream in ("machine", "reports") else watch.judge.see
                    watch.note(see(entry), entry)
            except ValueError as error:  # another program wrote it: only this entry is skipped
                self._store.pass_over(watch.channel, stream, error)
        if entries.found:
            self._store.tally.monitor_lag.add(max(0.0, time.time() - time_ms / 1000))

    async def _save(self, watches: list[Watch], now_s: float) -> None:
        calls: list[tuple[Watch, ScriptCall]] = []
        slices = Slices()
        for watch in watches:
            await slices.rest()
            with self._apart(watch):
                calls.append((watch, self._call(watch)))
        await self._ledger.expect_alerts([watch.channel for watch, _call in calls if watch.alerts], self._now_ms)
        replies = await self._ledger.save([call for _watch, call in calls])
        for (watch, _call), is_saved in zip(calls, replies, strict=True):
            if not is_saved:  # another replica has the lease or saved first: its stored state is valid
                self._watches.pop(watch.session, None)
                self._leases.pop(watch.channel, None)
                continue
            watch.version += 1
            if watch.alerts:
                self._wake()
            watch.pending, watch.alerts, watch.saved_s = [], [], now_s
            if watch.judge.is_done:
                self._watches.pop(watch.session, None)

    def _call(self, watch: Watch) -> ScriptCall:
        return scripts.annotate(
            watch.channel, watch.sid, token=self.token, version=watch.version,
            memory=to_json({
                "judge": watch.judge.memory(), "positions": watch.positions,
                "alerts": watch.evaluator.memory() if watch.evaluator is not None else None,
            }),
            rhythm=to_json(watch.judge.rhythm()), not_finite=to_json(watch.judge.not_finite),
            verdict=to_json(dict(watch.judge.verdict())),
            annotations=[annotation.encode() for annotation in watch.pending],
            alerts=[alert.encode(watch.sid) for alert in watch.alerts],
        )  # fmt: skip


def _observe(stream: str, entry_id: str, time_ms: int, fields: dict[bytes, bytes]) -> Observation:
    writer = fields.get(b"writer", b"").decode("utf-8", "replace")
    stored, _text = read_object(fields.get(b"data", b""))
    data = dict(flatten(stored, separator="/"))
    step, not_finite = read_int(fields, b"step"), read_not_finite(fields)
    return Observation(entry_id, time_ms, step, f"{writer}/{stream}", data, not_finite)
