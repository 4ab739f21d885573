"""Parses the URLs of Redis and of the HUD server without ever repeating a piece of one in an error.

    redis://[user:password@]host[:6379][/db]           rediss:// for TLS
    unix://[user:password@]/path/to/socket[?db=0]
    redis+sentinel://[user:password@]host[:26379],host…/service[/db]     rediss+sentinel:// for TLS
    redis+cluster://[user:password@]host[:6379],host…                    rediss+cluster:// for TLS
    http://host[:80][/path]                            https:// for TLS

Query options of Redis: `db`, `username`, `password`, `sentinel_username`, `sentinel_password`, and for TLS
`ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, `ssl_keyfile_password`, `ssl_cert_reqs` (required, optional, none) and
`ssl_check_hostname`.

A URL may hold a password, and a password with an unescaped `/`, `?`, `#` or `@` ends up in the port, the path or the
query. No message built here contains text of the URL. Does no I/O. Called by both sides, so both reach the same server.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.texts import without_arguments

ESCAPES = "write / ? # @ % in a user name or password as %2F %3F %23 %40 %25"

#: A DNS name, an IPv4 address or an IPv6 address in brackets (RFC 3986 §3.2.2), then at most a port.
_HOST = re.compile(r"(?:\[([0-9a-f:.]+(?:%[\w.-]+)?)\]|([\w.-]+))(?::(\d{1,5}))?", re.IGNORECASE)

Kind = Literal["single", "unix", "sentinel", "cluster"]

_SCHEMES: dict[str, tuple[Kind, bool]] = {
    "redis": ("single", False),
    "rediss": ("single", True),
    "unix": ("unix", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_PORTS: dict[Kind, int] = {"single": 6379, "unix": 0, "sentinel": 26379, "cluster": 6379}
_TLS_OPTIONS = (
    "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_keyfile_password", "ssl_cert_reqs", "ssl_check_hostname",
)  # fmt: skip
_OPTIONS = frozenset({"db", "username", "password", "sentinel_username", "sentinel_password", *_TLS_OPTIONS})


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


@dataclass(frozen=True, slots=True)
class RedisTarget:
    """The address of Redis and the credentials for it.

    Attributes:
        kind: one server, one server over a Unix socket, a master found by Sentinel, or a cluster.
        hosts: (host, port) of the server, the sentinels, or the cluster's first nodes; empty for a socket.
        path: of the Unix socket.
        db: number of the database; 0 on a cluster.
        username: for AUTH.
        password: for AUTH.
        service: the master's name that the sentinels know.
        sentinel_username: for AUTH at the sentinels.
        sentinel_password: for AUTH at the sentinels.
        tls: options of redis-py that begin with `ssl_`; None without TLS.
    """

    kind: Kind
    hosts: tuple[tuple[str, int], ...] = ()
    path: str | None = None
    db: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    service: str | None = None
    sentinel_username: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)
    tls: Mapping[str, str | bool] | None = field(default=None, repr=False)

    def client_options(self) -> dict[str, Any]:
        """Return the keyword arguments of redis-py's clients (both kinds): credentials, database, TLS, but no hosts."""
        options: dict[str, Any] = {"username": self.username, "password": self.password}
        if self.kind != "cluster":
            options["db"] = self.db
        return options | self._tls_options()

    def sentinel_options(self) -> dict[str, Any]:
        """Return the same for the connections to the sentinels."""
        return {"username": self.sentinel_username, "password": self.sentinel_password} | self._tls_options()

    def _tls_options(self) -> dict[str, Any]:
        return {} if self.tls is None else {"ssl": True, **self.tls}

    def hide_secrets(self, text: str) -> str:
        """Return a server's error text without the credentials that some servers repeat in it."""
        text = without_arguments(text)
        for secret in (self.password, self.sentinel_password):
            text = text.replace(secret, "…") if secret else text
        return text

    def __str__(self) -> str:
        """The address without user and password, for logs."""
        if self.kind == "unix":
            return f"unix://{self.path}?db={self.db}"
        scheme = next(name for name, known in _SCHEMES.items() if known == (self.kind, self.tls is not None))
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        service = f"/{self.service}" if self.service else ""
        return f"{scheme}://{hosts}{service}" + ("" if self.kind == "cluster" else f"/{self.db}")


def parse_redis_url(url: str) -> RedisTarget:
    """Return the servers, the credentials and the options that the URL names.

    Raises:
        ConfigError: it has none of the forms above. The message holds no part of the URL, which may hold a password.
    """
    try:
        return _parse(url)
    except ConfigError as error:
        raise ConfigError(f"REDIS_URL: {error}") from None


def _parse(url: str) -> RedisTarget:
    parts = split_url(url, _SCHEMES)
    kind, is_tls = _SCHEMES[parts.scheme]
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if options.keys() - _OPTIONS:
        raise ConfigError(f"the URL has an unknown option; known are {', '.join(sorted(_OPTIONS))}: {ESCAPES}")
    path = [unquote(part) for part in parts.path.split("/") if part]
    service = None
    if kind == "sentinel":
        if not path:
            raise ConfigError("the URL has no name of a service: write redis+sentinel://host:26379/service/0")
        service = path.pop(0)
    if kind == "unix":
        is_split_password = "@" in unquote(parts.path) and (parts.user or parts.password)
        if not parts.path.strip("/") or parts.location or is_split_password:
            raise ConfigError(f"expected unix:///path/to/socket with three slashes, got another form: {ESCAPES}")
    elif len(path) > 1 or (path and kind == "cluster"):
        raise ConfigError(f"the path of the URL has more than a database number: {ESCAPES}")
    db_text = options.get("db") or ("0" if kind == "unix" or not path else path[0])
    if not db_text.isascii() or not db_text.isdigit() or (kind == "cluster" and db_text != "0"):
        raise ConfigError(f"expected a database number (0 on a cluster), got something else: {ESCAPES}")
    return RedisTarget(
        kind=kind,
        hosts=() if kind == "unix" else _hosts(parts.location, _PORTS[kind], several=kind != "single"),
        path=unquote(parts.path) if kind == "unix" else None,
        db=int(db_text),
        username=options.get("username") or unquote(parts.user) or None,
        password=options.get("password") or unquote(parts.password) or None,
        service=service,
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
        tls=_tls(options) if is_tls else None,
    )


def _hosts(location: str, port: int, *, several: bool) -> tuple[tuple[str, int], ...]:
    hosts = [split_host(part) for part in location.split(",")]
    if len(hosts) > 1 and not several:
        raise ConfigError(f"expected one host, got {len(hosts)}: use redis+sentinel:// or redis+cluster:// for several")
    return tuple((host, port if number is None else number) for host, number in hosts)


def _tls(options: Mapping[str, str]) -> dict[str, str | bool]:
    tls: dict[str, str | bool] = {name: options[name] for name in _TLS_OPTIONS if options.get(name)}
    if "ssl_cert_reqs" in tls and tls["ssl_cert_reqs"] not in ("required", "optional", "none"):
        raise ConfigError("expected ssl_cert_reqs of required, optional or none, got something else")
    if "ssl_check_hostname" in tls:
        tls["ssl_check_hostname"] = str(tls["ssl_check_hostname"]).lower() in ("1", "true", "yes", "on")
    elif tls.get("ssl_cert_reqs") == "none":
        tls["ssl_check_hostname"] = False  # redis-py refuses to check names of certificates that it does not check
    return tls
