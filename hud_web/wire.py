"""uvicorn's own HTTP protocol, plus two things: a stream may reach its transport, and a slow head has an end.

Chosen by uvicorn's public option `http=`. Owns the way from the ASGI scope to the transport and back; everything else
is uvicorn's. Called by `outlet`.
"""

from __future__ import annotations

import asyncio
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
        listener: while a stream runs, whom to tell.
        is_gone: the connection is lost.
    """

    listener: TransportListener | None = None
    is_gone = False
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
        self.is_gone = True
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.on_gone()


def wire_of(scope: Scope) -> Wire | None:
    """Return the connection that a request came by, if this server is one that gives it and HTTP/1.1 is spoken."""
    wire = scope.get("extensions", {}).get(EXTENSION)
    return wire if isinstance(wire, Wire) and scope.get("http_version") == "1.1" else None
