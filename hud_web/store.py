"""Redis as the web tier sees it: runs the protocol's scripts and reads sessions, states and entries.

Owns every Redis command of the web tier but the tailer's blocking read. Turns client errors into UnavailableError.
Called by the endpoints, the tailer and the replay.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError

from hud_publisher.protocol import scripts
from hud_publisher.protocol.entries import STREAMS, EntryId, StreamName, parse_env
from hud_publisher.protocol.errors import MalformedError, NotFoundError, SessionNotActiveError, UnavailableError
from hud_publisher.protocol.keys import ChannelKeys, SessionId, Sid, split_session_id
from hud_publisher.protocol.replies import Reporter, encode_reporter, text
from hud_publisher.protocol.scripts import ScriptCall
from hud_publisher.protocol.values import decode_state
from hud_web.tally import Tally

#: What a client raises when Redis does not do what it was asked. A cluster of which no node answers is no RedisError.
CLIENT_ERRORS = (RedisError, RedisClusterException, OSError, TimeoutError)

Fields = dict[bytes, bytes]
StreamEntry = tuple[EntryId, Fields]
SessionStatus = Literal["live", "lapsed", "ended", "taken over", "waiting"]

_ENTRY_ID = re.compile(r"[0-9]{1,16}-[0-9]{1,19}")
#: What of a session's hash is not for viewers.
_PRIVATE = frozenset({"run", "name", "started", "ended", "ended_by", "shown", "shown_ms"})


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session as viewers see it; `sid` is None where the channel never had one."""

    channel: str
    sid: Sid | None = None
    status: SessionStatus = "waiting"
    name: str = ""
    started_ms: int | None = None
    ended_ms: int | None = None
    ended_by: str | None = None
    ttl_ms: int | None = None
    reporter: tuple[int, int] | None = None
    info: dict[str, str] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """Return the data of a `session` event."""
        return {
            "channel": self.channel, "sid": self.sid, "status": self.status, "name": self.name,
            "started_ms": self.started_ms, "ended_ms": self.ended_ms, "ended_by": self.ended_by,
            "ttl_s": None if self.ttl_ms is None else round(self.ttl_ms / 1000, 1), "reporter": self.reporter,
            "info": self.info,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Opening:
    """Everything of a session at one moment, read at once.

    Attributes:
        session: who it is.
        state: newest value of every field, nested.
        newest: the newest entry of each stream that has one.
        events: id of the channel's newest session event.
    """

    session: SessionView
    state: dict[str, Any]
    newest: dict[StreamName, StreamEntry]
    events: EntryId


class Store:
    """Reads and writes one Redis through one client whose calls are time-limited and never retried."""

    def __init__(self, client: Redis, tally: Tally | None = None) -> None:
        self._redis = client
        self._tally = tally or Tally()

    async def aclose(self) -> None:
        """Close the client's connections."""
        await self._redis.aclose()

    async def ping(self) -> None:
        """Return once Redis answered, or raise UnavailableError."""
        async with self._translated():
            await self._redis.ping()

    async def eviction_policy(self) -> str | None:
        """Return Redis' maxmemory-policy, which must be noeviction; None where it may not be asked."""
        async with self._translated():
            try:
                info = await self._redis.info("memory")
            except ResponseError:  # no permission
                return None
        policy = info.get("maxmemory_policy")
        return None if policy is None else str(policy)

    async def run(self, call: ScriptCall) -> Any:
        """Execute a script and return its reply.

        Raises:
            UnavailableError: Redis did not answer, or not in time; whether the script ran is unknown.
        """
        async with self._translated():
            return await self._execute(call)

    async def check_active(self, session_id: SessionId) -> None:
        """Return if this session holds its channel now, or raise SessionNotActiveError."""
        parts = split_session_id(session_id)
        async with self._translated():
            holder = await self._redis.get(ChannelKeys(parts[0]).lock) if parts else None
        if holder is None or text(holder) != session_id:
            raise SessionNotActiveError("Session not active")

    async def current_sid(self, channel: str) -> Sid | None:
        """Return the channel's newest session, whether it still holds the channel or not."""
        async with self._translated():
            fence = await self._redis.get(ChannelKeys(channel).fence)
        return Sid(text(fence)) if fence else None

    async def has_session(self, channel: str, sid: Sid) -> bool:
        """Return whether this session is kept."""
        async with self._translated():
            return bool(await self._redis.exists(ChannelKeys(channel).session(sid).info))

    async def session(self, channel: str, sid: Sid | None) -> SessionView:
        """Return who a session is and how it stands; `sid` None is a channel that waits for its first."""
        keys = ChannelKeys(channel)
        if sid is None:
            return SessionView(channel)
        async with self._translated():
            info, lock, ttl_ms = await self._at_once(
                ("HGETALL", keys.session(sid).info), ("GET", keys.lock), ("PTTL", keys.lock)
            )
        return _view(channel, sid, info, lock, ttl_ms)

    async def open(self, channel: str, sid: Sid | None) -> Opening:
        """Return a session's state with the stream positions that it belongs to, as of one moment.

        Raises:
            NotFoundError: there is no such session (any more).
        """
        keys = ChannelKeys(channel)
        session = keys.session(sid or "0")
        async with self._translated():
            info, lock, ttl_ms, state, events, *newest = await self._at_once(
                ("HGETALL", session.info), ("GET", keys.lock), ("PTTL", keys.lock), ("HGETALL", session.state),
                ("XREVRANGE", keys.events, "+", "-", "COUNT", 1),
                *[("XREVRANGE", session.stream(name), "+", "-", "COUNT", 1) for name in STREAMS],
            )  # fmt: skip
        last_event = EntryId(text(events[0][0])) if events else EntryId("0-0")
        if sid is None:
            return Opening(SessionView(channel), {}, {}, last_event)
        if not info:
            raise NotFoundError(f"expected a session of channel {channel!r}, got {sid}: see /api/sessions")
        entries: dict[StreamName, StreamEntry] = {
            name: (EntryId(text(found[0][0])), found[0][1])
            for name, found in zip(STREAMS, newest, strict=True)
            if found
        }
        return Opening(_view(channel, sid, info, lock, ttl_ms), decode_state(state), entries, last_event)

    async def open_current(self, channel: str) -> Opening:
        """Return the channel's newest session; one that waits where there is none, or its retention ended."""
        try:
            return await self.open(channel, await self.current_sid(channel))
        except NotFoundError:
            return await self.open(channel, None)

    async def sessions(self, channel: str, *, limit: int = 100) -> list[SessionView]:
        """Return the channel's sessions, newest first; those whose retention ended are left out."""
        keys = ChannelKeys(channel)
        async with self._translated():
            sids = [Sid(text(sid)) for sid in await self._redis.zrange(keys.sessions, 0, limit - 1, desc=True)]
            lock, ttl_ms, *infos = await self._at_once(
                ("GET", keys.lock), ("PTTL", keys.lock), *[("HGETALL", keys.session(sid).info) for sid in sids]
            )
        return [_view(channel, sid, info, lock, ttl_ms) for sid, info in zip(sids, infos, strict=True) if info]

    async def entries(
        self, channel: str, sid: Sid, stream: StreamName, *, first: str = "-", last: str = "+", limit: int | None = None
    ) -> list[StreamEntry]:
        """Return a stream's entries from `first` to `last`, both included unless they start with "("."""
        key = ChannelKeys(channel).session(sid).stream(stream)
        async with self._translated():
            found: Any = await self._redis.xrange(key, first, last, count=limit)
        return [(EntryId(text(entry_id)), fields) for entry_id, fields in found]

    async def newest(
        self, channel: str, sid: Sid, stream: StreamName, limit: int, *, up_to: str = "+"
    ) -> list[StreamEntry]:
        """Return a stream's newest entries, newest first, none newer than `up_to`."""
        key = ChannelKeys(channel).session(sid).stream(stream)
        async with self._translated():
            found: Any = await self._redis.xrevrange(key, max=up_to, count=limit)
        return [(EntryId(text(entry_id)), fields) for entry_id, fields in found]

    async def entry(self, channel: str, sid: Sid, stream: StreamName, entry_id: str) -> Fields:
        """Return one entry's fields, or raise NotFoundError."""
        if not _ENTRY_ID.fullmatch(entry_id):
            raise MalformedError(f"expected an entry id such as 1763800000000-0, got {entry_id[:40]!r}")
        found = await self.entries(channel, sid, stream, first=entry_id, last=entry_id, limit=1)
        if not found:
            raise NotFoundError(f"entry {entry_id[:40]!r} of {stream} is not kept (any more)")
        return found[0][1]

    async def is_untouched(self, channel: str, sid: Sid, stream: StreamName) -> bool:
        """Return whether a stream still has every entry that it ever had."""
        key = ChannelKeys(channel).session(sid).stream(stream)
        async with self._translated():
            if not await self._redis.exists(key):
                return True
            about = await self._redis.xinfo_stream(key)
        return bool(about["entries-added"] == about["length"])

    async def lengths(self, channel: str, sid: Sid, stream: StreamName) -> tuple[int, int]:
        """Return how many entries a stream has, and how many of those that it ever had stand in its pieces."""
        keys = ChannelKeys(channel).session(sid)
        async with self._translated():
            pipe = self._redis.pipeline(transaction=True)
            pipe.xlen(keys.stream(stream))
            pipe.hmget(keys.piece(stream), "total")
            length, (total,) = await pipe.execute()
        return int(length), int(total or 0)

    async def pieces(
        self, channel: str, sid: Sid, stream: StreamName, *, after: EntryId, limit: int
    ) -> list[StreamEntry]:
        """Return what stays of a stream when its entries have gone (fold.lua), oldest first."""
        key = ChannelKeys(channel).session(sid).past(stream)
        async with self._translated():
            found: Any = await self._redis.xrange(key, f"({after}", "+", count=limit)
        return [(EntryId(text(entry_id)), fields) for entry_id, fields in found]

    async def ask_for_reporter(self, channel: str, reporter: Reporter) -> None:
        """Say which env to show; the training side learns it with its next reply."""
        keys = ChannelKeys(channel)
        wish = encode_reporter(reporter)
        async with self._translated():
            event = ("kind", "reporter", "reporter", wish)
            await self._at_once(
                ("SET", keys.reporter, wish), ("XADD", keys.events, "MAXLEN", "~", scripts.MAX_EVENTS, "*", *event)
            )

    async def _at_once(self, *commands: tuple[str | int, ...]) -> list[Any]:
        """Run commands on keys of one channel as one, so that their replies fit together."""
        replies = await self._execute(scripts.together(*commands))
        return [_REPLIES.get(command[0], _as_it_is)(reply) for command, reply in zip(commands, replies, strict=True)]

    async def _execute(self, call: ScriptCall) -> Any:
        keys_and_args = (*call.keys, *call.args)
        try:
            return await self._redis.evalsha(call.script.sha, len(call.keys), *keys_and_args)
        except NoScriptError:
            return await self._redis.eval(call.script.source, len(call.keys), *keys_and_args)

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        try:
            yield
        except CLIENT_ERRORS as error:
            self._tally.redis_errors[type(error).__name__] += 1
            # An error reply says what is wrong (memory full, loading, no permission); a lost connection says its kind.
            reason = str(error) if isinstance(error, ResponseError) else type(error).__name__
            raise UnavailableError(f"expected an answer of Redis, got {reason}: see /ready and `hud doctor`") from error


def _view(channel: str, sid: Sid, info: Fields, lock: bytes | None, ttl_ms: int) -> SessionView:
    parts = split_session_id(text(lock)) if lock else None
    is_holder = parts is not None and parts[1] == sid
    plain = {text(name): text(value) for name, value in info.items()}
    status: SessionStatus = "lapsed"
    if is_holder:
        status = "live"
    elif plain.get("ended_by") == "taken over":
        status = "taken over"
    elif plain.get("ended"):
        status = "ended"
    return SessionView(
        channel, sid, status, plain.get("name", ""), _int(plain.get("started")), _int(plain.get("ended")),
        plain.get("ended_by"), max(0, ttl_ms) if is_holder else None, parse_env(plain.get("shown")),
        {name: value for name, value in plain.items() if name not in _PRIVATE},
    )  # fmt: skip


def _as_it_is(reply: Any) -> Any:
    return reply


def _as_mapping(reply: list[bytes]) -> Fields:
    return dict(zip(reply[::2], reply[1::2], strict=True))


def _as_entries(reply: list[tuple[bytes, list[bytes]]]) -> list[tuple[bytes, Fields]]:
    return [(entry_id, _as_mapping(fields)) for entry_id, fields in reply]


#: What a script's replies must be made into, by command.
_REPLIES: dict[str | int, Callable[[Any], Any]] = {"HGETALL": _as_mapping, "XREVRANGE": _as_entries}


def _int(value: str | None) -> int | None:
    return int(value) if value else None
