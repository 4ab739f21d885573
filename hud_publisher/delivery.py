"""One batch at a time on its way, until it is settled: acknowledged, or given up for a reason that is counted.

A batch is frozen once it has a number. After a call without an answer the same batch goes again under the same number,
so it lands once. Refused for its size it is halved; refused for its content it is left out; when Redis is full its
pictures go and its metrics wait. If heartbeats pass and a batch never does, the network is too slow for it, and it is
halved too. Called by hud_publisher.worker; knows nothing of time but how long to wait.
"""

from __future__ import annotations

import dataclasses
import logging
import random
from collections.abc import Callable

from hud_publisher.composer import Composer
from hud_publisher.link import Link
from hud_publisher.outbox import Item
from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.entries import Entry, MetricsEntry, entry_bytes
from hud_publisher.protocol.errors import (
    HudError,
    SessionNotActiveError,
    StorageFullError,
    TooLargeError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
)
from hud_publisher.protocol.replies import Published, Registered
from hud_publisher.session import Session
from hud_publisher.sink import Sink
from hud_publisher.stats import Cause

logger = logging.getLogger("hud_publisher")

#: Pictures per call, so that Redis is not held for milliseconds.
BATCH_PICTURES = 8
#: Bytes per call, unless one entry alone has more: well below the web tier's limit on bodies.
BATCH_BYTES = 4 * 1024 * 1024
#: After so many failures of one batch, see whether a heartbeat passes.
PROBE_AFTER = 3
#: Redis without room for metrics: look again after this long.
FULL_WAIT_S = 2.0


class Delivery:
    """The way of one writer's batches."""

    def __init__(
        self,
        link: Link,
        sink: Sink,
        session: Session,
        composer: Composer,
        writer: str,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._link, self._sink, self._session, self._composer = link, sink, session, composer
        self._writer, self._draw = writer, draw
        self._number = 0
        self._inflight: Batch | None = None
        # Of a batch that was halved without knowing whether it had landed.
        self._other_half: tuple[Entry, ...] = ()
        self._ready: tuple[Entry, ...] = ()
        self._composing: list[Item] = []
        # How often the batch on its way failed, and whether a heartbeat passed since the last time.
        self._failures, self._is_probed = 0, False
        self._is_retry = False
        self._reported: set[str] = set()
        # Gives what the batch on its way was answered.
        self._answer: Callable[[], Published] | None = None

    @property
    def inflight(self) -> Batch | None:
        """The batch that is not acknowledged yet."""
        return self._inflight

    @property
    def is_idle(self) -> bool:
        """Whether everything that was taken from the outbox is settled."""
        return self._inflight is None and not self._ready

    @property
    def is_awaited(self) -> bool:
        """Whether a batch was sent whose answer was not waited for."""
        return self._answer is not None

    def load(self, max_values: int) -> bool:
        """Make the next batch if none is on its way; return whether there is one now."""
        if self._inflight is None:
            if not self._ready:
                self._composing = self._link.outbox.take(max_values, BATCH_PICTURES)
                self._ready = self._composer.compose(self._composing)
                self._composing = []
            self._inflight = self._next_batch()
        return self._inflight is not None

    def send(self, registered: Registered, *, ahead: bool = False) -> float:
        """Send the batch on its way, or see whether a heartbeat passes; return how long to wait before the next.

        Args:
            registered: under which session.
            ahead: do not wait for the answer where the sink allows that; `receive` does.
        """
        if self._inflight is None or (self._failures >= PROBE_AFTER and not self._is_probed):
            return self.heartbeat(registered)
        if self._is_retry:
            self._link.counters.retries += 1
        self._is_retry = True
        return self._publish(registered, self._inflight, ahead=ahead)

    def receive(self) -> float:
        """Wait for the answer that was not waited for; return how long to wait before the next call."""
        answer, batch = self._answer, self._inflight
        self._answer = None
        return 0.0 if answer is None or batch is None else self._conclude(batch, answer)

    def heartbeat(self, registered: Registered) -> float:
        """Keep the session and learn who watches; return how long to wait before the next call."""
        return self._publish(registered, Batch(self._writer, claim=self._link.claim))

    def survive(self, error: Exception) -> None:
        """A defect of ours or of a library: leave out what it befell, say so once."""
        self._answer = None
        if self._inflight is not None:
            self._give_up(self._inflight, "rejected")
        for item in self._composing:
            self._link.counters.drop(item.stream, "unusable")
        self._composing = []
        self._report(type(error).__name__, f"an unexpected error, training goes on: {error!r}", error)

    def abandon(self) -> None:
        """The publisher closes: count what is not settled as dropped."""
        if self._inflight is not None:
            self._give_up(self._inflight, "closed")
        for entry in self._ready:
            self._link.counters.drop(entry.stream, "closed")
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
        return Batch(self._writer, self._number, entries, self._link.claim)

    def _publish(self, registered: Registered, batch: Batch, *, ahead: bool = False) -> float:
        self._link.breath()
        if ahead:
            self._answer = self._sink.send(registered.session_id, batch)
            if self._answer is not None:
                return 0.0
        return self._conclude(batch, lambda: self._sink.publish(registered.session_id, batch))

    def _conclude(self, batch: Batch, ask: Callable[[], Published]) -> float:
        try:
            reply = ask()
        except SessionNotActiveError:
            return self._session.lose()
        except StorageFullError as error:
            return self._make_room(batch, error)
        except (UnavailableError, TooManyRequestsError, UnauthorizedError) as error:
            self._link.counters.failures += 1
            if batch.number and type(error) is UnavailableError:
                self._note_failure(batch)
            return self._session.wait_after(error)
        except TooLargeError as error:
            self._halve(batch, error)
        except HudError as error:
            self._give_up(batch, "rejected")
            self._report(type(error).__name__, f"a batch was refused and left out: {error}")
        else:
            self._acknowledge(batch, reply)
        return 0.0

    def _acknowledge(self, batch: Batch, reply: Published) -> None:
        counters = self._link.counters
        counters.batches += 1
        counters.duplicates += reply.is_duplicate
        claim = batch.claim
        is_other_shown = claim is not None and reply.shown not in (None, claim.env) and not reply.is_duplicate
        for entry in batch.entries:
            if entry.stream == "frames" and is_other_shown:
                counters.drop("frames", "replaced")
            else:
                counters.sent[entry.stream] += 1
        if not batch.number:
            self._is_probed = self._inflight is not None
        elif self._other_half and reply.is_duplicate:
            # The whole batch had landed before it was halved.
            for entry in self._other_half:
                counters.sent[entry.stream] += 1
            self._other_half = ()
            self._settle()
        else:
            self._settle()
        self._link.hear(reply)
        self._session.heal(is_heartbeat=not batch.entries)

    def _settle(self) -> None:
        """The batch on its way is over; what was split off it comes next."""
        self._ready = self._other_half + self._ready
        self._inflight, self._other_half = None, ()
        self._failures, self._is_probed = 0, False

    def _note_failure(self, batch: Batch) -> None:
        """Nothing came back. If heartbeats pass and this batch does not, it is the batch: a network too slow for it."""
        self._failures += 1
        if not self._is_probed:
            return
        self._is_probed = False
        half = len(batch.entries) // 2
        if not half:
            self._give_up(batch, "too large")
            self._report("slow", "an entry was left out: the network takes longer for it than the time-out")
            return
        # It may have landed after all. Then its number makes the first half a repetition, which tells about the second.
        self._inflight = dataclasses.replace(batch, entries=batch.entries[:half])
        self._other_half = batch.entries[half:] + self._other_half

    def _halve(self, batch: Batch, error: TooLargeError) -> None:
        """Too large for the server or a proxy on the way: half of it may pass; one entry that does not is left out."""
        half = len(batch.entries) // 2
        if not half:
            self._give_up(batch, "too large")
            self._report("TooLargeError", f"an entry was refused and left out: {error}")
            return
        # Nothing of it landed, so the number is free, and the second half is a batch like any other.
        self._inflight = dataclasses.replace(batch, entries=batch.entries[:half])
        self._ready = batch.entries[half:] + self._other_half + self._ready
        self._other_half = ()
        self._is_retry = False

    def _make_room(self, batch: Batch, error: StorageFullError) -> float:
        """Redis is full: let the pictures go, keep the metrics for when there is room."""
        self._session.say("full", str(error))
        metrics = tuple(entry for entry in batch.entries if isinstance(entry, MetricsEntry))
        if len(metrics) == len(batch.entries):
            return FULL_WAIT_S * (0.5 + self._draw())
        for entry in batch.entries:
            if not isinstance(entry, MetricsEntry):
                self._link.counters.drop(entry.stream, "full")
        # Nothing of it landed, so the number is free.
        self._is_retry = False
        if metrics:
            self._inflight = dataclasses.replace(batch, entries=metrics)
            return 0.0
        self._settle()
        return FULL_WAIT_S * (0.5 + self._draw())

    def _give_up(self, batch: Batch, cause: Cause) -> None:
        for entry in batch.entries:
            self._link.counters.drop(entry.stream, cause)
        if batch.number:
            self._settle()

    def _report(self, cause: str, text: str, error: Exception | None = None) -> None:
        """Log a defect; once per cause and process, since nothing makes it go away."""
        if cause not in self._reported:
            self._reported.add(cause)
            logger.warning("HUD: %s", text, exc_info=error)


def _about_bytes(entry: Entry) -> int:
    """About how large an entry is on the wire; of metrics a guess, since a batch that is too large is halved anyway."""
    return 64 + 64 * len(entry.data) if isinstance(entry, MetricsEntry) else entry_bytes(entry)
