"""The limits of one connection, on a real socket of a server in this process, with short timeouts."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from hud_web.http import wire
from hud_web.http.body import read_body
from hud_web.http.proxies import Trust

HOST = b"Host: localhost\r\n"


async def _echo(request: Request) -> Response:
    return Response(await read_body(request))


async def _large(_request: Request) -> Response:
    return Response(b"x" * 16_000_000)


class _Patient:
    """An endpoint that runs until its client disconnects."""

    def __init__(self) -> None:
        self.began, self.ended = asyncio.Event(), asyncio.Event()

    async def __call__(self, _scope: Scope, receive: Receive, _send: Send) -> None:
        self.began.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        self.ended.set()


class _Taken:
    """A stream that is silent for longer than the timeout of a head."""

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        link = wire.wire_of(scope)
        assert link is not None
        assert link.take_over(self)
        asyncio.get_running_loop().call_later(2 * wire.HEAD_TIMEOUT_S, link.transport.write, b"hello")

    def on_full(self) -> None: ...

    def on_room(self) -> None: ...

    def on_gone(self) -> None: ...


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """The port of a server with timeouts of a second and less."""
    monkeypatch.setattr(wire, "HEAD_TIMEOUT_S", 0.3)
    monkeypatch.setattr(wire, "STALL_S", 1.0)
    app = Starlette(routes=[Route("/", _large), Route("/echo", _echo, methods=["POST"]), Route("/taken", _Taken())])
    config = uvicorn.Config(app, http=wire.Wire, lifespan="off", log_level="critical")
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: wire.Wire(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    yield server.sockets[0].getsockname()[1]
    server.close()
    for connection in list(state.connections):
        connection.transport.abort()
    await asyncio.gather(*state.tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def linked(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"", b"\r\n"),
        (b"GET / HTTP/1.1\r\n", b"X-A: b\r\n"),
        (b"GET /nothing HTTP/1.1\r\n" + HOST + b"\r\n", b"\r\n"),
        (b"GET /nothing HTTP/1.1\r\n" + HOST + b"\r\nGET /", b"x"),
        (b"POST /nothing HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n", b"x"),
        (b"POST /nothing HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"POST /nothing HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: b\r\n"),
    ],
    ids=["line breaks", "a head", "line breaks after a request", "a second head", "a body that nobody reads", "chunks",
         "trailers"],
)  # fmt: skip
async def test_a_client_that_drips_useless_bytes_is_cut_off(port: int, begin: bytes, piece: bytes) -> None:
    async with linked(port) as (reader, writer):
        writer.write(begin)
        with contextlib.suppress(OSError):
            while not reader.at_eof():
                writer.write(piece)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(65_536), 0.02)


async def test_a_request_that_was_answered_before_its_end_leaves_a_connection_for_the_next(port: int) -> None:
    async with linked(port) as (reader, writer):
        body = b"x" * 1_000_000
        writer.write(b"POST /nothing HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (HOST, len(body)))
        assert b" 404 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(body)
        await writer.drain()
        await asyncio.sleep(2 * wire.HEAD_TIMEOUT_S)  # idle time between requests is permitted
        writer.write(b"POST /echo HTTP/1.1\r\n%bContent-Length: 5\r\nConnection: close\r\n\r\nhello" % HOST)
        assert (await reader.read()).endswith(b"hello")


async def test_half_a_request_behind_that_of_a_stream_does_not_end_the_stream(port: int) -> None:
    async with linked(port) as (reader, writer):
        writer.write(b"GET /taken HTTP/1.1\r\n" + HOST + b"\r\nGET /ta")
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(5) == b"hello"


async def test_a_body_that_comes_slowly_is_no_head(port: int) -> None:
    async with linked(port) as (reader, writer):
        writer.write(b"POST /echo HTTP/1.1\r\n%bContent-Length: 5\r\nConnection: close\r\n\r\n" % HOST)
        for letter in b"hello":
            await asyncio.sleep(wire.HEAD_TIMEOUT_S / 3)
            writer.write(bytes([letter]))
        assert (await reader.read()).endswith(b"hello")


@pytest.mark.parametrize("is_one_line", [True, False])
async def test_a_head_without_end_is_refused(port: int, is_one_line: bool) -> None:
    async with linked(port) as (reader, writer):
        line = b"a" * 1_000 if is_one_line else b"a: %b\r\n" % (b"a" * 1_000)
        writer.write(b"GET / HTTP/1.1\r\nx: " + line * (wire.MAX_HEAD_BYTES // 1_000 + 1))
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 431 ")
        assert b"Content-Security-Policy" in head
        assert json.loads(body)["error"] == "Head too large"


async def test_a_head_that_is_too_large_is_refused_in_one_piece_too(port: int) -> None:
    async with linked(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n" + HOST + b"x: %b\r\n\r\n" % (b"a" * wire.MAX_HEAD_BYTES))
        assert (await reader.read()).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("path", [b"/", b"/echo", b"/taken"])
@pytest.mark.parametrize(
    "rest", [b"Transfer-Encoding: x\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"], ids=["coding", "chunk"]
)
async def test_a_request_whose_body_is_no_http_is_refused(port: int, path: bytes, rest: bytes) -> None:
    async with linked(port) as (reader, writer):
        writer.write(b"POST " + path + b" HTTP/1.1\r\n" + HOST + rest)
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1


async def test_a_head_of_too_many_lines_is_refused(port: int) -> None:
    async with linked(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n" + HOST + b"x: y\r\n" * wire.MAX_HEADERS + b"\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert "header lines" in json.loads(body)["detail"]


async def test_requests_without_end_behind_an_answer_are_cut_off(port: int) -> None:
    async with linked(port) as (reader, writer):
        one = b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\nx"
        writer.write(one * wire.MAX_PIPELINED)
        for _ in range(wire.MAX_PIPELINED):
            await reader.readuntil(b"\r\n\r\nx")
        writer.write(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n" + one * 1_000)
        with contextlib.suppress(OSError):
            assert (await reader.read()).count(b"HTTP/1.1 200") <= wire.MAX_PIPELINED + 1


async def test_every_request_of_a_connection_learns_that_the_client_has_gone(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = _Patient()
    monkeypatch.setattr(_Taken, "__call__", lambda _self, *call: patient(*call))
    one = b"GET /taken HTTP/1.1\r\n" + HOST + b"\r\n"
    async with linked(port) as (_reader, writer):
        writer.write(one * 3)
        await asyncio.wait_for(patient.began.wait(), 5)
    await asyncio.wait_for(patient.ended.wait(), 5)


async def test_an_address_holds_its_share_of_connections_and_a_trusted_proxy_any_number(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for proxies, most in (((), 3), (("127.0.0.0/8",), 6)):
        monkeypatch.setattr(wire.Wire, "peers", wire.Connections(Trust(proxies), 3))
        async with contextlib.AsyncExitStack() as stack:
            links = [await stack.enter_async_context(linked(port)) for _ in range(6)]
            answered = 0
            for reader, writer in links:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    writer.write(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\nx")
                    await reader.readuntil(b"\r\n\r\nx")
                    answered += 1
            assert answered == most


async def test_trailers_without_end_are_cut_off(port: int) -> None:
    async with linked(port) as (reader, writer):
        writer.write(b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
        with contextlib.suppress(OSError):
            for _ in range(1_000):
                writer.write(b"x: %b\r\n" % (b"a" * 1_000))
                await writer.drain()
            assert await reader.read() == b""


async def test_a_large_body_is_no_head(port: int) -> None:
    async with linked(port) as (reader, writer):
        body = bytes(4_000_000)
        writer.write(b"POST /echo HTTP/1.1\r\n%bContent-Length: %d\r\nConnection: close\r\n\r\n" % (HOST, len(body)))
        writer.write(body)
        assert (await reader.read()).endswith(body)


async def test_a_client_that_takes_nothing_of_an_answer_is_dropped(port: int) -> None:
    async with linked(port) as (reader, writer):
        writer.transport.pause_reading()
        writer.write(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        await asyncio.sleep(2.5 * wire.STALL_S)
        writer.transport.resume_reading()
        with contextlib.suppress(OSError):
            taken = len(await reader.read())
            assert taken < 16_000_000


async def test_a_client_that_takes_an_answer_slowly_gets_all_of_it(port: int) -> None:
    async with linked(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n%bConnection: close\r\n\r\n" % HOST)
        taken = 0
        while part := await reader.read(1_000_000):
            taken += len(part)
            await asyncio.sleep(wire.STALL_S / 50)
        assert taken > 16_000_000
