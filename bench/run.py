"""Runs the fan-out measurements side by side and writes bench/RESULTS.md; `make bench` builds the programs first.

    python bench/run.py [--runs 3] [--only fan_out,frames] [--write]

Round by round, each server goes through a measurement before the next round begins, so that a slow moment of the
machine meets all of them; the table has medians. The server under test has one core to itself, and Redis, the feed and
the load client share another. Only ratios within one run are meaningful.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import fanout, latency, pods  # noqa: E402
from bench.fanout import Figures  # noqa: E402
from bench.servers import OTHERS, PEERS, TESTED  # noqa: E402

ALL = ("hud", "nchan", "bare", "typical")
NAMES = {
    "hud": "**HUD**",
    "nchan": "nginx + nchan",
    "bare": "bare C epoll loop",
    "typical": "sse-starlette, a subscription each",
}
#: Measurement → its function and the servers that go through it.
COMPARED: dict[str, tuple[Callable[[str], Figures], tuple[str, ...]]] = {
    "fan_out": (fanout.fan_out, ALL),
    "sustained": (fanout.sustained, ALL),
    "frames": (fanout.frames, ALL),
    "idle": (pods.idle, ("hud", "nchan")),
    "hall": (pods.hall, ("hud",)),
}
ALONE: dict[str, Callable[[], Figures]] = {
    "slow_viewer": pods.slow_viewer, "redis_share": pods.redis_share, "rolling_restart": pods.rolling_restart,
    "history": pods.history, "latency": latency.latency,
}  # fmt: skip
Results = dict[tuple[str, str], Figures]


def measure(names: list[str], runs: int) -> Results:
    """Run everything; returns the medians by (measurement, server)."""
    seen: dict[tuple[str, str], list[Figures]] = {}
    for turn in range(runs):
        for name in names:
            for kind in COMPARED[name][1] if name in COMPARED else ("hud",):
                began_s = time.monotonic()
                try:
                    figures = COMPARED[name][0](kind) if name in COMPARED else ALONE[name]()
                except Exception as error:  # twenty minutes of other measurements must not be lost with it
                    print(f"{turn + 1}/{runs} {name} {kind}: failed: {error!r}", flush=True)
                    continue
                seen.setdefault((name, kind), []).append(figures)
                about = f"{time.monotonic() - began_s:.0f} s, load {os.getloadavg()[0]:.1f}"
                said = "  ".join(f"{figure} {value:.2f}" for figure, value in figures.items())
                print(f"{turn + 1}/{runs} {name} {kind}: {said}  ({about})", flush=True)
    return {key: {figure: median(one[figure] for one in found) for figure in found[0]} for key, found in seen.items()}


def table(results: Results) -> str:
    """The results as Markdown."""
    parts = []
    columns: dict[str, tuple[str, tuple[tuple[str, str, int], ...]]] = {
        "fan_out": (
            "1,000 viewers × 20 metric events/s of 300 bytes",
            (("cpu_us", "µs CPU per event", 2), ("p50_ms", "p50 ms", 1), ("p99_ms", "p99 ms", 1),
             ("kb_per_viewer", "KB per viewer", 1), ("delivered", "delivered", 3)),
        ),
        "sustained": (
            "The most that 500 viewers get with nothing lost and nothing later than 500 ms",
            (("deliveries_per_s", "deliveries/s", 0), ("cpu_us", "µs CPU per event", 2), ("p99_ms", "p99 ms", 1),
             ("client_cores", "cores of the load client", 2)),
        ),
        "frames": (
            "200 viewers × 20 frames/s of 20 KB",
            (("cpu_us", "µs CPU per frame", 1), ("p50_ms", "p50 ms", 1), ("p99_ms", "p99 ms", 1),
             ("delivered", "delivered", 3)),
        ),
        "idle": ("5,000 idle viewers", (("kb_per_viewer", "KB each", 2),)),
        "hall": (
            "10,000 viewers × 1 event/s",
            (("opened_s", "all connected after s", 1), ("cores", "cores", 2), ("mib", "MiB in all", 0),
             ("p99_ms", "p99 ms", 1), ("delivered", "delivered", 3)),
        ),
    }  # fmt: skip
    for name, (title, shown) in columns.items():
        rows = [kind for kind in ALL if (name, kind) in results]
        if not rows:
            continue
        head = "| server | " + " | ".join(label for _figure, label, _digits in shown) + " |"
        lines = [f"## {title}", "", head, "|---" * (len(shown) + 1) + "|"]
        for kind in rows:
            cells = [f"{results[name, kind][figure]:,.{digits}f}" for figure, _label, digits in shown]
            lines.append(f"| {NAMES[kind]} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    for name, function in ALONE.items():
        if (name, "hud") in results:
            summary = (function.__doc__ or "").strip().splitlines()[0]
            rows = [f"| {figure} | {value:,.2f} |" for figure, value in results[name, "hud"].items()]
            parts.append("\n".join([f"## {summary}", "", "| figure | |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def claims(results: Results, names: list[str]) -> str:
    """The claims and whether they hold; a claim whose measurement failed does not hold."""
    lines: list[str] = []

    def claim(text: str, name: str, value: float | None, limit: float, *, least: bool = False) -> None:
        if name not in names:
            return
        holds = value is not None and (value >= limit if least else value <= limit)
        shown = "not measured" if value is None else f"{value:.2f}"
        lines.append(f"| {text} | {shown} | {'≥' if least else '≤'} {limit:g} | {'yes' if holds else '**no**'} |")

    def get(name: str, figure: str, kind: str = "hud") -> float | None:
        return results.get((name, kind), {}).get(figure)

    def ratio(name: str, figure: str, other: str) -> float | None:
        return divided(get(name, figure), get(name, figure, other))

    def grows(figure: str) -> float | None:
        return divided(get("redis_share", f"{figure}_1000"), get("redis_share", f"{figure}_1"))

    claim(
        "1,000 viewers × 20 events/s: CPU per delivered event, of nchan's",
        "fan_out",
        ratio("fan_out", "cpu_us", "nchan"),
        0.8,
    )
    claim("1,000 viewers × 20 events/s: p99 latency, of nchan's", "fan_out", ratio("fan_out", "p99_ms", "nchan"), 1)
    claim(
        "500 viewers: most deliveries per second, times nchan's",
        "sustained",
        ratio("sustained", "deliveries_per_s", "nchan"),
        4,
        least=True,
    )
    claim(
        "500 viewers: the same, times the bare C loop's",
        "sustained",
        ratio("sustained", "deliveries_per_s", "bare"),
        1,
        least=True,
    )
    claim("200 viewers × 20 frames/s: CPU per frame, of nchan's", "frames", ratio("frames", "cpu_us", "nchan"), 1)
    claim(
        "200 viewers × 20 frames/s: CPU per frame, of the sse-starlette app's",
        "frames",
        ratio("frames", "cpu_us", "typical"),
        0.1,
    )
    claim("5,000 idle viewers: KB each", "idle", get("idle", "kb_per_viewer"), 12)
    claim("10,000 viewers: all connected after s", "hall", get("hall", "opened_s"), 30)
    claim("10,000 viewers × 1 event/s: MiB", "hall", get("hall", "mib"), 1024)
    claim("10,000 viewers × 1 event/s: cores", "hall", get("hall", "cores"), 1)
    claim("10,000 viewers × 1 event/s: share of the events that came", "hall", get("hall", "delivered"), 1, least=True)
    claim(
        "one viewer does not read for 60 s: p99 of the others, of before",
        "slow_viewer",
        get("slow_viewer", "p99_ratio"),
        1.1,
    )
    claim("one viewer does not read for 60 s: MB of memory more", "slow_viewer", get("slow_viewer", "grown_mb"), 2)
    claim("Redis commands/s with 1,000 viewers, of those with 1", "redis_share", grows("commands_per_s"), 1.1)
    claim("Redis connections with 1,000 viewers, of those with 1", "redis_share", grows("connections"), 1)
    claim("reads of Redis per event with 1,000 viewers, of those with 1", "redis_share", grows("reads_per_event"), 1.1)
    claim("500 viewers, rolling restart: entries missed", "rolling_restart", get("rolling_restart", "missed"), 0)
    claim("500 viewers, rolling restart: entries repeated", "rolling_restart", get("rolling_restart", "repeated"), 0)
    claim(
        "500 viewers, rolling restart: viewers with everything",
        "rolling_restart",
        get("rolling_restart", "complete"),
        500,
        least=True,
    )
    claim(
        "500 viewers, rolling restart: least spread of reconnects in s",
        "rolling_restart",
        get("rolling_restart", "least_spread_s"),
        5,
        least=True,
    )
    claim("history of 100,000 episodes: ms, by a replica that never read it", "history", get("history", "cold_ms"), 100)
    claim("history of 100,000 episodes: ms, again", "history", get("history", "warm_ms"), 100)
    claim("history of 100,000 episodes: KB", "history", get("history", "kb"), 100)
    return "\n".join(["| claim | measured | limit | holds |", "|---|---|---|---|", *lines])


def divided(ours: float | None, theirs: float | None) -> float | None:
    """The ratio of two measured values; None if one is missing."""
    return ours / theirs if ours is not None and theirs else None


def machine() -> str:
    """A description of the machine."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    nginx = (
        subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr.strip().partition("/")[2]
    )
    nchan = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan"], capture_output=True, text=True, check=False
    ).stdout
    server = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    peer = next(
        (path.name.split("-")[1].removesuffix(".dist") for path in PEERS.glob("sse_starlette-*.dist-info")), "?"
    )
    names = ("uvicorn", "uvloop", "httptools", "starlette", "redis", "hiredis")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"{datetime.date.today()}. {cpu}, {os.cpu_count()} cores (under test: {TESTED}; all else: {OTHERS}), "
        f"Linux {platform.release()}, Python {platform.python_version()}, {packages}; nginx {nginx}, nchan {nchan}, "
        f"sse-starlette {peer}, Redis {server.removeprefix('v=')}. Load average at the end: {os.getloadavg()[0]:.1f}."
    )


def main() -> None:
    """Measure, print, and write if asked to."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--only", help="measurements, separated by commas")
    options.add_argument("--write", action="store_true", help="write bench/RESULTS.md")
    arguments = options.parse_args()
    names = arguments.only.split(",") if arguments.only else [*COMPARED, *ALONE]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # ten thousand viewers are as many files on either side
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    began_s = time.monotonic()
    results = measure(names, arguments.runs)
    text = (
        f"# Fan-out\n\n`make bench`, medians of {arguments.runs}. {machine()}\n\n"
        "The first table compares each claim with its limit. CPU is user and system time of the processes under\n"
        "test; on loopback that includes the receivers' half of TCP, which is the same for all servers. Every event\n"
        "carries the time of its publishing; latency runs from there to the client. Load client, Redis and publisher\n"
        "share a core. Absolute figures depend on the machine and its load: compare within a table. "
        f"All took {(time.monotonic() - began_s) / 60:.0f} minutes.\n\n"
        f"{claims(results, names)}\n\n{table(results)}\n"
    )
    print(text)
    if arguments.write:
        (ROOT / "bench" / "RESULTS.md").write_text(text)


if __name__ == "__main__":
    main()
