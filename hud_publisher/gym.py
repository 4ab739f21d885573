"""`HudWrapper`: any Gymnasium environment, live, by wrapping it.

    env = HudWrapper(gymnasium.make("ALE/Breakout-v5", render_mode="rgb_array"), Publisher())

Changes nothing that the environment returns and raises nothing of its own. Imports gymnasium, so the package itself
loads this module only when somebody asks for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium

from hud_publisher.publisher import Publisher
from hud_publisher.render_budget import RenderBudget

logger = logging.getLogger("hud_publisher")

#: Between two entries of step-level fields: 20 per second are as many as an eye can follow.
METRICS_S = 0.05


class HudWrapper(gymnasium.Wrapper):  # type: ignore[misc]
    """Publishes frames, thumbnails and the running episode of one environment."""

    def __init__(
        self,
        env: Any,
        hud: Publisher,
        *,
        worker_index: int = 0,
        env_index: int = 0,
        is_reporter: bool | None = None,
        step: Callable[[], int] | None = None,
        info_keys: Sequence[str] = (),
    ) -> None:
        """Wrap `env`.

        Args:
            env: made with `render_mode="rgb_array"`, else only its numbers are shown.
            hud: where to.
            worker_index: which process, where there are several.
            env_index: which environment of it.
            is_reporter: whether to show frames and numbers, not only thumbnails; None: for environment 0 of process 0.
            step: asked for the environment steps sampled so far in the run; without it this environment's own.
            info_keys: fields of `info` to show.
        """
        super().__init__(env)
        self._hud = hud
        self._name = (worker_index, env_index)
        self._is_reporter = self._name == (0, 0) if is_reporter is None else is_reporter
        self._ask_step = step
        self._info_keys = tuple(info_keys)
        self._steps = self._episode = self._length = 0
        self._return = 0.0
        self._metrics_at = 0.0
        self._budget = RenderBudget()
        self._complained: set[str] = set()

    def reset(self, **options: Any) -> Any:
        """Reset the environment; a new episode begins."""
        result = self.env.reset(**options)
        self._episode += 1
        self._return, self._length = 0.0, 0
        self._attempt(self._show_picture)
        return result

    def step(self, action: Any) -> Any:
        """Make one step; it is shown when a frame or an entry is due."""
        result = self.env.step(action)
        self._attempt(self._show_step, action, *result[1:])
        return result

    def close(self) -> None:
        """Close the environment; the publisher stays open, since others may use it."""
        self.env.close()

    def _show_step(self, action: Any, reward: Any, terminated: Any, truncated: Any, info: Any) -> None:
        self._steps += 1
        self._length += 1
        self._return += float(reward)
        self._show_picture()
        if not self._is_reporter:
            return
        is_over = bool(terminated or truncated)
        now = time.monotonic()
        if now < self._metrics_at and not is_over:
            return
        self._metrics_at = now + METRICS_S
        step = self._now()
        data: dict[str, Any] = {
            "episode": self._episode, "episode_reward": self._return, "episode_length": self._length,
            "global_step": step, "reward": reward, "action": action,
        }  # fmt: skip
        if is_over:
            data |= {"episode_return": self._return, "episode_end": "terminated" if terminated else "truncated"}
        if isinstance(info, Mapping):
            data |= {key: info[key] for key in self._info_keys if key in info}
        self._hud.log(data, step=step)

    def _show_picture(self) -> None:
        if not self._budget.is_affordable():
            return
        wants_frame = self._is_reporter and self._hud.wants_frame(self._name)
        wants_thumbnail = self._hud.wants_thumbnail(self._name)
        if not wants_frame and not wants_thumbnail:
            return
        pixels = self._budget.render(self.env.render)
        if pixels is None:
            self._complain('the environment gave no picture: create it with render_mode="rgb_array"')
            return
        if wants_frame:
            self._hud.frame(pixels, step=self._now(), episode=self._episode, env=self._name)
        if wants_thumbnail:
            self._hud.thumbnail(pixels, step=self._now(), env=self._name)

    def _now(self) -> int:
        return self._steps if self._ask_step is None else self._ask_step()

    def _attempt(self, part: Callable[..., None], *arguments: Any) -> None:
        try:
            part(*arguments)
        except Exception as error:  # rendering and `info` are other people's code; none of it may end the training
            self._complain(f"an environment could not be shown: {error!r}")

    def _complain(self, text: str) -> None:
        if text not in self._complained and len(self._complained) < 10:
            self._complained.add(text)
            logger.warning("HUD: %s", text)
