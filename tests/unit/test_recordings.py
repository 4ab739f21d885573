"""The recordings of the truth test hold the data that their names promise."""

from __future__ import annotations

import base64
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from hud_publisher.protocol.entries import MetricsEntry
from tests.truth.recording import Recording, load, names, path_of

MOST_BYTES = 150_000
MOST_BYTES_TOGETHER = 1_500_000


def fields_of(recording: Recording, *streams: str) -> list[dict[str, Any]]:
    return [entry["data"] for entry in recording.entries(*(streams or ("metrics", "iterations")))]


def frames_only(recording: Recording) -> None:
    assert {entry["stream"] for entry in recording.entries()} <= {"frames", "thumbs"}
    assert len({entry["episode"] for entry in recording.entries("frames")}) >= 5


def metrics_only(recording: Recording) -> None:
    assert {entry["stream"] for entry in recording.entries()} == {"metrics", "iterations"}
    assert len([data for data in fields_of(recording, "metrics") if "episode_return" in data]) >= 10
    assert_has_iterations(recording)


def many_metrics(recording: Recording) -> None:
    assert max(len(data) for data in fields_of(recording, "iterations")) >= 3_000
    assert_has_iterations(recording)


def slow(recording: Recording) -> None:
    times = [entry["time_ms"] for entry in recording.entries("iterations")]
    assert len(times) >= 5
    assert all(later - earlier > 9_000 for earlier, later in pairwise(times))
    assert len(list(recording.entries("vision"))) == len(times)


def restarting(recording: Recording) -> None:
    steps = [entry["step"] for entry in recording.entries("iterations")]
    assert sum(later < earlier for earlier, later in pairwise(steps)) == 2
    assert [data["iteration"] for data in fields_of(recording, "iterations")] == [1, 2, 3, 4, 5] * 3


def turning_nan(recording: Recording) -> None:
    wrong = [set(entry.get("not_finite", ())) for entry in recording.entries("iterations")]
    assert [index for index, names in enumerate(wrong, 1) if "policy_loss" in names] == list(range(4, 13))
    assert [index for index, names in enumerate(wrong, 1) if "episode_return_mean" in names] == [5, 6, 7]
    assert [index for index, names in enumerate(wrong, 1) if "value_loss" in names] == list(range(9, 13))
    assert any("episode_return" in entry.get("not_finite", ()) for entry in recording.entries("metrics"))


def two_envs(recording: Recording) -> None:
    ended = [data for data in fields_of(recording, "metrics") if "episode_return" in data]
    assert {(data["env_index"], data["episode_return"]) for data in ended} == {(0, 16.0), (1, 1000.0)}
    first, second = ({data["episode"] for data in ended if data["env_index"] == index} for index in (0, 1))
    assert first == second
    assert {tuple(entry["env"]) for entry in recording.entries("frames")} == {(0, 0), (0, 1)}


def ppo(recording: Recording) -> None:
    assert_is_of_rllib(recording, "PPO", "policy_loss")
    writers = {line.fields["writer"].partition("-")[0] for line in recording.lines if line.kind == "batch"}
    assert writers == {"driver", "w1", "w2"}


def two_policies(recording: Recording) -> None:
    assert_is_of_rllib(recording, "PPO", "learners/red/policy_loss", "learners/blue_long_name/policy_loss")


def old_stack(recording: Recording) -> None:
    assert_is_of_rllib(recording, "PPO", "policy_loss", "learning_rate")
    assert not any(name.startswith("learners/") for data in fields_of(recording, "iterations") for name in data)


def appo(recording: Recording) -> None:
    assert_is_of_rllib(recording, "APPO", "policy_loss")


def impala(recording: Recording) -> None:
    assert_is_of_rllib(recording, "IMPALA", "policy_loss")


def dqn(recording: Recording) -> None:
    assert_is_of_rllib(recording, "DQN", "qf_loss")


def sac(recording: Recording) -> None:
    assert_is_of_rllib(recording, "SAC", "policy_loss", "qf_loss")


def dreamerv3(recording: Recording) -> None:
    assert_is_of_rllib(recording, "DreamerV3", "total_loss")


def sb3_4_envs(recording: Recording) -> None:
    assert recording.lines[0].fields["info"]["framework"] == "stable-baselines3"
    assert_has_iterations(recording)
    result = {name: value for data in fields_of(recording, "iterations") for name, value in data.items()}
    assert result.keys() >= {"policy_loss", "vf_loss", "train/loss", "episode_return_mean", "time/fps"}
    assert [entry["step"] % (4 * 64) for entry in recording.entries("iterations")] == [0] * 16
    assert {tuple(entry["env"]) for entry in recording.entries("frames")} == {(0, 0)}


def assert_is_of_rllib(recording: Recording, algorithm: str, *losses: str) -> None:
    assert recording.lines[0].fields["info"]["algorithm"] == algorithm
    assert_has_iterations(recording)
    for loss in losses:
        assert any(loss in data for data in fields_of(recording, "iterations")), loss
    assert len([data for data in fields_of(recording, "metrics") if "episode_return" in data]) >= 5
    assert len(list(recording.entries("frames"))) >= 10


def assert_has_iterations(recording: Recording) -> None:
    assert max(data["iteration"] for data in fields_of(recording, "iterations")) >= 5


_RUNS = (
    frames_only, metrics_only, many_metrics, slow, restarting, turning_nan, two_envs,
    ppo, appo, impala, dqn, sac, dreamerv3, two_policies, old_stack, sb3_4_envs,
)  # fmt: skip
PROMISES: dict[str, Callable[[Recording], None]] = {promise.__name__: promise for promise in _RUNS}


def test_each_run_of_the_truth_test_is_recorded() -> None:
    assert set(names()) == set(PROMISES)


def test_the_recordings_are_small() -> None:
    sizes = {name: path_of(name).stat().st_size for name in names()}
    assert max(sizes.values()) <= MOST_BYTES, sizes
    assert sum(sizes.values()) <= MOST_BYTES_TOGETHER, sizes


@pytest.mark.parametrize("name", PROMISES)
def test_a_recording_holds_the_data_its_name_promises(name: str) -> None:
    PROMISES[name](load(name))


@pytest.mark.parametrize("name", PROMISES)
def test_a_recording_is_one_whole_session_of_19_to_75_seconds(name: str) -> None:
    recording = load(name)
    assert (recording.lines[0].kind, recording.lines[0].joined) == ("register", False)
    assert [line.kind for line in recording.lines].count("release") == 1
    assert [line.joined for line in recording.lines if line.kind == "register"].count(False) == 1
    times = [line.at_ms for line in recording.lines]
    assert times == sorted(times)
    assert 19_000 <= recording.duration_ms <= 75_000
    frames = [entry["image"] for entry in recording.entries("frames")]
    assert len(set(frames)) == len(frames), "each frame can be told apart"


@pytest.mark.parametrize("name", PROMISES)
def test_a_recorded_batch_is_read_as_it_was_sent_at_another_time(name: str) -> None:
    started_ms = 1_900_000_000_000
    for line in load(name).lines:
        if line.kind != "batch":
            continue
        batch = line.batch(started_ms)
        assert (batch.writer, batch.number) == (line.fields["writer"], line.fields["number"])
        for entry, stored in zip(batch.entries, line.fields["entries"], strict=True):
            assert entry.time_ms - started_ms == stored["time_ms"]
            assert (entry.stream, entry.step) == (stored["stream"], stored.get("step"))
            if isinstance(entry, MetricsEntry):
                assert (entry.data, list(entry.not_finite)) == (stored["data"], stored.get("not_finite", []))
            else:
                assert base64.b64encode(entry.image).decode() == stored["image"]
