"""Keeps pages of other origins from writing: a browser sends their simple POSTs without asking first.

Where writing needs no token, any page that a person has open could otherwise end the session on that person's laptop.
Browsers say where a request comes from and let no page say it otherwise: by Sec-Fetch-Site (W3C Fetch Metadata) to TLS
and loopback, elsewhere by Origin (RFC 6454) alone. Whoever sends neither is no browser. Called by the app.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class OwnOrigin:
    """Refuses what changes something and comes from another origin's page; a plain ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] != "http" or scope["method"] in _SAFE_METHODS or not _is_foreign(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        detail = "expected a request of this server's own page, or of a program, got one of another origin's page"
        await JSONResponse({"error": "Another origin", "detail": detail}, 403)(scope, receive, send)


def _is_foreign(headers: Headers) -> bool:
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower()
