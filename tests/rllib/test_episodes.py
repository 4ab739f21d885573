"""Episode sums over RLlib's own episode objects."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_integration.episodes import EpisodeView, MultiAgentView, OldStackView, RunningEpisode, view_of
from rllib_integration.runner import pick
from rllib_integration.steps import StepCount


def single(rewards: list[float]) -> SingleAgentEpisode:
    episode = SingleAgentEpisode()
    episode.add_env_reset(0, infos={})
    for reward in rewards:
        episode.add_env_step(0, 1, reward, infos={"lives": 3})
    return episode


def test_the_return_covers_all_chunks_of_an_episode() -> None:
    chunk = single([1.0, 2.0])
    running = RunningEpisode(view_of(chunk), chunk.id_, 1)
    running.see(chunk)
    for rewards in ([4.0], [8.0, 16.0]):
        chunk = chunk.cut()
        for reward in rewards:
            chunk.add_env_step(0, 1, reward, infos={})
            running.see(chunk)
    assert running.sums() == {"episode": 1, "episode_reward": 31.0, "episode_length": 5}
    assert chunk.get_return() == 24.0  # the result of reading only the last chunk


def test_a_new_episode_has_no_return_yet() -> None:
    assert RunningEpisode(EpisodeView(), "x", 7).sums() == {
        "episode": 7,
        "episode_reward": 0.0,
        "episode_length": 0,
    }


def test_rewards_of_all_agents_add_up_even_where_they_act_in_turns() -> None:
    episode = MultiAgentEpisode()
    episode.add_env_reset(observations={"a": 0}, infos={"a": {}})
    episode.add_env_step({"b": 0}, {"a": 1}, {"a": 1.0}, {"b": {}})
    episode.add_env_step({"a": 0}, {"b": 1}, {"b": 2.0, "a": 4.0}, {"a": {"x": 1}})
    view = view_of(episode)
    assert isinstance(view, MultiAgentView)
    running = RunningEpisode(view, episode.id_, 1)
    running.see(episode)
    assert running.sums() == {"episode": 1, "episode_reward": episode.get_return(), "episode_length": 2}
    assert view.action(episode) == {"b": 1}


@pytest.mark.parametrize("cut_at", range(4))
@pytest.mark.parametrize("lookback", [0, 1])
@pytest.mark.parametrize("lengths", list(itertools.product(range(1, 5), repeat=2)))
def test_agents_that_end_before_the_others_hide_no_reward_or_action(
    lengths: tuple[int, int], cut_at: int, lookback: int
) -> None:
    episode, view = MultiAgentEpisode(len_lookback_buffer=0), MultiAgentView()
    episode.add_env_reset(observations={0: 0, 1: 0}, infos={})
    for step in range(1, max(lengths) + 1):
        actions = {agent: step for agent in (0, 1) if lengths[agent] >= step}
        ends = {agent: lengths[agent] == step for agent in actions} | {"__all__": step == max(lengths)}
        rewards = {agent: 1.0 + agent for agent in actions}
        episode.add_env_step(dict.fromkeys(actions, step), actions, rewards, {}, terminateds=ends)
        assert view.reward(episode) == sum(rewards.values())
        assert view.action(episode) == {str(agent): action for agent, action in actions.items()}
        if step == cut_at and not episode.is_done:
            episode = episode.cut(lookback)


def test_the_return_in_the_old_stack_is_the_total_reward_of_its_episode() -> None:
    episode = SimpleNamespace(
        episode_id=5,
        total_reward=3.5,
        length=4,
        get_agents=lambda: ["agent0"],
        last_info_for=lambda agent: {"x": agent},
    )
    view = view_of(episode)
    assert isinstance(view, OldStackView)
    running = RunningEpisode(view, 5, 2)
    running.see(episode)
    running.see(episode)
    assert running.sums() == {"episode": 2, "episode_reward": 3.5, "episode_length": 4}
    assert view.infos(episode) == {"x": "agent0"}


@pytest.mark.parametrize(
    ("infos", "expected"),
    [
        ({"health": {"now": 3}, "other": 1}, {"health": {"now": 3}}),
        ({"a": {"health": 1}, "b": {"health": 2}, "c": {}}, {"a": {"health": 1}, "b": {"health": 2}}),
        ({}, {}),
    ],
)
def test_info_fields_are_picked_by_name_and_by_agent(infos: dict[str, Any], expected: dict[str, Any]) -> None:
    assert pick(infos, ("health", "location")) == expected


def test_a_picked_mapping_is_a_copy_that_the_environment_cannot_change() -> None:
    health = {"now": 3}
    picked = pick({"health": health}, ("health",))
    health["now"] = 0
    assert picked == {"health": {"now": 3}}


def count(steps: StepCount, runner: SimpleNamespace) -> None:
    """A step, the first of its sampling."""
    steps.sync(runner)
    steps.own += 1


def test_steps_between_two_words_of_the_driver_count_for_every_runner() -> None:
    steps = StepCount(num_runners=3)
    runner = SimpleNamespace(num_env_steps_sampled_lifetime=0)
    for _ in range(10):
        count(steps, runner)
    assert steps.now == 30
    runner.num_env_steps_sampled_lifetime = 28  # the others were slower
    count(steps, runner)
    assert steps.now == 31
    runner.num_env_steps_sampled_lifetime = 60
    steps.sync(runner)
    assert steps.now == 60


def test_steps_go_back_when_the_run_is_restored_from_an_earlier_checkpoint() -> None:
    steps = StepCount(num_runners=1)
    steps.sync(SimpleNamespace(num_env_steps_sampled_lifetime=500))
    assert steps.now == 500
    steps.sync(SimpleNamespace(num_env_steps_sampled_lifetime=100))
    assert steps.now == 100


def test_steps_of_an_evaluation_are_no_training_steps() -> None:
    steps = StepCount(num_runners=2, is_evaluation=True)
    for _ in range(5):
        count(steps, SimpleNamespace(num_env_steps_sampled_lifetime=40))
    assert steps.now == 40


def test_the_old_stack_reports_its_steps_in_another_place() -> None:
    steps = StepCount(num_runners=2)
    count(steps, SimpleNamespace(global_vars={"timestep": 7}))
    assert steps.now == 9
