"""Passes a display on between the runs of one process, such as those of a notebook cell that runs again.

RLlib's users build the next algorithm while a variable still holds the previous one, so the new run finds the channel
held by its predecessor. Three rules, and none of them lets two runs take a display from each other repeatedly:

- A run whose algorithm is stopped or garbage-collected leaves at once, and the newest waiting run follows.
- A run that trains takes the display from older runs of the process that have not trained since it was built.
- Between runs that train in turn, the older one keeps the display.

Called by `driver`.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable

from hud_publisher import Publisher

logger = logging.getLogger("hud.rllib")

#: Orders all events of the runs of this process.
_moments = itertools.count(1)
#: Runs of this process that have not left yet, oldest first.
_claimants: list[Claimant] = []


class Claimant:
    """One run of this process that wants a display."""

    def __init__(self, publisher: Publisher, detach: Callable[[], None]) -> None:
        """Register the run, unless an older run of this process may still hold the display.

        Args:
            publisher: of the run's driver.
            detach: ends the publishing of the run's env runners, which would open the session again. It must not hold
                the algorithm.
        """
        self._publisher, self._detach = publisher, detach
        self._built = next(_moments)
        self._trained = 0
        _claimants.append(self)
        if not self._rivals():
            publisher.start()

    def train(self) -> bool:
        """Record a complete iteration. Returns whether the display was taken from a run that no longer trains."""
        self._trained = next(_moments)
        idle = [rival for rival in self._rivals() if rival._built < self._built and rival._trained < self._built]
        for rival in idle:
            rival._detach()
            rival.leave()
            logger.warning(
                "HUD: %s is shown on channel %s in place of %s, which has not trained since: give each run a channel "
                "of its own, HudCallbacks(channel=…), to see both",
                self._publisher.name, self._publisher.channel, rival._publisher.name,
            )  # fmt: skip
        self._publisher.start()
        return bool(idle)

    def leave(self, *, waits: bool = True) -> None:
        """End the run's session, unless another run of this process shares it; a second call does nothing.

        Args:
            waits: whether to wait until queued entries are sent, within CLOSE_S seconds.
        """
        if self not in _claimants:
            return
        _claimants.remove(self)
        shares = any(other._publisher.run_id == self._publisher.run_id for other in self._on_same_display())
        self._publisher.close(release=not shares, wait=waits)
        for newest in self._rivals()[-1:]:
            newest._publisher.start()

    def _on_same_display(self) -> list[Claimant]:
        mine = self._publisher.settings
        return [
            other
            for other in list(_claimants)
            if other is not self
            and other._publisher.channel == self._publisher.channel
            and (other._publisher.settings.redis_url, other._publisher.settings.hud_url)
            == (mine.redis_url, mine.hud_url)
        ]

    def _rivals(self) -> list[Claimant]:
        """Other runs of this process that want the same display for another session."""
        return [other for other in self._on_same_display() if other._publisher.run_id != self._publisher.run_id]
