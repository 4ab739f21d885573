"""Hours of use in minutes: viewers come and go, sessions change, Redis restarts, and nothing may grow.

`python -m tests.faults.soak` runs for SOAK_MINUTES (12: two hours at ten times the usual rate) with SOAK_VIEWERS (200)
on two replicas, after SOAK_WARM_UP minutes (10) that do not count, then prints the slope of each measure with its
confidence, and ends with 1 if one of them grows. SOAK_SAMPLES names a file that keeps every sample, the warm-up's too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import redis
import redis.exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.faults import memory
from tests.faults.slope import slope_of
from tests.faults.world import Writer
from tests.faults.writer import Assignment
from tests.fixtures.servers import Server, redis_binary
from tests.fixtures.web import WebServer

MINUTES = float(os.environ.get("SOAK_MINUTES") or 12)
#: Effects of the start end within this time: caches fill, the first sessions expire, and reserved memory is touched for
#: the first time, which takes eight minutes.
WARM_UP_MINUTES = float(os.environ.get("SOAK_WARM_UP") or 10)
SAMPLES = os.environ.get("SOAK_SAMPLES")
VIEWERS = int(os.environ.get("SOAK_VIEWERS") or 200)
#: Ten times a run that logs twenty times per second.
ENTRIES_PER_S = 200
FPS = 10
SAMPLE_S = 3.0
#: Sessions change and Redis restarts ten times as often as on a bad day.
SESSION_S = 20.0
RESTART_S = 75.0
#: The shortest permitted retention: past sessions expire within the run, as they do within weeks.
RETENTION_S = 60
#: The most that resident memory may rise after the warm-up, as a share: one more arena of Python's allocator is 3 %.
MOST_RISE = 0.05
QUERIES = ("", "frames=0", "fps=2", "fps=5")


class Soak:
    """The servers, the disturbances and the measurements."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._stop = asyncio.Event()
        self._rng = random.Random(1)
        self._folder = folder
        self.series: dict[str, list[tuple[float, float]]] = defaultdict(list)
        #: In MB, by process.
        self.resident: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.counts: dict[str, int] = defaultdict(int)
        self.redis = Server(redis_binary(), folder / "redis")
        stack.callback(self.redis.kill)
        environment = {"HUD_RETENTION": str(RETENTION_S), "HUD_LOG_LEVEL": "error", "HUD_FRAME_HISTORY_S": "10"}
        measured = environment | {memory.FOLDER: str(folder), memory.PROGRAM: "hud_web"}
        self.webs = [
            WebServer(self.redis.url, environment=measured, program="tests.faults.memory") for _ in range(2)
        ]  # fmt: skip
        for web in self.webs:
            stack.callback(web.close)
        own = environment | {
            "REDIS_URL": self.redis.url, "HUD_RUN_ID": "soak", "HUD_FRAMES": "always", "HUD_FPS": str(FPS),
        }  # fmt: skip
        assignment = Assignment("w", own, os.devnull, ENTRIES_PER_S, 10**9, FPS, memory=str(folder))
        self.writer = Writer(assignment, folder)
        stack.callback(self.writer.kill)
        self._direct = redis.Redis(port=self.redis.port, socket_timeout=2.0, retry=Retry(NoBackoff(), 0), protocol=2)
        stack.callback(self._direct.close)

    async def run(self, seconds: float) -> None:
        """Run for this duration; any failure ends the soak with its error."""
        async with asyncio.TaskGroup() as group:
            for index in range(VIEWERS):
                group.create_task(self._view(index))
            group.create_task(self._every(SESSION_S, self._change_session))
            group.create_task(self._every(RESTART_S, self._restart_redis))
            group.create_task(self._every(SAMPLE_S, self._sample))
            await asyncio.sleep(seconds)
            self._stop.set()

    async def _pause(self, seconds: float) -> bool:
        """Wait; returns whether the soak goes on."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        return not self._stop.is_set()

    async def _every(self, seconds: float, do: object) -> None:
        while await self._pause(seconds):
            await asyncio.to_thread(do)  # type: ignore[arg-type]

    # -- disturbances -------------------------------------------------------------------------------------------------

    async def _view(self, index: int) -> None:
        """One page after another: most close soon, some stay open, and each resumes from the last event id."""
        rng = random.Random(index)
        last_id = ""
        while await self._pause(rng.uniform(0.1, 3.0)):
            web, query = rng.choice(self.webs), rng.choice(QUERIES)
            stay_s = rng.uniform(40, 120) if rng.random() < 0.2 else rng.uniform(1, 20)
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(stay_s), _stream(web.port, query, last_id) as reader:
                    self.counts["streams"] += 1
                    while not self._stop.is_set() and (data := await reader.read(65_536)):
                        self.counts["bytes"] += len(data)
                        last_id = _newest_id(data) or last_id
            if rng.random() < 0.3:
                last_id = ""

    def _change_session(self) -> None:
        status, _answer = self._rng.choice(self.webs).post("/api/reset_session")
        self.counts["resets"] += status == 200

    def _restart_redis(self) -> None:
        self.redis.kill()
        time.sleep(self._rng.uniform(0.2, 2.0))
        self.redis.start()
        self.counts["restarts"] += 1

    # -- measurements -------------------------------------------------------------------------------------------------

    def _sample(self) -> None:
        now = time.monotonic()
        for index, web in enumerate(self.webs, start=1):
            assert web.process is not None
            self._note_process(now, f"replica {index}", web.process.pid)
            status, body = web.get("/metrics")
            if status == 200:
                values = dict(line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#"))
                self._note(now, f"replica {index} tasks", float(values["hud_tasks"]))
                streams = [float(value) for name, value in values.items() if name.startswith("hud_viewers")]
                self._note(now, f"replica {index} streams", sum(streams))
        self._note_process(now, "publisher", self.writer.process.pid)
        with contextlib.suppress(redis.exceptions.RedisError, OSError):
            self._note_redis(now)

    def _note_process(self, now: float, name: str, pid: int) -> None:
        if (in_use := memory.told_by(self._folder, pid)) is not None:
            self._note(now, f"{name} memory, blocks", in_use.blocks)
            self._note(now, f"{name} memory, heap kB", in_use.heap / 1024)
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        # Anonymous memory only. The other resident pages belong to the files of the program and its libraries: each
        # is loaded at its first use, their number is bounded, and the kernel can reclaim them.
        self.resident[name].append((now, int(status["RssAnon"].split()[0]) / 1024))
        self._note(now, f"{name} threads", int(status["Threads"]))
        self._note(now, f"{name} files", len(os.listdir(f"/proc/{pid}/fd")))

    def _note_redis(self, now: float) -> None:
        keys = list(self._direct.scan_iter("hud:*", count=1_000))
        streams = [key for key in keys if key.rsplit(b":", 1)[-1] in (b"metrics", b"iterations", b"frames", b"events")]
        lengths = sum(int(self._direct.xlen(key)) for key in streams)
        self._note(now, "Redis keys", len(keys))
        self._note(now, "Redis stream entries", lengths)

    def _note(self, now: float, name: str, value: float) -> None:
        self.series[name].append((now, value))


@contextlib.asynccontextmanager
async def _stream(port: int, query: str, last_id: str) -> AsyncIterator[asyncio.StreamReader]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        resume = f"Last-Event-ID: {last_id}\r\n" if last_id else ""
        writer.write(f"GET /stream?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n{resume}\r\n".encode())
        yield reader
    finally:
        writer.transport.abort()  # like a closed laptop: no orderly end


def _newest_id(data: bytes) -> str:
    at = data.rfind(b"\nid: ")
    end = data.find(b"\n", at + 5)
    return data[at + 5 : end].decode("ascii", "replace") if at >= 0 and end > 0 else ""


def report(soak: Soak) -> bool:
    """Print every measure's course; returns whether one of them grows."""
    slopes = {name: slope_of(*_counted(samples)) for name, samples in sorted(soak.series.items())}
    print(f"{MINUTES:g} min after {WARM_UP_MINUTES:g}, {VIEWERS} viewers at a time: " + ", ".join(
        f"{count:,} {name}" for name, count in sorted(soak.counts.items())
    ))  # fmt: skip
    print(f"{'measure':28}{'mean':>12}{'slope per hour':>18}{'95 % ±':>12}   verdict")
    for name, slope in slopes.items():
        print(f"{name:28}{slope.mean:12.1f}{slope.per_hour:18.2f}{slope.error_per_hour:12.2f}   {slope.verdict}")
    print(f"{'resident (never given back)':28}{'at first, MB':>18}{'at last, MB':>18}{'more':>10}")
    more = {name: _print_resident(name, _counted(samples)[1]) for name, samples in sorted(soak.resident.items())}
    return any(slope.is_growing for slope in slopes.values()) or max(more.values()) > MOST_RISE


def _print_resident(name: str, values: list[float]) -> float:
    """Print and return the rise as a share; a high-water mark has no noise to compare a slope with."""
    more = values[-1] / values[0] - 1
    print(f"{name:28}{values[0]:18.2f}{values[-1]:18.2f}{more:10.2%}")
    return more


def _counted(samples: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Times and values after the warm-up."""
    counts_from = samples[0][0] + WARM_UP_MINUTES * 60
    kept = [(time, value) for time, value in samples if time >= counts_from]
    return [time for time, _value in kept], [value for _time, value in kept]


def main() -> int:
    # The C library's cache of each thread counts as in use and takes an hour to fill: switch it off.
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.tcache_count=0"
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        soak = Soak(Path(folder), stack)
        asyncio.run(soak.run((WARM_UP_MINUTES + MINUTES) * 60))
        if SAMPLES:
            kept = soak.series | {f"{name} resident, MB": samples for name, samples in soak.resident.items()}
            Path(SAMPLES).write_text(json.dumps(kept), encoding="utf-8")
        return int(report(soak))


if __name__ == "__main__":
    raise SystemExit(main())
