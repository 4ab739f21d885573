"""The publisher's thread: sends what waits, one batch at a time, whatever happens to the server.

A batch is frozen until it is acknowledged: after a call without an answer the same batch goes again under the same
number, so it lands once. While nothing is sent a heartbeat keeps the session and brings the viewers' count. `turn` does
one round and says how long to sleep; it knows no thread, so tests drive it by hand.
"""

from __future__ import annotations

import dataclasses
import logging
import random
import time
from collections.abc import Callable

from hud_publisher.backoff import Backoff
from hud_publisher.composer import Composer
from hud_publisher.link import Link
from hud_publisher.outbox import Item
from hud_publisher.pacer import SLOW_S
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

#: Metrics entries per call: Redis takes 124,000 of them per second, so a call holds it for half a millisecond; and the
#: interpreter lock for a few.
BATCH_FIELDS = 64
#: The same while closing, when nobody trains any more and time is short.
CLOSING_FIELDS = 256
#: Pictures per call, so that Redis is not held for milliseconds.
BATCH_PICTURES = 4
#: Bytes per call, unless one entry alone has more: well below the web tier's limit on bodies.
BATCH_BYTES = 4 * 1024 * 1024
#: How often the thread looks into the outbox while there is traffic and somebody watches: adds 5 ms on average to what
#: a viewer sees.
POLL_S = 0.01
#: The same with nobody watching.
SLOW_POLL_S = 0.04
#: Of one core, while more waits than one call takes: the interpreter is training's. A flood above what that lets pass
#: is thinned out in the outbox.
MAX_SHARE = 0.12
#: How often what was logged is bounded while nothing can be sent.
COLLECT_S = 1.0
#: How long after the last traffic it goes on looking before it asks to be rung for.
LINGER_S = 0.5
#: How old the viewers' count may be while somebody offers frames: they rise within a second of the first viewer.
FRAMES_REFRESH_S = 0.8
#: The same for thumbnails, and how often a claim is renewed; another env may take over after 10 s of silence.
CLAIM_REFRESH_S = 2.0
#: For how long a question whether a picture is due counts as interest.
INTEREST_S = 5.0
#: How often a thread without traffic looks whether somebody has begun to ask for pictures.
IDLE_S = 2.0
#: After so many failures of one batch, see whether a heartbeat passes.
PROBE_AFTER = 3
#: Redis without room for metrics: look again after this long.
FULL_WAIT_S = 2.0


class Worker:
    """One writer of a session."""

    def __init__(
        self,
        link: Link,
        sink: Sink,
        composer: Composer,
        *,
        writer: str,
        fast_period_s: float,
        is_watched_only: bool,
        takeover: bool = False,
        clock: Callable[[], float] = time.monotonic,
        work_clock: Callable[[], float] = time.thread_time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._link, self._sink, self._composer = link, sink, composer
        self._session = Session(link, sink, draw, takeover=takeover)
        self._writer = writer
        self._fast_period_s, self._is_watched_only = fast_period_s, is_watched_only
        self._clock, self._work_clock, self._draw = clock, work_clock, draw
        self._number = 0
        self._inflight: Batch | None = None
        # Of a batch that was halved without knowing whether it had landed.
        self._other_half: tuple[Entry, ...] = ()
        # How often the batch on its way failed, and whether a heartbeat passed since the last time.
        self._failures, self._is_probed = 0, False
        self._ready: tuple[Entry, ...] = ()
        self._composing: list[Item] = []
        self._is_retry = False
        self._not_before = float("-inf")
        self._sent_at = float("-inf")
        self._active_at = float("-inf")
        self._trouble = Backoff(0.5, 30.0, draw)
        self._reported: set[str] = set()

    @property
    def inflight(self) -> Batch | None:
        """The batch that is not acknowledged yet."""
        return self._inflight

    def run(self) -> None:
        """Be the thread: take turns until asked to end, then send the rest, in bounded time."""
        link = self._link
        while not self._is_done():
            try:
                sleep_s = self.turn()
                self._trouble.reset()
            except Exception as error:  # the only place: whatever goes wrong here must not end the thread
                sleep_s = self._survive(error)
            if not link.doorbell.is_armed:
                sleep_s = min(sleep_s, COLLECT_S)
            if link.close_by is not None:
                sleep_s = min(sleep_s, link.close_by - self._clock())
            link.doorbell.wait(sleep_s)
        self._end()

    def turn(self) -> float:
        """Do at most one call; return how many seconds to sleep, unless the doorbell rings."""
        now = self._clock()
        if now < self._not_before:
            self._link.outbox.collect()
            return self._not_before - now
        session = self._link.session
        if session is None:
            self._not_before = self._clock() + self._session.open()
            return max(0.0, self._not_before - self._clock())
        worked_at = self._work_clock()
        if self._inflight is None:
            self._inflight = self._next_batch()
        if self._inflight is not None:
            if self._failures >= PROBE_AFTER and not self._is_probed:
                self._send(session, Batch(self._writer, claim=self._link.claim))
            else:
                self._send(session, self._inflight)
            return self._pause_s(self._work_clock() - worked_at)
        refresh_at = self._sent_at + self._refresh_s(session, now)
        if now >= refresh_at:
            self._send(session, Batch(self._writer, claim=self._link.claim))
            return self._pause_s(0.0)
        return self._rest(now, refresh_at)

    def _poll_s(self) -> float:
        return POLL_S if self._link.feedback.viewers else SLOW_POLL_S

    def _pause_s(self, worked_s: float) -> float:
        """How long to sleep after a call: with more waiting, as much as keeps this thread within its share."""
        if self._clock() < self._not_before:
            return self._not_before - self._clock()
        if self._link.outbox.is_empty() and not self._ready:
            return self._poll_s()
        return 0.0 if self._link.close_by is not None else max(0.001, worked_s * (1 / MAX_SHARE - 1))

    def _rest(self, now: float, refresh_at: float) -> float:
        if now - self._active_at < LINGER_S:
            return min(self._poll_s(), refresh_at - now)
        self._link.doorbell.is_armed = True
        # Whoever offered before seeing the doorbell armed did not ring.
        return 0.0 if not self._link.outbox.is_empty() else min(IDLE_S, refresh_at - now)

    def _refresh_s(self, session: Registered, now: float) -> float:
        """How long after the last answer a heartbeat is due."""
        link = self._link
        refresh_s = session.ttl_ms / 3000
        if link.claim is not None or now - link.thumbs.asked_at < INTEREST_S:
            refresh_s = min(refresh_s, CLAIM_REFRESH_S)
        if self._is_watched_only and link.feedback.viewers == 0 and now - link.frames.asked_at < INTEREST_S:
            refresh_s = min(refresh_s, FRAMES_REFRESH_S)
        return refresh_s

    def _next_batch(self) -> Batch | None:
        if not self._ready:
            fields = BATCH_FIELDS if self._link.close_by is None else CLOSING_FIELDS
            items = self._link.outbox.take(fields, BATCH_PICTURES)
            if not items:
                return None
            self._active_at = self._clock()
            self._composing = items
            self._ready = self._composer.compose(items)
            self._composing = []
        count, size = 0, 0
        for entry in self._ready:
            size += entry_bytes(entry)
            if count and size > BATCH_BYTES:
                break
            count += 1
        if not count:
            return None
        entries, self._ready = self._ready[:count], self._ready[count:]
        self._number += 1
        self._is_retry = False
        return Batch(self._writer, self._number, entries, self._link.claim)

    def _send(self, session: Registered, batch: Batch) -> None:
        link = self._link
        if self._is_retry and batch.number:
            link.counters.retries += 1
        self._is_retry = bool(batch.number)
        try:
            reply = self._sink.publish(session.session_id, batch)
        except SessionNotActiveError:
            self._wait(self._session.lose())
        except StorageFullError as error:
            self._wait(self._make_room(batch, error))
        except (UnavailableError, TooManyRequestsError, UnauthorizedError) as error:
            link.counters.failures += 1
            self._wait(self._session.wait_after(error))
            if batch.number and type(error) is UnavailableError:
                self._note_failure(batch)
        except TooLargeError as error:
            self._split(batch, error)
        except HudError as error:
            self._give_up(batch, "rejected")
            self._report(type(error).__name__, f"a batch was refused and left out: {error}")
        else:
            self._acknowledge(batch, reply)

    def _acknowledge(self, batch: Batch, reply: Published) -> None:
        link, counters = self._link, self._link.counters
        counters.batches += 1
        counters.duplicates += reply.is_duplicate
        for entry in batch.entries:
            counters.sent[entry.stream] += 1
        if batch.number:
            self._settle(is_duplicate=reply.is_duplicate)
        elif self._inflight is not None:
            self._is_probed = True
        self._sent_at = link.feedback_at = self._clock()
        link.feedback = reply
        if self._is_watched_only:
            link.frames.set_period(self._fast_period_s if reply.viewers else max(SLOW_S, self._fast_period_s))
        self._session.heal(is_heartbeat=not batch.entries)

    def _note_failure(self, batch: Batch) -> None:
        """Nothing came back. If heartbeats pass and this batch does not, it is the batch: a network too slow for it."""
        self._failures += 1
        if not self._is_probed:
            return
        self._is_probed = False
        half = len(batch.entries) // 2
        if not half:
            self._give_up(batch, "too large")
            self._report(
                "slow", "an entry takes longer than the time-out and was left out: the network is too slow for it"
            )
            return
        # It may have landed after all. Then its number makes the first half a repetition, which tells about the second.
        self._inflight = dataclasses.replace(batch, entries=batch.entries[:half])
        self._other_half = batch.entries[half:] + self._other_half

    def _settle(self, *, is_duplicate: bool) -> None:
        """The batch on its way is acknowledged."""
        if self._other_half and is_duplicate:
            for entry in self._other_half:
                self._link.counters.sent[entry.stream] += 1
        else:
            self._ready = self._other_half + self._ready
        self._clear_inflight()

    def _clear_inflight(self) -> None:
        self._inflight, self._other_half = None, ()
        self._failures, self._is_probed = 0, False

    def _make_room(self, batch: Batch, error: StorageFullError) -> float:
        """Redis is full: let the pictures go, keep the metrics for when there is room."""
        self._session.say("full", str(error))
        metrics = tuple(entry for entry in batch.entries if isinstance(entry, MetricsEntry))
        for entry in batch.entries:
            if not isinstance(entry, MetricsEntry):
                self._link.counters.drop(entry.stream, "full")
        if len(metrics) == len(batch.entries):
            return FULL_WAIT_S * (0.5 + self._draw())
        # Nothing of it landed, so the number is free.
        self._is_retry = False
        if metrics:
            self._inflight = dataclasses.replace(batch, entries=metrics)
        else:
            self._settle(is_duplicate=False)
        return 0.0 if metrics else FULL_WAIT_S * (0.5 + self._draw())

    def _split(self, batch: Batch, error: TooLargeError) -> None:
        """Too large for the server or a proxy on the way: half of it may pass; one entry that does not is left out."""
        half = len(batch.entries) // 2
        if not half:
            self._give_up(batch, "too large")
            self._report("TooLargeError", f"an entry was refused and left out: {error}")
            return
        # Nothing of it landed, so the number is free.
        self._inflight = dataclasses.replace(batch, entries=batch.entries[:half])
        self._ready = batch.entries[half:] + self._other_half + self._ready
        self._other_half = ()
        self._is_retry = False

    def _give_up(self, batch: Batch, cause: Cause) -> None:
        for entry in batch.entries:
            self._link.counters.drop(entry.stream, cause)
        if batch.number:
            self._ready = self._other_half + self._ready
            self._clear_inflight()

    def _wait(self, seconds: float) -> None:
        self._not_before = self._clock() + seconds

    def _survive(self, error: Exception) -> float:
        """A defect of ours or of a library: leave the batch out, say so once, go on."""
        if self._inflight is not None:
            self._give_up(self._inflight, "rejected")
        for item in self._composing:
            self._link.counters.drop(item.stream, "unusable")
        self._composing = []
        self._report(type(error).__name__, f"an unexpected error, training goes on: {error!r}", error)
        return self._trouble.next_s()

    def _report(self, cause: str, text: str, error: Exception | None = None) -> None:
        """Log a defect; once per cause and process, since nothing makes it go away."""
        if cause not in self._reported:
            self._reported.add(cause)
            logger.warning("HUD: %s", text, exc_info=error)

    def _is_done(self) -> bool:
        link = self._link
        if link.close_by is None:
            return False
        is_sent = self._inflight is None and not self._ready and link.outbox.is_empty()
        # Another run's session will not end in the time that is left.
        return is_sent or link.status == "refused" or self._clock() >= link.close_by

    def _end(self) -> None:
        link = self._link
        if self._inflight is not None:
            self._give_up(self._inflight, "closed")
        for entry in self._ready:
            link.counters.drop(entry.stream, "closed")
        link.outbox.clear()
        releases = self._session.is_ours if link.release is None else link.release
        try:
            if link.session is not None and releases:
                self._sink.release(link.session.session_id)
        except HudError as error:
            logger.info("HUD: the session was not released, it ends by itself: %s", error)
        finally:
            self._sink.close()
            link.session = None
            link.status = "closed"
