"""The fields of a view of the policy: cleaned numbers, the entropy, the observation, the agreement with an advice.

Called by sender.compose, in the sender thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hud_publisher.protocol.cleaning import clean_metrics
from hud_publisher.sender.advice import agreement

if TYPE_CHECKING:
    from hud_publisher.intake.items import Mind
    from hud_publisher.protocol.values import Json
    from hud_publisher.sender.observation import Shown

#: Fields that are lists, also if an array holds one number.
_LISTS = ("probabilities", "q_values", "mean", "deviation", "action_names")
#: The entropy of a normal distribution with deviation 1, in nats.
_ENTROPY_OF_NORMAL = 0.5 * math.log(2 * math.pi * math.e)


def view_fields(item: Mind, shown: Shown | None, cannot_show: Callable[[str, object], None]) -> dict[str, Json]:
    """Return the fields of a view.

    Args:
        item: from the intake.
        shown: its observation; None if it has none.
        cannot_show: called with (name, value) of each part that is left out.
    """
    parts = dict(item.parts)
    parts.pop("observation", None)
    data = clean_metrics(parts, cannot_show)
    data |= {name: [data[name]] for name in _LISTS if name in data and not isinstance(data[name], list)}
    names, advice = data.pop("observation_names", None), data.pop("advice", item.advice)
    if "entropy" not in data and (entropy := entropy_of(data)) is not None:
        data["entropy"] = entropy
    if shown is not None:
        data |= clean_metrics(shown.fields(names), cannot_show)
    if (agreed := agreement(advice, data)) is not None:
        data["advice"] = agreed
    return data


def entropy_of(data: dict[str, Json]) -> float | None:
    """Return the entropy of the action's distribution in nats; None if it is unknown or infinite.

    Independent choices add up. The entropy of a continuous action is that of a normal distribution, before any
    squashing; it may be negative.
    """
    probabilities, deviations = data.get("probabilities"), data.get("deviation")
    if isinstance(probabilities, list) and probabilities:
        flat: list[Any] = []
        for part in probabilities:
            flat += part if isinstance(part, list) else [part]
        if all(_is_number(value) and value >= 0 for value in flat):
            return float(-sum(value * math.log(value) for value in flat if value > 0)) + 0.0  # never -0.0
    if deviations is not None:
        flat = deviations if isinstance(deviations, list) else [deviations]
        if flat and all(_is_number(value) and value > 0 for value in flat):
            return float(sum(_ENTROPY_OF_NORMAL + math.log(value) for value in flat))
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
