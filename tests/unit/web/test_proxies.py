"""The client's address behind proxies."""

from __future__ import annotations

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from hud_publisher.protocol.errors import ConfigError
from hud_web.http.proxies import TrustedProxies
from hud_web.settings import WebSettings

LOOPBACK = ("127.0.0.1", "::1")


async def seen(proxies: tuple[str, ...], peer: str | None, *lines: str, scheme: str | None = None) -> tuple[str, str]:
    """Return the (address, scheme) that the application sees."""
    found: list[tuple[str, str]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        found.append((request.client.host if request.client else "", request.url.scheme))
        await PlainTextResponse("")(scope, receive, send)

    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in lines]
    if scheme is not None:
        headers.append((b"x-forwarded-proto", scheme.encode()))
    scope: Scope = {
        "type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": headers, "scheme": "http",
        "client": (peer, 4_000) if peer else None, "server": ("10.0.0.1", 80),
    }  # fmt: skip

    async def receive() -> dict[str, object]:
        return {"type": "http.request"}

    async def send(_message: object) -> None: ...

    await TrustedProxies(app, proxies=proxies)(scope, receive, send)
    return found[0]


@pytest.mark.parametrize(
    ("proxies", "peer", "lines", "address"),
    [
        (LOOPBACK, "192.0.2.9", ["203.0.113.7"], "192.0.2.9"),  # an untrusted peer's claim about itself
        (LOOPBACK, "127.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        (LOOPBACK, "127.0.0.1", ["1.1.1.1, 203.0.113.7"], "203.0.113.7"),
        (LOOPBACK, "127.0.0.1", ["1.1.1.1", "203.0.113.7"], "203.0.113.7"),
        (LOOPBACK, "127.0.0.1", ["1.1.1.1,203.0.113.7 , 127.0.0.1"], "203.0.113.7"),
        (LOOPBACK, "127.0.0.1", ["::1"], "::1"),  # a client on this machine
        (LOOPBACK, "::ffff:127.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        (LOOPBACK, "127.0.0.1", [], "127.0.0.1"),
        (LOOPBACK, "127.0.0.1", [""], "127.0.0.1"),
        (LOOPBACK, "127.0.0.1", ["unknown"], "127.0.0.1"),
        (LOOPBACK, "127.0.0.1", ["203.0.113.7, evil\x07name"], "127.0.0.1"),
        (LOOPBACK, "127.0.0.1", ["203.0.113.7:4711"], "203.0.113.7"),
        (LOOPBACK, "127.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        (LOOPBACK, "127.0.0.1", ["2001:DB8:0:0::7"], "2001:db8::7"),
        (LOOPBACK, "127.0.0.1", ["::ffff:203.0.113.7"], "203.0.113.7"),
        (LOOPBACK, "127.0.0.1", ["203.0.113.7," * 5_000], "127.0.0.1"),
        (LOOPBACK, None, ["203.0.113.7"], ""),
        (("127.0.0.1", "10.128.0.0/14"), "127.0.0.1", ["1.1.1.1, 203.0.113.7, 10.129.3.4"], "203.0.113.7"),
        (("10.128.0.5/14",), "10.131.0.1", ["203.0.113.7, 10.128.0.1"], "203.0.113.7"),
        (("*",), "192.0.2.9", ["1.1.1.1, 203.0.113.7"], "203.0.113.7"),
        (("*",), "192.0.2.9", ["1.1.1.1", "203.0.113.7"], "203.0.113.7"),
        (("*",), None, ["1.1.1.1, 203.0.113.7"], "203.0.113.7"),
        (("*",), "192.0.2.9", [], "192.0.2.9"),
        ((), "127.0.0.1", ["203.0.113.7"], "127.0.0.1"),
    ],
)
async def test_the_address_is_the_last_one_that_a_trusted_proxy_vouches_for(
    proxies: tuple[str, ...], peer: str | None, lines: list[str], address: str
) -> None:
    assert (await seen(proxies, peer, *lines))[0] == address


@pytest.mark.parametrize(
    ("peer", "sent", "scheme"),
    [
        ("127.0.0.1", "https", "https"),
        ("127.0.0.1", "http, HTTPS", "https"),
        ("127.0.0.1", "https, http", "http"),
        ("127.0.0.1", "javascript", "http"),
        ("127.0.0.1", "", "http"),
        ("192.0.2.9", "https", "http"),
    ],
)
async def test_the_scheme_comes_from_the_nearest_trusted_proxy(peer: str, sent: str, scheme: str) -> None:
    assert (await seen(LOOPBACK, peer, scheme=sent))[1] == scheme


@pytest.mark.parametrize("value", ["router", "10.0.0.0/40", "*, proxy.example", "10.0.0.1:80"])
def test_a_trusted_proxy_that_is_no_address_is_a_mistake(value: str) -> None:
    with pytest.raises(ConfigError, match="HUD_TRUSTED_PROXIES"):
        WebSettings.from_env({"HUD_TRUSTED_PROXIES": value})
