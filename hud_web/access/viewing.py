"""Access for viewers if HUD_VIEW_TOKEN is set: by a cookie from a link with the token, or by a bearer token.

The link `/?token=…` (or `/runs?token=…`) is answered with a cookie and a redirect to the page without the token, so it
stays out of the address bar, of bookmarks and of the Referer header. The cookie holds a digest of the token, not the
token. Called by the app.
"""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hud_publisher.protocol.errors import UnauthorizedError
from hud_web.http.auth import bears_token
from hud_web.http.errors import answer_hud_error
from hud_web.http.page_files import PAGES

COOKIE = "hud_view"
#: A month: the duration of a large run; the link renews it.
COOKIE_AGE_S = 30 * 24 * 3600
#: Probes and scrapers have no cookie, and these paths reveal nothing about a run.
OPEN_PATHS = frozenset({"/health", "/ready", "/metrics"})
_LOCKED_PAGE = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>HUD: locked</title><h1>This HUD needs its link</h1>"
    "<p>Ask whoever runs it for the link with the viewing token, and open that once in this browser.</p></html>"
)


class ViewingToken:
    """Lets requests with a viewing token or a writing token in, and refuses the rest."""

    def __init__(self, app: ASGIApp, *, view_tokens: tuple[str, ...], write_tokens: tuple[str, ...]) -> None:
        self._app = app
        self._view_tokens = view_tokens
        self._all_tokens = view_tokens + write_tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        # Writing has a separate check; every other request is viewing.
        if scope["type"] != "http" or scope["method"] == "POST" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        response = self._by_link(request) or (None if self._may_look(request) else await self._refuse(request))
        await (response or self._app)(scope, receive, _private(send))

    def _by_link(self, request: Request) -> Response | None:
        given = request.query_params.get("token")
        page = request.url.path
        if given is None or page not in PAGES:
            return None
        token = _matching(given, self._view_tokens)
        if token is None:
            return None
        rest = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
        # Relative, and a cookie without a path: the browser knows the path prefix of a proxy, the server may not
        # (RFC 6265 §5.1.4, default-path).
        to = f".{page}?{urlencode(rest)}" if rest else f".{page}"
        response = RedirectResponse(to, 303, {"Cache-Control": "no-store"})
        is_tls = request.url.scheme == "https"
        response.set_cookie(
            COOKIE, _digest(token), max_age=COOKIE_AGE_S, httponly=True, samesite="lax", secure=is_tls, path=None
        )
        return response

    def _may_look(self, request: Request) -> bool:
        if bears_token(request, self._all_tokens):
            return True
        digest = request.cookies.get(COOKIE, "")
        return _matching(digest, tuple(_digest(token) for token in self._view_tokens)) is not None

    async def _refuse(self, request: Request) -> Response:
        if request.url.path in PAGES:
            return HTMLResponse(_LOCKED_PAGE, 401, {"WWW-Authenticate": "Bearer", "Cache-Control": "no-store"})
        detail = "the request has neither the cookie of the viewing link nor a bearer token: open /?token=… once"
        return await answer_hud_error(request, UnauthorizedError(detail))


def _private(send: Send) -> Send:
    """Forbid shared caches to store an answer that only some viewers may see (RFC 9111 §5.2.2.7)."""

    async def send_private(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Cache-Control"] = headers.get("Cache-Control", "private").replace("public", "private")
        await send(message)

    return send_private


def _digest(token: str) -> str:
    return hmac.new(token.encode("utf-8"), b"hud viewing cookie", hashlib.sha256).hexdigest()


def _matching(given: str, known: tuple[str, ...]) -> str | None:
    """Return the known text that equals `given`; every one is compared, in constant time."""
    found = [text for text in known if hmac.compare_digest(given.encode("utf-8", "replace"), text.encode("utf-8"))]
    return found[0] if found else None
