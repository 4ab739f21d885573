"""The page reports each fault and recovers without a reload."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.conftest import LONG_LEASE
from tests.browser.page import Screen
from tests.browser.run import Run, color_of
from tests.fixtures.servers import Server
from tests.fixtures.web import WebServer

Open = Callable[..., Screen]
StartRun = Callable[..., Run]
Serve = Callable[..., WebServer]


@pytest.fixture
def server(serve: Serve) -> WebServer:
    """A web server that only this test uses, and may damage."""
    return serve(environment=LONG_LEASE)


def test_the_page_reports_a_killed_server_and_recovers_by_itself(
    server: WebServer, start_run: StartRun, open_page: Open
) -> None:
    run = start_run(server=server)
    run.log({"n": 1})
    run.frame(color_of(1), step=1)
    screen = open_page(server=server)
    screen.expect_problem("ERR_|Failed to load")
    screen.wait_metric("n", "1")
    screen.page.evaluate("() => { window.stayed = true }")
    server.kill()
    screen.wait_state("RECONNECTING")
    screen.wait_text("#lights", "Server down")
    screen.wait_text("#banner", "The data shown may be old.")
    assert screen.page.title().startswith("RECONNECTING")
    assert screen.metric("n") == "1"
    server.start()
    run.log({"n": 2})
    run.frame(color_of(2), step=2)
    screen.wait_metric("n", "2")
    screen.wait_pixel(color_of(2))
    screen.wait_text("#lights", "Server connected")
    assert screen.find("#banner").is_hidden()
    assert screen.page.evaluate("() => window.stayed") is True


def test_a_refused_stream_is_retried_until_the_server_accepts_it(
    serve: Serve, start_run: StartRun, open_page: Open
) -> None:
    server = serve(environment=LONG_LEASE | {"HUD_STREAMS_PER_ADDRESS": "1"})
    run = start_run(server=server)
    run.log({"n": 1})
    first = open_page(server=server)
    first.wait_metric("n", "1")
    second = open_page(server=server)  # 429: an EventSource would never reconnect
    second.expect_problem("429|ERR_|Failed to load")
    second.wait_state("CONNECTING")
    second.wait_text("#banner", "Too many pages are open from this address.")
    first.page.close()
    second.wait_metric("n", "1")


def test_the_page_reports_a_lost_redis_and_recovers(
    redis_server: Server, server: WebServer, start_run: StartRun, open_page: Open
) -> None:
    run = start_run(server=server)
    run.log({"n": 1})
    screen = open_page(server=server)
    screen.expect_problem("503|Failed to load")
    screen.wait_metric("n", "1")
    redis_server.kill()
    screen.wait_state("REDIS AWAY")
    screen.wait_text("#lights", "Server no Redis")
    screen.wait_text("#banner", "The server cannot reach Redis")
    assert screen.metric("n") == "1"
    redis_server.restart()
    screen.wait(lambda: "REDIS AWAY" not in screen.text("#state"), "the page to heal")
    fresh = (
        start_run("after", server=server)
        if run.server.post("/api/heartbeat", {"session_id": run.session_id})[0] != 200
        else run
    )
    fresh.log({"n": 2})
    screen.wait_metric("n", "2")


def test_the_page_asks_for_its_link_when_access_is_denied(serve: Serve, start_run: StartRun, open_page: Open) -> None:
    server = serve(environment=LONG_LEASE | {"HUD_VIEW_TOKEN": "look"})
    run = start_run(server=server)
    run.log({"n": 1})
    screen = open_page("token=look", server=server)
    screen.wait_metric("n", "1")
    assert "look" not in screen.page.url
    screen.expect_problem("401|ERR_|Failed to load")
    screen.context.clear_cookies()
    server.kill()
    screen.wait_state("RECONNECTING")
    server.start()
    screen.wait_text("#banner", "This HUD requires a viewing token")
