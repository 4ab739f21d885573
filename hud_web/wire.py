"""uvicorn's own HTTP protocol, plus two things: a connection has limits, and a stream may take it over.

uvicorn lets a client drip a head for ever, send one without end, and leave its answer untaken; here each has an end.
Once a stream has taken a connection over, uvicorn's task for it ends, and what uvicorn kept to read further requests is
let go, so that a viewer costs a third of the memory. Owns the way from the ASGI scope to the transport and back. Chosen
by uvicorn's public option `http=`; called by `outlet`.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from hud_web.headers import HEADERS

#: Where the scope holds the protocol; a mapping of this name is what ASGI has for such things (ASGI 3.0, Extensions).
EXTENSION = "hud.wire"
#: From the first byte of a head to its last, and for what nobody reads: a body behind its answer, line breaks.
HEAD_TIMEOUT_S = 10.0
#: Bytes that may come in a row without leading to anything: a head, or the trailers behind a body.
MAX_HEAD_BYTES = 64 * 1024
#: A client that takes nothing of its answer for so long is dropped; a stream has a limit of its own.
STALL_S = 30.0


class TransportListener(Protocol):
    """Who is told how a transport stands."""

    def on_full(self) -> None:
        """Its buffer has passed the high-water mark."""

    def on_room(self) -> None:
        """Its buffer has fallen to the low-water mark."""

    def on_gone(self) -> None:
        """Its connection is lost."""


class Wire(HttpToolsProtocol):
    """One connection.

    Attributes:
        listener: once a stream has taken over, whom to tell.
        at_end: what to call when the connection is lost.
    """

    listener: TransportListener | None = None
    at_end: tuple[Callable[[], None], ...] = ()
    _is_taken = False
    _head_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None
    _unparsed_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """A client connected: it has so long to send the head of a request."""
        super().connection_made(transport)
        self._time_head()

    def on_headers_complete(self) -> None:
        """The head is here; its body has a limit where it is read."""
        self._forget_head()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body is here."""
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole request is here."""
        self._forget_head()
        super().on_message_complete()

    @property
    def _is_idle(self) -> bool:
        """Whether no answer is on its way: what comes begins another request, or nobody reads it."""
        return self.cycle is None or self.cycle.response_complete

    def _time_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._drop)

    def _forget_head(self) -> None:
        self._unparsed_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _time_stall(self) -> None:
        untaken = self.transport.get_write_buffer_size()
        self._stall_timer = self.loop.call_later(STALL_S, self._look_after_stall, untaken)

    def _look_after_stall(self, untaken: int) -> None:
        if self.transport.get_write_buffer_size() == untaken:
            self.transport.abort()
        else:
            self._time_stall()

    def _forget_stall(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _drop(self) -> None:
        """End the connection, also where the client takes nothing any more."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the form of every other refusal."""
        self._refuse(400, "Malformed request", msg)

    def _refuse(self, status: int, title: str, detail: str) -> None:
        if self._is_idle:  # it would be taken for the answer to the request before otherwise
            body = json.dumps({"error": title, "detail": detail}).encode("ascii")
            headers = HEADERS | {
                "Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close",
            }  # fmt: skip
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            self.transport.write(STATUS_LINE[status] + lines.encode("ascii") + b"\r\n" + body)
        self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins: its scope leads back to here."""
        super().on_message_begin()
        self._time_head()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope["extensions"] = {EXTENSION: self}

    def serves(self, scope: Scope) -> bool:
        """Whether this request is the newest of the connection: no other one waits for its answer."""
        return self.cycle is not None and self.cycle.scope.get("extensions") is scope["extensions"]

    def go_without_chunks(self) -> None:
        """Let the body of the answer end with the connection: HTTP/1.0 has no chunks (RFC 9112 §6.1)."""
        self.cycle.chunked_encoding = False

    def take_over(self, listener: TransportListener) -> bool:
        """Give the connection to a stream whose response has been started; its body is written to the transport.

        Returns:
            Whether there still is a connection.
        """
        cycle = self.cycle
        if self.transport.is_closing() or cycle is None or cycle.disconnected:
            return False
        cycle.response_complete = True  # so its task may end without a body
        self._unset_keepalive_if_required()
        self._is_taken = True
        self._forget_head()  # half of another request may have come behind
        self._forget_stall()
        self.listener = listener
        self.cycle = self.scope = self.headers = self.parser = None  # type: ignore[assignment]
        self.pipeline = _NOTHING
        return True

    def data_received(self, data: bytes) -> None:
        """Somebody who streams has nothing more to say; whatever comes is passed over."""
        if self._is_taken or self.transport.is_closing():
            return
        if self._is_idle:
            self._time_head()
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._unparsed_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431, "Head too large", f"expected a head of at most {MAX_HEAD_BYTES} bytes, got more")
        elif self._is_idle and self._head_timer is None and self.timeout_keep_alive_task is None:
            # The rest of a request that was answered before its end; uvicorn has forgotten that the client may idle.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def pause_writing(self) -> None:
        """The transport is full."""
        super().pause_writing()
        if self.listener is not None:
            self.listener.on_full()
        else:
            self._time_stall()

    def resume_writing(self) -> None:
        """The transport has room again."""
        super().resume_writing()
        self._forget_stall()
        if self.listener is not None:
            self.listener.on_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over; nothing is written to it any more."""
        super().connection_lost(exc)
        self._forget_head()
        self._forget_stall()
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.on_gone()
        self.cycle = self.scope = None  # type: ignore[assignment]  # they lead here: the collector is too rare for that
        at_end, self.at_end = self.at_end, ()
        for callback in at_end:
            callback()


def wire_of(scope: Scope) -> Wire | None:
    """Return the connection that a request came by, if this server is one that gives it and it can be had alone."""
    wire = _connection_of(scope)
    return wire if wire is not None and wire.serves(scope) else None


def when_over(scope: Scope, callback: Callable[[], None]) -> None:
    """Call back when what a request began is over: now that its task ends, or when the stream ends that it began."""
    wire = _connection_of(scope)
    if wire is not None and wire.listener is not None:
        wire.at_end = (*wire.at_end, callback)
    else:
        callback()


def _connection_of(scope: Scope) -> Wire | None:
    wire = scope.get("extensions", {}).get(EXTENSION)
    return wire if isinstance(wire, Wire) else None


#: Nobody waits for the end of a stream to get an answer on the same connection.
_NOTHING: deque[Any] = deque(maxlen=0)
