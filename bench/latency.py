"""Measures the time from a call of training to a handler in the browser, on loopback, with the real parts.

    python bench/latency.py [--events 400] [--rate 20]
    python bench/latency.py --rllib 60           # also the frames of a PPO run with HudCallbacks and its defaults

Starts `hud up`, a Publisher on its Redis and one on its HTTP endpoint, and Chromium. Each event carries the wall-clock
time of its `log` or `frame` call; the page subtracts it from the arrival time (same machine, same clock). Frames carry
whole milliseconds. HudCallbacks sends the frames of 0.2 s with one call, so the first of them waits for the last.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hud_publisher import Publisher

#: As large as an Atari picture.
PICTURE = np.random.default_rng(1).integers(0, 255, (210, 160, 3), dtype=np.uint8)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
]
COLLECT = """() => {
  window.delays = {metric: [], frame: []};
  const source = new EventSource('/stream');
  const now = () => performance.timeOrigin + performance.now();
  source.addEventListener('training_update', event => {
    const sent_ms = JSON.parse(event.data).sent_ms;
    if (sent_ms) window.delays.metric.push(now() - sent_ms);
  });
  source.addEventListener('vision_update', event => {
    window.delays.frame.push(now() - JSON.parse(event.data).time_ms);
  });
}"""


def main() -> None:
    """Print p50, p90 and p99 in milliseconds for each way in."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=400)
    options.add_argument("--rate", type=float, default=20.0, help="events per second")
    options.add_argument("--rllib", type=float, metavar="S", help="also train with RLlib for so many seconds")
    arguments = options.parse_args()
    print(f"{arguments.events} events at {arguments.rate:g}/s, call to event handler in Chromium")
    found = measure_all(arguments.events, arguments.rate)
    if arguments.rllib:
        found["RLlib frame"] = measure_rllib(arguments.rllib)
    for name, delays in found.items():
        print(f"{name:12} p50 {quantile(delays, 0.5):6.1f} ms   p90 {quantile(delays, 0.9):6.1f} ms   "
              f"p99 {quantile(delays, 0.99):6.1f} ms   n {len(delays)}")  # fmt: skip


def latency() -> dict[str, float]:
    """From the call to the event's handler in Chromium, by Redis and by HTTP; for `run`."""
    found = measure_all(events=100, rate=20.0)
    return {
        f"{name.lower().removesuffix(' metric').replace(' ', '_')}_p{share}_ms": quantile(delays, share / 100)
        for name, delays in found.items() for share in (50, 90, 99)
    }  # fmt: skip


def measure_all(events: int, rate: float) -> dict[str, list[float]]:
    """Return the delays in milliseconds, in order, of metrics and frames for each way in."""
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
            return {
                f"{name} {kind}": delays
                for name, where in ways.items() for kind, delays in measure(url[1], where, events, rate).items()
            }  # fmt: skip
        finally:
            server.terminate()


def measure(url: str, where: dict[str, str], events: int, rate: float) -> dict[str, list[float]]:
    """Return the delays of metrics and frames in milliseconds, without the first ten of each."""
    with collecting(url) as delays:
        hud = Publisher(name="latency", **where)
        hud.start()
        time.sleep(2.0)
        for _ in range(events + 10):
            hud.log({"sent_ms": time.time() * 1000})
            time.sleep(0.5 / rate)
            hud.frame(PICTURE)
            time.sleep(0.5 / rate)
        time.sleep(1.0)
        hud.close()
    return {kind: sorted(found[10:]) for kind, found in delays.items()}


def measure_rllib(seconds: float) -> list[float]:
    """Return the delays of the frames of a PPO run on Breakout with HudCallbacks as it is by default."""
    from bench.rllib import build, ready_to_train
    from rllib_integration import HudCallbacks

    with ready_to_train(4) as (url, redis_url):
        algorithm = build(functools.partial(HudCallbacks, redis_url=redis_url), env_runners=2, envs=1)
        algorithm.train()
        with collecting(url) as delays:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                algorithm.train()
        algorithm.stop()
    return sorted(delays["frame"][10:])


@contextlib.contextmanager
def collecting(url: str) -> Iterator[dict[str, list[float]]]:
    """Open the stream in Chromium; at the end of the block the yielded lists hold the delays."""
    delays: dict[str, list[float]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page()
        page.goto(f"{url}/health")
        page.evaluate(COLLECT)
        yield delays
        delays.update(page.evaluate("() => window.delays"))
        browser.close()


def quantile(ordered: list[float], share: float) -> float:
    """The value below which this share of the ordered values lies."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


if __name__ == "__main__":
    main()
