"""The sender's answers to training: the newest `Report`, and the counts behind the public `Stats`.

The sender's thread alone writes the report: it replaces the whole object in one assignment, so a reader needs no lock.
There are two `Counters`, one for the training threads and one for the sender's, for the same reason. Training threads
count the entries that are refused or replaced before the sender reads them. For each stream
`taken == sent + pending + the drops of that stream`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from hud_publisher.once import LogOnce
from hud_publisher.protocol.batch import Published
from hud_publisher.protocol.entries import STREAMS
from hud_publisher.protocol.foreign import Unreadable
from hud_publisher.protocol.names import text_of

if TYPE_CHECKING:
    from hud_publisher.intake.items import PacedStream
    from hud_publisher.protocol.batch import Registered
    from hud_publisher.protocol.entries import StreamName

#: disabled: no REDIS_URL and no HUD_URL; connecting: no answer yet, or none at present; registered, joined: the session
#: is ours; refused: another run holds the channel; lost: the session ended and the sender will register again; closed.
Status = Literal["disabled", "connecting", "registered", "joined", "refused", "lost", "closed"]
#: overflow: the queue was full; replaced: a newer picture of the same env came first; unusable: it cannot be shown;
#: too large: over a limit of the protocol; full: Redis had no room; rejected: refused for its content; closed: the
#: publisher closed before it could be sent.
Cause = Literal["overflow", "replaced", "unusable", "too large", "full", "rejected", "closed"]

#: Names of unusable fields that are kept; a program that makes up names must not fill the memory.
MAX_UNUSABLE_NAMES = 100


@dataclass(frozen=True, slots=True)
class Report:
    """The state of the sender.

    Attributes:
        status: see Status.
        session: the session that this process writes under.
        channel: the channel of the newest session; None before the first.
        feedback: the newest reply of the server.
        feedback_at: when it came, on the monotonic clock.
        period_s: seconds between two pictures or views of an env, by stream; None: they are not wanted.
    """

    status: Status = "connecting"
    session: Registered | None = None
    channel: str | None = None
    feedback: Published = field(default_factory=Published)
    feedback_at: float = float("-inf")
    period_s: Mapping[PacedStream, float | None] = field(
        default_factory=lambda: {"frames": None, "thumbs": None, "mind": None}
    )


@dataclass(frozen=True, slots=True)
class Stats:
    """Counters since this process began to publish.

    Attributes:
        taken: entries offered, by stream (metrics, iterations, frames, thumbs, vision, mind, machine, reports).
        sent: entries acknowledged, by stream.
        pending: entries that are queued or in flight, by stream.
        dropped: entries given up, by `stream/cause`, such as `metrics/overflow` (see Cause).
        unusable: fields and pictures that could not be shown: name → number of times.
        batches: calls acknowledged, heartbeats among them.
        retries: batches sent again because it was unknown whether Redis had stored them.
        duplicates: of those, how many had been stored before.
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
    """The numbers behind Stats; `events` holds those from `batches` on.

    Training threads change only `dropped` and `unusable` of theirs: a dropped entry counts as taken at the same time.
    """

    taken: Counter[StreamName] = field(default_factory=Counter)
    sent: Counter[StreamName] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    unusable: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    _log_once: LogOnce = field(default_factory=LogOnce)

    def drop(self, stream: StreamName, cause: Cause, count: int = 1) -> None:
        """Count entries that were given up."""
        if count:
            self.dropped[f"{stream}/{cause}"] += count

    def dropped_of(self, stream: StreamName) -> int:
        """How many entries of a stream were given up."""
        return sum(count for name, count in list(self.dropped.items()) if name.startswith(f"{stream}/"))

    def cannot_show(self, name: str, value: object) -> None:
        """Count a field that cannot be shown, and name it once in the log."""
        what = value.reason if isinstance(value, Unreadable) else f"a value of type {type(value).__name__}"
        self._count_unusable(name, "HUD cannot show %r, %s: log a number, text, list or mapping", name, what)

    def no_picture(self, reason: str) -> None:
        """Count a vision call's picture that is replaced by the reason, and log the first reason."""
        self._count_unusable("vision picture", "HUD shows the reason in place of a vision call's picture: %s", reason)

    def leave_out(self, stream: StreamName, cause: Cause, error: Exception) -> None:
        """Count an entry that cannot be sent, and log the reason once for each stream."""
        self.drop(stream, cause)
        self._count_unusable(stream, "HUD left out an entry of %s: %s", stream, text_of(error))

    def _count_unusable(self, name: str, text: str, *args: object) -> None:
        if name not in self.unusable and len(self.unusable) >= MAX_UNUSABLE_NAMES:
            name = "…"
        self.unusable[name] += 1
        self._log_once(name, text, *args)


def make_stats(counters: Counters, early: Counters, offered: Mapping[StreamName, int]) -> Stats:
    """Return the current numbers.

    Args:
        counters: of the sender's thread.
        early: of the training threads.
        offered: queued entries that the sender has not read yet.
    """
    taken, pending = {}, {}
    for stream in STREAMS:
        theirs = early.dropped_of(stream)
        if count := counters.taken[stream] + theirs + offered[stream]:
            taken[stream] = count
            pending[stream] = count - counters.sent[stream] - counters.dropped_of(stream) - theirs
    return Stats(
        taken=taken,
        sent=dict(counters.sent),
        pending=pending,
        dropped=_sum(counters.dropped, early.dropped),
        unusable=_sum(counters.unusable, early.unusable),
        **counters.events,
    )


def _sum(*parts: Mapping[Any, int]) -> dict[Any, int]:
    """Add up counters while other threads may add names to them: each is copied first, in one atomic step."""
    total: dict[Any, int] = {}
    for part in parts:
        for name, count in dict(part).items():
            total[name] = total.get(name, 0) + count
    return total
