"""Runs that are tuned, restored, cut off from their HUD, or shown over HTTP."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from hud_publisher.protocol.keys import ChannelKeys
from tests.fixtures.servers import free_port
from tests.rllib.conftest import Display, Hud, running_algorithm
from tests.rllib.envs import EPISODE_RETURN
from tests.rllib.test_local_runs import assert_is_complete, ppo, train_twice

pytestmark = pytest.mark.usefixtures("cluster")


def tuned_channels(hud: Hud) -> set[str]:
    keys = redis.Redis.from_url(hud.redis.url).keys("hud:{PPO_*}:fence")
    return {key.decode().split("{")[1].split("}")[0] for key in keys}


@pytest.mark.parametrize("trials", [2, pytest.param(8, marks=pytest.mark.long)])
def test_concurrent_trials_have_a_display_each_also_beside_a_shared_one(
    hud: Hud, displays: Any, tmp_path: Path, trials: int
) -> None:
    from ray import tune

    name = f"shared-by-{trials}-trials"
    shared = [displays(name), *(displays(f"{name}~{number}") for number in range(2, trials + 1))]
    channels_of_other_tests = tuned_channels(hud)
    callbacks = [
        shared[0].callbacks(channel="auto", run_id=f"of-job-{trials}"),
        shared[0].callbacks(run_id=f"of-job-{trials}"),
    ]
    tuner = tune.Tuner(
        "PPO",
        param_space=ppo(step_s=0.01).callbacks(callbacks),
        tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=trials),
        run_config=tune.RunConfig(stop={"training_iteration": 3}, storage_path=str(tmp_path), verbose=0),
    )
    results = tuner.fit()
    assert not results.errors
    names = sorted(Path(result.path).name for result in results)
    channels = sorted(tuned_channels(hud) - channels_of_other_tests)
    assert len(channels) == trials
    for channel, name in zip(channels, names, strict=True):
        display = displays(channel)
        snapshot = display.wait(lambda shown: shown.stream.named("snapshot"), "the snapshot")[0]
        assert snapshot["session"]["name"] == name
        assert snapshot["session"]["status"] == "ended"
        assert snapshot["state"]["iteration"] == 3
        assert snapshot["frame"]["image"]
    # The trials that started while another held the shared channel have one beside it each, and lost no iteration.
    shown: list[str] = []
    for display in shared:
        if not (names_here := [session["name"] for session in display.sessions() if session["sid"]]):
            continue  # its trial began after another had ended
        display.wait_for_end()
        shown += dict.fromkeys(names_here)
        iterations = [update["iteration"] for update in display.updates("iteration", stream="iterations")]
        assert iterations == [1, 2, 3] * len(set(names_here))
    assert sorted(shown) == names


def test_a_restored_run_goes_on_where_the_checkpoint_was_and_no_checkpoint_holds_a_secret(
    display: Display, hud: Hud, tmp_path: Path
) -> None:
    from ray.rllib.algorithms.ppo import PPO

    with running_algorithm(ppo().callbacks(display.callbacks(run_id="kept-secret"))) as algorithm:
        algorithm.train()
        session_id = redis.Redis.from_url(hud.redis.url).get(ChannelKeys(display.channel).lock)
        algorithm.save_to_path(str(tmp_path))
    display.wait_for_end()
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert session_id
    assert session_id not in stored
    algorithm = PPO.from_checkpoint(str(tmp_path))
    try:
        algorithm.train()
    finally:
        algorithm.stop()
    display.wait(lambda shown: len(shown.updates("iteration", stream="iterations")) == 2, "the second iteration")
    display.wait_for_end()
    iterations = display.updates("iteration", stream="iterations")
    assert [update["iteration"] for update in iterations] == [1, 2]
    assert iterations[1]["_hud"]["step"] == 2 * iterations[0]["_hud"]["step"]
    assert len({session["sid"] for session in display.sessions() if session["sid"]}) == 2
    steps = [update["_hud"]["step"] for update in display.updates("episode_length")]
    assert steps == sorted(steps)


def test_a_run_that_reaches_no_redis_is_shown_through_http(display: Display) -> None:
    train_twice(ppo().callbacks(display.callbacks(redis_url=None, hud_url=display.hud.web.url)))
    assert_is_complete(display)


def test_training_goes_on_where_redis_is_away(display: Display) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    with running_algorithm(ppo().callbacks(display.callbacks(redis_url=nowhere))) as algorithm:
        result = algorithm.train()
    assert result["env_runners"]["episode_return_mean"] == EPISODE_RETURN


@pytest.mark.parametrize(
    ("env_config", "trouble"),
    [({"render_mode": None}, "has no render mode"), ({"render": "raise"}, "raised RuntimeError: no display")],
)
def test_an_environment_without_pictures_says_why_and_shows_its_numbers(
    display: Display, env_config: dict[str, Any], trouble: str
) -> None:
    train_twice(ppo(**env_config).callbacks(display.callbacks()))
    display.wait_for_end()
    assert [trouble in update["no_picture"] for update in display.updates("no_picture")] == [True]
    assert {update["episode_return"] for update in display.updates("episode_return")} == {EPISODE_RETURN}
    assert display.frames() == []


def test_without_a_hud_nothing_happens_and_one_line_says_so(caplog: pytest.LogCaptureFixture) -> None:
    from rllib_integration import HudCallbacks

    with caplog.at_level(logging.INFO, "hud.rllib"), running_algorithm(ppo().callbacks(HudCallbacks)) as algorithm:
        result = algorithm.train()
        assert all(callback._driver is None for callback in algorithm.callbacks)
    assert result["env_runners"]["episode_return_mean"] == EPISODE_RETURN
    assert [record.message for record in caplog.records if record.name == "hud.rllib"] == [
        "HUD is off: start `hud up` on this machine, or set REDIS_URL or HUD_URL, to see this run"
    ]


def test_evaluating_on_the_training_runner_shows_no_evaluation_episode(display: Display) -> None:
    config = ppo().evaluation(evaluation_duration=3, evaluation_duration_unit="episodes")
    with running_algorithm(config.callbacks(display.callbacks())) as algorithm:
        algorithm.train()
        display.wait(lambda shown: shown.updates("iteration", stream="iterations"), "the iteration")
        before = len(display.updates("episode_return"))
        algorithm.evaluate()
        algorithm.train()
    display.wait_for_end()
    phases = [update["phase"] for update in display.updates("phase", writer="driver")]
    assert phases == ["evaluating", "sampling"]
    evaluated_at = display.updates("phase", writer="driver")[0]["_hud"]["time_ms"]
    resumed_at = display.updates("phase", writer="driver")[1]["_hud"]["time_ms"]
    during = [u for u in display.updates("episode_length") if evaluated_at < u["_hud"]["time_ms"] < resumed_at]
    assert during == []
    assert len(display.updates("episode_return")) > before


def test_a_program_that_ends_without_stopping_its_algorithm_ends_its_session_once(
    display: Display, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = os.environ | {
        "REDIS_URL": display.hud.redis.url,
        "HUD_CHANNEL": display.channel,
        "HUD_RUN_ID": "of-the-program",
        "HOME": str(tmp_path),
    }
    ended = subprocess.run([sys.executable, str(program)], env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-3000:]
    display.wait_for_end()
    writers = {update["_hud"]["writer"].split("-")[0] for update in display.updates("_hud")}
    assert "w1" in writers
    time.sleep(2)  # time enough for a restarted env runner to reopen the session
    sessions = display.sessions()
    assert sessions[-1]["status"] == "ended"
    assert len({session["sid"] for session in sessions if session["sid"]}) == 1


PROGRAM = """
from rllib_integration import HudCallbacks
from tests.rllib.conftest import start_ray
from tests.rllib.test_local_runs import ppo

start_ray(num_cpus=4)
algorithm = ppo().env_runners(num_env_runners=1).callbacks(HudCallbacks).build_algo()
algorithm.train()
"""


def live_names(display: Display) -> list[str]:
    """The names of the runs whose session was live, in order."""
    names = [session["name"] for session in display.sessions() if session["status"] == "live"]
    return [name for at, name in enumerate(names) if at == 0 or name != names[at - 1]]


@pytest.mark.parametrize("runners", [0, 1])
def test_a_cell_that_runs_again_shows_the_new_run_at_once(display: Display, runners: int) -> None:
    def build(name: str) -> Any:
        config = ppo(step_s=0.01).env_runners(num_env_runners=runners)
        return config.callbacks(display.callbacks(name=name)).build_algo()

    algorithm = build("first")
    algorithm.train()
    algorithm = build("second")
    algorithm.train()
    display.wait(lambda shown: len(shown.updates("iteration", stream="iterations")) == 2, "both iterations", 10.0)
    algorithm.train()
    display.wait(lambda shown: any(frame["step"] > 128 for frame in shown.frames()), "frames of the second run", 10.0)
    assert live_names(display) == ["first", "second"]
    del algorithm
    display.wait(lambda shown: shown.sessions()[-1]["status"] == "ended", "the end of the forgotten run", 5.0)
    time.sleep(2)  # a restarted env runner would reopen the session
    assert display.sessions()[-1]["status"] == "ended"


def test_a_new_run_takes_the_display_from_one_that_is_held_but_trains_no_more(
    display: Display, caplog: pytest.LogCaptureFixture
) -> None:
    def build(name: str) -> Any:
        return ppo(step_s=0.01).callbacks(display.callbacks(name=name)).build_algo()

    first = build("first")
    first.train()
    with running_algorithm(ppo(step_s=0.01).callbacks(display.callbacks(name="second"))) as second:
        second.train()
        display.wait(lambda shown: len(shown.updates("iteration", stream="iterations")) == 2, "both iterations", 10.0)
        first.train()  # goes on unseen, and takes nothing back
        second.train()
        display.wait(lambda shown: len(shown.updates("iteration", stream="iterations")) == 3, "the third", 10.0)
        assert live_names(display) == ["first", "second"]
    first.stop()
    display.wait_for_end()
    time.sleep(2)
    assert live_names(display) == ["first", "second"]
    assert "second is shown on channel" in caplog.text


def test_runs_that_train_in_turn_do_not_take_the_display_from_each_other(display: Display, displays: Any) -> None:
    beside = displays(f"{display.channel}~2")
    first = ppo().callbacks(display.callbacks(name="first")).build_algo()
    second = ppo().callbacks(display.callbacks(name="second")).build_algo()
    for _ in range(3):
        first.train()
        second.train()
    for shown, name in ((display, "first"), (beside, "second")):
        shown.wait(lambda shown: len(shown.updates("iteration", stream="iterations")) == 3, "the iterations")
        assert live_names(shown) == [name]
    first.stop()
    second.stop()


def test_env_runners_of_a_run_that_took_over_show_their_frames_at_once(display: Display) -> None:
    first = ppo().callbacks(display.callbacks(name="first")).build_algo()
    first.train()
    config = ppo(step_s=0.01).env_runners(num_env_runners=1).callbacks(display.callbacks(name="second"))
    with running_algorithm(config) as second:
        for _ in range(3):
            second.train()
        display.wait(lambda shown: shown.frames([1, 0]), "frames of the env runner", 10.0)
    first.stop()
