"""A second port for viewers that never accepts writes, whether a token is set or not.

The public entry (a Route, an Ingress, a tunnel) leads to it, while training writes to the first port from within the
cluster. Called by the app.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hud_web.http.answers import JsonAnswer
from hud_web.http.auth import SAFE_METHODS

#: Paths for operators of the server only.
_INTERNAL = frozenset({"/metrics"})
#: Tells a page that this server refuses its writes, so that it disables them instead of trying.
HEADER, VALUE = "HUD-Access", "view"


class ViewOnly:
    """Refuses all requests through the viewing port that could write; a plain ASGI middleware."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        # The server names the socket that a connection came by; no header of the request can change that.
        came_by_view = scope["type"] != "lifespan" and (scope.get("server") or (None, None))[1] == self._port
        if came_by_view and scope["type"] == "http":
            if scope["method"] not in SAFE_METHODS:
                detail = "the viewing port is read-only: write to the HUD's other port, from within the cluster"
                await JsonAnswer({"error": "View only", "detail": detail}, 403)(scope, receive, send)
                return
            if scope["path"] in _INTERNAL:
                await JsonAnswer({"error": "Not Found"}, 404)(scope, receive, send)
                return
            send = _marked(send)
        await self._app(scope, receive, send)


def _marked(send: Send) -> Send:
    async def send_marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)[HEADER] = VALUE
        await send(message)

    return send_marked
