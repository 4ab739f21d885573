"""The settings of training, and the reading of settings: one frozen object, made from the environment at the start.

Settings come from no other place. docs/settings.md lists every variable, and a test compares the two.
"""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self

from hud_publisher.protocol.entries import STREAMS, Limits, StreamName, bounds
from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.keys import DEFAULT_CHANNEL, check_channel
from hud_publisher.protocol.urls import parse_redis_url, split_hud_url

logger = logging.getLogger("hud_publisher")

#: Variables and arguments without effect, accepted with one log line until the next release.
RETIRED = ("HUD_HELPER", "helper", "has_helper")

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)?", re.IGNORECASE)
_AMOUNT = re.compile(r"(\d{1,12})\s*(sessions?|entry|entries|kb|mb|gb)", re.IGNORECASE)
_UNIT_BYTES = {"kb": 1024, "mb": 1024**2, "gb": 1024**3}
_UNIT_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


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


def setting(variable: str, default: Any, parse: Callable[[Any], Any], *, secret: bool = False) -> Any:
    """Return a field of Settings.

    Args:
        variable: the environment variable.
        default: the value without one.
        parse: returns the value of a text; raises ValueError with the expected form.
        secret: whether the repr hides it.
    """
    return field(default=default, repr=not secret, metadata={"variable": variable, "parse": parse})


def split_list(value: object) -> tuple[str, ...]:
    """Return the parts of a text with commas, or of a list."""
    parts = value if isinstance(value, (list, tuple)) else str(value).split(",")
    return tuple(part.strip() for part in parts if part.strip())


def tokens(value: object) -> str:
    """Return the setting unchanged if it holds tokens: an empty token would allow everybody, against its purpose."""
    found = split_list(value)
    if not found or not all(token.isascii() and token.isprintable() for token in found):
        raise ValueError("expected one token or, separated by a comma, two, of printable ASCII; got something else")
    return str(value)


def flag(value: object) -> bool:
    """Return the value of a setting that is on or off."""
    text = str(value).lower()
    if text not in ("1", "0", "true", "false", "yes", "no", "on", "off"):
        raise ValueError(f"expected 1 or 0, got {str(value)[:40]!r}")
    return text in ("1", "true", "yes", "on")


def number(kind: type[int] | type[float], least: float, most: float) -> Any:
    """Return the parser of a number within bounds."""
    word = "a whole number" if kind is int else "a number"

    def parse(value: object) -> float:
        try:
            found = kind(value)  # type: ignore[call-overload, arg-type]
        except (ValueError, TypeError):
            found = None
        if found is None or not least <= found <= most:
            raise ValueError(f"expected {word} from {least:g} to {most:g}, got {str(value)[:40]!r}")
        return found

    return parse


def choice(*choices: str) -> Any:
    """Return the parser of one of these words."""

    def parse(value: object) -> str:
        text = str(value).lower()
        if text not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}, got {str(value)[:40]!r}")
        return text

    return parse


def seconds(least: float, most: float) -> Any:
    """Return the parser of a duration within bounds."""

    def parse(value: object) -> float:
        match = _DURATION.fullmatch(str(value))
        found_s = float(match[1]) * _UNIT_S[(match[2] or "").lower()] if match else -1.0
        if not least <= found_s <= most:
            raise ValueError(
                f"expected {least:g} s to {most:g} s, written as 30, 45s, 10m, 12h or 7d, got {str(value)[:40]!r}"
            )
        return found_s

    return parse


def _retention(value: object) -> Retention:
    if isinstance(value, Retention):
        return value
    limits: dict[tuple[Any, str], Any] = {}
    for part in str(value).split(","):
        stream, is_of_stream, limit = part.strip().rpartition(":")
        stream = stream.strip()
        if is_of_stream and stream not in STREAMS:
            raise ValueError(f"expected one of {', '.join(STREAMS)} before ':', got {stream[:40]!r}")
        name, parsed = _limit(stream, limit.strip())
        if (stream, name) in limits:
            raise ValueError(f"expected each age, number and size once, got {str(value)[:40]!r}")
        limits[stream, name] = parsed
    sessions = {name: limit for (stream, name), limit in limits.items() if not stream}
    streams = tuple((stream, name, limit) for (stream, name), limit in limits.items() if stream)
    return Retention(**sessions, streams=streams)


def _limit(stream: str, text: str) -> tuple[str, Any]:
    """Return (attribute, value) of a limit on the sessions, or with the name of a stream, of its Bound."""
    amount = _AMOUNT.fullmatch(text)
    unit = amount[2].lower() if amount else ""
    if amount and unit in _UNIT_BYTES:
        return "stream_bytes" if stream else "stored_bytes", int(amount[1]) * _UNIT_BYTES[unit]
    if amount and stream and unit.startswith("entr"):
        return "entries", int(number(int, 1, 10**9)(amount[1]))
    if amount and not stream and unit.startswith("session"):
        return "sessions", int(amount[1])
    if stream:
        return "age_ms", int(seconds(1, 3650 * 86400)(text) * 1000)
    return "age_s", seconds(60, 3650 * 86400)(text)


def _redis_url(value: object) -> str:
    try:
        parse_redis_url(str(value))
    except ConfigError as error:  # it names REDIS_URL, and this may be HUD_REDIS_URL
        raise ValueError(str(error).removeprefix("REDIS_URL: ")) from None
    return str(value)


def _hud_url(value: object) -> str:
    split_hud_url(str(value))
    return str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a process that publishes; the web tier adds its own (hud_web.settings).

    Attributes:
        hud_redis_url: the address of the HUD's Redis, for processes whose REDIS_URL names another program's.
        redis_url: the address of Redis, which is `hud_redis_url` if that is set; hidden in the repr, since it may hold
            a password.
        hud_url: the address of a HUD server, for training that reaches no Redis.
        channel: which display.
        run_id: processes with the same one share a session; a secret of the run.
        token: bearer tokens that allow writing, separated by commas; None: writing needs none.
        session_ttl_s: how long a session lasts without a write or heartbeat, in seconds.
        worker_index: which env runner is the reporter; the first remote one is 1.
        env_id: which env of that runner, from 0.
        fps: most frames per second sent.
        jpeg_quality: 1 to 95.
        frame_format: "jpeg", or "auto" for lossless where that is smaller.
        frames: send frames while there is a viewer, "always", or never ("off").
        max_side: scale frames down so that no side is longer, in pixels; None: never.
        batch_frames: send up to four frames per call. Halves CPU use; adds up to 0.2 s of delay.
        writer: the role of this process in the run, such as "w1"; part of its writer name.
        machine: publish the use of CPU, memory, GPU, disk and network every 5 s.
        logs: publish the program's log lines at WARNING and above, the last 200 of each process.
        frame_history_s: how long frames are kept for rewinding, in seconds.
        retention: how long a session is kept after its last write, and how many and how much of past ones.
        when_held: the action of a run whose channel another live run holds: continue in its own channel `NAME~2`
            ("aside"), wait for the channel, or publish nothing ("off").
        runtime_dir: a folder of this user, in which `hud up` keeps its socket and publishers look for it; None: the
            folder for temporary files.
    """

    hud_redis_url: str | None = setting("HUD_REDIS_URL", None, _redis_url, secret=True)
    redis_url: str | None = setting("REDIS_URL", None, _redis_url, secret=True)
    hud_url: str | None = setting("HUD_URL", None, _hud_url, secret=True)
    channel: str = setting("HUD_CHANNEL", DEFAULT_CHANNEL, check_channel)
    run_id: str | None = setting("HUD_RUN_ID", None, str, secret=True)
    token: str | None = setting("HUD_TOKEN", None, tokens, secret=True)
    session_ttl_s: float = setting("HUD_SESSION_TTL", 30.0, seconds(1, 86400))
    worker_index: int = setting("HUD_WORKER_INDEX", 1, number(int, 0, 1_000_000))
    env_id: int = setting("HUD_ENV_ID", 0, number(int, 0, 1_000_000))
    fps: float = setting("HUD_FPS", 20.0, number(float, 0.1, 120))
    jpeg_quality: int = setting("HUD_JPEG_QUALITY", 75, number(int, 1, 95))
    frame_format: Literal["jpeg", "auto"] = setting("HUD_FRAME_FORMAT", "jpeg", choice("jpeg", "auto"))
    frames: Literal["watched", "always", "off"] = setting("HUD_FRAMES", "watched", choice("watched", "always", "off"))
    max_side: int | None = setting("HUD_MAX_SIDE", None, number(int, 1, 1_000_000))
    batch_frames: bool = setting("HUD_BATCH_FRAMES", False, flag)
    writer: str | None = setting("HUD_WRITER", None, str)
    machine: bool = setting("HUD_MACHINE", True, flag)
    logs: bool = setting("HUD_LOGS", False, flag)
    frame_history_s: float = setting("HUD_FRAME_HISTORY_S", 300.0, seconds(1, 86400))
    retention: Retention = setting("HUD_RETENTION", Retention(), _retention)  # noqa: RUF009  # it is frozen
    when_held: Literal["aside", "wait", "off"] = setting("HUD_WHEN_HELD", "aside", choice("aside", "wait", "off"))
    runtime_dir: str | None = setting("XDG_RUNTIME_DIR", None, str)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Read the settings; `overrides` that are not None take precedence over the environment.

        Args:
            environ: used instead of the process's environment.
            **overrides: attributes by name, as text or as values.

        Raises:
            ConfigError: at least one is wrong; the message names all of them with the expected form.
        """
        source = os.environ if environ is None else environ
        for name in RETIRED:
            if overrides.pop(name, None) is not None or name in source:
                _say_retired(name)
        raw: dict[str, Any] = {}
        for item in fields(cls):
            value = overrides.get(item.name)
            if value is None:
                value = source.get(item.metadata["variable"])
            if value is not None and not (isinstance(value, str) and not value):
                raw[item.name] = value.strip() if isinstance(value, str) else value
        unknown = overrides.keys() - {item.name for item in fields(cls)}
        if unknown:
            raise ConfigError(f"no setting is called {', '.join(sorted(unknown))}: help({cls.__name__}) lists all")
        # Only the URL that is used is checked: REDIS_URL may be another program's, in a form that only it reads.
        if overrides.get("redis_url") is not None:
            if raw.get("hud_redis_url") != raw.get("redis_url"):
                raw.pop("hud_redis_url", None)
        elif "hud_redis_url" in raw:
            raw.pop("redis_url", None)
        parsed = _parse_all(cls, raw)
        if "hud_redis_url" in parsed:
            parsed["redis_url"] = parsed["hud_redis_url"]
        return cls(**parsed)

    @property
    def redis_url_variable(self) -> str:
        """The name of the variable that `redis_url` came from, for messages."""
        return "HUD_REDIS_URL" if self.redis_url and self.redis_url == self.hud_redis_url else "REDIS_URL"

    @property
    def tokens(self) -> tuple[str, ...]:
        """The tokens that allow writing; two at a time make a rotation without a gap."""
        return split_list(self.token or "")

    @property
    def limits(self) -> Limits:
        """The limits on time and memory for the scripts."""
        kept = self.retention
        streams = bounds(self.frame_history_s)
        for name, attribute, value in kept.streams:
            streams[name] = replace(streams[name], **{attribute: value})
        return Limits(int(self.session_ttl_s * 1000), int(kept.age_s * 1000), kept.sessions, kept.stored_bytes, streams)


@functools.cache
def _say_retired(name: str) -> None:
    """Log once per process that a setting has no effect; a Python warning could be an error in the user's program."""
    logger.warning("HUD: %s has no effect since the helper process is gone: remove it", name)


def _parse_all(kind: type[Settings], raw: Mapping[str, Any]) -> dict[str, Any]:
    known = {item.name: item.metadata for item in fields(kind)}
    parsed: dict[str, Any] = {}
    mistakes: list[str] = []
    for name, value in raw.items():
        try:
            parsed[name] = known[name]["parse"](value)
        except (ValueError, TypeError, ConfigError) as error:
            mistakes.append(f"{known[name]['variable']}: {error}")
        except Exception:  # a foreign object's methods may raise anything
            mistakes.append(f"{known[name]['variable']}: expected text or a number, got {type(value).__name__}")
    if mistakes:
        raise ConfigError("; ".join(mistakes))
    return parsed
