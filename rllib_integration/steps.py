"""Counts environment steps of the whole run from inside one env runner.

The driver's count reaches the runners between their samplings only, so in between each own step stands for one step of
every runner; this is how RLlib itself tells its modules the time. So frames, step-level metrics and iterations share
one axis: they meet exactly at each iteration of an algorithm that samples in turns, and nearly so for others. Called by
`runner`.
"""

from __future__ import annotations

from typing import Any


class StepCount:
    """Environment steps sampled so far in this run.

    Attributes:
        own: steps of this runner's envs since the driver's newest count; the runner adds each.

    Args:
        num_runners: how many env runners sample for training.
        is_evaluation: the runner's own steps are no training, so the count stands still between the driver's words.
    """

    def __init__(self, num_runners: int, *, is_evaluation: bool = False) -> None:
        self._stands_for = 0 if is_evaluation else max(1, num_runners)
        self._base = 0
        self.own = 0
        self._highest = 0

    def sync(self, env_runner: Any) -> None:
        """Take over the driver's newest count, if there is one."""
        base = _lifetime(env_runner)
        if base != self._base:
            if base < self._base:  # restored from an earlier checkpoint: the run really went back
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
