"""The courier against a fake Redis and targets of the test: order, quiet times, failures, targets that never answer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import fakeredis
import pytest

from hud_publisher.protocol.entries import FrameEntry
from hud_publisher.protocol.errors import UnavailableError
from hud_publisher.protocol.keys import ALERTS, ChannelKeys
from hud_web.alerts.config import AlertConfig
from hud_web.alerts.courier import Courier, Pace
from hud_web.alerts.evaluator import Alert, Rules
from hud_web.alerts.quiet import QuietTime
from hud_web.alerts.target import Picture, Target
from hud_web.store.store import Store

KEYS = ChannelKeys("default")
SID = "1763800000000"
PACE = Pace(round_s=0.01, index_s=0.01, attempt_s=0.2, first_delay_s=0.01, last_delay_s=0.05)


@dataclass
class Trial:
    """A target that keeps what it gets; `fails` returns the failure of the attempt with this number, or None."""

    id: str
    fails: Callable[[int], str | None] = lambda _attempt: None
    name: str = "target 1 (Test)"
    takes_pictures: bool = True
    most_chars: int = 8_000
    got: list[tuple[str, str, Picture | None]] = field(default_factory=list)
    attempts: int = 0

    def send(self, title: str, body: str, picture: Picture | None = None, *, is_good: bool = False) -> str | None:
        self.attempts += 1
        failure = self.fails(self.attempts)
        self.got += [] if failure else [(title, body, picture)]
        return failure

    def lines(self) -> list[str]:
        return [line.partition("UTC: ")[2] for _title, body, _picture in self.got for line in body.splitlines()[1:]]


@pytest.fixture
async def redis() -> AsyncIterator[Any]:
    client = fakeredis.FakeAsyncRedis(protocol=2)
    yield client
    await client.aclose()


def pairs(fields: Sequence[Any]) -> dict[Any, Any]:
    return dict(zip(fields[::2], fields[1::2], strict=True))


async def put(
    redis: Any, *texts: str, kind: str = "collapse", targets: tuple[str, ...] = ("a",), age_ms: int = 0
) -> None:
    now_ms = int(time.time() * 1000)
    await redis.zadd(ALERTS, {"default": now_ms})
    for text in texts:
        fields = Alert("rule", kind, text, now_ms - age_ms, None, False, targets).encode(SID)
        await redis.xadd(KEYS.alerts, pairs(fields))


class Delivery:
    """A running courier."""

    def __init__(self, redis: Any, *targets: Trial, pace: Pace = PACE, **config: Any) -> None:
        found = cast("dict[str, Target]", {target.id: target for target in targets})
        self.store = Store(redis)
        options = {"group_s": 0.0} | config
        self.courier = Courier(self.store, AlertConfig(found, Rules(()), **options), pace)

    async def __aenter__(self) -> Delivery:
        self._task = asyncio.create_task(self.courier.run("token"))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def until(claim: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not claim():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_alerts_of_one_window_are_one_message_in_order(redis: Any) -> None:
    target = Trial("a")
    await put(redis, "first")
    async with Delivery(redis, target, group_s=0.1):
        await put(redis, "second", "third")
        await until(lambda: target.got)
    assert target.lines() == ["first", "second", "third"]
    assert target.got[0][0] == "HUD default: 3 alerts"


async def test_each_target_gets_its_alerts_only(redis: Any) -> None:
    first, second = Trial("a"), Trial("b")
    await put(redis, "for a")
    await put(redis, "for b", targets=("b",))
    await put(redis, "for both", targets=("a", "b", "unknown"))
    async with Delivery(redis, first, second):
        await until(lambda: len(first.lines()) == len(second.lines()) == 2)
    assert (first.lines(), second.lines()) == (["for a", "for both"], ["for b", "for both"])


async def test_a_target_that_refuses_gets_the_alert_again_and_delays_no_other(redis: Any) -> None:
    bad, good = Trial("a", lambda attempt: None if attempt > 4 else "it answered 500"), Trial("b")
    await put(redis, "once", targets=("a", "b"))
    async with Delivery(redis, bad, good) as delivery:
        await until(lambda: delivery.store.tally.alerts["sent"] == 2)
        assert dict(delivery.store.tally.alerts) == {"sent": 2, "failed": 4, "given up": 0}
    assert (bad.lines(), good.lines()) == (["once"], ["once"])
    assert good.attempts == 1


async def test_a_target_that_does_not_answer_delays_no_other_and_its_late_answer_counts(redis: Any) -> None:
    is_over = threading.Event()
    slow, good = Trial("a", lambda _attempt: None if is_over.wait(20) else "never"), Trial("b")
    await put(redis, "once", targets=("a", "b"))
    async with Delivery(redis, slow, good) as delivery:
        await until(lambda: delivery.store.tally.alerts["failed"] == 1)
        await put(redis, "another", targets=("a", "b"))
        await until(lambda: good.lines() == ["once", "another"])
        assert slow.attempts == 1
        is_over.set()
        await until(lambda: slow.lines() == ["once", "another"])
    assert slow.attempts == 2


async def test_a_result_is_stored_once_redis_is_back(redis: Any) -> None:
    target = Trial("a")
    await put(redis, "once")
    async with Delivery(redis, target) as delivery:
        settle, failures = delivery.courier._outbox.settle, 3

        async def fail_first(*arguments: Any, **options: Any) -> None:
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise UnavailableError("away")
            await settle(*arguments, **options)

        delivery.courier._outbox.settle = fail_first  # type: ignore[method-assign]
        await until(lambda: failures < 0)
        await put(redis, "another")
        await until(lambda: len(target.got) == 2)
    assert target.lines() == ["once", "another"]


async def test_quiet_times_hold_back_all_but_deaths(redis: Any) -> None:
    target = Trial("a")
    ends = [time.strftime("%H:%M", time.gmtime(time.time() + hours * 3600)) for hours in (-1, 1, 2)]
    always, never = QuietTime.parse(f"{ends[0]}-{ends[1]}"), QuietTime.parse(f"{ends[1]}-{ends[2]}")
    await put(redis, "the return collapsed")
    await put(redis, "the driver died", kind="process_died")
    async with Delivery(redis, target, quiet=always) as delivery:
        await until(lambda: target.got)
        await put(redis, "the run stalled", kind="stall")
        await until(lambda: delivery.store.tally.alerts_pending == 2)
        assert target.lines() == ["the driver died"]
    async with Delivery(redis, target, quiet=never):
        await until(lambda: len(target.got) == 2)
    assert target.lines()[1:] == ["the return collapsed", "the run stalled"]


async def test_a_long_message_continues_in_the_next_one(redis: Any) -> None:
    target = Trial("a", most_chars=200)
    texts = [f"alert {number} {'x' * 60}" for number in range(7)]
    await put(redis, *texts)
    async with Delivery(redis, target):
        await until(lambda: len(target.lines()) == 7)
    assert target.lines() == texts
    assert all(len(body) <= 200 for _title, body, _picture in target.got)


async def test_only_the_first_attempt_has_the_picture_of_the_moment(redis: Any) -> None:
    target = Trial("a", lambda attempt: "the picture is too large" if attempt == 1 else None)
    pictures: list[bool] = []

    def send(*arguments: Any, **options: Any) -> str | None:
        pictures.append(arguments[2] is not None)
        return Trial.send(target, *arguments, **options)

    target.send = send  # type: ignore[method-assign]
    session = KEYS.session(SID)
    fields = FrameEntry(b"jpeg", 1).encode()
    now_ms = int(time.time() * 1000)
    for at_ms, image in ((now_ms - 500, b"before"), (now_ms + 500_000, b"after")):
        await redis.xadd(session.stream("frames"), pairs(fields) | {"image": image}, id=f"{at_ms}-0")
    await put(redis, "once")
    async with Delivery(redis, target):
        await until(lambda: target.got)
    assert pictures == [True, False]


async def test_an_alert_that_is_too_old_is_given_up_and_the_next_one_is_sent(redis: Any) -> None:
    target = Trial("a")
    await put(redis, "yesterday", age_ms=25 * 3_600_000)
    await put(redis, "now")
    async with Delivery(redis, target) as delivery:
        await until(lambda: delivery.store.tally.alerts["sent"])
        assert dict(delivery.store.tally.alerts) == {"sent": 1, "given up": 1}
    assert target.lines() == ["now"]


async def test_another_courier_continues_after_the_last_result_and_waits_for_a_claim(redis: Any) -> None:
    is_over = threading.Event()
    first = Trial("a", lambda _attempt: None if is_over.wait(20) else "never")
    await put(redis, "once")
    pace = Pace(round_s=0.01, index_s=0.01, attempt_s=5, claim_s=30, leave_s=0)
    async with Delivery(redis, first, pace=pace):
        await until(lambda: first.attempts)
    second = Trial("a")
    async with Delivery(redis, second):
        await put(redis, "another")
        await asyncio.sleep(0.2)
        is_over.set()
        assert second.attempts == 0  # the claim of the first lasts 30 s
    lane = (await redis.hkeys(KEYS.delivered))[0]
    await redis.hset(KEYS.delivered, lane, b"0-0 - 0 0 0")
    async with Delivery(redis, second):
        await until(lambda: second.got)
    assert second.lines() == ["once", "another"]


async def test_a_replica_without_the_lease_sends_nothing(redis: Any) -> None:
    target = Trial("a")
    await redis.set(KEYS.monitor, "another replica")
    await put(redis, "once")
    async with Delivery(redis, target):
        await asyncio.sleep(0.1)
        assert target.attempts == 0
        await redis.delete(KEYS.monitor)  # as after the TTL of its lease, although the run has ended
        await until(lambda: target.got)


async def test_keys_of_another_program_cost_no_alert(redis: Any) -> None:
    target = Trial("a")
    await redis.set(KEYS.delivered, "not ours")
    await put(redis, "once")
    await redis.zadd(ALERTS, {"no channel!": 5})
    async with Delivery(redis, target):
        await until(lambda: target.got)
        await redis.delete(KEYS.alerts)
        await redis.hset(KEYS.alerts, "not", "ours")
        await asyncio.sleep(0.05)
        await redis.delete(KEYS.alerts)
        await put(redis, "twice")
        await until(lambda: len(target.got) == 2)
    assert target.lines() == ["once", "twice"]


def test_the_delay_doubles_up_to_a_limit_and_half_of_it_is_random() -> None:
    pace = Pace()
    assert all(2_500 <= pace.delay_ms(0) <= 5_000 for _ in range(50))
    assert all(20_000 <= pace.delay_ms(3) <= 40_000 for _ in range(50))
    assert all(450_000 <= pace.delay_ms(1_000) <= 900_000 for _ in range(50))
    assert pace.attempt_s < pace.claim_s
