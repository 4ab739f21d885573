"""A batch, the entries that one writer sends at once, and the replies to a writer, by either way.

Called by the sender, which makes batches, and by the modules that encode them: `scripts` for Redis and `batch_body` for
HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hud_publisher.protocol.entries import Entry, EntryId
    from hud_publisher.protocol.keys import SessionId, Sid

MAX_BATCH_ENTRIES = 512
#: Live frames of one batch that viewers get: the newest ones.
FRAMES_TOGETHER = 4
#: Redis compares batch numbers as doubles.
MAX_NUMBER = 2**53 - 1
MAX_ENV_INDEX = 10**6


@dataclass(frozen=True, slots=True)
class Claim:
    """A request to be the reporter, the one env whose episode is shown.

    It is granted if no other env was reporter within the last 10 s, or if `is_preferred`; each granted claim renews it.
    Frames of a batch whose claim is not granted are dropped.

    Attributes:
        env: (worker index, env index).
        is_preferred: a viewer asked for this env, so it replaces any other.
    """

    env: tuple[int, int]
    is_preferred: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries that are stored together or not at all, in this order.

    Attributes:
        writer: name of the writing process, unique within the run.
        number: grows by one per batch of this writer, from 1; the same number is stored once. 0 for a heartbeat.
        entries: at most MAX_BATCH_ENTRIES.
        claim: set by a writer that is, or wants to be, the reporter.
        is_main: sent by the run's main process: its driver, or the process that began the session. Its batches show
            that the run lives, while env runners may live on for seconds after their driver was killed.
    """

    writer: str
    number: int = 0
    entries: tuple[Entry, ...] = ()
    claim: Claim | None = None
    is_main: bool = False


@dataclass(frozen=True, slots=True)
class Registered:
    """A session that this process may write under.

    Attributes:
        session_id: the secret.
        sid: the public name of the session, its fence.
        joined: whether another process of the same run had begun it.
        ttl_ms: how long it lasts without a write or heartbeat.
        page: address of the page that shows it, without a slash at its end; None if it is unknown.
    """

    session_id: SessionId
    sid: Sid
    joined: bool
    ttl_ms: int
    page: str | None = None

    @property
    def channel(self) -> str:
        """The channel that the session holds: the one that was asked for, or the run's own one beside it."""
        return self.session_id.rsplit(".", 2)[0]


@dataclass(frozen=True, slots=True)
class Reporter:
    """Which env a viewer asked to see."""

    worker_index: int
    env_index: int


@dataclass(frozen=True, slots=True)
class Published:
    """The reply to a batch, for the training side.

    Attributes:
        viewers: how many pages watch this channel, over all replicas.
        reporter: the wanted env, if a viewer asked for one.
        is_duplicate: the batch had been stored before, so it was not appended again.
        last_id: id of the batch's last entry; None if it had none or was a duplicate.
        shown: (worker index, env index) of the reporter, after this batch's claim.
        shown_age_ms: time since its last claim; None if there never was one.
    """

    viewers: int = 0
    reporter: Reporter | None = None
    is_duplicate: bool = False
    last_id: EntryId | None = None
    shown: tuple[int, int] | None = None
    shown_age_ms: int | None = None
