"""Reads the replies of the scripts, whatever the client decoded them to.

Does no I/O. Called by hud_publisher.redis_sink and hud_web.store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hud_publisher.protocol.entries import EntryId, parse_env
from hud_publisher.protocol.errors import Holder, SessionHeldError, SessionNotActiveError, StorageFullError
from hud_publisher.protocol.keys import SessionId, Sid


@dataclass(frozen=True, slots=True)
class Registered:
    """A session that this process may write under.

    Attributes:
        session_id: the secret.
        sid: its public name, the fence.
        joined: whether another process of the same run had begun it.
        ttl_ms: how long it lasts without a write or heartbeat.
    """

    session_id: SessionId
    sid: Sid
    joined: bool
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class Reporter:
    """Which env a viewer asked to see."""

    worker_index: int
    env_index: int


@dataclass(frozen=True, slots=True)
class Published:
    """What a batch's reply tells the training side.

    Attributes:
        viewers: how many pages watch this channel, over all replicas.
        reporter: the wanted env, if somebody asked for one.
        is_duplicate: the batch had landed before, so it was not appended again.
        last_id: id of the batch's last entry; None where it had none or was a duplicate.
        shown: (worker index, env index) of who is the reporter, after this batch's claim.
        shown_age_ms: how long ago it last claimed to be; None where nobody ever did.
    """

    viewers: int = 0
    reporter: Reporter | None = None
    is_duplicate: bool = False
    last_id: EntryId | None = None
    shown: tuple[int, int] | None = None
    shown_age_ms: int | None = None


def text(value: object) -> str:
    """Return a reply's part as text, from bytes, text or a number."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def parse_register(reply: Sequence[Any]) -> Registered:
    """Read register.lua's reply.

    Raises:
        SessionHeldError: another run holds the channel.
    """
    status, session_id, sid, name, started, ttl = (text(part) for part in reply)
    ttl_ms = max(0, int(ttl))
    if status == "held":
        raise SessionHeldError(Holder(sid, name, int(started), ttl_ms))
    return Registered(SessionId(session_id), Sid(sid), status == "joined", ttl_ms)


def parse_publish(reply: Sequence[Any]) -> Published:
    """Read publish.lua's reply.

    Raises:
        SessionNotActiveError: the session does not hold its channel; nothing was written.
        StorageFullError: Redis has reached maxmemory; nothing was written, but the session lives on.
    """
    status = text(reply[0])
    if status == "lost":
        raise SessionNotActiveError("Session not active")
    if status == "full":
        raise StorageFullError(
            "expected room in Redis, got maxmemory reached: raise maxmemory or shorten HUD_RETENTION"
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


def parse_release(reply: Sequence[Any]) -> tuple[Literal["released", "not held"], Sid | None]:
    """Read release.lua's reply: whether a session ended just now, and which."""
    sid = text(reply[1])
    return ("released", Sid(sid)) if text(reply[0]) == "released" else ("not held", None)


def encode_reporter(reporter: Reporter) -> str:
    """Return what stands at the reporter key."""
    return json.dumps({"worker_index": reporter.worker_index, "env_index": reporter.env_index})


def parse_reporter(stored: str | Mapping[str, Any] | None) -> Reporter | None:
    """Read what `encode_reporter` wrote; anything else is nobody's wish."""
    if not stored:
        return None
    try:
        wish = json.loads(stored) if isinstance(stored, str) else stored
        return Reporter(int(wish["worker_index"]), int(wish["env_index"])) if isinstance(wish, Mapping) else None
    except (ValueError, KeyError, TypeError):
        return None
