"""Keeps every error of ours out of RLlib.

A callback that raises in an env runner costs the run all its workers: `train()` blocks for a minute and then goes on
without data. So every entry from RLlib into this package passes through `guarded`. Owns what is logged about such
errors (once per cause) and their count. Called by `callbacks` and `rendering`.
"""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

logger = logging.getLogger("hud.rllib")

P = ParamSpec("P")
R = TypeVar("R")

#: Errors swallowed in this process, by (place, type). Counts only: it holds nothing of the run, so it survives pickling
#: and copying of whatever uses it, and bounded by the number of places and types.
swallowed: Counter[tuple[str, str]] = Counter()


def note(place: str, error: BaseException) -> None:
    """Count an error that stops here, and log it the first time it comes from this place."""
    cause = (place, type(error).__name__)
    swallowed[cause] += 1
    if swallowed[cause] == 1:
        logger.warning(
            "HUD: %s failed with %s: %s. Training goes on; this is logged once.", place, cause[1], error,
            exc_info=logger.isEnabledFor(logging.DEBUG),
        )  # fmt: skip


def guarded(method: Callable[P, R]) -> Callable[P, R | None]:
    """Wrap a method that RLlib calls: it returns None where it would have raised."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return method(*args, **kwargs)
        except Exception as error:  # RLlib must not see it, whatever it is
            note(method.__name__, error)
            return None

    return call


def attempt(place: str, function: Callable[..., R], *args: Any) -> R | None:
    """Call code that is not ours, such as an environment's `render`; None where it raised."""
    try:
        return function(*args)
    except Exception as error:  # it is someone else's code: it may raise anything
        note(place, error)
        return None
