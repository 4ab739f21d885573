"""SIGKILL to the monitoring replica, again and again while runs write: each annotation exists once and in order."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import redis

from hud_publisher.protocol import scripts
from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.entries import Entry, Limits, MetricsEntry, VisionEntry
from hud_publisher.protocol.keys import ChannelKeys, SessionId, SessionKeys
from hud_publisher.protocol.replies import parse_register
from hud_publisher.sinks.redis_client import connect, execute
from hud_web.monitor.annotations import Kind
from tests.fixtures.annotations import judged_annotations, stored_annotations
from tests.fixtures.publishing import JPEG
from tests.fixtures.servers import Server, wait_until
from tests.fixtures.web import WebServer

CHANNELS = ("a", "b", "c")
#: Batches of one run in a second. Redis keeps about 20,000 entries of each stream: enough for 13 min of these.
PER_S = 25
#: Batches after which the return, the step and everything that follows from them begin again: about 5 s.
CYCLE = 120
#: These follow from Redis' clock, not from entries.
BY_CLOCK: set[Kind] = {"stall", "resumed", "hung_phase", "phase_ended"}
EXPECTED: set[Kind] = {
    "session_started", "session_ended", "best_episode", "collapse", "recovered", "non_finite", "finite_again",
    "milestone", "steps_restarted", "env_runner_lost", "env_runner_back", "vision_failing", "vision_recovered",
}  # fmt: skip


def rough_run(luck: random.Random) -> Iterator[Entry]:
    """Yield entries without end: a return that collapses, NaN, flags, restarts, lost env runners, failed calls."""
    for turn in itertools.count():
        if luck.random() < 0.2:
            yield VisionEntry(JPEG, 1, extra={"error": "down"} if luck.random() < 0.6 else {})
            continue
        place = turn % CYCLE
        data: dict[str, Any] = {"flags": {"door": luck.random() < 0.3}}
        data["episode_return"] = luck.gauss(100 if CYCLE / 3 < place < CYCLE * 2 / 3 else 0, 2)
        data["fault_tolerance"] = {"num_healthy_workers": luck.choice((3, 4, 4, 4))}
        is_broken = luck.random() < 0.05
        if not is_broken:
            data["loss"] = luck.random()
        yield MetricsEntry(data, 1, place * 10, "metrics", {"loss": "NaN"} if is_broken else {})


def write(url: str, session_id: SessionId, luck: random.Random, is_over: threading.Event) -> None:
    """Write a rough run until the test asks for its end, and release its session."""
    with contextlib.closing(connect(url)) as client:
        for number, entry in enumerate(rough_run(luck), start=1):
            execute(client, scripts.publish(session_id, Batch("w", number, (entry,)), Limits()))
            if is_over.wait(1 / PER_S):  # longer than a millisecond, so that ids of two streams have an order
                break
        execute(client, scripts.release(session_id))


def has_ended(client: Any, session: SessionKeys) -> bool:
    return stored_annotations(client, session)[-1].kind == "session_ended"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.long)])
def test_kills_of_the_monitoring_replica_lose_and_double_no_annotation(
    kills: int, serve: Callable[..., WebServer], redis_server: Server
) -> None:
    luck, is_over = random.Random(19), threading.Event()
    leases: list[str] = []
    sessions: list[SessionKeys] = []
    writers = []
    with contextlib.ExitStack() as stack:
        client: Any = stack.enter_context(redis.Redis(port=redis_server.port, protocol=2))
        stack.callback(is_over.set)
        for number, channel in enumerate(CHANNELS):
            call = scripts.register(channel, run_id=channel, name=channel, limits=Limits())
            session = parse_register(execute(client, call))
            execute(client, scripts.touch(channel, Limits()))
            leases.append(ChannelKeys(channel).monitor)
            sessions.append(ChannelKeys(channel).session(session.sid))
            args = (redis_server.url, session.session_id, random.Random(number), is_over)
            writers.append(threading.Thread(target=write, args=args))
            writers[-1].start()

        def saves(session: SessionKeys) -> int:
            return int(client.hget(session.monitor, "version") or 0)

        def has_saved(before: int) -> bool:
            return saves(sessions[0]) > before

        holder = serve()
        for left in reversed(range(kills)):
            # The only replica takes the leases before the next one starts: the killed replica is the monitor.
            wait_until(lambda: client.exists(*leases) == len(leases), "the leases")
            successor = serve()
            if luck.random() < 0.5:
                time.sleep(luck.uniform(0, 1))
            else:  # within a save: Redis has executed it and the replica may not have read the reply
                wait_until(partial(has_saved, saves(sessions[0])), "a save")
            holder.kill()
            if left:  # the last leases end by themselves, after their TTL of 7 s
                client.delete(*leases)
            holder = successor
        is_over.set()
        for writer in writers:
            writer.join()
        for session_keys in sessions:
            wait_until(partial(has_ended, client, session_keys), "the end of the session")
            found = stored_annotations(client, session_keys)
            entries = [one for one in found if one.entry_id is not None and one.kind not in BY_CLOCK]
            assert entries == judged_annotations(client, session_keys)
            others = [one.kind for one in found if one.entry_id is None and one.kind not in BY_CLOCK]
            assert others == ["session_started", "session_ended"]
            assert [one.time_ms for one in found] == sorted(one.time_ms for one in found)
            assert {one.kind for one in found} >= EXPECTED
            assert saves(session_keys) > kills  # each replica had saved before it was killed
            print(f"{kills} kills, {len(found)} annotations in {saves(session_keys)} saves")
