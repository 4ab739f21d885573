"""Keeps pages of other origins from writing: a browser sends their simple POSTs without a CORS preflight.

If writing needs no token, any page in a person's browser could otherwise end the session on that person's laptop.
Browsers state the origin of a request in a header that a page cannot change: Sec-Fetch-Site (W3C Fetch Metadata) for
TLS and loopback, Origin (RFC 6454) elsewhere. A client that sends neither is not a browser. Called by the app.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from hud_web.http.answers import JsonAnswer
from hud_web.http.auth import SAFE_METHODS


class OwnOrigin:
    """Refuses writing requests from pages of other origins; a plain ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS or not _is_foreign(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        detail = "a page of another origin sent this request: send it from this server's own page, or from a program"
        await JsonAnswer({"error": "Another origin", "detail": detail}, 403)(scope, receive, send)


def _is_foreign(headers: Headers) -> bool:
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    # A page cannot set X-Forwarded-Host without a CORS preflight, which this server does not allow.
    own = (headers.get("host", ""), headers.get("x-forwarded-host", ""))
    return origin is not None and origin.partition("://")[2].lower() not in {name.lower() for name in own if name}
