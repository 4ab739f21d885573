"""A real training run to look at: PPO on Atari Breakout, small enough for two cores.

`python -m rllib_integration.demo [--iterations N]`; `hud demo` runs it beside the web tier. The agent sees the
console's RAM, which trains fast on a CPU, while viewers see the game. Reads REDIS_URL or HUD_URL as any run does. Ends
on SIGINT or SIGTERM with the session released and no process left.
"""

from __future__ import annotations

import argparse
import functools
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

#: Before ray is imported: no token file in the home folder, no usage reports, no sound, no chatter.
_QUIET = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "SDL_AUDIODRIVER": "dummy",
    "PYTHONWARNINGS": "ignore",
}
#: Ray's sockets stand below its folder, and a socket's path may have 107 characters.
_LONGEST_TEMP_DIR = 32
_STARTED = time.monotonic()


class StopRequested(BaseException):
    """SIGINT or SIGTERM came; no handler of RLlib's may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(argv: list[str] | None = None) -> int:
    """Run the demo; return its exit code."""
    parser = argparse.ArgumentParser("python -m rllib_integration.demo", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--iterations", type=int, default=0, help="end after so many iterations (0: run until stopped)")
    parser.add_argument("--env-runners", type=int, default=2, help="processes that play (default: 2)")
    parser.add_argument("--envs", type=int, default=2, help="games per process (default: 2)")
    options = parser.parse_args(argv)
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    warnings.simplefilter("ignore")
    _watch_signals()
    folder = Path(tempfile.mkdtemp(prefix="hud-demo-"))
    try:
        _run(options, folder)
    except StopRequested as stop:
        return 130 if stop.number == signal.SIGINT else 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _watch_signals() -> None:
    def stop(number: int, _frame: FrameType | None) -> None:
        _ignore_signals()  # a second Ctrl-C must not interrupt the clean-up
        raise StopRequested(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _say(text: str) -> None:
    print(f"[{time.monotonic() - _STARTED:5.1f} s] {text}", flush=True)  # noqa: T201


def _run(options: argparse.Namespace, folder: Path) -> None:
    _say("importing ray and torch …")
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    algorithm: Any = None
    try:
        _say("starting ray …")
        ray.init(
            num_cpus=options.env_runners + 2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
            object_store_memory=200 * 1024 * 1024, **_temp_dir(folder),
        )  # fmt: skip
        _watch_signals()  # ray installed handlers of its own
        _say(f"starting {options.env_runners} env runners of {options.envs} games each …")
        algorithm = _build(options, folder)
        _say("training PPO on Breakout; the picture comes with the first game")
        _train(algorithm, options.iterations)
    finally:
        _ignore_signals()
        _say("stopping …")
        with suppress(Exception):  # a half-started algorithm may fail to stop; ray's shutdown ends it anyway
            if algorithm is not None:
                algorithm.stop()
        ray.shutdown()
        _say("stopped")


def _temp_dir(folder: Path) -> dict[str, str]:
    return {"_temp_dir": str(folder / "ray")} if len(str(folder)) <= _LONGEST_TEMP_DIR else {}


def _build(options: argparse.Namespace, folder: Path) -> Any:
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.tune.registry import register_env
    from ray.tune.trainable import trainable

    from rllib_integration import HudCallbacks

    trainable.DEFAULT_STORAGE_PATH = str(folder)  # nothing of a demo need stay in ~/ray_results
    register_env("ALE/Breakout-v5", make_breakout)
    config = (
        PPOConfig()
        .environment("ALE/Breakout-v5")
        .env_runners(num_env_runners=options.env_runners, num_envs_per_env_runner=options.envs)
        .training(
            lr=3e-4, gamma=0.99, train_batch_size_per_learner=4000, minibatch_size=500, num_epochs=4,
            entropy_coeff=0.01, grad_clip=0.5,
        )
        .callbacks(functools.partial(HudCallbacks, name="PPO on Breakout", info_keys=("lives",)))
        .debugging(log_level="ERROR")
    )  # fmt: skip
    return config.build_algo()


def _train(algorithm: Any, iterations: int) -> None:
    done, parent = 0, os.getppid()
    while (not iterations or done < iterations) and os.getppid() == parent:  # an orphan has nobody to show it to
        started = time.monotonic()
        result = algorithm.train()
        done += 1
        runners = result.get("env_runners", {})
        steps = int(result.get("num_env_steps_sampled_lifetime") or runners.get("num_env_steps_sampled_lifetime") or 0)
        mean = runners.get("episode_return_mean")
        shown = "no game finished yet" if mean is None or mean != mean else f"mean return {mean:.2f}"
        _say(f"iteration {done}: {steps:,} steps, {shown}, {time.monotonic() - started:.1f} s")


def make_breakout(_config: Any = None) -> Any:
    """Return Breakout for an agent that reads the console's RAM, with pictures for those who watch."""
    import ale_py
    import gymnasium
    import numpy

    gymnasium.register_envs(ale_py)
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)

    class ServeBall(gymnasium.Wrapper):  # type: ignore[misc]
        """Presses FIRE where the ball waits for it, after each reset and lost life; else nothing would ever move."""

        def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
            self.env.reset(**options)
            observation, _, _, _, info = self.env.step(self._fire)
            self._lives = info.get("lives", 0)
            return observation, info

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            observation, reward, terminated, truncated, info = self.env.step(action)
            lives = info.get("lives", 0)
            if lives < self._lives and not (terminated or truncated):
                observation, more, terminated, truncated, info = self.env.step(self._fire)
                reward = float(reward) + float(more)
            self._lives = lives
            return observation, float(reward), terminated, truncated, info

        @property
        def _fire(self) -> int:
            return int(self.unwrapped.get_action_meanings().index("FIRE"))

    scale: Callable[[Any], Any] = lambda ram: numpy.asarray(ram, numpy.float32) / 255.0  # noqa: E731
    game = ServeBall(gymnasium.make("ALE/Breakout-v5", obs_type="ram", render_mode="rgb_array"))
    space = gymnasium.spaces.Box(0.0, 1.0, (128,), numpy.float32)  # the MLP cannot take bytes
    return gymnasium.wrappers.TransformObservation(game, scale, space)


if __name__ == "__main__":
    sys.exit(main())
