"""`GET /stream/runs`: the live runs of all channels as Server-Sent Events, as a plain ASGI application."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from hud_web.access.budget import Budget, Share
from hud_web.http.proxies import client_of
from hud_web.http.query import parameter
from hud_web.live.channels import Channels
from hud_web.live.outlet import Payload, outlet_for
from hud_web.live.stream import HEADERS, end_of_stream_s, retry, turn_away
from hud_web.runs.overview import Overview
from hud_web.runs.viewer import Viewer


class RunsStream:
    """The ASGI application behind `/stream/runs`."""

    def __init__(self, channels: Channels, overview: Overview, answers: Budget) -> None:
        self._channels, self._overview, self._answers = channels, overview, answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one viewer until it leaves, is cut, reaches its age limit, or the server drains."""
        request = Request(scope)
        wishes = (_is_on(request, "pictures"), _is_on(request, "curves"), _is_on(request, "live"))
        if scope["method"] == "HEAD" or self._channels.is_draining:
            await turn_away(send)
            return
        share = Share(self._answers, client_of(scope))
        viewer = Viewer(wishes, ends_s=end_of_stream_s(), share=share, at_close=self._end)
        viewer.outlet = outlet_for(scope, receive, send, viewer)
        self._overview.enter(viewer)
        try:
            await viewer.outlet.start(HEADERS)
            viewer.start(retry())
        except BaseException:
            viewer.close()
            raise
        await viewer.outlet.stay()

    def _end(self, viewer: Viewer) -> None:
        self._overview.leave(viewer)
        if not viewer.is_gone:
            viewer.outlet.end(Payload(retry()))


def _is_on(request: Request, name: str) -> bool:
    return parameter(request, name) in ("1", "true", "on")
