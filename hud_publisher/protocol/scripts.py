"""Builds every write as a `ScriptCall`: a value that the synchronous and the asyncio client execute alike.

Owns the Lua files beside it and the order of their KEYS and ARGV. Does no I/O. Called by hud_publisher.redis_sink (the
publisher's thread) and by hud_web.store (the endpoints); `replies` reads what comes back.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources

from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.entries import (
    STREAMS,
    Bound,
    Field,
    MetricsEntry,
    StreamName,
    bounds,
    entry_bytes,
    env_name,
)
from hud_publisher.protocol.errors import SessionNotActiveError
from hud_publisher.protocol.keys import ChannelKeys, SessionId, split_session_id
from hud_publisher.protocol.values import clean_name, clean_text, encode_state

#: Session events kept per channel; one is about 120 bytes.
MAX_EVENTS = 1_000
#: Streams whose whole course is kept when their entries have gone.
FOLDED: tuple[StreamName, ...] = ("metrics", "iterations")
#: Files of functions that stand before a script.
_BEFORE = {"publish": ("fold",), "register": ("forget",)}


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua file and the digest by which Redis knows it (EVALSHA)."""

    name: str
    source: str
    sha: str


@cache
def load_script(name: str) -> Script:
    """Return the Lua file of this name beside this module, with the one that stands before it."""
    folder = resources.files(__package__).joinpath("lua")
    parts = (*_BEFORE.get(name, ()), name)
    source = "".join(folder.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in parts)
    return Script(name, source, hashlib.sha1(source.encode("utf-8"), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """A script with its arguments, ready for EVALSHA (and EVAL where Redis does not know it yet)."""

    script: Script
    keys: tuple[str, ...]
    args: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the writer tells the scripts about time and room.

    Attributes:
        ttl_ms: how long a session holds its channel without a write or heartbeat.
        retention_ms: how long a session's keys stay after its last write.
        past_sessions: how many sessions stay besides the newest, 0 for any number.
        past_bytes: how much memory those may take together, 0 for any amount.
        streams: the bound of each stream.
    """

    ttl_ms: int = 30_000
    retention_ms: int = 7 * 24 * 3600 * 1000
    past_sessions: int = 100
    past_bytes: int = 256 * 1024 * 1024
    streams: Mapping[StreamName, Bound] = field(default_factory=lambda: bounds(300.0))


def run_digest(run_id: str | None) -> str:
    """Return what stands in Redis for a run id: whoever knows the run id may join, so it is not stored itself."""
    return hashlib.sha256(run_id.encode("utf-8", "replace")).hexdigest() if run_id else ""


def register(
    channel: str,
    *,
    run_id: str | None,
    name: str,
    limits: Limits,
    info: Mapping[str, str] | None = None,
    takeover: bool = False,
) -> ScriptCall:
    """Take a free channel, join the run's own session, or learn who holds it.

    Args:
        channel: which display.
        run_id: processes that give the same one share a session; None shares with nobody.
        name: the run's name for people.
        limits: TTL and retention.
        info: further text fields of the session (env, algorithm, host …).
        takeover: end another run's session instead of being refused.
    """
    keys = ChannelKeys(channel)
    fields: dict[str, str] = {clean_name(k): clean_text(str(v)) for k, v in (info or {}).items()}
    fields["name"] = clean_name(name)
    for reserved in ("run", "started", "ended", "ended_by"):
        fields.pop(reserved, None)
    return ScriptCall(
        load_script("register"),
        (keys.lock, keys.fence, keys.events, keys.sessions, keys.session_prefix),
        (
            channel, secrets.token_urlsafe(18), run_digest(run_id), limits.ttl_ms, "1" if takeover else "0",
            limits.retention_ms, MAX_EVENTS, limits.past_sessions, limits.past_bytes,
            *(part for pair in fields.items() for part in pair),
        ),
    )  # fmt: skip


def publish(session_id: SessionId, batch: Batch, limits: Limits) -> ScriptCall:
    """Append a batch under the session's lease; a batch without entries is a heartbeat.

    Raises:
        SessionNotActiveError: this cannot be a session id of ours.
    """
    keys = _publish_keys(session_id)
    args: list[Field] = [session_id, limits.ttl_ms, limits.retention_ms, batch.writer, batch.number]
    claim = batch.claim
    args += [env_name(claim.env) if claim else "", "1" if claim and claim.is_preferred else "0", len(batch.entries)]
    for entry in batch.entries:
        bound = limits.streams[entry.stream]
        encoded = entry.encode()
        if isinstance(entry, MetricsEntry):  # of any size, so Redis weighs the stream
            encoded += ["writer", batch.writer]
            longest, most_bytes = bound.entries, bound.stream_bytes
        else:  # pictures of a stream are of one size, so their number bounds its bytes
            longest, most_bytes = bound.max_entries(entry_bytes(entry)), 0
        args += [5 + STREAMS.index(entry.stream), longest, most_bytes, bound.age_ms, len(encoded), *encoded]
    state = encode_state([entry.data for entry in batch.entries if isinstance(entry, MetricsEntry)])
    args.append(len(state))
    for pair in state.items():
        args += pair
    return ScriptCall(load_script("publish"), keys, tuple(args))


@lru_cache(maxsize=16)
def _publish_keys(session_id: SessionId) -> tuple[str, ...]:
    """KEYS of publish.lua, once for each session that writes."""
    channel, sid = _split(session_id)
    keys = ChannelKeys(channel)
    session = keys.session(sid)
    return (
        keys.lock, session.info, session.state, session.seq, *(session.stream(name) for name in STREAMS),
        keys.viewers, keys.reporter, *(key for name in FOLDED for key in (session.past(name), session.piece(name))),
    )  # fmt: skip


def release(session_id: SessionId) -> ScriptCall:
    """Give the channel up, if the session still holds it."""
    channel, _sid = _split(session_id)
    return _release(channel, session_id, "released")


def reset(channel: str) -> ScriptCall:
    """End whatever session holds the channel."""
    return _release(channel, "", "reset")


def watch(channel: str, *, replica: str, viewers: int, lasts_ms: int) -> ScriptCall:
    """Say how many viewers a web replica has; the reply is how many there are over all replicas."""
    return ScriptCall(load_script("watch"), (ChannelKeys(channel).viewers,), (replica, viewers, lasts_ms))


def together(*commands: tuple[Field, ...]) -> ScriptCall:
    """Run commands, each on the key after its name, as one; the reply is a list of theirs, as Redis gives them."""
    keys = tuple(dict.fromkeys(str(command[1]) for command in commands))
    args = tuple(part for command in commands for part in (len(command), *command))
    return ScriptCall(load_script("together"), keys, args)


def _release(channel: str, session_id: str, reason: str) -> ScriptCall:
    keys = ChannelKeys(channel)
    names = (keys.lock, keys.fence, keys.events, keys.session_prefix)
    return ScriptCall(load_script("release"), names, (session_id, reason, MAX_EVENTS))


def _split(session_id: object) -> tuple[str, str]:
    parts = split_session_id(session_id)
    if parts is None:
        raise SessionNotActiveError("Session not active")
    return parts
