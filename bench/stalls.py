"""What HUD keeps the env runners' own threads from, by the kernel's accounts.

    python bench/stalls.py [--env-runners 1,2] [--rounds 6] [--seconds 12] [--write]

Steps per second tell it badly: where processors are shared with others, their speed changes by half within seconds, and
what is looked for is a hundredth. The kernel's accounts do not depend on speed. All env runners of a PPO algorithm on
Breakout (RAM) sample for some seconds with HudCallbacks and for as many without, in turns, watched at 20 fps. Meanwhile
the kernel counts for how long the thread that samples was ready and had no processor (its run delay), and for how long
it slept though it had work, which is Python's interpreter lock. What the callbacks themselves do on that thread is
timed in turns of its own. Redis, web tier and viewer run on the same machine. Linux only.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402

from bench.rllib import QUIET, build, display, start_ray, viewer  # noqa: E402

#: Steps of one sampling: short enough that a turn ends in time.
CHUNK_STEPS = 100
#: In this order, so that a slow moment of the machine meets all kinds alike.
KINDS = ("without", "with", "timed")
TIMED = ("on_episode_start", "on_episode_step", "on_episode_end", "on_sample_end")

#: What one env runner's turn gave, in ms per second; by name.
Figures = dict[str, float]


def sample(env_runner: Any, *, kind: str, start: float, seconds: float) -> Figures:
    """Sample for some seconds of the wall clock, in the env runner's process; says what the kernel counted."""
    import threading

    from ray.rllib.callbacks.callbacks import RLlibCallback

    from rllib_integration.attachment import our_callbacks

    def accounts(task: str) -> tuple[float, float]:
        """Processor time and run delay so far, in ms."""
        cpu, delay, _slices = Path(f"/proc/{task}/schedstat").read_text(encoding="ascii").split()
        return int(cpu) / 1e6, int(delay) / 1e6

    hud = our_callbacks(env_runner)[0]
    threads = [thread.native_id for thread in threading.enumerate() if thread.name == "hud-publisher"]
    kept, spent = env_runner._callbacks, [0, 0]
    if kind == "without":
        env_runner._callbacks = [RLlibCallback()]
    if kind == "timed":
        for name in TIMED:
            setattr(hud, name, _timed(getattr(hud, name), spent))
    time.sleep(max(0.0, start - time.time()))

    began, ours = accounts("thread-self"), [accounts(f"self/task/{thread}")[0] for thread in threads]
    clock, steps = time.perf_counter(), 0
    while time.time() < start + seconds:
        episodes = env_runner.sample(num_timesteps=CHUNK_STEPS, random_actions=False)
        steps += sum(len(episode) for episode in episodes)
    elapsed = time.perf_counter() - clock
    ended, theirs = accounts("thread-self"), [accounts(f"self/task/{thread}")[0] for thread in threads]

    env_runner._callbacks = kept
    if kind == "timed":
        for name in TIMED:
            delattr(hud, name)
    delay = ended[1] - began[1]
    return {
        "processor": delay / elapsed,
        "interpreter": (elapsed * 1e3 - (ended[0] - began[0]) - delay) / elapsed,
        "own": max(0.0, spent[1] / 1e6 - spent[0] * _clock_ms()) / elapsed,
        "thread": (sum(theirs) - sum(ours)) / elapsed,
        "steps": steps / elapsed,
    }


def _timed(method: Any, spent: list[int]) -> Any:
    """The same method; counts its calls, and the processor time that they take."""

    def call(*args: Any, **kwargs: Any) -> Any:
        began = time.thread_time_ns()
        try:
            return method(*args, **kwargs)
        finally:
            spent[0] += 1
            spent[1] += time.thread_time_ns() - began

    return call


def _clock_ms() -> float:
    """What reading the clock adds to one timed call."""
    spent = [0, 0]
    nothing = _timed(lambda: None, spent)
    for _ in range(20_000):
        nothing()
    return spent[1] / spent[0] / 1e6


def servers() -> dict[str, int]:
    """The process ids of web tier, Redis and viewer."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        command = " ".join(process.cmdline())
        for name, part in (("web tier", "hud_web"), ("Redis", "redis-server"), ("viewer", "curl")):
            if part in command and "ray" not in process.name():
                found.setdefault(name, process.pid)
    return found


def cpu_ms(pid: int) -> float:
    """Processor time of a process' main thread so far, in ms."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e6


def take_turns(options: argparse.Namespace, env_runners: int, url: str, redis_url: str) -> list[dict[str, Any]]:
    """One dictionary per turn: its kind, each env runner's figures, and the servers' processor time."""
    from rllib_integration import HudCallbacks

    options.env_runners = env_runners
    algorithm = build(options, functools.partial(HudCallbacks, redis_url=redis_url, fps=options.fps))
    turns = []
    frames: list[int] = []
    try:
        algorithm.train()  # what is started lazily
        with viewer(url, frames):
            algorithm.train()
            pids = servers()
            for _ in range(options.rounds):
                for kind in KINDS:
                    start = time.time() + 1.0
                    before = {name: cpu_ms(pid) for name, pid in pids.items()}
                    figures = algorithm.env_runner_group.foreach_env_runner(
                        functools.partial(sample, kind=kind, start=start, seconds=options.seconds),
                        local_env_runner=False, timeout_seconds=options.seconds + 60,
                    )  # fmt: skip
                    elapsed = time.time() - start + 1.0
                    cpu = {name: (cpu_ms(pid) - before[name]) / elapsed for name, pid in pids.items()}
                    # The one that is shown is the one whose thread of ours works most.
                    figures.sort(key=lambda one: -one["thread"])
                    turns.append({"kind": kind, "runners": figures, "cpu": cpu})
    finally:
        algorithm.stop()
    return turns


def mean(values: list[float]) -> str:
    """Their mean and its standard error, in words."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{statistics.fmean(values):.1f} ± {error:.1f}"


def report(turns: list[dict[str, Any]], env_runners: int) -> list[str]:
    """Return the lines of one number of env runners."""
    by_kind = {kind: [turn for turn in turns if turn["kind"] == kind] for kind in KINDS}
    lines = [
        f"## {env_runners} env runner{'s' if env_runners > 1 else ''}",
        "",
        "| ms of each second | without | with HudCallbacks | more |",
        "|---|---|---|---|",
    ]
    for place in range(env_runners):
        who = "the shown env runner" if not place else "the other"
        sums: dict[str, list[float]] = {"without": [], "with": []}
        for name, words in (("processor", "waits for a processor"), ("interpreter", "waits for the interpreter")):
            cells = {kind: [turn["runners"][place][name] for turn in by_kind[kind]] for kind in sums}
            for kind, values in cells.items():
                sums[kind] = [a + b for a, b in zip(sums[kind] or [0.0] * len(values), values, strict=True)]
            more = [b - a for a, b in zip(cells["without"], cells["with"], strict=True)]
            lines.append(f"| {who} {words} | {mean(cells['without'])} | {mean(cells['with'])} | {mean(more)} |")
        own = [turn["runners"][place]["own"] for turn in by_kind["timed"]]
        lines.append(f"| {who} renders, copies, logs | 0 | {mean(own)} | {mean(own)} |")
        more = [b - a + c for a, b, c in zip(sums["without"], sums["with"], own, strict=True)]
        lines.append(f"| **{who} loses** | | | **{mean(more)}** |")
    lines += ["", "Processor time, ms of each second:", "", "| | without | with HudCallbacks |", "|---|---|---|"]
    threads = {kind: [turn["runners"][0]["thread"] for turn in by_kind[kind]] for kind in ("without", "with")}
    lines.append(f"| HUD's thread in the shown env runner | {mean(threads['without'])} | {mean(threads['with'])} |")
    for name in ("web tier", "Redis", "viewer"):
        cells = {kind: [turn["cpu"][name] for turn in by_kind[kind]] for kind in ("without", "with")}
        lines.append(f"| {name} | {mean(cells['without'])} | {mean(cells['with'])} |")
    return [*lines, ""]


def main() -> None:
    """Measure, print, and write the results where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env-runners", default="1,2", help="numbers of env runners, one table each")
    parser.add_argument("--envs", type=int, default=2, help="per env runner")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=12.0, help="of each turn; a round has three")
    parser.add_argument("--fps", type=float, default=20.0)
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS-stalls.md")
    options = parser.parse_args()
    options.batch, options.lr = 2000, 0.0  # for `build`
    os.environ.update(QUIET)
    import ray
    from ray.tune.registry import register_env

    from rllib_integration.demo import make_breakout

    register_env("ALE/Breakout-v5", make_breakout)
    lines = [
        "# What HUD keeps the env runners' own threads from",
        "",
        f"`{' '.join(['python', 'bench/stalls.py', *sys.argv[1:]])}` on {time.strftime('%Y-%m-%d')}: sampling only, "
        f"{options.fps:g} fps, one viewer, {options.rounds} rounds of turns of {options.seconds:g} s; ray "
        f"{ray.__version__}, Python {platform.python_version()}, {os.cpu_count()} CPUs shared by training, Redis, web "
        "tier and viewer. Means and their standard errors.",
        "",
    ]
    numbers = [int(number) for number in options.env_runners.split(",")]
    with display() as (url, redis_url):
        start_ray(2 * max(numbers) + 4)
        try:
            for number in numbers:
                lines += report(take_turns(options, number, url, redis_url), number)
        finally:
            ray.shutdown()
    text = "\n".join(lines)
    print(text)
    if options.write:
        (ROOT / "bench" / "RESULTS-stalls.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
