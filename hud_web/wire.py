"""uvicorn's own HTTP protocol, plus two things: a slow head has an end, and a stream may take its connection over.

Chosen by uvicorn's public option `http=`. From then on the connection is the stream's: uvicorn's task for it ends, and
what uvicorn kept to read further requests is let go, so that a viewer costs a third of the memory. Owns the way from
the ASGI scope to the transport and back. Called by `outlet`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Where the scope holds the protocol; a mapping of this name is what ASGI has for such things (ASGI 3.0, Extensions).
EXTENSION = "hud.wire"
#: A client that drips its head byte by byte holds a connection for no longer than this (uvicorn has no such limit).
HEAD_TIMEOUT_S = 10.0


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

    def connection_made(self, transport: Any) -> None:
        """A client connected: it has so long to send the head of a request."""
        super().connection_made(transport)
        self._time_head()

    def on_headers_complete(self) -> None:
        """The head is here; what follows has time-outs of its own."""
        self._forget_head()
        super().on_headers_complete()

    def _time_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def on_message_begin(self) -> None:
        """A request begins: its scope leads back to here."""
        super().on_message_begin()
        self._time_head()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope["extensions"] = {EXTENSION: self}

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
        self.listener = listener
        self.cycle = self.scope = self.headers = self.parser = None  # type: ignore[assignment]
        self.pipeline = _NOTHING
        return True

    def data_received(self, data: bytes) -> None:
        """Somebody who streams has nothing more to say; whatever comes is passed over."""
        if not self._is_taken:
            super().data_received(data)

    def pause_writing(self) -> None:
        """The transport is full."""
        super().pause_writing()
        if self.listener is not None:
            self.listener.on_full()

    def resume_writing(self) -> None:
        """The transport has room again."""
        super().resume_writing()
        if self.listener is not None:
            self.listener.on_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over; nothing is written to it any more."""
        super().connection_lost(exc)
        self._forget_head()
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.on_gone()
        at_end, self.at_end = self.at_end, ()
        for callback in at_end:
            callback()


def wire_of(scope: Scope) -> Wire | None:
    """Return the connection that a request came by, if this server is one that gives it and HTTP/1.1 is spoken."""
    wire = scope.get("extensions", {}).get(EXTENSION)
    return wire if isinstance(wire, Wire) and scope.get("http_version") == "1.1" else None


def when_over(scope: Scope, callback: Callable[[], None]) -> None:
    """Call back when what a request began is over: now that its task ends, or when the stream ends that it began."""
    wire = wire_of(scope)
    if wire is not None and wire.listener is not None:
        wire.at_end = (*wire.at_end, callback)
    else:
        callback()


#: Nobody waits for the end of a stream to get an answer on the same connection.
_NOTHING: deque[Any] = deque(maxlen=0)
