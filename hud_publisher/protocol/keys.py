"""The names of all Redis keys. Every key of a channel shares one hash tag, so its scripts run on Redis Cluster.

Owns the spelling of keys, channel names and session ids. Refuses names that would not survive a URL or a key. Called by
`scripts` and by the web tier's readers.
"""

from __future__ import annotations

import re
from typing import NewType

from hud_publisher.protocol.errors import ConfigError, MalformedError

#: The secret that writes carry: `{channel}.{fence}.{secret}`. It contains the channel and the session, so a stateless
#: web replica derives the keys from it.
SessionId = NewType("SessionId", str)
#: The fence of a session in decimal: the session's public name.
Sid = NewType("Sid", str)

#: A user's name for a channel, and `~2`, `~3` … if the channel was held and the run has one of its own.
_CHANNEL_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}(?:~[1-9][0-9]{0,3})?"
_CHANNEL = re.compile(_CHANNEL_PATTERN)
_SESSION_ID = re.compile(rf"({_CHANNEL_PATTERN})\.([0-9]{{1,16}})\.[A-Za-z0-9_\-]{{16,64}}")
_SID = re.compile(r"[0-9]{1,16}")

DEFAULT_CHANNEL = "default"
#: Index of all channels: a ZSET, channel → time of its last activity in ms.
CHANNELS = "hud:channels"
#: Address of the page, by which publishers name the link of their display: a STRING with a TTL, which servers renew.
PAGE = "hud:page"
#: Index of the channels with alerts to deliver: a ZSET, channel → time of its newest alert in ms.
ALERTS = "hud:alerts"
#: Stream of the sessions that people labelled or deleted: channel, sid. By it each replica's index of runs stays right.
CHANGES = "hud:changes"


def check_channel(channel: str) -> str:
    """Return the channel's name, or raise ConfigError if it is not 1–64 letters, digits, `_`, `.` or `-`."""
    if not isinstance(channel, str) or not _CHANNEL.fullmatch(channel):
        raise ConfigError(
            f"expected a channel name of 1 to 64 letters, digits, '_', '.' or '-', got {str(channel)[:80]!r}: rename it"
        )
    return channel


def is_channel(name: str) -> bool:
    """Return whether a channel may have this name."""
    return bool(_CHANNEL.fullmatch(name))


def aside_channel(channel: str, number: int) -> str:
    """Return the name of an own channel, `NAME~2` or higher, for a run that found the channel held."""
    return f"{channel.partition('~')[0]}~{number}"


def is_sid(sid: str) -> bool:
    """Return whether a session may have this public name."""
    return bool(_SID.fullmatch(sid))


def check_sid(sid: str) -> Sid:
    """Return the public session name, or raise MalformedError if it is not a decimal number."""
    if not isinstance(sid, str) or not _SID.fullmatch(sid):
        raise MalformedError(f"expected a session number, got {str(sid)[:80]!r}: take one from /api/sessions")
    return Sid(sid)


def split_session_id(session_id: object) -> tuple[str, Sid] | None:
    """Return (channel, SID) of a session id, or None if it cannot be one of ours."""
    match = _SESSION_ID.fullmatch(session_id) if isinstance(session_id, str) else None
    return (match[1], Sid(match[2])) if match else None


class SessionKeys:
    """The keys of one session: the hash `info`, whose name the names of the others extend.

    Attributes:
        annotations: the stream of run events that the monitor writes.
        monitor: the hash of the monitor's position and memory.
        config: the hash of the run's configuration, section → JSON.
    """

    def __init__(self, info: str) -> None:
        self.info = info
        self.state = f"{info}:state"
        self.seq = f"{info}:seq"
        self.annotations = f"{info}:annotations"
        self.monitor = f"{info}:monitor"
        self.config = f"{info}:config"

    def stream(self, name: str) -> str:
        """The key of one of `entries.STREAMS`."""
        return f"{self.info}:{name}"

    def past(self, name: str) -> str:
        """The key of the downsampled history of a stream: a stream of pieces (downsample.lua)."""
        return f"{self.info}:{name}:past"

    def piece(self, name: str) -> str:
        """The key of the unfinished piece."""
        return f"{self.info}:{name}:piece"


class ChannelKeys:
    """The keys of one channel.

    Attributes:
        monitor: the lease of the replica that monitors the channel.
        alerts: the stream of alerts to be delivered.
        delivered: the hash of the progress of their delivery.
        session_prefix: the prefix of a session's keys; the scripts add the fence that they choose.
    """

    def __init__(self, channel: str) -> None:
        self.channel = check_channel(channel)
        prefix = f"hud:{{{channel}}}:"
        self.lock = f"{prefix}lock"
        self.fence = f"{prefix}fence"
        self.events = f"{prefix}events"
        self.sessions = f"{prefix}sessions"
        self.viewers = f"{prefix}viewers"
        self.reporter = f"{prefix}reporter"
        self.monitor = f"{prefix}monitor"
        self.alerts = f"{prefix}alerts"
        self.delivered = f"{prefix}alerts:delivered"
        self.session_prefix = f"{prefix}s:"

    def aside(self, run: str) -> str:
        """The key of the number of the channel in which a run continues that found this one held; `run` is a digest."""
        return f"hud:{{{self.channel}}}:aside:{run}"

    def session(self, sid: str) -> SessionKeys:
        return SessionKeys(self.session_prefix + sid)
