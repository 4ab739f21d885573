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
    for name in ("probabilities", "q_values"):
        _flatten(data, name)
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
    probabilities: Any = data.get("probabilities")
    deviations: Any = data.get("deviation")
    if probabilities and all(_is_number(value) and value >= 0 for value in probabilities):
        return float(-sum(value * math.log(value) for value in probabilities if value > 0)) + 0.0  # never -0.0
    if deviations and all(_is_number(value) and value > 0 for value in deviations):
        return float(sum(_ENTROPY_OF_NORMAL + math.log(value) for value in deviations))
    return None


def _flatten(data: dict[str, Json], name: str) -> None:
    """Put the lists of several choices at once into one list; each action gets the number of its choice."""
    lists = data.get(name)
    if not isinstance(lists, list) or not any(isinstance(part, list) for part in lists):
        return
    choices = [part if isinstance(part, list) else [part] for part in lists]
    data[name] = [value for part in choices for value in part]
    if "choices" not in data:
        given = data.get("action_names")
        named = given if isinstance(given, list) else []
        data["choices"] = [len(part) for part in choices]
        data["action_names"] = [
            f"{number}: {_name(named, number, index)}"
            for number, part in enumerate(choices)
            for index in range(len(part))
        ]


def _name(named: list[Any], choice: int, index: int) -> Any:
    of_choice = named[choice] if choice < len(named) and isinstance(named[choice], list) else []
    return of_choice[index] if index < len(of_choice) else index


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
