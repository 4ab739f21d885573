"""What training code sees: nothing blocks, nothing raises, nothing grows; and it survives forks and pickling."""

from __future__ import annotations

import copy
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hud_publisher import ConfigError, Publisher, Settings, process
from hud_publisher.doorbell import Doorbell
from hud_publisher.outbox import MAX_INBOX, Inbox, Offered
from hud_publisher.protocol.batch import Claim
from hud_publisher.protocol.entries import FrameEntry, MetricsEntry, VisionEntry
from hud_publisher.protocol.errors import UnavailableError
from hud_publisher.protocol.values import clean_metrics
from tests.fixtures.publishing import JPEG, MemorySink
from tests.fixtures.servers import wait_until

FRAME: Any = np.zeros((16, 16, 3), np.uint8)
Make = Callable[..., Publisher]


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the shell that runs the tests reaches the settings."""
    for name in list(os.environ):
        if name.startswith(("HUD_", "REDIS_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(process, "_said", set())


@pytest.fixture
def make(sink: MemorySink) -> Iterator[Make]:
    """Publishers into the test's sink; all are closed with the test."""
    made: list[Publisher] = []

    def build(**options: Any) -> Publisher:
        publisher = Publisher(redis_url="redis://nowhere.invalid", **options)
        publisher._sink_factory = lambda _publisher: sink
        made.append(publisher)
        return publisher

    yield build
    for publisher in made:
        publisher.close(0.2)


def sent(publisher: Publisher, stream: str) -> int:
    return publisher.stats.sent.get(stream, 0)  # type: ignore[call-overload, no-any-return]


def test_everything_that_is_published_lands(make: Make, sink: MemorySink) -> None:
    hud = make()
    hud.log({"reward": 1.5, "health": {"current": 3}}, step=7)
    hud.log_iteration({"loss": 0.5}, step=8)
    assert hud.frame(FRAME, step=9, episode=2, env=(1, 0))
    hud.vision(JPEG, prompt="what?", response="left", response_time_ms=412.0, step=10, action="LEFT")
    hud.close()
    by_stream = {entry.stream: entry for entry in sink.landed}
    metrics, iteration, frame, vision = (by_stream[name] for name in ("metrics", "iterations", "frames", "vision"))
    assert isinstance(metrics, MetricsEntry)
    assert (metrics.data, metrics.step) == ({"reward": 1.5, "health": {"current": 3}}, 7)
    assert isinstance(iteration, MetricsEntry)
    assert (iteration.data, iteration.step) == ({"loss": 0.5}, 8)
    assert isinstance(frame, FrameEntry)
    assert (frame.step, frame.episode, frame.env, frame.mime) == (9, 2, (1, 0), "image/jpeg")
    assert isinstance(vision, VisionEntry)
    assert (vision.image, vision.prompt, vision.response) == (JPEG, "what?", "left")
    assert (vision.response_time_ms, vision.step, vision.extra) == (412.0, 10, {"action": "LEFT"})
    assert hud.stats.dropped_total == 0


def test_times_are_those_of_the_call(make: Make, sink: MemorySink) -> None:
    before = time.time_ns() // 1_000_000
    hud = make()
    hud.log({"a": 1})
    after = time.time_ns() // 1_000_000
    hud.close()
    assert before <= sink.landed[0].time_ms <= after


def test_without_an_address_it_is_disabled_with_one_line_and_takes_everything(caplog: pytest.LogCaptureFixture) -> None:
    hud, second = Publisher(), Publisher()
    hud.log({"a": 1})
    assert not hud.frame(FRAME)
    assert not hud.wants_frame()
    assert not hud.wants_thumbnail((1, 0))
    hud.vision(JPEG)
    hud.start()
    hud.close()
    assert (hud.status, second.status, hud.is_active, hud.sid) == ("disabled", "disabled", False, None)
    assert len(caplog.records) == 1
    assert "REDIS_URL" in caplog.text
    assert threading.active_count() == len(
        [thread for thread in threading.enumerate() if thread.name != "hud-publisher"]
    )


@pytest.mark.parametrize(
    ("options", "environ"),
    [
        ({"fps": -1}, {}),
        ({"channel": "no/slash"}, {}),
        ({}, {"HUD_FPS": "many"}),
        ({}, {"REDIS_URL": "http://host"}),
        ({"redis_url": "redis+sentinel://host"}, {}),
        ({"hud_url": "http://user:word@host"}, {}),
        ({"no_such_setting": 1}, {}),
    ],
)
def test_a_wrong_setting_is_said_at_once(
    options: dict[str, Any], environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError):
        Publisher(**options)


def test_redis_goes_before_the_hud_server_unless_the_caller_names_the_latter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://host")
    monkeypatch.setenv("HUD_URL", "http://host")
    assert Publisher().settings.redis_url
    assert Publisher(hud_url="http://other").settings.redis_url is None
    assert Publisher(hud_url="http://other", redis_url="redis://other").settings.redis_url == "redis://other"


def test_settings_may_be_handed_over_and_arguments_go_before_them() -> None:
    settings = Settings(redis_url="redis://host", channel="team-a", fps=5.0, run_id="r")
    hud = Publisher(settings=settings, fps=30)
    assert (hud.channel, hud.settings.fps, hud.run_id) == ("team-a", 30.0, "r")


def test_a_run_of_its_own_is_made_where_none_is_named() -> None:
    first, second = Publisher(), Publisher()
    assert first.run_id != second.run_id
    assert len(first.run_id) >= 16


class Hostile:
    """An object whose every method raises."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __iter__(self) -> Any:
        raise RuntimeError("iter")

    def __int__(self) -> int:
        raise RuntimeError("int")

    def __float__(self) -> float:
        raise RuntimeError("float")

    def __str__(self) -> str:
        raise RuntimeError("str")

    __repr__ = __str__


def test_whatever_is_handed_over_nothing_raises_and_the_rest_lands(make: Make, sink: MemorySink) -> None:
    hud = make(frames="always", fps=120)
    for strange in (None, 7, "text", [1], Hostile(), {"a": Hostile()}, {Hostile(): 1}, object):
        hud.log(strange, step=Hostile())  # type: ignore[arg-type]
        hud.log(strange)  # type: ignore[arg-type]
        hud.log_iteration(strange, step=float("nan"))  # type: ignore[arg-type]
        hud.frame(strange, step=Hostile(), env=strange)  # type: ignore[arg-type]
        hud.wants_frame(strange)  # type: ignore[arg-type]
        hud.wants_thumbnail(strange)  # type: ignore[arg-type]
        hud.thumbnail(strange, env=strange)  # type: ignore[arg-type]
        hud.vision(strange, prompt=strange, response=strange, response_time_ms=strange, step=strange, x=strange)  # type: ignore[arg-type]
        hud.vision(JPEG, prompt=strange, response_time_ms=strange)  # type: ignore[arg-type]
    hud.log({"a": 1}, step=3)
    hud.close()
    assert [entry.data for entry in sink.landed if entry.step == 3 and isinstance(entry, MetricsEntry)] == [{"a": 1}]
    assert hud.stats.dropped_total > 0


def test_what_cannot_be_shown_is_counted_and_named_once(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    hud = make()
    for _ in range(5):
        hud.log({"ok": 1, "odd": object()})
    hud.close()
    assert hud.stats.unusable == {"odd": 5}
    assert len([record for record in caplog.records if "odd" in record.getMessage()]) == 1


def test_frames_fall_to_one_per_second_with_nobody_watching(make: Make) -> None:
    hud = make(fps=120)
    assert hud.wants_frame()
    assert hud.frame(FRAME)
    assert not hud.wants_frame()
    assert not hud.frame(FRAME)


def test_fields_of_a_frame_are_published_with_it_and_without_it(make: Make, sink: MemorySink) -> None:
    hud = make(frames="always", fps=1)
    assert hud.frame(FRAME, step=1, data={"reward": 1.0})
    assert not hud.frame(FRAME, step=2, data={"reward": 2.0})  # not due
    wait_until(lambda: sent(hud, "metrics") == 2, "the fields of both moments")
    assert not hud.frame("no picture", step=3, env=(0, 1), data={"reward": 3.0})
    wait_until(lambda: sent(hud, "metrics") == 3, "the fields of one without a picture")
    hud.close()
    landed = [entry for entry in sink.landed if isinstance(entry, MetricsEntry)]
    assert [(entry.step, entry.data) for entry in landed] == [(n, {"reward": float(n)}) for n in (1, 2, 3)]
    assert len([entry for entry in sink.landed if isinstance(entry, FrameEntry)]) == 1


def test_frames_may_be_turned_off(make: Make) -> None:
    hud = make(frames="off")
    assert not hud.wants_frame()
    assert not hud.frame(FRAME)


def test_thumbnails_are_taken_once_somebody_watches(make: Make, sink: MemorySink) -> None:
    hud = make()
    hud.log({"a": 1})
    wait_until(lambda: sink.landed, "the first entry")
    assert not hud.thumbnail(FRAME, env=(1, 0))
    sink.viewers = 1
    hud.log({"a": 2})
    wait_until(lambda: hud.wants_thumbnail((1, 0)), "a thumbnail to be due")
    assert hud.thumbnail(np.zeros((200, 400, 3), np.uint8), env=(1, 0), step=4)
    assert not hud.wants_thumbnail((1, 0))
    wait_until(lambda: any(entry.stream == "thumbs" for entry in sink.landed), "the thumbnail", deadline_s=10.0)
    hud.close()
    (thumb,) = (entry for entry in sink.landed if entry.stream == "thumbs")
    assert isinstance(thumb, FrameEntry)
    assert (thumb.env, thumb.step) == ((1, 0), 4)


def test_it_tells_who_watches_and_who_is_shown(make: Make, sink: MemorySink) -> None:
    sink.viewers = 3
    hud = make()
    assert hud.feedback.viewers == 0
    assert hud.feedback_age_s == float("inf")
    hud.start()
    wait_until(lambda: hud.feedback.viewers == 3, "the viewers' count")
    assert hud.feedback_age_s < 60
    assert (hud.status, hud.is_active, hud.sid) == ("registered", True, "1")


def test_a_claim_made_before_or_after_the_start_goes_with_every_batch(make: Make, sink: MemorySink) -> None:
    hud = make()
    hud.claim = Claim((1, 0))
    hud.log({"a": 1})
    wait_until(lambda: sink.calls, "a batch")
    assert sink.calls[0].claim == Claim((1, 0))
    hud.claim = Claim((2, 1), is_preferred=True)
    assert hud.claim == Claim((2, 1), is_preferred=True)
    hud.log({"a": 2})
    wait_until(lambda: sink.calls[-1].claim == Claim((2, 1), is_preferred=True), "the new claim")


def test_closing_is_idempotent_and_what_comes_later_is_counted(make: Make) -> None:
    hud = make()
    hud.log({"a": 1})
    hud.close()
    hud.close()
    hud.log({"a": 2})
    hud.vision(JPEG)
    assert not hud.frame(FRAME)
    assert (hud.status, sent(hud, "metrics")) == ("closed", 1)
    assert hud.stats.dropped == {"metrics/closed": 1, "vision/closed": 1}


def test_closing_what_never_began_starts_nothing(make: Make, sink: MemorySink) -> None:
    hud = make()
    hud.close()
    hud.log({"a": 1})
    assert hud.status == "closed"
    assert sink.registrations == 0


def test_it_closes_itself_at_the_end_of_a_with_block(make: Make, sink: MemorySink) -> None:
    with make() as hud:
        hud.log({"a": 1})
    assert len(sink.landed) == 1
    assert len(sink.released) == 1


def test_a_sink_that_hangs_holds_up_neither_logging_nor_closing(make: Make, sink: MemorySink) -> None:
    gate = threading.Event()

    def hang(*_arguments: Any, **_options: Any) -> Any:
        gate.wait(30)
        raise UnavailableError("away")

    sink.publish = sink.register = hang  # type: ignore[method-assign]
    hud = make()
    for number in range(1000):
        hud.log({"a": number})
    hud.close(0.05)
    assert not gate.is_set()
    assert hud.stats.pending["metrics"] == 1000
    gate.set()
    wait_until(lambda: hud.status == "closed", "the thread to end")
    assert hud.stats.dropped == {"metrics/closed": 1000}


def test_a_forgotten_publisher_sends_what_it_has_and_ends_its_thread(make: Make, sink: MemorySink) -> None:
    hud = Publisher(redis_url="redis://nowhere.invalid")
    hud._sink_factory = lambda _publisher: sink
    hud.log({"a": 1})
    thread = hud._thread
    assert thread is not None
    del hud
    thread.join(5)
    assert not thread.is_alive()
    assert len(sink.landed) == 1


class Sleepy(Inbox):
    """The thread falls asleep while an entry is appended."""

    doorbell: Doorbell

    def append(self, entry: Offered) -> None:
        self.doorbell.arm(for_fields=True)
        super().append(entry)


@pytest.fixture
def idle(make: Make) -> Publisher:
    """A publisher whose thread has ended, so that what is logged stays where it is."""
    hud = make()
    hud.make_worker = lambda _link: SimpleNamespace(run=lambda: None)  # type: ignore[method-assign,assignment,return-value]
    hud.start()
    return hud


def test_the_thread_is_rung_for_that_fell_asleep_while_one_logged(idle: Publisher) -> None:
    assert idle._link is not None
    idle._metrics = Sleepy()
    idle._metrics.doorbell = idle._link.doorbell = Doorbell(idle._metrics)
    idle.log({"a": 1.0})
    assert not idle._link.doorbell.is_armed, "nobody rang"
    assert len(idle._metrics) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda hud: hud.log({"a": 1.0}),
        lambda hud: hud.log_iteration({"a": 1.0}),
        lambda hud: hud.frame(np.zeros((4, 4, 3), np.uint8)),
        lambda hud: hud.vision(JPEG),
    ],
    ids=["log", "log_iteration", "frame", "vision"],
)
def test_a_bell_that_breaks_is_not_the_callers_trouble(idle: Publisher, call: Callable[[Publisher], object]) -> None:
    class Broken(Doorbell):
        rung = 0

        def ring(self) -> None:
            self.rung += 1
            raise OSError("no memory")

    assert idle._link is not None
    assert idle._metrics is not None
    whole, idle._link.doorbell = idle._link.doorbell, (bell := Broken(idle._metrics))
    bell.arm(for_fields=True)
    call(idle)
    idle._link.doorbell = whole  # closing rings too
    assert bell.rung == 1


def test_the_oldest_gives_way_where_the_inbox_is_full_and_is_counted(idle: Publisher) -> None:
    for step in range(MAX_INBOX + 3):
        idle.log({"a": 1.0}, step)
        idle.log_iteration({"a": 1.0}, step)
    assert idle._metrics is not None
    assert idle._iterations is not None
    for inbox in (idle._metrics, idle._iterations):
        assert [entry[1] for entry in (inbox[0], inbox[-1])] == [3, MAX_INBOX + 2]
        assert len(inbox) == MAX_INBOX
    assert idle._link is not None
    assert idle._link.refusals.dropped == {"metrics/overflow": 3, "iterations/overflow": 3}
    idle._metrics.clear()
    idle._iterations.clear()


@pytest.mark.parametrize("late", [[2.0], np.array([2.0]), {"b": [2.0]}], ids=["list", "array", "mapping"])
def test_what_the_caller_changes_afterwards_stays_as_it_was(make: Make, sink: MemorySink, late: Any) -> None:
    hud = make()
    fields: dict[str, Any] = {"first": 1.0, "number": 7, "flag": True, "none": None, "late": late}
    as_logged = clean_metrics(copy.deepcopy(fields))
    hud.log(fields)
    (late["b"] if isinstance(late, dict) else late)[0] = 3.0
    fields["first"] = 5.0
    hud.close()
    (entry,) = sink.landed
    assert isinstance(entry, MetricsEntry)
    assert entry.data == as_logged


def test_many_threads_may_log_at_once(make: Make, sink: MemorySink) -> None:
    hud = make()

    def log_much() -> None:
        for number in range(500):
            hud.log({"a": number})

    threads = [threading.Thread(target=log_much) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hud.close(10)
    assert len(sink.landed) == 2000
    assert hud.stats.dropped_total == 0


@pytest.mark.parametrize("duplicate", [lambda hud: pickle.loads(pickle.dumps(hud)), copy.deepcopy])
def test_a_pickled_publisher_joins_the_same_run_with_a_thread_of_its_own(duplicate: Callable[..., Publisher]) -> None:
    hud = Publisher(redis_url="redis://nowhere.invalid", name="run", info={"env": "x"}, fps=7, max_side=64, writer="w1")
    hud.claim = Claim((1, 0))
    hud.start()
    twin = duplicate(hud)
    hud.close(0)
    assert (twin.run_id, twin.name, twin.info, twin.settings) == (hud.run_id, "run", {"env": "x"}, hud.settings)
    assert (twin.status, twin._thread, twin.claim) == ("connecting", None, Claim((1, 0)))


def test_a_forked_child_publishes_as_a_writer_of_its_own_and_the_parent_goes_on(make: Make, sink: MemorySink) -> None:
    hud = make()
    hud.log({"from": "parent"})
    wait_until(lambda: len(sink.landed) == 1, "the parent's first entry")
    reader, writer = os.pipe()
    hud._start_lock.acquire()
    child = os.fork()
    if child == 0:  # locks that were held, sockets and threads of the parent are none of the child's business
        try:
            hud.log({"from": "child"})
            wait_until(lambda: len(sink.landed) == 2, "the child's entry")
            os.write(writer, f"{len({batch.writer for batch in sink.calls if batch.number})}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    hud._start_lock.release()
    os.waitpid(child, 0)
    with os.fdopen(reader) as said:
        assert said.read() == "2"
    hud.log({"from": "parent"})
    wait_until(lambda: len(sink.landed) == 2, "the parent's second entry")


def test_a_publisher_closed_before_a_fork_stays_closed_in_the_child(make: Make) -> None:
    hud = make()
    hud.close()
    process._start_anew_in_child()
    assert hud.status == "closed"


def test_a_name_that_utf8_cannot_hold_is_made_one_that_it_can() -> None:
    hud = Publisher(redis_url="redis://host", name="a\ud800\n", info={"env\ud800": "b\ud800", "n": 7})  # type: ignore[dict-item]
    assert (hud.name, hud.info) == ("a? ", {"env?": "b?", "n": "7"})


def test_no_secret_stands_in_what_is_printed() -> None:
    hud = Publisher(redis_url="redis://user:secret-word@host", run_id="secret-run", token="secret-token")
    for text in (repr(hud), repr(hud.settings), str(hud.stats)):
        assert "secret" not in text
