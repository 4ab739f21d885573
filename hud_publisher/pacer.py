"""Decides when a picture is due, before anything is rendered or copied.

With nobody watching, frames fall to one per second, kept for rewinding; they rise when the first viewer comes.
Thumbnails are due once per second and env, and only while somebody watches. Asked by training threads at every step,
told of viewers by the publisher's thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

#: Seconds between two frames with nobody watching, and between two thumbnails of one env.
SLOW_S = 1.0
#: Envs whose last picture is remembered; past that everything is forgotten, which makes each due once more.
MAX_ENVS = 4096


class Pacer:
    """At most one picture per env and period."""

    def __init__(self, period_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due_at: dict[Any, float] = {}
        #: Seconds between two pictures of an env.
        self.period_s = period_s
        #: While False nothing is due.
        self.is_open = True
        #: When somebody last asked, on this clock: while nobody asks, nobody needs to know whether somebody watches.
        self.asked_at = float("-inf")
        #: When a picture was taken last, on this clock.
        self.taken_at = float("-inf")

    def is_due(self, env: Any = None) -> bool:
        """Whether a picture of this env would be taken now. Costs one clock read."""
        now = self.asked_at = self._clock()
        if not self.is_open:
            return False
        try:
            return now >= self._due_at.get(env, now)
        except Exception:  # a foreign object's hash may raise anything
            return now >= self._due_at.get(_key(env), now)

    def take(self, env: Any = None) -> bool:
        """The same; if so, the next one is due a period later."""
        now = self.asked_at = self._clock()
        if not self.is_open:
            return False
        try:
            due_at = self._due_at.get(env, now)
        except Exception:  # a foreign object's hash may raise anything
            env = _key(env)
            due_at = self._due_at.get(env, now)
        if now < due_at:
            return False
        if len(self._due_at) >= MAX_ENVS:
            self._due_at.clear()
        # Counted from when it was due, so that the rate is right on average; from now after a pause.
        self._due_at[env] = max(due_at, now - self.period_s) + self.period_s
        self.taken_at = now
        return True

    def set_period(self, period_s: float) -> None:
        """Change the rate; where it rises, every env is due at once."""
        if period_s < self.period_s:
            self._due_at.clear()
        self.period_s = period_s


def _key(env: Any) -> Any:
    """An env as a dictionary's key: callers write it as a list or an array too, and nothing here may raise."""
    try:
        key = tuple(env)
        hash(key)
    except Exception:  # a foreign object may raise anything
        return None
    return key
