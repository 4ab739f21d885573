"""The web tier as a Starlette application: its routes, its life cycle and its response headers.

Every replica is alike and keeps nothing that Redis does not have. Made by `server` and by the tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hud_publisher.protocol.errors import ConfigError, HudError
from hud_publisher.protocol.settings import Settings
from hud_web.archive import ArchiveEndpoints
from hud_web.errors import answer_crash, answer_http_error, answer_hud_error
from hud_web.metrics import MetricsEndpoint
from hud_web.reading import ReadingEndpoints
from hud_web.redis_client import connect_reader, connect_writer
from hud_web.request_log import RequestLog
from hud_web.rooms import Rooms
from hud_web.store import Store
from hud_web.stream import StreamEndpoint
from hud_web.tally import Tally
from hud_web.view_only import ViewOnly
from hud_web.writing import WritingEndpoints

logger = logging.getLogger("hud.web")

STATIC = Path(str(resources.files("hud_web"))) / "static"

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "font-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Web:
    """The application with what its server needs to end it well."""

    app: Starlette
    rooms: Rooms


def create_app(settings: Settings, *, view_port: int | None = None) -> Web:
    """Return the web tier for these settings; it connects when its life cycle starts.

    Args:
        settings: with a redis_url.
        view_port: connections to this port may look and never write.

    Raises:
        ConfigError: REDIS_URL is missing or wrong.
    """
    if not settings.redis_url:
        raise ConfigError(
            "REDIS_URL: expected the URL of the Redis that training writes to, got none: set it, or use `hud up`"
        )
    writer, reader = connect_writer(settings.redis_url), connect_reader(settings.redis_url)
    tally = Tally()
    store = Store(writer, tally)
    rooms = Rooms(store, reader, tally)
    writing = WritingEndpoints(store, settings.limits, settings.tokens)
    reading = ReadingEndpoints(store, rooms)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        keeper = asyncio.create_task(rooms.run())
        try:
            yield
        finally:
            await rooms.sign_off()
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
            await store.aclose()
            await reader.aclose()

    routes = _routes(writing, reading, ArchiveEndpoints(store), StreamEndpoint(rooms, store))
    app = Starlette(
        routes=[*routes, Route("/metrics", MetricsEndpoint(rooms).answer)],
        middleware=[
            Middleware(RequestLog, tally=tally),
            Middleware(TrustedHostMiddleware, allowed_hosts=_trusted_hosts(settings), www_redirect=False),
            Middleware(SecurityHeaders),
            *([Middleware(ViewOnly, port=view_port)] if view_port is not None else []),
        ],
        exception_handlers={
            HudError: answer_hud_error,
            HTTPException: answer_http_error,
            Exception: answer_crash,
        },
        lifespan=lifespan,
    )
    return Web(app, rooms)


def _routes(
    writing: WritingEndpoints, reading: ReadingEndpoints, archive: ArchiveEndpoints, stream: StreamEndpoint
) -> list[Route | Mount]:
    async def page(_request: object) -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    return [
        Route("/", page),
        Route("/stream", stream, methods=["GET"]),
        Route("/health", reading.health),
        Route("/ready", reading.ready),
        Route("/api/state", reading.state),
        Route("/api/sessions", reading.sessions),
        Route("/api/history", archive.history),
        Route("/api/export", archive.export),
        Route("/api/frames", archive.frames),
        Route("/api/vision", archive.vision),
        Route("/api/frames/{id}", reading.frame),
        Route("/api/vision/{id}", reading.vision_image),
        Route("/api/register_session", writing.register_session, methods=["POST"]),
        Route("/api/update_training", writing.update_training, methods=["POST"]),
        Route("/api/update_vision", writing.update_vision, methods=["POST"]),
        Route("/api/publish", writing.publish, methods=["POST"]),
        Route("/api/heartbeat", writing.heartbeat, methods=["POST"]),
        Route("/api/release_session", writing.release_session, methods=["POST"]),
        Route("/api/reset_session", writing.reset_session, methods=["POST"]),
        Route("/api/reporter", writing.reporter, methods=["POST"]),
        Mount("/static", PageFiles(directory=STATIC)),
    ]


class PageFiles(StaticFiles):
    """The page's files. Browsers ask each time whether they changed: modules of two versions do not fit together."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Return the file, or "not modified"."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _trusted_hosts(settings: Settings) -> list[str]:
    """On loopback only loopback's names: a page elsewhere must not reach it by a name of its own (DNS rebinding)."""
    if settings.host in ("127.0.0.1", "localhost", "::1"):
        return ["localhost", "127.0.0.1", "[::1]", "::1"]
    return ["*"]


class SecurityHeaders:
    """Adds the headers that every answer carries; a plain ASGI middleware, so streams pass at no cost."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)
