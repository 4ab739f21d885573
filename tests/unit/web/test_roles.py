"""The role of each field: decided by full paths alone, once, for every reader."""

from __future__ import annotations

import random

import pytest

from hud_web.store.roles import ROLES, RoleMap, Roles


def assign_roles(paths: list[str], chosen: dict[str, str] | None = None) -> Roles:
    return RoleMap.of(chosen or {}, {}, paths).roles


def paths_of(paths: list[str], role: str, chosen: dict[str, str] | None = None) -> list[str]:
    return [field["path"] for field in assign_roles(paths, chosen).get(role, [])]  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("role", "expected", "other"),
    [
        ("iteration", "iteration", "timers/training_iteration"),
        ("env_steps", "global_step", "replay_buffer/num_env_steps_sampled_lifetime"),
        ("env_steps", "global_step", "learners/default_policy/num_env_steps_sampled_lifetime"),
        ("steps_per_s", "env_steps_per_s", "timers/num_env_steps_sampled_lifetime_throughput"),
        ("return", "episode_return", "evaluation/env_runners/episode_return_mean"),
        ("length", "episode_length", "env_runners/agent_steps/episode_len_mean"),
    ],
)
def test_a_name_below_an_unknown_prefix_has_no_role(role: str, expected: str, other: str) -> None:
    assert paths_of([other], role) == []
    assert paths_of([other, expected], role) == paths_of([expected, other], role) == [expected]


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("env_runners/episode_return_mean", "return"),
        ("env_runners/episode_reward_mean", "return"),
        ("learners/default_policy/vf_loss", "value_loss"),
        ("info/learner/default_policy/learner_stats/policy_loss", "policy_loss"),
        ("rollout/ep_rew_mean", "return"),
        ("rollout/ep_len_mean", "length"),
        ("time/fps", "steps_per_s"),
        ("time/total_timesteps", "env_steps"),
        ("time/iterations", "iteration"),
        ("train/policy_gradient_loss", "policy_loss"),
        ("train/approx_kl", "kl"),
        ("charts/episodic_return", "return"),
        ("charts/SPS", "steps_per_s"),
        ("losses/explained_variance", "explained_variance"),
        ("losses/q_values", "q_value"),
        ("train/clip_fraction", "clip_fraction"),
        ("losses/clipfrac", "clip_fraction"),
        ("learners/default_policy/gradients_default_optimizer_global_norm", "grad_norm"),
        ("train/loss_objective", "policy_loss"),
        ("train/returns_stat/mean", "return"),
        ("Reward / Total reward (mean)", "return"),
        ("Loss / Value loss", "value_loss"),
        ("Learning / Learning rate", "learning_rate"),
        ("reward/reward", "return"),
        ("perf/_fps", "steps_per_s"),
        ("Train/mean_reward", "return"),
        ("Loss/value_function", "value_loss"),
        ("Perf/total_fps", "steps_per_s"),
        ("losses/a_loss", "policy_loss"),
        ("rollout/success_rate", "success_rate"),
    ],
)
def test_the_names_of_each_framework_have_their_roles(path: str, role: str) -> None:
    assert paths_of([path], role) == [path]
    assert list(assign_roles([path])) == [role]


def test_top_level_names_come_before_those_of_a_framework() -> None:
    assert paths_of(["rollout/ep_rew_mean", "mean_return"], "return") == ["mean_return"]


def test_a_total_loss_is_neither_a_policy_loss_nor_a_value_loss() -> None:
    roles = assign_roles(["total_loss", "qf_mean"])
    assert {role: [field["path"] for field in fields] for role, fields in roles.items()} == {
        "total_loss": ["total_loss"], "q_value": ["qf_mean"],
    }  # fmt: skip


def test_every_policy_is_named() -> None:
    roles = assign_roles(
        ["learners/blue_long_name/policy_loss", "learners/red/policy_loss", "learners/__all_modules__/policy_loss"]
    )
    assert roles == {
        "policy_loss": [
            {"path": "learners/blue_long_name/policy_loss", "label": "Policy loss (blue_long_name)"},
            {"path": "learners/red/policy_loss", "label": "Policy loss (red)"},
        ]
    }


def test_policies_with_differently_named_losses_are_all_shown_and_the_only_policy_needs_no_name() -> None:
    assert paths_of(["learners/a/policy_loss", "learners/b/actor_loss"], "policy_loss") == [
        "learners/a/policy_loss", "learners/b/actor_loss",
    ]  # fmt: skip
    [field] = assign_roles(["learners/default_policy/policy_loss"])["policy_loss"]
    assert field["label"] == "Policy loss"


def test_the_label_tells_a_mean_from_the_last_and_from_the_running_episode() -> None:
    labels = [
        assign_roles([name])["return"][0]["label"]
        for name in ("episode_return_mean", "episode_return", "episode_reward")
    ]
    assert labels == [
        "Episode return (mean)", "Episode return (last episode)", "Episode return (running episode)",
    ]  # fmt: skip
    assert paths_of(["episode_reward", "episode_return", "episode_return_mean"], "return") == ["episode_return_mean"]
    assert assign_roles(["episode_length"])["length"][0]["label"] == "Episode length", "running or finished: unknown"
    assert assign_roles(["episodic_length"])["length"][0]["label"] == "Episode length (last episode)"
    assert assign_roles(["episode"])["episodes"][0]["label"] == "Episodes (one env)"
    assert assign_roles(["episode", "episodes_total"])["episodes"][0]["label"] == "Episodes (run)"


def test_a_user_assigns_a_role_and_no_number_has_two() -> None:
    paths = ["episode_return_mean", "my/score", "entropy"]
    roles = assign_roles(paths, {"return": "my/score", "length": "my/score", "no such role": "entropy"})
    assert roles["return"] == [{"path": "my/score", "label": "Episode return · my/score"}]
    assert "length" not in roles
    assert [field["path"] for field in roles["entropy"]] == ["entropy"]
    assert assign_roles(["episode_return_mean"], {"return": "my/score"}) == {}
    taken = assign_roles(["policy_loss", "vf_loss"], {"value_loss": "policy_loss"})
    assert list(taken) == ["value_loss"]


def test_the_order_of_the_fields_changes_nothing() -> None:
    paths = [
        "episode_reward", "episode_return_mean", "learners/a/entropy", "learners/b/entropy", "rollout/ep_rew_mean",
        "step", "global_step", "timers/training_iteration", "iteration", "loss", "total_loss", "train/loss",
    ]  # fmt: skip
    expected = assign_roles(paths)
    for seed in range(50):
        shuffled = random.Random(seed).sample(paths, len(paths))
        assert assign_roles(shuffled) == expected
    used = [field["path"] for fields in expected.values() for field in fields]
    assert len(used) == len(set(used))


def test_adding_tells_of_a_change_only() -> None:
    roles = RoleMap()
    assert not roles.add("ball/x")
    assert roles.add("episode_reward")
    assert roles.add("episode_return_mean")
    assert not roles.add("episode_reward")
    assert not roles.add("episode_return")
    assert set(roles.roles) <= set(ROLES)
