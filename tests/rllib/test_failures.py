"""No failure inside HUD reaches RLlib's training: each part is made to fail in a real run."""

from __future__ import annotations

import copy
import functools
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import pytest

from hud_publisher import ConfigError, Publisher
from rllib_integration import HudCallbacks, driver, episodes, runner
from rllib_integration.driver import DriverHud
from rllib_integration.guard import quiet
from rllib_integration.reporter import Reporter
from rllib_integration.runner import RunnerHud
from rllib_integration.steps import StepCount
from tests.rllib.conftest import Display, running_algorithm
from tests.rllib.envs import EPISODE_RETURN, FailingOnce
from tests.rllib.test_local_runs import ppo


class Broken(Exception):
    """The error that the broken part raises."""


def broken(*_: Any, **__: Any) -> Any:
    raise Broken("on purpose")


PARTS = [
    (Publisher, "__init__"),
    (Publisher, "start"),
    (Publisher, "log"),
    (Publisher, "log_iteration"),
    (Publisher, "wants_frame"),
    (Publisher, "frame"),
    (Publisher, "wants_thumbnail"),
    (Publisher, "close"),
    (Publisher, "feedback"),
    (Publisher, "claim"),
    (DriverHud, "start"),
    (DriverHud, "attach"),
    (DriverHud, "publish"),
    (DriverHud, "begin_evaluation"),
    (DriverHud, "end_evaluation"),
    (driver, "describe"),
    (driver, "run_id_of"),
    (RunnerHud, "begin_episode"),
    (RunnerHud, "step"),
    (RunnerHud, "end_episode"),
    (RunnerHud, "pause"),
    (RunnerHud, "close"),
    (runner, "view_of"),
    (runner, "render_env"),
    (episodes.RunningEpisode, "sums"),
    (Reporter, "look"),
    (StepCount, "sync"),
]


@pytest.mark.usefixtures("cluster")
def test_training_never_notices_a_part_that_fails(
    display: Display, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    config = ppo(step_s=0).evaluation(evaluation_duration=1)
    with running_algorithm(config.callbacks(display.callbacks())) as algorithm:
        callbacks = algorithm.callbacks[0]
        for owner, name in PARTS:
            with subtests.test(f"{getattr(owner, '__name__', owner)}.{name}"), monkeypatch.context() as patch:
                quiet.causes.clear()
                patch.setattr(owner, name, property(broken, broken) if name in ("feedback", "claim") else broken)
                callbacks.on_algorithm_init(algorithm=algorithm)
                result = algorithm.train()
                algorithm.evaluate()
                if callbacks._driver is not None:
                    callbacks._driver._detach_all()
                    callbacks._driver._finish()
                assert result["env_runners"]["episode_return_mean"] == EPISODE_RETURN
                assert result["fault_tolerance"]["num_healthy_workers"] == 0  # none is remote
                assert {error for _place, error in quiet.causes} == {"Broken"}


class Sabotage(HudCallbacks):
    """Breaks every step in all processes but the test's."""

    def __init__(self, *, spared: int, **options: Any) -> None:
        super().__init__(**options)
        if os.getpid() != spared:
            RunnerHud.step = broken  # type: ignore[method-assign]


@pytest.mark.usefixtures("cluster")
def test_a_remote_env_runner_stays_healthy_if_each_step_of_hud_fails(display: Display) -> None:
    sabotage = functools.partial(Sabotage, spared=os.getpid(), channel=display.channel, redis_url=display.hud.redis.url)
    with running_algorithm(ppo().env_runners(num_env_runners=1).callbacks(sabotage)) as algorithm:
        result = algorithm.train()
    assert result["env_runners"]["episode_return_mean"] == EPISODE_RETURN
    assert result["fault_tolerance"]["num_healthy_workers"] == 1
    display.wait_for_end()
    assert display.updates("episode_id", writer="w1")  # it had joined
    assert not any(update["episode_length"] for update in display.updates("episode_length"))  # and then failed


@pytest.mark.usefixtures("cluster")
def test_the_first_error_after_the_last_good_iteration_is_the_cause_of_the_end(
    display: Display, tmp_path: Path
) -> None:
    mark = tmp_path / "raised"
    config = ppo(FailingOnce, mark=str(mark), fails_in=0).callbacks(display.callbacks())
    mark.touch()  # it fails only later
    with running_algorithm(config) as algorithm:
        algorithm.train()
        mark.unlink()
        with pytest.raises(RuntimeError):  # RLlib's, from the environment's own
            algorithm.train()
        with pytest.raises(AssertionError):  # RLlib's env runner is unusable now
            algorithm.train()
    display.wait_for_end()
    display.wait(
        lambda shown: "session_ended" in [one["kind"] for one in shown.stream.named("annotation")], "the annotations"
    )
    [death] = [data for data in display.stream.named("report") if data["kind"] == "death"]
    assert (death["process"], death["exception"]) == ("driver", "ConnectionError")
    assert death["message"] == "no answer from redis://[redacted]@emulator:6379"
    [died] = [data for data in display.stream.named("annotation") if data["kind"] == "process_died"]
    assert "ConnectionError: no answer from" in died["text"]


def test_a_mistake_in_the_arguments_shows_at_once_and_names_the_argument() -> None:
    with pytest.raises(ConfigError, match="channel name of 1 to 64"):
        HudCallbacks(channel="team a")
    with pytest.raises(ConfigError, match="HUD_FPS: expected a number"):
        HudCallbacks(fps=0)
    with pytest.raises(ConfigError, match="chanel"):
        HudCallbacks(chanel="team-a")


def test_a_mistake_in_the_environment_switches_the_hud_off_and_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HUD_FPS", "many")
    callbacks = HudCallbacks()
    callbacks.on_algorithm_init(algorithm=SimpleNamespace())
    assert callbacks._driver is None
    assert "HUD is off: HUD_FPS: expected a number" in caplog.text


def test_copies_and_pickles_hold_the_configuration_only() -> None:
    callbacks = HudCallbacks(channel="team-a", info_keys="health")
    callbacks._driver = callbacks._runner = callbacks._attachment = object()  # type: ignore[assignment]
    for copied in (copy.deepcopy(callbacks), cloudpickle.loads(cloudpickle.dumps(callbacks))):
        assert (copied.channel, copied.info_keys) == ("team-a", ("health",))
        assert copied._driver is copied._runner is copied._attachment is None


class OwnInit(HudCallbacks):
    """Does not call its parent's constructor."""

    def __init__(self) -> None:
        self.mine = 1


@pytest.mark.usefixtures("cluster")
def test_a_subclass_that_does_not_call_our_constructor_is_shown(
    display: Display, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", display.hud.redis.url)
    monkeypatch.setenv("HUD_CHANNEL", display.channel)
    quiet.causes.clear()
    with running_algorithm(ppo(step_s=0.01).callbacks(OwnInit)) as algorithm:
        algorithm.train()
        assert copy.deepcopy(algorithm.callbacks[0]).mine == 1
    display.wait_for_end()
    assert display.updates("iteration", stream="iterations")
    assert display.frames()
    assert not quiet.causes
