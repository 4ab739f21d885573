"""`hud demo` as its user sees it: a command, and a browser."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fixtures.web import SseClient, WebServer, poll

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

#: Importing ray and starting two env runners takes 20 to 40 s on two busy cores; an iteration 5 to 20 s.
START_S = 150.0


@pytest.fixture
def demo() -> Iterator[subprocess.Popen[str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HUD_", "REDIS_", "RAY_"))}
    command = [sys.executable, "-m", "hud_web", "demo", "--port", "0"]
    # A group of its own, so that every process of it can be found, and Ctrl-C sent to it.
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def descendants(pid: int) -> set[int]:
    """Every process below this one, however deep."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found, frontier = set(), {pid}
    while frontier:
        frontier = {child for child, parent in parents.items() if parent in frontier}
        found |= frontier
    return found


def lives(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def picture(page: Page) -> str:
    return hashlib.sha256(page.locator("#frame").screenshot()).hexdigest()


@pytest.mark.timeout(300)
def test_the_demo_shows_a_moving_game_its_steps_and_its_results_and_ends_without_a_trace(
    demo: subprocess.Popen[str], chromium: Browser, watch: Callable[..., SseClient]
) -> None:
    assert demo.stdout is not None
    first_line = demo.stdout.readline()
    found = re.search(r"http://localhost:(\d+)", first_line)  # the URL comes first
    assert found, first_line
    web = WebServer.__new__(WebServer)
    web.port = int(found[1])
    poll(lambda: web.get("/ready")[0] == 200, "the page")
    stream = watch(web, "frames=0")
    page = chromium.new_page(viewport={"width": 1440, "height": 900})
    page.goto(web.url)
    page.locator("#frame:not([hidden])").wait_for(timeout=START_S * 1000)
    stream.wait(lambda c: any("global_step" in d for d in c.named("training_update")), "a step", timeout_s=60)

    seen = {picture(page)}
    poll(lambda: seen.add(picture(page)) or len(seen) >= 3, "the picture to move", timeout_s=30)
    steps = [d["_hud"]["step"] for d in stream.named("training_update") if d["_hud"]["step"] is not None]
    stream.wait(lambda c: c.named("training_update")[-1]["_hud"]["step"] > max(steps), "steps to grow", timeout_s=30)

    wanted = ("episode_return_mean", "policy_loss", "vf_loss", "entropy")
    stream.wait(
        lambda c: any(all(name in d for name in wanted) for d in c.named("training_update")),
        "the first iteration's results",
        timeout_s=90,
    )
    tiles = page.locator("#tiles")
    poll(lambda: "—" not in _tile(page, "Episode return"), "the return on the page", timeout_s=30)
    assert "NaN" not in tiles.inner_text()
    assert "undefined" not in page.locator("body").inner_text()

    sessions = web.get("/api/sessions")[1]["sessions"]
    assert [session["status"] for session in sessions] == ["live"]  # one for the driver and both runners
    writers = {d["_hud"]["writer"] for d in stream.named("training_update")}
    assert len(writers) >= 2

    family = descendants(demo.pid)
    assert len(family) > 3
    demo.send_signal(signal.SIGINT)
    stream.wait(lambda c: c.named("session")[-1]["status"] == "ended", "the session's end", timeout_s=30)
    output = demo.communicate(timeout=60)[0]
    assert demo.returncode == 130
    assert "Traceback" not in output
    poll(lambda: not [pid for pid in family if lives(pid)], "every process to end", timeout_s=20)
    page.close()


def _tile(page: Page, name: str) -> str:
    return page.locator("#tiles").locator("div", has_text=re.compile(name, re.IGNORECASE)).first.inner_text()
