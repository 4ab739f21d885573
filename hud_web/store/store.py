"""The web tier's access to Redis: runs the protocol's scripts and reads sessions, states and entries.

Owns every Redis command of the web tier except the tailer's blocking read. Turns client errors into UnavailableError. A
key with a value of another type counts as absent, and an unreadable stored value does not affect the others. Called by
the endpoints, the tailer and the replay.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ResponseError

from hud_publisher.protocol import scripts
from hud_publisher.protocol.batch import Registered, Reporter
from hud_publisher.protocol.entries import START, EntryId, Field, Limits, StreamName
from hud_publisher.protocol.errors import MalformedError, NotFoundError, SessionNotActiveError, UnavailableError
from hud_publisher.protocol.keys import CHANNELS, ChannelKeys, SessionId, Sid, is_channel, is_sid, split_session_id
from hud_publisher.protocol.names import clean_name
from hud_publisher.protocol.registration import Procedure
from hud_publisher.protocol.replies import Marks, encode_reporter, parse_marks, parse_register
from hud_publisher.protocol.scripts import ScriptCall
from hud_publisher.protocol.stored import decode_state, read_int, read_value
from hud_publisher.protocol.texts import one_line, text, without_arguments
from hud_publisher.protocol.transport.redis_clients import CLIENT_ERRORS
from hud_web.store.slices import Turns
from hud_web.store.sse import ALL_STREAMS, ENTRY_ID
from hud_web.store.tally import Tally
from hud_web.store.views import ChannelView, Fields, Opening, SessionView, StreamEntry, view_of

#: Commands in one round trip: more would hold large replies in memory at once.
PIPELINE = 100

T = TypeVar("T")
Command = tuple[str | int, ...]

_FOREIGN = ("WRONGTYPE", "exhausted the last possible ID", "invalid start ID")
#: Fields of the monitor's hash that viewers get.
_JUDGED = ("rhythm", "not_finite", "verdict")
#: Sections of a configuration, in the order in which they are shown; others follow.
_SECTIONS = ("config", "changed", "command", "git", "versions")
#: Fields of a session that the index of channels shows.
_ABOUT_CHANNEL = (b"name", b"started", b"ended", b"ended_by")


@dataclass(frozen=True, slots=True)
class Check:
    """The answer of Store.check.

    Attributes:
        newest: the channel's newest session, as of Store.current_sid.
        marks: which of the reader's entries the session still has.
        session: the reader's session.
        viewers: over all replicas; None if Redis refused the report, because its memory or disk is full.
    """

    newest: Sid | None
    marks: Marks
    session: SessionView
    viewers: int | None


class Store:
    """Reads and writes one Redis through one client whose calls are time-limited and never retried."""

    def __init__(self, client: Redis, tally: Tally | None = None) -> None:
        self._redis = client
        self.tally = tally or Tally()
        self.turns = Turns()

    async def aclose(self) -> None:
        """Close the client's connections."""
        await self._redis.aclose()

    async def ping(self) -> None:
        """Return once Redis answered, or raise UnavailableError."""
        async with self._translated():
            await self._redis.ping()

    async def eviction_policy(self) -> str | None:
        """Return Redis' maxmemory-policy, which must be noeviction; None if this user may not read it."""
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

    async def register(self, procedure: Procedure) -> Registered:
        """Execute a registration's calls; raises as it and `run` do."""
        try:
            call = next(procedure)
            while True:
                call = procedure.send(await self.run(call))
        except StopIteration as done:
            return parse_register(done.value)

    async def run_all(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """Execute scripts on any channels with few round trips and return their replies.

        Raises:
            UnavailableError: Redis did not answer all of them; which scripts ran is unknown.
        """
        async with self._translated():
            replies = await self._run_each(calls)
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
        return replies

    async def pipelined(self, commands: Sequence[tuple[Field, ...]]) -> list[Any]:
        """Execute commands on any keys with few round trips and return their replies.

        The reply is None for a key with a value of another type.
        """
        async with self._translated():
            return [_or_none(reply) for reply in await self._pipelined(commands)]

    async def _pipelined(self, commands: Sequence[tuple[Field, ...]]) -> list[Any]:
        replies: list[Any] = []
        for first in range(0, len(commands), PIPELINE):
            pipe = self._redis.pipeline(transaction=False)
            for command in commands[first : first + PIPELINE]:
                pipe.execute_command(*command)
            replies += await pipe.execute(raise_on_error=False)
        return replies

    async def _run_each(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """Execute scripts with few round trips; an error reply is returned as an exception."""
        commands = [("EVALSHA", call.script.sha, len(call.keys), *call.keys, *call.args) for call in calls]
        replies = await self._pipelined(commands)
        for number, reply in enumerate(replies):
            if isinstance(reply, NoScriptError):
                replies[number] = await self._execute(calls[number])
        return replies

    async def check_active(self, session_id: SessionId) -> None:
        """Return if this session holds its channel now, or raise SessionNotActiveError."""
        parts = split_session_id(session_id)
        holder = None
        if parts is not None:
            async with self._translated():
                (holder,) = await self._at_once(("GET", ChannelKeys(parts[0]).lock))
        if holder is None or text(holder) != session_id:
            raise SessionNotActiveError("Session not active")

    async def current_sid(self, channel: str) -> Sid | None:
        """Return the channel's newest session, whether it still holds the channel or not.

        Its source is the fence; if that key is lost, the lock or the index of sessions.
        """
        async with self._translated():
            return _newest_sid(*await self._at_once(*_current_commands(ChannelKeys(channel))))

    async def marks(self, channel: str, sid: Sid, seen: Mapping[str, str]) -> Marks:
        """Return which of a reader's entries a session still has; see scripts.marks."""
        return parse_marks(await self.run(scripts.marks(channel, sid, seen)), seen)

    async def check(self, channel: str, sid: Sid, seen: Mapping[str, str], watch: ScriptCall) -> Check:
        """Return all that a reader checks regularly, with one round trip.

        Args:
            channel: the display.
            sid: the session that it reads; "0" if there is none yet.
            seen: as for `marks`.
            watch: the call that reports the viewers (scripts.watch).
        """
        keys = ChannelKeys(channel)
        current = _current_commands(keys)
        commands = (*current, *session_commands(keys, sid))
        # The newest session is read after the marks: its beginning may delete pictures of this one.
        calls = (scripts.marks(channel, sid, seen), scripts.multi_read(*commands), watch)
        async with self._translated():
            marks, found, viewers = await self._run_each(calls)
            for reply in (marks, found):
                if isinstance(reply, Exception):
                    raise reply
            found = _converted(commands, found)
        if isinstance(viewers, Exception):
            self.tally.redis_errors[type(viewers).__name__] += 1
        return Check(
            _newest_sid(*found[: len(current)]),
            parse_marks(marks, seen),
            SessionView(channel) if sid == "0" else view_of(channel, sid, *found[len(current) :]),
            None if isinstance(viewers, Exception) else int(viewers),
        )

    async def wrong_types(self, keys: list[bytes]) -> set[bytes]:
        """Return those of one channel's stream keys that hold no stream."""
        call = scripts.multi_read(*[("XLEN", key.decode()) for key in keys])
        replies = await self.run(call)
        return {key for key, reply in zip(keys, replies, strict=True) if _is_foreign(reply)}

    def pass_over(self, channel: str, kind: str, reason: object) -> None:
        """Count a stored item that cannot be read; see Tally.pass_over."""
        self.tally.pass_over(channel, kind, reason)

    def readable(self, channel: str, kind: str, read: Callable[..., T], *arguments: Any) -> T | None:
        """Return the result of `read` for a stored item; None, and counted by `pass_over`, if it raises ValueError."""
        try:
            return read(*arguments)
        except ValueError as error:
            self.pass_over(channel, kind, error)
            return None

    async def has_session(self, channel: str, sid: Sid) -> bool:
        """Return whether this session is stored."""
        async with self._translated():
            return bool(await self._redis.exists(ChannelKeys(channel).session(sid).info))

    async def session(self, channel: str, sid: Sid | None) -> SessionView:
        """Return a session's description and status; `sid` None is a channel that waits for its first session."""
        keys = ChannelKeys(channel)
        if sid is None:
            return SessionView(channel)
        async with self._translated():
            found = await self._at_once(*session_commands(keys, sid))
        return view_of(channel, sid, *found)

    async def open(self, channel: str, sid: Sid | None) -> Opening:
        """Return a session's state with the stream positions that belong to it, at one moment.

        Raises:
            NotFoundError: the session does not exist, or not any more.
        """
        keys = ChannelKeys(channel)
        session = keys.session(sid or "0")
        async with self._translated():
            info, lock, ttl_ms, judged, state, events, *newest = await self._at_once(
                ("HGETALL", session.info), ("GET", keys.lock), ("PTTL", keys.lock),
                ("HMGET", session.monitor, *_JUDGED), ("HGETALL", session.state),
                ("XREVRANGE", keys.events, "+", "-", "COUNT", 1),
                *[("XREVRANGE", session.stream(name), "+", "-", "COUNT", 1) for name in ALL_STREAMS],
            )  # fmt: skip
        last_event = EntryId(text(events[0][0])) if events else START
        if sid is None:
            return Opening(SessionView(channel), {}, {}, last_event)
        view = view_of(channel, sid, info, lock, ttl_ms, judged)
        if not info and view.status != "live":  # the hash of a live session may be lost while its run continues
            raise NotFoundError(f"channel {channel!r} has no session {sid}: see /api/sessions")
        entries: dict[StreamName, StreamEntry] = {
            name: (EntryId(text(found[0][0])), found[0][1])
            for name, found in zip(ALL_STREAMS, newest, strict=True)
            if found
        }
        unreadable: list[str] = []
        fields = decode_state(state, unreadable)
        for name in unreadable:
            self.pass_over(channel, "state", f"field {name[:80]!r}")
        return Opening(view, fields, entries, last_event)

    async def open_current(self, channel: str) -> Opening:
        """Return the channel's newest session; a waiting one if there is none, or its retention ended."""
        try:
            return await self.open(channel, await self.current_sid(channel))
        except NotFoundError:
            return await self.open(channel, None)

    async def config(self, channel: str, sid: Sid) -> dict[str, Any]:
        """Return the sections of a run's configuration, by name; one that cannot be read is left out."""
        async with self._translated():
            (stored,) = await self._at_once(("HGETALL", ChannelKeys(channel).session(sid).config))
        trees = {
            clean_name(text(name)): self.readable(channel, "config", read_value, tree) for name, tree in stored.items()
        }
        return {name: trees[name] for name in sorted(trees, key=_section_order) if trees[name] is not None}

    async def sessions(self, channel: str, *, limit: int = 100) -> list[SessionView]:
        """Return the channel's sessions, newest first; those whose retention ended are left out."""
        keys = ChannelKeys(channel)
        async with self._translated():
            (named,) = await self._at_once(("ZRANGE", keys.sessions, 0, limit - 1, "REV"))
            sids = [Sid(sid) for sid in map(text, named) if is_sid(sid)]
            lock, ttl_ms, *infos = await self._at_once(
                ("GET", keys.lock), ("PTTL", keys.lock), *[("HGETALL", keys.session(sid).info) for sid in sids]
            )
        return [view_of(channel, sid, info, lock, ttl_ms) for sid, info in zip(sids, infos, strict=True) if info]

    async def channels(self, *, limit: int, offset: int) -> tuple[list[ChannelView], int]:
        """Return channels of the index, the one with the newest activity first, and how many the index has."""
        async with self._translated():
            total = int(await self._ask(CHANNELS, self._redis.zcard(CHANNELS), 0))
            found: Any = await self._ask(
                CHANNELS, self._redis.zrange(CHANNELS, offset, offset + limit - 1, desc=True, withscores=True), []
            )
            names = [(text(name), int(at_ms) if math.isfinite(at_ms) else 0) for name, at_ms in found]
            channels = [(ChannelKeys(name), at_ms) for name, at_ms in names if is_channel(name)]
            pipe = self._redis.pipeline(transaction=False)
            for keys, _at_ms in channels:
                pipe.get(keys.fence)
                pipe.get(keys.lock)
            marks = [_or_absent(reply, None) for reply in await pipe.execute(raise_on_error=False)] if channels else []
            sids = [Sid(text(fence)) if fence and is_sid(text(fence)) else Sid("0") for fence in marks[::2]]
            pipe = self._redis.pipeline(transaction=False)
            for (keys, _at_ms), sid in zip(channels, sids, strict=True):
                pipe.hmget(keys.session(sid).info, *_ABOUT_CHANNEL)
                pipe.hmget(keys.session(sid).monitor, *_JUDGED)
            found_of = await pipe.execute(raise_on_error=False) if channels else []
        views: list[ChannelView] = []
        for (keys, at_ms), sid, lock, values, judged in zip(
            channels, sids, marks[1::2], found_of[::2], found_of[1::2], strict=True
        ):  # fmt: skip
            found = zip(_ABOUT_CHANNEL, _or_absent(values, [None] * len(_ABOUT_CHANNEL)), strict=True)
            info = {name: value for name, value in found if value is not None}
            view = view_of(keys.channel, sid, info, lock, 0, _or_absent(judged, None))
            views.append(ChannelView(keys.channel, at_ms, view))
        return views, total

    async def entries(
        self, channel: str, sid: Sid, stream: StreamName, *, first: str = "-", last: str = "+", limit: int | None = None
    ) -> list[StreamEntry]:
        """Return a stream's entries from `first` to `last`, both included unless they start with "("."""
        key = ChannelKeys(channel).session(sid).stream(stream)
        async with self._translated():
            found: Any = await self._ask(key, self._redis.xrange(key, first, last, count=limit), [])
        return [(EntryId(text(entry_id)), fields) for entry_id, fields in found]

    async def newest(
        self, channel: str, sid: Sid, stream: StreamName, limit: int, *, up_to: str = "+"
    ) -> list[StreamEntry]:
        """Return a stream's newest entries, newest first, none newer than `up_to`."""
        key = ChannelKeys(channel).session(sid).stream(stream)
        async with self._translated():
            found: Any = await self._ask(key, self._redis.xrevrange(key, max=up_to, count=limit), [])
        return [(EntryId(text(entry_id)), fields) for entry_id, fields in found]

    async def entry(self, channel: str, sid: Sid, stream: StreamName, entry_id: str) -> Fields:
        """Return one entry's fields, or raise NotFoundError."""
        if not is_entry_id(entry_id):
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
            about: Any = await self._ask(key, self._redis.xinfo_stream(key), {"length": 0})
        return bool(about.get("entries-added") == about["length"])  # Redis before 7 does not report it

    async def lengths(self, channel: str, sid: Sid, stream: StreamName) -> tuple[int, int]:
        """Return the number of entries of a stream, and the number of entries that its pieces summarize."""
        keys = ChannelKeys(channel).session(sid)
        async with self._translated():
            length, total = await self._at_once(("XLEN", keys.stream(stream)), ("HGET", keys.piece(stream), "total"))
        return int(length or 0), read_int({b"total": total or b""}, b"total") or 0

    async def pieces(
        self, channel: str, sid: Sid, stream: StreamName, *, after: EntryId, limit: int
    ) -> list[StreamEntry]:
        """Return the pieces that summarize a stream's trimmed entries (downsample.lua), oldest first."""
        key = ChannelKeys(channel).session(sid).past(stream)
        async with self._translated():
            found: Any = await self._ask(key, self._redis.xrange(key, f"({after}", "+", count=limit), [])
        return [(EntryId(text(entry_id)), fields) for entry_id, fields in found]

    async def ask_for_reporter(self, channel: str, reporter: Reporter, limits: Limits) -> None:
        """Store the env to show; the training side gets it with its next reply."""
        keys = ChannelKeys(channel)
        wish = encode_reporter(reporter)
        async with self._translated():
            event = ("kind", "reporter", "reporter", wish)
            await self._at_once(
                ("SET", keys.reporter, wish, "PX", limits.retention_ms),
                ("XADD", keys.events, "NOMKSTREAM", "MAXLEN", "~", scripts.MAX_EVENTS, "*", *event),
            )

    async def _at_once(self, *commands: Command) -> list[Any]:
        """Run commands on keys of one channel atomically, so that their replies fit together."""
        return _converted(commands, await self._execute(scripts.multi_read(*commands)))

    async def _ask(self, key: str, reply: Awaitable[Any], absent: Any) -> Any:
        """Return a command's reply, or `absent` if the key holds a value of another type."""
        try:
            return await reply
        except ResponseError as error:
            self.tally.pass_over(key, "key", error)
            return _or_absent(error, absent)

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
            self.tally.redis_errors[type(error).__name__] += 1
            # An error reply names the trouble (memory full, loading, no permission); a lost connection only has a type.
            failure = f"Redis did not answer ({type(error).__name__})"
            if isinstance(error, ResponseError):
                failure = f"Redis answered {one_line(without_arguments(str(error)))}"
            raise UnavailableError(f"{failure}: see /ready and `hud doctor`") from error


def _current_commands(keys: ChannelKeys) -> tuple[Command, ...]:
    return ("GET", keys.fence), ("GET", keys.lock), ("ZRANGE", keys.sessions, -1, -1)


def _newest_sid(fence: bytes | None, lock: bytes | None, indexed: list[bytes]) -> Sid | None:
    holder = split_session_id(text(lock)) if lock else None
    named = [sid for sid in (text(fence or b""), holder[1] if holder else "") if is_sid(sid)]
    named = named or [sid for sid in map(text, indexed) if is_sid(sid)]
    return max(map(Sid, named), key=int, default=None)


def session_commands(keys: ChannelKeys, sid: Sid) -> tuple[Command, ...]:
    """The commands whose replies `view_of` takes."""
    session = keys.session(sid)
    return (
        ("HGETALL", session.info), ("GET", keys.lock), ("PTTL", keys.lock), ("HMGET", session.monitor, *_JUDGED)
    )  # fmt: skip


def _section_order(name: str) -> tuple[int, str]:
    return _SECTIONS.index(name) if name in _SECTIONS else len(_SECTIONS), name


def is_entry_id(text: str) -> bool:
    """Return whether an entry of a stream may have this id."""
    return bool(re.fullmatch(ENTRY_ID, text))


def _is_foreign(reply: Any) -> bool:
    """Return whether a reply is the error for a key whose value HUD did not write: another type, or a full stream."""
    return isinstance(reply, ResponseError) and any(mark in str(reply) for mark in _FOREIGN)


def _or_absent(reply: Any, absent: Any) -> Any:
    """Return a reply, or `absent` if it is the error for a key whose value HUD did not write."""
    if isinstance(reply, Exception):
        if not _is_foreign(reply):
            raise reply
        return absent
    return reply


def _or_none(reply: Any) -> Any:
    return _or_absent(reply, None)


def _as_list(reply: Any) -> list[bytes]:
    found: list[bytes] = _or_absent(reply, [])
    return found


def _as_mapping(reply: Any) -> Fields:
    flat = _as_list(reply)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _as_entries(reply: Any) -> list[tuple[bytes, Fields]]:
    return [(entry_id, _as_mapping(fields)) for entry_id, fields in _or_absent(reply, [])]


def _converted(commands: Sequence[Command], replies: Sequence[Any]) -> list[Any]:
    return [_REPLIES.get(command[0], _or_none)(reply) for command, reply in zip(commands, replies, strict=True)]


#: Converters of the replies within a script, by command.
_REPLIES: dict[str | int, Callable[[Any], Any]] = {
    "HGETALL": _as_mapping, "XREVRANGE": _as_entries, "ZRANGE": _as_list,
}  # fmt: skip
