"""The settings of the web tier: those of training, and its own.

Called by the `hud` command, which reads them once. docs/settings.md lists every variable, and a test compares the two.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal

from hud_publisher.protocol.settings import Settings, choice, flag, number, setting, split_list, tokens
from hud_publisher.protocol.urls import split_hud_url

#: The server that the commands query if HUD_URL is not set.
DEFAULT_URL = "http://localhost:8086"

_HOST = re.compile(
    r"\[([0-9a-f:.]+)\](?::\d+)?|([0-9a-f.]*:[0-9a-f.]*:[0-9a-f:.]*)|(\*|(?:\*\.)?[\w.-]+)(?::\d+)?",
    re.IGNORECASE | re.ASCII,
)
#: A source of CSP frame-ancestors: 'self', 'none', *, a scheme, or a host with optional scheme, port and path.
_SOURCE = re.compile(
    r"'self'|'none'|\*|[a-z][a-z0-9+.-]*:|"
    r"(?:[a-z][a-z0-9+.-]*://)?(?:\[[0-9a-f:.]+\]|(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)(?::(?:\d{1,5}|\*))?/?",
    re.IGNORECASE | re.ASCII,
)


def _proxies(value: object) -> tuple[str, ...]:
    proxies = split_list(value)
    for proxy in proxies:
        try:
            valid = proxy == "*" or bool(ipaddress.ip_network(proxy, strict=False))
        except ValueError:
            valid = False
        if not valid:
            raise ValueError(f"expected addresses or networks such as 10.0.0.0/8, or *, got {proxy[:80]!r}")
    return proxies


def _hosts(value: object) -> tuple[str, ...]:
    if isinstance(value, tuple):  # read before, as are all settings that others are laid over
        return value
    hosts = tuple(_host(host) for host in split_list(value))
    if not hosts:
        raise ValueError("expected names such as hud.example.org, got none")
    return hosts


def _host(text: str) -> str:
    """Return a name in the form that Host headers are compared with: no port, an IPv6 address without brackets."""
    match = _HOST.fullmatch(text)
    if match is None:
        raise ValueError(f"expected names such as hud.example.org or *.example.org, got {text[:80]!r}")
    return next(part for part in match.groups() if part).lower().removesuffix(".")


def _origins(value: object) -> tuple[str, ...]:
    origins = split_list(value)
    for origin in origins:
        if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+", origin):
            raise ValueError(f"expected origins such as https://wiki.example.org, got {origin[:80]!r}")
    return origins


def _ancestors(value: object) -> tuple[str, ...]:
    """Return sources of CSP frame-ancestors; a shell removes the quotes of 'self' and 'none', so both forms count."""
    given = value if isinstance(value, tuple) else str(value).split()
    sources = tuple(f"'{part}'" if part in ("self", "none") else part for part in map(str, given))
    for source in sources:
        if not _SOURCE.fullmatch(source):
            raise ValueError(
                "expected sources separated by spaces, such as 'self' http://localhost:8888 https://*.example.org or "
                f"http://localhost:*, got {source[:80]!r}"
            )
    if "'none'" in sources and len(sources) > 1:
        raise ValueError("expected 'none' alone or a list of sources, got both")
    return sources


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings(Settings):
    """The settings of a server, and of the commands that query one.

    Attributes:
        host: address that the web tier listens on.
        port: its port.
        view_port: a second port for viewers, which accepts no writes; None: there is none.
        insecure: listen beyond loopback although no token is set.
        view_token: tokens that allow viewing, separated by commas; None: everybody may view.
        allowed_hosts: values of the Host header that are answered; none: on loopback its names, elsewhere any.
        cors_origins: origins of other pages that may read from this server; none: no other page.
        frame_ancestors: sources whose pages may embed the page (CSP frame-ancestors); none: no page.
        trusted_proxies: addresses and networks whose X-Forwarded-For and X-Forwarded-Proto are trusted; "*" for one
            proxy at any address.
        streams_per_address: streams that one address may hold at once; 0 for any number.
        alerts: URLs of the receivers of alerts, or the path of a file that names them (hud_web.alerts.config).
        log_level: of the `hud` commands.
        log_format: "text" for people, "json" for a log store.
        data_home: a folder of this user, in which `hud up` keeps runs; None: ~/.local/share.
    """

    host: str = setting("HUD_HOST", "127.0.0.1", str)
    port: int = setting("HUD_PORT", 8086, number(int, 0, 65535))
    view_port: int | None = setting("HUD_VIEW_PORT", None, number(int, 0, 65535))
    insecure: bool = setting("HUD_INSECURE", False, flag)
    view_token: str | None = setting("HUD_VIEW_TOKEN", None, tokens, secret=True)
    allowed_hosts: tuple[str, ...] = setting("HUD_ALLOWED_HOSTS", (), _hosts)
    cors_origins: tuple[str, ...] = setting("HUD_CORS_ORIGINS", (), _origins)
    frame_ancestors: tuple[str, ...] = setting("HUD_FRAME_ANCESTORS", (), _ancestors)
    trusted_proxies: tuple[str, ...] = setting("HUD_TRUSTED_PROXIES", ("127.0.0.1", "::1"), _proxies)
    streams_per_address: int = setting("HUD_STREAMS_PER_ADDRESS", 1_000, number(int, 0, 1_000_000))
    alerts: str | None = setting("HUD_ALERTS", None, str, secret=True)
    log_level: str = setting("HUD_LOG_LEVEL", "info", choice("critical", "error", "warning", "info", "debug"))
    log_format: Literal["text", "json"] = setting("HUD_LOG_FORMAT", "text", choice("text", "json"))
    data_home: str | None = setting("XDG_DATA_HOME", None, str)

    @property
    def view_tokens(self) -> tuple[str, ...]:
        """The tokens that allow viewing."""
        return split_list(self.view_token or "")

    @property
    def page_url(self) -> str | None:
        """The page's address for links in messages: HUD_URL, else that on loopback; None if it is unknown.

        A path of HUD_URL may be a secret link of a proxy, so such a URL is not used.
        """
        if self.hud_url:
            is_tls, host, port, path, has_user = split_hud_url(self.hud_url)
            name = f"[{host}]" if ":" in host else host
            shown = "" if port == (443 if is_tls else 80) else f":{port}"
            return None if path or has_user else f"{'https' if is_tls else 'http'}://{name}{shown}"
        return f"http://localhost:{self.port}" if self.is_loopback and self.port else None

    @property
    def is_loopback(self) -> bool:
        """Whether the web tier listens on this machine's own address only."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
