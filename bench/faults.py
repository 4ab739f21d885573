"""Effects on training while the server is killed, frozen, slow or full: the slowest call, memory, and arrived entries.

    python bench/faults.py [--seconds 10] [--only "baseline,Redis killed"] [--write]

While the fault lasts, a training thread logs 10 scalars 200 times per second, offers 20 frames per second, and is busy
between the calls; `baseline` is the same without a fault, in the same run. After the fault, every entry that the
publisher accepted must be stored once, in order, except those that its counters name. Each fault runs twice: with the
publisher on Redis, and on a HUD server over HTTP.

An operating system sometimes takes the processor from a thread, also within a call of 10 µs. So the same loop also runs
without a publisher, half of it before and half after: it copies the same fields into a list. HUD's share is measured
separately: the greatest processor time that HUD's thread had during one call.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
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
#: The longest permitted call.
LIMIT_US = 1000
FRAME: Any = np.random.default_rng(1).integers(0, 255, (144, 160, 3), dtype=np.uint8)
NAMES = [f"metric_{number}" for number in range(10)]


class Network:
    """A FaultProxy in a separate process: its threads must not compete with training's for the interpreter."""

    def __init__(self, target_port: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_run_proxy, args=(target_port, theirs), daemon=True)
        self._process.start()
        self.port: int = self._pipe.recv()

    def set(self, name: str, value: object) -> None:
        """Change an attribute of the proxy; return after the change."""
        self._pipe.send((name, value))
        self._pipe.recv()

    def close(self) -> None:
        self._process.kill()
        self._process.join()


def _run_proxy(target_port: int, pipe: Any) -> None:
    with FaultProxy(target_port) as proxy:
        pipe.send(proxy.port)
        while True:
            setattr(proxy, *pipe.recv())
            pipe.send(None)


@dataclass
class Stage:
    """A Redis, a HUD server on it, and a faulty network between the publisher and its destination."""

    server: Server
    web: WebServer | None
    network: Network

    def publisher(self) -> Publisher:
        address = f"127.0.0.1:{self.network.port}"
        url: dict[str, Any] = {"hud_url": f"http://{address}"} if self.web else {"redis_url": f"redis://{address}/0"}
        return Publisher(frames="always", fps=20, **url)


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
    stage.network.set("bytes_per_s", 20_000)
    return lambda: stage.network.set("bytes_per_s", None)


def network_dead(stage: Stage) -> Callable[[], None]:
    stage.network.set("is_swallowing", True)
    return lambda: stage.network.set("is_swallowing", False)


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
        network = stack.enter_context(contextlib.closing(Network(web.port if web else server.port)))
        yield Stage(server, web, network)


def resident_mb() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass
class Calls:
    """The duration of each call, and the most processor time that HUD's thread had during one, in µs."""

    took: list[float] = field(default_factory=list)
    ours: float = 0.0

    def at(self, share: float) -> float:
        return sorted(self.took)[min(len(self.took) - 1, int(len(self.took) * share))]

    @property
    def long(self) -> int:
        return sum(took > LIMIT_US for took in self.took)


class Nothing:
    """Replaces the publisher: takes the same arguments and keeps a copy of the fields."""

    def __init__(self) -> None:
        self.kept: deque[Any] = deque(maxlen=1000)

    def log(self, data: Any, step: int | None = None) -> None:
        self.kept.append((time.time_ns(), step, dict(data), 0))

    def frame(self, pixels: Any, step: int | None = None) -> None:
        self.kept.append(pixels.tobytes())


def train(hud: Any, first: int, seconds: float, calls: Calls) -> None:
    """Log for `seconds`; note the duration of each call."""
    thread = getattr(hud, "_thread", None)
    clock = time.pthread_getcpuclockid(thread.ident) if thread else None
    weights = np.random.default_rng(1).random((96, 96))
    worked_ns = 0
    for step in range(first, first + int(seconds * CALLS_PER_S)):
        due = time.perf_counter() + 1 / CALLS_PER_S
        data = dict.fromkeys(NAMES, step * 0.5)
        if clock is not None:
            worked_ns = time.clock_gettime_ns(clock)
        began = time.perf_counter_ns()
        hud.log(data, step=step)
        calls.took.append((time.perf_counter_ns() - began) / 1000)
        if clock is not None:
            calls.ours = max(calls.ours, (time.clock_gettime_ns(clock) - worked_ns) / 1000)
        if step % (CALLS_PER_S // 20) == 0:
            hud.frame(FRAME, step=step)
        while time.perf_counter() < due:
            weights = weights @ weights
            weights /= weights.max()


def arrived(stage: Stage) -> list[int]:
    with redis.Redis.from_url(stage.server.url) as link:
        fence: Any = link.get(ChannelKeys("default").fence)
        entries: Any = link.xrange(ChannelKeys("default").session(fence.decode()).stream("metrics"))
        return [int(fields[b"step"]) for _id, fields in entries]


@dataclass
class Row:
    """One fault through one sink."""

    sink: str
    fault: str
    without: Calls
    with_hud: Calls
    cells: list[str]

    def __str__(self) -> str:
        figures = [f"{calls.at(share):,.0f}" for share in (0.5, 0.99, 1.0) for calls in (self.without, self.with_hud)]
        figures += [f"{self.without.long}", f"{self.with_hud.long}", f"{self.with_hud.ours:,.0f}"]
        return "| " + " | ".join([self.sink, self.fault, *figures, *self.cells]) + " |"


def measure(name: str, over_http: bool, seconds: float) -> Row:
    """One row of the table."""
    without, with_hud = Calls(), Calls()
    train(Nothing(), 0, seconds / 2, without)
    with staged(over_http) as stage:
        hud = stage.publisher()
        train(hud, 0, 2.0, Calls())
        before = int(2.0 * CALLS_PER_S)
        wait_until(lambda: hud.stats.sent.get("metrics") == before, "the first entries", deadline_s=30)
        gc.collect()
        memory_mb = resident_mb()
        heal = FAULTS[name](stage)
        train(hud, before, seconds, with_hud)
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
    train(Nothing(), 0, seconds / 2, without)
    drops = ", ".join(f"{count} {cause}" for cause, count in stats.dropped.items()) or "none"
    cells = [f"{grown_mb:+.1f}", f"{len(found)} of {stats.taken['metrics']}", drops]
    return Row("HTTP" if over_http else "Redis", name, without, with_hud, cells)


def verdict(rows: list[Row]) -> str:
    """Return whether the criterion holds, and the share of HUD in the long calls."""
    slowest = max(row.with_hud.at(1.0) for row in rows)
    alone = max(row.without.at(1.0) for row in rows)
    ours = max(row.with_hud.ours for row in rows)
    long, calls = sum(row.with_hud.long for row in rows), sum(len(row.with_hud.took) for row in rows)
    long_alone, calls_alone = sum(row.without.long for row in rows), sum(len(row.without.took) for row in rows)
    says = "holds" if slowest < LIMIT_US else "holds for HUD's part" if ours < LIMIT_US else "does not hold"
    return (
        f"Criterion: the slowest `log` call stays under 1 ms. **It {says}**: the slowest took {slowest:,.0f} µs "
        f"({alone:,.0f} µs in the same loop without HUD); HUD's thread had the processor within a call for {ours:,.0f} "
        f"µs at most; over 1 ms took {long} of {calls} calls ({long_alone} of {calls_alone} without HUD)."
    )


def main() -> None:
    """Measure every fault and print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument("--only", help="faults, separated by commas")
    options.add_argument("--write", action="store_true", help="write bench/RESULTS-faults.md")
    chosen = options.parse_args()
    names = chosen.only.split(",") if chosen.only else list(FAULTS)
    rows: list[Row] = []
    for over_http in (False, True):
        for name in names:
            if name == "HUD server killed" and not over_http:
                continue
            print(f"{'HTTP' if over_http else 'Redis'}: {name}", file=sys.stderr)
            rows.append(measure(name, over_http, chosen.seconds))
    head = [
        "| sink | fault | `log` p50 without HUD (µs) | p50 with | p99 without | p99 with | max without | max with "
        "| over 1 ms without | with | HUD's thread within one call, max (µs) | memory (MB) | metrics there once "
        "| dropped |",
        "|" + "---|" * 14,
    ]
    text = "\n".join([*head, *map(str, rows), "", verdict(rows)])
    print(text)
    if chosen.write:
        about = f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
        about += f", load average {os.getloadavg()[1]:.0f}"
        title = f"# Effects of server faults on training\n\n{(__doc__ or '').strip()}\n\n"
        whole = f"{title}Measured on {about}; each fault lasted {chosen.seconds:g} s.\n\n{text}\n"
        (ROOT / "bench" / "RESULTS-faults.md").write_text(whole, encoding="utf-8")


if __name__ == "__main__":
    main()
