"""The delay of OpenShift's router: the time of one metric from its log call to its reading, with and without it.

    make bench-router
    python bench/router.py [--seconds 20] [--write]

Two viewers watch the same run: one at a replica, one through haproxy with the settings and TLS of the router. All times
come from one clock, so a figure is the sum of all delays in between. Figures are medians of three rounds.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from hud_publisher import Publisher  # noqa: E402
from tests.deploy.follower import Follower  # noqa: E402
from tests.deploy.router.router import routed  # noqa: E402
from tests.fixtures.servers import redis_binary, running  # noqa: E402
from tests.fixtures.web import poll  # noqa: E402


def round_of(seconds: float, direct: Follower, through: Follower, hud: Publisher) -> tuple[list[float], list[float]]:
    """Log 20 times a second, and return the lags that both viewers saw, in milliseconds."""
    before = len(direct.lags_s), len(through.lags_s)
    until = time.monotonic() + seconds
    step = 0
    while time.monotonic() < until:
        step += 1
        hud.log({"n": step, "sent_s": time.monotonic()}, step=step)
        time.sleep(0.05)
    poll(lambda: len(direct.lags_s) - before[0] >= step and len(through.lags_s) - before[1] >= step, "the last ones")
    return [lag * 1000 for lag in direct.lags_s[before[0] :]], [lag * 1000 for lag in through.lags_s[before[1] :]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="of each of the three rounds")
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS-router.md")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running(redis_binary(), Path(folder) / "redis") as redis,
        routed(Path(folder), redis.url) as (router, replicas),
        Publisher(redis_url=redis.url, name="router bench") as hud,
    ):
        direct = Follower(replicas[0].url)
        through = Follower(router.url, context=router.context)
        poll(lambda: direct.opened and through.opened, "both viewers")
        rows = []
        for _ in range(3):
            alone, routed_ms = round_of(options.seconds, direct, through, hud)
            rows.append([f(lags) for lags in (alone, routed_ms) for f in (statistics.median, p99)])
        direct.close()
        through.close()
    p50, p99_ms, p50_routed, p99_routed = (statistics.median(column) for column in zip(*rows, strict=True))
    told = "\n".join([
        "| way | p50 (ms) | p99 (ms) |", "|---|---|---|",
        f"| straight to the replica | {p50:.2f} | {p99_ms:.2f} |",
        f"| through the router, edge TLS | {p50_routed:.2f} | {p99_routed:.2f} |",
        f"| added | {p50_routed - p50:.2f} | {p99_routed - p99_ms:.2f} |",
    ])  # fmt: skip
    sys.stdout.write(told + "\n")
    if options.write:
        measured = (
            f"Measured on Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()} "
            f"{platform.machine()}, load average {os.getloadavg()[0]:.0f}; {options.seconds:g} s a round, 20 entries a "
            "second."
        )
        text = (__doc__ or "").strip()
        whole = f"# Delay of OpenShift's router\n\n{text}\n\n{measured}\n\n{told}\n"
        (ROOT / "bench" / "RESULTS-router.md").write_text(whole, encoding="utf-8")


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


if __name__ == "__main__":
    main()
