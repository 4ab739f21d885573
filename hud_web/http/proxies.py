"""The address of a client behind proxies, from X-Forwarded-For as the nearest trusted proxy completed it.

Anyone may send the header, and a proxy appends to it. So the list is read from the right: the right-most entry is the
address that the nearest proxy saw, and an entry is believed only if the proxy to its right is trusted. Called by the
app, outermost, so that limits, logs and cookies see the client.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Trust:
    """Which addresses are trusted proxies."""

    def __init__(self, proxies: tuple[str, ...]) -> None:
        """Read the setting.

        Args:
            proxies: addresses and networks; `*` for any address.
        """
        self.is_any = "*" in proxies
        self._networks = [ipaddress.ip_network(text, strict=False) for text in proxies if text != "*"]

    def trusts(self, text: str) -> bool:
        """Return whether this is the address of a trusted proxy."""
        address = _address(text)
        return self.is_any or (address is not None and any(address in network for network in self._networks))


class TrustedProxies:
    """Replaces the peer's address by the client's, if the peer is a trusted proxy; a plain ASGI middleware."""

    def __init__(self, app: ASGIApp, *, proxies: tuple[str, ...]) -> None:
        """Wrap an application.

        Args:
            app: the application.
            proxies: addresses and networks of trusted proxies. `*` means one proxy at any address: its entry, the
                right-most one, is the client.
        """
        self._app = app
        self._trust = Trust(proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] == "http" and self._trust.trusts(scope["client"][0] if scope.get("client") else ""):
            self._take_over(scope)
        await self._app(scope, receive, send)

    def _take_over(self, scope: Scope) -> None:
        chain = _entries(scope, b"x-forwarded-for")
        client: Address | None = None
        for text in reversed(chain):
            entry = _address(text)
            if entry is None:
                break
            client = entry
            if self._trust.is_any or not self._trust.trusts(text):
                break
        if client is not None:
            scope["client"] = (str(client), 0)
        scheme = _entries(scope, b"x-forwarded-proto")[-1:]
        if scheme and scheme[0].lower() in ("http", "https"):
            scope["scheme"] = scheme[0].lower()


def client_of(scope: Scope) -> str:
    """Return the name under which the share of a request's client is counted; see `share_of`."""
    return share_of(scope["client"][0]) if scope.get("client") else "unknown"


@lru_cache(maxsize=4096)
def share_of(text: str) -> str:
    """Return the name under which an address's share is counted: itself, or the network of an IPv6 address.

    A single IPv6 client usually has a whole network of 2**64 addresses (RFC 6177).
    """
    address = _address(text)
    if isinstance(address, ipaddress.IPv6Address) and not address.is_loopback:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return text if address is None else str(address)


def _entries(scope: Scope, name: bytes) -> list[str]:
    """The entries of a list header, over all its lines (RFC 9110 §5.3)."""
    values = [value for key, value in scope["headers"] if key == name]
    return [part.strip() for part in b",".join(values).decode("latin-1").split(",")] if values else []


def _address(text: str) -> Address | None:
    """Read an address, with or without a port; an IPv4 address mapped to IPv6 is IPv4. None for anything else."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
