"""CartPole and Pendulum with pictures that numpy draws: those of Gymnasium need pygame."""

from __future__ import annotations

import time
from typing import Any

import numpy
from gymnasium import Env
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from gymnasium.wrappers import TimeLimit

HEIGHT, WIDTH = 60, 80


class _Slow(Env):  # type: ignore[misc]
    """The environment after it in a class's bases, with steps of `step_s` seconds."""

    def __init__(self, step_s: float) -> None:
        super().__init__(render_mode="rgb_array")
        self._step_s = step_s

    def step(self, action: Any) -> Any:
        time.sleep(self._step_s)
        return super().step(action)


class _Cart(_Slow, CartPoleEnv):  # type: ignore[misc]
    def render(self) -> Any:
        x, _, angle, _ = self.state
        return drawing(0.5 + x / 5, angle)


class Cart(TimeLimit):  # type: ignore[misc]
    """CartPole of at most `steps` steps; each takes `step_s` seconds."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        config = config or {}
        super().__init__(_Cart(config.get("step_s", 0.01)), config.get("steps", 200))


class _Swing(_Slow, PendulumEnv):  # type: ignore[misc]
    def render(self) -> Any:
        return drawing(0.5, self.state[0])


class Swing(TimeLimit):  # type: ignore[misc]
    """Pendulum of `steps` steps; each takes `step_s` seconds."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        config = config or {}
        super().__init__(_Swing(config.get("step_s", 0.01)), config.get("steps", 50))


def drawing(place: float, angle: float) -> numpy.ndarray:
    """A cart at `place` from 0 to 1, and its pole."""
    pixels = numpy.zeros((HEIGHT, WIDTH, 3), numpy.uint8)
    column = min(WIDTH - 6, max(5, round(place * WIDTH)))
    pixels[HEIGHT - 8 : HEIGHT - 3, column - 5 : column + 6] = (90, 140, 220)
    for length in range(40):
        row = round(HEIGHT - 8 - length * float(numpy.cos(angle)))
        at = round(column + length * float(numpy.sin(angle)))
        if 0 <= row < HEIGHT and 0 <= at < WIDTH - 1:
            pixels[row, at : at + 2] = (240, 200, 90)
    return pixels
