"""The cost of many runs for one replica: 1, 100 and 1,000 channels side by side, each with one viewer.

    python bench/runs.py [--channels 1 100 1000] [--per-s 5] [--seconds 10] [--rounds 3] [--write]

Each channel gets `--per-s` batches of one entry per second through publish.lua, evenly spread over the second, and one
viewer reads its stream. An entry has five numbers, one of them the time of its sending; latency runs from there to the
viewer. Each measurement has a new Redis and a new server with its monitor, as in production. The server has the first
core to itself; Redis and this process, which writes and reads, share the second. Before the viewers connect, the server
only monitors: that part is reported as the monitor's share.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import re
import selectors
import socket
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import hiredis
import redis

from bench.servers import OTHERS, Redis, Server, cpu_s, free_port, hud_process, stop
from hud_publisher.protocol import scripts
from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.entries import Limits, MetricsEntry
from hud_publisher.protocol.keys import SessionId
from hud_publisher.protocol.replies import parse_register

RESULTS = Path(__file__).with_name("RESULTS-runs.md")
HEAD = """# Many runs on one replica

`make bench-runs`. Each channel has one viewer. The server has one core; Redis, the writer and the viewers share the
other. Every entry carries the time of its sending, and latency runs from there to the viewer. The monitor's column is
the processor time per entry while nobody watches. Once a core is saturated, events wait in queues: then the latency is
that of a server without reserves, which joins many events and needs less time for each.
"""
#: The lease must outlast the pauses between measurements.
LIMITS = Limits(ttl_ms=3_600_000)
TICK_S = 0.005
#: The monitor's first rounds read every channel's memory and begin its judge.
WARM_UP_S = 4.0
#: Numbers of a fixed width in the prepared commands, which each batch replaces: Unix time in microseconds, the number
#: of the batch, and a value.
TIME, NUMBER, VALUE = b"1111222233334444", b"555566667", b"0.777788"
FIRST_NUMBER = 100_000_000
EVENT = re.compile(rb'event: training_update\ndata: \{"t":([0-9]{16})')
#: Bounds of the claims that the first table states.
MOST_RATIO, MOST_P99_MS = 1.3, 100.0


@dataclass(frozen=True, slots=True)
class Figures:
    """One measurement.

    Attributes:
        sent: entries.
        delivered: of these, the ones that reached their viewer.
        cpu_us: processor time of the server per entry that reached its viewer, with the monitor.
        monitor_us: processor time of the server per entry while nobody watches.
        redis_us: processor time of Redis per entry that was sent.
        p50_ms: from the sending to the viewer, half of the entries.
        p99_ms: the same, 99 of 100.
        cores: of the server.
        memory_mb: of the server.
        connections: to Redis.
        rate: entries that were sent per second.
    """

    sent: int
    delivered: int
    cpu_us: float
    monitor_us: float
    redis_us: float
    p50_ms: float
    p99_ms: float
    cores: float
    memory_mb: float
    connections: int
    rate: float


class Load:
    """Writes to all channels and reads all viewers' streams, in one thread."""

    def __init__(self, server: Server, channels: int, per_s: float) -> None:
        assert server.backend is not None
        self._server, self._channels, self._per_s = server, channels, per_s
        with redis.Redis.from_url(server.address, protocol=2) as client:
            self._commands = [_command(*_register(client, f"run-{number}")) for number in range(channels)]
        self._redis = socket.create_connection(("127.0.0.1", server.backend.port))
        self._redis.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replies = hiredis.Reader()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._redis, selectors.EVENT_READ, self._read_replies)
        self._number = FIRST_NUMBER
        self._viewers: list[socket.socket] = []
        self._opened: set[int] = set()
        self.latencies_us: list[int] = []
        self.sent = 0

    def close(self) -> None:
        """Close all connections."""
        for link in (self._redis, *self._viewers):
            link.close()
        self._selector.close()

    def open_viewers(self) -> None:
        """Open a stream of each channel, and return once each has its snapshot."""
        for number in range(self._channels):
            link = socket.create_connection(("127.0.0.1", self._server.port))
            link.sendall(b"GET /stream?channel=run-%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % number)
            self._viewers.append(link)
            self._selector.register(link, selectors.EVENT_READ, self._reader(number, link))
            self._wait(0.0)
        until = time.monotonic() + 60
        while len(self._opened) < self._channels:
            if time.monotonic() > until:
                raise RuntimeError(f"expected {self._channels} open streams, got {len(self._opened)} within 60 s")
            self._wait(0.1)

    def write(self, seconds: float) -> None:
        """Write for this time, evenly spread over the channels, and read the events that come meanwhile."""
        began, sent, rate = time.monotonic(), 0, self._channels * self._per_s
        total = int(seconds * rate)
        while sent < total:
            due = min(total, int((time.monotonic() - began) * rate) + 1)
            parts = [self._next(number % self._channels, number // self._channels) for number in range(sent, due)]
            if parts:
                self._redis.sendall(b"".join(parts))
            sent = due
            next_s = began + max(sent / rate, time.monotonic() - began + TICK_S)
            while (left_s := next_s - time.monotonic()) > 0:
                self._wait(left_s)
        self._number += total // self._channels + 1
        self.sent += total

    def settle(self, seconds: float = 0.5) -> None:
        """Read the events that are still under way."""
        until = time.monotonic() + seconds
        while (left_s := until - time.monotonic()) > 0:
            self._wait(left_s)

    def _next(self, channel: int, turn: int) -> bytes:
        command = self._commands[channel].replace(NUMBER, b"%d" % (self._number + turn))
        command = command.replace(VALUE, b"%.6f" % (random.random() * 0.999))
        return command.replace(TIME, b"%d" % (time.time_ns() // 1_000))

    def _wait(self, timeout_s: float) -> None:
        for key, _events in self._selector.select(timeout_s):
            key.data()

    def _read_replies(self) -> None:
        self._replies.feed(self._redis.recv(1 << 18))
        while (reply := self._replies.gets()) is not False:
            if isinstance(reply, Exception) or reply[0] != b"ok":
                raise RuntimeError(f"expected Redis to accept every batch, got {reply!r}")

    def _reader(self, number: int, link: socket.socket) -> Callable[[], None]:
        rest = b""

        def read() -> None:
            nonlocal rest
            came = link.recv(1 << 18)
            if not came or came.startswith(b"HTTP/1.1 4"):
                raise RuntimeError(f"the server ended the stream of channel {number}: {(rest + came)[-300:]!r}")
            data = rest + came
            end = data.rfind(b"\n\n") + 1
            rest = data[end:]
            now_us = time.time_ns() // 1_000
            self.latencies_us += [now_us - int(sent) for sent in EVENT.findall(data, 0, end)]
            if number not in self._opened and b"event: snapshot" in data:
                self._opened.add(number)

        return read


def _register(client: redis.Redis, channel: str) -> tuple[str, SessionId]:
    call = scripts.register(channel, run_id=channel, name=channel, limits=LIMITS)
    reply = client.eval(call.script.source, len(call.keys), *call.keys, *call.args)
    session_id = parse_register(reply).session_id  # type: ignore[arg-type]
    touch = scripts.touch(channel, LIMITS)
    client.eval(touch.script.source, len(touch.keys), *touch.keys, *touch.args)
    beat = scripts.publish(session_id, Batch("w", 0, ()), LIMITS)
    client.eval(beat.script.source, len(beat.keys), *beat.keys, *beat.args)
    return channel, session_id


def _command(channel: str, session_id: SessionId) -> bytes:
    """The command that appends a batch of one entry, with the numbers that each batch replaces."""
    data = {"t": int(TIME)} | dict.fromkeys(("episode_return", "loss", "entropy", "steps_per_s"), float(VALUE))
    batch = Batch("w", int(NUMBER), (MetricsEntry(data, time.time_ns() // 1_000_000, 1),))
    call = scripts.publish(session_id, batch, LIMITS)
    parts = ("EVALSHA", call.script.sha, len(call.keys), *call.keys, *call.args)
    packed: bytes = hiredis.pack_command(parts)
    assert packed.count(NUMBER) == 1
    return packed


def measure(channels: int, per_s: float, seconds: float) -> Figures:
    """Measure one number of channels with a new Redis and a new server."""
    backend = Redis()
    process = hud_process(backend.url, port := free_port())
    server = Server("hud", port, "/stream", backend.url, [process], backend)
    load = Load(server, channels, per_s)
    try:
        load.write(WARM_UP_S)
        used_s, sent = server.cpu_s(), load.sent
        load.write(seconds / 2)
        monitor_us = (server.cpu_s() - used_s) / (load.sent - sent) * 1e6
        load.open_viewers()
        load.write(WARM_UP_S)
        load.settle()
        load.latencies_us.clear()
        used_s, redis_s, sent, began = server.cpu_s(), cpu_s(backend.process.pid), load.sent, time.monotonic()
        load.write(seconds)
        passed_s, came = time.monotonic() - began, max(1, len(load.latencies_us))
        used_s, redis_s, sent = server.cpu_s() - used_s, cpu_s(backend.process.pid) - redis_s, load.sent - sent
        load.settle(2.0)
        found = sorted(load.latencies_us)
        return Figures(
            sent, len(found), used_s / came * 1e6, monitor_us, redis_s / sent * 1e6, _quantile(found, 0.5) / 1e3,
            _quantile(found, 0.99) / 1e3, used_s / passed_s, server.memory_kb() / 1024,
            backend.stats()["connections"] - 2,  # this process has one, and its question is another
            sent / passed_s,
        )  # fmt: skip
    finally:
        load.close()
        stop(process, backend.process)


def _quantile(ordered: Sequence[int], share: float) -> float:
    return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))]) if ordered else float("inf")


def table(found: dict[int, list[Figures]]) -> str:
    """The medians of each number of channels."""
    lines = [
        "| channels | entries/s | delivered | µs per event | monitor, µs | Redis, µs | p50 ms | p99 ms | cores | MB "
        "| connections |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for channels, rounds in found.items():

        def middle(name: str, rounds: list[Figures] = rounds) -> float:
            return float(statistics.median(getattr(one, name) for one in rounds))

        share = middle("delivered") / middle("sent")
        lines.append(
            f"| {channels:,} | {middle('rate'):,.0f} | {share:.3f} | {middle('cpu_us'):,.0f} | "
            f"{middle('monitor_us'):,.0f} | {middle('redis_us'):,.0f} | {middle('p50_ms'):.1f} | "
            f"{middle('p99_ms'):.1f} | {middle('cores'):.2f} | {middle('memory_mb'):.0f} | "
            f"{middle('connections'):.0f} |"
        )
    return "\n".join(lines)


def claims(found: dict[int, list[Figures]]) -> str:
    """The claims about the largest number of channels, with the range over the rounds; empty if there is only one."""
    *_fewer, middle, most = [0, *sorted(found)]
    if middle not in found:
        return ""
    ratios = [many.cpu_us / few.cpu_us for few, many in zip(found[middle], found[most], strict=True)]
    delays = [one.p99_ms for one in found[most]]
    rows = (
        (f"processor time per event at {most:,} channels, of that at {middle:,}", ratios, MOST_RATIO, ".2f"),
        (f"p99 at {most:,} channels, ms", delays, MOST_P99_MS, ".0f"),
    )
    lines = ["| claim | measured | range | limit | holds |", "|---|---|---|---|---|"]
    for name, values, limit, form in rows:
        value = statistics.median(values)
        spread = f"{min(values):{form}} to {max(values):{form}}"
        lines.append(f"| {name} | {value:{form}} | {spread} | ≤ {limit:g} | {'yes' if value <= limit else 'no'} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the results if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--per-s", type=float, default=5.0, help="entries per second and channel")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    os.sched_setaffinity(0, {OTHERS})
    before = os.getloadavg()[0]
    found: dict[int, list[Figures]] = {channels: [] for channels in options.channels}
    for _round in range(options.rounds):
        for channels in options.channels:
            found[channels].append(measure(channels, options.per_s, options.seconds))
            print(channels, found[channels][-1], flush=True)
    text = f"{claims(found)}\n\n{table(found)}\n".lstrip()
    print(text)
    if options.write:
        RESULTS.write_text(
            f"{HEAD}\nMedians of {options.rounds}, {options.per_s:g} entries per second and channel. Python "
            f"{platform.python_version()}, {os.cpu_count()} cores, load average before: {before:.1f}, after: "
            f"{os.getloadavg()[0]:.1f}.\n\n{text}"
        )


if __name__ == "__main__":
    main()
