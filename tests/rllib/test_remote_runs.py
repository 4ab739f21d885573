"""Real runs with remote env runners: which one is shown, which one takes over, and which ones return after a loss."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.fixtures.servers import wait_until
from tests.rllib.conftest import Display, running_algorithm, small
from tests.rllib.envs import EPISODE_RETURN, Counting, FailingOnce

pytestmark = pytest.mark.usefixtures("cluster")


def ppo(**env_config: Any) -> Any:
    from ray.rllib.algorithms.ppo import PPOConfig

    return small(
        PPOConfig()
        .environment(Counting, env_config={"step_s": 0.005} | env_config)
        .env_runners(num_env_runners=2, num_envs_per_env_runner=2, rollout_fragment_length=50)
        .training(train_batch_size_per_learner=200, minibatch_size=100, num_epochs=1)
    )


def train_until(algorithm: Any, condition: Callable[[], Any], what: str, timeout_s: float = 90.0) -> None:
    """Train on until the condition is true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"trained {timeout_s:g} s for {what}"
        algorithm.train()


def pids(algorithm: Any) -> dict[int, int]:
    found = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: (runner.worker_index, os.getpid()), local_env_runner=False
    )
    return dict(found)


def pid(runner: Any) -> int | None:
    """A runner's process id, asked without RLlib; None while it is unavailable."""
    try:
        return int(ray.get(runner.apply.remote(lambda _runner: os.getpid())))
    except ray.exceptions.RayActorError:
        return None


def test_all_processes_of_a_run_share_one_session_and_the_viewer_chooses_the_env(display: Display) -> None:
    with running_algorithm(ppo().callbacks(display.callbacks())) as algorithm:
        train_until(algorithm, lambda: len(display.frames([1, 0])) > 3, "frames of the first env")
        train_until(algorithm, lambda: len(display.thumbnail_envs()) == 4, "thumbnails of all envs")
        assert {tuple(frame["env"]) for frame in display.frames()} == {(1, 0)}
        asked = {"channel": display.channel, "worker_index": 2, "env_index": 1}
        assert display.hud.web.post("/api/reporter", asked)[0] == 200
        train_until(algorithm, lambda: len(display.frames([2, 1])) > 3, "frames of the env asked for")
        before = len(display.frames())
        train_until(algorithm, lambda: len(display.frames()) > before + 3, "more frames")
        assert {tuple(frame["env"]) for frame in display.frames()[before:]} == {(2, 1)}
        minds = display.stream.named
        train_until(algorithm, lambda: minds("mind")[-1:] and minds("mind")[-1]["env"] == [2, 1], "its policy's views")
        assert {tuple(mind["env"]) for mind in minds("mind")} == {(1, 0), (2, 1)}
        # The first picture of the env that was asked for belongs to an episode that had just begun.
        first = display.frames([2, 1])[0]
        episode = [u for u in display.updates("episode_length", writer="w2") if u["episode"] == first["episode"]]
        assert episode[0]["episode_length"] == 0
    display.wait_for_end()
    live = [session for session in display.sessions() if session["status"] == "live"]
    assert len({session["sid"] for session in live}) == 1
    writers = {update["_hud"]["writer"].split("-")[0] for update in display.updates("_hud")}
    assert writers == {"w1", "w2"}
    iterations = display.updates("iteration", stream="iterations", writer="driver")
    assert iterations[-1]["episode_return_mean"] == EPISODE_RETURN


def test_another_runner_takes_over_from_a_frozen_reporter_and_hands_back_when_it_is_recreated(
    display: Display,
) -> None:
    # RLlib waits this long for the frozen one, in every iteration.
    config = ppo().env_runners(sample_timeout_s=1.0)
    config.sync_filters_on_rollout_workers_timeout_s = 0.1
    config = config.fault_tolerance(restart_failed_env_runners=True)
    with running_algorithm(config.callbacks(display.callbacks())) as algorithm:
        train_until(algorithm, lambda: display.frames([1, 0]), "frames of the first runner")
        frozen = pids(algorithm)[1]
        os.kill(frozen, signal.SIGSTOP)
        train_until(algorithm, lambda: display.frames([2, 0]), "the second runner's frames")
        os.kill(frozen, signal.SIGKILL)
        before = len(display.frames())
        train_until(algorithm, lambda: any(f["env"] == [1, 0] for f in display.frames()[before:]), "the first one's")
        assert pids(algorithm)[1] != frozen
        before = len(display.frames())
        train_until(algorithm, lambda: len(display.frames()) > before + 3, "more frames")
        assert {tuple(frame["env"]) for frame in display.frames()[before:]} == {(1, 0)}
    display.wait_for_end()


def test_evaluation_is_never_taken_for_training_and_has_a_separate_display(displays: Any) -> None:
    training, evaluation = displays("evaluated"), displays("evaluated-evaluation")
    config = ppo().env_runners(num_env_runners=1).evaluation(
        evaluation_interval=1, evaluation_num_env_runners=1, evaluation_duration=4,
        evaluation_config={"env_config": {"steps": 5, "step_s": 0.02}},
    )  # fmt: skip
    callbacks = training.callbacks(evaluation_channel="auto")
    with running_algorithm(config.callbacks(callbacks)) as algorithm:
        train_until(algorithm, lambda: training.updates("episode_return") and evaluation.frames(), "both pictures")
    training.wait_for_end()
    evaluation.wait_for_end()
    assert {update["episode_return"] for update in training.updates("episode_return")} == {EPISODE_RETURN}
    assert {update["episode_return"] for update in evaluation.updates("episode_return")} == {15.0}
    assert "evaluating" in [update["phase"] for update in training.updates("phase", writer="driver")]
    assert training.updates("evaluation_return_mean", stream="iterations")[-1]["evaluation_return_mean"] == 15.0
    assert evaluation.updates("episode_return_mean", stream="iterations")[-1]["episode_return_mean"] == 15.0


def test_evaluation_beside_training_stays_apart_from_it(displays: Any) -> None:
    training, evaluation = displays("beside"), displays("beside-evaluation")
    config = ppo().env_runners(num_env_runners=1).evaluation(
        evaluation_interval=1, evaluation_num_env_runners=1, evaluation_duration="auto",
        evaluation_parallel_to_training=True, evaluation_config={"env_config": {"steps": 5, "step_s": 0.02}},
    )  # fmt: skip
    callbacks = training.callbacks(evaluation_channel="auto")
    with running_algorithm(config.callbacks(callbacks)) as algorithm:
        train_until(algorithm, lambda: training.frames() and evaluation.frames(), "both pictures")
        train_until(algorithm, lambda: evaluation.updates("episode_return"), "an evaluated episode")
    training.wait_for_end()
    evaluation.wait_for_end()
    assert {update["episode_return"] for update in training.updates("episode_return")} == {EPISODE_RETURN}
    assert {update["episode_return"] for update in evaluation.updates("episode_return")} == {15.0}
    assert "evaluating" not in [update["phase"] for update in training.updates("phase")]


def test_env_runners_of_the_old_api_stack_share_one_session_and_the_viewer_chooses(display: Display) -> None:
    config = ppo().api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
    config = config.training(train_batch_size=200, minibatch_size=100).fault_tolerance(restart_failed_env_runners=True)
    with running_algorithm(config.callbacks(display.callbacks())) as algorithm:
        train_until(algorithm, lambda: len(display.frames([1, 0])) > 3, "frames of the first env")
        train_until(algorithm, lambda: len(display.thumbnail_envs()) == 4, "thumbnails of all envs")
        asked = {"channel": display.channel, "worker_index": 2, "env_index": 1}
        assert display.hud.web.post("/api/reporter", asked)[0] == 200
        train_until(algorithm, lambda: len(display.frames([2, 1])) > 3, "frames of the env asked for")
        # Killed while it is idle: Ray restarts it, and RLlib is not notified.
        runner = algorithm.env_runner_group._worker_manager.actors()[2]
        killed = pid(runner)
        assert killed
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: pid(runner) not in (None, killed), "the killed runner to be back", deadline_s=120)
        before = len(display.frames())
        train_until(
            algorithm, lambda: any(f["env"] == [2, 1] for f in display.frames()[before:]), "the first picture after"
        )
    display.wait_for_end()
    assert {update["episode_return"] for update in display.updates("episode_return")} == {EPISODE_RETURN}
    live = [session for session in display.sessions() if session["status"] == "live"]
    assert len({session["sid"] for session in live}) == 1


def test_an_env_runner_that_is_killed_and_one_that_raises_are_annotated_with_their_causes(
    display: Display, tmp_path: Path
) -> None:
    def texts(kind: str, part: str = "") -> list[str]:
        return [
            data["text"] for data in display.stream.named("annotation") if data["kind"] == kind and part in data["text"]
        ]

    mark = tmp_path / "raised"
    config = ppo().environment(FailingOnce, env_config={"step_s": 0.005, "mark": str(mark), "fails_in": 2})
    mark.touch()  # fails only later
    config = config.fault_tolerance(restart_failed_env_runners=True, delay_between_env_runner_restarts_s=1.0)
    with running_algorithm(config.callbacks(display.callbacks())) as algorithm:
        train_until(algorithm, lambda: display.updates("iteration", stream="iterations"), "an iteration")
        os.kill(pids(algorithm)[1], signal.SIGKILL)
        train_until(
            algorithm, lambda: texts("restarted", "Env runner 1"), "the killed runner to be back", timeout_s=180
        )
        mark.unlink()
        train_until(algorithm, lambda: texts("restarted", "Env runner 2"), "the other one to be back", timeout_s=180)
    display.wait_for_end()
    display.wait(lambda _display: texts("session_ended"), "the last annotation")
    assert texts("env_runner_lost")
    assert texts("env_runner_back")
    killed, raised = texts("process_died")
    assert killed.endswith("its process was killed or crashed (SIGKILL, or out of memory) (env runner 1)")
    assert raised.endswith("ConnectionError: no answer from redis://[redacted]@emulator:6379 (env runner 2)")
    assert "its process was killed" in texts("restarted", "Env runner 1")[0]
    assert "ConnectionError: no answer" in texts("restarted", "Env runner 2")[0]
    death = next(data for data in display.stream.named("report") if data["process"] == "env runner 2")
    assert "raise ConnectionError" in death["traceback"][-1] or any("envs.py" in line for line in death["traceback"])
    assert "in-the-url" not in str(display.stream.named("report"))
    for kind in ("collapse", "non_finite", "session_lapsed", "process_lost"):
        assert texts(kind) == []
