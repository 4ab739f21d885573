"""Runs the web tier in uvicorn, and ends it within seconds although streams stay open."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import gc
import logging
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from types import FrameType
from typing import Any, Literal

import uvicorn

from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.internals import missing_of, report_missing
from hud_web.app import Web, create_app
from hud_web.doctor.redis_watch import watch_redis
from hud_web.http.proxies import Trust
from hud_web.http.wire import ADDRESS_CONNECTIONS, Connections, Wire, missing_internal
from hud_web.settings import WebSettings

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

logger = logging.getLogger("hud.server")

#: Time for answers in progress to complete at shutdown; streams are ended at once.
GRACE_S = 5
#: Connections waiting to be accepted: a deploy brings back all viewers of a replica at once.
BACKLOG = 4_096
#: The kernel would buffer about 4 MB for a viewer that does not read: 7 s of stale frames that cannot be withdrawn.
#: Linux doubles this number for its bookkeeping.
SEND_BUFFER_BYTES = 128 * 1024
#: Surviving allocations before the youngest generation is collected (about 10 MB), and the factors of the older ones.
GC_THRESHOLDS = (50_000, 20, 100)
#: The shortest time between two full collections, in seconds and as a multiple of the duration of the last one.
TIDY_S = 20.0
TIDY_SHARE = 5_000
#: How often the Date header of the answers is updated.
TICK_S = 1.0
#: Each viewer is an open file. Systems start processes with 1,024 and allow far more on request.
OPEN_FILES = 65_536


#: A coroutine function that runs beside the server, in its event loop, from its start until just before its end.
Companion = Callable[[], Coroutine[Any, Any, None]]


class Server(uvicorn.Server):
    """A uvicorn server that ends the streams first: uvicorn's shutdown would wait for them forever."""

    def __init__(self, config: uvicorn.Config, web: Web, companions: Sequence[Companion] = ()) -> None:
        super().__init__(config)
        self._web = web
        self._companions = companions
        self._tasks: list[asyncio.Task[None]] = []
        self._told = asyncio.Event()

    async def main_loop(self) -> None:
        """Serve until told to end; uvicorn's method polls ten times per second."""
        if missing := missing_of(self, ("on_tick",)):
            report_missing("uvicorn", missing, "the server polls ten times per second, which wakes an idle machine")
            return await super().main_loop()
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), TICK_S)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Record a signal; it comes between any two lines of the main thread."""
        super().handle_exit(sig, frame)
        with contextlib.suppress(RuntimeError):  # the loop does not run yet, or has ended
            asyncio.get_running_loop().call_soon_threadsafe(self._told.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, then start the companions."""
        await super().startup(sockets)
        if self.started:
            _settle_memory()
            self._tasks = [asyncio.create_task(beside()) for beside in (*self._companions, _tidy_memory)]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the companions while viewers still see them end, then every stream, then uvicorn."""
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                logger.error("a companion of the server failed: %r", result)
        await self._web.channels.drain(lambda: self.force_exit)
        await super().shutdown(sockets)


def _settle_memory() -> None:
    """Exempt all loaded objects from garbage collection, and make collections rare.

    A full collection stops every stream while it traverses all objects of all viewers: 46 ms at a thousand viewers.
    Reference counts free the objects of a viewer that leaves; cycles are rare and wait for the next collection.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def _tidy_memory() -> None:
    """Free the cycles among the objects made since the start.

    redis-py leaves some whenever it reconnects, and a stream some when it ends. By itself the collector would run after
    50,000 objects, which a quiet replica makes in hours, and it would hardly ever visit older objects, such as those of
    a stream. A collection stops every stream, so a longer one is followed by a longer pause.
    """
    pause_s = TIDY_S
    while True:
        await asyncio.sleep(pause_s)
        start = time.perf_counter()
        gc.collect()
        pause_s = max(TIDY_S, TIDY_SHARE * (time.perf_counter() - start))


def _allow_many_files() -> None:
    """Raise the limit on open files as far as the system allows, at most to OPEN_FILES."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return
    # macOS reports an unlimited hard limit and refuses more than kern.maxfilesperproc.
    for wanted in (most, most // 4):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return


def bind(host: str, port: int, option: str = "--port") -> socket.socket:
    """Return a listening socket.

    Args:
        host: a name or an address of this machine.
        port: 0 for any free one.
        option: the option that chooses the port, for the message.

    Raises:
        ConfigError: the address cannot be listened on; the message has the reason and the fix.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit this option.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    try:
        listener.bind((host, port))
    except (OSError, UnicodeError) as error:
        listener.close()
        number = getattr(error, "errno", None)
        if number == errno.EADDRINUSE:
            fix = f"stop the program that uses it, or choose another port with {option} (0 takes any free one)"
        elif number == errno.EACCES:
            fix = f"choose a port from 1024 on with {option}"
        else:
            fix = "name an address of this machine with --host, or 0.0.0.0 for all of them"
        reason = getattr(error, "strerror", None) or "a name that cannot be one of a host"
        variables = "HUD_VIEW_PORT" if option == "--view-port" else "HUD_HOST, HUD_PORT"
        raise ConfigError(f"{variables}: cannot listen on {host} port {port} ({reason}): {fix}") from error
    listener.set_inheritable(False)
    return listener


def serve(
    settings: WebSettings,
    listener: socket.socket,
    companions: Sequence[Companion] = (),
    *,
    view_listener: socket.socket | None = None,
    page: str | None = None,
    http: type[asyncio.Protocol] = Wire,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: with a redis_url.
        listener: from `bind`.
        companions: coroutine functions that run beside it; cancelled before it ends.
        view_listener: from `bind` too; its connections can view and never write.
        page: address of the page, if the settings do not have it.
        http: uvicorn's class for connections; with any other than ours, streams use ASGI messages.
    """
    _allow_many_files()
    protocol: type[asyncio.Protocol] | Literal["auto"] = http
    if issubclass(http, Wire):
        if missing := missing_internal():
            report_missing("uvicorn", missing, "streams use ASGI messages, and slow clients have no limit")
            protocol = "auto"
        else:  # of the open files that the process may have, one address gets at most half
            files = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if resource is not None else OPEN_FILES
            most = ADDRESS_CONNECTIONS if files < 0 else min(ADDRESS_CONNECTIONS, files // 2)  # -1: any number
            http.peers = Connections(Trust(settings.trusted_proxies), most)
    web = create_app(settings, view_port=view_listener.getsockname()[1] if view_listener else None, page=page)
    config = uvicorn.Config(
        web.app,
        http=protocol,
        log_level="warning" if settings.log_level == "info" else settings.log_level,
        log_config=None,  # our handler formats its lines, as HUD_LOG_FORMAT says
        access_log=False,
        backlog=BACKLOG,
        server_header=False,
        proxy_headers=False,  # hud_web.http.proxies reads them
        timeout_keep_alive=75,  # above the 60 s for which proxies keep idle connections
        timeout_graceful_shutdown=GRACE_S,
        h11_max_incomplete_event_size=16 * 1024,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    beside: list[Companion] = [functools.partial(watch_redis, settings, web.tell_redis), *companions]
    Server(config, web, beside).run(sockets=[listener] if view_listener is None else [listener, view_listener])
