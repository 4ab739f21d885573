"""The security headers of every answer. Called by the app."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    # Nothing from other origins, nothing inline, no frame around it (W3C Content Security Policy Level 3).
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "font-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SecurityHeaders:
    """Adds them; a plain ASGI middleware that changes the first message only, so streams pass at no cost."""

    def __init__(self, app: ASGIApp, *, is_shared: bool = False, ancestors: tuple[str, ...] = ()) -> None:
        """Wrap an application.

        Args:
            app: the wrapped application.
            is_shared: pages of other origins may use the answers (CORS names those origins).
            ancestors: sources whose pages may embed the page (CSP Level 3 §6.4.2, frame-ancestors); none: no page.
        """
        self._app = app
        self._headers = HEADERS | ({"Cross-Origin-Resource-Policy": "cross-origin"} if is_shared else {})
        if ancestors:
            policy = self._headers["Content-Security-Policy"]
            self._headers["Content-Security-Policy"] = policy.replace(
                "frame-ancestors 'none'", f"frame-ancestors {' '.join(ancestors)}"
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)
