"""Renders the envs of an env runner, in each way that RLlib vectorizes them.

Synchronous vector envs (RLlib's default, and all multi-agent ones) render one env alone; asynchronous ones and those
with a vector entry point can only render all. Called by `runner`, on the thread that steps the envs, between two steps.
`hud_publisher.integrations.rendering` decides about time, reasons and single envs.
"""

from __future__ import annotations

from typing import Any

from hud_publisher.integrations.rendering import render, render_all


def render_env(env: Any, index: int) -> dict[int, Any]:
    """Return the picture of one env, and those of the others if they come with it, by env index.

    Args:
        env: the vector env of the new API stack, or the BaseEnv of the old one.
        index: which of its envs.

    Raises:
        Exception: the env gave no picture, as `hud_publisher.integrations.rendering.render` says.
    """
    one = sub_env(env, index)
    return render_all(env, index) if one is None else {index: render(one)}


def sub_env(env: Any, index: int) -> Any | None:
    """Return one env of a vector env; None if it lives in another process or does not exist alone."""
    of_old_stack = getattr(env, "get_sub_environments", None)  # PettingZooEnv has a property of this name
    envs = of_old_stack() if callable(of_old_stack) else getattr(env, "envs", None)
    return None if envs is None else envs[index]
