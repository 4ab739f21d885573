"""Real runs that sample in the driver: algorithms, vectorizations and API stacks, checked on the stream."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import ray
import redis

from hud_publisher.protocol.internals import report_missing
from tests.fixtures.internals import hide
from tests.rllib.conftest import Display, running_algorithm, small
from tests.rllib.envs import EPISODE_RETURN, EPISODE_STEPS, Counting, CountingVector, Crashing, Meadow, Pair, Steering

pytestmark = pytest.mark.usefixtures("cluster")


def ppo(env: Any = Counting, **env_config: Any) -> Any:
    from ray.rllib.algorithms.ppo import PPOConfig

    return small(
        PPOConfig()
        .environment(env, env_config=env_config)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=2, rollout_fragment_length=32)
        .training(train_batch_size_per_learner=128, minibatch_size=64, num_epochs=1)
    )


def assert_is_complete(display: Display, *, episode_return: float = EPISODE_RETURN) -> None:
    """Assert that the run showed everything that each run must show."""
    display.wait_for_end()
    frames = display.frames()
    assert len({frame["image"] for frame in frames}) > 1, "the picture never moved"
    assert {tuple(frame["env"]) for frame in frames} == {(0, 0)}
    finished = display.updates("episode_return")
    assert finished
    assert [update["episode_return"] for update in finished] == pytest.approx([episode_return] * len(finished))
    assert {update["episode_length"] for update in finished} == {EPISODE_STEPS}
    iterations = display.updates("iteration", stream="iterations", writer="driver")
    assert [update["iteration"] for update in iterations] == [1, 2]
    assert iterations[-1]["episode_return_mean"] == pytest.approx(episode_return)
    steps = [update["_hud"]["step"] for update in display.updates("episode_length")]
    assert steps == sorted(steps)
    assert iterations[0]["_hud"]["step"] < iterations[1]["_hud"]["step"]
    assert steps[-1] == pytest.approx(iterations[1]["_hud"]["step"], rel=0.2)
    live = [session for session in display.sessions() if session["status"] == "live"]
    assert len({session["sid"] for session in live}) == 1, "one run, one session"


def train_twice(config: Any) -> None:
    with running_algorithm(config) as algorithm:
        algorithm.train()
        algorithm.train()


def test_ppo_shows_frames_episodes_and_iterations(display: Display) -> None:
    config = ppo(step_s=0.01, api_key="planted in env_config").environment(env_config={"token": "planted-token-77"})
    train_twice(config.callbacks(display.callbacks(info_keys=("health", "location"), name="my run")))
    assert_is_complete(display)
    assert_shows_its_configuration(display)
    assert display.thumbnail_envs() == {(0, 0), (0, 1)}
    live = next(session for session in display.sessions() if session["status"] == "live")
    assert live["name"] == "my run"
    assert (live["info"]["env"], live["info"]["algorithm"]) == ("Counting", "PPO")
    shown = display.updates("health", "location")
    assert shown
    assert all(update["location"] == f"room {update['episode_length']}" for update in shown)
    assert all(update["health"]["max"] == 5 and "other" not in update for update in shown)
    losses = display.updates("policy_loss", "vf_loss", "entropy", "learning_rate", "kl", stream="iterations")
    assert len(losses) == 2


def assert_shows_its_configuration(display: Display) -> None:
    """Assert that the configuration, its origin and no secret are shown, nor stored anywhere."""
    sections = display.hud.web.get(f"/api/config?channel={display.channel}")[1]
    assert sections.keys() == {"config", "changed", "command", "git", "versions"}
    assert sections["config"]["num_epochs"] == sections["changed"]["num_epochs"] == 1
    assert "gamma" in sections["config"]
    assert "gamma" not in sections["changed"]
    assert "env_config" not in str(sections)
    assert sections["versions"]["ray"] == ray.__version__
    with redis.Redis.from_url(display.hud.redis.url) as client:
        keys = client.keys(f"*{{{display.channel}}}*")
        read = {b"hash": client.hgetall, b"stream": client.xrange, b"string": client.get}
        stored = [str(read[kind](key)) for key in keys if (kind := client.type(key)) in read]
    assert len(stored) > 5
    assert "num_epochs" in "".join(stored)
    assert "planted" not in "".join(stored)


def test_ppo_shows_its_phases(display: Display) -> None:
    config = ppo(step_s=0.01)
    train_twice(config.callbacks(display.callbacks()))
    display.wait_for_end()
    phases = [update["phase"] for update in display.updates("phase")]
    assert phases[:3] == ["sampling", "learning", "sampling"]


def test_an_environment_that_crashes_and_is_made_anew_is_shown_on(display: Display) -> None:
    config = ppo(Crashing, step_s=0.01).fault_tolerance(restart_failed_sub_environments=True)
    train_twice(config.callbacks(display.callbacks()))
    display.wait_for_end()
    finished = display.updates("episode_return")
    assert {update["episode_return"] for update in finished} == {EPISODE_RETURN}, "what broke off has no return"
    assert {update["episode_length"] for update in finished} == {EPISODE_STEPS}
    begun = [update["episode"] for update in display.updates("episode_id")]
    ended = {update["episode"] for update in finished}
    broken = next(episode for episode in begun if episode not in ended)
    assert broken < max(ended), "it goes on after the crash"
    assert max(frame["episode"] for frame in display.frames()) > broken, "and so does the picture"
    [restart] = display.stream.named("report")
    assert [restart[name] for name in ("kind", "process", "part", "message")] == [
        "restart", "driver", "environment", "the simulator died",
    ]  # fmt: skip


def asynchronous() -> Any:
    return ppo(step_s=0.01).env_runners(gym_env_vectorize_mode="async")


def vector_entry_point() -> Any:
    from ray.tune.registry import register_env

    register_env("counting-vector", CountingVector)
    return ppo("counting-vector", step_s=0.01).env_runners(gym_env_vectorize_mode="vector_entry_point")


class OneArray(CountingVector):
    """Renders all envs into one array (N, H, W, 3)."""

    def render(self) -> Any:
        return numpy.stack(super().render())


def vector_entry_point_of_one_array() -> Any:
    from ray.tune.registry import register_env

    register_env("one-array", OneArray)
    return ppo("one-array", step_s=0.01).env_runners(gym_env_vectorize_mode="vector_entry_point")


@pytest.mark.parametrize("vectorized", [asynchronous, vector_entry_point, vector_entry_point_of_one_array])
def test_envs_that_can_only_be_rendered_together_are_shown_too(display: Display, vectorized: Any) -> None:
    train_twice(vectorized().callbacks(display.callbacks(info_keys=("health", "location"))))
    assert_is_complete(display)
    assert display.thumbnail_envs() == {(0, 0), (0, 1)}
    shown = display.updates("health", "location")
    assert shown
    assert all(update["location"] == f"room {update['episode_length']}" for update in shown)
    assert all(update["health"]["max"] == 5 for update in shown)


def test_rewards_of_several_agents_are_summed_and_their_policies_kept_apart(display: Display) -> None:
    config = ppo(Pair, step_s=0.01).multi_agent(
        policies={"p_a", "p_b"}, policy_mapping_fn=lambda agent, *_, **__: f"p_{agent}"
    )
    train_twice(config.callbacks(display.callbacks(info_keys=("health",))))
    assert_is_complete(display, episode_return=EPISODE_RETURN * 1.1)
    assert display.thumbnail_envs() == {(0, 0), (0, 1)}
    losses = display.updates("learners/p_a/policy_loss", "learners/p_b/policy_loss", stream="iterations")
    assert len(losses) == 2
    assert all(update["a"]["health"]["max"] == 5 for update in display.updates("a", "b"))


@pytest.mark.parametrize("kind", ["PettingZooEnv", "ParallelPettingZooEnv"])
def test_environments_of_pettingzoo_are_shown(display: Display, kind: str) -> None:
    from pettingzoo.utils.conversions import parallel_to_aec
    from ray.rllib.env.wrappers import pettingzoo_env
    from ray.tune.registry import register_env

    def make(config: dict[str, Any]) -> Any:
        meadow = Meadow("rgb_array", **config)
        return getattr(pettingzoo_env, kind)(meadow if kind.startswith("Parallel") else parallel_to_aec(meadow))

    register_env(kind, make)
    config = ppo(kind, step_s=0.01).multi_agent(policies={"p"}, policy_mapping_fn=lambda *_, **__: "p")
    train_twice(config.callbacks(display.callbacks()))
    display.wait_for_end()
    assert len({frame["image"] for frame in display.frames()}) > 1, "the picture never moved"
    assert display.updates("episode_return")
    assert display.updates("no_picture") == []


def test_custom_metrics_appear_by_themselves(display: Display) -> None:
    def count_rooms(*, metrics_logger: Any, **_: Any) -> None:
        metrics_logger.log_value("rooms", 7.0)

    train_twice(ppo().callbacks(display.callbacks(), on_episode_end=count_rooms))
    assert_is_complete(display)
    assert display.updates("env_runners/rooms", stream="iterations")[-1]["env_runners/rooms"] == 7.0


def dqn() -> Any:
    from ray.rllib.algorithms.dqn import DQNConfig

    replay = {"type": "PrioritizedEpisodeReplayBuffer", "capacity": 1000}
    config = DQNConfig().environment(Counting).training(replay_buffer_config=replay, train_batch_size_per_learner=16)
    config = config.training(num_steps_sampled_before_learning_starts=16).env_runners(num_envs_per_env_runner=2)
    return small(config).reporting(min_sample_timesteps_per_iteration=64, min_time_s_per_iteration=1)


def sac() -> Any:
    from ray.rllib.algorithms.sac import SACConfig

    replay = {"type": "PrioritizedEpisodeReplayBuffer", "capacity": 1000}
    config = SACConfig().environment(Steering).training(replay_buffer_config=replay, train_batch_size_per_learner=16)
    config = config.training(num_steps_sampled_before_learning_starts=16).env_runners(num_envs_per_env_runner=2)
    return small(config).reporting(min_sample_timesteps_per_iteration=64, min_time_s_per_iteration=1)


@pytest.mark.parametrize(("make", "loss"), [(dqn, "qf_loss"), (sac, "policy_loss")])
def test_off_policy_algorithms_are_shown(display: Display, make: Any, loss: str) -> None:
    train_twice(make().env_runners(num_env_runners=0).callbacks(display.callbacks()))
    assert_is_complete(display)
    assert display.updates(loss, stream="iterations")


def old_stack(**env_config: Any) -> Any:
    config = ppo(**env_config).api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
    return config.training(train_batch_size=128, minibatch_size=64)


def test_the_old_api_stack_is_shown_by_the_same_class(display: Display) -> None:
    train_twice(old_stack(step_s=0.01).callbacks(display.callbacks(info_keys=("location",))))
    assert_is_complete(display)
    assert display.thumbnail_envs() == {(0, 0), (0, 1)}
    assert display.updates("location")
    assert display.updates("policy_loss", "learning_rate", stream="iterations")


def test_it_may_be_one_of_several_callbacks(display: Display) -> None:
    from ray.rllib.callbacks.callbacks import RLlibCallback

    train_twice(ppo().callbacks([RLlibCallback, display.callbacks(), RLlibCallback]))
    assert_is_complete(display)


def test_it_may_be_one_of_several_callbacks_of_the_old_api_stack(display: Display) -> None:
    from ray.rllib.callbacks.callbacks import RLlibCallback
    from ray.rllib.callbacks.utils import _make_multi_callbacks

    train_twice(old_stack().callbacks(_make_multi_callbacks([RLlibCallback, display.callbacks()])))
    assert_is_complete(display)


def test_two_of_them_fill_two_displays(displays: Any) -> None:
    one, two = displays("two-one"), displays("two-two")
    train_twice(ppo().callbacks([one.callbacks(), two.callbacks()]))
    assert_is_complete(one)
    assert_is_complete(two)


@pytest.mark.parametrize(("make", "attribute"), [(ppo, "_callbacks"), (old_stack, "callbacks")])
def test_env_runners_join_without_rllibs_list_of_callbacks(
    display: Display, make: Any, attribute: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
    from ray.rllib.evaluation.rollout_worker import RolloutWorker

    hide(monkeypatch, SingleAgentEnvRunner if make is ppo else RolloutWorker, attribute)
    report_missing.cache_clear()
    train_twice(make(step_s=0.01).callbacks(display.callbacks()))
    assert_is_complete(display)
    assert caplog.text.count("HudCallbacks find their env runners themselves") == 1
