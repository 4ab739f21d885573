"""The table from error to HTTP status, and the answer `{error, detail?}` of every failure."""

from __future__ import annotations

import logging
import math

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hud_publisher.protocol.errors import (
    REDIS_IS_FULL,
    ConfigError,
    HudError,
    MalformedError,
    NotFoundError,
    SessionHeldError,
    SessionLiveError,
    SessionNotActiveError,
    StorageFullError,
    TooLargeError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedImageError,
)
from hud_web.http.answers import JsonAnswer

logger = logging.getLogger("hud.web")

#: The first matching class decides, so subclasses precede their bases.
STATUS: tuple[tuple[type[HudError], int, str], ...] = (
    (UnsupportedImageError, 415, "Unsupported image"),
    (MalformedError, 400, "Malformed request"),
    (ConfigError, 400, "Malformed request"),
    (TooLargeError, 413, "Too large"),
    (UnauthorizedError, 401, "Unauthorized"),
    (SessionNotActiveError, 403, "Session not active"),
    (NotFoundError, 404, "Not found"),
    (SessionHeldError, 409, "Another session is active"),
    (SessionLiveError, 409, "The session is live"),
    (TooManyRequestsError, 429, "Too many requests"),
    (StorageFullError, 503, REDIS_IS_FULL),
    (UnavailableError, 503, "Redis is not available"),
)


async def answer_hud_error(_request: Request, error: Exception) -> JsonAnswer:
    """Answer a `HudError` by the table."""
    status, title = next((status, title) for kind, status, title in STATUS if isinstance(error, kind))
    body: dict[str, object] = {"error": title, "detail": str(error)}
    headers: dict[str, str] = {}
    if isinstance(error, SessionHeldError):
        retry_after_s = max(1, math.ceil(error.holder.retry_after_ms / 1000))
        holder = {
            "sid": error.holder.sid, "name": error.holder.name, "started_ms": error.holder.started_ms,
            "silent_ms": error.holder.silent_ms,
        }  # fmt: skip
        body |= {"holder": holder, "retry_after_s": retry_after_s}
        headers["Retry-After"] = str(retry_after_s)
    elif isinstance(error, TooManyRequestsError):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    elif isinstance(error, UnavailableError):
        headers["Retry-After"] = "1"
    elif isinstance(error, UnauthorizedError):
        headers["WWW-Authenticate"] = "Bearer"
    return JsonAnswer(body, status, headers)


async def answer_http_error(_request: Request, error: Exception) -> JsonAnswer:
    """Answer a refusal of Starlette: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)
    return JsonAnswer({"error": error.detail}, error.status_code, error.headers)


class CrashGuard:
    """Answers a bug in HUD without revealing internals; a plain ASGI middleware.

    Starlette's middleware for this is the outermost one, so its answer would have no security headers and no request
    id, and would not be counted.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        is_started = False

        async def send_and_note(message: Message) -> None:
            nonlocal is_started
            is_started = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception as error:
            if is_started and isinstance(error.__cause__, HudError):  # not a bug; the server closes the connection
                logger.warning("an answer was cut short: %s", error.__cause__)
                return
            if is_started or scope["type"] != "http":  # the server aborts the answer
                raise
            logger.error("a request failed: %s", type(error).__name__, exc_info=error)
            await JsonAnswer({"error": "Internal error"}, 500)(scope, receive, send)
