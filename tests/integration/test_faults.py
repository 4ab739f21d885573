"""Redis or a replica fails while a publisher writes and viewers watch: all recover, no acknowledged entry is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hud_publisher import Publisher, Settings
from tests.fixtures.web import SseClient, WebServer, poll


class Training:
    """Logs a number a few hundred times a second, as a training loop would, and times each call."""

    def __init__(self, hud: Publisher) -> None:
        self.hud = hud
        self.count = 0
        self.slowest_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.perf_counter()
            self.hud.log({"n": self.count}, step=self.count)
            self.slowest_s = max(self.slowest_s, time.perf_counter() - began)
            self.count += 1
            time.sleep(0.004)

    def go_on(self, seconds: float) -> None:
        """Wait for as many more calls as fit into this time if none of them blocks."""
        target = self.count + int(seconds / 0.02)
        poll(lambda: self.count >= target, "training to go on", timeout_s=seconds * 3 + 10)

    def end(self) -> int:
        """Stop, flush, and return how many numbers were logged."""
        self._stop.set()
        self._thread.join()
        return self.count


@pytest.fixture
def train(redis_server: Any) -> Iterator[Callable[..., Training]]:
    running: list[Training] = []

    def start(**options: Any) -> Training:
        settings = Settings.from_env({"REDIS_URL": redis_server.url} | options)
        running.append(Training(Publisher(settings=settings, name="fault test")))
        return running[-1]

    yield start
    for training in running:
        training.end()
        training.hud.close()


def numbers(client: SseClient) -> list[int]:
    return [data["n"] for data in client.named("training_update") if "n" in data]


def expect_all_once(client: SseClient, training: Training) -> None:
    """Every number that was logged arrived, in order, once (and so every acknowledged one)."""
    count = training.end()
    client.wait(lambda c: numbers(c)[-1:] == [count - 1], "the last number", timeout_s=30)
    assert numbers(client) == list(range(count))
    assert training.hud.stats.dropped == {}


def test_redis_killed_and_restarted_loses_and_repeats_nothing(
    web: WebServer, watch: Callable[..., SseClient], train: Callable[..., Training], redis_server: Any
) -> None:
    client = watch(web)
    client.wait(lambda c: c.named("snapshot"), "a snapshot")
    training = train()
    client.wait(lambda c: len(numbers(c)) > 20, "20 numbers")
    redis_server.kill()
    client.wait(lambda c: c.named("status")[-1]["redis"] == "away", "the page to be told")
    training.go_on(2)
    redis_server.restart()
    client.wait(lambda c: c.named("status")[-1]["redis"] == "ok", "the page to be told that it is back")
    training.go_on(1)
    expect_all_once(client, training)
    assert not client.named("reset")
    assert not client.ended


def test_redis_frozen_for_ten_seconds_loses_and_repeats_nothing_and_training_goes_on(
    web: WebServer, watch: Callable[..., SseClient], train: Callable[..., Training], redis_server: Any
) -> None:
    client = watch(web)
    client.wait(lambda c: c.named("snapshot"), "a snapshot")
    training = train()
    client.wait(lambda c: len(numbers(c)) > 20, "20 numbers")
    redis_server.stop()
    frozen_at = training.count
    client.wait(lambda c: c.named("status")[-1]["redis"] == "away", "the page to be told")
    time.sleep(10)
    went_on = training.count - frozen_at
    redis_server.cont()
    client.wait(lambda c: c.named("status")[-1]["redis"] == "ok", "the page to be told that it is back")
    training.go_on(1)
    expect_all_once(client, training)
    assert went_on > 100  # of 2,000 calls that fit into ten seconds; one call that waits would have ended it


def test_redis_that_comes_only_later_gets_everything(
    serve: Callable[..., WebServer], watch: Callable[..., SseClient], train: Callable[..., Training], redis_server: Any
) -> None:
    redis_server.kill()
    web = serve()
    client = watch(web)
    client.wait(lambda c: c.named("status"), "a status")
    assert client.named("status")[-1]["redis"] == "away"
    training = train()
    training.go_on(2)
    redis_server.restart()
    client.wait(lambda c: c.named("snapshot") and c.named("session")[-1]["status"] == "live", "the session")
    count = training.end()
    client.wait(lambda c: web.get("/api/state")[1]["state"].get("n") == count - 1, "the last number")
    kept = [entry["data"]["n"] for entry in web.exported()]
    assert kept == list(range(count))


def test_a_redis_that_comes_back_empty_is_told_with_a_reset_and_the_run_goes_on(
    web: WebServer, watch: Callable[..., SseClient], train: Callable[..., Training], redis_server: Any
) -> None:
    client = watch(web)
    training = train()
    client.wait(lambda c: len(numbers(c)) > 20, "20 numbers")
    redis_server.kill()
    for path in redis_server.folder.rglob("*"):
        if path.is_file():
            path.unlink()
    redis_server.restart()
    before = len(client.named("training_update"))
    client.wait(lambda c: len(c.named("training_update")) > before + 50, "more numbers")
    seen = numbers(client)
    assert seen == sorted(set(seen))
    assert client.named("session")[-1]["status"] == "live"
    assert training.hud.is_active


STALE_RUN = """
import sys, time
from hud_publisher import Publisher
hud = Publisher(name="first")
n = 0
while True:
    hud.log({"n": n})
    n += 1
    if n % 50 == 0:
        print(n, hud.status, flush=True)
    time.sleep(0.005)
"""


def test_a_run_that_slept_past_its_lease_writes_nothing_when_it_wakes_and_its_training_goes_on(
    serve: Callable[..., WebServer], watch: Callable[..., SseClient], train: Callable[..., Training], redis_server: Any
) -> None:
    client = watch(serve())
    environment = os.environ | {"REDIS_URL": redis_server.url, "HUD_SESSION_TTL": "2"}
    command = [sys.executable, "-c", STALE_RUN]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as run:
        try:
            assert run.stdout is not None
            client.wait(lambda c: len(numbers(c)) > 20, "20 numbers")
            second = train(HUD_SESSION_TTL="2")
            poll(lambda: second.hud.status == "refused", "the second run to be refused")
            run.send_signal(signal.SIGSTOP)
            poll(lambda: second.hud.is_active, "the second run to get the channel")
            run.send_signal(signal.SIGCONT)  # its old and new writes arrive while the second run writes
            poll(lambda: run.stdout is not None and "refused" in run.stdout.readline(), "the first run to be refused")
            before, after = (int(run.stdout.readline().split()[0]) for _ in range(2))
            assert after > before  # its training goes on
        finally:
            run.kill()
    last = second.end() - 1
    client.wait(lambda c: numbers(c)[-1:] == [last], "the second's last number")
    events = [event for event in client.events if event.name in ("session", "training_update")]
    taken = next(i for i, e in enumerate(events) if e.name == "session" and e.data["name"] == "fault test")
    of_first = [e.data["n"] for e in events[:taken] if e.name == "training_update"]
    of_second = [e.data["n"] for e in events[taken:] if e.name == "training_update"]
    assert of_first == list(range(len(of_first)))
    assert of_second == list(range(last + 1))


def test_nothing_of_the_first_run_appears_after_the_second_has_taken_over(
    serve: Callable[..., WebServer], watch: Callable[..., SseClient], train: Callable[..., Training], redis_server: Any
) -> None:
    web = serve(environment={"HUD_TOKEN": "right"})
    by_right = {"Authorization": "Bearer right"}
    client = watch(web)
    first = train()
    client.wait(lambda c: len(numbers(c)) > 20, "20 numbers")
    sid = client.named("session")[-1]["sid"]
    answer = web.post("/api/register_session", {"name": "two", "takeover": True}, by_right)[1]
    for n in range(20):
        update = {"session_id": answer["session_id"], "data": {"second": n}}
        assert web.post("/api/update_training", update, by_right)[0] == 200
        first.go_on(0.02)
    # It may be in a channel of its own by now.
    poll(lambda: not first.hud.is_active or first.hud.channel != "default", "the first run to notice")
    client.wait(lambda c: len([1 for d in c.named("training_update") if "second" in d]) == 20, "the second's updates")
    events = [event for event in client.events if event.name in ("session", "training_update")]
    taken = next(i for i, e in enumerate(events) if e.name == "session" and e.data["name"] == "two")
    assert not [e.data for e in events[taken:] if e.name == "training_update" and "n" in e.data]
    assert [s["name"] for s in web.get("/api/sessions")[1]["sessions"]] == ["two", "fault test"]
    assert web.get(f"/api/state?session={sid}")[1]["session"]["status"] == "taken over"


def test_a_browser_follows_through_rolling_restarts_without_loss_or_repetition(
    serve: Callable[..., WebServer], watch: Callable[..., SseClient], train: Callable[..., Training]
) -> None:
    replicas = [serve(), serve()]
    training = train()
    seen: list[int] = []
    last_id: str | None = None
    for turn in range(4):
        server = replicas[turn % 2]
        client = watch(server, last_id=last_id)
        client.wait(lambda c: len(numbers(c)) > 30, "30 numbers")
        if turn % 2:
            server.kill()
        else:
            server.terminate()
        client.wait(lambda c: c.ended, "the end of the stream")
        snapshots = client.named("snapshot")
        if last_id is None:
            seen += list(range(snapshots[0]["state"].get("n", -1) + 1))
        else:
            assert not snapshots
        seen += numbers(client)
        last_id = client.last_id
        server.start()
    client = watch(replicas[0], last_id=last_id)
    count = training.end()
    client.wait(lambda c: numbers(c)[-1:] == [count - 1], "the last number")
    assert seen + numbers(client) == list(range(count))
