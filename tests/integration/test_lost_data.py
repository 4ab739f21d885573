"""Redis loses data under connected viewers: they receive `reset`, and no new viewer receives data that Redis lost.

A Redis that is only slow has lost nothing: no viewer receives `reset`.
"""

from __future__ import annotations

import base64
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from hud_publisher.protocol.keys import ChannelKeys
from tests.fixtures.fault_proxy import FaultProxy
from tests.fixtures.publishing import JPEG
from tests.fixtures.web import SseClient, WebServer, poll

KEYS = ChannelKeys("default")
#: CHECK_S, one blocking read, and room for a busy machine.
SOON_S = 10.0


@pytest.fixture
def direct(redis_server: Any) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url, protocol=2) as client:
        yield client


class Run:
    """A session that receives writes through the server."""

    def __init__(self, web: WebServer, run_id: str = "r") -> None:
        self._web = web
        answer = web.post("/api/register_session", {"name": "lost data test", "run_id": run_id})[1]
        self.session_id, self.sid = answer["session_id"], str(answer["fence"])

    def log(self, **data: Any) -> int:
        return self._web.post("/api/update_training", {"session_id": self.session_id, "data": data})[0]

    def key(self, suffix: str) -> str:
        return KEYS.session(self.sid).info + suffix


def start(web: WebServer, watch: Callable[..., SseClient]) -> tuple[Run, SseClient]:
    """A run with fields, an answer of the LLM, and a viewer that has received them."""
    run = Run(web)
    client = watch(web)
    client.wait(lambda seen: seen.named("snapshot"), "a snapshot")
    assert run.log(old=1, reward=1.0) == 200
    body = {"session_id": run.session_id, "image_base64": base64.b64encode(JPEG).decode(), "response": "old answer"}
    assert web.post("/api/update_vision", body)[0] == 200
    client.wait(lambda seen: seen.named("vision_update") and seen.named("training_update"), "fields and an answer")
    return run, client


def reset_comes(client: SseClient, count: int = 1) -> None:
    client.wait(lambda seen: len(seen.named("reset")) >= count, "a reset", SOON_S)
    client.wait(lambda seen: seen.events[-1].name in ("snapshot", "training_update", "status"), "a snapshot after it")


def newcomer(web: WebServer, watch: Callable[..., SseClient]) -> dict[str, Any]:
    viewer = watch(web)
    snapshot: dict[str, Any] = viewer.wait(lambda seen: seen.named("snapshot"), "a newcomer's snapshot")[0]
    return snapshot


@pytest.mark.parametrize("command", ["FLUSHALL", "FLUSHDB"])
def test_a_flush_while_nothing_is_written_is_told_and_forgotten(
    web: WebServer, watch: Callable[..., SseClient], direct: redis.Redis, command: str
) -> None:
    _run, client = start(web, watch)
    direct.execute_command(command)
    reset_comes(client)
    snapshot = newcomer(web, watch)
    assert (snapshot["session"]["status"], snapshot["state"], snapshot["vision"]) == ("waiting", {}, None)
    run = Run(web)
    assert run.log(new=2) == 200
    client.wait(lambda seen: any("new" in data for data in seen.named("training_update")), "the next run")
    assert len(client.named("reset")) == 1


def test_a_flush_is_told_where_the_run_registers_again_at_once(
    web: WebServer, watch: Callable[..., SseClient], direct: redis.Redis
) -> None:
    _run, client = start(web, watch)
    direct.flushall()
    run = Run(web)
    assert run.log(new=2) == 200
    reset_comes(client)
    poll(lambda: newcomer(web, watch)["state"] == {"new": 2}, "the next run's field, alone")
    assert newcomer(web, watch)["vision"] is None


def test_a_flush_is_told_while_a_writer_goes_on(
    web: WebServer, watch: Callable[..., SseClient], direct: redis.Redis
) -> None:
    run, client = start(web, watch)
    is_over = threading.Event()

    def write() -> None:
        nonlocal run
        number = 0
        while not is_over.wait(0.02):
            number += 1
            if run.log(new=number) == 403:
                run = Run(web)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        client.wait(lambda seen: any("new" in data for data in seen.named("training_update")), "the writer's entries")
        direct.flushall()
        reset_comes(client)
        at = next(number for number, event in enumerate(client.events) if event.name == "reset")
        client.wait(lambda seen: any("new" in event.data for event in seen.events[at:]), "entries after the reset")
    finally:
        is_over.set()
        writer.join()
    poll(lambda: set(newcomer(web, watch)["state"]) == {"new"}, "the next run's field, alone")


def test_a_redis_that_was_replaced_by_an_empty_one_is_told(
    web: WebServer, watch: Callable[..., SseClient], redis_server: Any
) -> None:
    _run, client = start(web, watch)
    redis_server.kill()
    for file in Path(redis_server.folder).rglob("*"):
        if file.is_file() and file.name != "server.log":
            file.unlink()
    redis_server.start()
    reset_comes(client)
    assert newcomer(web, watch)["state"] == {}


@pytest.mark.parametrize("suffix", ["", ":state", ":metrics", ":vision"])
def test_a_deleted_key_of_the_session_is_told(
    web: WebServer, watch: Callable[..., SseClient], direct: redis.Redis, suffix: str
) -> None:
    run, client = start(web, watch)
    assert set(web.get("/api/history")[1]["series"]) == {"old", "reward"}
    time.sleep(3.5)  # after CHECK_S and a blocking read, the tailer has checked the keys
    direct.delete(run.key(suffix))
    reset_comes(client)
    snapshot = newcomer(web, watch)
    if suffix == ":state":
        assert snapshot["state"] == {}
    if suffix == ":vision":
        assert snapshot["vision"] is None
    if suffix == ":metrics":
        assert web.get("/api/history")[1]["series"] == {}
    assert run.log(new=2) == 200
    client.wait(lambda seen: any("new" in data for data in seen.named("training_update")), "the next entry")
    time.sleep(4.5)  # two more looks
    assert len(client.named("reset")) == 1


def test_deleted_events_of_the_channel_are_told(
    web: WebServer, watch: Callable[..., SseClient], direct: redis.Redis
) -> None:
    _run, client = start(web, watch)
    direct.delete(KEYS.events)
    reset_comes(client)


def test_a_deleted_fence_or_index_loses_nothing_that_is_shown(
    web: WebServer, watch: Callable[..., SseClient], direct: redis.Redis
) -> None:
    run, client = start(web, watch)
    direct.delete(KEYS.fence, KEYS.sessions)
    assert run.log(new=2) == 200
    client.wait(lambda seen: any("new" in data for data in seen.named("training_update")), "the next entry")
    time.sleep(4.5)
    assert client.named("reset") == []
    assert newcomer(web, watch)["state"] == {"old": 1, "reward": 1.0, "new": 2}


def test_a_restored_older_copy_is_told_also_where_the_run_goes_on(
    web: WebServer, watch: Callable[..., SseClient], direct: redis.Redis
) -> None:
    run, client = start(web, watch)
    copy = {key: (direct.dump(key), max(0, direct.pttl(key))) for key in direct.scan_iter("hud:{default}:*")}
    assert run.log(lost=1) == 200
    client.wait(lambda seen: any("lost" in data for data in seen.named("training_update")), "what will be lost")
    with direct.pipeline(transaction=True) as pipe:
        pipe.flushall()
        for key, (dump, ttl_ms) in copy.items():
            pipe.restore(key, ttl_ms, dump)
        pipe.execute()
    assert run.log(new=2) == 200
    reset_comes(client)
    assert newcomer(web, watch)["state"] == {"old": 1, "reward": 1.0, "new": 2}


@pytest.mark.parametrize("trouble", ["slow", "busy"])
def test_a_slow_redis_is_no_reason_to_reset(
    serve: Callable[..., WebServer],
    watch: Callable[..., SseClient],
    direct: redis.Redis,
    redis_server: Any,
    trouble: str,
) -> None:
    near = serve()
    with FaultProxy(redis_server.port) as proxy:
        far = serve(redis_url=proxy.redis_url)
        run, client = start(near, watch)
        warm = watch(far)  # keeps the channel open on the far replica
        warm.wait(lambda seen: seen.named("snapshot"), "a snapshot")
        if trouble == "slow":
            proxy.replies_per_s = 20_000
        for number in range(400):
            assert run.log(reward=number, text="x" * 500) == 200
        if trouble == "busy":
            direct.config_set("busy-reply-threshold", 100)
            blocker = threading.Thread(target=block, args=(redis_server.url,))
            blocker.start()
        client.wait(lambda seen: seen.named("training_update")[-1].get("reward") == 399, "the last entry")
        moved = watch(far, last_id=client.last_id)
        time.sleep(8.0)
        proxy.replies_per_s = None
        if trouble == "busy":
            with contextlib.suppress(redis.exceptions.ResponseError):
                direct.script_kill()
            blocker.join()
        poll(lambda: run.log(last=1) == 200, "Redis to answer again")
        moved.wait(lambda seen: any("last" in data for data in seen.named("training_update")), "what comes next", 60)
        assert moved.named("reset") == []
        assert [data["reward"] for data in moved.named("training_update") if "reward" in data] == []
        assert warm.named("reset") == []


def block(url: str) -> None:
    """Run a script without an end, until it is killed."""
    with redis.Redis.from_url(url) as client, contextlib.suppress(redis.exceptions.RedisError):
        client.eval("while true do end", 0)
