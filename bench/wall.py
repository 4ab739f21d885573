"""The cost of the wall for a server: `/stream/runs` with the pictures and curves of 200 live runs.

    python -m bench.wall [--runs 200] [--viewers 1 20] [--seconds 30] [--write]

A child process writes the runs (bench.wall_load): 10 entries and a frame of 8 KB per second each. The server is a
process of its own, on a real Redis. Measured are the processor times of the server and of Redis without and with
viewers, and of the first viewer the age of each picture when it arrives, and of the oldest picture that it shows.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import psutil

from bench.wall_load import running_load
from tests.fixtures.servers import Server, redis_binary, running
from tests.fixtures.web import WebServer

RESULTS = Path(__file__).with_name("RESULTS-wall.md")
HEAD = """# Cost of the wall for a server

`python -m bench.wall --write`: 200 live runs, each with 10 entries and a frame of 8 KB per second. The limits are 0.6
core of the server, and no picture older than 2 s.
"""
#: The history of each run is read, and the readers of the monitor begin.
WARM_UP_S = 10.0
COLUMNS = (
    "viewers", "cores of the server", "of it without viewers", "cores of Redis", "of it without viewers",
    "pictures per second", "KB per second", "age at arrival, median", "99 %", "oldest shown, 99 %",
)  # fmt: skip


@dataclass
class Viewer:
    """One viewer that reads its stream in a thread; the first one measures the ages of pictures, in seconds.

    Attributes:
        arrivals: age of each picture when it arrived.
        oldest: age of the oldest shown picture, just before each event.
        size: bytes that were read.
    """

    port: int
    measures: bool
    arrivals: list[float] = field(default_factory=list)
    oldest: list[float] = field(default_factory=list)
    size: int = 0

    def __post_init__(self) -> None:
        self._connection = HTTPConnection("127.0.0.1", self.port)
        self._connection.request("GET", "/stream/runs?pictures=1&curves=1")
        self._socket = self._connection.sock
        self._response = self._connection.getresponse()
        self._shown: dict[str, float] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError, HTTPException):
            for line in self._response:
                now_s = time.time()
                self.size += len(line)
                if self.measures and line.startswith(b'data: {"runs"'):
                    if self._shown:
                        self.oldest.append(now_s - min(self._shown.values()))
                    for picture in json.loads(line[6:]).get("pictures", ()):
                        self._shown[picture["run"]] = picture["time_ms"] / 1000
                        self.arrivals.append(now_s - picture["time_ms"] / 1000)

    def reset(self) -> None:
        """Begin to measure."""
        self.arrivals, self.oldest, self.size = [], [], 0

    def close(self) -> None:
        """End the stream."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(2)
        self._connection.close()


@contextlib.contextmanager
def watching(port: int, viewers: int) -> Iterator[Viewer]:
    """Open streams during a `with` block; the first one measures."""
    opened = [Viewer(port, measures=number == 0) for number in range(viewers)]
    try:
        yield opened[0]
    finally:
        for viewer in opened:
            viewer.close()


def cores(processes: list[psutil.Process], seconds: float) -> list[float]:
    """The cores that processes use during this time."""
    before = [sum(process.cpu_times()[:2]) for process in processes]
    began_s = time.monotonic()
    time.sleep(seconds)
    took_s = time.monotonic() - began_s
    return [(sum(one.cpu_times()[:2]) - used) / took_s for one, used in zip(processes, before, strict=True)]


def part(values: list[float], share: float) -> float:
    """The value below which this share of the values is."""
    return sorted(values)[int(share * (len(values) - 1))]


def measure(redis: Server, runs: int, viewers: list[int], seconds: float) -> list[list[str]]:
    """Return a row of the table for each number of viewers."""
    web = WebServer(redis.url, environment={"HUD_STREAMS_PER_ADDRESS": "0"})
    rows = []
    try:
        assert web.process is not None
        processes = [psutil.Process(web.process.pid), psutil.Process(redis.pid)]
        with running_load(redis.url, runs):
            time.sleep(WARM_UP_S)
            alone = cores(processes, seconds / 2)
            for count in viewers:
                with watching(web.port, count) as first:
                    time.sleep(WARM_UP_S)
                    first.reset()
                    used = cores(processes, seconds)
                    ages, oldest, size = first.arrivals, first.oldest, first.size
                rows.append([
                    str(count), f"{used[0]:.2f}", f"{alone[0]:.2f}", f"{used[1]:.2f}", f"{alone[1]:.2f}",
                    f"{len(ages) / seconds:.0f}", f"{size / seconds / 1000:,.0f}", f"{part(ages, 0.5):.2f} s",
                    f"{part(ages, 0.99):.2f} s", f"{part(oldest, 0.99):.2f} s",
                ])  # fmt: skip
                print(dict(zip(COLUMNS, rows[-1], strict=True)), flush=True)
    finally:
        web.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--viewers", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--write", action="store_true", help="write RESULTS-wall.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running(redis_binary(), Path(folder)) as redis:
        rows = measure(redis, given.runs, given.viewers, given.seconds)
    if given.write:
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        lines = [
            HEAD, f"Load of the machine at the end, over 1, 5 and 15 minutes: {load}, on {os.cpu_count()} cores.", "",
            f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *(f"| {' | '.join(row)} |" for row in rows),
        ]  # fmt: skip
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
