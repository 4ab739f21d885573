"""Logs each cause once, so that a fault that repeats does not fill the log of the training program.

Called by the publisher, by its sender and, through `quiet`, by the integrations.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

#: Causes that are told apart; further ones are likely to repeat the same trouble in other words.
MAX_CAUSES = 128


class LogOnce:
    """Logs a warning unless its cause was logged before; with `again_after_s`, unless that was more recent."""

    def __init__(
        self,
        again_after_s: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
        *,
        logger: str = "hud_publisher",
        level: int = logging.WARNING,
    ) -> None:
        self._again_after_s, self._clock = again_after_s, clock
        self._logger, self._level = logging.getLogger(logger), level
        self._logged_at: dict[str, float] = {}

    def __call__(self, cause: str, text: str, *args: object, error: BaseException | None = None) -> bool:
        """Return whether the warning was logged; `error` adds its traceback."""
        now = self._clock()
        if cause not in self._logged_at and len(self._logged_at) >= MAX_CAUSES:
            cause = "…"
        if cause in self._logged_at and now - self._logged_at[cause] < self._again_after_s:
            return False
        self._logged_at[cause] = now
        self._logger.log(self._level, text, *args, exc_info=error)
        return True


#: For causes that concern the whole process.
log_once = LogOnce()
