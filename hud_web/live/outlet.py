"""The connection to one viewer, behind one interface: directly to the server's transport, or by ASGI messages.

Both accept bytes without blocking and report when they are full, when they have room again, and when the viewer left;
other modules decide about the content. Called by the stream endpoint, which opens and ends outlets, and by subscribers,
which write.

An ASGI message costs two to ten times the time of a write to the transport (docs/decisions/fan-out.md). So with our
server (`wire`) the body goes to the transport, as the chunks of HTTP/1.1 (RFC 9112 §7.1) that the response announced,
or without framing to a client of HTTP/1.0. Any other ASGI server gets messages, and so does a connection on which
another request waits behind the stream's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from starlette.types import Receive, Scope, Send

from hud_web.http.wire import Listener, Wire, wire_of

#: A viewer with a larger backlog gets nothing more until it has read most of it: two large frames. The number is also
#: the high-water mark of asyncio's and uvloop's transports.
FULL_BYTES = 64 * 1024
ROOM_BYTES = FULL_BYTES // 4
#: How long the end of a stream may wait for a viewer that reads nothing.
END_S = 1.0


class Payload:
    """Bytes for any number of viewers, framed once for all of them."""

    __slots__ = ("_chunk", "plain")

    def __init__(self, plain: bytes) -> None:
        self.plain = plain
        self._chunk: bytes | None = None

    @property
    def chunk(self) -> bytes:
        """The bytes as a chunk of HTTP/1.1."""
        if self._chunk is None:
            self._chunk = b"%x\r\n%b\r\n" % (len(self.plain), self.plain)
        return self._chunk


class Outlet(Protocol):
    """The connection to one viewer.

    Attributes:
        takes_chunks: `put` wants the bytes of Payload.chunk, not those of Payload.plain.
    """

    takes_chunks: bool

    @property
    def put(self) -> Callable[[bytes], object]:
        """A function that writes bytes as `write` does; a delivery calls only this, so it is looked up once."""

    async def start(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the head of the response; after that, `write` is allowed."""

    def write(self, payload: Payload) -> None:
        """Write a part of the body. Never blocks."""

    @property
    def backlog(self) -> int:
        """How many bytes the viewer has not read; bytes in the kernel's buffers count as read."""

    def abort(self) -> None:
        """Drop the viewer with its backlog."""

    def end(self, last: Payload) -> None:
        """Write the last of the body. Never blocks; a viewer that does not read it soon is dropped."""

    async def stay(self) -> None:
        """Return when the request's own task is not needed any more."""


class WireOutlet:
    """Writes to the transport of our server; the request's task may end before the stream."""

    def __init__(self, wire: Wire, send: Send, listener: Listener, *, takes_chunks: bool) -> None:
        self.takes_chunks = takes_chunks
        self._transport = wire.transport
        self.put = self._transport.write
        # Released as soon as possible: ten thousand viewers would hold the objects of their requests.
        self._starting: tuple[Wire, Send, Listener] | None = (wire, send, listener)

    async def start(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the head of the response, and take over the connection."""
        assert self._starting is not None
        wire, send, listener = self._starting
        # The connection ends with the stream, so that a reconnecting viewer may reach another replica.
        framing = [(b"connection", b"close")]
        if self.takes_chunks:
            framing.append((b"transfer-encoding", b"chunked"))
        else:
            wire.go_without_chunks()
        await send({"type": "http.response.start", "status": 200, "headers": headers + framing})
        self._starting = None
        if not wire.take_over(listener):
            listener.on_gone()

    def write(self, payload: Payload) -> None:
        """Write a part of the body."""
        if not self.takes_chunks:
            self.put(payload.plain)
        elif len(payload.plain) <= FULL_BYTES:
            self.put(payload.chunk)
        else:  # a large picture is in the hub already, so it is passed on without a copy
            self.put(b"%x\r\n" % len(payload.plain))
            self.put(payload.plain)
            self.put(b"\r\n")

    @property
    def backlog(self) -> int:
        """How many bytes the viewer has not read."""
        return self._transport.get_write_buffer_size()

    def abort(self) -> None:
        """Drop the viewer."""
        self._transport.abort()

    def end(self, last: Payload) -> None:
        """Write the last of the body."""
        if self.backlog > FULL_BYTES or self._starting is not None:
            self._transport.abort()
        else:
            self._transport.write(last.chunk + b"0\r\n\r\n" if self.takes_chunks else last.plain)
            self._transport.close()  # after all bytes are sent

    async def stay(self) -> None:
        """Return at once: the stream needs no task."""


class AsgiOutlet:
    """Sends ASGI messages; bytes that are written during a send go with the next message."""

    takes_chunks = False

    def __init__(self, receive: Receive, send: Send, listener: Listener) -> None:
        self._receive = receive
        self._send = send
        self._listener = listener
        self._pending: list[bytes] = []
        self._has_pending = asyncio.Event()
        self._is_full = False
        self._is_over = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.backlog = 0

    async def start(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the head of the response, and start the task that sends the written bytes."""
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self._pump = asyncio.create_task(self._send_pending())
        self._watcher = asyncio.create_task(self._watch())

    def write(self, payload: Payload) -> None:
        """Write a part of the body."""
        self.put(payload.plain)

    def put(self, data: bytes) -> None:
        """Write a part of the body."""
        self._pending.append(data)
        self.backlog += len(data)
        self._has_pending.set()
        if self.backlog > FULL_BYTES and not self._is_full:
            self._is_full = True
            self._listener.on_full()

    def abort(self) -> None:
        """Drop the viewer, if ASGI allows it: the server ends the connection of a body without an end."""
        if self._pump is not None:
            self._pump.cancel()
        self._is_over.set()
        self._listener.on_gone()

    def end(self, last: Payload) -> None:
        """Write the last of the body."""
        self._pending.append(last.plain)
        self._is_over.set()
        self._has_pending.set()

    async def stay(self) -> None:
        """Return when the stream is over."""
        assert self._pump is not None
        assert self._watcher is not None
        try:
            await self._is_over.wait()
            await asyncio.wait({self._pump}, timeout=END_S)
        finally:
            self._pump.cancel()
            self._watcher.cancel()
            await asyncio.gather(self._pump, self._watcher, return_exceptions=True)

    async def _send_pending(self) -> None:
        is_last = False
        while not is_last:
            await self._has_pending.wait()
            self._has_pending.clear()
            is_last = self._is_over.is_set()
            data = b"".join(self._pending)
            self._pending.clear()
            try:
                await self._send({"type": "http.response.body", "body": data, "more_body": not is_last})
            except OSError:  # an ASGI server raises this when the client has left (ASGI 3.0, HTTP, 2.4)
                break
            self.backlog -= len(data)
            if self._is_full and self.backlog <= ROOM_BYTES:
                self._is_full = False
                self._listener.on_room()
        self._gone()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone()

    def _gone(self) -> None:
        self._is_over.set()
        self._has_pending.set()
        self._listener.on_gone()


def outlet_for(scope: Scope, receive: Receive, send: Send, listener: Listener) -> Outlet:
    """Return the cheapest outlet that the server allows."""
    wire = wire_of(scope)
    if wire is None:
        return AsgiOutlet(receive, send, listener)
    return WireOutlet(wire, send, listener, takes_chunks=scope["http_version"] == "1.1")
