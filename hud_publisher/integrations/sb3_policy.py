"""Reads the policy's view of a step from a Stable-Baselines3 model and its callback's locals.

The callback runs between a step and the next update, with the model's weights and the observation that chose the step's
action. Nothing here draws a random number or changes the model. Called by `sb3`, a few times per second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from stable_baselines3.common.policies import ActorCriticPolicy


def view_of(model: Any, scope: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Return the parts of the view of the newest step, for `Publisher.mind`.

    Args:
        model: in training.
        scope: the callback's locals, after a step.
        index: of the environment.
    """
    policy = model.policy
    given = scope.get("obs_tensor")
    if given is None:  # off-policy algorithms keep the observation until they store the transition
        given = policy.obs_to_tensor(model._last_obs)[0]
    row = _row(given, index)
    actions = scope["actions"] if hasattr(model.action_space, "n") else scope.get("buffer_actions", scope["actions"])
    parts: dict[str, Any] = {"action": actions[index], "observation": _without_batch(row)}
    if (values := scope.get("values")) is not None:
        parts["value"] = values[index]
    with torch.no_grad():
        return parts | _choice(policy, row)


def _choice(policy: Any, row: Any) -> dict[str, Any]:
    """Return the parts of the choice for an observation with a batch dimension of 1."""
    if isinstance(policy, ActorCriticPolicy):
        return _distribution(policy.get_distribution(row))
    if (network := getattr(policy, "q_net", None)) is not None:  # DQN
        return {"q_values": network(row)[0]}
    actor: Any = getattr(policy, "actor", None)
    if hasattr(actor, "get_action_dist_params"):  # SAC
        mean, log_deviation, more = actor.get_action_dist_params(row)
        parts = {"mean": mean[0], "squashed": True}
        return parts if more else parts | {"deviation": log_deviation[0].exp()}
    return {} if actor is None else {"mean": actor(row)[0]}  # TD3


def _distribution(made: Any) -> dict[str, Any]:
    inner = made.distribution
    if isinstance(inner, (list, tuple)):  # MultiDiscrete
        return {"probabilities": [one.probs[0].tolist() for one in inner]}
    if isinstance(inner, torch.distributions.Bernoulli):  # MultiBinary: each component is off or on
        return {"probabilities": [[1 - on, on] for on in inner.probs[0].tolist()]}
    if isinstance(inner, torch.distributions.Categorical):
        return {"probabilities": inner.probs[0]}
    if isinstance(inner, torch.distributions.Normal):
        parts = {"mean": inner.mean[0], "deviation": inner.stddev[0]}
        is_squashed = "Squashed" in type(made).__name__ or getattr(made, "bijector", None) is not None
        return parts | ({"squashed": True} if is_squashed else {})
    return {}


def _row(given: Any, index: int) -> Any:
    if isinstance(given, Mapping):
        return {name: value[index : index + 1] for name, value in given.items()}
    return given[index : index + 1]


def _without_batch(row: Any) -> Any:
    return {name: value[0] for name, value in row.items()} if isinstance(row, Mapping) else row[0]
