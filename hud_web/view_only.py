"""A second port on which one can look and never write, whether a token is set or not.

The public way in (a Route, an Ingress, a tunnel) leads to it, while training writes to the first port from within the
cluster. Called by the app.
"""

from __future__ import annotations

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

#: GET changes nothing anywhere in this server.
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: What concerns only those who run the server.
_INTERNAL = frozenset({"/metrics"})


class ViewOnly:
    """Refuses whatever comes through the viewing port and is not looking."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        # The server says which of its sockets a connection came by; no header of the request can change that.
        came_by_view = scope["type"] != "lifespan" and (scope.get("server") or (None, None))[1] == self._port
        if came_by_view and scope["type"] == "http":
            if scope["method"] not in _SAFE_METHODS:
                detail = (
                    "expected GET on the viewing port: writing goes to the HUD's other port, from within the cluster"
                )
                await JSONResponse({"error": "View only", "detail": detail}, 403)(scope, receive, send)
                return
            if scope["path"] in _INTERNAL:
                await JSONResponse({"error": "Not Found"}, 404)(scope, receive, send)
                return
        await self._app(scope, receive, send)
