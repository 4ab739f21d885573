"""The cost of one frame for the env runners of an RLlib run: how much longer their steps take after one.

    python bench/frame.py [--env-runners 1,2] [--rounds 3] [--seconds 20] [--write]

Steps per second over minutes are too noisy: the speed of shared processors changes by half within a second, and the
effect is a hundredth. A frame comes every 50 ms, and its cost ends within some steps. So each frame is compared with
the time just before it: all env runners of a PPO algorithm on Breakout (RAM) sample, watched at 20 fps, and record the
time of each step of their first env. The ten steps after a frame are compared with the four before it. The difference
includes rendering, copying, and waiting for the interpreter, for a processor, and for memory that other programs pushed
out of the caches. Redis, web tier and viewer run on the same machine.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from bench.rllib import build, ready_to_train, viewer  # noqa: E402

#: Steps of one call of `sample`.
CHUNK_STEPS = 200
#: Steps before a frame that give the usual duration of a step; the last one may already belong to the frame.
BEFORE = (2, 3, 4, 5)
#: Steps after it; a frame comes about every twenty steps.
AFTER = 10
#: In median steps: a longer step is the reset of an episode or another sampling.
LONGEST = 4.0
#: Share of the frames that is left out at both ends, in percent: the machine had other work.
TRIM = 5.0

#: When the first env made steps and when frames were taken, in Unix seconds.
Times = tuple[list[float], list[float]]


def sample(env_runner: Any, *, until: float) -> Times:
    """Sample in the env runner's process until a time, in Unix seconds."""
    from hud_publisher import Publisher
    from rllib_integration.attachment import our_callbacks

    hud = our_callbacks(env_runner)[0]
    see, take = hud.on_episode_step, Publisher.frame
    steps: list[float] = []
    frames: list[float] = []
    clock = time.perf_counter

    def on_episode_step(**call: Any) -> None:
        if call["env_index"] == 0:
            steps.append(clock())
        see(**call)

    def frame(publisher: Any, *args: Any, **options: Any) -> bool:
        taken = take(publisher, *args, **options)
        if taken:
            frames.append(steps[-1])
        return taken

    hud.on_episode_step, Publisher.frame = on_episode_step, frame
    try:
        while time.time() < until:
            env_runner.sample(num_timesteps=CHUNK_STEPS, random_actions=False)
    finally:
        del hud.on_episode_step
        Publisher.frame = take
    offset = time.time() - clock()
    return [at + offset for at in steps], [at + offset for at in frames]


def excess(steps: list[float], frames: list[float]) -> tuple[Any, float]:
    """How much longer the steps after each frame took, in ms together, and how long a step takes (median)."""
    took = np.diff(steps) * 1e3
    usual = float(np.median(took))
    took = np.minimum(took, LONGEST * usual)
    at = np.searchsorted(steps, frames)
    at = at[(at >= max(BEFORE)) & (at < len(took) - AFTER)]
    before = np.mean([took[at - back] for back in BEFORE], axis=0)
    more = np.sum([took[at + ahead] - before for ahead in range(AFTER)], axis=0)
    low, high = np.percentile(more, [TRIM, 100 - TRIM])
    return more[(more >= low) & (more <= high)], usual


def measure(options: argparse.Namespace, env_runners: int, url: str, redis_url: str) -> list[str]:
    """Return the table's lines for one number of env runners."""
    from rllib_integration import HudCallbacks

    callbacks = functools.partial(HudCallbacks, redis_url=redis_url, fps=options.fps)
    algorithm = build(callbacks, env_runners=env_runners, envs=options.envs)
    mores: list[list[Any]] = [[] for _ in range(env_runners)]
    usuals: list[list[float]] = [[] for _ in range(env_runners)]
    seen: list[int] = []
    try:
        algorithm.train()  # for parts that start lazily
        with viewer(url, seen):
            algorithm.train()
            for _ in range(options.rounds):
                call = functools.partial(sample, until=time.time() + options.seconds)
                times: list[Times] = algorithm.env_runner_group.foreach_env_runner(
                    call, local_env_runner=False, timeout_seconds=options.seconds + 60
                )
                times.sort(key=lambda one: -len(one[1]))
                for place, (steps, _frames) in enumerate(times):
                    more, usual = excess(steps, times[0][1])  # the frames are those of the shown one
                    mores[place].append(more)
                    usuals[place].append(usual)
    finally:
        algorithm.stop()
    lines = []
    for place in range(env_runners):
        more = np.concatenate(mores[place])
        error = 1.96 * more.std() / len(more) ** 0.5
        usual, share = statistics.median(usuals[place]), more.mean() * options.fps / 1e3
        which = "another" if place else "the shown"
        lines.append(
            f"| {env_runners} | {which} | {usual:.2f} | {more.mean():.2f} ± {error:.2f} | {more.mean() / usual:.2f} | "
            f"{share:.1%} | {len(more):,} |"
        )
    return lines


def main() -> None:
    """Measure, print, and write the results where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env-runners", default="1,2", help="numbers of env runners, one after the other")
    parser.add_argument("--envs", type=int, default=2, help="per env runner")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each round")
    parser.add_argument("--fps", type=float, default=20.0)
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS-frame.md")
    options = parser.parse_args()
    lines = [
        "# Cost of one frame for the env runners",
        "",
        f"`{' '.join(['python', 'bench/frame.py', *sys.argv[1:]])}` on {time.strftime('%Y-%m-%d')}: sampling only, "
        f"{options.envs} envs per env runner, {options.fps:g} fps, one viewer; ray {version('ray')}, Python "
        f"{platform.python_version()}, {os.cpu_count()} CPUs shared by training, Redis, web tier and viewer. ± is the "
        "95 % interval of the mean.",
        "",
        "| env runners | which | ms per step, median | ms more after a frame | in steps | of a second | frames |",
        "|---|---|---|---|---|---|---|",
    ]
    numbers = [int(number) for number in options.env_runners.split(",")]
    with ready_to_train(2 * max(numbers) + 4) as (url, redis_url):
        for number in numbers:
            lines += measure(options, number, url, redis_url)
    text = "\n".join(lines) + "\n"
    print(text)
    if options.write:
        (ROOT / "bench" / "RESULTS-frame.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
