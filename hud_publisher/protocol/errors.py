"""Every error that HUD raises on purpose, as one tree.

    HudError
    ├── ConfigError            a setting or argument is wrong; raised by constructors only
    ├── MalformedError         a request or a value cannot be read (HTTP 400)
    │   └── UnsupportedImageError   the bytes are not an image we store (HTTP 415)
    ├── TooLargeError          it is well formed, but over a limit (HTTP 413)
    ├── UnauthorizedError      the token is missing or wrong (HTTP 401)
    ├── SessionNotActiveError  the session does not hold its channel (HTTP 403)
    ├── NotFoundError          no such session, frame or page (HTTP 404)
    ├── SessionHeldError       another run holds the channel (HTTP 409)
    ├── SessionLiveError       the session is live, and the request needs one that has ended (HTTP 409)
    ├── TooManyRequestsError   slow down (HTTP 429)
    └── UnavailableError       Redis or the HUD server cannot be reached at present; try again (HTTP 503)
        └── StorageFullError   Redis has no room left; nothing was written (HTTP 503, title REDIS_IS_FULL)

Errors carry data, not only text. A message about a value reads "expected X, got Y: do Z"; any other message says what
happened, then what to do. The table from error to HTTP status is in
hud_web.http.errors; nothing on the training path raises any of these into user code except ConfigError.
"""

from __future__ import annotations

from dataclasses import dataclass

#: By this title the HTTP sink distinguishes a full Redis, where it drops pictures, from an unreachable one.
REDIS_IS_FULL = "Redis is full"


def brief(value: object) -> str:
    """Return a value of a client as a message quotes it: about 40 characters, for a value of any size.

    `str` of a nested list can take seconds or exceed the recursion limit, and `str` of a long whole number raises.
    """
    if isinstance(value, str):
        return repr(value[:40])
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if value.bit_length() <= 128 else f"a whole number of {value.bit_length()} bits"
    return f"a value of type {type(value).__name__}"


class HudError(Exception):
    """Base of every error raised on purpose."""


class ConfigError(HudError):
    """A setting or a constructor argument is wrong; the message names it and the fix."""


class MalformedError(HudError):
    """A request or a value cannot be read."""


class UnsupportedImageError(MalformedError):
    """The bytes are not a whole JPEG, PNG or WebP picture."""


class TooLargeError(HudError):
    """Well formed, but over a limit that the message names."""


class UnauthorizedError(HudError):
    """The bearer token is missing or wrong."""


class SessionNotActiveError(HudError):
    """The session no longer holds its channel, or never did; nothing was written."""


class NotFoundError(HudError):
    """No such session or entry."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The public facts about the run that holds a channel.

    Attributes:
        sid: the fence of the holder's session, its public name.
        name: the run's name for people.
        started_ms: Unix time in milliseconds at which the session began.
        retry_after_ms: the remaining time to live of the lock, in milliseconds.
        silent_ms: time since the run's main process wrote, in milliseconds; None if it is unknown.
    """

    sid: str
    name: str
    started_ms: int
    retry_after_ms: int
    silent_ms: int | None = None


class SessionHeldError(HudError):
    """Another run holds the channel; `holder` has the run and the remaining time of its lease."""

    def __init__(self, holder: Holder) -> None:
        super().__init__(
            f"channel is held by run {holder.name!r} (session {holder.sid}) for at least "
            f"{holder.retry_after_ms / 1000:.0f} s more: wait, use another channel, or end that run"
        )
        self.holder = holder


class SessionLiveError(HudError):
    """The session is live, and the request needs one that has ended."""


class TooManyRequestsError(HudError):
    """The caller sends too many requests; `retry_after_s` is the time to wait."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(HudError):
    """Redis or the HUD server did not answer, so a write may have been stored: send it again with the same number.

    `retry_after_s` is the wait that the server asks for; 0 if it asks for none.
    """

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StorageFullError(UnavailableError):
    """Redis has no room left: nothing was written. Drop pictures first, since they take the most memory."""
