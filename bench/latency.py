"""How long a metric takes from `hud.log` to a handler in the browser, on loopback, with the real parts.

    python bench/latency.py [--events 400] [--rate 20]

Starts `hud up`, a Publisher on its Redis and one on its HTTP endpoint, and Chromium. Each event carries the wall-clock
time of its `log` call; the page subtracts it from its own (same machine, same clock).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time

from playwright.sync_api import sync_playwright

from hud_publisher import Publisher

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
]
COLLECT = """() => {
  window.delays = [];
  new EventSource('/stream?frames=0').addEventListener('training_update', event => {
    const now = performance.timeOrigin + performance.now();
    window.delays.push(now - JSON.parse(event.data).sent_ms);
  });
}"""


def main() -> None:
    """Print p50, p90 and p99 in milliseconds for each way in."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=400)
    options.add_argument("--rate", type=float, default=20.0, help="events per second")
    arguments = options.parse_args()
    print(f"{arguments.events} events at {arguments.rate:g}/s, log call to event handler in Chromium")
    for name, delays in measure_all(arguments.events, arguments.rate).items():
        print(f"{name:6} p50 {quantile(delays, 0.5):6.1f} ms   p90 {quantile(delays, 0.9):6.1f} ms   "
              f"p99 {quantile(delays, 0.99):6.1f} ms   n {len(delays)}")  # fmt: skip


def latency() -> dict[str, float]:
    """From `hud.log` to the event's handler in Chromium, by Redis and by HTTP; for `run`."""
    found = measure_all(events=100, rate=20.0)
    return {
        f"{name.lower()}_p{share}_ms": quantile(delays, share / 100)
        for name, delays in found.items() for share in (50, 90, 99)
    }  # fmt: skip


def measure_all(events: int, rate: float) -> dict[str, list[float]]:
    """Return the delays in milliseconds, in order, for each way in."""
    environment = {name: value for name, value in os.environ.items() if name not in ("REDIS_URL", "HUD_URL")}
    command = [sys.executable, "-m", "hud_web", "up", "--port", "0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            lines = "".join(server.stdout.readline() for _ in range(3))
            url = re.search(r"HUD  (\S+)", lines)
            redis_url = re.search(r"REDIS_URL=(\S+)", lines)
            if not url or not redis_url:
                raise RuntimeError(f"expected `hud up` to say where it is, got {lines!r}")
            ways = {"Redis": {"redis_url": redis_url[1]}, "HTTP": {"hud_url": url[1]}}
            return {name: measure(url[1], where, events, rate) for name, where in ways.items()}
        finally:
            server.terminate()


def measure(url: str, where: dict[str, str], events: int, rate: float) -> list[float]:
    """Return the delays of all events but the first ten, in milliseconds."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page()
        page.goto(f"{url}/health")
        page.evaluate(COLLECT)
        hud = Publisher(name="latency", **where)
        hud.start()
        time.sleep(2.0)
        for _ in range(events + 10):
            hud.log({"sent_ms": time.time() * 1000})
            time.sleep(1 / rate)
        time.sleep(1.0)
        hud.close()
        delays: list[float] = page.evaluate("() => window.delays")
        browser.close()
    return sorted(delays[10:])


def quantile(ordered: list[float], share: float) -> float:
    """The value below which this share of the ordered values lies."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


if __name__ == "__main__":
    main()
