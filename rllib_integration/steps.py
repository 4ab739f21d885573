"""Counts environment steps of the whole run from inside one env runner.

The driver's count reaches the runners only between their samplings. In between, each step of this runner counts as one
step of every runner, as RLlib's own counts do. So frames, step-level metrics and iterations share one axis: they agree
at each iteration if sampling and learning take turns, and approximately otherwise. Called by `runner`.
"""

from __future__ import annotations

from typing import Any


class StepCount:
    """Environment steps sampled in this run until now.

    Attributes:
        own: steps of this runner's envs since the driver's newest count; the runner adds each step.

    Args:
        num_runners: how many env runners sample for training.
        is_evaluation: the runner's steps are not training, so the count changes only with the driver's counts.
    """

    def __init__(self, num_runners: int, *, is_evaluation: bool = False) -> None:
        self._stands_for = 0 if is_evaluation else max(1, num_runners)
        self._base = 0
        self.own = 0
        self._highest = 0

    def sync(self, env_runner: Any) -> None:
        """Store the driver's newest count, if there is one."""
        base = _lifetime(env_runner)
        if base != self._base:
            if base < self._base:  # restored from an earlier checkpoint: the count of the run decreased
                self._highest = base
            self._base, self.own = base, 0

    @property
    def now(self) -> int:
        """The count; it never falls while the driver's does not."""
        self._highest = max(self._highest, self._base + self.own * self._stands_for)
        return self._highest


def _lifetime(env_runner: Any) -> int:
    count = getattr(env_runner, "num_env_steps_sampled_lifetime", None)
    if count is None:  # the old API stack
        count = env_runner.global_vars.get("timestep", 0)
    return int(count)
