"""uvicorn's HTTP protocol, plus two things: a connection has limits, and a stream may take it over.

uvicorn lets a client send the head of a request without a time limit, send an endless head, and never read its answer;
here each has a limit. Once a stream has taken a connection over, uvicorn's task for it ends, and the objects that read
further requests are released, so a viewer takes a third of the memory. Maps an ASGI scope to its transport.
Chosen by uvicorn's public option `http=`; called by `outlet`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections import Counter, deque
from collections.abc import Callable
from http import HTTPStatus
from types import CodeType
from typing import Any, Protocol

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from hud_web.http.headers import HEADERS
from hud_web.http.proxies import Trust, share_of

#: The key of the protocol object in the scope; ASGI provides a mapping for such keys (ASGI 3.0, Extensions).
EXTENSION = "hud.wire"
#: Time limit for a whole head, and for ignored bytes: a body behind its answer, line breaks.
HEAD_TIMEOUT_S = 10.0
#: Bytes that may come in a row without completing anything: a head, or the trailers behind a body.
MAX_HEAD_BYTES = 64 * 1024
#: Header lines of a request. Browsers send 20, proxies add a few; each search for a header scans all of them.
MAX_HEADERS = 100
#: Requests behind the one that is being answered. Browsers do not send any (RFC 9112 §9.3.2 allows it).
MAX_PIPELINED = 16
#: Connections of one address, unless it is a trusted proxy; at most half of those that the process may have.
ADDRESS_CONNECTIONS = 8_192
#: A client that reads nothing of its answer for this time is dropped; a stream has a separate limit.
STALL_S = 30.0

#: Names that Wire uses of uvicorn's two classes, which document none of them.
INTERNALS: dict[type, tuple[str, ...]] = {
    HttpToolsProtocol: (
        "_unset_keepalive_if_required", "cycle", "headers", "loop", "on_body", "on_headers_complete",
        "on_message_begin", "on_message_complete", "parser", "pipeline", "scope", "send_400_response",
        "timeout_keep_alive", "timeout_keep_alive_handler", "timeout_keep_alive_task", "transport", "url",
    ),
    RequestResponseCycle: (
        "chunked_encoding", "disconnected", "message_event", "more_body", "response_complete", "response_started",
        "scope",
    ),
}  # fmt: skip
_HEAD_TOO_LARGE = (431, "Head too large", f"the head of the request has more than {MAX_HEAD_BYTES} bytes")


def missing_internal() -> str | None:
    """Return a name that Wire uses and that the installed uvicorn lacks, after its class; None if it has all of them.

    Attributes of instances are looked for in the code of the class, so this needs no connection.
    """
    for kind, names in INTERNALS.items():
        known = set(dir(kind))
        for _name, function in inspect.getmembers(kind, inspect.isfunction):
            code: CodeType = function.__code__
            known.update(code.co_names)
        if missing := [name for name in names if name not in known]:
            return f"{kind.__name__}.{missing[0]}"
    return None


class Listener(Protocol):
    """Receives the state changes of a connection that a stream has taken over."""

    def on_full(self) -> None:
        """Its buffer has passed the high-water mark. May be called from within a write."""

    def on_room(self) -> None:
        """Its buffer has fallen to the low-water mark."""

    def on_gone(self) -> None:
        """Its connection is lost."""


class Connections:
    """Counts the connections of each address, except trusted proxies, which have many clients."""

    def __init__(self, trust: Trust, most: int = ADDRESS_CONNECTIONS) -> None:
        self._trust, self._most = trust, most
        self._held: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Count a connection; returns False, and counts nothing, if the address holds its maximum."""
        if self._held[address] >= self._most and not self._trust.trusts(address):
            return False
        self._held[address] += 1
        return True

    def leave(self, address: str) -> None:
        """Stop counting a connection."""
        self._held[address] -= 1
        if not self._held[address]:
            del self._held[address]


class Wire(HttpToolsProtocol):
    """One connection.

    Attributes:
        peers: counts connections by address; set once for the process.
        listener: receives state changes once a stream has taken over.
        at_end: callbacks for the loss of the connection.
    """

    peers: Connections | None = None
    _complaint: tuple[int, str, str] | None = None
    listener: Listener | None = None
    at_end: tuple[Callable[[], None], ...] = ()
    _is_taken = False
    _head_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None
    _unparsed_bytes = 0
    _counted: str | None = None

    def connection_made(self, transport: Any) -> None:
        """A client connected: start the timer for the head of its request."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        if self.peers is not None and isinstance(peer, tuple):
            address = share_of(peer[0])
            if not self.peers.enter(address):
                transport.abort()
                return
            self._counted = address
        self._time_head()

    def on_headers_complete(self) -> None:
        """The head is complete; the limit on the body is applied by its reader."""
        self._forget_head()
        if len(self.headers) > MAX_HEADERS:
            self._complaint = _malformed(f"expected at most {MAX_HEADERS} header lines, got {len(self.headers)}")
        elif len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES:
            self._complaint = _HEAD_TOO_LARGE
        elif len(self.pipeline) >= MAX_PIPELINED:
            self._complaint = _malformed(
                f"more than {MAX_PIPELINED} requests wait on this connection: read the answers first"
            )
        if self._complaint is not None:  # the parser stops, and uvicorn calls send_400_response
            raise ValueError(self._complaint[2])
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:  # uvicorn remembers the newest request alone
            self.at_end = (*self.at_end, lambda: _tell_of_end(cycle))
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body has arrived."""
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole request has arrived."""
        self._forget_head()
        super().on_message_complete()

    @property
    def _is_idle(self) -> bool:
        """Whether no answer is in progress: received bytes begin another request, or are ignored."""
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
        self._stall_timer = self.loop.call_later(STALL_S, self._check_stall, untaken)

    def _check_stall(self, untaken: int) -> None:
        if self.transport.get_write_buffer_size() == untaken:
            self.transport.abort()
        else:
            self._time_stall()

    def _forget_stall(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _drop(self) -> None:
        """End the connection, even if the client has stopped reading."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are not HTTP, in the form of every other refusal."""
        self._refuse(*(self._complaint or _malformed(msg)))

    def _refuse(self, status: int, title: str, detail: str) -> None:
        cycle = self.cycle
        is_cut = cycle is not None and cycle.more_body and not cycle.response_started and not self.pipeline
        if is_cut:  # its head was sound: the endpoint that works on it finds that the client has gone
            _tell_of_end(cycle)
        if is_cut or self._is_idle:  # otherwise it would be taken for the answer to the previous request
            body = json.dumps({"error": title, "detail": detail}).encode("ascii")
            headers = HEADERS | {
                "Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close",
            }  # fmt: skip
            first = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            self.transport.write((first + lines).encode("ascii") + b"\r\n" + body)
        self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins: store this object in its scope."""
        super().on_message_begin()
        self._time_head()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope["extensions"] = {EXTENSION: self}

    def serves(self, scope: Scope) -> bool:
        """Whether this request is the newest of the connection: no other one waits for its answer."""
        return self.cycle is not None and self.cycle.scope.get("extensions") is scope["extensions"]

    def go_without_chunks(self) -> None:
        """Let the end of the connection mark the end of the body: HTTP/1.0 has no chunks (RFC 9112 §6.1)."""
        self.cycle.chunked_encoding = False

    def take_over(self, listener: Listener) -> bool:
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
        self._forget_head()  # a part of another request may have followed
        self._forget_stall()
        self.listener = listener
        self.cycle = self.scope = self.headers = self.parser = None  # type: ignore[assignment]
        self.pipeline = _NOTHING
        return True

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; the client of a stream has nothing more to send, so its bytes are dropped."""
        if self._is_taken or self.transport.is_closing():
            return
        if self._is_idle:
            self._time_head()
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._unparsed_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(*_HEAD_TOO_LARGE)
        elif self._is_idle and self._head_timer is None and self.timeout_keep_alive_task is None:
            # The rest of a request that was answered before its end; uvicorn has cancelled its idle timer.
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
        """The connection has ended; nothing is written to it any more."""
        super().connection_lost(exc)
        if self._counted is not None and self.peers is not None:
            self.peers.leave(self._counted)
            self._counted = None
        self._forget_head()
        self._forget_stall()
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.on_gone()
        self.cycle = self.scope = None  # type: ignore[assignment]  # breaks reference cycles; the GC runs too rarely
        at_end, self.at_end = self.at_end, ()
        for callback in at_end:
            callback()


def _tell_of_end(cycle: RequestResponseCycle) -> None:
    if not cycle.response_complete:
        cycle.disconnected = True
        cycle.message_event.set()


def _malformed(detail: str) -> tuple[int, str, str]:
    return 400, "Malformed request", detail


def wire_of(scope: Scope) -> Wire | None:
    """Return the connection of a request, if the server provides it and the request is the newest one on it."""
    wire = _connection_of(scope)
    return wire if wire is not None and wire.serves(scope) else None


def when_over(scope: Scope, callback: Callable[[], None]) -> None:
    """Call `callback` when a request is over: when its task ends, or at the end of the stream that it began."""
    wire = _connection_of(scope)
    if wire is not None and wire.listener is not None:
        wire.at_end = (*wire.at_end, callback)
    else:
        callback()


def abort(scope: Scope) -> None:
    """Drop the connection of a request with the client's backlog, if this server provides it."""
    wire = _connection_of(scope)
    if wire is not None:
        wire.transport.abort()


def _connection_of(scope: Scope) -> Wire | None:
    wire = scope.get("extensions", {}).get(EXTENSION)
    return wire if isinstance(wire, Wire) else None


#: No request can follow a stream on its connection.
_NOTHING: deque[Any] = deque(maxlen=0)
