"""The web tier in uvicorn: starts it, and ends it within a moment although streams never end by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from types import FrameType
from typing import Any

import uvicorn

from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.settings import Settings
from hud_web.app import Web, create_app
from hud_web.wire import Wire

logger = logging.getLogger("hud.server")

#: Answers that are on their way get so long; streams are ended at once.
GRACE_S = 5
#: Connections waiting to be accepted: a deploy brings back all viewers of a replica at once.
BACKLOG = 4_096
#: The kernel would hold about 4 MB for a viewer that does not read: 7 s of stale frames that nothing can take back.
#: Linux doubles this number for its own bookkeeping.
SEND_BUFFER_BYTES = 128 * 1024
#: Objects made and not freed before the youngest are looked at (about 10 MB), and how often before the next ones are.
GC_THRESHOLDS = (50_000, 20, 100)
#: How long between two looks at all of them at least, and as a multiple of what the last one took.
TIDY_S = 20.0
TIDY_SHARE = 5_000
#: How often the time in the answers' heads moves on.
TICK_S = 1.0
#: Each viewer is an open file. Systems begin with 1,024 and let a process have far more if it asks.
OPEN_FILES = 65_536


#: What runs beside the server, in its event loop, from its start until just before its end.
Companion = Callable[[], Coroutine[Any, Any, None]]


class Server(uvicorn.Server):
    """uvicorn, whose own shutdown waits for ever while a stream is open: ours ends the streams first."""

    def __init__(self, config: uvicorn.Config, web: Web, companions: Sequence[Companion] = ()) -> None:
        super().__init__(config)
        self._web = web
        self._companions = companions
        self._tasks: list[asyncio.Task[None]] = []
        self._told = asyncio.Event()

    async def main_loop(self) -> None:
        """Serve until told to end; uvicorn's own wakes ten times a second to look."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), TICK_S)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal; it comes between any two lines of the main thread."""
        super().handle_exit(sig, frame)
        with contextlib.suppress(RuntimeError):  # the loop is not there yet, or no more
            asyncio.get_running_loop().call_soon_threadsafe(self._told.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, then the companions."""
        await super().startup(sockets)
        if self.started:
            _settle_memory()
            self._tasks = [asyncio.create_task(beside()) for beside in (*self._companions, _tidy_memory)]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the companions while viewers still see them end, then every stream, then what uvicorn does."""
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                logger.error("a companion of the server failed: %r", result)
        await self._web.rooms.drain(lambda: self.force_exit)
        await super().shutdown(sockets)


def _settle_memory() -> None:
    """Take what was loaded out of the garbage collector's sight, and let it look seldom.

    A full collection stops every stream for as long as it walks over all objects of all viewers: 46 ms at a thousand.
    What viewers leave behind goes by reference counts; cycles are rare, and wait for the next look.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def _tidy_memory() -> None:
    """Free the cycles in what was made since the start.

    redis-py leaves some whenever it connects anew, and a stream some when it ends. By itself the collector would come
    after 50,000 objects, which a quiet replica makes in hours, and what lives longer than that, as a stream does, it
    would hardly ever look at again. A look stops every stream, so the longer it takes the longer until the next one.
    """
    pause_s = TIDY_S
    while True:
        await asyncio.sleep(pause_s)
        start = time.perf_counter()
        gc.collect()
        pause_s = max(TIDY_S, TIDY_SHARE * (time.perf_counter() - start))


def _allow_many_files() -> None:
    """Let as many viewers in as the system allows, up to OPEN_FILES."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        ConfigError: the address is taken or is not ours; the message says what to do.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit it.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"HUD_HOST, HUD_PORT: expected to listen on {host} port {port}, got {error.strerror}: stop what uses it or "
            "choose another with --port (0 takes any free one)"
        ) from error
    listener.set_inheritable(False)
    return listener


def serve(
    settings: Settings,
    listener: socket.socket,
    companions: Sequence[Companion] = (),
    *,
    view_listener: socket.socket | None = None,
    http: type[asyncio.Protocol] = Wire,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: with a redis_url.
        listener: from `bind`.
        companions: coroutine functions that run beside it; cancelled before it ends.
        view_listener: from `bind` too; who comes by it can look and never write.
        http: how connections are spoken to; with any but our own, streams go by ASGI messages.
    """
    _allow_many_files()
    web = create_app(settings, view_port=view_listener.getsockname()[1] if view_listener else None)
    config = uvicorn.Config(
        web.app,
        http=http,
        log_level="warning" if settings.log_level == "info" else settings.log_level,
        access_log=False,
        backlog=BACKLOG,
        server_header=False,
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_keep_alive=75,  # above the 60 s for which proxies keep idle connections
        timeout_graceful_shutdown=GRACE_S,
        h11_max_incomplete_event_size=16 * 1024,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    Server(config, web, companions).run(sockets=[listener] if view_listener is None else [listener, view_listener])
