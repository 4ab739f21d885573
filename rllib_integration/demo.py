"""A real training run to look at: PPO on Atari Breakout, small enough for two cores.

`python -m rllib_integration.demo [--iterations N]`; `hud demo` runs it beside the web tier. The agent sees the
console's RAM, which trains fast on a CPU, while viewers see the game. Reads REDIS_URL or HUD_URL like any run. Ends
on SIGINT or SIGTERM with the session released and all processes ended.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from rllib_integration.results import steps_sampled

#: Set before ray is imported: no token file in the home folder, no usage reports, no sound, no log output.
_QUIET = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "SDL_AUDIODRIVER": "dummy",
    "PYTHONWARNINGS": "ignore",
}
#: Ray's sockets lie below its folder, and a socket's path may have 107 characters.
_LONGEST_TEMP_DIR = 32
_STARTED = time.monotonic()


class StopSignals:
    """Handles SIGINT and SIGTERM: the first one stops the run, further ones must not interrupt the clean-up.

    Attributes:
        number: of the signal that came; 0 before the first.
    """

    def __init__(self) -> None:
        self.number = 0
        self._is_held = False

    def watch(self) -> None:
        """Raise KeyboardInterrupt at a signal; ray may turn it into another exception."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._come)

    def ignore(self) -> None:
        """Ignore further signals, because the run is ending."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Delay a signal until the end of this block: ray cannot end a half-started cluster."""
        self._is_held = True
        try:
            yield
        except SystemExit:  # ray.init installs another handler, which raises this
            self.number = signal.SIGTERM
        self._is_held = False
        self.watch()
        if self.number:
            raise KeyboardInterrupt

    def _come(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        if not self._is_held:
            self.ignore()
            raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> int:
    """Run the demo; return its exit code."""
    parser = argparse.ArgumentParser("python -m rllib_integration.demo", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--iterations", type=int, default=0, help="end after so many iterations (0: run until stopped)")
    parser.add_argument("--env-runners", type=int, default=2, help="processes that play (default: 2)")
    parser.add_argument("--envs", type=int, default=2, help="games per process (default: 2)")
    options = parser.parse_args(argv)
    # A cluster may require its token; a Ray that this program starts needs none.
    quiet = {name: value for name, value in _QUIET.items() if _is_alone() or name != "RAY_AUTH_MODE"}
    os.environ.update({name: value for name, value in quiet.items() if name not in os.environ})
    warnings.simplefilter("ignore")
    signals = StopSignals()
    signals.watch()
    folder = Path(tempfile.mkdtemp(prefix="hud-demo-"))
    _keep_native_chatter_out(folder)
    try:
        _run(options, folder, signals)
    except BaseException:
        if not signals.number:
            raise
        return 130 if signals.number == signal.SIGINT else 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _keep_native_chatter_out(folder: Path) -> None:
    """Send the output of ray's C++ parts on stderr to a file; Python's errors stay on the terminal."""
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    with (folder / "ray.log").open("ab") as log:
        os.dup2(log.fileno(), 2)


def _say(text: str) -> None:
    try:
        print(f"[{time.monotonic() - _STARTED:5.1f} s] {text}", flush=True)  # noqa: T201
    except BrokenPipeError:  # its reader has closed it, as in `hud demo | head -1`; the run and its page continue
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _run(options: argparse.Namespace, folder: Path, signals: StopSignals) -> None:
    _say("importing ray and torch …")
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    algorithm: Any = None
    try:
        _say("starting ray …")
        with signals.held():
            _start_ray(ray, options, folder)
        _say(f"starting {options.env_runners} env runners of {options.envs} games each …")
        algorithm = _build(options, folder)
        _say("training PPO on Breakout; the picture comes with the first game")
        _train(algorithm, options.iterations)
    finally:
        signals.ignore()
        _say("stopping …")
        with suppress(Exception):  # a half-started algorithm may fail to stop; ray's shutdown ends it anyway
            if algorithm is not None:
                algorithm.stop()
        _shut_down(ray)
        _say("stopped")


def _start_ray(ray: Any, options: argparse.Namespace, folder: Path) -> None:
    """Connect to ray, or start it on this machine. Ray gives its processes 30 s, which a busy machine may exceed."""
    for attempts_left in (2, 1, 0):
        try:
            ray.init(
                log_to_driver=False, logging_level=logging.ERROR, **(_local(options, folder) if _is_alone() else {})
            )
            return
        except Exception:
            if not attempts_left:
                raise
            _say("ray did not start in its 30 s; trying again …")
            _shut_down(ray)


def _shut_down(ray: Any) -> None:
    """End ray and all its processes, including those that it started just before."""
    import psutil

    children = psutil.Process().children(recursive=True)
    with suppress(Exception):
        ray.shutdown()
    for child in psutil.wait_procs(children, timeout=3)[1]:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def _is_alone() -> bool:
    """Whether this program starts a Ray; a submitted job runs on the cluster that RAY_ADDRESS names."""
    return not os.environ.get("RAY_ADDRESS")


def _local(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the options of a Ray on this machine; ray.init refuses them for a cluster that is already running."""
    temp_dir = {"_temp_dir": str(folder / "ray")} if len(str(folder)) <= _LONGEST_TEMP_DIR else {}
    return {
        "num_cpus": options.env_runners + 2, "include_dashboard": False, "object_store_memory": 200 * 1024 * 1024,
        **temp_dir,
    }  # fmt: skip


def _build(options: argparse.Namespace, folder: Path) -> Any:
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec
    from ray.tune.registry import register_env
    from ray.tune.trainable import trainable

    from rllib_integration import HudCallbacks
    from rllib_integration.values import PPOWithValues

    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    trainable.DEFAULT_STORAGE_PATH = str(folder)  # a demo must leave nothing in ~/ray_results
    register_env("ALE/Breakout-v5", make_breakout)
    config = (
        PPOConfig()
        .environment("ALE/Breakout-v5")
        .env_runners(num_env_runners=options.env_runners, num_envs_per_env_runner=options.envs)
        .training(
            lr=3e-4, gamma=0.99, train_batch_size_per_learner=4000, minibatch_size=500, num_epochs=4,
            entropy_coeff=0.01, grad_clip=0.5,
        )
        .rl_module(rl_module_spec=RLModuleSpec(module_class=PPOWithValues))
        .callbacks(functools.partial(HudCallbacks, name="PPO on Breakout", info_keys=("lives",)))
        .debugging(log_level="ERROR")
    )  # fmt: skip
    return config.build_algo()


def _train(algorithm: Any, iterations: int) -> None:
    done, parent = 0, os.getppid()
    while (not iterations or done < iterations) and os.getppid() == parent:  # an orphaned run has no viewers
        started = time.monotonic()
        result = algorithm.train()
        done += 1
        steps = steps_sampled(result) or 0
        mean = result.get("env_runners", {}).get("episode_return_mean")
        shown = "no game finished yet" if mean is None or mean != mean else f"mean return {mean:.2f}"
        _say(f"iteration {done}: {steps:,} steps, {shown}, {time.monotonic() - started:.1f} s")


def make_breakout(_config: Any = None) -> Any:
    """Return Breakout for an agent that reads the console's RAM, with pictures for the viewers."""
    import ale_py
    import gymnasium
    import numpy

    gymnasium.register_envs(ale_py)
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)

    class ServeBall(gymnasium.Wrapper):  # type: ignore[misc]
        """Presses FIRE to serve the ball after each reset and lost life; otherwise nothing would ever move."""

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
