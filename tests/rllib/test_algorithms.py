"""Real runs that step an environment rarely or never: world models, recorded data, external environments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest

from tests.rllib.conftest import Display, small
from tests.rllib.envs import EPISODE_RETURN, EPISODE_STEPS, Counting
from tests.rllib.test_local_runs import assert_is_complete, ppo, train_twice

pytestmark = pytest.mark.usefixtures("cluster", "no_errors_of_ours")


def name_of(display: Display) -> str:
    return str(next(session["name"] for session in display.sessions() if session["status"] == "live"))


def iterations(display: Display) -> list[dict[str, Any]]:
    return display.updates("iteration", stream="iterations", writer="driver")


def test_dreamer_v3_is_shown(display: Display) -> None:
    from ray.rllib.algorithms.dreamerv3 import DreamerV3Config

    config = (
        DreamerV3Config()
        .environment(Counting)
        .training(model_size="nano", batch_size_B=2, batch_length_T=8, horizon_H=3, training_ratio=1.0)
        .reporting(min_sample_timesteps_per_iteration=64, min_time_s_per_iteration=1)
        .debugging(log_level="ERROR", seed=1)
    )
    train_twice(config.callbacks(display.callbacks()))
    assert_is_complete(display)
    assert name_of(display) == "DreamerV3 on Counting"
    assert display.updates("total_loss", stream="iterations")
    assert not display.updates("no_picture")


def record(path: Path) -> str:
    """Episodes of `Counting` as a table, in the columns that RLlib reads."""
    import pandas

    steps = range(EPISODE_STEPS)
    rows = [
        {
            "eps_id": str(episode),
            "agent_id": "agent_0",
            "module_id": "default_policy",
            "obs": numpy.array([step, 1], numpy.float32),
            "new_obs": numpy.array([step + 1, 1], numpy.float32),
            "actions": step % 2,
            "rewards": float(step + 1),
            "terminateds": step == steps[-1],
            "truncateds": False,
        }
        for episode in range(8)
        for step in steps
    ]
    pandas.DataFrame(rows).to_parquet(path)
    return str(path)


def bc(path: Path) -> Any:
    from ray.rllib.algorithms.bc import BCConfig

    config = BCConfig().environment(observation_space=Counting.observation_space, action_space=Counting.action_space)
    config = config.offline_data(
        input_=[record(path)], dataset_num_iters_per_learner=1, map_batches_kwargs={"concurrency": 1}
    )
    return small(config.training(train_batch_size_per_learner=32))


def test_a_run_on_recorded_data_shows_its_losses_and_says_why_there_are_no_frames(
    display: Display, tmp_path: Path
) -> None:
    train_twice(bc(tmp_path / "episodes.parquet").callbacks(display.callbacks()))
    display.wait_for_end()
    assert name_of(display) == "BC"
    assert [update["iteration"] for update in iterations(display)] == [1, 2]
    assert all("policy_loss" in update for update in iterations(display))
    (reason,) = [update["no_picture"] for update in display.updates("no_picture")]
    assert reason == "the run has no environment: it learns from recorded data"


def test_the_evaluation_of_a_run_on_recorded_data_has_a_separate_display(displays: Any, tmp_path: Path) -> None:
    training, evaluation = displays("recorded"), displays("recorded-evaluation")
    config = bc(tmp_path / "episodes.parquet").environment(Counting)
    config = config.evaluation(evaluation_interval=1, evaluation_duration=3)
    train_twice(config.callbacks(training.callbacks(evaluation_channel="auto")))
    training.wait_for_end()
    evaluation.wait_for_end()
    assert name_of(training) == "BC on Counting"
    (reason,) = [update["no_picture"] for update in training.updates("no_picture")]
    assert "evaluation" in reason
    assert not training.frames()
    assert [update["phase"] for update in training.updates("phase")] == ["evaluating", "learning"] * 2
    assert [update["evaluation_return_mean"] for update in iterations(training)] == [EPISODE_RETURN] * 2
    assert evaluation.frames()
    assert {update["episode_return"] for update in evaluation.updates("episode_return")} == {EPISODE_RETURN}


def test_a_run_whose_environment_is_elsewhere_shows_its_iterations_and_says_why_there_are_no_frames(
    display: Display,
) -> None:
    from ray.rllib.env.external.env_runner_server_for_external_inference import EnvRunnerServerForExternalInference
    from ray.rllib.env.single_agent_episode import SingleAgentEpisode

    class Served(EnvRunnerServerForExternalInference):
        """Gets its episodes as if a client had sent them."""

        def _client_message_listener(self) -> None:
            pass

        def sample(self, **options: Any) -> Any:
            steps = EPISODE_STEPS
            episode = SingleAgentEpisode(
                observations=[numpy.array([step, 1], numpy.float32) for step in range(steps + 1)],
                actions=[0] * steps,
                rewards=[float(step + 1) for step in range(steps)],
                extra_model_outputs={
                    "action_dist_inputs": [numpy.zeros(2, numpy.float32)] * steps,
                    "action_logp": [-0.7] * steps,
                },
                terminated=True,
                len_lookback_buffer=0,
            )
            self._episode_chunks_to_return = [episode.to_numpy()]
            return super().sample(**options)

    config = ppo(None).environment(observation_space=Counting.observation_space, action_space=Counting.action_space)
    train_twice(config.env_runners(env_runner_cls=Served).callbacks(display.callbacks()))
    display.wait_for_end()
    assert name_of(display) == "PPO"
    shown = iterations(display)
    assert [(update["iteration"], update["episode_return_mean"]) for update in shown] == [
        (1, EPISODE_RETURN), (2, EPISODE_RETURN)
    ]  # fmt: skip
    assert all("policy_loss" in update for update in shown)
    (reason,) = [update["no_picture"] for update in display.updates("no_picture")]
    assert reason.startswith("Served makes no environment")
