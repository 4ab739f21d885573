"""The page below a path prefix of a real proxy, and inside another page."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.page import Screen
from tests.browser.run import Run, color_of
from tests.browser.test_access import fill
from tests.fixtures.proxy import KEPT, STRIPPED, nginx_proxy, prefix_proxy
from tests.fixtures.servers import redis_binary, running
from tests.fixtures.web import WebServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Open = Callable[..., Screen]

#: Addresses of this page's requests that are outside of its folder.
_OUTSIDE = """() => performance.getEntriesByType('resource').map((entry) => entry.name)
  .filter((name) => !name.startsWith(new URL('.', location.href).href) && !/^(data|blob):/.test(name))"""


class Below:
    """A server as it is seen below a path prefix."""

    def __init__(self, origin: str, prefix: str) -> None:
        self.url = origin + prefix


@pytest.fixture(scope="module")
def proxy(stack: WebServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prefix_proxy(stack.port, tmp_path_factory.mktemp("proxy")) as origin:
        yield origin


@pytest.fixture(scope="module")
def nginx(stack: WebServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with nginx_proxy(stack.port, tmp_path_factory.mktemp("nginx")) as origin:
        yield origin


@pytest.mark.parametrize("prefix", [STRIPPED, KEPT])
def test_the_page_is_live_below_a_path_prefix(
    proxy: str, prefix: str, run: Run, open_page: Open, tmp_path: Path
) -> None:
    fill(run)
    screen = open_page(server=Below(proxy, prefix))
    screen.wait_pixel(color_of(1))
    screen.wait_state("LIVE")
    screen.wait_metric("iteration", "19")
    screen.wait_text("#vision", "A tree.")
    run.frame(color_of(7), step=7, episode=2)  # by the stream
    screen.wait_pixel(color_of(7))
    for action in ("Previous frame", "Settings"):  # the index of kept frames, one frame; the exports
        screen.find(f"[aria-label='{action}'], button:has-text('{action}')").first.click()
    screen.wait_pixel(color_of(1))
    with screen.page.expect_download() as waiting:
        screen.find("dialog a", has_text="CSV").click()
    saved = tmp_path / "metrics.csv"
    waiting.value.save_as(saved)
    assert "policy_loss" in saved.read_text()
    screen.press("Escape")
    for env in ((1, 0), (1, 1)):
        run.frame(color_of(2), env=env, kind="thumbs")
    screen.find("#strip button").nth(1).click()  # a POST
    screen.wait_text("#toasts", "will be shown from its next episode on")
    assert screen.page.evaluate(_OUTSIDE) == []
    assert screen.page.url.startswith(f"{proxy}{prefix}/?")


@pytest.mark.parametrize("prefix", [STRIPPED, KEPT])
def test_the_page_is_live_behind_nginx_with_its_defaults(nginx: str, prefix: str, run: Run, open_page: Open) -> None:
    run.frame(color_of(1))
    screen = open_page(server=Below(nginx, prefix))
    screen.wait_pixel(color_of(1))
    run.frame(color_of(7), step=7)
    screen.wait_pixel(color_of(7), timeout_s=3.0)  # nginx does not hold it back
    assert screen.page.evaluate(_OUTSIDE) == []


@pytest.mark.parametrize("prefix", [STRIPPED, KEPT])
@pytest.mark.parametrize("kind", ["haproxy", "nginx"])
def test_the_wall_and_the_run_table_are_live_below_a_path_prefix(
    proxy: str, nginx: str, kind: str, prefix: str, run: Run, open_page: Open
) -> None:
    run.iterate(1, episode_return_mean=21.5)
    screen = open_page(server=Below(nginx if kind == "nginx" else proxy, prefix))
    for path in ("wall", "runs"):
        screen.page.goto(f"{screen.server.url}/{path}?filter={run.channel}")
        screen.wait_text("main", "21.5")
        run.iterate(2, episode_return_mean=22.5)
        screen.wait_text("main", "22.5", timeout_s=5.0)
        run.iterate(1, episode_return_mean=21.5)
        assert screen.page.evaluate(_OUTSIDE) == []


@pytest.mark.parametrize("prefix", [STRIPPED, KEPT])
def test_the_viewing_link_works_below_a_path_prefix(prefix: str, chromium: Browser, tmp_path: Path) -> None:
    with (
        running(redis_binary(), tmp_path / "redis") as redis,
        contextlib.closing(WebServer(redis.url, environment={"HUD_VIEW_TOKEN": "look"})) as server,
        prefix_proxy(server.port, tmp_path) as origin,
    ):
        Run(server, "default").log({"n": 5})
        context = chromium.new_context()
        page = context.new_page()
        page.goto(f"{origin}{prefix}/?token=look&channel=default")
        page.wait_for_url(f"{origin}{prefix}/?channel=default")
        page.get_by_role("row", name="n 5").wait_for()
        assert context.cookies()[0]["path"] == prefix
        context.close()


def test_the_page_is_found_without_the_last_slash_of_a_kept_prefix(
    proxy: str, run: Run, open_page: Open, channel: str
) -> None:
    run.log({"n": 5})
    screen = open_page(server=Below(proxy, KEPT))
    screen.page.goto(f"{proxy}{KEPT}?channel={channel}")
    screen.wait_metric("n", "5")
    assert screen.page.url == f"{proxy}{KEPT}/?channel={channel}"


# ---------------------------------------------------------------- inside another page


@contextlib.contextmanager
def notebook(address: str) -> Iterator[str]:
    """Another program's page with ours in an IFrame; yields its URL."""

    class Embedding(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f'<iframe src="{address}" width="1200" height="800"></iframe>'.encode())

        def log_message(self, *_arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Embedding)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


def listen(page: Page, told: list[str]) -> None:
    """Append the messages of the page's console to a list."""
    page.on("console", lambda message: told.append(message.text))


def test_a_notebook_that_is_named_shows_the_page_and_another_does_not(chromium: Browser, tmp_path: Path) -> None:
    with running(redis_binary(), tmp_path / "redis") as redis:
        for ancestors, shown in (("http://localhost:* http://127.0.0.1:*", True), ("http://127.0.0.1:1", False)):
            environment = {"HUD_FRAME_ANCESTORS": ancestors, "HUD_SESSION_TTL": "600"}
            with contextlib.closing(WebServer(redis.url, environment=environment)) as server:
                Run(server, f"embedded-{shown}").frame(color_of(3))
                with notebook(f"{server.url}/?channel=embedded-{shown}") as address:
                    page = chromium.new_page()
                    told: list[str] = []
                    listen(page, told)
                    page.goto(address)
                    frame = page.frame_locator("iframe")
                    if shown:
                        frame.locator("#frame[aria-label^='Frame']").wait_for()
                        frame.locator("#state", has_text="LIVE").wait_for()
                    else:
                        page.wait_for_timeout(500)
                        assert any("frame-ancestors" in text for text in told), told
                        assert frame.locator("#state").count() == 0
                    page.close()
