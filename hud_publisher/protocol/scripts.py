"""Builds every write as a `ScriptCall`: a value that the synchronous and the asyncio client execute alike.

Owns the Lua files beside it and the order of their KEYS and ARGV. Does no I/O. Called by hud_publisher.sinks.redis_sink
(the sender thread) and by hud_web.store.store (the endpoints); `replies` reads their replies.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import TYPE_CHECKING

from hud_publisher.protocol.configuration import MAX_CONFIG_BYTES, MAX_SECTIONS
from hud_publisher.protocol.entries import (
    STREAMS,
    Field,
    Limits,
    MetricsEntry,
    StreamName,
    entry_bytes,
    env_name,
)
from hud_publisher.protocol.errors import SessionNotActiveError
from hud_publisher.protocol.info import bounded_info
from hud_publisher.protocol.keys import ALERTS, CHANNELS, ChannelKeys, SessionId, split_session_id
from hud_publisher.protocol.names import clean_name
from hud_publisher.protocol.values import encode_state, to_json

if TYPE_CHECKING:
    from hud_publisher.protocol.batch import Batch

#: Session events kept per channel; one is about 120 bytes.
MAX_EVENTS = 1_000
#: Bytes that a session's state may take in Redis; publish.lua has the same number.
MAX_STATE_BYTES = 4 * 1024 * 1024
#: Channels in the index; one is about 100 bytes.
MAX_CHANNELS = 10_000
#: A writer records its channel in the index at most this often: one short call, which costs next to nothing.
TOUCH_S = 30.0
#: Annotations kept per session; one is about 250 bytes.
MAX_ANNOTATIONS = 10_000
#: Bytes of a session's annotations in Redis. One about many fields names them all, so it may be far larger.
MAX_ANNOTATIONS_BYTES = 16 * 1024 * 1024
#: Alerts kept per channel, delivered or not; one is about 500 bytes.
MAX_ALERTS = 1_000
#: The outbox and the progress of its delivery stay this long after their last change: longer than delivery is tried.
ALERTS_TTL_MS = 3 * 24 * 3600 * 1000
#: How long Redis knows in which channel a run continues that found its own held, after the last registration of one of
#: its processes: longer than a run is likely to go without one.
NOTE_MS = 30 * 24 * 3600 * 1000
#: Streams that keep a downsampled history after their entries are trimmed.
DOWNSAMPLED: tuple[StreamName, ...] = ("metrics", "iterations")
#: Scripts that publishers run without a HUD server.
PUBLISHER_SCRIPTS = ("register", "aside", "publish", "release", "touch", "describe")
#: Files of functions that precede a script.
_BEFORE = {
    "publish": ("prelude", "downsample"), "register": ("prelude", "parts", "forget"), "release": ("prelude", "parts"),
    "aside": ("prelude",),
    "describe": ("prelude",), "watch": ("prelude",), "touch": ("prelude",), "lease": ("prelude",),
    "annotate": ("prelude",), "claim_alerts": ("prelude", "lanes"), "settle_alerts": ("prelude", "lanes"),
    "unmark_alerts": ("prelude",), "glance": ("prelude",), "label": ("prelude", "parts"),
    "delete": ("prelude", "parts"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua file and its digest, by which EVALSHA names it."""

    name: str
    source: str
    sha: str


@cache
def load_script(name: str) -> Script:
    """Return the Lua file of this name beside this module, preceded by its files of functions."""
    folder = resources.files(__package__).joinpath("lua")
    parts = (*_BEFORE.get(name, ()), name)
    source = "".join(folder.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in parts)
    return Script(name, source, hashlib.sha1(source.encode("utf-8"), usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """A script with its arguments, ready for EVALSHA (and for EVAL if Redis does not know it yet)."""

    script: Script
    keys: tuple[str, ...]
    args: tuple[Field, ...]


def run_digest(run_id: str | None) -> str:
    """Return the digest of a run id that Redis stores: the run id lets any process join, so it stays secret.

    Not one of OpenSSL's digests, whose locks a fork may leave locked in the child.
    """
    return hashlib.blake2b(run_id.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest() if run_id else ""


def register(
    channel: str,
    *,
    run_id: str | None,
    name: str,
    limits: Limits,
    info: Mapping[str, str] | None = None,
    roles: Mapping[str, str] | None = None,
    takeover: bool = False,
    continues_only: bool = False,
) -> ScriptCall:
    """Take a free channel, join the session of the run, or report the holder.

    Args:
        channel: the display.
        run_id: processes with the same run id share a session; None: this process shares with no other.
        name: the run's name for people.
        limits: TTL and retention.
        info: further text fields of the session (env, algorithm, host …), at most info.MAX_INFO_FIELDS.
        roles: role → path of the field that plays it, as the user decided.
        takeover: end another run's session instead of being refused.
        continues_only: join or continue the run's own session, and begin none.
    """
    keys = ChannelKeys(channel)
    digest = run_digest(run_id)
    return ScriptCall(
        load_script("register"),
        (keys.lock, keys.fence, keys.events, keys.sessions, keys.session_prefix, keys.aside(digest)),
        (
            channel, secrets.token_urlsafe(18), digest, limits.ttl_ms, "1" if takeover else "0",
            limits.retention_ms, MAX_EVENTS, limits.past_sessions, limits.past_bytes, clean_name(name),
            to_json(bounded_info(info or {})), to_json(dict(roles or {})), "1" if continues_only else "0", NOTE_MS,
        ),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterCalls:
    """The calls of one process that registers; `registration.register` puts them in order.

    Attributes:
        channel: that the run asks for; for the others see `register`.
    """

    channel: str
    run_id: str | None
    name: str
    limits: Limits
    info: Mapping[str, str]
    roles: Mapping[str, str]

    def take(self, channel: str | None = None, *, takeover: bool = False, continues_only: bool = False) -> ScriptCall:
        """Take a channel, or join; see `register`."""
        return register(
            channel or self.channel, run_id=self.run_id, name=self.name, limits=self.limits, info=self.info,
            roles=self.roles, takeover=takeover, continues_only=continues_only,
        )  # fmt: skip

    def note(self, *, number: int | None = None, ended: int | None = None) -> ScriptCall:
        """Note the number of the run's own channel; see `note_aside`."""
        return note_aside(self.channel, run_id=self.run_id, number=number, ended=ended)

    def release(self, session_id: str) -> ScriptCall:
        """Give a channel up again."""
        return release(SessionId(session_id))


def note_aside(channel: str, *, run_id: str | None, number: int | None = None, ended: int | None = None) -> ScriptCall:
    """Note the number of the channel in which a run continues that found `channel` held; see aside.lua for the reply.

    Args:
        channel: the channel that the run asked for.
        run_id: of the run.
        number: of its own channel; None: none is noted.
        ended: a number that is forgotten, since the run's session there has ended.
    """
    key = ChannelKeys(channel).aside(run_digest(run_id))
    return ScriptCall(load_script("aside"), (key,), (number or "", ended or "", NOTE_MS))


def publish(session_id: SessionId, batch: Batch, limits: Limits) -> ScriptCall:
    """Append a batch under the session's lease; a batch without entries is a heartbeat.

    Raises:
        SessionNotActiveError: the text cannot be a session id.
    """
    keys = _publish_keys(session_id)
    args: list[Field] = [session_id, limits.ttl_ms, limits.retention_ms, batch.writer, batch.number]
    claim = batch.claim
    args += [env_name(claim.env) if claim else "", "1" if claim and claim.is_preferred else "0"]
    args += ["1" if batch.is_main else "0", len(batch.entries)]
    state = encode_state([one.data for one in batch.entries if isinstance(one, MetricsEntry) and one.is_merged])
    args.append(len(state))
    for pair in state.items():
        args += pair
    for entry in batch.entries:
        bound = limits.streams[entry.stream]
        encoded = entry.encode()
        if isinstance(entry, MetricsEntry):  # of any size, so Redis weighs the stream
            encoded += ["writer", batch.writer]
            longest, most_bytes = bound.entries, bound.stream_bytes
        else:  # pictures of a stream are of one size, so their number bounds its bytes
            longest, most_bytes = bound.max_entries(entry_bytes(entry)), 0
        args += [5 + STREAMS.index(entry.stream), longest, most_bytes, bound.age_ms, len(encoded), *encoded]
    return ScriptCall(load_script("publish"), keys, tuple(args))


@lru_cache(maxsize=16)
def _publish_keys(session_id: SessionId) -> tuple[str, ...]:
    """Return the KEYS of publish.lua; cached for each session that writes."""
    channel, sid = _split(session_id)
    keys = ChannelKeys(channel)
    session = keys.session(sid)
    history = (key for name in DOWNSAMPLED for key in (session.past(name), session.piece(name)))
    return (
        keys.lock, session.info, session.state, session.seq, *(session.stream(name) for name in STREAMS),
        keys.viewers, keys.reporter, *history, keys.events, keys.sessions, session.config,
    )  # fmt: skip


def describe(
    session_id: SessionId, sections: Mapping[str, str], limits: Limits, *, replaces: bool = True
) -> ScriptCall:
    """Store sections of a run's configuration.

    Args:
        session_id: of the run's session.
        sections: name → JSON, from configuration.encode_sections.
        limits: TTL and retention.
        replaces: whether sections that are stored already are replaced.

    Raises:
        SessionNotActiveError: the text cannot be a session id.
    """
    channel, sid = _split(session_id)
    keys = ChannelKeys(channel)
    parts = [part for section in sections.items() for part in section]
    head = (session_id, limits.ttl_ms, limits.retention_ms, "1" if replaces else "0", MAX_SECTIONS)
    # The server may encode a section that a client sent in a few more bytes than the client did.
    most_bytes = MAX_CONFIG_BYTES + 1024
    return ScriptCall(load_script("describe"), (keys.lock, keys.session(sid).config), (*head, most_bytes, *parts))


def release(session_id: SessionId) -> ScriptCall:
    """Give the channel up, if the session still holds it."""
    channel, _sid = _split(session_id)
    return _release(channel, session_id, "released")


def reset(channel: str) -> ScriptCall:
    """End the session that holds the channel."""
    return _release(channel, "", "reset")


def watch(channel: str, *, replica: str, viewers: int, lasts_ms: int) -> ScriptCall:
    """Store the number of viewers of a web replica; the reply is the number over all replicas."""
    return ScriptCall(load_script("watch"), (ChannelKeys(channel).viewers,), (replica, viewers, lasts_ms))


def marks(channel: str, sid: str, seen: Mapping[str, str]) -> ScriptCall:
    """Query which of a reader's entries the keys of a session still hold.

    Args:
        channel: the display.
        sid: the session.
        seen: name of a stream, or "events" → id of the newest entry read.
    """
    keys = ChannelKeys(channel)
    session = keys.session(sid)
    streams = (keys.events if name == "events" else session.stream(name) for name in seen)
    return ScriptCall(load_script("marks"), (session.info, session.state, *streams), tuple(seen.values()))


def glance(
    channel: str, sid: str, *, verdict: str, labels: str, frame: str, most_frame_bytes: int, fields: Sequence[bytes]
) -> ScriptCall:
    """Read the values of a session for the wall; see glance.lua for the reply.

    Args:
        channel: the display.
        sid: the session.
        verdict: version of the verdict that the reader knows.
        labels: time of the labels that it knows.
        frame: id of the newest frame that it has; "-" if it wants none.
        most_frame_bytes: a larger frame is not read.
        fields: names in the state.
    """
    keys = ChannelKeys(channel)
    session = keys.session(sid)
    streams = (session.stream(name) for name in ("metrics", "iterations", "frames"))
    names = (keys.lock, session.info, session.state, session.monitor, *streams)
    return ScriptCall(load_script("glance"), names, (sid, verdict, labels, frame, most_frame_bytes, *fields))


def label(channel: str, sid: str, fields: Mapping[str, str], limits: Limits) -> ScriptCall:
    """Store tags (a JSON list), note and pinned ("1" or "") of a session, those that `fields` has."""
    keys = ChannelKeys(channel)
    parts = [part for field in fields.items() for part in field]
    return ScriptCall(load_script("label"), (keys.lock, keys.session(sid).info), (sid, limits.retention_ms, *parts))


def delete(channel: str, sid: str) -> ScriptCall:
    """Remove a session that does not hold its channel."""
    keys = ChannelKeys(channel)
    return ScriptCall(load_script("delete"), (keys.lock, keys.sessions, keys.session(sid).info), (sid,))


def touch(channel: str, limits: Limits) -> ScriptCall:
    """Record in the index of channels that this one is in use."""
    return ScriptCall(load_script("touch"), (CHANNELS,), (channel, limits.retention_ms, MAX_CHANNELS))


def lease(channel: str, token: str, ttl_ms: int) -> ScriptCall:
    """Take or renew the lease of a channel's monitor; see lease.lua for the reply."""
    keys = ChannelKeys(channel)
    return ScriptCall(load_script("lease"), (keys.monitor, keys.fence, keys.lock), (token, ttl_ms))


def annotate(
    channel: str, sid: str, *, token: str, version: int, memory: str, rhythm: str, not_finite: str,
    verdict: str, annotations: Sequence[Sequence[str]], alerts: Sequence[Sequence[str]] = (),
) -> ScriptCall:  # fmt: skip
    """Append annotations and alerts and save the monitor's memory, if the lease and the version are still ours.

    Args:
        channel: the display.
        sid: of the session that the annotations belong to.
        token: of the replica that holds the monitor's lease.
        version: that the saved memory has, 0 for none.
        memory: JSON that replaces it.
        rhythm: JSON limits beyond which pages show the run as stalled or hung.
        not_finite: JSON of the fields that are NaN or infinite now.
        verdict: JSON of the run's verdict in words, or null.
        annotations: the fields of each, names and values in turn.
        alerts: the fields of each, names and values in turn.
    """
    keys = ChannelKeys(channel)
    session = keys.session(sid)
    parts: list[Field] = []
    for fields in annotations:
        parts += (len(fields), *fields)
    parts += (ALERTS_TTL_MS, MAX_ALERTS, len(alerts))
    for fields in alerts:
        parts += (len(fields), *fields)
    args: list[Field] = [token, version, memory, rhythm, not_finite, verdict, MAX_ANNOTATIONS, MAX_ANNOTATIONS_BYTES]
    names = (keys.monitor, session.monitor, session.annotations, session.info, keys.alerts)
    return ScriptCall(load_script("annotate"), names, (*args, len(annotations), *parts))


def claim_alerts(channel: str, lane: str, *, token: str, attempt: str, lasts_ms: int) -> ScriptCall:
    """Claim a lane of a channel's alerts for one attempt of delivery; see claim_alerts.lua for the reply.

    Args:
        channel: the display.
        lane: the alerts of one target and urgency.
        token: of the replica that holds the monitor's lease.
        attempt: a new secret of this attempt.
        lasts_ms: after this time another attempt may begin.
    """
    keys = ChannelKeys(channel)
    args = (lane, token, attempt, lasts_ms, ALERTS_TTL_MS)
    return ScriptCall(load_script("claim_alerts"), (keys.monitor, keys.delivered), args)


def settle_alerts(channel: str, lane: str, *, attempt: str, position: str, delay_ms: int = 0) -> ScriptCall:
    """End an attempt.

    Args:
        channel: the display.
        lane: that was claimed.
        attempt: that claimed it.
        position: id of the newest delivered alert; START after a failure.
        delay_ms: time until the next attempt.
    """
    keys = ChannelKeys(channel)
    args = (lane, attempt, position, delay_ms, ALERTS_TTL_MS)
    return ScriptCall(load_script("settle_alerts"), (keys.delivered,), args)


def unmark_alerts(channel: str, at_ms: int) -> ScriptCall:
    """Remove a channel without alerts to deliver from their index, if its newest alert is still from `at_ms`."""
    return ScriptCall(load_script("unmark_alerts"), (ALERTS,), (channel, at_ms))


def multi_read(*commands: tuple[Field, ...]) -> ScriptCall:
    """Run commands atomically, each on the key after its name; the reply is a list of their raw replies."""
    keys = tuple(dict.fromkeys(str(command[1]) for command in commands))
    args = tuple(part for command in commands for part in (len(command), *command))
    return ScriptCall(load_script("multi_read"), keys, args)


def _release(channel: str, session_id: str, reason: str) -> ScriptCall:
    keys = ChannelKeys(channel)
    names = (keys.lock, keys.fence, keys.events, keys.session_prefix)
    return ScriptCall(load_script("release"), names, (session_id, reason, MAX_EVENTS))


def _split(session_id: object) -> tuple[str, str]:
    parts = split_session_id(session_id)
    if parts is None:
        raise SessionNotActiveError("Session not active")
    return parts
