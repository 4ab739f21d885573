"""Splits the URLs of Redis and of the HUD server without ever repeating a piece of one in an error.

A URL may hold a password, and a password with an unescaped `/`, `?`, `#` or `@` ends up in the port, the path or the
query. No message built here contains text of the URL. Does no I/O. Called by protocol.redis_url, protocol.settings and
hud_publisher.sinks.http_sink.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from hud_publisher.protocol.errors import ConfigError

ESCAPES = "write / ? # @ % in a user name or password as %2F %3F %23 %40 %25"

#: A DNS name, an IPv4 address or an IPv6 address in brackets (RFC 3986 §3.2.2), then at most a port.
_HOST = re.compile(r"(?:\[([0-9a-f:.]+(?:%[\w.-]+)?)\]|([\w.-]+))(?::(\d{1,5}))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class UrlParts:
    """The parts of a URL.

    Attributes:
        scheme: in lower case.
        user: still percent-encoded, "" if there is none.
        password: likewise.
        location: the part between the user's `@` and the path, still as one text.
        path: from its first `/`, still percent-encoded.
        query: without its `?`.
    """

    scheme: str
    user: str = field(repr=False)
    password: str = field(repr=False)
    location: str
    path: str = field(repr=False)
    query: str = field(repr=False)


def split_url(url: str, schemes: Collection[str]) -> UrlParts:
    """Return the parts of a URL.

    Raises:
        ConfigError: another scheme, or an `@`, `?` or `#` where only an unescaped password can have left it.
    """
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in schemes:
        raise ConfigError(f"expected a URL that begins with {', '.join(f'{one}://' for one in schemes)}")
    match = re.fullmatch(r"([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?", rest, re.DOTALL)
    assert match is not None  # every text has this form
    authority, path, query, fragment = match[1], match[2], match[3] or "", match[4]
    if fragment is not None or "@" in path:
        raise ConfigError(f"expected nothing but a path and a query after the host, got a '#' or '@' there: {ESCAPES}")
    who, _, location = authority.rpartition("@")
    user, _, password = who.partition(":")
    return UrlParts(scheme, user, password, location, path, query)


def split_host(text: str) -> tuple[str, int | None]:
    """Return (host, port); the port is None if the text has none.

    Raises:
        ConfigError: it is not a host with at most a port.
    """
    match = _HOST.fullmatch(text.strip())
    if match is None or (match[3] is not None and int(match[3]) > 65535):
        raise ConfigError(
            "expected host:port, with a host of letters, digits, '.', '-' and '_' and a port from 0 to 65535, "
            f"got something else: {ESCAPES}"
        )
    return match[1] or match[2], None if match[3] is None else int(match[3])


def split_hud_url(url: str) -> tuple[bool, str, int, str, bool]:
    """Return (whether TLS, host, port, path before `/api`, whether it names a user) of a HUD server's URL.

    Raises:
        ConfigError: it is not of the form http://host:8086.
    """
    parts = split_url(url, ("http", "https"))
    if "@" in parts.query:
        raise ConfigError(f"expected no '@' after the host: {ESCAPES}")
    host, port = split_host(parts.location)
    is_tls = parts.scheme == "https"
    has_user = bool(parts.user or parts.password)
    return is_tls, host, (443 if is_tls else 80) if port is None else port, parts.path.rstrip("/"), has_user
