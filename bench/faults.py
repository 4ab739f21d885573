"""What training feels while the server is killed, frozen, slow or full: the slowest call, memory, and what arrives.

    python bench/faults.py [--seconds 10] [--write]

A training thread, busy between the calls, logs 10 scalars 200 times and offers a frame 20 times a second while the
fault lasts; `baseline` is the same without a fault, in the same run. Afterwards the fault ends, and every entry that
was taken must be there once, in order, but for those that the counters name. Through Redis itself and through a HUD
server over HTTP.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import redis

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from hud_publisher import Publisher  # noqa: E402
from hud_publisher.protocol.keys import ChannelKeys  # noqa: E402
from tests.fixtures.fault_proxy import FaultProxy  # noqa: E402
from tests.fixtures.servers import Server, redis_binary, running, wait_until  # noqa: E402
from tests.fixtures.web import WebServer  # noqa: E402

CALLS_PER_S = 200
FRAME: Any = np.random.default_rng(1).integers(0, 255, (144, 160, 3), dtype=np.uint8)
NAMES = [f"metric_{number}" for number in range(10)]


@dataclass
class Stage:
    """A Redis, a HUD server on it, and a bad network in front of whichever the publisher talks to."""

    server: Server
    web: WebServer | None
    proxy: FaultProxy

    def publisher(self) -> Publisher:
        address = {"hud_url": self.proxy.url} if self.web else {"redis_url": self.proxy.redis_url}
        return Publisher(frames="always", fps=20, **address)


def none(stage: Stage) -> Callable[[], None]:
    return lambda: None


def redis_killed(stage: Stage) -> Callable[[], None]:
    stage.server.kill()
    return stage.server.restart


def redis_frozen(stage: Stage) -> Callable[[], None]:
    stage.server.stop()
    return stage.server.cont


def redis_full(stage: Stage) -> Callable[[], None]:
    link = redis.Redis.from_url(stage.server.url)
    link.config_set("maxmemory", "1")

    def heal() -> None:
        link.config_set("maxmemory", "0")
        link.close()

    return heal


def network_slow(stage: Stage) -> Callable[[], None]:
    stage.proxy.bytes_per_s = 20_000

    def heal() -> None:
        stage.proxy.bytes_per_s = None

    return heal


def network_dead(stage: Stage) -> Callable[[], None]:
    stage.proxy.is_swallowing = True

    def heal() -> None:
        stage.proxy.is_swallowing = False

    return heal


def web_killed(stage: Stage) -> Callable[[], None]:
    assert stage.web is not None
    stage.web.kill()
    return stage.web.start


FAULTS: dict[str, Callable[[Stage], Callable[[], None]]] = {
    "baseline": none,
    "Redis killed": redis_killed,
    "Redis frozen": redis_frozen,
    "Redis full": redis_full,
    "network at 20 KB/s": network_slow,
    "network dead": network_dead,
    "HUD server killed": web_killed,
}


@contextlib.contextmanager
def staged(over_http: bool) -> Iterator[Stage]:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(running(redis_binary(), Path(folder)))
        web = stack.enter_context(contextlib.closing(WebServer(server.url))) if over_http else None
        proxy = stack.enter_context(FaultProxy(web.port if web else server.port))
        yield Stage(server, web, proxy)


def resident_mb() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def train(hud: Publisher, first: int, seconds: float) -> list[float]:
    """Log for so long; return what each call took, in µs."""
    took: list[float] = []
    weights = np.random.default_rng(1).random((96, 96))
    for step in range(first, first + int(seconds * CALLS_PER_S)):
        due = time.perf_counter() + 1 / CALLS_PER_S
        data = dict.fromkeys(NAMES, step * 0.5)
        began = time.perf_counter_ns()
        hud.log(data, step=step)
        took.append((time.perf_counter_ns() - began) / 1000)
        if step % (CALLS_PER_S // 20) == 0:
            hud.frame(FRAME, step=step)
        while time.perf_counter() < due:
            weights = weights @ weights
            weights /= weights.max()
    return took


def arrived(stage: Stage) -> list[int]:
    with redis.Redis.from_url(stage.server.url) as link:
        fence: Any = link.get(ChannelKeys("default").fence)
        entries: Any = link.xrange(ChannelKeys("default").session(fence.decode()).stream("metrics"))
        return [int(fields[b"step"]) for _id, fields in entries]


def measure(name: str, over_http: bool, seconds: float) -> str:
    """One row of the table."""
    with staged(over_http) as stage:
        hud = stage.publisher()
        train(hud, 0, 2.0)
        before = int(2.0 * CALLS_PER_S)
        wait_until(lambda: hud.stats.sent.get("metrics") == before, "the first entries", deadline_s=30)
        gc.collect()
        memory_mb = resident_mb()
        heal = FAULTS[name](stage)
        took = sorted(train(hud, before, seconds))
        grown_mb = resident_mb() - memory_mb
        heal()
        wait_until(lambda: hud.stats.pending["metrics"] == 0, "everything to land", deadline_s=90)
        hud.close(10)
        stats = hud.stats
        found = arrived(stage)
        lost = stats.taken["metrics"] - stats.sent["metrics"]
        assert found == sorted(set(found)), "an entry landed twice or out of order"
        assert len(found) == stats.sent["metrics"]
        assert lost == sum(count for cause, count in stats.dropped.items() if cause.startswith("metrics/"))
    drops = ", ".join(f"{count} {cause}" for cause, count in stats.dropped.items()) or "none"
    cells = [
        "HTTP" if over_http else "Redis", name, f"{took[len(took) // 2]:.1f}", f"{took[int(len(took) * 0.99)]:.1f}",
        f"{took[-1]:,.0f}", f"{grown_mb:+.1f}", f"{len(found)} of {stats.taken['metrics']}", drops,
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure every fault and print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument("--only", help="faults, separated by commas")
    options.add_argument("--write", action="store_true", help="write bench/RESULTS-faults.md")
    chosen = options.parse_args()
    rows = [
        "| sink | fault | log p50 (µs) | p99 | max | memory (MB) | metrics there once | dropped |",
        "|---|---|---|---|---|---|---|---|",
    ]
    names = chosen.only.split(",") if chosen.only else list(FAULTS)
    for over_http in (False, True):
        for name in names:
            if name == "HUD server killed" and not over_http:
                continue
            print(f"{'HTTP' if over_http else 'Redis'}: {name}", file=sys.stderr)
            rows.append(measure(name, over_http, chosen.seconds))
    print("\n".join(rows))
    if chosen.write:
        about = f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
        about += f", load average {os.getloadavg()[1]:.0f}"
        head = f"# What training feels while the server is in trouble\n\n{(__doc__ or '').strip()}\n\n"
        text = f"{head}Measured on {about}; each fault lasted {chosen.seconds:g} s.\n\n" + "\n".join(rows) + "\n"
        (ROOT / "bench" / "RESULTS-faults.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
