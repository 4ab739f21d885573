"""Checks the Host header: the server answers only to its names (RFC 9110 §7.2). Called by the app.

Otherwise a foreign page could reach a server on loopback by a name that resolves to loopback (DNS rebinding).
"""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from hud_publisher.protocol.errors import MalformedError
from hud_web.http.errors import answer_hud_error

#: A name, or an IPv6 address in brackets, with or without a port.
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:/@\s]+))(?::[0-9]*)?", re.IGNORECASE)


class TrustedHosts:
    """Refuses requests that name another host; a plain ASGI middleware."""

    def __init__(self, app: ASGIApp, *, hosts: tuple[str, ...]) -> None:
        """Wrap an application.

        Args:
            app: the wrapped application.
            hosts: from the settings; `*.example.org` for all names below, `*` for any.
        """
        self._app = app
        self._names = frozenset(hosts)
        self._ends = tuple(host[1:] for host in hosts if host.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] != "http" or "*" in self._names or self._is_known(scope):
            await self._app(scope, receive, send)
            return
        given = ", ".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"host")
        error = MalformedError(
            f"this server does not accept the host name {given[:100]!r}: if it is one of its names, for example a "
            "proxy's, add it to HUD_ALLOWED_HOSTS"
        )
        await (await answer_hud_error(Request(scope), error))(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        match = _HOST.fullmatch(given[0]) if len(given) == 1 else None
        if match is None:
            return False
        name = (match[1] or match[2]).lower().removesuffix(".")
        return name in self._names or name.endswith(self._ends)
