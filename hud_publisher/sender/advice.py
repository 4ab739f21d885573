"""Compares the policy's choice with the action that a vision LLM advised.

The newest advice of the process is kept for all of its publishers, because the environment that asks the model and the
env runner that shows the policy have one publisher each. Set by `Publisher.vision`, read when a view is taken.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hud_publisher.protocol.values import Json

#: After this time, in seconds, an advice is no longer compared: the moment that it was for is over.
ADVICE_S = 30.0
#: Characters of an answer in which an action is searched.
MAX_CHARS = 2_000
_ACTION_IN_JSON = re.compile(r'"(?:action|suggestion)"\s*:\s*(?:"([^"]{1,80})"|(\d{1,6}))', re.IGNORECASE)


class NewestAdvice:
    """The newest advice that a vision LLM gave to this process."""

    def __init__(self) -> None:
        #: When it was given, the advice, and the env that it was for, if that is known.
        self._newest: tuple[float, Any, Any] | None = None

    def note(self, extra: Mapping[str, Any], response: str | None) -> None:
        """Note a call of a vision LLM: the action among its fields, else its answer."""
        advised = extra.get("action", extra.get("suggestion"))
        advised = (response or "")[:MAX_CHARS] if advised is None else advised
        if isinstance(advised, (str, int)):
            env = extra.get("env")
            self._newest = time.monotonic(), advised, tuple(env) if isinstance(env, (list, tuple)) else None

    def current(self, env: Any = None) -> Any:
        """Return the newest advice; None if there is none, it is older than ADVICE_S, or it was for another env."""
        given_at, advised, given_for = self._newest or (float("-inf"), None, None)
        is_for_other = given_for is not None and env is not None and given_for != env
        return None if is_for_other or time.monotonic() - given_at > ADVICE_S else advised


newest_advice = NewestAdvice()


def agreement(advice: Any, data: Mapping[str, Json]) -> dict[str, Json] | None:
    """Return the field `advice` of a view; None if the advice names none of its actions.

    Args:
        advice: an action's name or number, a text that names one action, or the whole field as the user made it.
        data: the other fields of the view, cleaned.
    """
    if isinstance(advice, Mapping):
        if len(advice) != 1 or "action" not in advice:
            return dict(advice)
        advice = advice["action"]
    names, probabilities, action = data.get("action_names"), data.get("probabilities"), data.get("action")
    if isinstance(action, list):  # several choices at once, or a continuous one: an advice is one action
        return None
    names = [str(name) for name in names] if isinstance(names, list) else []
    count = len(names) or (len(probabilities) if isinstance(probabilities, list) else 0)
    index = index_of(advice, names, count)
    if index is None:
        return None
    name = names[index] if names else str(index)
    found: dict[str, Json] = {"action": name}
    if isinstance(action, (int, float)):
        found["agrees"] = int(action) == index
    share = probabilities[index] if isinstance(probabilities, list) and index < len(probabilities) else None
    if isinstance(share, (int, float)):
        found["probability"] = share
        found["text"] = f"advised {name}, policy {share:.0%} {name}".replace("%", " %")
    elif "agrees" in found:
        found["text"] = f"advised {name}, policy chose {data.get('action_name', action)}"
    return found


def index_of(advice: Any, names: list[str], count: int) -> int | None:
    """Return the number of the action that an advice names; None if it names none, or several."""
    if isinstance(advice, bool) or not isinstance(advice, (int, str)):
        return None
    if isinstance(advice, str):
        text = advice.strip()
        if (match := _ACTION_IN_JSON.search(text)) is not None:
            text = match[1] or match[2]
        if text.isdecimal():
            advice = int(text)
        else:
            return _named(text.casefold(), [name.casefold() for name in names])
    return advice if 0 <= advice < count else None


def _named(text: str, names: list[str]) -> int | None:
    if text in names:
        return names.index(text)
    words = set(re.findall(r"\w+", text))
    found = [index for index, name in enumerate(names) if name in words]
    return found[0] if len(found) == 1 else None
