"""The names of all Redis keys. Every key of a channel shares one hash tag, so its scripts run on Redis Cluster.

Owns the spelling of keys, channel names and session ids. Refuses names that would not survive a URL or a key. Called by
`scripts` and by the web tier's readers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NewType

from hud_publisher.protocol.errors import ConfigError, MalformedError

#: The secret that writes carry: `{channel}.{fence}.{secret}`. It names its own channel and session, so a stateless
#: web replica finds the keys without asking anybody.
SessionId = NewType("SessionId", str)
#: The fence of a session in decimal: the session's public name.
Sid = NewType("Sid", str)

_CHANNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")
_SESSION_ID = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.\-]{0,63})\.([0-9]{1,16})\.[A-Za-z0-9_\-]{16,64}")
_SID = re.compile(r"[0-9]{1,16}")

DEFAULT_CHANNEL = "default"


def check_channel(channel: str) -> str:
    """Return the channel's name, or raise ConfigError if it is not 1–64 letters, digits, `_`, `.` or `-`."""
    if not isinstance(channel, str) or not _CHANNEL.fullmatch(channel):
        raise ConfigError(
            f"expected a channel name of 1 to 64 letters, digits, '_', '.' or '-', got {str(channel)[:80]!r}: rename it"
        )
    return channel


def check_sid(sid: str) -> Sid:
    """Return the public session name, or raise MalformedError if it is not a decimal number."""
    if not isinstance(sid, str) or not _SID.fullmatch(sid):
        raise MalformedError(f"expected a session number, got {str(sid)[:80]!r}: take one from /api/sessions")
    return Sid(sid)


def split_session_id(session_id: object) -> tuple[str, Sid] | None:
    """Return (channel, SID) of a session id, or None if it cannot be one of ours."""
    match = _SESSION_ID.fullmatch(session_id) if isinstance(session_id, str) else None
    return (match[1], Sid(match[2])) if match else None


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """The keys of one session; `info` is the hash that the others' names extend."""

    info: str

    @property
    def state(self) -> str:
        return f"{self.info}:state"

    @property
    def seq(self) -> str:
        return f"{self.info}:seq"

    def stream(self, name: str) -> str:
        """The key of one of `entries.STREAMS`."""
        return f"{self.info}:{name}"

    def past(self, name: str) -> str:
        """The key of what stays of a stream whose entries have gone: a stream of pieces (fold.lua)."""
        return f"{self.info}:{name}:past"

    def piece(self, name: str) -> str:
        """The key of the piece in the making."""
        return f"{self.info}:{name}:piece"


@dataclass(frozen=True, slots=True)
class ChannelKeys:
    """The keys of one channel."""

    channel: str

    def __post_init__(self) -> None:
        check_channel(self.channel)

    def _key(self, name: str) -> str:
        return f"hud:{{{self.channel}}}:{name}"

    @property
    def lock(self) -> str:
        return self._key("lock")

    @property
    def fence(self) -> str:
        return self._key("fence")

    @property
    def events(self) -> str:
        return self._key("events")

    @property
    def sessions(self) -> str:
        return self._key("sessions")

    @property
    def viewers(self) -> str:
        return self._key("viewers")

    @property
    def reporter(self) -> str:
        return self._key("reporter")

    @property
    def session_prefix(self) -> str:
        """What a session's keys begin with; the scripts add the fence that they choose."""
        return self._key("s:")

    def session(self, sid: str) -> SessionKeys:
        return SessionKeys(self.session_prefix + sid)
