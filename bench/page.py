"""The cost of the page for its viewer: main thread, memory, frame to paint, and first picture of a run of 40 hours.

    python bench/page.py            # about 10 minutes
    python bench/page.py --quick    # about 2 minutes, with less certain figures
    python bench/page.py --write    # puts the figures into bench/RESULTS-page.md, too

Three measurements, each in a real Chromium on a real `hud up`: a live run (20 frames and 20 × 100 values per second)
for the main thread's share of a core, long tasks and the time from Redis to the painted frame; an hour of that run,
fed ten times as fast, for the growth of the JavaScript heap; and the load of a page on a channel with the history of
40 hours.
Prints a Markdown table, each figure beside its criterion. Needs Chromium only.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import math
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.batch_body import MEDIA_TYPE, encode_batch
from hud_publisher.protocol.entries import Entry, FrameEntry, MetricsEntry
from hud_publisher.protocol.keys import SessionId

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--js-flags=--expose-gc",
)  # fmt: skip
RESULTS = Path(__file__).with_name("RESULTS-page.md")
_HEAD = """# Cost of the page for its viewer

Made by `make bench-page` on {cores} cores: a headless Chromium without a GPU, `hud up` and the run beside it. The run
has 20 frames a second of 160×144 and 100 metrics 20 times a second. The heap's row is an hour of that, fed ten times as
fast.

"""
METRICS = 100
RATE_HZ = 20
#: Fast enough for an hour in six minutes, slow enough for the server to keep up.
SPEED_UP = 10


@dataclass(frozen=True, slots=True)
class Row:
    """One figure and its criterion."""

    criterion: str
    measured: str
    holds: bool | None = None

    @property
    def verdict(self) -> str:
        return "" if self.holds is None else "yes" if self.holds else "no"


@contextlib.contextmanager
def hud_up() -> Iterator[int]:
    """A web tier with its embedded Redis; gives its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hud_web", "up", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://localhost:(\d+)", line)
        if found is None:
            raise RuntimeError(f"expected the address of the page, got {line!r}")
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield int(found[1])
    finally:
        process.terminate()
        process.wait(20)


class Run:
    """A synthetic run that publishes over HTTP."""

    def __init__(self, port: int, channel: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        answer = self._post(
            "/api/register_session", json.dumps({"channel": channel, "name": f"bench-{channel}"}).encode()
        )
        self._session = SessionId(answer["session_id"])
        self._number = self.step = 0
        self._frames = [_game(n) for n in range(200)]

    def _post(self, path: str, body: bytes, kind: str = "application/json") -> dict[str, Any]:
        self._connection.request("POST", path, body, {"Content-Type": kind})
        response = self._connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
        if response.status == 503:  # a busy machine: send the batch again, as a publisher does
            time.sleep(0.5)
            return self._post(path, body, kind)
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {answer}")
        return answer

    def publish(self, entries: list[Entry]) -> None:
        """Send one batch."""
        self._number += 1
        self._post(
            "/api/publish", encode_batch(self._session, Batch("bench", self._number, tuple(entries))), MEDIA_TYPE
        )

    def tick(self, ticks: int = 1) -> None:
        """Publish `ticks` moments of the run: a frame and all metrics of each."""
        entries: list[Entry] = []
        for _ in range(ticks):
            self.step += 1
            now = time.time_ns() // 1_000_000
            data: dict[str, Any] = {
                f"group{n % 10}/metric{n:02}": math.sin(self.step / 50 + n) for n in range(METRICS - 4)
            }
            episode = 1 + self.step // 600
            data |= {"episode": episode, "episode_reward": float(self.step % 600), "health": {"current": 3, "max": 5}}
            entries.append(MetricsEntry(data, now, self.step))
            if self.step % 200 == 0:
                result = {
                    "iteration": self.step // 200,
                    "episode_return_mean": random.random(),
                    "policy_loss": random.random(),
                }
                entries.append(MetricsEntry(result, now, self.step, "iterations"))
            picture = self._frames[self.step % len(self._frames)]
            entries.append(FrameEntry(picture, now, "image/png", self.step, episode, (1, 0)))
        self.publish(entries)

    def run_for(self, seconds: float, speed: float = 1.0) -> None:
        """Tick at RATE_HZ, or faster."""
        start, done = time.monotonic(), 0
        while (elapsed := time.monotonic() - start) < seconds:
            due = int(elapsed * RATE_HZ * speed) - done
            if due > 0:
                self.tick(min(due, 50))
                done += min(due, 50)
            else:
                time.sleep(0.005)


def _game(number: int) -> bytes:
    """A frame of pixel art, 160×144."""
    image = Image.new("RGB", (160, 144), (15, 56, 15))
    draw = ImageDraw.Draw(image)
    for row in range(9):
        for column in range(10):
            if (row * 7 + column * 3 + number // 20) % 5 == 0:
                draw.rectangle((column * 16, row * 16, column * 16 + 14, row * 16 + 14), fill=(139, 172, 15))
    draw.ellipse((number % 150, 60, number % 150 + 9, 69), fill=(155, 188, 15))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


_WATCH = """() => {
  window.tasks = [];
  window.paints = [];
  new PerformanceObserver((list) => list.getEntries().forEach((entry) => tasks.push(entry.duration)))
    .observe({ type: 'longtask' });
  // The id of a frame begins with the millisecond in which Redis got it; the page sets it when it has drawn the frame.
  new MutationObserver(() => {
    const id = document.querySelector('#frame').dataset.id;
    requestAnimationFrame(() => paints.push(Date.now() - parseInt(id, 10)));
  }).observe(document.querySelector('#frame'), { attributes: true, attributeFilter: ['data-id'] });
}"""


def _metrics(session: CDPSession) -> dict[str, float]:
    return {item["name"]: item["value"] for item in session.send("Performance.getMetrics")["metrics"]}


def _heap_mb(page: Page, session: CDPSession) -> float:
    page.evaluate("() => { gc(); gc(); }")
    return _metrics(session)["JSHeapUsedSize"] / 1e6


def _open(browser: Browser, port: int, channel: str) -> tuple[Page, CDPSession]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    session = context.new_cdp_session(page)
    # Ticks of the thread, so that other work of the machine does not count.
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(f"http://127.0.0.1:{port}/?channel={channel}")
    page.wait_for_function("() => !document.querySelector('#frame').hidden")
    return page, session


def measure_live(browser: Browser, port: int, seconds: float) -> dict[str, Row]:
    """The main thread's share, its long tasks, and how late frames are painted."""
    run = Run(port, "live")
    run.tick()
    page, session = _open(browser, port, "live")
    feeder = threading.Thread(target=run.run_for, args=(seconds + 8,), daemon=True)
    feeder.start()
    page.wait_for_timeout(5_000)
    page.evaluate(_WATCH)
    before, start = _metrics(session), time.monotonic()
    page.wait_for_timeout(seconds * 1000)
    after, passed = _metrics(session), time.monotonic() - start
    paints = sorted(page.evaluate("() => paints"))
    tasks = page.evaluate("() => tasks")
    feeder.join()
    page.context.close()
    long, late = [task for task in tasks if task > 100], paints[int(len(paints) * 0.99)]
    share = (after["TaskDuration"] - before["TaskDuration"]) / passed
    script = (after["ScriptDuration"] - before["ScriptDuration"]) / passed
    return {
        "main thread, share of one core": Row("under 30 %", f"{share:.1%} ({script:.1%} script)", share < 0.3),
        "long tasks over 100 ms": Row(
            "none", f"{len(long)} (longest {max(tasks, default=0):.0f} ms, {len(tasks)} over 50 ms)", not long
        ),
        "frames painted": Row("", f"{len(paints)} ({len(paints) / passed:.1f} per second)"),
        "Redis to painted frame, p50 / p99": Row(
            "p99 under 60 ms", f"{statistics.median(paints):.0f} / {late:.0f} ms", late < 60
        ),
    }  # fmt: skip


def measure_heap(browser: Browser, port: int, run_minutes: float) -> dict[str, Row]:
    """The JavaScript heap over `run_minutes` of a run, fed SPEED_UP times as fast."""
    run = Run(port, "hour")
    run.tick()
    page, session = _open(browser, port, "hour")
    seconds = run_minutes * 60 / SPEED_UP
    feeder = threading.Thread(target=run.run_for, args=(seconds, SPEED_UP), daemon=True)
    feeder.start()
    samples: list[float] = []
    steps = 12
    for _ in range(steps):
        page.wait_for_timeout(seconds * 1000 / steps)
        samples.append(_heap_mb(page, session))
    feeder.join()
    shown = page.locator("#hud-top").inner_text().replace("\n", " ")
    page.context.close()
    early, late = statistics.mean(samples[steps // 2 : steps // 2 + 3]), statistics.mean(samples[-3:])
    return {
        f"heap over {run_minutes:g} min of a run, MB": Row("", " ".join(f"{sample:.0f}" for sample in samples)),
        "its last quarter against its third": Row("flat: within 5 %", f"{late / early - 1:+.1%}", late < 1.05 * early),
        "the page at its end": Row("", shown),
    }


def measure_load(browser: Browser, port: int, iterations: int, recent: int) -> dict[str, Row]:
    """The time from navigation to the first picture, with a long history in Redis."""
    run = Run(port, "long")
    now = time.time_ns() // 1_000_000
    for start in range(0, iterations, 250):
        run.publish([
            MetricsEntry(
                {"iteration": n, "episode_return_mean": math.sqrt(n), "policy_loss": 1 / (n + 1),
                 "episodes_total": n * 20,
                 **{f"timers/part{part}": random.random() for part in range(20)}},
                now - (iterations - n) * 28_800, n * 1000, "iterations",
            )
            for n in range(start, min(iterations, start + 250))
        ])  # fmt: skip
    for _ in range(recent // 50):
        run.tick(50)
    times = []
    for _ in range(5):
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        page.add_init_script(
            """addEventListener('DOMContentLoaded', () => {
              const look = () => document.querySelector('#frame').hidden
                ? requestAnimationFrame(look) : (window.shownAt = performance.now());
              look();
            })"""
        )
        page.goto(f"http://127.0.0.1:{port}/?channel=long")
        page.wait_for_function("() => window.shownAt")
        times.append(page.evaluate("() => window.shownAt"))
        context.close()
    return {
        f"first picture with {iterations:,} iterations, {iterations * 20:,} episodes and {recent:,} recent steps": Row(
            "within 1 s", f"{statistics.median(times):.0f} ms (of {', '.join(f'{one:.0f}' for one in times)})",
            max(times) < 1000,
        ),
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="shorter: less certain")
    parser.add_argument("--only", choices=["live", "heap", "load"], help="one of the measurements")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    results: dict[str, Row] = {}
    with hud_up() as port, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        if options.only in (None, "live"):
            results |= measure_live(browser, port, 20 if options.quick else 60)
        if options.only in (None, "load"):
            results |= measure_load(
                browser, port, 1_000 if options.quick else 5_000, 5_000 if options.quick else 20_000
            )
        if options.only in (None, "heap"):
            results |= measure_heap(browser, port, 10 if options.quick else 60)
        browser.close()
    table = ["| figure | criterion | measured | holds |", "|---|---|---|---|"]
    table += [f"| {name} | {row.criterion} | {row.measured} | {row.verdict} |" for name, row in results.items()]
    print("\n".join(table))
    if options.write:
        RESULTS.write_text(_HEAD.format(cores=os.cpu_count()) + "\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
