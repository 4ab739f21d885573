"""What the driver decides before anything is published: the run's secret, its channel, the env to show first."""

from __future__ import annotations

import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hud_publisher import Settings
from hud_publisher.protocol.keys import check_channel
from rllib_integration.driver import RUN_ID_FILE, _run_id, _wanted, channel_of, describe


def algorithm(logdir: Path) -> Any:
    return SimpleNamespace(logdir=str(logdir))


def test_a_retried_run_keeps_its_secret_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    first = _run_id(None, algorithm(tmp_path), None)
    assert len(first) >= 32
    assert _run_id(None, algorithm(tmp_path), None) == first
    assert stat.S_IMODE((tmp_path / RUN_ID_FILE).stat().st_mode) == 0o600


def test_another_run_has_another_secret(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    assert _run_id(None, algorithm(tmp_path / "one"), None) != _run_id(None, algorithm(tmp_path / "two"), None)


def test_a_folder_that_cannot_be_written_costs_only_the_retry(tmp_path: Path) -> None:
    missing = algorithm(tmp_path / "missing")
    assert _run_id(None, missing, None) != _run_id(None, missing, None)


def test_trials_of_one_job_do_not_share_a_session_by_a_run_id_of_the_environment(tmp_path: Path) -> None:
    given = [_run_id("job", algorithm(tmp_path), trial) for trial in ("a", "b", None)]
    assert len(set(given)) == 3
    assert given[2] == "job"


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


def test_long_names_that_begin_alike_get_channels_of_their_own() -> None:
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
    assert _wanted(settings, config) == shown


def test_a_session_tells_nothing_of_the_environments_own_configuration() -> None:
    config = SimpleNamespace(
        env="Zelda", num_env_runners=2, num_envs_per_env_runner=1, lr=0.1, env_config={"api_key": "secret"}
    )
    told = describe(SimpleNamespace(config=config))
    assert "secret" not in str(told)
    assert told["env"] == "Zelda"
    assert told["config"] == '{"lr": 0.1}'
