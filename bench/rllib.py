"""The cost of HudCallbacks for an RLlib run: paired PPO runs on Breakout (RAM) with and without, watched at 20 fps.

    python bench/rllib.py [--pairs 5] [--iterations 32] [--env-runners 2] [--write]
    python bench/rllib.py --iterations 10 --envs 1 --batch 4000 --epochs 30 --minibatch 128  # as RLlib's PPO has them

Each pair builds two algorithms that differ in their callbacks alone and trains them in turns, one iteration each, first
one and then the other, so that other work of the machine affects both alike. Their learning rate is 0: PPO does all of
its work, but both keep their first policy, so that neither has longer episodes. A real `hud up`
(Redis and web tier) runs beside them on the same machine, and a viewer reads the stream with all its frames. Figures
are environment steps per second of whole iterations, sampling and learning, and the processor time that driver and env
runners took for them, HUD's threads in them included.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import platform
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

#: The largest permitted loss of environment steps per second, as a share.
MOST_LOSS = 0.02
#: Fewer pairs are too uncertain on a machine with other work.
LEAST_PAIRS = 5
QUIET = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # by default env runners yield to other processes, such as the viewer
    "PYTHONWARNINGS": "ignore",
}


@dataclass
class Tally:
    """The total time of the iterations of one kind, in seconds of the clock and of processors."""

    steps: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    rates: list[float] = field(default_factory=list)

    def add(self, steps: int, seconds: float, cpu_s: float) -> None:
        self.steps += steps
        self.seconds += seconds
        self.cpu_s += cpu_s
        self.rates.append(steps / seconds)

    @property
    def rate(self) -> float:
        return self.steps / self.seconds


@contextlib.contextmanager
def display() -> Iterator[tuple[str, str]]:
    """Start Redis and the web tier; give both URLs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HUD_", "REDIS_"))}
    command = [sys.executable, "-m", "hud_web", "up", "--port", "0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            lines = "".join(server.stdout.readline() for _ in range(3))
            url, redis_url = re.search(r"HUD  (\S+)", lines), re.search(r"REDIS_URL=(\S+)", lines)
            if not url or not redis_url:
                raise SystemExit(f"hud up did not start: {lines}")
            yield url[1], redis_url[1]
        finally:
            server.send_signal(signal.SIGTERM)


@contextlib.contextmanager
def viewer(url: str, frames: list[int]) -> Iterator[None]:
    """Watch the stream during a `with` block; append the number of frames that came.

    It takes little of the machine, because real viewers run on other machines.
    """
    again = 'while :; do curl --silent --no-buffer "$0" >> "$1"; sleep 0.1; done'  # streams end after some minutes
    with tempfile.NamedTemporaryFile() as stream:
        process = subprocess.Popen(["sh", "-c", again, f"{url}/stream", stream.name], start_new_session=True)
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(10)
            frames.append(stream.read().count(b"event: vision_update"))


def start_ray(num_cpus: int) -> None:
    """Start ray; its processes have 30 s to start, which a busy machine may exceed."""
    import ray

    for attempts_left in (2, 1, 0):
        try:
            ray.init(
                num_cpus=num_cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
                object_store_memory=200 * 1024 * 1024,
            )  # fmt: skip
            return
        except Exception:
            ray.shutdown()
            if not attempts_left:
                raise


@contextlib.contextmanager
def ready_to_train(num_cpus: int) -> Iterator[tuple[str, str]]:
    """Start a display, and ray with Breakout for `build`, without output or remaining files; give both URLs."""
    os.environ.update(QUIET)
    import ray
    from ray.tune.registry import register_env
    from ray.tune.trainable import trainable

    from rllib_integration.demo import make_breakout

    register_env("ALE/Breakout-v5", make_breakout)
    with tempfile.TemporaryDirectory() as folder, display() as urls:
        trainable.DEFAULT_STORAGE_PATH = folder
        start_ray(num_cpus)
        try:
            yield urls
        finally:
            ray.shutdown()


def build(
    callbacks: Any, *, env_runners: int, envs: int, batch: int = 2000, epochs: int = 4, minibatch: int = 500,
    lr: float = 0.0,
) -> Any:  # fmt: skip
    """One PPO algorithm on Breakout's RAM, as `hud demo` has it."""
    from ray.rllib.algorithms.ppo import PPOConfig

    config = (
        PPOConfig()
        .environment("ALE/Breakout-v5")
        .env_runners(num_env_runners=env_runners, num_envs_per_env_runner=envs)
        .training(train_batch_size_per_learner=batch, minibatch_size=minibatch, num_epochs=epochs, lr=lr)
        .debugging(log_level="ERROR", seed=1)
    )
    return (config.callbacks(callbacks) if callbacks else config).build_algo()


def iterate(algorithm: Any, tally: Tally) -> None:
    """Train one iteration and count it."""
    cpu_s, started = cpu_time_s(algorithm), time.perf_counter()
    result = algorithm.train()
    seconds = time.perf_counter() - started
    tally.add(int(result["env_runners"]["num_env_steps_sampled"]), seconds, cpu_time_s(algorithm) - cpu_s)


def cpu_time_s(algorithm: Any) -> float:
    """Processor time of the driver and of the env runners since their start."""
    runners = algorithm.env_runner_group.foreach_env_runner(lambda _runner: time.process_time(), local_env_runner=False)
    return float(time.process_time() + sum(runners))


def measure_pair(options: argparse.Namespace, url: str, redis_url: str, frames: list[int]) -> tuple[Tally, Tally]:
    """Return (without, with)."""
    from rllib_integration import HudCallbacks

    make = functools.partial(
        build, env_runners=options.env_runners, envs=options.envs, batch=options.batch, epochs=options.epochs,
        minibatch=options.minibatch, lr=options.lr,
    )  # fmt: skip
    without = make(None)
    with_hud = make(functools.partial(HudCallbacks, redis_url=redis_url, fps=options.fps))
    tallies = (Tally(), Tally())
    pair = list(zip((without, with_hud), tallies, strict=True))
    try:
        for algorithm, _tally in pair:  # the first iteration starts the lazy parts
            iterate(algorithm, Tally())
        with viewer(url, frames):
            for number in range(options.iterations):
                for algorithm, tally in pair if number % 2 else reversed(pair):
                    iterate(algorithm, tally)
    finally:
        without.stop()
        with_hud.stop()
    return tallies


def interval(pairs: list[tuple[Tally, Tally]]) -> tuple[float, float]:
    """The 95 % interval of the ratio of both rates, by resampling the pairs.

    It does not resample iterations: those of one pair run in the same processes, so they may be correlated.
    """
    draw = random.Random(1)
    ratios = []
    for _ in range(4000):
        without, with_hud = zip(*draw.choices(pairs, k=len(pairs)), strict=True)
        ratios.append(joined(with_hud).rate / joined(without).rate)
    ratios.sort()
    return ratios[100], ratios[-100]


def joined(tallies: Iterable[Tally]) -> Tally:
    """All of one kind together."""
    whole = Tally()
    for tally in tallies:
        whole.steps += tally.steps
        whole.seconds += tally.seconds
        whole.cpu_s += tally.cpu_s
        whole.rates += tally.rates
    return whole


def report(options: argparse.Namespace, pairs: list[tuple[Tally, Tally]], frames: list[int]) -> str:
    """Return the results as Markdown."""
    rows = [
        f"| {number} | {without.rate:,.0f} | {with_hud.rate:,.0f} | {with_hud.rate / without.rate:.3f} | "
        f"{(with_hud.cpu_s / with_hud.steps) / (without.cpu_s / without.steps):.3f} | "
        f"{frames[number - 1] / with_hud.seconds:.1f} |"
        for number, (without, with_hud) in enumerate(pairs, 1)
    ]
    without, with_hud = joined(pair[0] for pair in pairs), joined(pair[1] for pair in pairs)
    ratio, (low, high) = with_hud.rate / without.rate, interval(pairs)
    median = statistics.median(b / a for a, b in zip(without.rates, with_hud.rates, strict=True))
    cpu = (with_hud.cpu_s / with_hud.steps) / (without.cpu_s / without.steps)
    import ray

    return "\n".join(
        [
            f"{len(pairs)} pairs × {options.iterations} iterations of {options.batch} steps, PPO on Breakout (RAM), "
            f"{options.epochs} epochs of {options.minibatch}, {options.env_runners} env runners × {options.envs} envs, "
            f"{options.fps:g} fps, one viewer; "
            f"ray {ray.__version__}, Python {platform.python_version()}, {os.cpu_count()} CPUs shared by training, "
            "Redis, web tier and viewer.",
            "",
            "| pair | steps/s without | steps/s with HUD | ratio | processor time per step, ratio | frames/s seen |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            f"All pairs together: **{ratio:.3f}** (95 % interval {low:.3f} to {high:.3f}, by resampling the "
            f"pairs; median of the {len(without.rates)} pairs of iterations {median:.3f}). "
            f"Processor time per step, all pairs together: {cpu:.3f}. "
            f"Load average of the machine at the end: {os.getloadavg()[1]:.1f}.",
            "",
            verdict(len(pairs), ratio, low, high),
        ]
    )


def verdict(pairs: int, ratio: float, low: float, high: float) -> str:
    """Return whether the criterion holds with these figures."""
    bound = 1 - MOST_LOSS
    says = "holds" if ratio >= bound else "does not hold"
    if pairs < LEAST_PAIRS:
        says = f"is not decided by {pairs} pairs"
    elif ratio < bound <= high:
        says = "is not decided: the interval reaches past it"
    elif low < bound <= ratio:
        says = "holds in these pairs, though the interval reaches past it"
    return (
        f"Criterion: with HudCallbacks at most {MOST_LOSS:.0%} fewer environment steps per second, over at least "
        f"{LEAST_PAIRS} pairs. **It {says}**: {1 - ratio:+.1%} fewer."
    )


def main() -> None:
    """Measure, print, and write the results where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=32, help="of each algorithm in a pair")
    parser.add_argument("--env-runners", type=int, default=2)
    parser.add_argument("--envs", type=int, default=2, help="per env runner")
    parser.add_argument("--batch", type=int, default=2000, help="steps per iteration")
    parser.add_argument("--epochs", type=int, default=4, help="over each batch")
    parser.add_argument("--minibatch", type=int, default=500, help="steps of each update")
    parser.add_argument("--lr", type=float, default=0.0, help="0: both policies stay what they are, and so their work")
    parser.add_argument("--fps", type=float, default=20.0)
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS-rllib.md")
    options = parser.parse_args()
    pairs: list[tuple[Tally, Tally]] = []
    frames: list[int] = []
    with ready_to_train(2 * options.env_runners + 4) as (url, redis_url):
        for number in range(1, options.pairs + 1):
            pairs.append(measure_pair(options, url, redis_url, frames))
            without, with_hud = pairs[-1]
            print(f"pair {number}: {with_hud.rate / without.rate:.3f}", flush=True)
    text = report(options, pairs, frames)
    print(text)
    if options.write:
        command = " ".join(["python", "bench/rllib.py", *sys.argv[1:]])
        head = f"# HudCallbacks beside an RLlib run\n\n`{command}` on {time.strftime('%Y-%m-%d')}.\n\n"
        (ROOT / "bench" / "RESULTS-rllib.md").write_text(head + text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
