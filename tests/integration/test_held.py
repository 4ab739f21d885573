"""Runs that want the same channel at once, on real servers: each is shown soon, and none loses an entry."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from hud_publisher import Publisher
from hud_publisher.protocol.keys import CHANNELS, PAGE, ChannelKeys
from tests.fixtures.servers import Server, wait_until
from tests.fixtures.web import WebServer

#: A program that logs one entry per 20 ms, and prints where.
PROGRAM = """
import itertools, sys, time
from hud_publisher import Publisher
hud = Publisher(redis_url=sys.argv[1], session_ttl_s=3, name="crashing")
for step in itertools.count():
    hud.log({"a": step}, step=step)
    if hud.is_active:
        print(hud.channel, flush=True)
    time.sleep(0.02)
"""


def steps(server: Server, channel: str) -> list[int]:
    """The steps of all entries of all sessions of a channel, in order."""
    keys = ChannelKeys(channel)
    with redis.Redis.from_url(server.url) as link:
        sids: Any = link.zrange(keys.sessions, 0, -1)
        entries: Any = [entry for sid in sids for entry in link.xrange(keys.session(sid.decode()).stream("metrics"))]
        return [int(fields[b"step"]) for _id, fields in entries]


def listed(server: Server) -> set[str]:
    with redis.Redis.from_url(server.url) as link:
        found: Any = link.zrange(CHANNELS, 0, -1)
        return {name.decode() for name in found}


@pytest.mark.parametrize("way", ["redis", "http"])
def test_two_runs_beside_a_live_one_are_shown_within_two_seconds_and_lose_nothing(
    way: str, redis_server: Server, serve: Callable[..., WebServer], publish: Callable[..., Publisher]
) -> None:
    where: dict[str, Any] = {"redis_url": redis_server.url} if way == "redis" else {"hud_url": serve().url}
    first = publish(**where, run_id="one")
    first.log({"a": 0}, step=0)
    wait_until(lambda: steps(redis_server, "default") == [0], "the first run")
    others = [publish(**where, run_id=name) for name in ("two", "three")]
    began = time.monotonic()
    shown_after: dict[str, float] = {}
    step = 0
    while time.monotonic() < began + 2.5:
        for hud in others:
            hud.log({"a": step}, step=step)
            if (
                hud.run_id not in shown_after
                and hud.channel in listed(redis_server)
                and steps(redis_server, hud.channel)
            ):
                shown_after[hud.run_id] = time.monotonic() - began
        step += 1
        time.sleep(0.01)
    assert {hud.channel for hud in others} == {"default~2", "default~3"}
    assert max(shown_after.values()) < 2.0
    for hud in others:
        wait_until(lambda hud=hud: not any(hud.stats.pending.values()), "everything to be sent")  # type: ignore[misc]
        assert steps(redis_server, hud.channel) == list(range(step))
        assert hud.stats.dropped_total == 0
    assert first.channel == "default"


def test_a_killed_run_that_restarts_has_its_display_back_and_loses_nothing_that_it_queued(
    redis_server: Server, publish: Callable[..., Publisher]
) -> None:
    command = [sys.executable, "-c", PROGRAM, redis_server.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "default\n"
        program.send_signal(signal.SIGKILL)
    before = len(steps(redis_server, "default"))
    again = publish(redis_url=redis_server.url, session_ttl_s=3)
    began, step = time.monotonic(), 100_000
    while not again.is_active:
        again.log({"a": step}, step=step)
        step += 1
        time.sleep(0.02)
        assert time.monotonic() < began + 3 + 1  # the lease of the killed run, and some time to register
    assert again.channel == "default"
    wait_until(lambda: len(steps(redis_server, "default")) == before + step - 100_000, "all entries of the new run")
    assert steps(redis_server, "default")[before:] == list(range(100_000, step))
    assert again.stats.refusals > 0
    assert listed(redis_server) == {"default"}


def test_processes_of_a_run_end_in_its_own_channel_also_if_they_start_later(
    redis_server: Server, publish: Callable[..., Publisher]
) -> None:
    first = publish(redis_url=redis_server.url, run_id="one")
    first.start()
    wait_until(lambda: first.is_active, "the first run")
    early = publish(redis_url=redis_server.url, run_id="two", writer="w1")
    early.log({"a": 1}, step=1)
    wait_until(lambda: early.status == "refused", "the env runner to be refused")
    driver = publish(redis_url=redis_server.url, run_id="two", writer="driver")
    driver.log({"a": 2}, step=2)
    wait_until(lambda: early.is_active and driver.is_active, "both to be in the run's channel")
    first.close()
    late = publish(redis_url=redis_server.url, run_id="two", writer="w2")
    late.log({"a": 3}, step=3)
    wait_until(lambda: late.is_active, "the late one")
    assert {hud.channel for hud in (early, driver, late)} == {"default~2"}
    assert len({hud.sid for hud in (early, driver, late)}) == 1
    wait_until(lambda: sorted(steps(redis_server, "default~2")) == [1, 2, 3], "all entries")


def test_a_run_whose_channel_was_taken_over_continues_in_its_own_with_all_its_processes(
    redis_server: Server, publish: Callable[..., Publisher]
) -> None:
    driver = publish(redis_url=redis_server.url, run_id="one", writer="driver")
    runner = publish(redis_url=redis_server.url, run_id="one", writer="w1")
    for hud in (driver, runner):
        hud.log({"a": 0}, step=0)
        wait_until(lambda hud=hud: hud.is_active, "the run")  # type: ignore[misc]
    other = publish(redis_url=redis_server.url, run_id="two", takeover=True)
    other.log({"a": 9}, step=9)
    wait_until(lambda: other.is_active, "the takeover")
    for hud in (driver, runner):
        hud.log({"a": 1}, step=1)
    wait_until(lambda: driver.channel == runner.channel == "default~2", "the run's own channel")
    wait_until(lambda: steps(redis_server, "default~2") == [1, 1], "the entries")
    assert steps(redis_server, "default") == [0, 0, 9]


def test_a_run_logs_the_link_of_its_display_once(
    redis_server: Server,
    serve: Callable[..., WebServer],
    publish: Callable[..., Publisher],
    caplog: pytest.LogCaptureFixture,
) -> None:
    web = serve()
    port = web.url.rpartition(":")[2]
    with redis.Redis.from_url(redis_server.url) as link:
        wait_until(lambda: link.get(PAGE) == f"http://localhost:{port}".encode(), "the address of the page")
        assert 0 < int(link.pttl(PAGE)) <= 60_000  # type: ignore[arg-type]
    first, second = (publish(redis_url=redis_server.url, run_id=name) for name in ("one", "two"))
    for hud in (first, second):
        hud.log({"a": 1}, step=1)
        wait_until(lambda hud=hud: hud.is_active, "the run")  # type: ignore[misc]
    links = [line for line in caplog.messages if line.startswith("HUD: http")]
    assert links == [f"HUD: http://localhost:{port}/?channel={name}" for name in ("default", "default~2")]


def test_a_forgotten_run_of_the_same_process_yields_at_once_and_a_used_one_does_not(
    redis_server: Server, publish: Callable[..., Publisher]
) -> None:
    forgotten = publish(redis_url=redis_server.url)
    forgotten.log({"a": 1}, step=1)
    wait_until(lambda: forgotten.is_active, "the first run")
    again = publish(redis_url=redis_server.url)  # the cell of a notebook runs again
    began = time.monotonic()
    again.log({"a": 2}, step=2)
    wait_until(lambda: again.is_active, "the second run")
    assert again.channel == "default"
    assert time.monotonic() - began < 2.0
    third = publish(redis_url=redis_server.url)
    third.log({"a": 3}, step=3)
    while not third.is_active:
        again.log({"a": 2}, step=2)
        time.sleep(0.02)
    assert (third.channel, again.channel) == ("default~2", "default")
    forgotten.log({"a": 1}, step=4)
    again.log({"a": 2}, step=5)
    wait_until(lambda: steps(redis_server, "default~3") == [4], "the forgotten run, which is used again")
    assert steps(redis_server, "default")[0] == 1
    assert not {3, 4} & set(steps(redis_server, "default"))
