"""`HudWrapper`: a Gymnasium environment, live, by wrapping it.

    env = HudWrapper(gymnasium.make("ALE/Breakout-v5", render_mode="rgb_array"), Publisher())

The environment behaves as it did without the wrapper, which raises no errors except ConfigError from the constructor.
This module imports gymnasium, so the package loads it only on request.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium

from hud_publisher.integrations.episode import Episode, is_true
from hud_publisher.integrations.rendering import RenderBudget, render
from hud_publisher.protocol.errors import ConfigError
from hud_publisher.publisher import Publisher
from hud_publisher.quiet import Quiet

#: Between two entries of step-level fields: a person can follow 20 per second at most.
METRICS_S = 0.05
#: Tells copies within this process from pickles that were sent to another; forks differ by the process id.
_PROCESS = secrets.token_hex(8)


class HudWrapper(gymnasium.Wrapper, gymnasium.utils.RecordConstructorArgs):  # type: ignore[misc]
    """Publishes frames, thumbnails and the running episode of one environment.

    A copy made by `copy.copy`, `copy.deepcopy`, or pickle within one process is silent, so that a tree search on copies
    shows only the real environment. A wrapper that is pickled to another process publishes from there. An environment
    made from `env.spec` is silent too.
    """

    def __init__(
        self,
        env: Any,
        hud: Publisher | None,
        *,
        worker_index: int = 0,
        env_index: int = 0,
        is_reporter: bool | None = None,
        step: Callable[[], int] | None = None,
        info_keys: Sequence[str] = (),
    ) -> None:
        """Wrap `env`.

        Args:
            env: one Gymnasium environment; without `render_mode="rgb_array"` only its numbers are shown.
            hud: the publisher; None: show nothing.
            worker_index: number of this process, if there are several.
            env_index: number of this environment in the process.
            is_reporter: whether to show frames and numbers, not only thumbnails; None: for environment 0 of process 0.
            step: returns the environment steps sampled in the run; None: count the steps of this environment.
            info_keys: fields of `info` to show.

        Raises:
            ConfigError: `env` is not one Gymnasium environment; the message names the class or call to use instead.
        """
        if not isinstance(env, gymnasium.Env):
            raise ConfigError(_advice(env))
        gymnasium.Wrapper.__init__(self, env)
        gymnasium.utils.RecordConstructorArgs.__init__(
            self, hud=None, worker_index=worker_index, env_index=env_index, is_reporter=is_reporter,
            info_keys=tuple(info_keys),
        )  # fmt: skip
        self._hud = hud
        self._name = (worker_index, env_index)
        self._is_reporter = self._name == (0, 0) if is_reporter is None else is_reporter
        self._ask_step = step
        self._info_keys = (info_keys,) if isinstance(info_keys, str) else tuple(info_keys)
        self._steps = 0
        self._episode = Episode()
        self._metrics_at = 0.0
        self._quiet = Quiet("hud_publisher")
        self._budget = RenderBudget(self._quiet)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_copied_in": (_PROCESS, os.getpid())}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        if self.__dict__.pop("_copied_in", None) == (_PROCESS, os.getpid()):
            self._hud = None

    def reset(
        self, *arguments: Any, seed: int | None = None, options: dict[str, Any] | None = None, **more: Any
    ) -> Any:
        """Reset the environment; a new episode begins."""
        given = {name: value for name, value in (("seed", seed), ("options", options)) if value is not None}
        result = self.env.reset(*arguments, **given, **more)
        self._episode.begin()
        self._quiet.attempt("showing a reset", self._show_picture)
        return result

    def step(self, action: Any) -> Any:
        """Make one step; it is shown when a frame or an entry is due."""
        result = self.env.step(action)
        if self._hud is not None:
            self._quiet.attempt("showing a step", self._show_step, action, *result[1:])
        return result

    def close(self) -> None:
        """Close the environment; the publisher stays open, since others may use it."""
        self.env.close()

    def _show_step(self, action: Any, reward: Any, terminated: Any, truncated: Any, info: Any) -> None:
        self._steps += 1
        if not self._episode.add(reward):
            kind = type(reward).__name__
            self._quiet.log_once(kind, "HUD: a reward of type %s is not one number: returns are not shown", kind)
        self._quiet.attempt("showing a picture", self._show_picture)
        if not self._is_reporter or self._hud is None:
            return
        ends_by_itself = is_true(terminated)
        is_over = ends_by_itself or is_true(truncated)
        now = time.monotonic()
        if now < self._metrics_at and not is_over:
            return
        self._metrics_at = now + METRICS_S
        step = self._now()
        data = {**self._episode.sums(), "global_step": step, "reward": reward, "action": action}
        if is_over:
            data |= {
                "episode_return": self._episode.total,
                "episode_end": "terminated" if ends_by_itself else "truncated",
            }
        for key in self._info_keys:
            self._quiet.attempt(f"info[{key!r}]", _take, info, key, data)
        self._hud.log(data, step=step)

    def _show_picture(self) -> None:
        hud = self._hud
        if hud is None or not self._budget.is_affordable():
            return
        wants_frame = self._is_reporter and hud.wants_frame(self._name)
        wants_thumbnail = hud.wants_thumbnail(self._name)
        if not wants_frame and not wants_thumbnail:
            return
        pixels = self._budget.spend(lambda: render(self.env))
        if (trouble := self._budget.new_trouble()) is not None and self._is_reporter:
            hud.log({"no_picture": trouble}, step=self._now())
        if pixels is None:
            return
        if wants_frame:
            hud.frame(pixels, step=self._now(), episode=self._episode.number, env=self._name)
        if wants_thumbnail:
            hud.thumbnail(pixels, step=self._now(), env=self._name)

    def _now(self) -> int | None:
        """The step for an entry, which goes without one if the caller's function raises."""
        return self._steps if self._ask_step is None else self._quiet.attempt("step()", self._ask_step)


def _take(info: Any, key: str, data: dict[str, Any]) -> None:
    if isinstance(info, Mapping) and key in info:
        data[key] = info[key]


def _advice(env: Any) -> str:
    """Name the way to show an environment that is not one of Gymnasium's."""
    found = f"HudWrapper: expected one gymnasium.Env, got {type(env).__module__}.{type(env).__name__}"
    packages = {kind.__module__.partition(".")[0] for kind in type(env).__mro__}
    if isinstance(env, gymnasium.vector.VectorEnv):
        return (
            f"{found}: wrap each environment inside it, gymnasium.vector.SyncVectorEnv([lambda i=i: HudWrapper("
            'gymnasium.make(…, render_mode="rgb_array"), hud, env_index=i) for i in range(n)])'
        )
    if "stable_baselines3" in packages:
        return f"{found}: pass hud_publisher.SB3HudCallback(hud) to model.learn(callback=…)"
    if "ray" in packages:
        return f"{found}: pass rllib_integration.HudCallbacks to config.callbacks(…)"
    if "pettingzoo" in packages or hasattr(env, "possible_agents"):
        return (
            f"{found}: under RLlib use rllib_integration.HudCallbacks with its PettingZooEnv or ParallelPettingZooEnv; "
            "in a loop of your own call hud.frame(env.render()) and hud.log({…}) after each step"
        )
    if isinstance(env, type) or (callable(env) and not hasattr(env, "step")):
        return f"{found}: make the environment first, HudWrapper(gymnasium.make(…), hud)"
    return (
        f"{found}: convert it (shimmy does so for gym, dm_env and others), or call hud.frame(…) and hud.log(…) yourself"
    )
