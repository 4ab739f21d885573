"""What the publisher has done, as numbers: taken, sent, still waiting, dropped and why.

`Counters` grow in two places, each with a set of its own, so that no lock is needed: in the training threads, for what
is refused or replaced before the publisher's thread sees it, and in that thread. `Stats` is the frozen view of both
that users read. For each stream `taken == sent + pending + the drops of that stream`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hud_publisher.protocol.entries import STREAMS, StreamName

logger = logging.getLogger("hud_publisher")

#: overflow: the outbox was full; replaced: a newer picture of the same env came first; unusable: it cannot be shown;
#: too large: over a limit of the protocol; full: Redis had no room; rejected: refused for its content; closed: the
#: publisher closed before it could be sent.
Cause = Literal["overflow", "replaced", "unusable", "too large", "full", "rejected", "closed"]

#: Names of unusable fields that are kept; a program that makes up names must not fill the memory.
MAX_UNUSABLE_NAMES = 100


@dataclass(frozen=True, slots=True)
class Stats:
    """Counters since this process began to publish.

    Attributes:
        taken: entries offered, by stream (metrics, iterations, frames, thumbs, vision).
        sent: entries acknowledged, by stream.
        pending: entries that wait, or are on the way, by stream.
        dropped: entries given up, by `stream/cause`, such as `metrics/overflow` (causes: stats.Cause).
        unusable: fields and pictures that could not be shown, by name, with how often.
        batches: calls acknowledged, heartbeats among them.
        retries: batches sent again because it was unknown whether they had landed.
        duplicates: of those, how many had landed before.
        failures: calls that were not answered.
        registrations: sessions begun or joined.
        refusals: times that another run held the channel.
        losses: times that the session was lost.
    """

    taken: Mapping[StreamName, int] = field(default_factory=dict)
    sent: Mapping[StreamName, int] = field(default_factory=dict)
    pending: Mapping[StreamName, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    unusable: Mapping[str, int] = field(default_factory=dict)
    batches: int = 0
    retries: int = 0
    duplicates: int = 0
    failures: int = 0
    registrations: int = 0
    refusals: int = 0
    losses: int = 0

    @property
    def dropped_total(self) -> int:
        """Entries given up, over all streams and causes."""
        return sum(self.dropped.values())


@dataclass(slots=True)
class Counters:
    """The numbers behind Stats, while they grow.

    In the training threads' set only `dropped` and `unusable` grow: what they drop counts as taken there and then.
    """

    taken: Counter[StreamName] = field(default_factory=Counter)
    sent: Counter[StreamName] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    unusable: Counter[str] = field(default_factory=Counter)
    batches: int = 0
    retries: int = 0
    duplicates: int = 0
    failures: int = 0
    registrations: int = 0
    refusals: int = 0
    losses: int = 0

    def drop(self, stream: StreamName, cause: Cause, count: int = 1) -> None:
        """Count entries that were given up."""
        if count:
            self.dropped[f"{stream}/{cause}"] += count

    def dropped_of(self, stream: StreamName) -> int:
        """How many entries of a stream were given up."""
        return sum(count for name, count in list(self.dropped.items()) if name.startswith(f"{stream}/"))

    def settled(self, stream: StreamName) -> int:
        """How many entries of a stream were acknowledged or given up."""
        return self.sent[stream] + self.dropped_of(stream)

    def add(self, other: Counters) -> None:
        """Add what another set counted, but for what it took: that was taken from here."""
        self.sent.update(other.sent)
        self.dropped.update(other.dropped)
        self.unusable.update(other.unusable)
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def note_unusable(self, name: str) -> bool:
        """Count a field or picture that cannot be shown; return whether this is the first of its name."""
        if name not in self.unusable and len(self.unusable) >= MAX_UNUSABLE_NAMES:
            name = "…"
        self.unusable[name] += 1
        return self.unusable[name] == 1

    def cannot_show(self, name: str, value: object) -> None:
        """Count a field that cannot be shown, and name it once in the log."""
        if self.note_unusable(name):
            logger.warning(
                "HUD cannot show %r of type %s: log a number, text, list or mapping", name, type(value).__name__
            )

    def leave_out(self, stream: StreamName, cause: Cause, error: Exception) -> None:
        """Count an entry that cannot be sent, and say why once for each stream."""
        self.drop(stream, cause)
        if self.note_unusable(stream):
            logger.warning("HUD left out an entry of %s: %s", stream, error)


#: Those of Counters that are numbers.
_NUMBERS = ("batches", "retries", "duplicates", "failures", "registrations", "refusals", "losses")


def make_stats(
    counters: Counters, refusals: Counters, offered: Mapping[StreamName, int], remote: Counters | None = None
) -> Stats:
    """Return the numbers as they are now.

    Args:
        counters: of the publisher's thread.
        refusals: of the training threads.
        offered: entries that wait where the publisher's thread has not seen them yet.
        remote: of the helper's process; what it took stands in `counters` already.
    """
    remote = remote or Counters()
    taken, pending = {}, {}
    for stream in STREAMS:
        theirs = refusals.dropped_of(stream)
        if count := counters.taken[stream] + theirs + offered[stream]:
            taken[stream] = count
            pending[stream] = count - counters.settled(stream) - remote.settled(stream) - theirs
    return Stats(
        taken, _sum(counters.sent, remote.sent), pending, _sum(counters.dropped, refusals.dropped, remote.dropped),
        _sum(counters.unusable, refusals.unusable, remote.unusable),
        *(getattr(counters, name) + getattr(remote, name) for name in _NUMBERS),
    )  # fmt: skip


def _sum(*parts: Mapping[Any, int]) -> dict[Any, int]:
    """Add up counters that other threads may be adding names to: each is copied first, in one step."""
    total: dict[Any, int] = {}
    for part in parts:
        for name, count in dict(part).items():
            total[name] = total.get(name, 0) + count
    return total
