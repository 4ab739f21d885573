"""Keeps rendering within a share of the training's time: an environment whose picture is dear is shown less often.

Used by the wrappers of other people's environments, on the thread that steps them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

#: Of the program's time. Atari needs 0.05 % and a pygame window of CartPole 4 % at 20 frames per second.
MAX_SHARE = 0.08
#: An environment that gave no picture, or raised, is asked again after this time.
RETRY_S = 10.0


class RenderBudget:
    """Says when one may render, and renders."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._resume_at = float("-inf")

    def is_affordable(self) -> bool:
        """Whether another picture keeps rendering within its share. Costs one clock read."""
        return self._clock() >= self._resume_at

    def render(self, call: Callable[[], Any]) -> Any | None:
        """Return the picture that `call` gives, the newest where it gives several; None where it gives none.

        Raises:
            Exception: whatever `call` raises.
        """
        began_at = self._clock()
        self._resume_at = began_at + RETRY_S
        pixels = call()
        if isinstance(pixels, (list, tuple)):  # render modes that end in `_list`
            pixels = pixels[-1] if pixels else None
        if not hasattr(pixels, "shape"):
            return None
        ended_at = self._clock()
        self._resume_at = ended_at + (ended_at - began_at) * (1 / MAX_SHARE - 1)
        return pixels
