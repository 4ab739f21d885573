"""The cost of 24 overlaid runs in the browser: cursor movements, live points, and the load of the page.

    python bench/overlay.py         # about two minutes

Twenty-five live runs on 25 channels, 2,000 points of nine fields each, six charts in view in a real Chromium without a
GPU. Prints a Markdown table: the main thread's time for one movement of the cursor over all charts, its share while all
runs are live, and the time until all lines are drawn. Criterion: a movement within 16 ms, one frame of 60 a second.
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from hud_publisher.protocol.entries import MetricsEntry
from tests.browser.run import Run, now_ms
from tests.fixtures.browser import FLAGS, browser_path
from tests.fixtures.servers import redis_binary, running
from tests.fixtures.web import WebServer

RUNS = 25
POINTS = 2_000
BATCH = 500
MOVES = 100
IDLE_S = 6.0
LIVE_S = 20.0
LIVE_HZ = 2.0

#: Moves the pointer over a chart; the layout that each movement causes is part of its cost.
_MOVE = """async (moves) => {
  const over = document.querySelector(".chart .u-over");
  const box = over.getBoundingClientRect();
  for (let i = 0; i < moves; i++) {
    const clientX = box.left + 2 + ((i * 37) % (box.width - 4));
    const clientY = box.top + 2 + ((i * 17) % (box.height - 4));
    over.dispatchEvent(new MouseEvent("mousemove", { clientX, clientY, bubbles: true, movementX: 1, movementY: 1 }));
    await new Promise(requestAnimationFrame);
  }
}"""


def entry(run: int, n: int, noise: float) -> MetricsEntry:
    """One iteration; the runs learn at different speeds."""
    t = n / POINTS * (0.7 + run / RUNS)
    data = {
        "episode_return_mean": 60 * (1 - math.exp(-3 * t)) + 3 * noise, "policy_loss": math.exp(-2 * t) + noise / 20,
        "entropy": 1.4 * math.exp(-t) + noise / 50, "steps_per_s": 2_000 + 100 * noise, "q_value": 5 * t + noise / 10,
        "episode_len_mean": 100 + 200 * t + 5 * noise, "vf_explained_var": t + noise / 50,
        "kl": 0.01 + abs(noise) / 500, "learning_rate": 3e-4 * (1 - n / POINTS / 2),
    }  # fmt: skip
    return MetricsEntry(data, now_ms(), 512 * n, "iterations")


class Clock:
    """The processor time of the page's main thread, which other processes of the machine do not lengthen."""

    def __init__(self, page: Page) -> None:
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def worked_s(self) -> float:
        """Return the seconds that the thread has worked."""
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))

    def share(self, page: Page, seconds: float) -> float:
        """Return the share of a core that the thread takes during this time."""
        before, began = self.worked_s(), time.monotonic()
        page.wait_for_timeout(1000 * seconds)
        return (self.worked_s() - before) / (time.monotonic() - began)


def _inside(page: Page) -> tuple[float, float]:
    box = page.locator(".chart .u-over").first.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def main() -> None:
    """Measure, and print the table."""
    rng = random.Random(1)
    with (
        tempfile.TemporaryDirectory() as folder,
        running(redis_binary(), Path(folder) / "redis") as redis,
        sync_playwright() as playwright,
    ):
        server = WebServer(redis.url, environment={"HUD_SESSION_TTL": "600"})
        runs = [Run(server, f"bench-{number}", f"ppo-seed{number}") for number in range(RUNS)]
        for number, run in enumerate(runs):
            for first in range(0, POINTS, BATCH):
                run.publish(*(entry(number, n, rng.gauss(0, 1)) for n in range(first, first + BATCH)))
        stop = threading.Event()

        def publish() -> None:
            n = POINTS
            while not stop.wait(1 / LIVE_HZ):
                for number, run in enumerate(runs):
                    run.publish(entry(number, n, rng.gauss(0, 1)))
                n += 1

        browser = playwright.chromium.launch(executable_path=browser_path(), args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1920, "height": 1080})
        compare = ",".join(f"{run.channel}:{run.sid}" for run in runs[1:])
        rows: list[tuple[str, str]] = []
        publisher = threading.Thread(target=publish)
        try:
            for group in ("", "name"):
                began = time.monotonic()
                page.goto(f"{server.url}/?channel={runs[0].channel}&compare={compare}&group={group}&view=1")
                kind = "one group" if group else "24 lines"
                page.wait_for_function("() => document.querySelectorAll('.runs-box li').length > 1")
                page.wait_for_function(
                    "() => performance.getEntriesByType('resource')"
                    ".filter(({ name, responseEnd }) => name.includes('api/history') && responseEnd).length >= 24"
                )
                page.wait_for_timeout(300)
                rows.append((f"{kind}: until all points are drawn", f"{time.monotonic() - began:.1f} s"))
                charts = page.locator(".chart:visible .u-over").count()
                page.wait_for_timeout(5_000)
                clock = Clock(page)
                page.mouse.move(*_inside(page))
                idle = clock.share(page, IDLE_S)  # of live points and the page's other work
                before, began = clock.worked_s(), time.monotonic()
                page.evaluate(_MOVE, MOVES)
                others_s = idle * (time.monotonic() - began)
                cost_ms = 1000 * (clock.worked_s() - before - others_s) / MOVES
                rows.append((f"{kind}, {charts} charts: a movement of the cursor", f"{cost_ms:.1f} ms"))
                if not publisher.is_alive():
                    publisher.start()
                page.mouse.move(5, 5)
                page.wait_for_timeout(3_000)
                rows.append((f"{kind}, all live: share of a core", f"{100 * clock.share(page, LIVE_S):.0f} %"))
        finally:
            stop.set()
            if publisher.is_alive():
                publisher.join()
            browser.close()
            server.close()
    sys.stdout.write(
        "| measurement | value |\n|---|---|\n" + "".join(f"| {what} | {value} |\n" for what, value in rows)
    )


if __name__ == "__main__":
    main()
