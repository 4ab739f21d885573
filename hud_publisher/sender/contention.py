"""`Contention`: how long a refused run waits for the channel that another run holds.

The holder may have been killed a moment ago, and this run may be its restart, which shall have the display. A live
holder shows itself within a second, because the main process of a run writes at least that often. A killed holder's
lease only runs out. Called by sender.session.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hud_publisher.protocol.errors import Holder

#: Between two attempts while the holder is likely to show itself, and for how long that is, in seconds.
QUICK_S = 0.25
QUICK_FOR_S = 3.0
#: After that the pauses grow to this. An attempt follows the end of the lease in any case.
SLOWEST_S = 5.0
#: Env runners live on for seconds after their driver was killed, and renew the lease. A run that is renewed for longer
#: after its main process fell silent lives without it.
ORPHANED_S = 10.0
#: Rounding of the replies, to ms; a server of an earlier version rounds the lease up to seconds.
ROUNDING_S, COARSE_S = 0.005, 1.1
#: A publisher of this process that is used within this time of the wait is in use.
NEIGHBOUR_S = 1.5
#: Until a lease that has run out was asked for.
AFTER_LEASE_S = 0.05
#: Slack of the last attempt.
LAST_S = 1.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """One refusal: when the reply came, the rest of the lease, the silence of the holder's main process, in seconds."""

    at: float
    left_s: float
    silent_s: float | None


class Contention:
    """The wait of one run for one held channel.

    Args:
        ttl_s: the longest wait after the last renewal, in seconds: this run's own lease.
        draw: a random number from 0 to 1.

    Attributes:
        holder: the run that holds the channel.
        is_over: the holder lives, or the wait was long enough: this run need not wait any longer.
        is_long: the holder did not show itself in the time that a live one needs.
    """

    def __init__(self, ttl_s: float, draw: Callable[[], float] = random.random) -> None:
        self._ttl_s, self._draw = ttl_s, draw
        self._first: _Seen | None = None
        self._last: _Seen | None = None
        self._until = float("inf")
        self._pause_s = QUICK_S
        self.holder: Holder | None = None
        self.is_over = self.is_long = False

    def refuse(self, holder: Holder, sent_at: float, now: float) -> float:
        """Note a refusal; return how many seconds to wait before the next attempt.

        Args:
            holder: the run that holds the channel.
            sent_at: when the request was sent, on a monotonic clock: the reply tells the state at a later moment.
            now: when its reply came.
        """
        silent_s = None if holder.silent_ms is None else holder.silent_ms / 1000
        seen = _Seen(now, holder.retry_after_ms / 1000, silent_s)
        if self._first is None or self._last is None or self.holder is None:
            self._first = seen
            self._until = now + self._ttl_s + LAST_S
        elif holder.sid != self.holder.sid:
            self.is_over = True  # another run was faster
        else:
            self._judge(self._first, self._last, seen, sent_at)
        self.holder, self._last = holder, seen
        self.is_over |= now >= self._until
        self.is_long = now - self._first.at > QUICK_FOR_S
        if self.is_long:
            self._pause_s = min(SLOWEST_S, self._pause_s * 1.5)
        pause_s = self._pause_s * (0.9 + 0.2 * self._draw())
        return max(AFTER_LEASE_S, min(pause_s, seen.left_s + AFTER_LEASE_S, self._until - now))

    def ask_neighbour(self, *, is_used: bool, now: float) -> None:
        """Note that a publisher of this process holds the channel: it yields if it is forgotten, else it is in use."""
        assert self._first is not None
        self.is_over = now >= self._until or (is_used and now - self._first.at > NEIGHBOUR_S)

    def _judge(self, first: _Seen, last: _Seen, seen: _Seen, sent_at: float) -> None:
        """Compare with a dead holder: as much less of its lease as time has passed at least."""
        if seen.silent_s is None:
            self.is_over |= seen.left_s > first.left_s - (sent_at - first.at) + COARSE_S
            return
        is_renewed = seen.left_s > last.left_s - (sent_at - last.at) + ROUNDING_S
        if last.silent_s is None or seen.silent_s < last.silent_s + (sent_at - last.at) - ROUNDING_S:
            self.is_over = True
        elif is_renewed:
            self.is_over |= seen.silent_s > ORPHANED_S
            self._until = max(self._until, seen.at + self._ttl_s + LAST_S)
