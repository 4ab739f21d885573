"""Ids, counts and log lines of requests."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from hud_web.access import logs
from hud_web.access.request_log import RequestLog
from hud_web.store.tally import Tally
from tests.unit.web.asgi import call


@pytest.fixture
def lines() -> Iterator[Any]:
    """A function that returns the JSON lines logged, parsed."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    root.handlers.clear()
    written = io.StringIO()
    logs.configure("debug", "json", written)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    root.handlers[:] = before
    root.setLevel(level)


def test_a_line_for_people_holds_no_other_line_and_no_colour() -> None:
    root = logging.getLogger()
    before, level, written = list(root.handlers), root.level, io.StringIO()
    logs.configure("info", "text", written)
    logging.getLogger("hud.test").info("%s %s", "a\nFORGED", "\x1b[31m\u2028\x85é")
    root.handlers[:] = before
    root.setLevel(level)
    assert written.getvalue().endswith("INFO hud.test: a\\nFORGED \\x1b[31m\\u2028\\x85é\n")


def answering(status: int, tally: Tally | None = None) -> ASGIApp:
    async def answer(_request: Request) -> PlainTextResponse:
        logging.getLogger("hud.test").info("working")
        return PlainTextResponse("", status)

    return RequestLog(Starlette(routes=[Route("/api/frames/{id}", answer, methods=["GET"])]), tally or Tally())


async def test_a_request_keeps_the_id_that_its_proxy_gave_it(lines: Any) -> None:
    _status, headers, _body = await call(answering(200), path="/api/frames/1", headers={"X-Request-Id": "router-7"})
    assert headers["x-request-id"] == "router-7"
    assert [line["request_id"] for line in lines() if line["logger"].startswith("hud.")] == ["router-7", "router-7"]


@pytest.mark.parametrize("given", ["", "two words", "a" * 129, 'x"y', "line\nbreak"])
async def test_an_id_that_is_none_is_replaced(given: str) -> None:
    _status, headers, _body = await call(answering(200), path="/api/frames/1", headers={"X-Request-Id": given})
    assert headers["x-request-id"] != given
    assert len(headers["x-request-id"]) == 16


async def test_lines_outside_of_a_request_have_no_id(lines: Any) -> None:
    await call(answering(200), path="/api/frames/1")
    logging.getLogger("hud.test").info("afterwards")
    assert "request_id" not in lines()[-1]


@pytest.mark.parametrize(("status", "level"), [(200, "debug"), (404, "info"), (503, "warning")])
async def test_failures_stand_out_in_the_log(lines: Any, status: int, level: str) -> None:
    await call(answering(status), path="/api/frames/1")
    line = lines()[-1]
    assert (line["level"], line["status"], line["path"], line["method"]) == (level, status, "/api/frames/1", "GET")
    assert line["duration_ms"] >= 0


async def test_requests_are_counted_by_route_not_by_path() -> None:
    tally = Tally()
    for number in range(3):
        await call(answering(200, tally), path=f"/api/frames/{number}")
    assert tally.requests == {("GET", "/api/frames/{id}", 200): 3}


async def test_nobody_can_grow_the_counts_by_inventing_paths_and_methods() -> None:
    tally = Tally()
    for number in range(50):
        await call(answering(200, tally), f"M{number}", f"/invented/{number}")
    assert len(tally.requests) == 1


def test_a_message_cannot_forge_a_line(lines: Any) -> None:
    logging.getLogger("hud.test").warning('first\n{"level": "error"}')
    assert [line["message"] for line in lines()] == ['first\n{"level": "error"}']


def test_an_exception_is_in_its_line(lines: Any) -> None:
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("hud.test").exception("it failed", extra={"channel": "default"})
    (line,) = lines()
    assert line["channel"] == "default"
    assert "ValueError: why" in line["error"]
    assert line["time"].endswith("Z")
