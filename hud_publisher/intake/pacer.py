"""Decides when a picture is due, before anything is rendered or copied. Called by training threads at every step."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from typing import Any

#: Envs whose last picture is remembered; past that all envs are forgotten, which makes each due once more.
MAX_ENVS = 4096


class Pacer:
    """At most one picture per env and period. The period is the sender's (`Report`); None: no picture is wanted."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: When the current period of each env began.
        self._began_at: dict[Any, float] = {}
        #: When training last asked, on this clock: the viewers' count is refreshed only while training asks.
        self.asked_at = float("-inf")
        #: When a picture was taken last, on this clock.
        self.taken_at = float("-inf")

    def is_due(self, env: Any, period_s: float | None) -> bool:
        """Whether a picture of this env would be taken now. Costs one clock read."""
        now = self.asked_at = self._clock()
        if period_s is None:
            return False
        try:
            began_at = self._began_at.get(env)
        except Exception:  # a foreign object's hash may raise anything
            began_at = self._began_at.get(_key(env))
        return began_at is None or now >= began_at + period_s

    def take(self, env: Any, period_s: float | None) -> bool:
        """Return whether a picture of this env is due; if so, the next one is due a period later."""
        if not self.is_due(env, period_s) or period_s is None:
            return False
        if len(self._began_at) >= MAX_ENVS:
            self._began_at.clear()
        now, key = self.asked_at, _key(env)
        # Counted from the due time, so that the rate is right on average; after a pause, from now.
        due_at = self._began_at.get(key, now - period_s) + period_s
        self._began_at[key] = max(due_at, now - period_s)
        self.taken_at = now
        return True

    def postpone(self, env: Any, period_s: float | None, least_s: float) -> None:
        """Let the next picture of an env be due at least `least_s` after the one that was just taken."""
        key = _key(env)
        if period_s is not None and key in self._began_at:
            self._began_at[key] = max(self._began_at[key], self.taken_at + least_s - period_s)


def _key(env: Any) -> Any:
    """An env as a dictionary's key: callers also pass a list or an array, and nothing here may raise."""
    try:
        hash(env)
        return env
    except Exception:  # a foreign object's hash may raise anything
        pass
    try:
        key = tuple(islice(env, 3))  # an endless one, too
        hash(key)
    except Exception:  # a foreign object may raise anything
        return None
    return key
