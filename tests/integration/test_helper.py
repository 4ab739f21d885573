"""The process beside training: all that a thread does, and what happens when it dies, hangs, or cannot be started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from hud_publisher import Publisher
from hud_publisher.protocol.keys import ChannelKeys
from tests.fixtures.servers import Server, wait_until

KEYS = ChannelKeys("default")
FRAME: Any = np.random.default_rng(1).integers(0, 255, (144, 160, 3), dtype=np.uint8)


@pytest.fixture
def publish(redis_server: Server) -> Iterator[Callable[..., Publisher]]:
    made: list[Publisher] = []

    def make(**options: Any) -> Publisher:
        made.append(Publisher(redis_url=redis_server.url, has_helper=True, **options))
        return made[-1]

    yield make
    for publisher in made:
        publisher.close(1)


def helpers(parent: int | None = None) -> list[int]:
    """The processes that help another one."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command, status = (path / "cmdline").read_bytes(), (path / "stat").read_text()
        except OSError:  # it has just ended
            continue
        fields = status.rpartition(")")[2].split()
        if (
            b"hud_publisher.helper_process" in command
            and fields[0] != "Z"
            and int(fields[1]) == (parent or os.getpid())
        ):
            found.append(int(path.name))
    return found


def entries(server: Server, stream: str) -> list[dict[bytes, bytes]]:
    with redis.Redis.from_url(server.url) as link:
        sid = link.get(KEYS.fence)
        assert isinstance(sid, bytes)
        found: Any = link.xrange(KEYS.session(sid.decode()).stream(stream))
        return [fields for _id, fields in found]


def steps(server: Server, stream: str = "metrics") -> list[int]:
    return [int(fields[b"step"]) for fields in entries(server, stream)]


def test_everything_that_is_offered_arrives_in_order(redis_server: Server, publish: Callable[..., Publisher]) -> None:
    hud = publish(frames="always", fps=100, info={"env": "Test"})
    hud.start()
    wait_until(lambda: hud.is_active, "the helper to be there")
    for step in range(300):
        hud.log({"a": step, "np": np.float32(step), "text": "x"}, step=step)
        hud.frame(FRAME, step=step, episode=1, env=(1, 0))
        time.sleep(0.002)
    hud.log_iteration({"loss": 0.5, "nested": {"kl": np.float64(0.1)}}, step=300)
    hud.vision(FRAME, prompt="Where to?", response="left", response_time_ms=4.0, step=300, model="m")
    wait_until(lambda: not any(hud.stats.pending.values()), "all of it to land")
    assert len(helpers()) == 1
    assert steps(redis_server) == list(range(300))
    frames = steps(redis_server, "frames")
    assert len(frames) > 10
    assert frames == sorted(set(frames))
    assert steps(redis_server, "iterations") == [300]
    (call,) = entries(redis_server, "vision")
    assert b"Where to?" in b"".join(call.values())
    stats = hud.stats
    assert stats.taken["metrics"] == stats.sent["metrics"] == 300
    assert stats.taken["frames"] == stats.sent["frames"] + stats.dropped.get("frames/replaced", 0)
    assert hud.is_active
    assert hud.sid
    assert hud.feedback_age_s < 30


def test_it_leaves_the_processor_alone_where_training_runs(publish: Callable[..., Publisher]) -> None:
    allowed = os.sched_getaffinity(0)
    assert len(allowed) > 1, "expected a machine with two processors at the least"
    hud = publish()
    hud.start()
    wait_until(lambda: hud.is_active, "the helper to be there")
    (helper,) = helpers()
    try:
        for processor in sorted(allowed)[:2]:
            os.sched_setaffinity(0, {processor})
            rest = allowed - {processor}
            wait_until(lambda rest=rest: os.sched_getaffinity(helper) == rest, "it to go elsewhere")  # type: ignore[misc]
    finally:
        os.sched_setaffinity(0, allowed)


def test_frames_that_go_together_all_land_with_few_calls(
    redis_server: Server, publish: Callable[..., Publisher]
) -> None:
    hud = publish(frames="always", fps=20, gathers=True)
    hud.start()
    wait_until(lambda: hud.is_active, "the helper to be there")
    batches, taken = hud.stats.batches, 0
    while taken < 40:
        taken += hud.frame(FRAME, step=taken, episode=1, env=(1, 0))
        time.sleep(0.002)
    wait_until(lambda: hud.stats.sent["frames"] >= 40, "all of them to land")
    assert steps(redis_server, "frames") == list(range(40))
    assert hud.stats.batches - batches <= 20


def test_closing_sends_the_rest_ends_the_session_and_the_process(
    redis_server: Server, publish: Callable[..., Publisher]
) -> None:
    hud = publish()
    for step in range(50):
        hud.log({"a": step}, step=step)
    hud.close()
    assert hud.status == "closed"
    assert hud.stats.sent == {"metrics": 50}
    assert helpers() == []
    assert steps(redis_server) == list(range(50))
    with redis.Redis.from_url(redis_server.url) as link:
        assert not link.exists(KEYS.lock)


def test_a_thread_goes_on_where_the_process_dies(
    redis_server: Server, publish: Callable[..., Publisher], caplog: pytest.LogCaptureFixture
) -> None:
    hud = publish(run_id="one")
    hud.log({"a": 0}, step=0)
    wait_until(lambda: hud.stats.sent.get("metrics") == 1, "the first entry")
    (helper,) = helpers()
    os.kill(helper, signal.SIGKILL)
    wait_until(lambda: "a thread goes on" in caplog.text, "the end to be noticed")
    for step in range(1, 100):
        hud.log({"a": step}, step=step)
        hud.frame(FRAME, step=step)
    wait_until(lambda: hud.stats.sent.get("metrics") == 100, "everything to land")
    assert steps(redis_server) == list(range(100))
    assert helpers() == []
    assert hud.stats.dropped.get("metrics/closed", 0) == 0


def test_what_dies_with_the_process_is_counted(redis_server: Server, publish: Callable[..., Publisher]) -> None:
    hud = publish(run_id="one")
    hud.log({"a": 0}, step=0)
    wait_until(lambda: hud.stats.sent.get("metrics") == 1, "the first entry")
    redis_server.stop()
    for step in range(1, 50):
        hud.log({"a": step}, step=step)
    (helper,) = helpers()
    wait_until(lambda: hud.stats.failures, "the first time-out")
    os.kill(helper, signal.SIGKILL)
    wait_until(lambda: hud.stats.dropped.get("metrics/closed") == 49, "the loss to be counted")
    redis_server.cont()
    hud.log({"a": 50}, step=50)
    wait_until(lambda: hud.stats.sent.get("metrics") == 2, "the thread to go on")
    stats = hud.stats
    assert stats.taken["metrics"] == 51
    assert stats.pending["metrics"] == 0


def test_a_process_that_hangs_holds_up_nothing(redis_server: Server, publish: Callable[..., Publisher]) -> None:
    hud = publish(frames="always", fps=100)
    hud.log({"a": 0}, step=0)
    wait_until(lambda: hud.stats.sent.get("metrics") == 1, "the first entry")
    (helper,) = helpers()
    os.kill(helper, signal.SIGSTOP)
    try:
        for step in range(1, 3_000):
            hud.log({"a": step}, step=step)
            hud.frame(FRAME, step=step)
    finally:
        os.kill(helper, signal.SIGCONT)
    wait_until(lambda: hud.stats.sent.get("metrics") == 3_000, "everything to land")
    assert steps(redis_server) == list(range(3_000))


def test_a_thread_does_the_work_where_no_process_can_be_started(
    redis_server: Server, publish: Callable[..., Publisher], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    hud = publish()
    for step in range(20):
        hud.log({"a": step}, step=step)
    wait_until(lambda: hud.stats.sent.get("metrics") == 20, "everything to land")
    assert steps(redis_server) == list(range(20))


def test_hud_helper_off_means_a_thread(publish: Callable[..., Publisher]) -> None:
    hud = publish(helper="off")
    hud.log({"a": 1}, step=1)
    wait_until(lambda: hud.stats.sent.get("metrics") == 1, "the entry")
    assert helpers() == []


def test_what_only_this_process_understands_is_made_numbers_of_or_named(
    redis_server: Server, publish: Callable[..., Publisher], caplog: pytest.LogCaptureFixture
) -> None:
    hud = publish()
    hud.log({"a": 1, "odd": Decimal("1.5"), "bad": object()}, step=1)
    hud.log({"a": 2}, step=2)
    wait_until(lambda: hud.stats.sent.get("metrics") == 2, "both entries")
    assert b'"a":1' in entries(redis_server, "metrics")[0][b"data"]
    assert hud.stats.unusable["bad"] == 1
    assert "cannot show 'bad'" in caplog.text


def test_it_is_silent_while_its_parent_is_frozen(redis_server: Server) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), redis_server.url], stdout=subprocess.PIPE
    )
    with program, redis.Redis.from_url(redis_server.url) as link:
        assert program.stdout is not None
        assert program.stdout.readline() == b"logged\n"
        program.send_signal(signal.SIGSTOP)
        wait_until(lambda: not link.exists(KEYS.lock), "the lease to end")
        program.send_signal(signal.SIGCONT)
        wait_until(lambda: link.exists(KEYS.lock), "the run to be back")
        program.kill()


PROGRAM = """
    import sys, time, numpy as np
    from hud_publisher import Publisher
    hud = Publisher(redis_url=sys.argv[1], run_id="one", has_helper=True, session_ttl_s=2)
    hud.log({"a": 0}, step=0)
    while not hud.stats.sent.get("metrics"):
        time.sleep(0.01)
    for step in range(1, 200):
        hud.log({"a": step}, step=step)
    print("logged", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_outlives_its_parent_only_to_send_what_it_was_given(redis_server: Server, how: signal.Signals) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), redis_server.url],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    with program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"logged\n"
        (helper,) = helpers(program.pid)
        os.killpg(program.pid, how) if how == signal.SIGINT else program.send_signal(how)
        program.wait(10)
    wait_until(lambda: not Path(f"/proc/{helper}").exists(), "the helper to end", deadline_s=10)
    assert steps(redis_server) == list(range(200))
