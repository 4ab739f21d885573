"""Redis runs out of memory or disk, or dies during a write: metrics wait, pages stay live, batches land whole."""

from __future__ import annotations

import contextlib
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from hud_publisher import Publisher
from hud_publisher.protocol import replies, scripts
from hud_publisher.protocol.batch import Batch, Registered
from hud_publisher.protocol.entries import Limits, MetricsEntry
from hud_publisher.protocol.keys import ChannelKeys
from hud_publisher.sinks.redis_client import connect, execute
from tests.faults.ledger import read_sessions
from tests.fixtures.publishing import JPEG
from tests.fixtures.servers import Server, redis_binary, running, wait_until
from tests.fixtures.web import SseClient, WebServer

KEYS = ChannelKeys("default")
LIMITS = Limits()
#: A picture of this size fills a small Redis fast; the format allows bytes after the end of the image.
PICTURE = JPEG + bytes(200_000)


@pytest.fixture
def publish() -> Iterator[Callable[..., Publisher]]:
    """Publishers that end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(Publisher(**options))


def stored(server: Server) -> list[list[int]]:
    """The numbers of each session, in stream order."""
    with contextlib.closing(connect(server.url)) as client:
        return [[number.n for _id, number in session.entries["metrics"]] for session in read_sessions(client)]


def sent(hud: Publisher) -> int:
    return dict(hud.stats.sent).get("metrics", 0)


def numbers(client: SseClient) -> list[int]:
    return [data["w"] for data in client.named("training_update") if "w" in data]


def log_until(hud: Publisher, claim: Callable[[], object], what: str, *, frames: bool = False) -> int:
    """Log consecutive numbers, a hundred per second, until `claim` holds; return the last."""
    count = dict(hud.stats.taken).get("metrics", 0)

    def log_and_look() -> object:
        nonlocal count
        count += 1
        hud.log({"w": count}, step=count)
        if frames:
            hud.frame(PICTURE, step=count)
        return claim()

    wait_until(log_and_look, what, deadline_s=60)
    return count


@pytest.mark.timeout(180)
def test_a_redis_without_memory_drops_pictures_keeps_metrics_for_later_and_lets_pages_go_on(
    redis_server: Server,
    web: WebServer,
    watch: Callable[..., SseClient],
    publish: Callable[..., Publisher],
) -> None:
    client = watch(web, "frames=0")
    hud = publish(redis_url=redis_server.url, frames="always", fps=100)
    log_until(hud, lambda: len(numbers(client)) > 20, "the page to live")
    with redis.Redis.from_url(redis_server.url) as direct:
        used: Any = direct.info("memory")
        direct.config_set("maxmemory", used["used_memory"] + 4_000_000)
        log_until(hud, lambda: hud.stats.dropped.get("frames/full", 0) > 3, "frames to be dropped", frames=True)
        direct.config_set("maxmemory", 1)
        late = watch(web, "frames=0")
        late.wait(lambda c: c.named("snapshot"), "a snapshot although Redis is full")
        # A replica reads the lease every two seconds and reports its number of viewers, which Redis refuses now.
        refusals = _refusals(web)
        wait_until(lambda: _refusals(web) > refusals + 1, "two refused reports", deadline_s=60)
        assert direct.get(KEYS.lock) is not None
        assert "away" not in [status["redis"] for status in client.named("status") + late.named("status")]
        direct.config_set("maxmemory", 0)
    count = dict(hud.stats.taken)["metrics"]
    wait_until(lambda: sent(hud) == count, "all metrics to land", deadline_s=60)
    client.wait(lambda c: numbers(c)[-1:] == [count], "the last number", timeout_s=60)
    assert stored(redis_server) == [list(range(1, count + 1))]
    assert numbers(client) == list(range(1, count + 1))
    assert not any(cause.startswith("metrics") for cause in hud.stats.dropped)


def _refusals(web: WebServer) -> float:
    """The number of calls of this replica that Redis has refused."""
    lines = web.get("/metrics")[1].decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("hud_redis_errors_total{"))


@pytest.fixture
def bounded_server(tmp_path: Path) -> Iterator[Server]:
    """A Redis whose files can be forbidden to grow; the trap makes a write fail instead of ending the server."""
    binary = tmp_path / "redis-server"
    binary.write_text(f'#!/bin/sh\ntrap "" XFSZ\nexec {redis_binary()} "$@"\n')
    binary.chmod(0o755)
    with running(str(binary), tmp_path / "redis") as server:
        yield server


def fill_disk(server: Server) -> None:
    """From now on each write to a file fails, after some bytes of it."""
    size = max(path.stat().st_size for path in (server.folder / "appendonlydir").iterdir())
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size + 1_000, resource.RLIM_INFINITY))


def free_disk(server: Server) -> None:
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.mark.timeout(180)
def test_a_full_disk_costs_nothing_that_was_logged_and_the_page_goes_on_once_there_is_room(
    bounded_server: Server, serve: Callable[..., WebServer], watch: Callable[..., SseClient],
    publish: Callable[..., Publisher],
) -> None:  # fmt: skip
    client = watch(serve(redis_url=bounded_server.url))
    hud = publish(redis_url=bounded_server.url)
    log_until(hud, lambda: len(numbers(client)) > 20, "the page to live")
    fill_disk(bounded_server)
    log_until(hud, lambda: hud.stats.failures > 2, "writes to be refused")
    late = watch(serve(redis_url=bounded_server.url))
    late.wait(lambda c: c.named("snapshot"), "a snapshot although the disk is full")
    free_disk(bounded_server)
    count = dict(hud.stats.taken)["metrics"]
    wait_until(lambda: sent(hud) == count, "all to land", deadline_s=60)
    client.wait(lambda c: numbers(c)[-1:] == [count], "the last number", timeout_s=60)
    assert numbers(client) == list(range(1, count + 1))
    bounded_server.kill()
    bounded_server.start()
    assert stored(bounded_server) == [list(range(1, count + 1))]


def test_a_batch_lands_whole_or_not_at_all_wherever_redis_dies_within_it(redis_server: Server) -> None:
    with contextlib.closing(connect(redis_server.url)) as client:
        call = scripts.register("default", run_id="run", name="run", limits=LIMITS)
        session = replies.parse_register(execute(client, call))
        _publish(client, session, 1)
        [log] = (redis_server.folder / "appendonlydir").glob("*.incr.aof")
        before = log.stat().st_size
        _publish(client, session, 2)
    redis_server.kill()
    whole = log.read_bytes()
    results = set()
    for cut in [*range(before, len(whole), (len(whole) - before) // 12), len(whole)]:
        log.write_bytes(whole[:cut])
        redis_server.start()
        [found] = stored(redis_server)
        results.add(len(found))
        with contextlib.closing(connect(redis_server.url)) as client:
            is_duplicate = _publish(client, session, 2)
        assert is_duplicate == (len(found) == 6)
        assert stored(redis_server) == [[3, 4, 5, 6, 7, 8]]
        redis_server.kill()
    assert results == {3, 6}


def _publish(client: Any, session: Registered, number: int) -> bool:
    """Publish three entries as the batch of this number; return whether it had landed before."""
    entries = tuple(MetricsEntry({"w": n}, 1, n) for n in range(number * 3, number * 3 + 3))
    call = scripts.publish(session.session_id, Batch("w", number, entries), LIMITS)
    return replies.parse_publish(execute(client, call)).is_duplicate


@pytest.mark.timeout(180)
@pytest.mark.parametrize("goes_on", [False, True], ids=["quiet", "written to before any page looked"])
def test_a_redis_that_lost_its_last_moments_says_so_to_every_page(
    redis_server: Server, web: WebServer, watch: Callable[..., SseClient], tmp_path: Path,
    publish: Callable[..., Publisher], goes_on: bool,
) -> None:  # fmt: skip
    client = watch(web)
    options = {"redis_url": redis_server.url, "run_id": "the-run", "session_ttl_s": 600}
    hud = publish(**options)
    kept = log_until(hud, lambda: len(numbers(client)) > 20, "the page to live")
    wait_until(lambda: sent(hud) == kept, "all to land")
    shutil.copytree(redis_server.folder / "appendonlydir", tmp_path / "copy")
    count = log_until(hud, lambda: len(numbers(client)) > kept + 20, "more entries")
    hud.close(release=False)
    client.wait(lambda c: numbers(c)[-1:] == [count], "the last number")
    assert web.process is not None
    web.process.send_signal(signal.SIGSTOP)
    redis_server.kill()
    shutil.rmtree(redis_server.folder / "appendonlydir")
    shutil.copytree(tmp_path / "copy", redis_server.folder / "appendonlydir")
    redis_server.start()
    if goes_on:
        again = publish(**options)
        again.log({"w": 1_000_000})
        wait_until(lambda: sent(again) == 1, "an entry newer than all that were lost")
    web.process.send_signal(signal.SIGCONT)
    client.wait(lambda c: c.named("reset"), "a reset", timeout_s=60)
    names = [event.name for event in client.events]
    after = client.wait(lambda c: c.named("snapshot")[1:], "a snapshot")
    assert names.index("reset") > names.index("training_update")
    assert after[-1]["state"] == {"w": 1_000_000 if goes_on else kept}
    resumed = watch(web, last_id=next(event.id for event in reversed(client.events) if event.name == "training_update"))
    resumed.wait(lambda c: c.named("snapshot"), "a snapshot for who comes back")
    assert resumed.named("reset")
