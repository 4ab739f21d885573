"""Checks whether a host and port can be reached: name, TCP, TLS and HTTP, one after the other.

The result is the kind of obstacle; the caller knows its meaning for a HUD or for Redis. Called by the doctor's checks.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any, Literal

from hud_publisher.protocol.transport.http_client import HudServer

#: Time limit for each step of a check.
TIMEOUT_S = 5.0

#: Redis refuses a connection within milliseconds.
REFUSAL_S = 0.5

Obstacle = Literal["unknown name", "nothing listens", "no way", "no tls", "untrusted"]


@dataclass(frozen=True, slots=True)
class Blocked:
    """An obstacle, and the text of the error that showed it."""

    by: Obstacle
    words: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer; `body` is None if it is not JSON, `location` is None if it is no redirect."""

    status: int
    body: dict[str, Any] | None
    text: str
    location: str | None
    took_s: float
    media_type: str = ""

    @property
    def said(self) -> str:
        """The text of the error in the answer."""
        body = self.body or {}
        return str(body.get("detail") or body.get("error") or "")[:300]


def reach(host: str, port: int, tls: ssl.SSLContext | None = None) -> Blocked | None:
    """Return the obstacle; None if connecting succeeded, and the TLS handshake if there is a context."""
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: the text cannot be a host name
        return Blocked("unknown name", str(error))
    try:
        link = socket.create_connection((host, port), timeout=TIMEOUT_S)
    except ConnectionRefusedError as error:
        return Blocked("nothing listens", str(error))
    except OSError as error:
        return Blocked("no way", str(error))
    with link:
        try:
            if tls is not None:
                tls.wrap_socket(link, server_hostname=host).close()
        except ssl.SSLCertVerificationError as error:
            return Blocked("untrusted", error.verify_message)
        except OSError as error:  # the server closes the connection, sends other data, or waits for more of a command
            return Blocked("no tls", str(getattr(error, "reason", None) or error))
    return None


def refusal(host: str, port: int) -> str:
    """Return the error that Redis sends to each connection unasked before it closes it; "" if it sends none.

    A client that writes first may lose the connection before it has read this reply.
    """
    try:
        with socket.create_connection((host, port), timeout=REFUSAL_S) as link:
            reply = link.recv(512).decode("utf-8", "replace")
    except (OSError, UnicodeError):
        return ""
    return reply[1:] if reply.startswith("-") else ""


def speaks_tls(host: str, port: int) -> bool:
    """Whether a TLS handshake works there, with any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return reach(host, port, context) is None


def ask(server: HudServer, method: str, path: str, body: bytes | None = None) -> Answer | None:
    """Return an answer, None if there was none."""
    connection = server.connect(TIMEOUT_S)
    headers = server.headers() | ({"Content-Type": "application/json"} if body is not None else {})
    began_s = time.monotonic()
    try:
        connection.request(method, server.path + path, body, headers)
        response = connection.getresponse()
        text = response.read(4 * 1024 * 1024)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = None
    return Answer(
        response.status, parsed if isinstance(parsed, dict) else None, text.decode("utf-8", "replace"),
        response.headers["Location"] if 300 <= response.status < 400 else None, time.monotonic() - began_s,
        response.headers.get("Content-Type", ""),
    )  # fmt: skip
