"""Renders the envs of an env runner, whichever way RLlib vectorized them, within a share of the runner's time.

Synchronous vector envs (RLlib's default, and all multi-agent ones) render one env alone; asynchronous ones and those
with a vector entry point can only render all. Owns the decision when rendering is affordable. Called by `runner`, on
the thread that steps the envs, between two steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hud_publisher.render_budget import MAX_SHARE, RETRY_S
from rllib_integration.guard import attempt


class Renderer:
    """Renders single envs of one vector env.

    Attributes:
        trouble: why there is no picture, in words for the user; "" while there is one.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._resume_at = 0.0
        self._before_s = float("inf")
        self.trouble = ""

    def is_affordable(self) -> bool:
        """Whether another picture keeps rendering within its share of the time. Costs one clock read."""
        return self._clock() >= self._resume_at

    def render(self, env: Any, index: int) -> Mapping[int, Any]:
        """Return the picture of one env, and those of the others where they come with it, by env index.

        It is empty where the env gave none, or raised; `trouble` then says why.

        Args:
            env: the vector env of the new API stack, or the BaseEnv of the old one.
            index: which of its envs.
        """
        started = self._clock()
        pictures = attempt("render", _render, env, index) or {}
        ended = self._clock()
        if index in pictures:
            self.trouble = ""
            took_s = ended - started
            # One that took long because the machine was busy says nothing of the next.
            self._resume_at = ended + min(took_s, self._before_s) * (1 / MAX_SHARE - 1)
            self._before_s = took_s
        else:
            self.trouble = attempt("render", _why, env) or "the environment's render() failed"
            self._resume_at = ended + RETRY_S
        return pictures


def sub_env(env: Any, index: int) -> Any | None:
    """Return one env of a vector env; None where it lives in another process or does not stand alone."""
    if hasattr(env, "get_sub_environments"):  # the old API stack
        return env.get_sub_environments()[index]
    envs = getattr(env, "envs", None)
    return None if envs is None else envs[index]


def _render(env: Any, index: int) -> dict[int, Any]:
    one = sub_env(env, index)
    found = {index: one.render()} if one is not None else dict(enumerate(env.render() or ()))
    return {at: picture for at, shot in found.items() if (picture := _newest(shot)) is not None}


def _newest(shot: Any) -> Any | None:
    """The picture itself; render modes that end in `_list` give every one since the last call."""
    if isinstance(shot, Sequence) and not isinstance(shot, str):
        shot = shot[-1] if shot else None
    return shot if hasattr(shot, "shape") or hasattr(shot, "getbands") else None


def _why(env: Any) -> str:
    mode = getattr(sub_env(env, 0) or env, "render_mode", None)
    if mode is None:
        return 'the environment has no render mode: create it with render_mode="rgb_array"'
    return f'the environment gave no picture in render mode "{mode}": create it with render_mode="rgb_array"'
