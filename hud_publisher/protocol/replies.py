"""Reads the replies of the scripts, from clients that decode replies to text and from those that do not.

Does no I/O. Called by hud_publisher.sinks.redis_sink and hud_web.store.store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hud_publisher.protocol.batch import MAX_ENV_INDEX, Published, Registered, Reporter
from hud_publisher.protocol.entries import START, EntryId, parse_env
from hud_publisher.protocol.errors import (
    Holder,
    MalformedError,
    SessionHeldError,
    SessionNotActiveError,
    StorageFullError,
    TooLargeError,
)
from hud_publisher.protocol.keys import SessionId, Sid
from hud_publisher.protocol.texts import text as text


def parse_register(reply: Sequence[Any]) -> Registered:
    """Read register.lua's reply.

    Raises:
        SessionHeldError: another run holds the channel.
    """
    status, session_id, sid, name, started, ttl, silent = (text(part) for part in reply)
    ttl_ms = max(0, int(ttl))
    if status == "held":
        started_ms, silent_ms = int(started) if started.isdecimal() else 0, int(silent) if silent else None
        raise SessionHeldError(Holder(sid, name, started_ms, ttl_ms, silent_ms))
    return Registered(SessionId(session_id), Sid(sid), status == "joined", ttl_ms)


def parse_publish(reply: Sequence[Any]) -> Published:
    """Read publish.lua's reply.

    Raises:
        SessionNotActiveError: the session does not hold its channel; nothing was written.
        StorageFullError: Redis has reached maxmemory; nothing was written, but the session lives on.
        MalformedError: the session has the greatest allowed number of active writers; nothing was written.
    """
    status = text(reply[0])
    if status == "lost":
        raise SessionNotActiveError("Session not active")
    if status == "full":
        raise StorageFullError("Redis has reached maxmemory: raise it or shorten HUD_RETENTION")
    if status == "crowded":
        raise MalformedError(
            "the session already has 2,000 writers of the last 10 minutes: publish from one process per env runner, "
            "and give a process that writes again the same writer"
        )
    shown = parse_env(text(reply[4]))
    return Published(
        viewers=int(reply[1]),
        reporter=parse_reporter(text(reply[2])),
        is_duplicate=status == "duplicate",
        last_id=EntryId(text(reply[3])) if reply[3] else None,
        shown=shown,
        shown_age_ms=int(reply[5]) if shown else None,
    )


def parse_describe(reply: Sequence[Any]) -> None:
    """Read describe.lua's reply.

    Raises:
        SessionNotActiveError: the session does not hold its channel; nothing was written.
        TooLargeError: the session's sections would be too many or too large; nothing was written.
    """
    status = text(reply[0])
    if status == "lost":
        raise SessionNotActiveError("Session not active")
    if status == "too large":
        raise TooLargeError("the configuration of the session has too many or too large sections: send fewer")


def parse_release(reply: Sequence[Any]) -> tuple[Literal["released", "not held"], Sid | None]:
    """Read release.lua's reply: whether a session ended now, and its name."""
    sid = text(reply[1])
    return ("released", Sid(sid)) if text(reply[0]) == "released" else ("not held", None)


@dataclass(frozen=True, slots=True)
class Marks:
    """The part of a reader's entries that the keys of a session still hold.

    Attributes:
        has_info: the session's hash exists.
        state_fields: how many fields its state has.
        newest: id of the newest entry that each stream ever had; START without a stream.
        kept: the streams that still hold the entry that was read.
        added: how many entries each stream ever had; empty for a Redis before 7.0.
    """

    has_info: bool
    state_fields: int
    newest: Mapping[str, EntryId]
    kept: frozenset[str]
    added: Mapping[str, int]


def parse_marks(reply: Sequence[Any], seen: Mapping[str, str]) -> Marks:
    """Read marks.lua's reply to a question about the entries in `seen`."""
    ids, flags, counts = reply[2::3], reply[3::3], reply[4::3]
    newest = {name: EntryId(text(entry_id)) if entry_id else START for name, entry_id in zip(seen, ids, strict=True)}
    kept = frozenset(name for name, is_kept in zip(seen, flags, strict=True) if is_kept)
    added = {name: int(count) for name, count in zip(seen, counts, strict=True) if count >= 0}
    return Marks(bool(reply[0]), int(reply[1]), newest, kept, added)


def encode_reporter(reporter: Reporter) -> str:
    """Return the value of the reporter key."""
    return json.dumps({"worker_index": reporter.worker_index, "env_index": reporter.env_index})


def parse_reporter(stored: str | Mapping[str, Any] | None) -> Reporter | None:
    """Read the output of `encode_reporter`; any other value counts as no request."""
    if not stored:
        return None
    try:
        wish = json.loads(stored) if isinstance(stored, str) else stored
        worker_index, env_index = int(wish["worker_index"]), int(wish["env_index"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    is_env = 0 <= worker_index <= MAX_ENV_INDEX and 0 <= env_index <= MAX_ENV_INDEX
    return Reporter(worker_index, env_index) if is_env else None
