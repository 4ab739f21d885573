"""What a defect of ours is answered."""

from __future__ import annotations

import json
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route

from hud_publisher.protocol.settings import Settings
from hud_web.app import create_app
from hud_web.headers import HEADERS
from tests.unit.web.asgi import call


def with_a_defect() -> Starlette:
    async def break_down(_request: Any) -> None:
        raise ZeroDivisionError("a secret of the inside")

    app = create_app(Settings.from_env({"REDIS_URL": "redis://127.0.0.1:1"})).app
    app.routes.append(Route("/broken", break_down))
    return app


async def test_a_defect_is_answered_as_json_with_the_security_headers_and_without_its_inside() -> None:
    status, headers, body = await call(with_a_defect(), path="/broken", headers={"Host": "localhost"})
    assert (status, json.loads(body)) == (500, {"error": "Internal error"})
    assert {name.lower(): value for name, value in HEADERS.items()}.items() <= headers.items()
    assert headers["x-request-id"]
