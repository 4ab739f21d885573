"""Scripts that come with RLlib, unmodified, with `HudCallbacks` appended: they train as without it, and are shown."""

from __future__ import annotations

import contextlib
import gc
import io
import re
import runpy
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest

from tests.rllib.conftest import Display, running_algorithm
from tests.rllib.test_local_runs import ppo

#: Parts of a result that tell of the clock or of the machine, so they differ between two equal runs.
_OF_THE_CLOCK = re.compile(r"(?<!life)time|/sample$|_s$|_sec|perf|throughput|date$|pid$|trial_id|hostname|node_ip")


def run(script: str, *arguments: str, callbacks: Any = None, seed: int = 7) -> list[dict[str, Any]]:
    """Run one of RLlib's examples as its user does, and return the results of its iterations.

    Ray is up already, and the configuration gets the seed that makes two runs comparable.

    Args:
        script: its path below ray/rllib/examples.
        arguments: of its command line.
        callbacks: appended to those of each algorithm that it builds.
        seed: of everything that is drawn at random.
    """
    import ray
    import torch
    from ray.rllib import examples
    from ray.rllib.algorithms.algorithm import Algorithm
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.callbacks.utils import _make_multi_callbacks

    results: list[dict[str, Any]] = []
    build, step = AlgorithmConfig.build_algo, Algorithm.step

    def build_algo(self: Any, *args: Any, **options: Any) -> Any:
        self.debugging(seed=seed, log_level="ERROR").reporting(min_time_s_per_iteration=0)
        if isinstance(self, PPOConfig):  # one pass over a small batch is an iteration too
            self.training(train_batch_size_per_learner=128, minibatch_size=64, num_epochs=1)
        if callbacks is not None:
            given = self.callbacks_class
            both = [*(given if isinstance(given, (list, tuple)) else [given]), callbacks]
            self.callbacks(both if self.enable_env_runner_and_connector_v2 else _make_multi_callbacks(both))
        numpy.random.seed(seed)
        torch.manual_seed(seed)
        return build(self, *args, **options)

    def spying_step(self: Any) -> Any:
        results.append(step(self))
        return results[-1]

    path = Path(str(examples.__file__)).parent / script
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(AlgorithmConfig, "build_algo", build_algo)
        patch.setattr(Algorithm, "step", spying_step)
        patch.setattr(ray, "init", lambda *args, **options: None)
        patch.setattr(ray, "shutdown", lambda *args, **options: None)
        patch.setattr(sys, "argv", [str(path), *arguments])
        runpy.run_path(str(path), run_name="__main__")
    gc.collect()  # it leaves its algorithm behind
    return results


def leaves(result: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(result, Mapping):
        for key, value in result.items():
            yield from leaves(value, f"{path}/{key}")
    else:
        yield path, result


def steady(results: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The values that must be equal to the last digit in two runs with one seed; times are left out."""
    return [
        {
            path: "" if _OF_THE_CLOCK.search(path) else repr(value)
            for path, value in leaves({key: value for key, value in result.items() if key not in ("config", "perf")})
        }
        for result in results
    ]


def differences(*runs: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Where two runs differ, and their values there."""
    pairs = zip(*map(steady, runs), strict=True)
    return [(path, value, other[path]) for one, other in pairs for path, value in one.items() if value != other[path]]


def assert_trains_as_without(display: Display, plain: list[dict[str, Any]], shown: list[dict[str, Any]]) -> None:
    assert plain
    assert [result.keys() for result in steady(shown)] == [result.keys() for result in steady(plain)]
    assert differences(shown, plain) == []
    display.wait_for_end()
    iterations = display.updates("iteration", stream="iterations", writer="driver")
    assert [update["iteration"] for update in iterations] == list(range(1, len(shown) + 1))


@pytest.mark.parametrize(
    "script",
    [
        "envs/custom_gym_env.py",
        "envs/custom_gym_env.py --old-api-stack",
        "envs/agents_act_in_sequence.py --num-agents=2",
        "multi_agent/multi_agent_cartpole.py --num-agents=2",
        "learners/ppo_with_custom_loss_fn.py --evaluation-interval=1 --evaluation-duration=2",
        "algorithms/vpg_custom_algorithm.py",
        "multi_agent/multi_agent_cartpole.py --num-agents=2 --num-env-runners=2",
    ],
)
@pytest.mark.usefixtures("cluster", "no_errors_of_ours")
def test_an_example_of_rllib_trains_as_without_hud_and_is_shown(display: Display, script: str) -> None:
    path, *options = script.split()
    arguments = [path, "--no-tune", "--stop-iters=2", "--num-env-runners=0", *options]
    plain = run(*arguments)
    assert_trains_as_without(display, plain, run(*arguments, callbacks=display.callbacks()))
    assert display.updates("episode_length"), "no episode was shown"
    reasons = display.updates("no_picture")
    # Each env runner gives its reason once; with two of them, both may be shown one after the other.
    assert len(reasons) == len({reason["_hud"]["writer"] for reason in reasons}) > 0


@pytest.mark.usefixtures("cluster", "no_errors_of_ours")
def test_training_draws_the_same_random_numbers_while_its_pictures_are_shown(display: Display) -> None:
    def train(*callbacks: Any) -> list[dict[str, Any]]:
        config = ppo()
        if callbacks:
            config.callbacks(*callbacks)
        with running_algorithm(config) as algorithm:
            return [algorithm.train() for _ in range(2)]

    plain = train()
    assert_trains_as_without(display, plain, train(display.callbacks()))
    assert display.frames()
