"""Makes docs/screenshots/*.png: the page in each of its states, on a desk and on a phone.

    make screenshots        (or: python -m tests.screenshots)

Drives a real stack (Redis, web tier, Chromium) with a small adventure game that is made up here, publishes it as a
training would, and brings about each state for real: the server is killed, Redis is taken away, another run takes over.
"""

from __future__ import annotations

import io
import random
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from hud_publisher.protocol.entries import MetricsEntry
from tests.fixtures.servers import Server, redis_binary, running
from tests.fixtures.web import WebServer
from tests.screenshots.woods import Run

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
#: Long enough for several episodes on the scrubber.
PLAY_S = 75.0
MOST_BYTES = 290_000
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]


class Camera:
    """Opens pages and takes their pictures."""

    def __init__(self, browser: Browser, server: WebServer) -> None:
        self._browser, self._server = browser, server

    def open(self, query: str = "", size: Any = DESK, scale: float = 1) -> Page:
        """Open the page in a new profile."""
        context = self._browser.new_context(viewport=size, device_scale_factor=scale, has_touch=size is PHONE)
        page = context.new_page()
        page.goto(f"{self._server.url}/?{query}")
        return page

    def take(self, page: Page, name: str, state: str | None = None, *, settle_ms: int = 1500) -> None:
        """Take a picture once the page says so; in 256 colours where it would be large otherwise."""
        if state is not None:
            page.wait_for_function("(word) => document.querySelector('#state').innerText.includes(word)", arg=state)
        page.wait_for_timeout(settle_ms)
        image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        image.quantize(256, Image.Quantize.FASTOCTREE, kmeans=2, dither=Image.Dither.NONE).save(
            FOLDER / f"{name}.png", optimize=True
        )
        print(f"{name}.png", flush=True)


def _live(camera: Camera, run: Run) -> None:
    page = camera.open()
    page.wait_for_timeout(5_000)
    page.locator("#log-title").click()
    camera.take(page, "live-desktop", "LIVE")
    for theme in ("light", "contrast"):
        themed = camera.open(f"theme={theme}")
        camera.take(themed, f"live-{theme}", "LIVE", settle_ms=4_000)
        themed.context.close()
    box = page.locator(".track").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * 0.62, box["y"] + 20)
    camera.take(page, "rewind", "PAUSED", settle_ms=3_000)
    page.keyboard.press("l")
    page.get_by_role("button", name="Machine").click()
    camera.take(page, "machine")
    page.get_by_role("button", name="Machine").click()
    for key, name in (("?", "keys"), ("Control+k", "sessions"), ("g", "save"), ("c", "configuration")):
        page.keyboard.press(key)
        page.wait_for_selector("dialog[open]")
        camera.take(page, name)
        page.keyboard.press("Escape")
    page.get_by_label("Settings").click()
    page.wait_for_selector("dialog[open]")
    camera.take(page, "settings")
    page.context.close()
    for tab in ("watch", "charts", "vision", "metrics"):
        phone = camera.open(f"tab={tab}", PHONE, 2)
        camera.take(phone, f"phone-{tab}", "LIVE", settle_ms=4_000)
        phone.context.close()


def _states(camera: Camera, run: Run, redis: Server, server: WebServer, pause: Callable[[], None]) -> None:
    page = camera.open()
    page.wait_for_timeout(3_000)
    pause()
    run.publish(MetricsEntry({"phase": "learning"}, time.time_ns() // 1_000_000, run.step))
    camera.take(page, "learning", "LEARNING", settle_ms=2_500)
    run.publish(MetricsEntry({"phase": "sampling"}, time.time_ns() // 1_000_000, run.step))
    camera.take(page, "stalled", "STALLED")
    run.die()
    page.get_by_role("button", name="Processes").click()
    camera.take(page, "died", settle_ms=4_000)
    page.keyboard.press("Escape")
    server.kill()
    camera.take(page, "reconnecting", "RECONNECTING")
    server.start()
    page.wait_for_function("() => !document.querySelector('#state').innerText.includes('RECONNECTING')")
    redis.stop()
    camera.take(page, "redis-away", "REDIS AWAY")
    redis.cont()
    page.wait_for_function("() => !document.querySelector('#state').innerText.includes('REDIS')")
    server.post("/api/release_session", {"session_id": run.session_id})
    camera.take(page, "ended", "ENDED")
    page.context.close()


def main() -> None:
    """Make all pictures."""
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.png"):
        old.unlink()
    random.seed(7)
    with (
        tempfile.TemporaryDirectory() as folder,
        running(redis_binary(), Path(folder)) as redis,
        sync_playwright() as tool,
    ):
        server = WebServer(redis.url)
        browser = tool.chromium.launch(executable_path=_chromium(), args=FLAGS)
        try:
            camera = Camera(browser, server)
            waiting = camera.open()
            camera.take(waiting, "waiting", "WAITING", settle_ms=3_000)
            waiting.context.close()
            past = Run(server, "ppo-woods-s2")
            past.train(240)
            server.post("/api/release_session", {"session_id": past.session_id})
            run = Run(server, "ppo-woods-s3")
            run.train(213)
            player = threading.Thread(target=run.play, daemon=True)
            player.start()
            time.sleep(PLAY_S)
            _live(camera, run)

            def pause() -> None:
                run.is_playing = False
                player.join()

            _states(camera, run, redis, server, pause)
        finally:
            browser.close()
            server.close()


def _chromium() -> str:
    import shutil

    path = shutil.which("chromium")
    if path is None:
        raise SystemExit("expected chromium on PATH, got none: apt-get install chromium")
    return path


if __name__ == "__main__":
    main()
