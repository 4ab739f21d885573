"""RLlib's result dicts as fields."""

from __future__ import annotations

import math
from typing import Any

from rllib_integration.results import MAX_FIELDS, flatten_result, steps_sampled

NEW_STACK: dict[str, Any] = {
    "training_iteration": 3,
    "num_env_steps_sampled_lifetime": 12_000,
    "time_this_iter_s": 2.5,
    "env_runners": {
        "episode_return_mean": 21.5,
        "episode_len_mean": 21.5,
        "num_env_steps_sampled_lifetime": 12_000,
        "agent_steps": {"default_agent": 7},
        "my_metric": 0.25,
    },
    "learners": {
        "default_policy": {
            "policy_loss": -0.1,
            "vf_loss": 8.0,
            "mean_kl_loss": 0.01,
            "default_optimizer_learning_rate": 3e-4,
        },
        "__all_modules__": {"num_env_steps_trained": 4000},
    },
    "timers": {"training_step": 1.5},
    "config": {"env_config": {"password": "secret"}},
    "node_ip": "10.0.0.1",
    "hostname": "node",
}


def test_the_usual_fields_have_short_names_and_the_others_keep_their_path() -> None:
    assert flatten_result(NEW_STACK) == {
        "iteration": 3,
        "global_step": 12_000,
        "time_this_iter_s": 2.5,
        "episode_return_mean": 21.5,
        "episode_len_mean": 21.5,
        "env_runners/agent_steps/default_agent": 7,
        "env_runners/my_metric": 0.25,
        "policy_loss": -0.1,
        "vf_loss": 8.0,
        "kl": 0.01,
        "learning_rate": 3e-4,
        "learners/__all_modules__/num_env_steps_trained": 4000,
        "timers/training_step": 1.5,
    }


def test_the_configuration_and_the_machine_are_never_published() -> None:
    published = str(flatten_result(NEW_STACK))
    assert not any(private in published for private in ("secret", "10.0.0.1", "hostname"))


def test_learners_of_several_modules_stay_apart() -> None:
    learners = {"red": {"policy_loss": 1.0}, "blue": {"policy_loss": 2.0}, "__all_modules__": {}}
    assert flatten_result({"learners": learners}) == {
        "learners/red/policy_loss": 1.0,
        "learners/blue/policy_loss": 2.0,
    }


def test_the_old_stack_has_the_same_short_names() -> None:
    result = {
        "env_runners": {
            "episode_reward_mean": 5.0,
            "hist_stats": {"episode_reward": [1, 2, 3]},
            "custom_metrics": {"depth_mean": 4.0},
        },
        "sampler_results": {"episode_reward_mean": 5.0},
        "info": {"learner": {"default_policy": {"learner_stats": {"policy_loss": 0.5, "cur_lr": 1e-4, "kl": 0.2}}}},
        "num_env_steps_sampled": 800,
    }
    fields = flatten_result(result)
    assert fields == {
        "episode_return_mean": 5.0,
        "policy_loss": 0.5,
        "learning_rate": 1e-4,
        "kl": 0.2,
        "num_env_steps_sampled": 800,
        "env_runners/depth_mean": 4.0,
    }
    assert steps_sampled(result) == 800


def test_a_number_is_not_replaced_by_a_later_value_that_is_none() -> None:
    result = {"num_env_steps_sampled_lifetime": 5, "env_runners": {"num_env_steps_sampled_lifetime": math.nan}}
    assert flatten_result(result) == {"global_step": 5}
    assert steps_sampled({"env_runners": {"num_env_steps_sampled_lifetime": math.nan}}) is None


def test_a_count_without_a_new_value_is_left_out_and_a_loss_that_is_nan_is_not() -> None:
    module = {"num_trainable_parameters": math.nan, "last_target_update_ts": math.nan, "policy_loss": math.nan}
    fields = flatten_result({"learners": {"default_policy": module, "__all_modules__": {"num_x_lifetime": math.nan}}})
    assert list(fields) == ["policy_loss"]


def test_a_run_of_hundreds_of_modules_stays_within_bounds() -> None:
    learners = {f"policy_{i}": {"policy_loss": 1.0, "vf_loss": 2.0} for i in range(MAX_FIELDS)}
    assert len(flatten_result({"learners": learners})) == MAX_FIELDS


def test_videos_that_callbacks_log_are_no_fields() -> None:
    import numpy

    result = {
        "env_runners": {"videos": numpy.zeros((1, 2, 3, 4, 4)), "media": [numpy.zeros(3)], "score": numpy.array(2)}
    }
    assert flatten_result(result) == {"env_runners/score": 2}
