"""The cost of a delivery: our server beside nchan, the bare C loop and a typical sse-starlette app.

Each function takes one server through one measurement and returns its figures by name. Called by `run`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from bench.servers import Feed, Load, Server, bare, hud, nchan, typical

Figures = dict[str, float]
Start = Callable[[], AbstractContextManager[Server]]
SERVERS: dict[str, Start] = {"hud": hud, "nchan": nchan, "bare": bare, "typical": typical}

VIEWERS, RATE, SECONDS = 1_000, 20, 8
#: The search for the greatest rate that a server sustains: its first rate, in events per second, and its steps.
BEGIN_AT = {"hud": 300.0, "nchan": 60.0, "bare": 120.0, "typical": 8.0}
STEP, STEP_SECONDS, MOST_STEPS, SATURATED_VIEWERS = 1.5, 3.0, 10, 500
#: A rate is not sustained if events are later than this, even if all arrive.
LATE_MS = 500.0
FRAME_BYTES, FRAME_VIEWERS, FRAME_RATE = 20_000, 200, 20


@contextmanager
def running(kind: str) -> Iterator[Server]:
    """A server that has delivered its first event, so that lazy parts are started."""
    with SERVERS[kind]() as server:
        with Load(server, 2) as load:
            load.wait_open()
            Feed(server, rate=20, seconds=0.5, first=-1_000).result()
        yield server


def fan_out(kind: str) -> Figures:
    """1,000 viewers, 20 events per second of 300 bytes."""
    with running(kind) as server:
        before_kb = server.memory_kb()
        with Load(server, VIEWERS) as load:
            load.wait_open()
            Feed(server, rate=RATE, seconds=1).result()
            time.sleep(0.5)
            kb = (server.memory_kb() - before_kb) / VIEWERS
            load.ask("reset")
            cpu_s = server.cpu_s()
            sent = Feed(server, rate=RATE, seconds=SECONDS, first=10_000).result()["sent"]
            time.sleep(0.5)
            cpu_s = server.cpu_s() - cpu_s
            found = load.ask("report")
    return {
        "cpu_us": cpu_s / max(1, found["events"]) * 1e6, "p50_ms": found["p50_ms"], "p99_ms": found["p99_ms"],
        "delivered": found["events"] / (sent * VIEWERS), "kb_per_viewer": kb,
    }  # fmt: skip


def sustained(kind: str) -> Figures:
    """The greatest number of deliveries per second to 500 viewers: all arrive, and none late."""
    best: Figures = {"deliveries_per_s": 0.0, "cpu_us": 0.0, "p99_ms": 0.0, "client_cores": 0.0}
    with running(kind) as server:
        rate = BEGIN_AT[kind]
        for number in range(MOST_STEPS):
            got = _sustain(server, rate, 100_000 * number)
            if got is not None:
                best, rate = got, rate * STEP
            elif best["deliveries_per_s"]:
                return _sustain(server, rate / STEP**0.5, 100_000 * MOST_STEPS) or best
            else:
                rate /= STEP
    return best


def _sustain(server: Server, rate: float, first: int) -> Figures | None:
    with Load(server, SATURATED_VIEWERS) as load:  # new ones, since some may have been cut at the step before
        load.wait_open()
        load.ask("reset")
        cpu_s, client_s = server.cpu_s(), load.cpu_s()
        began = time.monotonic()
        sent = Feed(server, rate=rate, seconds=STEP_SECONDS, first=first).result()
        expected = sent["sent"] * SATURATED_VIEWERS
        found = load.ask("report")
        while found["events"] < expected and time.monotonic() - began < STEP_SECONDS + 3:
            time.sleep(0.1)
            found = load.ask("report")
        client_cores = (load.cpu_s() - client_s) / (time.monotonic() - began)
        cpu_s = server.cpu_s() - cpu_s
    is_sustained = found["events"] >= expected and found["p99_ms"] < LATE_MS and sent["seconds"] < STEP_SECONDS * 1.05
    time.sleep(0.5 if is_sustained else 3.0)
    if not is_sustained:
        return None
    return {
        "deliveries_per_s": expected / sent["seconds"], "cpu_us": cpu_s / expected * 1e6, "p99_ms": found["p99_ms"],
        "client_cores": client_cores,
    }  # fmt: skip


def frames(kind: str) -> Figures:
    """200 viewers, 20 frames per second of 20 KB."""
    with running(kind) as server, Load(server, FRAME_VIEWERS) as load:
        load.wait_open()
        Feed(server, rate=FRAME_RATE, seconds=1, size=FRAME_BYTES, frames=True).result()
        time.sleep(0.5)
        load.ask("reset")
        cpu_s = server.cpu_s()
        sent = Feed(server, rate=FRAME_RATE, seconds=SECONDS, size=FRAME_BYTES, frames=True).result()["sent"]
        time.sleep(0.5)
        cpu_s = server.cpu_s() - cpu_s
        found = load.ask("report")
    return {
        "cpu_us": cpu_s / max(1, found["events"]) * 1e6, "p50_ms": found["p50_ms"], "p99_ms": found["p99_ms"],
        "delivered": found["events"] / (sent * FRAME_VIEWERS),
    }  # fmt: skip
