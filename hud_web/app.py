"""The web tier as a Starlette application: its routes, its life cycle and its response headers.

All replicas are equal, and all of their state comes from Redis. Created by `server` and by the tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from hud_publisher.protocol.errors import ConfigError, HudError
from hud_web.access.budget import ADDRESS_ANSWER_BYTES, ADDRESS_BODY_BYTES, ANSWER_BYTES, BODY_BYTES, Budget, ByteLimits
from hud_web.access.hosts import TrustedHosts
from hud_web.access.limits import AddressLimits
from hud_web.access.origins import OwnOrigin
from hud_web.access.request_log import RequestLog
from hud_web.access.view_only import ViewOnly
from hud_web.access.viewing import ViewingToken
from hud_web.api.archive import ArchiveEndpoints
from hud_web.api.channel_index import ChannelIndex
from hud_web.api.metrics import MetricsEndpoint
from hud_web.api.reading import ReadingEndpoints
from hud_web.api.writing import WritingEndpoints
from hud_web.doctor.findings import Finding
from hud_web.http.errors import CrashGuard, answer_http_error, answer_hud_error
from hud_web.http.headers import SecurityHeaders
from hud_web.http.page_files import PAGES, PageFiles, serve_page
from hud_web.http.prefix import PathPrefix
from hud_web.http.proxies import TrustedProxies
from hud_web.live.channels import Channels
from hud_web.live.stream import StreamEndpoint
from hud_web.monitor.monitor import Monitor
from hud_web.runs.endpoints import RunsEndpoints
from hud_web.runs.overview import Overview
from hud_web.runs.stream import RunsStream
from hud_web.settings import WebSettings
from hud_web.store.page_address import tell_address
from hud_web.store.redis_client import connect_reader, connect_writer
from hud_web.store.store import Store
from hud_web.store.tally import Tally

if TYPE_CHECKING:
    from hud_web.alerts.courier import Courier

logger = logging.getLogger("hud.web")

#: The description of the HTTP interface. Tests compare it with the routes, the limits and the names of the code.
OPENAPI = Path(__file__).parent / "api" / "openapi.json"


@dataclass(frozen=True, slots=True)
class Web:
    """The application, the channels that the server closes at shutdown, and the listener for the check of Redis."""

    app: Starlette
    channels: Channels
    tell_redis: Callable[[Finding | None], None]


def create_app(settings: WebSettings, *, view_port: int | None = None, page: str | None = None) -> Web:
    """Return the web tier for these settings; it connects when its life cycle starts.

    Args:
        settings: with a redis_url.
        view_port: connections to this port may view and never write.
        page: address of the page, if the settings do not have it.

    Raises:
        ConfigError: REDIS_URL is missing or wrong.
    """
    if not settings.redis_url:
        raise ConfigError("REDIS_URL is not set: set it to the Redis that training writes to, or use `hud up`")
    writer, reader = connect_writer(settings.redis_url), connect_reader(settings.redis_url)
    tally = Tally()
    store = Store(writer, tally)
    alerts = _alerts(settings, store)
    monitor = Monitor(store) if alerts is None else Monitor(store, alerts.rules, alerts.wake)
    channels = Channels(store, reader, tally, own_channel=settings.channel)
    answers = Budget(ANSWER_BYTES, ADDRESS_ANSWER_BYTES)
    index = ChannelIndex(store, settings.limits)
    page = settings.page_url or page
    writing = WritingEndpoints(
        store, index, settings.limits, settings.tokens, settings.page_url if settings.hud_url else None
    )
    reading = ReadingEndpoints(store, channels)
    overview = Overview(store, is_draining=lambda: channels.is_draining)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(channels.run()), asyncio.create_task(monitor.run())]
        tasks.append(asyncio.create_task(overview.run()))
        if page is not None:
            tasks.append(asyncio.create_task(tell_address(store, page)))
        if alerts is not None:
            tasks.append(asyncio.create_task(alerts.run(monitor.token)))
        try:
            yield
        finally:
            await channels.sign_off()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await store.aclose()
            await reader.aclose()

    routes = _routes(writing, reading, ArchiveEndpoints(store), StreamEndpoint(channels, store, answers))
    routes.append(Route("/api/channels", index.channels))
    routes += _runs_routes(
        RunsEndpoints(store, overview, settings.limits, settings.tokens), RunsStream(channels, overview, answers)
    )
    routes.append(Route("/metrics", MetricsEndpoint(channels, store, settings.channel).answer))
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(TrustedProxies, proxies=settings.trusted_proxies),
            Middleware(RequestLog, tally=tally),
            Middleware(SecurityHeaders, is_shared=bool(settings.cors_origins), ancestors=settings.frame_ancestors),
            Middleware(CrashGuard),
            Middleware(TrustedHosts, hosts=_trusted_hosts(settings)),
            Middleware(OwnOrigin),
            Middleware(PathPrefix, routes=routes),
            *_admission(settings, view_port),
            Middleware(ByteLimits, answers=answers, bodies=Budget(BODY_BYTES, ADDRESS_BODY_BYTES)),
        ],
        exception_handlers={HudError: answer_hud_error, HTTPException: answer_http_error},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # its redirects name the path without the prefix that a proxy strips
    return Web(app, channels, reading.tell_redis)


def _alerts(settings: WebSettings, store: Store) -> Courier | None:
    """Return the courier of alerts; None without HUD_ALERTS, so that such a server loads neither it nor Apprise."""
    if settings.alerts is None:
        return None
    from hud_web.alerts.config import read_config
    from hud_web.alerts.courier import Courier

    return Courier(store, read_config(settings.alerts, settings.page_url))


def _routes(
    writing: WritingEndpoints, reading: ReadingEndpoints, archive: ArchiveEndpoints, stream: StreamEndpoint
) -> list[Route | Mount]:
    async def openapi(_request: object) -> Response:
        return Response(OPENAPI.read_bytes(), media_type="application/json")

    async def config(request: Request) -> Response:  # one route, so that a wrong method is answered with both
        return await (writing.describe(request) if request.method == "POST" else archive.config(request))

    return [
        *(Route(path, serve_page) for path in PAGES),
        Route("/stream", stream, methods=["GET"]),
        Route("/openapi.json", openapi),
        Route("/health", reading.health),
        Route("/ready", reading.ready),
        Route("/api/state", reading.state),
        Route("/api/sessions", reading.sessions),
        Route("/api/history", archive.history),
        Route("/api/points", archive.points),
        Route("/api/export", archive.export),
        Route("/api/frames", archive.frames),
        Route("/api/mind", archive.minds),
        Route("/api/vision", archive.vision),
        Route("/api/annotations", archive.annotations),
        Route("/api/reports", archive.reports),
        Route("/api/frames/{id}", reading.frame),
        Route("/api/mind/{id}", reading.mind_image),
        Route("/api/vision/{id}", reading.vision_image),
        Route("/api/register_session", writing.register_session, methods=["POST"]),
        Route("/api/update_training", writing.update_training, methods=["POST"]),
        Route("/api/update_vision", writing.update_vision, methods=["POST"]),
        Route("/api/publish", writing.publish, methods=["POST"]),
        Route("/api/config", config, methods=["GET", "POST"]),
        Route("/api/heartbeat", writing.heartbeat, methods=["POST"]),
        Route("/api/release_session", writing.release_session, methods=["POST"]),
        Route("/api/reset_session", writing.reset_session, methods=["POST"]),
        Route("/api/reporter", writing.reporter, methods=["POST"]),
        Mount("/static", PageFiles()),
    ]


def _runs_routes(runs: RunsEndpoints, stream: RunsStream) -> list[Route | Mount]:
    return [
        Route("/stream/runs", stream, methods=["GET"]),
        Route("/api/runs", runs.runs),
        Route("/api/runs/label", runs.label, methods=["POST"]),
        Route("/api/runs/delete", runs.delete, methods=["POST"]),
    ]


def _admission(settings: WebSettings, view_port: int | None) -> list[Middleware]:
    """The access checks, from the outermost to the innermost."""
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


def _trusted_hosts(settings: WebSettings) -> tuple[str, ...]:
    """The names in HUD_ALLOWED_HOSTS; without it the loopback names on loopback, elsewhere any name."""
    if settings.allowed_hosts:
        return settings.allowed_hosts
    return ("localhost", "127.0.0.1", "::1", settings.host) if settings.is_loopback else ("*",)
