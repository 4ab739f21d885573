"""The queue of logged fields: an inbox without a lock, and a queue that is bounded by the number of values in it.

A training thread appends to the inbox, which is one operation that needs no lock, so `log` never waits. The sender
moves the inbox to the queue at least once a second and bounds the queue. While the sender waits for a server that does
not answer, training threads move a few entries per call, so the bound holds meanwhile.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hud_publisher.intake.items import Fields, FieldsStream

if TYPE_CHECKING:
    from hud_publisher.intake.report import Counters

#: Unix time in ns, step, fields, and how many values the fields hold (0: as many as there are fields).
Offered = tuple[int, int | None, dict[Any, Any], int]

#: From MAX_INBOX entries on, training threads help to empty an inbox; from WIDE values of one entry on, they help at
#: once. Together they bound an inbox to about 200,000 values, 16 MB, while the sender waits.
MAX_INBOX = 1_000
WIDE = 200
#: Threads hold the lock for microseconds. After this time, in seconds, the thread that took it will not release it.
STUCK_S = 1.0
#: Values that an entry may reach by inheriting; more values come from names that change with every step. With names of
#: 40 bytes this is below the protocol's limit on an entry.
MAX_INHERITED = 8_000


class Inbox(deque[Offered]):
    """The entries that training threads logged and the sender has not read yet, oldest first.

    Attributes:
        alert_above: a caller whose entry makes the inbox longer than this calls `Intake.attend`, because the inbox is
            too full or because the sender asked to be woken. It is here so that `log` looks at one object only.
    """

    __slots__ = ("alert_above",)

    def __init__(self) -> None:
        super().__init__()
        self.alert_above = MAX_INBOX


class FieldsQueue:
    """Entries of one stream. The lock guards `waiting`; training threads only try to take it.

    Args:
        stream: of the entries.
        max_values: how many values `waiting` may hold; beyond it the oldest entries are dropped.
        counters: of the sender.
    """

    def __init__(self, stream: FieldsStream, max_values: int, counters: Counters) -> None:
        self.inbox = Inbox()
        self.waiting: deque[Fields] = deque()
        self._stream, self._max_values, self._counters = stream, max_values, counters
        self._max_inherited = min(MAX_INHERITED, max(500, max_values // 20))
        self._weight = 0
        self._lock = threading.Lock()

    def collect(self, yield_gil: Callable[[], None]) -> None:
        """Move the inbox to the queue and bound the queue. Called by the sender."""
        for _ in range(len(self.inbox)):  # entries logged meanwhile are moved the next time
            yield_gil()
            self._acquire()
            self._move(1)

    def relieve(self, weight: int) -> None:
        """Move more entries to the queue than calls of `weight` values add, unless another thread does so now."""
        if self._lock.acquire(blocking=False):
            self._move(8 + weight // 25)

    def take(self) -> Fields | None:
        """Remove and return the oldest entry of the queue. Called by the sender."""
        self._acquire()
        try:
            if not self.waiting:
                return None
            item = self.waiting.popleft()
            self._weight -= item.weight
            return item
        finally:
            self._lock.release()

    def _acquire(self) -> None:
        """Take the lock; replace it if an interrupt kept a training thread from releasing it."""
        if not self._lock.acquire(timeout=STUCK_S):
            self._lock = threading.Lock()
            self._lock.acquire()

    def _move(self, count: int) -> None:
        """Move up to `count` entries from the inbox to the queue, bound the queue, and release the lock."""
        lock = self._lock
        try:
            for _ in range(count):
                try:
                    time_ns, step, data, weight = self.inbox.popleft()
                except IndexError:  # another thread was faster
                    return
                weight = weight or len(data)
                self.waiting.append(Fields(data, time_ns // 1_000_000, step, self._stream, weight))
                self._counters.taken[self._stream] += 1
                self._weight += weight
                while self._weight > self._max_values and len(self.waiting) > 1:
                    self._drop_oldest()
        finally:
            lock.release()

    def _drop_oldest(self) -> None:
        """Drop the oldest entry. The next entry inherits its fields, so a field that was logged once survives."""
        oldest = self.waiting.popleft()
        self._counters.drop(self._stream, "overflow")
        self._weight -= oldest.weight
        if self._stream == "metrics":
            heir = self.waiting[0]
            self._weight -= heir.weight
            inherit(oldest, heir, self._max_inherited)
            self._weight += heir.weight

    def __len__(self) -> int:
        return len(self.inbox) + len(self.waiting)


def inherit(oldest: Fields, heir: Fields, most: int) -> None:
    """Give `heir` the fields of `oldest` that it lacks, unless both hold more than `most` values together.

    The older entry is the base, so the cost depends on the newer one alone, even after many inherited fields.
    """
    each = max(1, heir.weight // max(1, len(heir.data)))
    try:
        weight = oldest.weight + each * _merge(oldest.data, heir.data)
    except Exception:  # the hash of a foreign object may raise anything
        return
    if weight <= max(most, heir.weight):
        heir.data, heir.weight = oldest.data, weight


def _merge(base: dict[Any, Any], newer: dict[Any, Any]) -> int:
    """Write newer fields over older ones; an absent value never replaces a real one. Return how many names were new."""
    added = 0
    for name, value in newer.items():
        if name not in base:
            added += 1
            base[name] = value
        elif type(value) is dict and type(base[name]) is dict:
            added += _merge(base[name], value)
        elif value is not None and not (isinstance(value, float) and not math.isfinite(value)):
            base[name] = value
    return added
