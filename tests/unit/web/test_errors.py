"""The responses and log lines of unexpected errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from hud_publisher.protocol.errors import UnavailableError
from hud_web.app import create_app
from hud_web.http.headers import HEADERS
from hud_web.settings import WebSettings
from tests.unit.web.asgi import call


def with_a_defect() -> Starlette:
    async def break_down(_request: Any) -> None:
        raise ZeroDivisionError("a secret of the inside")

    app = create_app(WebSettings.from_env({"REDIS_URL": "redis://127.0.0.1:1"})).app
    app.routes.append(Route("/broken", break_down))
    return app


async def test_a_defect_is_answered_as_json_with_the_security_headers_and_without_its_inside() -> None:
    status, headers, body = await call(with_a_defect(), path="/broken", headers={"Host": "localhost"})
    assert (status, json.loads(body)) == (500, {"error": "Internal error"})
    assert {name.lower(): value for name, value in HEADERS.items()}.items() <= headers.items()
    assert headers["x-request-id"]


async def test_an_answer_that_redis_cuts_short_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Export(Response):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            raise UnavailableError("Redis went away")

    async def export(_request: Any) -> Response:
        return Export()

    app = create_app(WebSettings.from_env({"REDIS_URL": "redis://127.0.0.1:1"})).app
    app.routes.append(Route("/cut", export))
    assert (await call(app, path="/cut", headers={"Host": "localhost"}))[2] == b"first"
    assert [(record.name, record.getMessage(), record.exc_info) for record in caplog.records] == [
        ("hud.web", "an answer was cut short: Redis went away", None)
    ]


@pytest.mark.parametrize(
    ("settings", "method", "path", "body", "status", "detail"),
    [
        ({}, "GET", "/api/sessions", b"", 503, "Redis did not answer (ConnectionError): see /ready and `hud doctor`"),
        ({"HUD_TOKEN": "secret"}, "POST", "/api/heartbeat", b"{}", 401,
         "the request lacks the server's HUD_TOKEN: send it as 'Authorization: Bearer <token>'"),
        ({}, "POST", "/api/register_session", b'{"takeover": true}', 401,
         "this needs a token, and the server has none: set HUD_TOKEN on the server first"),
        ({}, "POST", "/api/heartbeat", b"{}", 403,
         "the request has no session_id: POST /api/register_session first"),
        ({}, "POST", "/api/heartbeat", b"{", 400, "the text is not JSON: "),
        ({}, "POST", "/api/heartbeat", b"[]", 400, "expected a JSON object, got list: send {…}"),
    ],
    ids=["Redis away", "no token", "a server without token", "no session", "no JSON", "a value"],
)  # fmt: skip
async def test_a_refusal_says_what_happened_and_what_to_do(
    settings: dict[str, str], method: str, path: str, body: bytes, status: int, detail: str
) -> None:
    app = create_app(WebSettings.from_env({"REDIS_URL": "redis://127.0.0.1:1", **settings})).app
    answer = await call(app, method, path, headers={"Host": "localhost"}, body=body)
    assert (answer[0], json.loads(answer[2])["detail"][: len(detail)]) == (status, detail)
