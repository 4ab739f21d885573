"""The courier of a replica: delivers the alerts of each channel whose monitor's lease the replica holds.

An alert is sent again until its target accepted it. Each attempt claims the alerts of one target in Redis first, for
longer than the attempt may take, and stores its result: another replica continues after a crash, and sends an alert a
second time only if the receiver accepted it and the result was lost. Targets neither wait for each other nor delay the
monitor. Called by the app's life cycle.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from hud_publisher.protocol.entries import START, FrameEntry
from hud_publisher.protocol.errors import HudError, UnavailableError
from hud_publisher.protocol.keys import Sid, is_sid
from hud_publisher.protocol.stored import decode_entry
from hud_web.alerts.config import AlertConfig
from hud_web.alerts.evaluator import Rules
from hud_web.alerts.message import DueAlert, Message, compose
from hud_web.alerts.outbox import Lane, Outbox
from hud_web.alerts.target import Picture
from hud_web.store.cancellation import is_cancelled
from hud_web.store.sse import order
from hud_web.store.store import Store

logger = logging.getLogger("hud.alerts")

#: A picture is sent if its frame is at most this much older than the alert, in milliseconds, and not larger than this.
PICTURE_AGE_MS = 60_000
MAX_PICTURE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Pace:
    """The times of delivery, in seconds.

    Attributes:
        round_s: between two looks at the outboxes.
        index_s: between two looks at the index of channels; shorter than the TTL of a lease.
        attempt_s: an attempt counts as failed after this time.
        claim_s: a claim ends after this time, so that another replica may try; longer than `attempt_s`.
        thread_s: another attempt at a target begins after this time, although its last one has not returned.
        first_delay_s: between the first and the second attempt; it doubles with each failure.
        last_delay_s: the longest time between two attempts.
        give_up_s: alerts that are older are not sent any more.
        leave_s: how long the end of the server waits for attempts under way.
    """

    round_s: float = 1.0
    index_s: float = 2.0
    attempt_s: float = 45.0
    claim_s: float = 60.0
    thread_s: float = 600.0
    first_delay_s: float = 5.0
    last_delay_s: float = 900.0
    give_up_s: float = 24 * 3600.0
    leave_s: float = 3.0

    def delay_ms(self, failures: int) -> int:
        """Return the time until the next attempt after this number of failures: half of it is random."""
        delay_s = min(self.last_delay_s, self.first_delay_s * 2 ** min(failures, 20))
        return int(delay_s * 1000 * random.uniform(0.5, 1.0))


class Courier:
    """Delivers until cancelled; keeps trying while Redis is unreachable."""

    def __init__(self, store: Store, config: AlertConfig, pace: Pace | None = None) -> None:
        self._store, self._config, self._pace = store, config, pace or Pace()
        self._outbox = Outbox(store, config.targets)
        self._token = ""
        self._channels: set[str] = set()
        self._indexed_s = float("-inf")
        self._ready_s: dict[tuple[str, str], float] = {}  # channel and lane → when its next attempt may begin
        self._attempts: dict[str, asyncio.Task[None]] = {}  # by id of the target
        self._woken = asyncio.Event()

    @property
    def rules(self) -> Rules:
        """The rules that the monitor judges."""
        return self._config.rules

    def wake(self) -> None:
        """Look for new alerts at once."""
        self._indexed_s = float("-inf")
        self._woken.set()

    async def run(self, token: str) -> None:
        """Deliver until cancelled.

        Args:
            token: of the replica's monitor.
        """
        self._token = token
        loop = asyncio.get_running_loop()
        try:
            while not is_cancelled():
                self._woken.clear()
                try:
                    await self.turn(loop.time())
                except UnavailableError:
                    self._indexed_s = float("-inf")
                except Exception:  # a bug must not end the delivery
                    logger.exception("the delivery of alerts failed and starts again")
                try:
                    async with asyncio.timeout(self._pace.round_s):
                        await self._woken.wait()
                except TimeoutError:
                    pass
        finally:
            if tasks := list(self._attempts.values()):  # a result that is lost costs a receiver a second message
                await asyncio.wait(tasks, timeout=self._pace.leave_s)
            for task in tasks:
                task.cancel()

    async def turn(self, now_s: float) -> None:
        """Look at the outboxes, and begin an attempt at each target that has alerts and no attempt under way.

        Raises:
            UnavailableError: Redis did not answer.
        """
        if now_s - self._indexed_s >= self._pace.index_s:
            self._indexed_s = now_s
            self._channels = await self._outbox.take_leases(self._token)
        lanes = [lane for channel in sorted(self._channels) for lane in await self._outbox.lanes(channel)]
        self._ready_s = {
            key: self._ready_s.get(key, now_s + self._config.group_s)
            for key in ((lane.channel, lane.name) for lane in lanes)
        }
        self._store.tally.alerts_pending = sum(len(lane.alerts) for lane in lanes)
        is_quiet = self._config.quiet is not None and self._config.quiet.holds_at(int(time.time() * 1000))
        random.shuffle(lanes)  # one channel's failures must not keep the others of its target waiting
        for lane in lanes:
            if is_quiet and not lane.alerts[0].is_urgent:
                continue
            if lane.target.id not in self._attempts and self._ready_s[lane.channel, lane.name] <= now_s:
                task = asyncio.create_task(self._attempt(lane))
                self._attempts[lane.target.id] = task
                task.add_done_callback(partial(self._end, lane.target.id))

    def _end(self, target: str, _task: asyncio.Task[None]) -> None:
        del self._attempts[target]
        self._woken.set()

    async def _attempt(self, lane: Lane) -> None:
        """Claim a lane, send its alerts, and store the result."""
        try:
            await self._try(lane)
        except UnavailableError:
            logger.warning("channel %s: Redis did not answer during an attempt at %s", lane.channel, lane.target.name)
        except Exception:  # a bug must not end the delivery to this target
            logger.exception("channel %s: an attempt at %s failed", lane.channel, lane.target.name)

    async def _try(self, lane: Lane) -> None:
        pace, attempt = self._pace, secrets.token_hex(8)
        claim = await self._outbox.claim(lane, token=self._token, attempt=attempt, lasts_s=pace.claim_s)
        if claim is None:
            self._delay(lane, pace.round_s)
            return
        alerts, failures, now_ms = claim
        fresh = [alert for alert in alerts if now_ms - alert.time_ms <= pace.give_up_s * 1000]
        last = alerts[-1].id if alerts else START
        if not fresh:
            self._store.tally.alerts["given up"] += len(alerts)
            await self._settle(lane, attempt, last)
            return
        message = compose(
            lane.channel, fresh, names=await self._names(lane.channel, fresh), link=self._config.link,
            most_chars=lane.target.most_chars,
        )  # fmt: skip
        if message.count < len(fresh):  # the others are the next message
            last = fresh[message.count - 1].id
        sending = await self._send(lane, message, fresh[message.count - 1], has_failed=failures > 0)
        await asyncio.wait({sending}, timeout=pace.attempt_s)
        is_late = not sending.done()
        if is_late:
            await self._fail(lane, attempt, failures, f"it did not answer within {pace.attempt_s:g} s")
            await asyncio.wait({sending}, timeout=pace.thread_s)
        if not sending.done():
            return
        failure = sending.result()
        if failure is None:
            self._store.tally.alerts["sent"] += message.count
            self._store.tally.alerts["given up"] += len(alerts) - len(fresh)
            await self._settle_at_last(lane, attempt, last)
        elif not is_late:
            await self._fail(lane, attempt, failures, failure)

    async def _send(
        self, lane: Lane, message: Message, newest: DueAlert, *, has_failed: bool
    ) -> asyncio.Future[str | None]:
        """Begin to send a message; the result is the failure, or None."""
        target = lane.target
        # A service may accept a text and refuse its picture, so only the first attempt has one.
        has_picture = target.takes_pictures and not has_failed
        picture = await self._picture(lane.channel, newest) if has_picture else None
        return in_thread(lambda: target.send(message.title, message.body, picture, is_good=message.is_good))

    async def _fail(self, lane: Lane, attempt: str, failures: int, failure: str) -> None:
        delay_ms = self._pace.delay_ms(failures)
        self._store.tally.alerts["failed"] += 1
        logger.warning(
            "channel %s: %s did not take an alert, next attempt in %.0f s: %s",
            lane.channel, lane.target.name, delay_ms / 1000, failure,
        )  # fmt: skip
        self._delay(lane, delay_ms / 1000)
        await self._settle(lane, attempt, START, delay_ms)

    async def _settle(self, lane: Lane, attempt: str, sent: str, delay_ms: int = 0) -> None:
        await self._outbox.settle(lane, attempt=attempt, sent=sent, delay_ms=delay_ms)

    async def _settle_at_last(self, lane: Lane, attempt: str, sent: str) -> None:
        """Store a success; while Redis is away, try again, since a lost result costs the receiver a second message."""
        until_s = asyncio.get_running_loop().time() + self._pace.thread_s
        while True:
            try:
                return await self._settle(lane, attempt, sent)
            except UnavailableError:
                if asyncio.get_running_loop().time() > until_s:
                    raise
                await asyncio.sleep(self._pace.round_s)

    def _delay(self, lane: Lane, delay_s: float) -> None:
        self._ready_s[lane.channel, lane.name] = asyncio.get_running_loop().time() + delay_s

    async def _names(self, channel: str, alerts: Sequence[DueAlert]) -> dict[str, str]:
        """Return the names of the alerts' runs."""
        sids = {alert.sid for alert in alerts if is_sid(alert.sid)}
        return {sid: (await self._store.session(channel, Sid(sid))).name for sid in sids}

    async def _picture(self, channel: str, alert: DueAlert) -> Picture | None:
        """Return the newest frame before the alert."""
        if not is_sid(alert.sid):
            return None
        try:
            found = await self._store.newest(channel, Sid(alert.sid), "frames", 1, up_to=str(alert.time_ms))
            if not found or alert.time_ms - order(found[0][0])[0] > PICTURE_AGE_MS:
                return None
            frame = decode_entry("frames", found[0][1])
        except (HudError, ValueError):
            return None
        is_small = isinstance(frame, FrameEntry) and len(frame.image) <= MAX_PICTURE_BYTES
        return Picture(frame.image, frame.mime) if isinstance(frame, FrameEntry) and is_small else None


def in_thread(work: Callable[[], str | None]) -> asyncio.Future[str | None]:
    """Run blocking work in a daemon thread, which the end of the process does not wait for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str | None] = loop.create_future()

    def finish(result: str | None) -> None:
        if not future.done():
            future.set_result(result)

    def run() -> None:
        result = work()
        if not loop.is_closed():
            loop.call_soon_threadsafe(finish, result)

    threading.Thread(target=run, name="hud-alert", daemon=True).start()
    return future
