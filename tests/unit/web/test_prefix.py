"""Requests below a path prefix that a proxy keeps: the part of the path that is served, and the requests refused."""

from __future__ import annotations

import json
import time

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from hud_web.http.prefix import PathPrefix
from tests.unit.web.asgi import call

ROUTES = [
    *(Route(path, lambda _request: PlainTextResponse(), methods=["GET", "POST"]) for path in (
        "/", "/stream", "/openapi.json", "/health", "/api/state", "/api/frames", "/api/frames/{id}", "/api/reporter",
        "/api/reset_session", "/metrics", "/runs", "/api/runs", "/stream/runs",
    )),
    Mount("/static", PlainTextResponse()),
]  # fmt: skip


async def path_seen(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the path that the application sees."""
    await PlainTextResponse(Request(scope).url.path)(scope, receive, send)


app = PathPrefix(path_seen, ROUTES)


@pytest.mark.parametrize(
    "prefix",
    [
        "", "/hud", "/user/ada/proxy/8086", "/api", "/api/v1/hud", "/static", "/a/b/c/d/e/f/g", "/%41 ä",
        "/user/api/static/stream",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/stream",
        "/health",
        "/openapi.json",
        "/api/state",
        "/api/frames",
        "/api/frames/17-0",
        "/api/runs",
        "/stream/runs",
        "/static/js/shell/main.js",
    ],
)
async def test_every_endpoint_of_the_page_is_served_below_any_prefix(prefix: str, path: str) -> None:
    assert (await call(app, path=prefix + path))[2].decode() == path


@pytest.mark.parametrize("prefix", ["/hud", "/user/ada/proxy/8086", "/static", "/api/v1"])
async def test_a_page_whose_name_ends_an_endpoints_is_served_below_a_prefix(prefix: str) -> None:
    assert (await call(app, path=f"{prefix}/runs"))[2] == b"/runs"


@pytest.mark.parametrize(
    "path",
    ["/x/metrics", "/x/apistate", "/api/state/", "/health/", "/metrics/", "/x/static", "/nosuch", "/x/state.css"],
)
async def test_a_path_that_names_no_endpoint_is_not_changed(path: str) -> None:
    assert (await call(app, path=path))[2].decode() == path


@pytest.mark.parametrize("path", ["/api/frames/stream", "/api/frames/health", "/metrics", "/static/js/x/health.js"])
async def test_a_path_that_a_route_serves_is_not_taken_for_a_prefix(path: str) -> None:
    assert (await call(app, path=path))[2].decode() == path


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "post", "BREW"])
@pytest.mark.parametrize("path", ["/x/api/reset_session", "/api/x/api/reset_session", "//api/reset_session", "/x/"])
async def test_writes_are_refused_below_a_prefix(method: str, path: str) -> None:
    status, _headers, body = await call(app, method, path)
    assert status == 403
    assert json.loads(body)["error"] == "View only"


async def test_the_page_may_choose_the_shown_env_below_a_prefix() -> None:
    assert (await call(app, "POST", "/x/api/reporter"))[2] == b"/api/reporter"


async def test_writes_without_a_prefix_pass() -> None:
    assert (await call(app, "POST", "/api/reset_session"))[2] == b"/api/reset_session"


@pytest.mark.parametrize("path", ["/hud", "/user/ada/proxy/8086", "//evil.example", "/javascript:alert(1)", "/a b"])
async def test_a_browser_that_leaves_out_the_last_slash_is_sent_to_the_page(path: str) -> None:
    status, headers, _body = await call(app, path=path, headers={"Accept": "text/html,*/*"})
    if path == "//evil.example":  # no prefix begins with an empty segment
        assert status == 200
        return
    assert status == 307
    # relative, so it holds wherever the proxy puts it; "./" because a segment may hold a colon
    assert headers["location"].startswith("./")
    assert headers["location"].endswith("/")


@pytest.mark.parametrize("path", ["/api/nosuch", "/static", "/metrics", "/health"])
async def test_a_misspelt_endpoint_is_not_taken_for_a_prefix(path: str) -> None:
    assert (await call(app, path=path, headers={"Accept": "text/html"}))[0] == 200


async def test_a_path_of_many_segments_costs_little() -> None:
    path = "/x" * 30_000
    began_s = time.perf_counter()
    assert (await call(app, path=path))[2].decode() == path
    assert time.perf_counter() - began_s < 0.5
