"""The settings: one frozen object per process, read once from the environment at the edge.

Nothing else reads the environment. docs/settings.md lists every variable, and a test holds the two together.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from hud_publisher.protocol.entries import STREAMS, StreamName, bounds
from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.keys import DEFAULT_CHANNEL, check_channel
from hud_publisher.protocol.scripts import Limits

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)?", re.IGNORECASE)
_AMOUNT = re.compile(r"(\d{1,12})\s*(sessions?|entry|entries|kb|mb|gb)", re.IGNORECASE)
_UNIT_BYTES = {"kb": 1024, "mb": 1024**2, "gb": 1024**3}
_UNIT_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_HOST = re.compile(
    r"\[([0-9a-f:.]+)\](?::\d+)?|([0-9a-f.]*:[0-9a-f.]*:[0-9a-f:.]*)|(\*|(?:\*\.)?[\w.-]+)(?::\d+)?",
    re.IGNORECASE | re.ASCII,
)
_LEVELS = ("critical", "error", "warning", "info", "debug")
_REDIS_SCHEMES = (
    "redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Retention:
    """How long and how much is kept, per channel; written as `7d`, or `7d,100sessions,256mb` in any order.

    `vision:500entries,metrics:64mb,frames:10m` among them change the bounds of a session's streams.

    Attributes:
        age_s: how long a session is kept after its last write, in seconds.
        sessions: past sessions that are kept besides the newest, 0 for any number.
        stored_bytes: memory that they may take together, 0 for any amount. Pictures go before numbers.
        streams: (stream, attribute of its Bound, value) of each bound that is not the default.
    """

    age_s: float = 7 * 86400.0
    sessions: int = 100
    stored_bytes: int = 256 * 1024 * 1024
    streams: tuple[tuple[StreamName, str, int], ...] = ()


def _variable(name: str, default: Any = None, *, secret: bool = False) -> Any:
    return field(default=default, repr=not secret, metadata={"variable": name})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that the environment decides.

    Attributes:
        redis_url: where Redis is; hidden in the repr, since it may hold a password.
        hud_url: where a HUD server is, for training that reaches no Redis.
        channel: which display.
        run_id: processes with the same one share a session; a secret of the run.
        token: bearer tokens that allow writing, separated by commas; None: writing needs none.
        session_ttl_s: how long a session lasts without a write or heartbeat, in seconds.
        worker_index: which env runner is the reporter; the first remote one is 1.
        env_id: which env of that runner, from 0.
        fps: most frames per second sent.
        jpeg_quality: 1 to 95.
        frame_format: "jpeg", or "auto" for lossless where that is smaller.
        frames: send frames while somebody watches, "always", or never ("off").
        helper: "auto": the env runner that is shown has a process that encodes and sends; or "off": a thread does.
        frame_history_s: how long frames are kept for rewinding, in seconds.
        retention: how long a session is kept after its last write, and how many and how much of past ones.
        host: address that the web tier listens on.
        port: its port.
        view_port: a second port on which one can look and never write; None: there is none.
        insecure: listen beyond loopback although no token is set.
        view_token: tokens that allow looking, separated by commas; None: everybody may look.
        allowed_hosts: values of the Host header that are answered; none: on loopback its names, elsewhere any.
        cors_origins: origins of other pages that may read from this server; none: no other page.
        trusted_proxies: addresses whose X-Forwarded-For and X-Forwarded-Proto are believed; "*" for any.
        streams_per_address: streams that one address may hold at once; 0 for any number.
        log_level: of the `hud` commands.
        log_format: "text" for people, "json" for a log store.
    """

    redis_url: str | None = _variable("REDIS_URL", secret=True)
    hud_url: str | None = _variable("HUD_URL", secret=True)
    channel: str = _variable("HUD_CHANNEL", DEFAULT_CHANNEL)
    run_id: str | None = _variable("HUD_RUN_ID", secret=True)
    token: str | None = _variable("HUD_TOKEN", secret=True)
    session_ttl_s: float = _variable("HUD_SESSION_TTL", 30.0)
    worker_index: int = _variable("HUD_WORKER_INDEX", 1)
    env_id: int = _variable("HUD_ENV_ID", 0)
    fps: float = _variable("HUD_FPS", 20.0)
    jpeg_quality: int = _variable("HUD_JPEG_QUALITY", 75)
    frame_format: Literal["jpeg", "auto"] = _variable("HUD_FRAME_FORMAT", "jpeg")
    frames: Literal["watched", "always", "off"] = _variable("HUD_FRAMES", "watched")
    helper: Literal["auto", "off"] = _variable("HUD_HELPER", "auto")
    frame_history_s: float = _variable("HUD_FRAME_HISTORY_S", 300.0)
    retention: Retention = _variable("HUD_RETENTION", Retention())  # noqa: RUF009  # it is frozen
    host: str = _variable("HUD_HOST", "127.0.0.1")
    port: int = _variable("HUD_PORT", 8086)
    view_port: int | None = _variable("HUD_VIEW_PORT")
    insecure: bool = _variable("HUD_INSECURE", False)
    view_token: str | None = _variable("HUD_VIEW_TOKEN", secret=True)
    allowed_hosts: tuple[str, ...] = _variable("HUD_ALLOWED_HOSTS", ())
    cors_origins: tuple[str, ...] = _variable("HUD_CORS_ORIGINS", ())
    trusted_proxies: tuple[str, ...] = _variable("HUD_TRUSTED_PROXIES", ("127.0.0.1", "::1"))
    streams_per_address: int = _variable("HUD_STREAMS_PER_ADDRESS", 0)
    log_level: str = _variable("HUD_LOG_LEVEL", "info")
    log_format: Literal["text", "json"] = _variable("HUD_LOG_FORMAT", "text")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Read the settings; `overrides` that are not None go before the environment.

        Args:
            environ: instead of the process's environment.
            **overrides: attributes by name, as text or as values.

        Raises:
            ConfigError: it names every mistake at once, each with what was expected.
        """
        source = os.environ if environ is None else environ
        raw: dict[str, Any] = {}
        for item in fields(cls):
            value = overrides.get(item.name)
            if value is None:
                value = source.get(item.metadata["variable"])
            if value is not None and value != "":
                raw[item.name] = value.strip() if isinstance(value, str) else value
        unknown = overrides.keys() - {item.name for item in fields(cls)}
        if unknown:
            raise ConfigError(f"expected settings of docs/settings.md, got {', '.join(sorted(unknown))}")
        return cls(**_parse_all(raw))

    @property
    def tokens(self) -> tuple[str, ...]:
        """The tokens that allow writing; two at a time make a rotation without a gap."""
        return _list(self.token or "")

    @property
    def view_tokens(self) -> tuple[str, ...]:
        """The tokens that allow looking."""
        return _list(self.view_token or "")

    @property
    def is_loopback(self) -> bool:
        """Whether the web tier listens on this machine's own address only."""
        return self.host in ("127.0.0.1", "localhost", "::1")

    @property
    def limits(self) -> Limits:
        """What the scripts are told about time and room."""
        kept = self.retention
        streams = bounds(self.frame_history_s)
        for name, attribute, value in kept.streams:
            streams[name] = replace(streams[name], **{attribute: value})
        return Limits(int(self.session_ttl_s * 1000), int(kept.age_s * 1000), kept.sessions, kept.stored_bytes, streams)


def _list(value: object) -> tuple[str, ...]:
    parts = value if isinstance(value, (list, tuple)) else str(value).split(",")
    return tuple(part.strip() for part in parts if part.strip())


def _tokens(value: object) -> str:
    """The setting as it is, if it is one: an empty one must not open what somebody meant to close."""
    tokens = _list(value)
    if not tokens or not all(token.isascii() and token.isprintable() for token in tokens):
        raise ValueError("expected one token or, separated by a comma, two, of printable ASCII; got something else")
    return str(value)


def _hosts(value: object) -> tuple[str, ...]:
    if isinstance(value, tuple):  # read before, as are all settings that others are laid over
        return value
    hosts = tuple(_host(host) for host in _list(value))
    if not hosts:
        raise ValueError("expected names such as hud.example.org, got none")
    return hosts


def _host(text: str) -> str:
    """A name as Host headers are compared with it: a port says nothing, an IPv6 address stands without brackets."""
    match = _HOST.fullmatch(text)
    if match is None:
        raise ValueError(f"expected names such as hud.example.org or *.example.org, got {text[:80]!r}")
    return next(part for part in match.groups() if part).lower().removesuffix(".")


def _flag(value: object) -> bool:
    text = str(value).lower()
    if text not in ("1", "0", "true", "false", "yes", "no", "on", "off"):
        raise ValueError(f"expected 1 or 0, got {str(value)[:40]!r}")
    return text in ("1", "true", "yes", "on")


def _origins(value: object) -> tuple[str, ...]:
    origins = _list(value)
    for origin in origins:
        if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+", origin):
            raise ValueError(f"expected origins such as https://wiki.example.org, got {origin[:80]!r}")
    return origins


def _parse_all(raw: Mapping[str, Any]) -> dict[str, Any]:
    variables = {item.name: item.metadata["variable"] for item in fields(Settings)}
    parsed: dict[str, Any] = {}
    mistakes: list[str] = []
    for name, value in raw.items():
        try:
            parsed[name] = _PARSERS.get(name, str)(value)
        except (ValueError, TypeError, ConfigError) as error:
            mistakes.append(f"{variables[name]}: {error}")
    if mistakes:
        raise ConfigError("; ".join(mistakes))
    return parsed


def _number(kind: type[int] | type[float], least: float, most: float) -> Any:
    word = "a whole number" if kind is int else "a number"

    def parse(value: object) -> float:
        try:
            number = kind(value)  # type: ignore[call-overload, arg-type]
        except (ValueError, TypeError):
            number = None
        if number is None or not least <= number <= most:
            raise ValueError(f"expected {word} from {least:g} to {most:g}, got {str(value)[:40]!r}")
        return number

    return parse


def _choice(*choices: str) -> Any:
    def parse(value: object) -> str:
        text = str(value).lower()
        if text not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}, got {str(value)[:40]!r}")
        return text

    return parse


def _seconds(least: float, most: float) -> Any:
    def parse(value: object) -> float:
        match = _DURATION.fullmatch(str(value))
        seconds = float(match[1]) * _UNIT_S[(match[2] or "").lower()] if match else -1.0
        if not least <= seconds <= most:
            raise ValueError(
                f"expected {least:g} s to {most:g} s, written as 30, 45s, 10m, 12h or 7d, got {str(value)[:40]!r}"
            )
        return seconds

    return parse


def _retention(value: object) -> Retention:
    if isinstance(value, Retention):
        return value
    parts: dict[str, Any] = {}
    streams: dict[tuple[StreamName, str], int] = {}
    for part in str(value).split(","):
        stream, is_of_stream, limit = part.strip().rpartition(":")
        name, parsed = _stream_limit(stream.strip(), limit) if is_of_stream else _session_limit(limit)
        known: Any = streams if is_of_stream else parts
        if name in known:
            raise ValueError(f"expected each age, number and size once, got {str(value)[:40]!r}")
        known[name] = parsed
    return Retention(**parts, streams=tuple((*where, limit) for where, limit in streams.items()))


def _session_limit(text: str) -> tuple[str, Any]:
    amount = _AMOUNT.fullmatch(text.strip())
    unit = amount[2].lower() if amount else ""
    if amount and unit.startswith("session"):
        return "sessions", int(amount[1])
    if amount and unit in _UNIT_BYTES:
        return "stored_bytes", int(amount[1]) * _UNIT_BYTES[unit]
    return "age_s", _seconds(60, 3650 * 86400)(text.strip())


def _stream_limit(stream: str, text: str) -> tuple[tuple[StreamName, str], int]:
    if stream not in STREAMS:
        raise ValueError(f"expected one of {', '.join(STREAMS)} before ':', got {stream[:40]!r}")
    amount = _AMOUNT.fullmatch(text.strip())
    unit = amount[2].lower() if amount else ""
    if amount and unit.startswith("entr"):
        return (stream, "entries"), int(_number(int, 1, 10**9)(amount[1]))
    if amount and unit in _UNIT_BYTES:
        return (stream, "stream_bytes"), int(amount[1]) * _UNIT_BYTES[unit]
    return (stream, "age_ms"), int(_seconds(1, 3650 * 86400)(text.strip()) * 1000)


def _url(schemes: tuple[str, ...], example: str) -> Any:
    def parse(value: object) -> str:
        text = str(value)
        try:
            parts = urlsplit(text)
            valid = parts.scheme in schemes and bool(parts.path if parts.scheme == "unix" else parts.netloc)
            if valid and "," not in parts.netloc:  # sentinel and cluster forms list several hosts
                _ = parts.port
        except ValueError:
            valid = False
        if not valid:  # the value itself stays out of the message: it may hold a password
            raise ValueError(f"expected a URL such as {example} ({', '.join(schemes)}), got something else")
        return text

    return parse


_PARSERS: dict[str, Any] = {
    "redis_url": _url(_REDIS_SCHEMES, "redis://host:6379/0"),
    "hud_url": _url(("http", "https"), "http://host:8086"),
    "channel": check_channel,
    "session_ttl_s": _seconds(1, 86400),
    "worker_index": _number(int, 0, 1_000_000),
    "env_id": _number(int, 0, 1_000_000),
    "fps": _number(float, 0.1, 120),
    "jpeg_quality": _number(int, 1, 95),
    "frame_format": _choice("jpeg", "auto"),
    "frames": _choice("watched", "always", "off"),
    "helper": _choice("auto", "off"),
    "frame_history_s": _seconds(1, 86400),
    "retention": _retention,
    "port": _number(int, 0, 65535),
    "insecure": _flag,
    "token": _tokens,
    "view_token": _tokens,
    "allowed_hosts": _hosts,
    "cors_origins": _origins,
    "trusted_proxies": _list,
    "streams_per_address": _number(int, 0, 1_000_000),
    "view_port": _number(int, 0, 65535),
    "log_level": _choice(*_LEVELS),
    "log_format": _choice("text", "json"),
}
