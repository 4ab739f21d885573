"""A publisher against real servers that are killed, stopped, slow or cut off: training goes on, and every lost or
doubled entry is counted."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import redis
from PIL import Image

from hud_publisher import Publisher
from hud_publisher.protocol import scripts
from hud_publisher.protocol.entries import Limits, StreamName
from hud_publisher.protocol.keys import ChannelKeys
from hud_publisher.sinks.redis_client import connect, execute
from tests.fixtures.fault_proxy import FaultProxy
from tests.fixtures.servers import Server, wait_until
from tests.fixtures.web import SseClient, WebServer

KEYS = ChannelKeys("default")
FRAME: Any = np.random.default_rng(1).integers(0, 255, (144, 160, 3), dtype=np.uint8)


@pytest.fixture
def proxy(redis_server: Server) -> Iterator[FaultProxy]:
    with FaultProxy(redis_server.port) as proxy:
        yield proxy


def steps(server: Server, stream: str = "metrics") -> list[int]:
    """The steps of all entries of the channel's newest session, in order."""
    with redis.Redis.from_url(server.url) as link:
        sid = link.get(KEYS.fence)
        assert isinstance(sid, bytes)
        entries: Any = link.xrange(KEYS.session(sid.decode()).stream(stream))
        return [int(fields[b"step"]) for _id, fields in entries]


def sent(hud: Publisher, stream: str = "metrics") -> int:
    return dict(hud.stats.sent).get(stream, 0)  # type: ignore[call-overload, no-any-return]


def has_sent(hud: Publisher, total: int) -> bool:
    return sent(hud) == total


def log_through_cuts(hud: Publisher, proxy: FaultProxy, *, rounds: int, most_bytes: int) -> int:
    """Log while one answer after another is cut off, each at another byte; return the number of entries."""
    rng = random.Random(1)
    total = 0
    for _ in range(rounds):
        proxy.cut_replies_after = rng.randrange(most_bytes)
        while proxy.cut_replies_after is not None:
            hud.log({"a": total}, step=total)
            total += 1
            time.sleep(0.002)
        wait_until(partial(has_sent, hud, total), "everything to land", deadline_s=30)
    return total


def test_a_redis_killed_and_restarted_costs_nothing_that_was_logged(
    redis_server: Server, publish: Callable[..., Publisher]
) -> None:
    hud = publish(redis_url=redis_server.url)
    for step in range(50):
        hud.log({"a": step}, step=step)
    wait_until(lambda: sent(hud) == 50, "the first entries")
    redis_server.kill()
    for step in range(50, 150):
        hud.log({"a": step}, step=step)
        hud.frame(FRAME, step=step)
    wait_until(lambda: hud.status == "connecting", "the outage to be noticed")
    redis_server.restart()
    wait_until(lambda: sent(hud) == 150, "everything to land", deadline_s=30)
    assert steps(redis_server) == list(range(150))
    assert hud.stats.dropped.get("metrics/overflow", 0) == 0


def test_a_redis_that_is_away_at_the_start_gets_everything_once_it_comes(
    redis_server: Server, publish: Callable[..., Publisher]
) -> None:
    redis_server.kill()
    hud = publish(redis_url=redis_server.url)
    for step in range(20):
        hud.log({"a": step}, step=step)
    wait_until(lambda: hud.stats.failures, "the first failure")
    assert hud.status == "connecting"
    redis_server.restart()
    wait_until(lambda: sent(hud) == 20, "everything to land", deadline_s=30)
    assert steps(redis_server) == list(range(20))


def test_a_redis_that_forgot_everything_gets_a_new_session(
    redis_server: Server, publish: Callable[..., Publisher]
) -> None:
    hud = publish(redis_url=redis_server.url)
    hud.log({"a": 1}, step=1)
    wait_until(lambda: sent(hud) == 1, "the first entry")
    with redis.Redis.from_url(redis_server.url) as link:
        link.flushall()
    hud.log({"a": 2}, step=2)
    wait_until(lambda: sent(hud) == 2, "the entry under the new session")
    assert steps(redis_server) == [2]
    assert hud.stats.losses == 1


def test_a_stopped_redis_holds_up_neither_logging_nor_closing(
    redis_server: Server, publish: Callable[..., Publisher]
) -> None:
    hud = publish(redis_url=redis_server.url)
    hud.log({"a": 0}, step=0)
    wait_until(lambda: sent(hud) == 1, "the first entry")
    redis_server.stop()
    try:
        done = threading.Event()

        def train() -> None:
            for step in range(1, 5000):
                hud.log({"a": step}, step=step)
                hud.frame(FRAME, step=step)
            hud.close(0.2)
            done.set()

        threading.Thread(target=train, daemon=True).start()
        # The stopped server answers nothing: this would not end if any call waited for an answer.
        assert done.wait(30)
        assert hud.stats.pending.get("metrics", 0) + hud.stats.dropped.get("metrics/closed", 0) == 4999
    finally:
        redis_server.cont()


def test_a_stopped_redis_that_goes_on_has_everything_once(
    redis_server: Server, publish: Callable[..., Publisher]
) -> None:
    hud = publish(redis_url=redis_server.url)
    hud.log({"a": 0}, step=0)
    wait_until(lambda: sent(hud) == 1, "the first entry")
    redis_server.stop()
    for step in range(1, 300):
        hud.log({"a": step}, step=step)
    wait_until(lambda: hud.stats.failures >= 2, "two time-outs", deadline_s=30)
    redis_server.cont()
    wait_until(lambda: sent(hud) == 300, "everything to land", deadline_s=30)
    assert steps(redis_server) == list(range(300))


def test_answers_cut_off_at_any_byte_neither_lose_nor_double_an_entry(
    redis_server: Server, proxy: FaultProxy, publish: Callable[..., Publisher]
) -> None:
    hud = publish(redis_url=proxy.redis_url)
    total = log_through_cuts(hud, proxy, rounds=20, most_bytes=120)
    assert steps(redis_server) == list(range(total))
    assert hud.stats.retries > 0
    assert hud.stats.duplicates > 0


def test_a_network_that_swallows_everything_for_a_while_doubles_nothing(
    redis_server: Server, proxy: FaultProxy, publish: Callable[..., Publisher]
) -> None:
    hud = publish(redis_url=proxy.redis_url)
    hud.log({"a": 0}, step=0)
    wait_until(lambda: sent(hud) == 1, "the first entry")
    proxy.is_swallowing = True
    for step in range(1, 100):
        hud.log({"a": step}, step=step)
    wait_until(lambda: hud.stats.failures >= 1, "a time-out")
    proxy.is_swallowing = False
    wait_until(lambda: sent(hud) == 100, "everything to land", deadline_s=30)
    assert steps(redis_server) == list(range(100))


def test_a_slow_network_drops_old_frames_and_no_metrics(
    redis_server: Server, proxy: FaultProxy, publish: Callable[..., Publisher]
) -> None:
    hud = publish(redis_url=proxy.redis_url, frames="always", fps=100)
    hud.log({"a": -1}, step=0)
    wait_until(lambda: sent(hud) == 1, "the first entry")
    proxy.bytes_per_s = 100_000
    end = time.monotonic() + 2
    step = 0
    while time.monotonic() < end:
        step += 1
        hud.log({"a": step}, step=step)
        hud.frame(FRAME, step=step)
        time.sleep(0.005)
    proxy.bytes_per_s = None
    wait_until(lambda: sent(hud) == step + 1, "everything to land", deadline_s=60)
    stats = hud.stats
    assert stats.dropped["frames/replaced"] > 0
    assert "metrics/overflow" not in stats.dropped
    assert steps(redis_server) == list(range(step + 1))


def test_memory_stays_bounded_while_nothing_can_be_sent(publish: Callable[..., Publisher]) -> None:
    with FaultProxy(1) as proxy:  # no server listens behind it
        hud = publish(redis_url=proxy.redis_url, frames="always", fps=100)
        for step in range(60_000):
            hud.log({f"field {number}": step * 0.5 for number in range(10)}, step=step)
            hud.frame(FRAME, step=step)
            if step % 100 == 0:
                hud.vision(FRAME, prompt="p", response="r")
        assert hud.stats.pending["metrics"] <= 30_000
        most: dict[StreamName, int] = {"metrics": 20_000, "frames": 1, "vision": 16}
        wait_until(lambda: all(hud.stats.pending[name] <= most[name] for name in most), "all of it to be bounded")
        stats = hud.stats
        assert stats.dropped["metrics/overflow"] == 60_000 - stats.pending["metrics"]


def test_a_run_that_lost_its_channel_trains_on_and_comes_back(
    redis_server: Server, publish: Callable[..., Publisher]
) -> None:
    hud = publish(redis_url=redis_server.url, run_id="one")
    hud.log({"a": 1}, step=1)
    wait_until(lambda: sent(hud) == 1, "the first entry")
    link = connect(redis_server.url)
    limits = Limits(ttl_ms=1_000)
    execute(link, scripts.register("default", run_id="two", name="other", limits=limits, takeover=True))
    hud.log({"a": 2}, step=2)
    wait_until(lambda: hud.status in ("lost", "refused"), "the loss to be noticed")
    wait_until(lambda: sent(hud) == 2, "the run to come back after the other's lease", deadline_s=30)
    assert steps(redis_server) == [2]
    link.close()


def test_processes_of_one_run_share_its_session(redis_server: Server, publish: Callable[..., Publisher]) -> None:
    driver, runner = (publish(redis_url=redis_server.url, run_id="one") for _ in range(2))
    stranger = publish(redis_url=redis_server.url, run_id="two", when_held="wait")
    for hud in (driver, runner):
        hud.log({"a": 1}, step=1)
    wait_until(lambda: driver.is_active and runner.is_active, "both to have the session")
    stranger.log({"a": 9}, step=9)
    wait_until(lambda: stranger.status == "refused", "the stranger to be refused")
    assert driver.sid == runner.sid
    assert {driver.status, runner.status} == {"registered", "joined"}
    wait_until(lambda: len(steps(redis_server)) == 2, "both entries")
    assert steps(redis_server) == [1, 1]


def test_the_runs_end_frees_the_channel_for_the_one_that_waits(
    redis_server: Server, publish: Callable[..., Publisher]
) -> None:
    first = publish(redis_url=redis_server.url, run_id="one", session_ttl_s=1)
    first.start()
    wait_until(lambda: first.is_active, "the first run")
    second = publish(redis_url=redis_server.url, run_id="two", when_held="wait")
    second.log({"a": 1}, step=1)
    wait_until(lambda: second.status == "refused", "the second run to be refused")
    first.close()
    wait_until(lambda: sent(second) == 1, "the second run to get the channel", deadline_s=30)


def test_a_hud_server_killed_and_restarted_costs_nothing_that_was_logged(
    redis_server: Server, serve: Callable[..., WebServer], publish: Callable[..., Publisher]
) -> None:
    web = serve()
    hud = publish(hud_url=web.url)
    for step in range(50):
        hud.log({"a": step}, step=step)
    wait_until(lambda: sent(hud) == 50, "the first entries")
    web.kill()
    for step in range(50, 150):
        hud.log({"a": step}, step=step)
    wait_until(lambda: hud.status == "connecting", "the outage to be noticed")
    web.start()
    wait_until(lambda: sent(hud) == 150, "everything to land", deadline_s=30)
    assert steps(redis_server) == list(range(150))


def offer_frames(hud: Publisher, is_over: Callable[[], bool], least_s: float = 0.0) -> float:
    """Offer frames as an environment does, for at least `least_s`; return the frames taken per second."""
    before, began_s, deadline_s = dict(hud.stats.taken), time.monotonic(), time.monotonic() + 20
    while time.monotonic() < began_s + least_s or not is_over():
        assert time.monotonic() < deadline_s, "waited 20 s"
        hud.frame(FRAME, step=1)
        time.sleep(0.005)
    return (hud.stats.taken.get("frames", 0) - before.get("frames", 0)) / (time.monotonic() - began_s)


@pytest.mark.parametrize("over_http", [False, True])
def test_frames_are_sent_once_a_second_until_somebody_watches(
    redis_server: Server, serve: Callable[..., WebServer], publish: Callable[..., Publisher], over_http: bool
) -> None:
    web = serve()
    address = {"hud_url": web.url} if over_http else {"redis_url": redis_server.url}
    hud, always, off = (publish(frames=frames, run_id="r", **address) for frames in ("watched", "always", "off"))
    assert offer_frames(hud, lambda: sent(hud, "frames") >= 2, 3.0) < 3
    assert offer_frames(always, lambda: sent(always, "frames") >= 10) > 1.5
    stream = SseClient(f"{web.url}/stream")
    # At one per second ten frames would take ten seconds; they come at twenty as soon as it knows of the viewer.
    assert offer_frames(hud, lambda: len(stream.named("vision_update")) >= 10) > 1.5
    stream.close()
    assert offer_frames(off, lambda: True, 0.5) == 0
    assert not off.wants_frame()


def test_a_hud_server_behind_a_bad_network_gets_everything_once(
    redis_server: Server, serve: Callable[..., WebServer], publish: Callable[..., Publisher]
) -> None:
    web = serve()
    with FaultProxy(web.port) as proxy:
        hud = publish(hud_url=proxy.url)
        total = log_through_cuts(hud, proxy, rounds=15, most_bytes=900)
        assert steps(redis_server) == list(range(total))
        assert hud.stats.retries > 0


def test_an_explicit_takeover_ends_the_other_run_and_needs_the_token_over_http(
    redis_server: Server, serve: Callable[..., WebServer], publish: Callable[..., Publisher]
) -> None:
    web = serve(environment={"HUD_TOKEN": "right"})
    first = publish(redis_url=redis_server.url)
    first.start()
    wait_until(lambda: first.is_active, "the first run")
    second = publish(redis_url=redis_server.url, takeover=True)
    second.start()
    wait_until(lambda: second.is_active, "the run that takes over")
    third = publish(hud_url=web.url, takeover=True, token="right")
    third.start()
    wait_until(lambda: third.is_active, "the run that takes over through the server")
    second.log({"a": 1})
    wait_until(lambda: second.status in ("lost", "refused"), "the loss to be noticed")


def test_a_token_is_needed_where_one_is_set(serve: Callable[..., WebServer], publish: Callable[..., Publisher]) -> None:
    web = serve(environment={"HUD_TOKEN": "right,next"})
    wrong = publish(hud_url=web.url, token="wrong")
    right = publish(hud_url=web.url, token="right")
    for hud in (wrong, right):
        hud.log({"a": 1}, step=1)
    wait_until(lambda: sent(right) == 1, "the entry with the token")
    wait_until(lambda: wrong.stats.failures == 1, "the refusal")
    assert sent(wrong) == 0


@pytest.mark.parametrize("over", ["redis", "http"])
def test_odd_names_values_and_pictures_come_out_of_every_endpoint(
    serve: Callable[..., WebServer], publish: Callable[..., Publisher], redis_server: Server, over: str
) -> None:
    web = serve()
    file = os.fsdecode(b"caf\xe9.png")
    hud = publish(
        **({"redis_url": redis_server.url} if over == "redis" else {"hud_url": web.url}), name=file, info={file: file}
    )
    hud.log({"a/b": 1, "a": {"b": 2}, file: file, "n" * 300: 3, "n" * 301: 4, 10**5000: -(10**5000)}, step=1)
    hud.log_iteration({"deep": {file: [file, None]}, "z": -0.0, "small": 5e-324}, step=2)
    gif = io.BytesIO()
    Image.new("RGB", (8, 8)).save(gif, "GIF")
    hud.vision(gif.getvalue(), prompt=file, response=file, file=file)
    hud.vision("https://host/cat.png", prompt="where?", response="left", response_time_ms=4.0)
    hud.close()
    assert hud.stats.dropped_total == 0
    series = web.get("/api/history")[1]["series"]
    assert (series["a/b"]["value"], series["a/b (2)"]["value"]) == ([1], [2])
    assert sorted(field["value"] for path, field in series.items() if path.startswith("nnn")) == [[3], [4]]
    for path in ("/api/state", "/api/sessions", "/api/export", "/api/export?format=json"):
        assert web.get(path)[0] == 200, path
    second, first = web.get("/api/vision")[1]["calls"]
    assert (first["prompt"], first["response"], first["extra"]["file"]) == ("caf?.png",) * 3
    assert first["extra"]["picture"] == "converted from GIF, 8×8"
    assert (second["prompt"], second["response"], second["response_time"]) == ("where?", "left", 4.0)
    for call in (first, second):
        status, image = web.get(f"/api/vision/{call['id']}")
        assert status == 200
        assert Image.open(io.BytesIO(image)).size == ((8, 8) if call is first else (384, 68))


def run_script(text: str, redis_url: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HUD_", "REDIS_"))}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        env=environment | {"REDIS_URL": redis_url}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_entries_logged_just_before_the_end_of_the_program_land(redis_server: Server) -> None:
    ended = run_script(
        """
        from hud_publisher import Publisher
        hud = Publisher()
        for step in range(1000):
            hud.log({"a": step}, step=step)
        """,
        redis_server.url,
    )
    told = f"HUD: publishing to {redis_server.url}, channel default\n"  # once per run, although its processes fork
    assert (ended.returncode, ended.stderr) == (0, told)
    assert steps(redis_server) == list(range(1000))
    with redis.Redis.from_url(redis_server.url) as link:
        assert link.get(KEYS.lock) is None


def test_a_program_ends_in_bounded_time_though_redis_hangs(redis_server: Server) -> None:
    redis_server.stop()
    try:
        ended = run_script(
            """
            from hud_publisher import Publisher
            publishers = [Publisher() for _ in range(3)]
            for hud in publishers:
                hud.log({"a": 1})
            """,
            redis_server.url,
        )
    finally:
        redis_server.cont()
    assert ended.returncode == 0


def test_forked_workers_publish_into_the_runs_session(redis_server: Server) -> None:
    ended = run_script(
        """
        import json, os, time
        from hud_publisher import Publisher
        hud = Publisher()
        hud.log({"a": 0}, step=0)
        while not hud.stats.sent:
            time.sleep(0.01)
        for child in range(1, 4):
            if os.fork() == 0:
                hud.log({"a": child}, step=child)
                hud.close(5, release=False)
                os._exit(0)
        for _ in range(3):
            os.wait()
        hud.log({"a": 4}, step=4)
        hud.close(5)
        print(json.dumps({"sent": hud.stats.sent, "failures": hud.stats.failures}))
        """,
        redis_server.url,
    )
    told = f"HUD: publishing to {redis_server.url}, channel default\n"  # once per run, although its processes fork
    assert (ended.returncode, ended.stderr) == (0, told)
    assert json.loads(ended.stdout) == {"sent": {"metrics": 2}, "failures": 0}
    found = steps(redis_server)
    assert (found[0], sorted(found[1:4]), found[4]) == (0, [1, 2, 3], 4)
