"""The newest log lines of the program, which wait here for the sender: a ring, sent at a bounded rate.

Training threads offer, the sender takes; neither waits. Called by `Intake`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from hud_publisher.intake.allowance import Allowance
from hud_publisher.intake.items import Fields

#: Lines that are kept while more are logged than are sent.
MAX_LINES = 200
#: Lines that may be sent at once, and the time in which one more is allowed, in seconds: 20 per second.
AT_ONCE = 50
PERIOD_S = 0.05


class LogLines:
    """The lines of one publisher that are not sent yet."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._waiting: deque[tuple[int, dict[str, Any]]] = deque(maxlen=MAX_LINES)
        self._allowance = Allowance(AT_ONCE, PERIOD_S, clock)
        self._offered = self._taken = 0

    def offer(self, time_ms: int, line: dict[str, Any]) -> None:
        """Append a line; the oldest one is dropped if there is no room."""
        self._offered += 1
        self._waiting.append((time_ms, line))

    def take(self, *, is_closing: bool) -> list[Fields]:
        """Remove and return the lines that may be sent now, all of them if the publisher closes.

        A line after dropped ones has their number in `left_out`.
        """
        taken: list[Fields] = []
        while self._waiting and (is_closing or self._allowance.take()):
            time_ms, line = self._waiting.popleft()
            self._taken += 1
            left_out = self._offered - self._taken - len(self._waiting)
            if left_out > 0:
                self._taken += left_out
                line = {**line, "left_out": left_out}
            taken.append(Fields(line, time_ms, None, "reports", len(line)))
        return taken

    def __len__(self) -> int:
        return len(self._waiting)
