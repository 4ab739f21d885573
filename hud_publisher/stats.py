"""What the publisher has done, as numbers: taken, sent, still waiting, dropped and why.

`Counters` is written by the training threads (under the outbox's lock) and by the publisher's thread, never the same
name by both; `Stats` is the frozen view that users read. For each stream
`taken == sent + pending + the drops of that stream`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hud_publisher.protocol.entries import StreamName

#: overflow: the outbox was full; replaced: a newer picture of the same env came first; unusable: it cannot be shown;
#: too large: over a limit of the protocol; full: Redis had no room; rejected: refused for its content; closed: the
#: publisher closed before it could be sent.
Cause = Literal["overflow", "replaced", "unusable", "too large", "full", "rejected", "closed"]


@dataclass(frozen=True, slots=True)
class Stats:
    """Counters since this process began to publish.

    Attributes:
        taken: entries accepted, by stream (metrics, iterations, frames, thumbs, vision).
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


#: Names of unusable fields that are kept; a program that makes up names must not fill the memory.
MAX_UNUSABLE_NAMES = 100


@dataclass(slots=True)
class Counters:
    """The numbers behind Stats, while they grow."""

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

    def note_unusable(self, name: str) -> bool:
        """Count a field or picture that cannot be shown; return whether this is the first of its name."""
        if name not in self.unusable and len(self.unusable) >= MAX_UNUSABLE_NAMES:
            name = "…"
        self.unusable[name] += 1
        return self.unusable[name] == 1

    def freeze(self, pending: Mapping[StreamName, int]) -> Stats:
        """Return the numbers as they are now."""
        return Stats(
            dict(self.taken), dict(self.sent), dict(pending), dict(self.dropped), dict(self.unusable), self.batches,
            self.retries, self.duplicates, self.failures, self.registrations, self.refusals, self.losses,
        )  # fmt: skip
