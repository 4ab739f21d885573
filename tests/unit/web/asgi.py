"""Calls an ASGI application without a server."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp, Message


async def call(
    app: ASGIApp,
    method: str = "GET",
    path: str = "/",
    *,
    port: int = 8086,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
) -> tuple[int, dict[str, str], bytes]:
    """Return (status, headers, body) of one request on `port`."""
    sent: list[Message] = []
    scope: dict[str, Any] = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "scheme": "http", "server": ("10.0.0.1", port), "client": ("10.0.0.2", 40_000), "http_version": "1.1",
    }  # fmt: skip

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    answer = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}, answer
