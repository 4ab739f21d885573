"""A replica that is behind, cut off, frozen or restarted again and again shows each viewer everything once."""

from __future__ import annotations

import contextlib
import random
import signal
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from hud_publisher import Publisher
from tests.faults.viewer import Viewer
from tests.fixtures.fault_proxy import FaultProxy
from tests.fixtures.servers import Server, wait_until
from tests.fixtures.web import SseClient, WebServer


@pytest.fixture
def proxy(redis_server: Server) -> Iterator[FaultProxy]:
    with FaultProxy(redis_server.port) as proxy:
        yield proxy


def numbers(client: SseClient) -> list[int]:
    return [data["n"] for data in client.named("training_update")]


def write_session(web: WebServer, name: str, *values: int) -> None:
    """A run that begins, logs these numbers and ends."""
    session_id = web.post("/api/register_session", {"name": name, "run_id": f"secret-{name}"})[1]["session_id"]
    for n in values:
        assert web.post("/api/update_training", {"session_id": session_id, "data": {"n": n}})[0] == 200
    assert web.post("/api/release_session", {"session_id": session_id})[0] == 200


def test_a_replica_that_was_cut_off_shows_every_session_that_came_and_went_meanwhile(
    serve: Callable[..., WebServer], watch: Callable[..., SseClient], proxy: FaultProxy
) -> None:
    well, cut_off = serve(), serve(redis_url=proxy.redis_url)
    client = watch(cut_off)
    client.wait(lambda c: c.named("snapshot"), "a snapshot")
    write_session(well, "one", 1)
    client.wait(lambda c: numbers(c) == [1], "the first session")
    proxy.is_refusing = True
    proxy.cut()
    client.wait(lambda c: c.named("status")[-1]["redis"] == "away", "the page to be told")
    for index in range(2, 8, 2):
        write_session(well, f"run {index}", index, index + 1)
    proxy.is_refusing = False
    client.wait(lambda c: len(numbers(c)) >= 7, "all sessions")
    assert numbers(client) == [1, 2, 3, 4, 5, 6, 7]
    names = [data["name"] for data in client.named("session") if data["sid"]]
    assert [name for i, name in enumerate(names) if names[i - 1 : i] != [name]] == ["one", "run 2", "run 4", "run 6"]
    assert not client.named("reset")


def test_a_viewer_from_a_replica_that_was_ahead_sees_nothing_twice(
    serve: Callable[..., WebServer], watch: Callable[..., SseClient], proxy: FaultProxy
) -> None:
    ahead, behind = serve(), serve(redis_url=proxy.redis_url)
    session_id = ahead.post("/api/register_session", {"run_id": "secret"})[1]["session_id"]

    def log(n: int) -> None:
        assert ahead.post("/api/update_training", {"session_id": session_id, "data": {"n": n}})[0] == 200

    stays, goes = watch(behind), watch(ahead)
    for client in (stays, goes):
        client.wait(lambda c: c.named("snapshot"), "a snapshot")
    log(0)
    stays.wait(lambda c: numbers(c) == [0], "the replica to follow")
    proxy.is_deaf = True
    for n in range(1, 20):
        log(n)
    goes.wait(lambda c: numbers(c)[-1:] == [19], "all numbers")
    resumed = watch(behind, last_id=goes.last_id)
    resumed.wait(lambda c: c.named("session"), "the stream to begin")
    proxy.is_deaf = False
    log(20)
    resumed.wait(lambda c: numbers(c)[-1:] == [20], "the last number")
    stays.wait(lambda c: numbers(c)[-1:] == [20], "the last number")
    assert numbers(resumed) == [20]
    assert numbers(stays) == list(range(21))
    assert not resumed.named("reset")


@pytest.mark.long
@pytest.mark.timeout(180)
def test_replicas_killed_frozen_and_ended_again_and_again_cost_a_viewer_nothing(
    serve: Callable[..., WebServer], redis_server: Server
) -> None:
    rng = random.Random(3)
    replicas = [serve(), serve()]
    with contextlib.ExitStack() as stack:
        proxies = [stack.enter_context(FaultProxy(replica.port)) for replica in replicas]
        hud = stack.enter_context(Publisher(redis_url=redis_server.url))
        viewer = Viewer([proxy.port for proxy in proxies], rng)
        stack.callback(viewer.close)

        def seen() -> list[int]:
            return [event.data["n"] for event in viewer.seen() if event.name == "training_update"]

        count = 0

        def log_more() -> bool:
            """Log until the viewer has fifty more."""
            nonlocal count
            hud.log({"n": count})
            count += 1
            return len(seen()) > goal

        for turn in range(6):
            goal = len(seen()) + 50
            wait_until(log_more, "the viewer to see more", deadline_s=60)
            replica, proxy = replicas[turn % 2], proxies[turn % 2]
            endings: tuple[Callable[[], Any], ...] = (replica.kill, replica.terminate, partial(_freeze, replica))
            endings[turn // 2]()
            goal = len(seen()) + 50
            wait_until(log_more, "the viewer to go on elsewhere", deadline_s=60)
            _start_again(replica)
            proxy.target_port = replica.port
        wait_until(lambda: seen()[-1] == count - 1, "the last number", deadline_s=60)
        first = seen()[0]
        assert seen() == list(range(first, count))
        assert not [event for event in viewer.seen() if event.name == "reset"]


def _freeze(replica: WebServer) -> None:
    assert replica.process is not None
    replica.process.send_signal(signal.SIGSTOP)


def _start_again(replica: WebServer) -> None:
    assert replica.process is not None
    if replica.process.poll() is None:
        replica.process.send_signal(signal.SIGCONT)
    else:
        replica.port = 0
        replica.start()
