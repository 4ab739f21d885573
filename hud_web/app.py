"""The web tier as a Starlette application: its routes, its life cycle and its response headers.

Every replica is alike and keeps nothing that Redis does not have. Made by `server` and by the tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse
from starlette.routing import Mount, Route

from hud_publisher.protocol.errors import ConfigError, HudError
from hud_publisher.protocol.settings import Settings
from hud_web.archive import ArchiveEndpoints
from hud_web.errors import CrashGuard, answer_http_error, answer_hud_error
from hud_web.headers import SecurityHeaders
from hud_web.hosts import TrustedHosts
from hud_web.limits import AddressLimits
from hud_web.metrics import MetricsEndpoint
from hud_web.openapi import openapi
from hud_web.origins import OwnOrigin
from hud_web.page_files import STATIC, PageFiles
from hud_web.reading import ReadingEndpoints
from hud_web.redis_client import connect_reader, connect_writer
from hud_web.request_log import RequestLog
from hud_web.rooms import Rooms
from hud_web.store import Store
from hud_web.stream import StreamEndpoint
from hud_web.tally import Tally
from hud_web.view_only import ViewOnly
from hud_web.viewing import ViewingToken
from hud_web.writing import WritingEndpoints

logger = logging.getLogger("hud.web")


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
        routes=[*routes, Route("/metrics", MetricsEndpoint(rooms, store, settings.channel).answer)],
        middleware=[
            Middleware(RequestLog, tally=tally),
            Middleware(SecurityHeaders, is_shared=bool(settings.cors_origins)),
            Middleware(CrashGuard),
            Middleware(TrustedHosts, hosts=_trusted_hosts(settings)),
            Middleware(OwnOrigin),
            *_admission(settings, view_port),
        ],
        exception_handlers={HudError: answer_hud_error, HTTPException: answer_http_error},
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
        Route("/openapi.json", openapi),
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
        Mount("/static", PageFiles()),
    ]


def _admission(settings: Settings, view_port: int | None) -> list[Middleware]:
    """Who gets in, from the outermost check to the innermost."""
    checks = [Middleware(AddressLimits, streams_per_address=settings.streams_per_address)]
    if view_port is not None:
        checks.append(Middleware(ViewOnly, port=view_port))
    if settings.cors_origins:
        checks.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.cors_origins),
                allow_methods=["GET"],
                allow_headers=["Last-Event-ID"],
                allow_credentials=bool(settings.view_tokens),
            )
        )
    if settings.view_tokens:
        checks.append(Middleware(ViewingToken, view_tokens=settings.view_tokens, write_tokens=settings.tokens))
    return checks


def _trusted_hosts(settings: Settings) -> tuple[str, ...]:
    """The names that HUD_ALLOWED_HOSTS has; without it on loopback loopback's own, elsewhere any."""
    if settings.allowed_hosts:
        return settings.allowed_hosts
    return ("localhost", "127.0.0.1", "::1") if settings.is_loopback else ("*",)
