"""The viewing port permits reading only."""

from __future__ import annotations

import json

import pytest
from starlette.responses import PlainTextResponse

from hud_web.access.view_only import ViewOnly
from tests.unit.web.asgi import call

VIEW, MAIN = 8087, 8086
app = ViewOnly(PlainTextResponse("reached"), VIEW)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "post", "BREW"])
async def test_a_client_of_the_viewing_port_cannot_write(method: str) -> None:
    status, _headers, body = await call(app, method, "/api/reset_session", port=VIEW)
    assert status == 403
    assert json.loads(body)["error"] == "View only"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_a_client_of_the_viewing_port_can_read(method: str) -> None:
    assert (await call(app, method, "/stream", port=VIEW))[2] == b"reached"


async def test_the_metrics_stay_inside() -> None:
    assert (await call(app, "GET", "/metrics", port=VIEW))[0] == 404
    assert (await call(app, "GET", "/metrics", port=MAIN))[0] == 200


async def test_the_main_port_takes_writes() -> None:
    assert (await call(app, "POST", "/api/reset_session", port=MAIN))[2] == b"reached"


@pytest.mark.parametrize("name", ["Host", "X-Forwarded-Port", "X-Forwarded-Host", "Forwarded"])
async def test_no_header_makes_the_viewing_port_another(name: str) -> None:
    status, _headers, _body = await call(app, "POST", "/api/publish", port=VIEW, headers={name: f"localhost:{MAIN}"})
    assert status == 403


async def test_a_page_learns_from_each_answer_that_it_cannot_write() -> None:
    assert (await call(app, "GET", "/api/runs", port=VIEW))[1]["hud-access"] == "view"
    assert "hud-access" not in (await call(app, "GET", "/api/runs", port=MAIN))[1]
