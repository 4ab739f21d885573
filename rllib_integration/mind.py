"""Reads the policy's view of a step from an env runner of the new API stack.

A view belongs to the newest step of the shown env: the distribution that the module returned for the step's action is
in the episode, and the observation is a row of the batch that the module received. RLlib keeps that batch only until
the step is made (`_cached_to_module`, which it does not document), so `prepare` notes it after one step and `read` uses
it after the next. The rows of a batch are those of the episodes that `memorized_map_structure` names. Values and Q
values are computed from that row: the weights that chose the action are still in place then, because they change only
between two samplings. Called by `runner`, a few times per second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from hud_publisher.integrations.time_share import TimeShare
from hud_publisher.protocol.internals import report_missing
from rllib_integration.guard import quiet

#: RLlib's names in a module's input and output (ray.rllib.core.columns.Columns).
OBS, ACTION_DIST_INPUTS, VF_PREDS, QF_PREDS = "obs", "action_dist_inputs", "vf_preds", "qf_preds"
_BATCH = "_cached_to_module"
#: Share of the runner's time for views: at five per second each may take 1 ms.
MAX_SHARE = 0.005


class PolicyView:
    """The views of one env runner's policy."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Make a reader; `clock` gives seconds."""
        self._clock = clock
        self._share = TimeShare(MAX_SHARE, clock, is_first_typical=False)
        self._batch: Any = None
        #: The episode and its length after which the noted batch was made; and the episodes of its rows.
        self._noted: tuple[Any, int] | None = None
        self._rows: list[Any] = []
        #: Methods that this module lacks, or that failed: a module for inference may lack its value head.
        self._missing: set[tuple[int, str]] = set()
        #: The layers of a module that draw random numbers or learn while they compute.
        self._lively: tuple[int, list[Any]] = (0, [])

    def is_affordable(self) -> bool:
        """Whether another view keeps the views within their share of the time. Costs one clock read."""
        return self._share.is_free()

    def prepare(self, env_runner: Any, episode: Any) -> bool:
        """Note the module's input of the next step. Returns whether it was found."""
        self._batch, self._noted = getattr(env_runner, _BATCH, None), None
        if self._batch is None:
            if getattr(env_runner, "module", None) is not None and not hasattr(env_runner, _BATCH):
                report_missing("ray", f"{type(env_runner).__name__}.{_BATCH}", "views of the policy lack observations")
            return False
        rows = getattr(env_runner, "_shared_data", {}).get("memorized_map_structure")
        self._rows = rows if isinstance(rows, list) else []
        self._noted = (episode.id_, int(episode.t))
        return True

    def is_prepared(self, episode: Any) -> bool:
        """Whether the module's input of the newest step was noted."""
        return self._noted is not None and self._noted == (episode.id_, int(episode.t) - 1)

    def read(self, env_runner: Any, env_index: int, episode: Any) -> dict[str, Any]:
        """Return the parts of the view of the newest step, for `Publisher.mind`; without those that are not there.

        Args:
            env_runner: of one agent, new API stack.
            env_index: the env of the episode.
            episode: contains the step.
        """
        began_at = self._clock()
        parts = self._parts(env_runner, env_index, episode)
        self._share.spend(began_at)
        return {name: part for name, part in parts.items() if part is not None}

    def _parts(self, env_runner: Any, env_index: int, episode: Any) -> dict[str, Any]:
        outputs, module = episode.extra_model_outputs, env_runner.module
        parts: dict[str, Any] = {}
        if ACTION_DIST_INPUTS in outputs:
            inputs = episode.get_extra_model_outputs(ACTION_DIST_INPUTS, -1)
            kind = quiet.attempt("the action distribution's class", _distribution_of, module, env_runner)
            parts |= quiet.attempt("the action distribution", describe_distribution, kind, inputs) or {}
        if VF_PREDS in outputs:
            parts["value"] = episode.get_extra_model_outputs(VF_PREDS, -1)
        if not self.is_prepared(episode):
            return parts
        is_mapped = episode.id_ in self._rows
        index, count = (
            (self._rows.index(episode.id_), len(self._rows)) if is_mapped else (env_index, env_runner.num_envs)
        )
        row = quiet.attempt("the module's input", _row, self._batch, index, count)
        if row is None or OBS not in row:
            return parts
        parts["observation"] = _without_batch(row[OBS])
        if "value" not in parts:
            parts["value"] = self._computed(module, "compute_values", row, _first_number)
        parts["q_values"] = self._computed(module, "compute_q_values", row, _first_q_values)
        return parts

    def _computed(self, module: Any, name: str, row: Mapping[str, Any], pick: Callable[[Any], Any]) -> Any:
        """Return the result of a method of the module for one observation; None if it lacks the method or its head."""
        key = (id(module), name)
        method = getattr(module, name, None)
        if method is None or key in self._missing:
            return None
        import torch

        lively = [layer for layer in self._lively_layers(module) if layer.training]
        try:
            for layer in lively:
                layer.training = False
            with torch.no_grad():
                return pick(method(dict(row)))
        except Exception:  # an inference-only module has the method without the layers
            self._missing.add(key)
            return None
        finally:
            for layer in lively:
                layer.training = True

    def _lively_layers(self, module: Any) -> list[Any]:
        """Layers whose result would change the training: dropout draws random numbers, batch norms learn."""
        if self._lively[0] != id(module):
            from torch import nn

            kinds = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase)
            found = [layer for layer in module.modules() if isinstance(layer, kinds)]
            self._lively = (id(module), found)
        return self._lively[1]


def _distribution_of(module: Any, env_runner: Any) -> Any:
    """The class of the distribution that RLlib's GetActions makes of the module's output."""
    explores = getattr(env_runner.config, "explore", True)
    return module.get_exploration_action_dist_cls() if explores else module.get_inference_action_dist_cls()


def describe_distribution(kind: Any, inputs: Any) -> dict[str, Any]:
    """Return the parts of a view that an action distribution of RLlib gives.

    Args:
        kind: its class; None: the module has none.
        inputs: of one step, 1-D.
    """
    if kind is None or not hasattr(kind, "from_logits"):
        return {}
    import torch

    try:
        made = kind.from_logits(torch.as_tensor(inputs).detach().cpu())
    except NotImplementedError:  # a deterministic choice
        return {}
    if (several := getattr(made, "_cats", None)) is not None:  # MultiDiscrete
        return {"probabilities": [one._dist.probs.tolist() for one in several]}
    inner: Any = getattr(made, "_dist", None)
    if hasattr(inner, "probs"):
        return {"probabilities": inner.probs.tolist()}
    if inner is None or not (hasattr(inner, "loc") and hasattr(inner, "scale")):
        return {}
    parts = {"mean": inner.loc.tolist(), "deviation": inner.scale.tolist()}
    return parts | ({"squashed": True} if hasattr(made, "low") and hasattr(made, "high") else {})


def _row(batch: Mapping[str, Any], index: int, count: int) -> dict[str, Any] | None:
    """Return one env's row of a module's input, with a batch dimension of 1; None if the rows are not those of envs."""
    row = {name: _slice(value, index, count) for name, value in batch.items()}
    return None if any(value is None for value in row.values()) else row


def _slice(value: Any, index: int, count: int) -> Any:
    if isinstance(value, Mapping):
        parts = {name: _slice(part, index, count) for name, part in value.items()}
        return None if any(part is None for part in parts.values()) else parts
    if isinstance(value, (list, tuple)) and not hasattr(value, "shape"):
        items = [_slice(item, index, count) for item in value]
        return None if any(item is None for item in items) else type(value)(items)
    return value[index : index + 1] if len(value) == count else None


def _without_batch(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_batch(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_batch(part) for part in value]
    return value[0]


def _first_number(values: Any) -> float:
    return float(values.reshape(-1)[0])


def _first_q_values(outputs: Any) -> list[float] | None:
    """The Q values of all actions; None for algorithms that compute that of one action only."""
    values = outputs[QF_PREDS].reshape(-1) if isinstance(outputs, Mapping) else outputs.reshape(-1)
    return values.tolist() if len(values) > 1 else None
