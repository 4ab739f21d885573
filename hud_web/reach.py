"""Whether a host and port can be reached at all: name, TCP, TLS, one step after the other.

Says what stands in the way in one word; what that means for a HUD or for Redis is the caller's to say. Called by the
doctor's checks.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import Literal

Obstacle = Literal["unknown name", "nothing listens", "no way", "no tls", "untrusted"]


@dataclass(frozen=True, slots=True)
class Blocked:
    """What stands in the way, and the words of whoever noticed."""

    by: Obstacle
    words: str


def reach(host: str, port: int, timeout_s: float, tls: ssl.SSLContext | None = None) -> Blocked | None:
    """Return what stands in the way; None where connecting, and the TLS handshake where one is wanted, went well."""
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: no name could look like that
        return Blocked("unknown name", str(error))
    try:
        link = socket.create_connection((host, port), timeout=timeout_s)
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
        except OSError as error:  # it hangs up, answers something else, or waits for the rest of a command
            return Blocked("no tls", str(getattr(error, "reason", None) or error))
    return None


def speaks_tls(host: str, port: int, timeout_s: float) -> bool:
    """Whether a TLS handshake works there, whoever signed its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return reach(host, port, timeout_s, context) is None
