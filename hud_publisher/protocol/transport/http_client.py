"""Connections from HUD's own programs to a HUD server: direct, and limited in time as a whole.

Owns three rules that all of HUD's HTTP clients share. They connect directly: they read no proxy variable of the
environment and follow no redirect. A time limit applies to a whole request or a whole answer: the timeout of a socket
applies to one read only, so a server that sends a byte per second would block a client forever. No message shows more
of a URL than its host and port. Called by hud_publisher.sinks.http_sink and by the `hud` command.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.urls import split_hud_url

#: A piece of a request body that is sent with one call: OpenSSL applies a socket's timeout to each 16 kB record.
_PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class HudServer:
    """The address of a HUD server, and the token for it.

    Attributes:
        is_tls: whether its URL begins with https.
        host: its name or address; an IPv6 address without brackets.
        port: its port.
        path: the path before `/api`, where a proxy adds one.
        token: the bearer token; None: none is sent.
    """

    is_tls: bool
    host: str
    port: int
    path: str = field(default="", repr=False)
    token: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """The address for messages; a path may be a secret link of a proxy, so it is not shown."""
        return f"{self._origin}{'/…' if self.path else ''}"

    @property
    def page(self) -> str:
        """The address of the page, with its path and without a slash at its end: for the user of a training."""
        return f"{self._origin}{self.path.rstrip('/')}"

    @property
    def _origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == (443 if self.is_tls else 80) else f":{self.port}"
        return f"{'https' if self.is_tls else 'http'}://{host}{port}"

    def connect(self, timeout_s: float) -> Connection:
        """Return a connection that is not open yet; `timeout_s` limits connecting, a request, and an answer."""
        kind = _TlsConnection if self.is_tls else _PlainConnection
        return kind(self.host, self.port, timeout=timeout_s)

    def headers(self) -> dict[str, str]:
        """Return the headers that carry the token."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def parse_hud_url(url: str, token: str | None = None) -> HudServer:
    """Return the server that HUD_URL names; a query such as `?channel=` is not part of an address.

    Raises:
        ConfigError: there is no host, or a user and password, which a HUD server does not know.
    """
    try:
        is_tls, host, port, path, has_user = split_hud_url(url)
    except ConfigError as error:
        raise ConfigError(f"HUD_URL: {error}") from None
    if has_user:
        raise ConfigError("HUD_URL holds a user or a password: remove them, and set HUD_TOKEN instead")
    return HudServer(is_tls, host, port, path, token)


class _Limited:
    """Mixed into http.client's connections: limits each request and each answer as a whole."""

    sock: Any
    timeout: Any
    _answer_by = float("inf")

    def send(self, data: Any) -> None:
        """Send one piece of a request, in at most the connection's timeout."""
        if self.sock is None or not isinstance(data, bytes):
            super().send(data)  # type: ignore[misc]
            return
        send_by = time.monotonic() + self.timeout
        for start in range(0, len(data), _PIECE_BYTES):
            self.sock.settimeout(_left_s(send_by))
            self.sock.sendall(data[start : start + _PIECE_BYTES])

    def limit_answer(self, seconds: float) -> None:
        """Limit the time for everything that is read from now on; a later read raises TimeoutError."""
        self._answer_by = time.monotonic() + seconds

    def getresponse(self) -> http.client.HTTPResponse:
        """Return the answer; its head and body must come within the connection's timeout, unless limited anew."""
        self.limit_answer(self.timeout)
        response: http.client.HTTPResponse = super().getresponse()  # type: ignore[misc]
        return response

    def response_class(self, sock: socket.socket, **options: Any) -> http.client.HTTPResponse:
        """Return http.client's response object, which reads from a socket with the time limit."""
        return http.client.HTTPResponse(_LimitedSocket(sock, self), **options)  # type: ignore[arg-type]


class _PlainConnection(_Limited, http.client.HTTPConnection):  # type: ignore[misc]
    """A connection without TLS."""


class _TlsConnection(_Limited, http.client.HTTPSConnection):  # type: ignore[misc]
    """A connection with TLS."""


Connection = _PlainConnection | _TlsConnection


class _LimitedSocket(io.RawIOBase):
    """Reads a socket; the time that is left is the timeout of each read."""

    def __init__(self, sock: socket.socket, connection: _Limited) -> None:
        self._sock, self._connection = sock, connection
        # The file keeps the socket open after http.client has closed its handle because of `Connection: close`.
        self._raw = sock.makefile("rb", buffering=0)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_left_s(self._connection._answer_by))
        return int(self._raw.readinto(buffer) or 0)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _left_s(by: float) -> float:
    left_s = by - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("timed out")
    return min(left_s, 3600.0)
