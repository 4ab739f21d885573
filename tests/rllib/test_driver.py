"""The driver's decisions before it publishes anything: the run's secret, its channel, the env to show first."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hud_publisher import Settings
from hud_publisher.protocol.internals import report_missing
from hud_publisher.protocol.keys import check_channel
from rllib_integration.run import (
    RUN_ID_FILE,
    channel_of,
    describe,
    env_to_show,
    run_id_of,
    trial_name,
    why_no_frames,
)


def algorithm(logdir: Path) -> Any:
    return SimpleNamespace(logdir=str(logdir))


def test_a_retried_run_keeps_its_secret_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    first = run_id_of(None, algorithm(tmp_path), None)
    assert len(first) >= 32
    assert run_id_of(None, algorithm(tmp_path), None) == first
    assert stat.S_IMODE((tmp_path / RUN_ID_FILE).stat().st_mode) == 0o600


def test_another_run_has_another_secret(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    assert run_id_of(None, algorithm(tmp_path / "one"), None) != run_id_of(None, algorithm(tmp_path / "two"), None)


def test_a_folder_that_cannot_be_written_costs_only_the_retry(tmp_path: Path) -> None:
    missing = algorithm(tmp_path / "missing")
    assert run_id_of(None, missing, None) != run_id_of(None, missing, None)


def test_trials_of_one_job_do_not_share_a_session_by_a_run_id_of_the_environment(tmp_path: Path) -> None:
    given = [run_id_of("job", algorithm(tmp_path), trial) for trial in ("a", "b", None)]
    assert len(set(given)) == 3
    assert given[2] == "job"


def test_a_trial_is_named_after_its_directory_if_ray_stores_its_name_elsewhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report_missing.cache_clear()
    assert trial_name(algorithm(tmp_path / "PPO_CartPole-v1_f83a1_00000")) == "PPO_CartPole-v1_f83a1_00000"
    assert "has no Trainable._storage" in caplog.text


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        ("PPO_CartPole-v1_f83a1_00000", "PPO_CartPole-v1_f83a1_00000"),
        ("PPO_ALE/Breakout-v5_lr=0.1,x", "PPO_ALE-Breakout-v5_lr-0.1-x"),
        ("__init__", "init__"),
        ("日本", "run"),
    ],
)
def test_a_channel_is_named_after_its_trial(name: str, channel: str) -> None:
    assert check_channel(channel_of(name)) == channel


def test_long_names_that_begin_alike_get_different_channels() -> None:
    channels = {channel_of("x" * 80 + end) for end in "abc"}
    assert len(channels) == 3
    assert all(check_channel(channel) for channel in channels)


@pytest.mark.parametrize(
    ("asked", "runners", "envs", "shown"),
    [
        ((1, 0), 4, 2, (1, 0)),
        ((3, 1), 4, 2, (3, 1)),
        ((9, 9), 4, 2, (4, 1)),
        ((0, 0), 4, 2, (1, 0)),
        ((1, 1), 0, 1, (0, 0)),
    ],
)
def test_the_env_to_show_first_is_the_nearest_that_exists(
    asked: tuple[int, int], runners: int, envs: int, shown: tuple[int, int]
) -> None:
    settings = Settings(worker_index=asked[0], env_id=asked[1])
    config = SimpleNamespace(num_env_runners=runners, num_envs_per_env_runner=envs)
    assert env_to_show(settings, config) == shown


def test_a_session_reveals_nothing_of_the_environments_configuration() -> None:
    config = SimpleNamespace(
        env="Zelda", num_env_runners=2, num_envs_per_env_runner=1, lr=0.1, env_config={"api_key": "secret"}
    )
    told = describe(SimpleNamespace(config=config))
    assert "secret" not in str(told)
    assert told["env"] == "Zelda"
    assert told["config"] == '{"lr": 0.1}'


class Raising:
    """The configuration of an algorithm without a batch size, as DreamerV3's."""

    env = "Zelda"
    num_env_runners = 0
    num_envs_per_env_runner = 1
    lr = 0.5

    @property
    def train_batch_size_per_learner(self) -> int:
        raise ValueError("Both `train_batch_size` and `train_batch_size_per_learner` are None!")


def test_one_describing_field_that_raises_costs_no_other_and_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    told = describe(SimpleNamespace(config=Raising()))
    assert caplog.text == ""
    assert (told["env"], told["algorithm"], told["env_runners"], told["config"]) == (
        "Zelda", "SimpleNamespace", "0", '{"lr": 0.5}'
    )  # fmt: skip
    assert "env_runners" not in describe(SimpleNamespace(config=SimpleNamespace(env="Zelda")))


def test_a_run_without_an_environment_is_named_after_its_algorithm() -> None:
    config = SimpleNamespace(env=None, num_env_runners=0, num_envs_per_env_runner=1)
    assert "env" not in describe(SimpleNamespace(config=config))


def external() -> Any:
    from ray.rllib.env.external.env_runner_server_for_external_inference import EnvRunnerServerForExternalInference

    return EnvRunnerServerForExternalInference


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"env": None, "is_online": False}, "learns from recorded data"),
        ({"env": "Zelda", "is_online": False}, r"evaluation only: HudCallbacks\(evaluation_channel=…\)"),
        ({"env": None, "is_online": True}, "no environment"),
        (
            {"env": None, "env_runner_cls": external},
            "ExternalInference makes no environment",
        ),
    ],
)
def test_a_run_without_frames_gives_the_reason(config: dict[str, Any], reason: str) -> None:
    if "env_runner_cls" in config:
        config["env_runner_cls"] = config["env_runner_cls"]()
    found = why_no_frames(SimpleNamespace(config=SimpleNamespace(**config)))
    assert found is not None
    assert re.search(reason, found)


def test_a_run_that_samples_from_its_environment_has_no_such_reason() -> None:
    from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

    for runner in (None, SingleAgentEnvRunner):
        config = SimpleNamespace(env="Zelda", is_online=True, env_runner_cls=runner)
        assert why_no_frames(SimpleNamespace(config=config)) is None
