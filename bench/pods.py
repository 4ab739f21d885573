"""Measurements of our server only: idle viewers, viewers that stop reading, restarts, the load of Redis, history.

Each function returns its figures by name. Called by `run`.
"""

from __future__ import annotations

import http.client
import math
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import redis

from bench.fanout import Figures, running
from bench.feed import CHANNEL, LIMITS, register
from bench.servers import (
    OTHERS,
    Feed,
    Load,
    Redis,
    Server,
    free_port,
    hud,
    hud_process,
    is_listening,
    spawn,
    stop,
    wait_for,
)
from hud_publisher.protocol import scripts
from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.entries import MetricsEntry
from hud_publisher.sinks.redis_client import execute

IDLE_VIEWERS, HALL = 5_000, 10_000
HALL_SECONDS = 10
SLOW_VIEWERS, CALM_SECONDS, STALL_SECONDS = 200, 20, 60
QUIET_SECONDS, BUSY_SECONDS = 10, 6
ROLL_VIEWERS, ROLL_RATE = 500, 20
EPISODES = 100_000


def idle(kind: str) -> Figures:
    """Memory of each of 5,000 idle viewers."""
    with running(kind) as server:
        before_kb = server.memory_kb()
        with Load(server, IDLE_VIEWERS) as load:
            load.wait_open()
            time.sleep(2)
            return {"kb_per_viewer": (server.memory_kb() - before_kb) / IDLE_VIEWERS}


def hall(kind: str) -> Figures:
    """10,000 viewers: the time until all are connected, then one event per second to each."""
    with running(kind) as server, Load(server, HALL) as load:
        load.wait_open()
        opened_s = load.ask("report")["opened_s"]
        Feed(server, rate=1, seconds=1).result()
        load.ask("reset")
        cpu_s, began = server.cpu_s(), time.monotonic()
        sent = Feed(server, rate=1, seconds=HALL_SECONDS, first=1_000).result()["sent"]
        time.sleep(1)
        share = (server.cpu_s() - cpu_s) / (time.monotonic() - began)
        found = load.ask("report")
        return {
            "opened_s": opened_s, "cores": share, "mib": server.memory_kb() / 1024, "p99_ms": found["p99_ms"],
            "delivered": found["events"] / (sent * HALL),
        }  # fmt: skip


def slow_viewer() -> Figures:
    """200 viewers with metrics and frames; then one of them stops reading for a minute."""
    with running("hud") as server, Load(server, SLOW_VIEWERS) as load:
        load.wait_open()
        seconds = CALM_SECONDS + STALL_SECONDS + 12
        background = Feed(server, rate=20, seconds=seconds, size=20_000, frames=True)
        metrics = Feed(server, rate=20, seconds=seconds)
        time.sleep(4)
        load.ask("reset")
        time.sleep(CALM_SECONDS)
        calm = load.ask("report")
        before_kb = server.memory_kb()
        load.ask("stall 1")
        load.ask("reset")
        most_kb = before_kb
        for _ in range(STALL_SECONDS):
            time.sleep(1)
            most_kb = max(most_kb, server.memory_kb())
        stalled = load.ask("report")
        stop(background.process, metrics.process)
        return {
            "p99_ms": calm["p99_ms"], "p99_stalled_ms": stalled["p99_ms"],
            "p99_ratio": stalled["p99_ms"] / calm["p99_ms"], "grown_mb": (most_kb - before_kb) / 1024,
        }  # fmt: skip


def redis_share() -> Figures:
    """Load of Redis with 1 and with 1,000 viewers: commands per second in quiet, reads at 20 events/s."""
    found: Figures = {}
    for count in (1, 1_000):
        with running("hud") as server, Load(server, count) as load:
            assert server.backend is not None
            load.wait_open()
            time.sleep(3)
            before, began = server.backend.stats(), time.monotonic()
            time.sleep(QUIET_SECONDS)
            after, seconds = server.backend.stats(), time.monotonic() - began
            found[f"commands_per_s_{count}"] = (after["commands"] - before["commands"]) / seconds
            found[f"connections_{count}"] = float(after["connections"])
            before = after
            sent = Feed(server, rate=20, seconds=BUSY_SECONDS).result()["sent"]
            found[f"reads_per_event_{count}"] = (server.backend.stats()["reads"] - before["reads"]) / sent
    return found


def rolling_restart() -> Figures:
    """500 viewers behind haproxy while its three replicas restart one after another."""
    backend = Redis()
    register(backend.url)
    ports = [free_port() for _ in range(3)]
    replicas = [hud_process(backend.url, port) for port in ports]
    with tempfile.TemporaryDirectory() as folder:
        front = free_port()
        lines = "\n".join(
            f"  server s{n} 127.0.0.1:{port} check inter 500 fall 1 rise 1" for n, port in enumerate(ports)
        )
        Path(folder, "haproxy.cfg").write_text(
            "global\n  maxconn 8000\ndefaults\n  mode http\n  option http-no-delay\n  option redispatch\n  retries 3\n"
            "  timeout connect 2s\n  timeout client 30s\n  timeout server 30s\n"
            f"frontend f\n  bind 127.0.0.1:{front}\n  default_backend b\n"
            f"backend b\n  balance leastconn\n  option httpchk\n"
            f"  http-check send meth GET uri /ready ver HTTP/1.1 hdr Host localhost\n  timeout check 3s\n{lines}\n"
        )
        proxy = spawn(["haproxy", "-f", f"{folder}/haproxy.cfg"], OTHERS, stderr=subprocess.DEVNULL)
        server = Server("hud", front, f"/stream?channel={CHANNEL}&frames=0", backend.url, [], backend)
        try:
            wait_for(lambda: is_listening(front), "haproxy")
            wait_for(lambda: _is_ready(front), "a replica behind haproxy")
            time.sleep(2)
            with Load(server, ROLL_VIEWERS, resume=True) as load:
                load.wait_open()
                Feed(server, rate=ROLL_RATE, seconds=2).result()
                feed = Feed(server, rate=ROLL_RATE, seconds=60, first=2 * ROLL_RATE)
                spreads = []
                time.sleep(2)
                gaps = repeats = resets = failures = reconnects = 0
                for number, port in enumerate(ports):
                    load.ask("reset")
                    replicas[number].send_signal(signal.SIGTERM)
                    replicas[number].wait(30)
                    replicas[number] = hud_process(backend.url, port)
                    time.sleep(4)
                    found = load.ask("report")
                    spreads.append(found["reconnect_spread_s"])
                    gaps, repeats = gaps + found["gaps"], repeats + found["repeats"]
                    resets, failures = resets + found["resets"], failures + found["failures"]
                    reconnects += found["reconnects"]
                load.ask("reset")
                feed.result()
                wait_for(lambda: load.ask("ready")["open"] == ROLL_VIEWERS, "all viewers to be back")
                time.sleep(2)
                found = load.ask("report")
                return {
                    "missed": gaps + found["gaps"], "repeated": repeats + found["repeats"],
                    "resets": resets + found["resets"], "refused": failures + found["failures"],
                    "reconnects": reconnects + found["reconnects"], "least_spread_s": min(spreads),
                    "complete": found["complete"],
                }  # fmt: skip
        finally:
            stop(proxy, *replicas, backend.process)


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def history() -> Figures:
    """`/api/history` over 100,000 episodes: from a replica that never saw them, and again."""
    with hud() as server:
        session_id = register(server.address)
        noise = random.Random(1)
        with redis.Redis.from_url(server.address, protocol=2) as client:
            for start in range(0, EPISODES, 500):
                entries = tuple(
                    MetricsEntry(
                        {
                            "episode": n, "episode_reward": math.sin(n / 5_000) * 10 + noise.random(),
                            "episode_length": noise.randrange(300), "episode_return": noise.random(),
                        },
                        1_000 * n, 100 * n,
                    )
                    for n in range(start, start + 500)
                )  # fmt: skip
                execute(client, scripts.publish(session_id, Batch("history", start + 1, entries), LIMITS))
        cold_ms, size = _ask(server.port)
        warm = sorted(_ask(server.port)[0] for _ in range(5))
        return {"cold_ms": cold_ms, "warm_ms": warm[2], "kb": size / 1000}


def _ask(port: int) -> tuple[float, int]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    began = time.perf_counter()
    connection.request("GET", f"/api/history?channel={CHANNEL}")
    response = connection.getresponse()
    body = response.read()
    assert response.status == 200, body
    took_ms = (time.perf_counter() - began) * 1000
    connection.close()
    return took_ms, len(body)
