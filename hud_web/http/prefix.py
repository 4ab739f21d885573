"""Serves the page below a path prefix that a proxy keeps, such as `/user/ada/proxy/8086/`. Called by the app.

The page's addresses are relative, so a proxy that strips its prefix needs nothing from this server. For a proxy that
keeps the prefix, `PathPrefix` replaces the path of a request by the part that one of the routes serves. All later
checks (viewing port, viewing token, rates) see that part. A prefix must not allow a request that a proxy denies without
it: a rule of a proxy against `/api/reset_session` does not match `/x/api/reset_session`. Therefore the server refuses
writes below a prefix, except those of the pages (the choice of the shown env, labels and deletion of runs), and does
not serve `/metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from hud_web.http.answers import JsonAnswer
from hud_web.http.auth import SAFE_METHODS

#: The writes of the pages. They need the same token as without a prefix.
_WRITES_OF_PAGES = frozenset({"/api/reporter", "/api/runs/label", "/api/runs/delete"})
#: Paths for operators, which are served without a prefix only.
_ROOT_ONLY = frozenset({"/metrics"})
#: Bounds the search: JupyterHub's prefixes have 4 or 5 segments, the longest route has 4.
MOST_SEGMENTS = 24


class PathPrefix:
    """Removes the prefix from the path of a request; a plain ASGI middleware."""

    def __init__(self, app: ASGIApp, routes: Sequence[Route | Mount]) -> None:
        """Wrap an application.

        Args:
            app: the application with these routes.
            routes: all its routes.
        """
        self._app = app
        self._exact = [route.path_regex for route in routes if isinstance(route, Route)]
        self._below = [
            route.path_regex for route in routes if isinstance(route, Route) and route.path not in _ROOT_ONLY
        ]
        self._mounts = [route.path_regex for route in routes if isinstance(route, Mount)]
        self._heads = {route.path.split("/")[1] for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] == "http":
            path = scope["path"]
            rest = self._without_prefix(path)
            if rest is None:
                if self._lacks_slash(scope):
                    query = scope["query_string"].decode("latin-1")
                    to = f"./{quote(path.rpartition('/')[2])}/{f'?{query}' if query else ''}"
                    await RedirectResponse(to, 307, {"Cache-Control": "no-store"})(scope, receive, send)
                    return
            elif rest != path:
                if scope["method"] not in SAFE_METHODS and rest not in _WRITES_OF_PAGES:
                    detail = (
                        "requests below a path prefix may only read: let the proxy strip the prefix, or publish to the "
                        "HUD's own port"
                    )
                    await JsonAnswer({"error": "View only", "detail": detail}, 403)(scope, receive, send)
                    return
                scope["path"] = rest
        await self._app(scope, receive, send)

    def _without_prefix(self, path: str) -> str | None:
        """Return the part of the path that a route serves; None if there is none."""
        if self._is_exact(path):
            return path
        if path.count("/") > MOST_SEGMENTS:
            return None
        ends = [path[at:] for at, letter in enumerate(path) if letter == "/"]
        # The longest one: `/hud/api/runs` is the endpoint below `/hud`, not the page `/runs` below `/hud/api`.
        rest = next((end for end in ends if any(pattern.match(end) for pattern in self._below)), None)
        if rest is None:
            return next((end for end in reversed(ends) if any(pattern.match(end) for pattern in self._mounts)), None)
        # `/api/state/` is a misspelt endpoint, not the page below `/api/state`.
        return None if rest == "/" and self._is_exact(path[:-1]) else rest

    def _is_exact(self, path: str) -> bool:
        return any(pattern.match(path) for pattern in self._exact)

    def _lacks_slash(self, scope: Scope) -> bool:
        """Whether a browser requests the page without the trailing slash of its prefix, which relative URLs need."""
        accepts = Headers(scope=scope).get("accept", "")
        return (
            scope["method"] in ("GET", "HEAD") and "text/html" in accepts
            and scope["path"].split("/")[1] not in self._heads
        )  # fmt: skip
