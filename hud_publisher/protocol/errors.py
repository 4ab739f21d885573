"""Every error that HUD raises on purpose, as one tree.

    HudError
    ├── ConfigError            a setting or argument is wrong; raised by constructors only
    ├── MalformedError         what a client sent cannot be read (HTTP 400)
    │   └── UnsupportedImageError   the bytes are not an image we store (HTTP 415)
    ├── TooLargeError          it is well formed, but over a limit (HTTP 413)
    ├── UnauthorizedError      the token is missing or wrong (HTTP 401)
    ├── SessionNotActiveError  the session does not hold its channel (HTTP 403)
    ├── NotFoundError          no such session, frame or page (HTTP 404)
    ├── SessionHeldError       another run holds the channel (HTTP 409)
    ├── TooManyRequestsError   slow down (HTTP 429)
    └── UnavailableError       Redis or the HUD server cannot be reached just now; try again (HTTP 503)
        └── StorageFullError   Redis has no room left; nothing was written (HTTP 503, title REDIS_IS_FULL)

Errors carry data, not only text. Messages read "expected X, got Y: do Z". The table from error to HTTP status is in
hud_web.errors; nothing on the training path raises any of these into user code except ConfigError.
"""

from __future__ import annotations

from dataclasses import dataclass

#: By this title the HTTP sink tells a full Redis, where it drops pictures, from one that is away.
REDIS_IS_FULL = "Redis is full"


class HudError(Exception):
    """Base of every error raised on purpose."""


class ConfigError(HudError):
    """A setting or a constructor argument is wrong; the message names it and the fix."""


class MalformedError(HudError):
    """What was sent cannot be read."""


class UnsupportedImageError(MalformedError):
    """The bytes are not a JPEG, PNG or WebP picture."""


class TooLargeError(HudError):
    """Well formed, but over a limit that the message names."""


class UnauthorizedError(HudError):
    """The bearer token is missing or wrong."""


class SessionNotActiveError(HudError):
    """The session id does not hold its channel (any more); nothing was written."""


class NotFoundError(HudError):
    """No such session or entry."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a channel, as far as others may know.

    Attributes:
        sid: the fence of the holder's session, its public name.
        name: the run's name for people.
        started_ms: Unix time in milliseconds at which the session began.
        retry_after_ms: what is left of the lock's time to live, in milliseconds.
    """

    sid: str
    name: str
    started_ms: int
    retry_after_ms: int


class SessionHeldError(HudError):
    """Another run holds the channel; `holder` says who and for how long at least."""

    def __init__(self, holder: Holder) -> None:
        super().__init__(
            f"channel is held by run {holder.name!r} (session {holder.sid}) for at least "
            f"{holder.retry_after_ms / 1000:.0f} s more: wait, use another channel, or take over with the token"
        )
        self.holder = holder


class TooManyRequestsError(HudError):
    """The caller asks too often; `retry_after_s` says when to come back."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(HudError):
    """Redis or the HUD server did not answer; whether a write landed is unknown, so retry with the same number.

    `retry_after_s` is how long the server asks to wait; 0 where it does not say.
    """

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StorageFullError(UnavailableError):
    """Redis has no room left: nothing was written. Drop pictures first, they are the most of it."""
