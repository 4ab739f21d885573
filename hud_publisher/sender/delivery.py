"""Sends one batch at a time until it is settled: acknowledged, or given up for a counted reason.

A batch is frozen once it has a number. After a call without an answer the same batch is sent again under the same
number, so it is stored once. A batch that is too large is halved. A batch whose content is rejected is dropped. If
Redis is full, the pictures are dropped and the metrics wait. If heartbeats succeed and the batch always fails, the
network is too slow for it, and it is halved too. Called by sender.loop, which does all the waiting.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from hud_publisher.once import LogOnce
from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.entries import MetricsEntry, entry_bytes
from hud_publisher.protocol.errors import (
    HudError,
    SessionNotActiveError,
    StorageFullError,
    TooLargeError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
)

if TYPE_CHECKING:
    from hud_publisher.intake.intake import Intake
    from hud_publisher.intake.items import Item
    from hud_publisher.intake.report import Cause
    from hud_publisher.protocol.batch import Published
    from hud_publisher.protocol.entries import Entry
    from hud_publisher.protocol.keys import SessionId
    from hud_publisher.sender.pauses import GilYield
    from hud_publisher.sender.session import Session
    from hud_publisher.sinks.sink import Sink

#: Pictures per call, so that a call does not keep Redis busy for milliseconds.
BATCH_PICTURES = 8
#: Bytes per call, unless one entry alone has more: well below the web tier's limit on bodies.
BATCH_BYTES = 4 * 1024 * 1024
#: After this many failures of one batch, test whether a heartbeat succeeds.
PROBE_AFTER = 3
#: Wait before the next attempt to write metrics to a full Redis.
FULL_WAIT_S = 2.0


class Delivery:
    """Delivers the batches of one writer.

    Args:
        intake: the queued items.
        sink: the target.
        session: registered at the sink.
        compose: makes entries of items.
        writer: the writer's name.
        yield_gil: called between two pieces of work.
        draw: a random number from 0 to 1.
    """

    def __init__(
        self,
        intake: Intake,
        sink: Sink,
        session: Session,
        compose: Callable[[list[Item]], tuple[Entry, ...]],
        writer: str,
        yield_gil: GilYield,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._intake, self._sink, self._session, self._compose = intake, sink, session, compose
        self._writer, self._yield_gil, self._draw = writer, yield_gil, draw
        self._counters = intake.counters
        self._number = 0
        #: The batch that is not acknowledged yet.
        self.inflight: Batch | None = None
        # The second half of a batch that was halved although it may have been stored.
        self._other_half: tuple[Entry, ...] = ()
        self._ready: tuple[Entry, ...] = ()
        self._composing: list[Item] = []
        # How often the batch in flight failed, and whether a heartbeat succeeded since the last failure.
        self._failures, self._is_probed = 0, False
        self._is_retry = False
        self._log_once = LogOnce()

    @property
    def is_idle(self) -> bool:
        """Whether everything that was taken from the intake is settled."""
        return self.inflight is None and not self._ready

    def load(self, max_values: int) -> bool:
        """Make the next batch if none is in flight; return whether one is in flight now."""
        if self.inflight is None:
            if not self._ready:
                self._composing = self._intake.take_batch(max_values, BATCH_PICTURES, self._yield_gil)
                self._ready = self._compose(self._composing)
                self._composing = []
            self.inflight = self._next_batch()
        return self.inflight is not None

    def send(self, session_id: SessionId) -> float:
        """Send the batch in flight, or a heartbeat as a test; return how long to wait before the next call."""
        if self.inflight is None or (self._failures >= PROBE_AFTER and not self._is_probed):
            return self.heartbeat(session_id)
        if self._is_retry:
            self._counters.events["retries"] += 1
        self._is_retry = True
        return self._publish(session_id, self.inflight)

    def heartbeat(self, session_id: SessionId) -> float:
        """Keep the session and read the viewers' count; return how long to wait before the next call."""
        return self._publish(session_id, Batch(self._writer, claim=self._intake.claim, is_main=self._session.is_main))

    def survive(self, error: Exception) -> None:
        """Handle a bug in HUD or in a library: drop the affected entries and log it once."""
        if self.inflight is not None:
            self._give_up(self.inflight, "rejected")
        self._drop(self._composing, "unusable")
        self._composing = []
        self._log_once(type(error).__name__, "HUD: an unexpected error, training goes on: %r", error, error=error)

    def abandon(self) -> None:
        """The publisher closes: count the unsettled entries as dropped."""
        if self.inflight is not None:
            self._give_up(self.inflight, "closed")
        self._drop(self._ready, "closed")
        self._ready = ()

    def _next_batch(self) -> Batch | None:
        if not self._ready:
            return None
        count, size = 1, _about_bytes(self._ready[0])
        for entry in self._ready[1:]:
            size += _about_bytes(entry)
            if size > BATCH_BYTES:
                break
            count += 1
        entries, self._ready = self._ready[:count], self._ready[count:]
        self._number += 1
        self._is_retry = False
        return Batch(self._writer, self._number, entries, self._intake.claim, self._session.is_main)

    def _publish(self, session_id: SessionId, batch: Batch) -> float:
        self._yield_gil()
        try:
            reply = self._sink.publish(session_id, batch)
        except SessionNotActiveError:
            return self._session.lose()
        except StorageFullError as error:
            return self._make_room(batch, error)
        except (UnavailableError, TooManyRequestsError, UnauthorizedError) as error:
            self._counters.events["failures"] += 1
            if batch.number and type(error) is UnavailableError:
                self._note_failure(batch)
            return self._session.wait_after(error)
        except TooLargeError as error:
            self._halve(batch, "TooLargeError", f"HUD: an entry was refused and left out: {error}")
        except HudError as error:
            self._give_up(batch, "rejected")
            self._log_once(type(error).__name__, "HUD: a batch was refused and left out: %s", error)
        else:
            self._acknowledge(batch, reply)
        return 0.0

    def _acknowledge(self, batch: Batch, reply: Published) -> None:
        counters = self._counters
        counters.events["batches"] += 1
        counters.events["duplicates"] += reply.is_duplicate
        claim = batch.claim
        is_other_shown = claim is not None and reply.shown not in (None, claim.env) and not reply.is_duplicate
        for entry in batch.entries:
            if entry.stream in ("frames", "mind") and is_other_shown:
                counters.drop(entry.stream, "replaced")
            else:
                counters.sent[entry.stream] += 1
        if not batch.number:
            self._is_probed = self.inflight is not None
        elif self._other_half and reply.is_duplicate:
            # The whole batch had been stored before it was halved.
            for entry in self._other_half:
                counters.sent[entry.stream] += 1
            self._other_half = ()
            self._settle()
        else:
            self._settle()
        self._session.acknowledge(reply, is_heartbeat=not batch.entries)

    def _settle(self) -> None:
        """Finish the batch in flight; the other half of a halved batch comes next."""
        self._ready = self._other_half + self._ready
        self.inflight, self._other_half = None, ()
        self._failures, self._is_probed = 0, False

    def _note_failure(self, batch: Batch) -> None:
        """Count a call without an answer. If heartbeats succeed, the network is too slow for this batch: halve it."""
        self._failures += 1
        if self._is_probed:
            self._is_probed = False
            text = "HUD: an entry was left out: the network takes longer for it than the time-out"
            self._halve(batch, "slow", text, may_be_stored=True)

    def _halve(self, batch: Batch, cause: str, text: str, *, may_be_stored: bool = False) -> None:
        """Halve a batch that is too large; drop a single entry that is too large, and log the text once per cause."""
        half = len(batch.entries) // 2
        if not half:
            self._give_up(batch, "too large")
            self._log_once(cause, text)
            return
        self.inflight = dataclasses.replace(batch, entries=batch.entries[:half])
        self._other_half = batch.entries[half:] + self._other_half
        # If it was stored, the first half counts as a duplicate, which settles the second half too.
        if not may_be_stored:  # the number is free, and the second half becomes a batch like any other
            self._ready, self._other_half = self._other_half + self._ready, ()
            self._is_retry = False

    def _make_room(self, batch: Batch, error: StorageFullError) -> float:
        """Redis is full: drop the pictures and keep the metrics until there is room."""
        self._session.warn("full", str(error))
        metrics = tuple(entry for entry in batch.entries if isinstance(entry, MetricsEntry))
        if len(metrics) < len(batch.entries):
            self._drop([entry for entry in batch.entries if not isinstance(entry, MetricsEntry)], "full")
            self._is_retry = False  # nothing was stored, so the number is free
            if metrics:
                self.inflight = dataclasses.replace(batch, entries=metrics)
                return 0.0
            self._settle()
        return FULL_WAIT_S * (0.5 + self._draw())

    def _give_up(self, batch: Batch, cause: Cause) -> None:
        self._drop(batch.entries, cause)
        if batch.number:
            self._settle()

    def _drop(self, entries: Iterable[Entry | Item], cause: Cause) -> None:
        for entry in entries:
            self._counters.drop(entry.stream, cause)


def _about_bytes(entry: Entry) -> int:
    """About the size of an entry on the wire; an estimate for metrics, since a batch that is too large is halved."""
    return 64 + 64 * len(entry.data) if isinstance(entry, MetricsEntry) else entry_bytes(entry)
