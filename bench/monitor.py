"""The cost of the monitor for one replica: processor time of 1,000 live channels that one process monitors.

    python bench/monitor.py [--channels 1000] [--per-s 1 3] [--seconds 30] [--write]

A child process publishes: each channel gets `--per-s` entries of ten numbers per second. This process runs the monitor
against a real Redis and measures its processor time, which other load on the machine hardly changes. It also counts the
entries that the monitor judged, which shows whether the child published fast enough.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import secrets
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

from hud_publisher.protocol import scripts
from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.entries import Limits, MetricsEntry
from hud_publisher.protocol.replies import parse_register
from hud_publisher.sinks.redis_client import connect, execute
from hud_web.monitor import monitor as product
from hud_web.monitor.annotations import Annotation
from hud_web.monitor.detectors import Observation
from hud_web.monitor.judge import Judge
from hud_web.store.redis_client import connect_writer
from hud_web.store.store import Store
from tests.fixtures.servers import Server, redis_binary

RESULTS = Path(__file__).with_name("RESULTS-monitor.md")
HEAD = """# Cost of the monitor

`python bench/monitor.py --write`: one process monitors 1,000 live channels, each entry has ten numbers. The limit is
half of a core of one replica.
"""
#: The first round reads every channel's memory and begins its judge.
WARM_UP_S = 5.0


def publish(url: str, channels: int, per_s: float, is_ready: Event, is_over: Event) -> None:
    """Hold `channels` sessions and append to each `per_s` times a second, evenly spread."""
    client, luck = connect(url), random.Random(1)
    sessions = []
    for number in range(channels):
        name = f"run-{number}"
        call = scripts.register(name, run_id=secrets.token_hex(8), name=name, limits=Limits(ttl_ms=300_000))
        sessions.append(parse_register(execute(client, call)))
        execute(client, scripts.touch(name, Limits()))
        execute(client, scripts.publish(sessions[-1].session_id, Batch("w", 0, ()), Limits(ttl_ms=300_000)))
    is_ready.set()
    began, sent = time.monotonic(), 0
    while not is_over.is_set():
        due = int((time.monotonic() - began) * channels * per_s)
        pipe = client.pipeline(transaction=False)
        for turn, number in (divmod(one, channels) for one in range(sent, due)):
            data = {f"field_{field}": luck.random() for field in range(8)} | {
                "episode_return": luck.gauss(turn, 3), "training_iteration": turn,
            }  # fmt: skip
            batch = Batch("w", turn + 1, (MetricsEntry(data, time.time_ns() // 1_000_000, turn * 10),))
            call = scripts.publish(sessions[number].session_id, batch, Limits(ttl_ms=300_000))
            pipe.execute_command("EVALSHA", call.script.sha, len(call.keys), *call.keys, *call.args)
        pipe.execute()
        sent = due
        time.sleep(0.02)


class Counting(Judge):
    """Counts the entries that all judges of this process were given."""

    entries = 0

    def see(self, entry: Observation) -> list[Annotation]:
        """Count and judge one entry."""
        Counting.entries += 1
        return super().see(entry)


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one warm monitor: processor and wall seconds, entries that it judged, annotations in Redis."""

    processor_s: float
    passed_s: float
    entries: int
    annotations: int


async def monitor(url: str, seconds: float) -> tuple[float, float, int]:
    """Return the processor time, the time that passed and the entries judged while the monitor ran warm."""
    product.Judge = Counting  # type: ignore[attr-defined, misc]
    store = Store(connect_writer(url))
    task = asyncio.create_task(product.Monitor(store).run())
    await asyncio.sleep(WARM_UP_S)
    used, began, entries = time.process_time(), time.monotonic(), Counting.entries
    await asyncio.sleep(seconds)
    used, passed, entries = time.process_time() - used, time.monotonic() - began, Counting.entries - entries
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.aclose()
    return used, passed, entries


def measure(channels: int, per_s: float, seconds: float) -> Cost:
    """Publish and monitor for `seconds`."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(redis_binary(), Path(folder))
        context = multiprocessing.get_context("spawn")
        is_ready, is_over = context.Event(), context.Event()
        writer = context.Process(target=publish, args=(server.url, channels, per_s, is_ready, is_over))
        writer.start()
        is_ready.wait(120)
        used, passed, entries = asyncio.run(monitor(server.url, seconds))
        is_over.set()
        writer.join(10)
        client = connect(server.url)
        keys = client.execute_command("KEYS", "hud:*:annotations")
        annotations = sum(int(client.execute_command("XLEN", key)) for key in keys)
        client.close()
        server.kill()
    return Cost(used, passed, entries, annotations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=1000)
    parser.add_argument("--per-s", type=float, nargs="+", default=[1.0, 3.0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows = []
    for per_s in options.per_s:
        cost = measure(options.channels, per_s, options.seconds)
        rows.append(
            f"| {options.channels:,} | {per_s:g} | {cost.entries / cost.passed_s:,.0f} | {cost.annotations:,} | "
            f"{cost.processor_s:.1f} s of {cost.passed_s:.0f} s | {cost.processor_s / cost.passed_s:.2f} |"
        )
        print(rows[-1])
    if options.write:
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        RESULTS.write_text(
            f"{HEAD}\nLoad of the machine at the end, over 1, 5 and 15 minutes: {load}, on {os.cpu_count()} cores.\n\n"
            "| channels | entries per second and channel | entries judged per second | annotations written | "
            "processor time | cores |\n|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
        )


if __name__ == "__main__":
    main()
