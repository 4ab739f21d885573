"""Sessions and channels in the form for viewers, read from their hashes in Redis."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from hud_publisher.protocol.entries import EntryId, StreamName, parse_env
from hud_publisher.protocol.info import clean_info, decode_info
from hud_publisher.protocol.keys import Sid, split_session_id
from hud_publisher.protocol.replies import text
from hud_publisher.protocol.stored import read_int, read_value

Fields = dict[bytes, bytes]
StreamEntry = tuple[EntryId, Fields]
SessionStatus = Literal["live", "lapsed", "ended", "taken over", "waiting"]


@dataclass(frozen=True, slots=True)
class SessionView:
    """The description of a session that viewers get; `sid` is None if the channel never had one."""

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
    chosen_roles: dict[str, str] = field(default_factory=dict)
    rhythm: dict[str, Any] | None = None
    not_finite: dict[str, Any] = field(default_factory=dict)
    verdict: dict[str, Any] | None = None

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
    """All data of a session at one moment, read atomically.

    Attributes:
        session: its description.
        state: newest value of every field, nested.
        newest: the newest entry of each stream that has one.
        events: id of the channel's newest session event.
    """

    session: SessionView
    state: dict[str, Any]
    newest: dict[StreamName, StreamEntry]
    events: EntryId


@dataclass(frozen=True, slots=True)
class ChannelView:
    """A channel of the index, with its newest session."""

    name: str
    last_activity_ms: int
    session: SessionView

    def describe(self) -> dict[str, Any]:
        """Return an item of `/api/channels`."""
        session = self.session
        about = {
            "sid": session.sid, "name": session.name, "status": session.status, "started_ms": session.started_ms,
            "ended_ms": session.ended_ms,
        }  # fmt: skip
        return {
            "name": self.name, "active": session.status == "live", "last_activity_ms": self.last_activity_ms,
            "session": about if session.started_ms is not None else None,
            "verdict": in_short(session.verdict),
        }  # fmt: skip


def view_of(
    channel: str, sid: Sid, info: Fields, lock: bytes | None, ttl_ms: int | None, judged: Any = None
) -> SessionView:
    """Return the view of a session.

    Args:
        channel: of the session.
        sid: the session.
        info: the session's hash.
        lock: the channel's lock; None if nobody holds it.
        ttl_ms: of the lock.
        judged: the monitor's `rhythm`, `not_finite` and `verdict`.
    """
    rhythm, not_finite, verdict = map(read_mapping, judged or (None, None, None))
    parts = split_session_id(text(lock)) if lock else None
    is_holder = parts is not None and parts[1] == sid
    plain = {text(name): text(value) for name, value in info.items()}
    status = status_of(plain.get("ended_by"), is_holder=is_holder, has_ended=bool(plain.get("ended")))
    return SessionView(
        channel, sid, status, plain.get("name", ""), read_int(info, b"started"), read_int(info, b"ended"),
        plain.get("ended_by"), max(0, ttl_ms or 0) if is_holder else None, parse_env(plain.get("shown")),
        decode_info(plain), clean_info(read_mapping(info.get(b"roles"))), rhythm or None,
        {path: since for path, since in not_finite.items() if isinstance(since, dict)}, verdict or None,
    )  # fmt: skip


def status_of(ended_by: str | None, *, is_holder: bool, has_ended: bool) -> SessionStatus:
    """Return the status of a session that exists: whether it holds its channel's lock, and how it ended."""
    if is_holder:
        return "live"
    if ended_by == "taken over":
        return "taken over"
    return "ended" if has_ended else "lapsed"


def in_short(verdict: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the parts of a verdict that lists of runs show; None if there is none."""
    return {name: verdict.get(name) for name in ("level", "text")} if verdict else None


def read_mapping(stored: object) -> dict[str, Any]:
    """Return a JSON object from Redis, or one that was read already; an empty one for anything else."""
    found = read_value(stored) if isinstance(stored, bytes) else stored
    return found if isinstance(found, dict) else {}
