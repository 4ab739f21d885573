"""Reads REDIS_URL: which servers, over what, as whom. Does no I/O.

    redis://[user:password@]host[:6379][/db]           rediss:// for TLS
    unix://[user:password@]/path/to/socket[?db=0]
    redis+sentinel://[user:password@]host[:26379],host…/service[/db]     rediss+sentinel:// for TLS
    redis+cluster://[user:password@]host[:6379],host…                    rediss+cluster:// for TLS

Query options: `db`, `username`, `password`, `sentinel_username`, `sentinel_password`, and for TLS `ssl_ca_certs`,
`ssl_certfile`, `ssl_keyfile`, `ssl_keyfile_password`, `ssl_cert_reqs` (required, optional, none) and
`ssl_check_hostname`. Called by hud_publisher.redis_client (synchronous) and by the web tier (asyncio), so both reach
the same server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from hud_publisher.protocol.errors import ConfigError

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
class RedisTarget:
    """Where Redis is.

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
        """Keyword arguments of redis-py's clients (both kinds): who, which database, TLS. Hosts are not among them."""
        options: dict[str, Any] = {"username": self.username, "password": self.password}
        if self.kind != "cluster":
            options["db"] = self.db
        return options | self._tls_options()

    def sentinel_options(self) -> dict[str, Any]:
        """The same for the connections to the sentinels."""
        return {"username": self.sentinel_username, "password": self.sentinel_password} | self._tls_options()

    def _tls_options(self) -> dict[str, Any]:
        return {} if self.tls is None else {"ssl": True, **self.tls}

    def __str__(self) -> str:
        """Where it is, without user and password: for logs."""
        if self.kind == "unix":
            return f"unix://{self.path}?db={self.db}"
        scheme = next(name for name, known in _SCHEMES.items() if known == (self.kind, self.tls is not None))
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        service = f"/{self.service}" if self.service else ""
        return f"{scheme}://{hosts}{service}" + ("" if self.kind == "cluster" else f"/{self.db}")


def parse_redis_url(url: str) -> RedisTarget:
    """Return what the URL says.

    Raises:
        ConfigError: it is none of the forms above. The message never holds the URL, which may hold a password.
    """
    try:
        parts = urlsplit(url)
        kind, is_tls = _SCHEMES[parts.scheme]
    except (ValueError, KeyError):
        raise _mistake(f"one of {', '.join(f'{name}://' for name in _SCHEMES)}", "another scheme") from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(options.keys() - _OPTIONS):
        raise _mistake(f"options among {', '.join(sorted(_OPTIONS))}", ", ".join(unknown))
    user, password, location = _credentials(parts)
    path = [unquote(part) for part in parts.path.split("/") if part]
    service = None
    if kind == "sentinel":
        if not path:
            raise _mistake("redis+sentinel://host:26379/service/0", "no service name")
        service = path.pop(0)
    if kind == "unix":
        if not parts.path.strip("/"):
            raise _mistake("unix:///path/to/socket", "no path")
    elif len(path) > 1 or (path and kind == "cluster"):
        raise _mistake("at most a database number after the host", f"/{'/'.join(path)}")
    db_text = options.get("db") or ("0" if kind == "unix" or not path else path[0])
    if not db_text.isascii() or not db_text.isdigit() or (kind == "cluster" and db_text != "0"):
        raise _mistake("a database number (0 on a cluster)", repr(db_text[:20]))
    return RedisTarget(
        kind=kind,
        hosts=() if kind == "unix" else _hosts(location, _PORTS[kind], several=kind != "single"),
        path=unquote(parts.path) if kind == "unix" else None,
        db=int(db_text),
        username=options.get("username") or user,
        password=options.get("password") or password,
        service=service,
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
        tls=_tls(options) if is_tls else None,
    )


def _mistake(expected: str, got: str) -> ConfigError:
    return ConfigError(f"REDIS_URL: expected {expected}, got {got}")


def _credentials(parts: SplitResult) -> tuple[str | None, str | None, str]:
    """(user, password, the rest) of the part between `//` and the path."""
    who, _, location = parts.netloc.rpartition("@")
    user, _, password = who.partition(":")
    return unquote(user) or None, unquote(password) or None, location


def _hosts(location: str, port: int, *, several: bool) -> tuple[tuple[str, int], ...]:
    hosts = [_host(part, port) for part in location.split(",")]
    if len(hosts) > 1 and not several:
        raise _mistake("one host", f"{len(hosts)}: use redis+sentinel:// or redis+cluster:// for several")
    return tuple(hosts)


def _host(text: str, port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text.strip()}")
        host, number = parts.hostname, parts.port
    except ValueError:
        raise _mistake("host:port", "a port that is no number from 0 to 65535") from None
    if not host:
        raise _mistake("a host name", "none")
    return host, port if number is None else number


def _tls(options: Mapping[str, str]) -> dict[str, str | bool]:
    tls: dict[str, str | bool] = {name: options[name] for name in _TLS_OPTIONS if options.get(name)}
    if "ssl_cert_reqs" in tls and tls["ssl_cert_reqs"] not in ("required", "optional", "none"):
        raise _mistake("ssl_cert_reqs of required, optional or none", repr(tls["ssl_cert_reqs"]))
    if "ssl_check_hostname" in tls:
        tls["ssl_check_hostname"] = str(tls["ssl_check_hostname"]).lower() in ("1", "true", "yes", "on")
    elif tls.get("ssl_cert_reqs") == "none":
        tls["ssl_check_hostname"] = False  # redis-py refuses to check names of certificates that it does not check
    return tls
