"""One real stack for the whole browser suite, a separate channel for each test, and runs to show on it."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser.page import Screen
from tests.browser.run import Run
from tests.fixtures.servers import redis_binary, running
from tests.fixtures.web import WebServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest_plugins = ["tests.fixtures.browser"]

#: These runs send no heartbeat, and a page on a busy machine may delay the time between two entries.
LONG_LEASE = {"HUD_SESSION_TTL": "600"}

_channels = itertools.count(1)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    """One web server on one Redis, for the tests that leave both alone."""
    with running(redis_binary(), tmp_path_factory.mktemp("stack") / "redis") as redis:
        server = WebServer(redis.url, environment=LONG_LEASE)
        try:
            yield server
        finally:
            server.close()


@pytest.fixture
def channel() -> str:
    """A display that no other test uses."""
    return f"test-{next(_channels)}"


@pytest.fixture
def start_run(stack: WebServer, channel: str) -> Callable[..., Run]:
    """Start runs on the test's channel."""

    def start(name: str = "ppo-breakout", server: WebServer = stack, **options: object) -> Run:
        return Run(server, channel, name, **options)  # type: ignore[arg-type]

    return start


@pytest.fixture
def run(start_run: Callable[..., Run]) -> Run:
    """A run that holds the channel."""
    return start_run()


@pytest.fixture
def open_page(chromium: Browser, stack: WebServer, channel: str) -> Iterator[Callable[..., Screen]]:
    """Open the page, each time in a new browser profile; its console must stay free of errors."""
    screens: list[Screen] = []

    def open_(
        query: str = "", *, server: WebServer = stack, size: tuple[int, int] = (1440, 900), **options: object
    ) -> Screen:
        screen = Screen(chromium, server, channel, query, size, **options)  # type: ignore[arg-type]
        screens.append(screen)
        return screen

    yield open_
    for screen in screens:
        screen.close()


@pytest.fixture
def unique() -> str:
    """Text that occurs nowhere else on the page."""
    return uuid.uuid4().hex[:12]
