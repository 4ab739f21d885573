"""Killed replicas, and receivers that are slow, refuse, drop or lose answers: each alert arrives once, none is missing.

A schedule is a seed: one channel with records of the return, each of them an alert to two receivers, and replicas that
are killed at random moments. An alert may arrive again only after an attempt whose result was lost: the receiver
accepted it and its answer did not come, or the replica was killed before it stored the result.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import re
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from hud_publisher import Publisher
from hud_publisher.protocol import scripts
from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.entries import START, Limits, MetricsEntry
from hud_publisher.protocol.keys import ChannelKeys
from hud_publisher.protocol.replies import parse_register
from hud_publisher.sinks.redis_client import connect, execute
from hud_web.alerts.config import read_config
from hud_web.alerts.courier import Courier, Pace
from hud_web.alerts.evaluator import Rules
from hud_web.alerts.message import Message
from hud_web.alerts.rules import Rule
from hud_web.monitor.monitor import Monitor
from hud_web.store.cancellation import is_cancelled
from hud_web.store.redis_client import connect_writer
from hud_web.store.store import Store
from tests.fixtures.annotations import stored_annotations
from tests.fixtures.receiver import Mode, Receiver
from tests.fixtures.servers import Server, wait_until
from tests.fixtures.web import WebServer

#: Schedules that run at once, each in a separate database.
AT_ONCE = 10
#: Short times: a receiver that is slow exceeds `attempt_s`, and a killed replica's claim ends soon.
PACE = Pace(
    round_s=0.02,
    index_s=0.02,
    attempt_s=0.15,
    claim_s=0.3,
    thread_s=1.0,
    first_delay_s=0.02,
    last_delay_s=0.1,
    leave_s=0,
)
ALERTS = 12
TEXT = re.compile(r"Best episode: return (\d+)")


class Witness(Courier):
    """A courier that records which alerts it sent, and of which the result was stored."""

    def __init__(self, store: Store, schedule: Schedule) -> None:
        super().__init__(store, schedule.config, PACE)
        self._schedule = schedule
        self._sent: dict[int, list[tuple[str, str]]] = {}

    async def _send(self, lane: Any, message: Message, *arguments: Any, **options: Any) -> asyncio.Future[str | None]:
        sent = [(lane.target.id, number) for number in TEXT.findall(message.body)]
        self._schedule.wrong += set(sent) & set(self._schedule.stored)
        self._sent[id(lane)] = sent
        self._schedule.begun += sent
        return await super()._send(lane, message, *arguments, **options)

    async def _settle(self, lane: Any, attempt: str, sent: str, delay_ms: int = 0) -> None:
        await super()._settle(lane, attempt, sent, delay_ms)
        if sent != START:
            self._schedule.stored += self._sent.get(id(lane), [])


class Schedule:
    """One seed against one database."""

    def __init__(self, seed: int, url: str) -> None:
        self.luck, self.url = random.Random(seed), url
        self.receivers = [Receiver(self._choose, slow_s=0.3) for _ in range(2)]
        self.is_calm = False
        self.begun: list[tuple[str, str]] = []
        self.stored: list[tuple[str, str]] = []
        self.wrong: list[tuple[str, str]] = []
        config = read_config(" ".join(receiver.url() for receiver in self.receivers))
        rule = Rule("records", frozenset({"best_episode"}), targets=tuple(config.targets))
        self.config = replace(config, rules=Rules((rule,)), group_s=0.02)
        self.writer = connect(url)
        call = scripts.register("default", run_id="r", name="r", limits=Limits())
        self.session = parse_register(execute(self.writer, call))
        execute(self.writer, scripts.touch("default", Limits()))
        self.written = 0

    def _choose(self) -> Mode:
        if self.is_calm:
            return "accept"
        return self.luck.choices(["accept", "refuse", "slow", "drop", "lose"], [4, 2, 1, 1, 1])[0]  # type: ignore[return-value]

    def write(self) -> None:
        """Write one record; the first return is none yet."""
        if self.written <= ALERTS:
            entry = MetricsEntry({"episode_return": self.written}, 1, self.written)
            batch = Batch("w", self.written + 1, (entry,))
            execute(self.writer, scripts.publish(self.session.session_id, batch, Limits()))
            self.written += 1

    async def replica(self, store: Store) -> None:
        """Monitor and deliver until cancelled."""
        courier = Witness(store, self)
        monitor = Monitor(store, courier.rules, courier.wake)
        delivery = asyncio.create_task(courier.run(monitor.token))
        try:
            now_s = 0.0
            while not is_cancelled():
                await monitor.turn(now_s)
                now_s += 5.0  # the leases are renewed in each turn
                if self.luck.random() < 0.5:
                    self.write()
                await asyncio.sleep(0.01)
        finally:
            delivery.cancel()
            await asyncio.gather(delivery, return_exceptions=True)
            attempts = list(courier._attempts.values())
            for task in attempts:
                task.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)

    async def run(self) -> None:
        """Kill replicas, then let the last one deliver the rest."""
        for _ in range(self.luck.randint(2, 4)):
            await self._live(self.luck.uniform(0.02, 0.5))
        while self.written <= ALERTS:
            self.write()
        self.is_calm = True
        await self._live(60.0, until_done=True)

    async def _live(self, seconds: float, *, until_done: bool = False) -> None:
        store = Store(connect_writer(self.url))
        task = asyncio.create_task(self.replica(store))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (task.done() or (until_done and self.is_done())):  # noqa: ASYNC110
                    await asyncio.sleep(0.03)
        is_bug = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.aclose()
        assert not is_bug, task.exception()
        self.writer.delete(ChannelKeys("default").monitor)  # as after the TTL of the killed replica's lease

    def is_done(self) -> bool:
        """Whether Redis has the result of every alert."""
        keys = ChannelKeys("default")
        newest: Any = self.writer.execute_command("XREVRANGE", keys.alerts, "+", "-", "COUNT", "1")
        progress: Any = self.writer.execute_command("HVALS", keys.delivered)
        done = [text.partition(b" ")[0] == newest[0][0] for text in progress if newest]
        return len(done) == len(self.receivers) and all(done) and self.count_alerts() == ALERTS

    def count_alerts(self) -> int:
        return int(self.writer.execute_command("XLEN", ChannelKeys("default").alerts))  # type: ignore[call-overload]

    def check(self) -> int:
        """Check the alerts that arrived; return the number of those that arrived again after a lost result."""
        with contextlib.closing(redis.Redis.from_url(self.url, protocol=2)) as client:
            found = stored_annotations(client, ChannelKeys("default").session(self.session.sid))
        records = [str(number) for number in range(1, ALERTS + 1)]
        assert [TEXT.findall(one.text)[0] for one in found if one.kind == "best_episode"] == records
        assert not self.wrong, "sent again although the result was stored"
        again = 0
        for target, receiver in zip(self.config.targets, self.receivers, strict=True):
            arrived = Counter(number for text in receiver.texts() for number in TEXT.findall(text))
            stored = Counter(number for key, number in self.stored if key == target)
            assert set(arrived) == set(records), f"missing: {set(records) - set(arrived)}"
            assert max(stored.values()) == 1, "a result was stored twice"
            begun = Counter(number for key, number in self.begun if key == target)
            assert all(arrived[number] <= begun[number] for number in records)
            again += sum(arrived.values()) - len(records)
        return again

    def close(self) -> None:
        self.writer.close()
        for receiver in self.receivers:
            receiver.close()


@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # redis-py leaves cancelled connections
@pytest.mark.parametrize("count", [50, pytest.param(1_000, marks=pytest.mark.long)])
async def test_each_alert_arrives_once_in_every_schedule(count: int, redis_server: Server) -> None:
    again = total = 0
    for first in range(0, count, AT_ONCE):
        schedules = []
        with contextlib.ExitStack() as stack:
            for place in range(AT_ONCE):
                url = redis_server.url.replace("/0", f"/{place}")
                with contextlib.closing(redis.Redis.from_url(url)) as client:
                    client.flushdb()
                schedules.append(stack.enter_context(contextlib.closing(Schedule(first + place, url))))
            results = await asyncio.gather(*(one.run() for one in schedules), return_exceptions=True)
            for schedule, result in zip(schedules, results, strict=True):
                assert result is None, result
                again += schedule.check()
                total += 2 * ALERTS
    gc.collect()  # of those connections, so that no later test is blamed
    print(f"{count} schedules, {total} alerts to deliver, {again} arrived again after a lost result")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [4])
def test_kills_of_the_server_while_it_sends_lose_no_alert(kills: int, redis_server: Server, tmp_path: Path) -> None:
    luck = random.Random(3)
    receiver = Receiver(lambda: luck.choice(["accept", "refuse", "slow"]), slow_s=1.0)
    path = tmp_path / "alerts.toml"
    path.write_text(f'targets = ["{receiver.url()}"]\ngroup_s = 0\n[[rule]]\npattern = "best_episode"\n')
    written = 0
    with contextlib.ExitStack() as stack:
        stack.callback(receiver.close)
        hud = stack.enter_context(Publisher(redis_url=redis_server.url))
        hud.log({"episode_return": 0})
        for _ in range(kills):
            web = stack.enter_context(
                contextlib.closing(WebServer(redis_server.url, environment={"HUD_ALERTS": str(path)}))
            )
            attempts = receiver.attempts
            written += 1
            hud.log({"episode_return": written})
            wait_until(partial(lambda before: receiver.attempts > before, attempts), "an attempt", deadline_s=120)
            time.sleep(luck.uniform(0, 1.2))
            web.kill()
        stack.enter_context(contextlib.closing(WebServer(redis_server.url, environment={"HUD_ALERTS": str(path)})))

        def numbers() -> Counter[str]:
            return Counter(number for text in receiver.texts() for number in TEXT.findall(text))

        wait_until(lambda: len(numbers()) == written, "the alerts", deadline_s=200)
        time.sleep(5)  # no further attempt may follow
        again = numbers().total() - written
        assert again <= kills
        print(f"{kills} kills, {written} alerts, {again} arrived again after a kill")
