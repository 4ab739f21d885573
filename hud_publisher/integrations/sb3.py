"""`SB3HudCallback`: shows a Stable-Baselines3 run live, with one argument of `learn`.

    model.learn(1_000_000, callback=SB3HudCallback(Publisher()))

Shows the frames, episodes and views of the policy of one environment, and all values that the model logs. Never raises,
and never ends a training. This module imports Stable-Baselines3, so the package loads it only on request.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import Enum
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter
from stable_baselines3.common.vec_env import VecNormalize

from hud_publisher.intake.picture import picture_of
from hud_publisher.integrations.episode import Episode, is_true, number_of
from hud_publisher.integrations.rendering import (
    RenderBudget,
    explained,
    is_disturbing,
    mode_of,
    render,
    unchanged_randomness,
    why_not_called,
)
from hud_publisher.integrations.reward_parts import reward_parts_of
from hud_publisher.integrations.sb3_policy import view_of
from hud_publisher.integrations.time_share import TimeShare
from hud_publisher.protocol.errors import UnsupportedImageError
from hud_publisher.publisher import Publisher
from hud_publisher.quiet import Quiet

#: Between two entries of step-level fields.
METRICS_S = 0.05
#: Share of the time for views of the policy: at five per second each may take 1 ms.
VIEWS_SHARE = 0.005
#: After this time without a frame a view is sent without one.
MIND_ALONE_S = 0.25
#: Monitor rounds an episode's return to six places.
_ROUNDED = 1e-3

#: HUD's names of the values that every algorithm logs; the others keep the model's names.
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


#: Plain attributes of a model that change during the training, or are not about it.
_STATE = frozenset({
    "num_timesteps", "start_time", "n_updates", "ep_info_buffer", "ep_success_buffer", "verbose", "tensorboard_log",
    "lr_schedule", "exploration_rate", "env", "device", "policy_class", "policy", "policy_aliases",
})  # fmt: skip


class SB3HudCallback(BaseCallback):  # type: ignore[misc]
    """Publishes a model's training.

    `episode_reward` and `episode_return` are the environment's own rewards. If a wrapper scales them for the learner,
    the scaled ones are `reward_scaled` and `episode_reward_scaled`.
    """

    def __init__(self, hud: Publisher, *, env_index: int = 0) -> None:
        """Show `env_index` of the model's environments on `hud`, which stays open after the training."""
        super().__init__()
        self._hud = hud
        self._env_index = env_index
        self._metrics_at = 0.0
        self._quiet = Quiet("hud_publisher")
        self._budget = RenderBudget(self._quiet)
        self._views = TimeShare(VIEWS_SHARE, is_first_typical=False)
        self._framed_at = float("-inf")
        self._action_names: list[str] = []
        self._episode = Episode(1)
        self._scaled = Episode(1)
        self._is_scaled = False
        self._is_own_hidden = False
        self._normalizer: Any = None

    def _on_training_start(self) -> None:
        self._quiet.attempt("the start of a training", self._start)

    def _on_training_end(self) -> None:
        self._quiet.attempt("the end of a training", self._remove_writers)

    def _on_rollout_start(self) -> None:
        self._show_phase("sampling")

    def _on_rollout_end(self) -> None:
        self._show_phase("learning")

    def _on_step(self) -> bool:
        self._quiet.attempt("showing a step", self._show_step)
        return True

    def _start(self) -> None:
        self._quiet.attempt("the hyperparameters", self._configure)
        self._hud.start()
        count = self.training_env.num_envs
        if not 0 <= self._env_index < count:
            text = "HUD: env_index %d does not exist among %d environments: showing the last"
            self._quiet.log_once("env_index", text, self._env_index, count)
            self._env_index = count - 1
        if self.num_timesteps == 0 and self._episode.length:  # learn() began anew, and so did the environments
            self._episode.begin()
            self._scaled.begin()
        self._normalizer = next((one for one in _vec_levels(self.training_env) if isinstance(one, VecNormalize)), None)
        self._action_names = self._quiet.attempt("get_action_meanings()", self._find_action_names) or []
        self._remove_writers()  # an interrupted learn() left its writer
        self.logger.output_formats.append(_Writer(self._hud))

    def _configure(self) -> None:
        """Publish the hyperparameters: the model's own plain attributes, and its schedules at the start."""
        model = self.model
        values = {name: value for name, value in vars(model).items() if _is_option(name, value)}
        for name in ("lr_schedule", "clip_range", "clip_range_vf"):
            schedule = getattr(model, name, None)
            if callable(schedule):
                values["learning_rate" if name == "lr_schedule" else name] = schedule(1.0)
        values |= {"algorithm": type(model).__name__, "policy": type(model.policy).__name__}
        self._hud.configure(values)

    def _remove_writers(self) -> None:
        formats = self.logger.output_formats
        formats[:] = [one for one in formats if not (isinstance(one, _Writer) and one.hud is self._hud)]

    def _show_phase(self, phase: str) -> None:
        self._quiet.attempt("showing the phase", self._log, {"phase": phase})

    def _show_step(self) -> None:
        at = self._env_index
        given = self.locals["rewards"][at]
        reward = self._true_reward(given)
        self._scaled.add(given)
        if not self._episode.add(reward):
            kind = type(reward).__name__
            self._quiet.log_once(kind, "HUD: a reward of type %s is not one number: returns are not shown", kind)
        is_over = is_true(self.locals["dones"][at])
        now = time.monotonic()
        self._quiet.attempt("showing a picture", self._show_picture)
        if now >= self._metrics_at or is_over:
            self._metrics_at = now + METRICS_S
            data = {**self._episode.sums(), "global_step": self.num_timesteps, "reward": reward}
            if (actions := self.locals.get("actions")) is not None:
                data["action"] = actions[at]
            if self._is_own_hidden:  # Monitor, below the wrapper that scales, gives the own rewards at the end only
                data = {name: value for name, value in data.items() if name not in ("reward", "episode_reward")}
            if is_over:
                self._quiet.attempt("the end of an episode", self._add_end, data)
            if self._is_scaled:
                data |= {"reward_scaled": given, "episode_reward_scaled": self._scaled.total}
            self._quiet.attempt("showing the fields", self._log, data)
        if is_over:
            self._episode.begin()
            self._scaled.begin()

    def _log(self, data: dict[str, Any]) -> None:
        self._hud.log(data, step=self.num_timesteps)

    def _true_reward(self, given: Any) -> Any:
        """The environment's own reward; VecNormalize gives the learner a scaled one."""
        if self._normalizer is None or not self._normalizer.norm_reward:
            return given
        self._is_scaled = True
        own = self._quiet.attempt("get_original_reward()", self._normalizer.get_original_reward)
        return given if own is None else own[self._env_index]

    def _add_end(self, data: dict[str, Any]) -> None:
        data |= {"episode_return": self._episode.total, "episode_end": "terminated"}
        info = self.locals["infos"][self._env_index]
        if info.get("TimeLimit.truncated"):
            data["episode_end"] = "truncated"
        # Monitor adds up the rewards before any wrapper around it scales them.
        total = number_of(info["episode"]["r"]) if "episode" in info else None
        if total is None:
            return
        mine = self._episode.total
        is_whole = number_of(info["episode"].get("l")) == self._episode.length
        if is_whole and mine is not None:
            self._is_own_hidden = abs(mine - total) > _ROUNDED * max(1.0, abs(total))
            self._is_scaled |= self._is_own_hidden
        data |= {"episode_return": total, "episode_reward": total}

    def _show_picture(self) -> None:
        name = (0, self._env_index)
        has_frame = self._budget.is_affordable() and self._hud.wants_frame(name)
        is_alone = not has_frame and time.monotonic() > self._framed_at + MIND_ALONE_S
        mind = None
        if (has_frame or is_alone) and self._hud.wants_mind(name) and self._views.is_free():
            mind = self._quiet.attempt("the policy's view", self._view)
        pixels = self._budget.spend(self._render) if has_frame else None
        if (trouble := self._budget.new_trouble()) is not None:
            self._log({"no_picture": trouble})
        moment: dict[str, Any] = {"step": self.num_timesteps, "episode": self._episode.number, "env": name}
        if pixels is not None:
            self._framed_at = time.monotonic()
            self._hud.frame(pixels, mind=mind, **moment)
        elif mind is not None:
            self._hud.mind(**mind, **moment)

    def _view(self) -> dict[str, Any]:
        """Return the policy's view of the newest step, for `Publisher.mind`."""
        began_at = time.perf_counter()
        at = self._env_index
        parts = view_of(self.model, self.locals, at)
        parts["reward_parts"] = reward_parts_of(self.locals["infos"][at])
        if self._action_names:
            number = number_of(parts["action"])
            parts["action_names"] = self._action_names
            parts["action_name"] = None if number is None else self._action_names[int(number)]
        self._views.spend(began_at)
        return parts

    def _find_action_names(self) -> list[str]:
        """The names of the actions of an Atari game; none for most other environments."""
        envs = next((level.envs for level in _vec_levels(self.training_env) if hasattr(level, "envs")), None)
        one = None if envs is None else getattr(envs[self._env_index], "unwrapped", None)
        meanings = getattr(one, "get_action_meanings", None)
        return [str(name) for name in meanings()] if callable(meanings) else []

    def _render(self) -> Any:
        at = self._env_index
        for level in _vec_levels(self.training_env):
            if (envs := getattr(level, "envs", None)) is not None:
                return render(envs[at])
        mode = mode_of(self.training_env)
        if is_disturbing(mode):
            raise UnsupportedImageError(why_not_called(mode))
        with unchanged_randomness([]):
            shot = self.training_env.env_method("render", indices=[at])[0]
        return explained(mode, lambda: picture_of(shot))


def _is_option(name: str, value: Any) -> bool:
    """Whether an attribute of a model is a hyperparameter, not its state; Stable-Baselines3 keeps no list of them."""
    is_state = name.startswith("_") or name in _STATE
    return not is_state and (value is None or isinstance(value, (bool, int, float, str, dict, tuple, Enum)))


def _vec_levels(env: Any) -> list[Any]:
    """The vector environment, the one inside it, and so on."""
    levels = [env]
    while (env := levels[-1].__dict__.get("venv")) is not None:
        levels.append(env)
    return levels


class _Writer(KVWriter):  # type: ignore[misc]
    """One of the model's log outputs: each dump is one iteration."""

    def __init__(self, hud: Publisher) -> None:
        self.hud = hud

    def write(self, key_values: Mapping[str, Any], key_excluded: Mapping[str, Any], step: int = 0) -> None:
        """Publish the values that the model logged since the last dump."""
        data: dict[str, Any] = {}
        for name, value in key_values.items():
            if isinstance(value, (int, float, str)) or hasattr(value, "item"):  # no figures, videos, histograms
                data[_NAMES.get(name, name)] = value
        entropy_loss = number_of(data.get("train/entropy_loss"))
        if entropy_loss is not None:
            data["entropy"] = -entropy_loss
        self.hud.log_iteration(data, step=step)

    def close(self) -> None:
        """Nothing to close: the publisher is the caller's."""
