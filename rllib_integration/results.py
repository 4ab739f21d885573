"""Turns RLlib's nested result of one iteration into flat fields: short names for the usual ones, paths for the rest.

Knows the layouts of both API stacks. The publisher cleans the values (NaN, numpy scalars), so a key that is missing or
not finite stays absent. Does no I/O. Called by `driver`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: More fields than any page can show; multi-agent runs with hundreds of policies have nearly this many.
MAX_FIELDS = 1_000

_TOP = {
    "training_iteration": "iteration",
    "num_env_steps_sampled_lifetime": "global_step",
    "env_runners/num_env_steps_sampled_lifetime": "global_step",
    "env_runners/episode_return_mean": "episode_return_mean",
    "env_runners/episode_return_min": "episode_return_min",
    "env_runners/episode_return_max": "episode_return_max",
    "env_runners/episode_len_mean": "episode_len_mean",
    "env_runners/episode_len_min": "episode_len_min",
    "env_runners/episode_len_max": "episode_len_max",
    "env_runners/num_episodes": "episodes_this_iter",
    "env_runners/num_episodes_lifetime": "episodes_total",
    "evaluation/env_runners/episode_return_mean": "evaluation_return_mean",
    "evaluation/env_runners/episode_len_mean": "evaluation_len_mean",
    # The old API stack.
    "env_runners/episode_reward_mean": "episode_return_mean",
    "env_runners/episode_reward_min": "episode_return_min",
    "env_runners/episode_reward_max": "episode_return_max",
    "env_runners/episodes_this_iter": "episodes_this_iter",
    "evaluation/env_runners/episode_reward_mean": "evaluation_return_mean",
}
#: Under learners/{module}/ (new stack) and info/learner/{policy}/learner_stats/ (old stack).
_LEARNER = {
    "policy_loss": "policy_loss",
    "pi_loss": "policy_loss",
    "vf_loss": "vf_loss",
    "qf_loss": "qf_loss",
    "alpha_loss": "alpha_loss",
    "total_loss": "total_loss",
    "entropy": "entropy",
    "mean_kl_loss": "kl",
    "kl": "kl",
    "curr_kl_coeff": "kl_coeff",
    "cur_kl_coeff": "kl_coeff",
    "vf_explained_var": "vf_explained_var",
    "qf_mean": "qf_mean",
    "default_optimizer_learning_rate": "learning_rate",
    "cur_lr": "learning_rate",
}
#: The whole configuration, identifiers of the machine, and copies of other fields.
_LEFT_OUT = frozenset(
    {
        "config", "hostname", "node_ip", "pid", "trial_id", "experiment_id", "experiment_tag", "date", "timestamp",
        "sampler_results", "hist_stats", "done", "should_checkpoint", "custom_metrics", "episode_media",
        "connector_metrics",
    }
)  # fmt: skip
_ALL_MODULES = "__all_modules__"
#: Counts by the start or the end of their name. RLlib's MetricsLogger returns NaN for a count without a new value in an
#: iteration, such as `num_trainable_parameters` from the second iteration on.
_COUNT_STARTS, _COUNT_ENDS = ("num_",), ("_lifetime", "_ts")


def flatten_result(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of one iteration: short name or path ("timers/sample") → value as RLlib gave it.

    A count that is NaN is left out, because it means "no new value"; any other NaN is a fact about training.

    The figures of a learner get short names if there is one module; with several, each keeps its full path.
    """
    learners = _learners(result)
    prefix = learners[0] if len(learners) == 1 else None
    fields: dict[str, Any] = {}
    for path, value in _leaves(result, ""):
        if len(fields) >= MAX_FIELDS:
            break
        if _is_count(path) and not _is_number(value):
            continue
        name = _TOP.get(path, path)
        if prefix is not None and path.startswith(prefix):
            name = _LEARNER.get(path[len(prefix) :], path)
        # Both places of a short name hold the same value; the first one is kept, unless it is not a number.
        if name not in fields or not _is_number(fields[name]):
            fields[name] = value
    for name, value in _custom_metrics(result):
        fields.setdefault(name, value)
    return fields


def steps_sampled(result: Mapping[str, Any]) -> int | None:
    """Return the environment steps sampled in this run until now; None if the result does not hold them."""
    places: Any = (
        (result, "num_env_steps_sampled_lifetime"), (result.get("env_runners"), "num_env_steps_sampled_lifetime"),
        (result, "num_env_steps_sampled"), (result, "timesteps_total"),
    )  # fmt: skip
    values: Iterator[Any] = (place.get(name) for place, name in places if isinstance(place, Mapping))
    return next((int(value) for value in values if _is_number(value)), None)


def _learners(result: Mapping[str, Any]) -> list[str]:
    """The paths of the figures of single modules, each with its slash."""
    new = result.get("learners")
    if isinstance(new, Mapping):
        return [f"learners/{name}/" for name in new if name != _ALL_MODULES]
    info = result.get("info")
    old = info.get("learner") if isinstance(info, Mapping) else None
    if isinstance(old, Mapping):
        return [f"info/learner/{name}/learner_stats/" for name in old if name != _ALL_MODULES]
    return []


def _leaves(data: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        name = key if isinstance(key, str) else str(key)
        if name in _LEFT_OUT:
            continue
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}/")
        elif value is not None and not isinstance(value, (list, tuple)) and getattr(value, "ndim", 0) < 2:
            yield f"{prefix}{name}", value


def _custom_metrics(result: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The old stack's `episode.custom_metrics`, under the path that the new stack's custom metrics have."""
    runners = result.get("env_runners")
    custom = runners.get("custom_metrics") if isinstance(runners, Mapping) else None
    if isinstance(custom, Mapping):
        yield from _leaves(custom, "env_runners/")


def _is_count(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.startswith(_COUNT_STARTS) or name.endswith(_COUNT_ENDS)


def _is_number(value: Any) -> bool:
    try:
        return value is not None and float(value) == float(value) and abs(float(value)) != float("inf")
    except (TypeError, ValueError, OverflowError):
        return False
