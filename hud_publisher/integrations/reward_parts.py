"""Finds the parts of a step's reward in the `info` of an environment. Called by the integrations at a view's rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from hud_publisher.integrations.episode import number_of

#: Names of mappings from part to number that environments put into `info`.
MAPPINGS = ("reward_parts", "reward_components", "reward_terms", "reward_breakdown", "rewards")
#: Beginnings of the names of single parts; Gymnasium's MuJoCo environments have `reward_forward`, `reward_ctrl` ….
PREFIXES = ("reward/", "reward_")
#: Names of an `info` that are looked at, and parts that are shown.
MAX_NAMES = 256
MAX_PARTS = 32


def reward_parts_of(info: Any, keys: Sequence[str] = ()) -> dict[str, float] | None:
    """Return name → part of the reward; None if `info` has none.

    Args:
        info: of the newest step.
        keys: names in `info` of parts, or of mappings of parts, instead of the usual ones.
    """
    if not isinstance(info, Mapping):
        return None
    found: dict[str, float] = {}
    for key in keys or MAPPINGS:
        value = info.get(key)
        if isinstance(value, Mapping):
            _take(found, value)
        elif keys:
            _take(found, {key: value})
    if not keys and not found:
        names = [name for name in islice(info, MAX_NAMES) if isinstance(name, str) and name.startswith(PREFIXES)]
        _take(found, {name[len(PREFIXES[0]) :]: info[name] for name in names})
    return found or None


def _take(found: dict[str, float], parts: Mapping[Any, Any]) -> None:
    for name in islice(parts, MAX_PARTS - len(found)):
        number = None if parts[name] is None else number_of(parts[name])
        if number is not None:
            found[str(name)] = number
