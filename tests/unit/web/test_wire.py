"""A closed connection leaves no objects behind, on a real event loop."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from hud_web.http.wire import Wire


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.mark.parametrize("requests", [0, 1, 3])
async def test_a_connection_is_freed_when_it_is_over_without_the_garbage_collector(requests: int) -> None:
    config = uvicorn.Config(answer, http=Wire, lifespan="off", log_config=None)
    config.load()
    state, freed = ServerState(), asyncio.Event()

    def connect() -> Wire:
        wire = Wire(config=config, server_state=state, app_state={})
        weakref.finalize(wire, freed.set)
        return wire

    server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0)
    gc.disable()
    try:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        for _ in range(requests):
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await reader.readuntil(b"\r\n\r\nok")
        writer.close()
        await writer.wait_closed()
        await asyncio.wait_for(freed.wait(), 5.0)
    finally:
        gc.enable()
        server.close()
