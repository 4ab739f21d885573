"""Gives every request an id, counts it, and logs its result.

A plain ASGI middleware: it reads the first message of an answer only, so streams pass at no cost. The id is the
caller's `X-Request-Id` if that is well-formed, so that a log line here can be matched with the proxy's log.
"""

from __future__ import annotations

import logging
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hud_web.access.logs import request_id
from hud_web.store.tally import Tally

logger = logging.getLogger("hud.request")

#: A path may be as long as the head of a request; a log line has only this number of characters of it.
MOST_PATH_CHARS = 400
_SANE_ID = re.compile(r"[A-Za-z0-9_.:\-]{1,128}")
#: Methods of HTTP; all others are counted as one, or a client could grow the tally.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestLog:
    """Wraps the application; outermost except for the headers, so that refusals are logged too."""

    def __init__(self, app: ASGIApp, tally: Tally) -> None:
        self._app = app
        self._tally = tally

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        identity = given if _SANE_ID.fullmatch(given) else secrets.token_hex(8)
        restore = request_id.set(identity)
        began_s = time.monotonic()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = identity
                self._tally.requests[_method(scope), _route(scope, status), status] += 1
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            self._log(scope, status, time.monotonic() - began_s)
            request_id.reset(restore)

    def _log(self, scope: Scope, status: int, took_s: float) -> None:
        # Training writes many times per second and pages load dozens of files: success is logged at debug level only.
        level = logging.DEBUG if 0 < status < 400 else logging.INFO if status < 500 else logging.WARNING
        if not logger.isEnabledFor(level):
            return
        client, path = scope.get("client"), scope["path"][:MOST_PATH_CHARS]
        # The query is not logged: a user may have pasted a secret into it.
        logger.log(
            level, "%s %s %d", scope["method"][:20], path, status,
            extra={
                "method": scope["method"][:20], "path": path, "status": status,
                "duration_ms": round(took_s * 1000, 1), "client": client[0] if client else None,
            },
        )  # fmt: skip


def _method(scope: Scope) -> str:
    method = str(scope["method"])
    return method if method in _METHODS else "other"


def _route(scope: Scope, status: int) -> str:
    """The route's pattern, never the path of the request, which clients choose freely."""
    route = scope.get("route")
    path = getattr(route, "path", None)
    return str(path) if path is not None and status != 404 else "other"
