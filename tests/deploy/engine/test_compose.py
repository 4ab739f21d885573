"""docker-compose.yml with a real engine: three replicas, a demo run, a browser; then each part is killed in turn."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from hud_publisher import Publisher
from tests.deploy.engine.conftest import ANY_UID, BASE, Engine
from tests.deploy.follower import Follower
from tests.fixtures.servers import free_port
from tests.fixtures.web import poll

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

REPLICAS = 3


def get(port: int, path: str, *, method: str = "GET") -> tuple[int, Any]:
    """Return status and body, parsed if it is JSON; (0, None) if no server answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        data = response.read()
        return response.status, json.loads(data) if "json" in (response.headers["content-type"] or "") else data
    except (OSError, http.client.HTTPException):
        return 0, None
    finally:
        connection.close()


class Stack:
    """The compose project, its ports and its containers."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.port, self.view_port = free_port(), free_port()
        self._environment = {
            "REDIS_IMAGE": BASE, "HAPROXY_IMAGE": BASE, "HUD_UID": ANY_UID, "HUD_PORT": str(self.port),
            "HUD_VIEW_PORT": str(self.view_port), "COMPOSE_PROFILES": "demo",
        }  # fmt: skip

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def compose(self, *arguments: str) -> str:
        return self.engine.compose(*arguments, environment=self._environment)

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "--quiet", service).split()

    def kill(self, container: str) -> None:
        """SIGKILL its process, as the kernel would: the engine detects the exit and restarts it."""
        pid = self.engine.pid(container)
        os.kill(pid, signal.SIGKILL)
        poll(lambda: self.engine.pid(container) not in (0, pid), "the engine to start it again", 60)

    def get(self, path: str, *, port: int | None = None, method: str = "GET") -> tuple[int, Any]:
        return get(port or self.port, path, method=method)

    def viewers(self) -> list[int]:
        """The number of streams that each replica serves."""
        ask = "import json, urllib.request as r; print(r.urlopen('http://127.0.0.1:8086/ready').read().decode())"
        return [
            json.loads(self.engine.docker("exec", container, "python3", "-c", ask))["viewers"]
            for container in self.containers("hud-web")
        ]


@pytest.fixture(scope="module")
def stack(engine: Engine, image: str) -> Iterator[Stack]:
    stack = Stack(engine)
    try:
        stack.compose("up", "--detach", "--wait", "--wait-timeout", "90", "--scale", f"hud-web={REPLICAS}")
        yield stack
    finally:
        print(stack.compose("logs", "--tail", "40"))
        stack.compose("down", "--volumes", "--timeout", "5")


class Training:
    """The test's run on a separate channel, over HTTP through the proxy: logs a number 50 times a second."""

    def __init__(self, url: str, channel: str) -> None:
        self.hud = Publisher(hud_url=url, channel=channel, name="compose test")
        self.count = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.hud.log({"n": self.count}, step=self.count)
            self.count += 1
            time.sleep(0.02)

    def end(self) -> int:
        self._stop.set()
        self._thread.join()
        return self.count


@pytest.fixture
def page(stack: Stack, chromium: Browser) -> Iterator[Page]:
    """The dashboard of the demo's channel, through the proxy."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"http://localhost:{stack.port}/")
    yield page
    context.close()


def pixels(page: Page) -> bytes:
    """A screenshot of the live frame."""
    return page.locator("canvas, img").first.screenshot()


def expect_moving(page: Page, timeout_s: float = 45) -> None:
    def moves() -> bool:
        before = page.screenshot()
        page.wait_for_timeout(400)
        return page.screenshot() != before and "LIVE" in page.inner_text("body").upper()

    poll(moves, "the page to move and to say that it is live", timeout_s)


def test_every_container_is_hardened_and_runs_as_the_given_user(stack: Stack) -> None:
    for service in ("redis", "hud-web", "proxy", "demo"):
        for container in stack.containers(service):
            about = stack.engine.inspect(container)
            assert about["HostConfig"]["ReadonlyRootfs"], service
            assert about["HostConfig"]["CapDrop"] == ["ALL"], service
            assert "no-new-privileges:true" in about["HostConfig"]["SecurityOpt"], service
            assert about["HostConfig"]["Memory"] > 0, service
            assert not about["Config"]["User"].startswith(("0", "root")), service
    assert len(stack.containers("hud-web")) == REPLICAS
    assert {stack.engine.inspect(name)["Config"]["User"] for name in stack.containers("hud-web")} == {f"{ANY_UID}:0"}


def test_only_loopback_is_listened_on(stack: Stack) -> None:
    ports = stack.engine.inspect(stack.containers("proxy")[0])["NetworkSettings"]["Ports"]
    addresses = {binding["HostIp"] for bindings in ports.values() for binding in bindings or []}
    assert addresses == {"127.0.0.1"}
    for service in ("redis", "hud-web", "demo"):
        ports = stack.engine.inspect(stack.containers(service)[0])["NetworkSettings"]["Ports"]
        assert not any(ports.values()), service


def test_redis_has_the_settings_that_the_session_lock_needs(stack: Stack) -> None:
    (redis,) = stack.containers("redis")
    wanted = ("maxmemory*", "appendonly", "save")
    told = stack.engine.docker("exec", redis, "redis-cli", "config", "get", *wanted).split("\n")
    settings = dict(zip(told[::2], told[1::2], strict=False))
    assert settings["maxmemory-policy"] == "noeviction"
    assert (settings["maxmemory"], settings["appendonly"], settings["save"]) == (str(512 * 2**20), "yes", "")


def test_the_viewing_port_shows_and_takes_nothing(stack: Stack) -> None:
    assert stack.get("/api/state", port=stack.view_port)[0] == 200
    assert stack.get("/api/reset_session", port=stack.view_port, method="POST")[0] == 403
    assert stack.get("/api/state")[1]["session"]["name"] == "synthetic run"


@pytest.mark.timeout(240)
def test_page_and_viewer_recover_from_each_killed_part_without_loss(stack: Stack, page: Page) -> None:
    """A replica, then the proxy, then Redis: all by SIGKILL, while a run publishes over HTTP through the proxy."""
    expect_moving(page)
    viewer = Follower(stack.url, query="channel=kills&frames=0")
    poll(lambda: "ok" in viewer.statuses, "the viewer to be there before the run")
    training = Training(stack.url, "kills")
    try:
        poll(lambda: len(viewer.numbers) > 50, "50 numbers")

        viewed = stack.viewers().index(max(stack.viewers()))
        stack.kill(stack.containers("hud-web")[viewed])
        expect_progress(viewer, training)
        expect_moving(page)

        stack.kill(stack.containers("proxy")[0])
        expect_progress(viewer, training)
        expect_moving(page)

        stack.kill(stack.containers("redis")[0])
        poll(lambda: "away" in viewer.statuses, "the viewer to be told that Redis is away")
        expect_progress(viewer, training)
        expect_moving(page)

        count = training.end()
        poll(lambda: viewer.numbers[-1:] == [count - 1], "the last number", 30)
        assert viewer.numbers == list(range(count))
        assert viewer.resets == []
        assert training.hud.stats.dropped == {}
    finally:
        training.end()
        training.hud.close()
        viewer.close()


def expect_progress(viewer: Follower, training: Training) -> None:
    """Assert that entries logged from now on arrive."""
    target = training.count + 20
    try:
        poll(lambda: viewer.numbers and viewer.numbers[-1] >= target, f"number {target}", 60)
    except AssertionError as error:
        raise AssertionError(f"{error}; training: {training.hud.stats}; viewer: {viewer}") from None
