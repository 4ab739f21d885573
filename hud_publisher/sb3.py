"""`HudCallback`: a Stable-Baselines3 run, live, by one argument of `learn`.

    model.learn(1_000_000, callback=HudCallback(Publisher()))

Shows the first environment's frames and episodes, and everything that the model logs. Raises nothing of its own and
never ends a training. Imports Stable-Baselines3, so the package itself loads this module only when somebody asks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter

from hud_publisher.publisher import Publisher
from hud_publisher.render_budget import RenderBudget

logger = logging.getLogger("hud_publisher")

#: Between two entries of step-level fields.
METRICS_S = 0.05

#: What HUD calls the values that every algorithm has; the others keep the model's own names.
_NAMES = {
    "rollout/ep_rew_mean": "episode_return_mean",
    "rollout/ep_len_mean": "episode_len_mean",
    "train/policy_gradient_loss": "policy_loss",
    "train/actor_loss": "policy_loss",
    "train/value_loss": "vf_loss",
    "train/critic_loss": "qf_loss",
    "train/learning_rate": "learning_rate",
    "time/iterations": "iteration",
}


class HudCallback(BaseCallback):  # type: ignore[misc]
    """Publishes a model's training."""

    def __init__(self, hud: Publisher, *, env_index: int = 0) -> None:
        """Show `env_index` of the model's environments on `hud`; it stays open after the training."""
        super().__init__()
        self._hud = hud
        self._env_index = env_index
        self._metrics_at = 0.0
        self._budget = RenderBudget()
        self._episode, self._return, self._length = 1, 0.0, 0
        self._complained: set[str] = set()

    def _on_training_start(self) -> None:
        self._attempt(self._start)

    def _on_rollout_start(self) -> None:
        self._attempt(self._say_phase, "sampling")

    def _on_rollout_end(self) -> None:
        self._attempt(self._say_phase, "learning")

    def _on_step(self) -> bool:
        self._attempt(self._show_step)
        return True

    def _start(self) -> None:
        self._hud.start()
        self.logger.output_formats.append(_Writer(self._hud))

    def _say_phase(self, phase: str) -> None:
        self._hud.log({"phase": phase}, step=self.num_timesteps)

    def _show_step(self) -> None:
        at = self._env_index
        self._return += float(self.locals["rewards"][at])
        self._length += 1
        is_over = bool(self.locals["dones"][at])
        now = time.monotonic()
        self._show_picture()
        if now >= self._metrics_at or is_over:
            self._metrics_at = now + METRICS_S
            data: dict[str, Any] = {
                "episode": self._episode, "episode_reward": self._return, "episode_length": self._length,
                "global_step": self.num_timesteps,
            }  # fmt: skip
            if is_over:
                info = self.locals["infos"][at]
                # Monitor knows the return before any wrapper scaled the rewards.
                total = info["episode"]["r"] if "episode" in info else self._return
                is_cut = bool(info.get("TimeLimit.truncated"))
                data |= {"episode_return": total, "episode_end": "truncated" if is_cut else "terminated"}
            self._hud.log(data, step=self.num_timesteps)
        if is_over:
            self._episode, self._return, self._length = self._episode + 1, 0.0, 0

    def _show_picture(self) -> None:
        name = (0, self._env_index)
        if not self._budget.is_affordable() or not self._hud.wants_frame(name):
            return
        pixels = self._budget.render(lambda: self.training_env.env_method("render", indices=[self._env_index])[0])
        if pixels is None:
            self._complain('the environment gave no picture: create it with render_mode="rgb_array"')
            return
        self._hud.frame(pixels, step=self.num_timesteps, episode=self._episode, env=name)

    def _attempt(self, part: Callable[..., Any], *arguments: Any) -> None:
        try:
            part(*arguments)
        except Exception as error:  # other people's environments and models; none of it may end the training
            self._complain(f"a training could not be shown: {error!r}")

    def _complain(self, text: str) -> None:
        if text not in self._complained and len(self._complained) < 10:
            self._complained.add(text)
            logger.warning("HUD: %s", text)


class _Writer(KVWriter):  # type: ignore[misc]
    """One of the model's log outputs: whatever is dumped is one iteration."""

    def __init__(self, hud: Publisher) -> None:
        self._hud = hud

    def write(self, key_values: Mapping[str, Any], key_excluded: Mapping[str, Any], step: int = 0) -> None:
        """Publish what the model logged since the last time."""
        data: dict[str, Any] = {}
        for name, value in key_values.items():
            if isinstance(value, (int, float, str)) or hasattr(value, "item"):  # no figures, videos, histograms
                data[_NAMES.get(name, name)] = value
        if "train/entropy_loss" in data:
            data["entropy"] = -data["train/entropy_loss"]
        self._hud.log_iteration(data, step=step)

    def close(self) -> None:
        """Nothing to close: the publisher is the caller's."""
