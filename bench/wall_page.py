"""The cost of the wall for its viewer: main thread, age of the pictures, memory.

    python -m bench.wall_page            # about 12 minutes
    python -m bench.wall_page --quick    # about 2 minutes, with less certain figures
    python -m bench.wall_page --write    # puts the figures into bench/RESULTS-wall-page.md, too

A child process writes 200 live runs (bench.wall_load: 10 entries and a frame of 8 KB per second each) through a real
Redis, a real server sends them, and a Chromium shows them: on the wall, and in the kiosk at two sizes. Measured are the
main thread's share of a core, the browser's processor time, and the age of all pictures in view, four times a second.
Then the kiosk stays open, and its JavaScript heap is measured after a collection.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from bench.page import FLAGS, Row
from bench.wall_load import running_load
from tests.fixtures.servers import redis_binary, running
from tests.fixtures.web import WebServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession, Page

RESULTS = Path(__file__).with_name("RESULTS-wall-page.md")
_HEAD = """# Cost of the wall for its viewer

Made by `python -m bench.wall_page --write` on {cores} cores, load average {load:.1f}: {runs} live runs, each with
{entries} entries and a frame of 8 KB per second. The writers, Redis, the server and a headless Chromium without a GPU
share the machine. The age of a picture is the time since its capture, sampled four times a second for each picture in
view.

"""
VIEWS = {
    "wall at 1440×900": ("", (1440, 900)),
    "kiosk at 1920×1080": ("kiosk=1", (1920, 1080)),
    "kiosk at 3840×2160": ("kiosk=1", (3840, 2160)),
}
#: Until the server has read the history of all runs and the page has all pictures.
WARM_UP_MS = 15_000
HEAP_SAMPLES = 20
_WATCH = """() => {
  window.ages = [];
  setInterval(() => {
    for (const canvas of document.querySelectorAll('.run .shot canvas[data-time-ms]')) {
      const { top, bottom, width } = canvas.getBoundingClientRect();
      if (width && bottom > 0 && top < innerHeight) ages.push(Date.now() - Number(canvas.dataset.timeMs));
    }
  }, 250);
}"""
_SHOWN = """() => [...document.querySelectorAll('.run.pictured')].filter((run) => {
  const { top, bottom, width } = run.getBoundingClientRect();
  return width && bottom > 0 && top < innerHeight;
}).length"""


def _open(browser: Browser, url: str, size: tuple[int, int]) -> tuple[Page, CDPSession]:
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})  # other work of the machine does not count
    page.goto(url)
    page.wait_for_selector(".run.pictured:not([hidden])", timeout=120_000)
    page.wait_for_timeout(WARM_UP_MS)
    return page, session


def _metrics(session: CDPSession) -> dict[str, float]:
    return {item["name"]: item["value"] for item in session.send("Performance.getMetrics")["metrics"]}


def _browser_s() -> float:
    """Processor time of all processes of the browser until now."""
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True) if "chrom" in child.name()]
    return sum(one.user + one.system for one in times)


def measure_view(browser: Browser, url: str, name: str, seconds: float) -> dict[str, Row]:
    """The cost of one view, and the age of its pictures."""
    query, size = VIEWS[name]
    page, session = _open(browser, f"{url}/wall?{query}", size)
    page.evaluate(_WATCH)
    before, spent, start = _metrics(session), _browser_s(), time.monotonic()
    page.wait_for_timeout(seconds * 1000)
    after, spent, passed = _metrics(session), _browser_s() - spent, time.monotonic() - start
    ages: list[int] = sorted(page.evaluate("() => ages"))
    shown = page.evaluate(_SHOWN)
    page.close()
    share = (after["TaskDuration"] - before["TaskDuration"]) / passed
    late = ages[int(len(ages) * 0.99)]
    return {
        f"{name}: main thread, share of one core": Row("under 30 %", f"{share:.1%}", share < 0.3),
        f"{name}: browser with raster and compositing": Row("", f"{spent / passed:.0%} of a core"),
        f"{name}: pictures in view": Row("", f"{shown}"),
        f"{name}: age of a picture, median / 99 %": Row(
            "99 % under 2 s", f"{statistics.median(ages) / 1000:.2f} / {late / 1000:.2f} s", late < 2000
        ),
    }


def measure_heap(browser: Browser, url: str, minutes: float) -> dict[str, Row]:
    """The JavaScript heap of the kiosk."""
    page, session = _open(browser, f"{url}/wall?kiosk=1", (1920, 1080))
    samples: list[float] = []
    for _ in range(HEAP_SAMPLES):
        page.wait_for_timeout(minutes * 60_000 / HEAP_SAMPLES)
        page.evaluate("() => { gc(); gc(); }")
        samples.append(_metrics(session)["JSHeapUsedSize"] / 1e6)
    page.close()
    half = HEAP_SAMPLES // 2
    early, late = statistics.mean(samples[half : half + 5]), statistics.mean(samples[-5:])
    return {
        f"heap over {minutes:g} min of the kiosk, MB": Row("", " ".join(f"{sample:.1f}" for sample in samples)),
        "its last quarter against its third": Row("flat: within 5 %", f"{late / early - 1:+.1%}", late < 1.05 * early),
    }


def told(rows: dict[str, Row]) -> dict[str, Row]:
    """Print rows as soon as they are measured."""
    for name, row in rows.items():
        print(f"| {name} | {row.criterion} | {row.measured} | {row.verdict} |", flush=True)
    return rows


def main() -> None:
    """Measure and print."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="shorter: less certain")
    parser.add_argument("--only", choices=["views", "heap"], help="one of the measurements")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--entries", type=int, default=10, help="per second and run")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    results: dict[str, Row] = {}
    folder = Path(tempfile.mkdtemp(prefix="hud-wall-"))
    with (
        running(redis_binary(), folder) as redis,
        running_load(redis.url, options.runs, entries_per_s=options.entries),
        sync_playwright() as drive,
    ):
        server = WebServer(redis.url)
        path = shutil.which("chromium-headless-shell") or shutil.which("chromium")
        browser = drive.chromium.launch(executable_path=path, args=list(FLAGS))
        if options.only != "heap":
            for name in VIEWS:
                results |= told(measure_view(browser, server.url, name, 15 if options.quick else 30))
        if options.only != "views":
            results |= told(measure_heap(browser, server.url, 1 if options.quick else 10))
        browser.close()
        server.close()
    table = ["| figure | criterion | measured | holds |", "|---|---|---|---|"]
    table += [f"| {name} | {row.criterion} | {row.measured} | {row.verdict} |" for name, row in results.items()]
    if options.write:
        head = _HEAD.format(cores=os.cpu_count(), load=os.getloadavg()[1], runs=options.runs, entries=options.entries)
        RESULTS.write_text(head + "\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
