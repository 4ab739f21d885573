"""The publisher seen from training code: no call blocks, raises or leaks; it survives forks and pickling."""

from __future__ import annotations

import copy
import io
import multiprocessing
import os
import pickle
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hud_publisher import ConfigError, Publisher, Settings, lifecycle
from hud_publisher.intake.fields import MAX_INBOX, Inbox, Offered
from hud_publisher.intake.intake import Intake
from hud_publisher.intake.report import Report
from hud_publisher.once import log_once
from hud_publisher.protocol.batch import Claim
from hud_publisher.protocol.cleaning import clean_metrics
from hud_publisher.protocol.entries import FrameEntry, MetricsEntry, MindEntry, VisionEntry
from hud_publisher.protocol.errors import UnavailableError
from hud_publisher.protocol.images import inspect_image
from tests.fixtures.publishing import JPEG, MemorySink, queued
from tests.fixtures.servers import wait_until

FRAME: Any = np.zeros((16, 16, 3), np.uint8)
Make = Callable[..., Publisher]


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the shell's variables, so that only the test's settings apply."""
    for name in list(os.environ):
        if name.startswith(("HUD_", "REDIS_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(log_once, "_logged_at", {})


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


def test_a_hud_url_in_code_goes_before_every_redis_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://celery:6379/0?timeout=5")
    monkeypatch.setenv("HUD_REDIS_URL", "nonsense")
    settings = Publisher(hud_url="http://hud:8086").settings
    assert (settings.redis_url, settings.hud_url) == (None, "http://hud:8086")


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


def test_a_separate_run_is_made_if_none_is_named() -> None:
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


def test_odd_arguments_raise_nothing_and_the_rest_lands(make: Make, sink: MemorySink) -> None:
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


def test_prompt_answer_and_latency_of_a_call_arrive_with_any_picture(
    make: Make, sink: MemorySink, caplog: pytest.LogCaptureFixture
) -> None:
    hud = make()
    gif = io.BytesIO()
    Image.new("RGB", (8, 8)).save(gif, "GIF")
    pictures = [gif.getvalue(), "https://host/cat.png", b"garbage", None, object(), Hostile(), [FRAME, 7]]
    for picture in pictures:
        hud.vision(picture, prompt="where?", response="left", response_time_ms=4.0, step=3)  # type: ignore[arg-type]
    hud.close()
    assert len(sink.landed) == len(pictures)
    for entry in sink.landed:
        assert isinstance(entry, VisionEntry)
        assert (entry.prompt, entry.response, entry.response_time_ms, entry.step) == ("where?", "left", 4.0, 3)
        assert inspect_image(entry.image).mime == entry.mime
        assert entry.extra["picture"]
    assert hud.stats.sent == {"vision": len(pictures)}
    assert hud.stats.unusable == {"vision picture": 6}  # the GIF is converted
    assert len([record for record in caplog.records if "picture" in record.getMessage()]) == 1


def test_odd_words_times_and_fields_of_a_call_cost_only_themselves(make: Make, sink: MemorySink) -> None:
    hud = make()
    large = {f"large{n}": ["x" * 16_000] * 20 for n in range(3)}
    hud.vision(
        JPEG, prompt=Hostile(), response="caf\udce9" + "x" * 20_000, response_time_ms="soon", odd=object(), **large
    )  # type: ignore[arg-type]
    hud.close()
    (entry,) = sink.landed
    assert isinstance(entry, VisionEntry)
    assert (entry.image, entry.prompt, entry.response_time_ms) == (JPEG, "Hostile", None)
    assert entry.response is not None
    assert entry.response.startswith("caf?")
    assert list(entry.extra) == ["large2"]
    assert hud.stats.unusable == {"odd": 1, "large0": 1, "large1": 1}


def test_an_encoded_frame_of_another_format_is_converted(make: Make, sink: MemorySink) -> None:
    hud = make(frames="always")
    bmp = io.BytesIO()
    Image.new("RGB", (8, 8)).save(bmp, "BMP")
    hud.frame(bmp.getvalue())
    hud.close()
    (entry,) = sink.landed
    assert isinstance(entry, FrameEntry)
    assert inspect_image(entry.image).mime == entry.mime


def test_values_that_cannot_be_shown_are_counted_and_named_once(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    hud = make()
    for _ in range(5):
        hud.log({"ok": 1, "odd": object()})
    hud.close()
    assert hud.stats.unusable == {"odd": 5}
    assert len([record for record in caplog.records if "odd" in record.getMessage()]) == 1


def test_frames_fall_to_one_per_second_without_viewers(make: Make) -> None:
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


def test_an_argument_by_its_old_name_works_and_is_named_once(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    assert make(gathers=True).settings.batch_frames
    assert not make(gathers=False).settings.batch_frames
    assert make().settings.batch_frames is False
    assert [record.getMessage() for record in caplog.records] == [
        "HUD: Publisher(gathers=) is called batch_frames= now: change its name"
    ]


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


def test_it_reports_the_viewers_and_the_session(make: Make, sink: MemorySink) -> None:
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


def test_closing_is_idempotent_and_later_entries_are_counted(make: Make) -> None:
    hud = make()
    hud.log({"a": 1})
    hud.close()
    hud.close()
    hud.log({"a": 2})
    hud.vision(JPEG)
    assert not hud.frame(FRAME)
    assert (hud.status, sent(hud, "metrics")) == ("closed", 1)
    assert hud.stats.dropped == {"metrics/closed": 1, "vision/closed": 1}


def test_closing_without_waiting_returns_at_once_and_sends_all(make: Make, sink: MemorySink) -> None:
    gate = threading.Event()
    publish = sink.publish

    def wait_and_publish(*arguments: Any) -> Any:
        gate.wait(10)
        return publish(*arguments)

    sink.publish = wait_and_publish  # type: ignore[method-assign]
    hud = make()
    hud.log({"a": 1})
    hud.close(wait=False)
    assert sink.landed == []
    gate.set()
    wait_until(lambda: hud.status == "closed", "the thread to end")
    assert len(sink.landed) == 1


def test_closing_an_unused_publisher_starts_nothing(make: Make, sink: MemorySink) -> None:
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


def test_a_forgotten_publisher_sends_its_queue_and_ends_its_thread(make: Make, sink: MemorySink) -> None:
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

    intake: Intake

    def append(self, entry: Offered) -> None:
        self.intake.ask_to_wake(by_frames=True, above_fields=0)
        super().append(entry)


@pytest.fixture
def idle(make: Make, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    """A publisher whose thread has ended, so that logged entries stay in the queue."""
    hud = make()
    monkeypatch.setattr("hud_publisher.publisher.Sender", lambda *_parts, **_options: SimpleNamespace(run=lambda: None))
    hud.start()
    assert hud._intake is not None
    hud._intake.report = Report(period_s={"frames": 1.0, "thumbs": 1.0})
    return hud


def test_a_thread_that_fell_asleep_during_a_log_call_is_woken(idle: Publisher) -> None:
    intake = idle._intake
    assert intake is not None
    inbox = idle._inbox = intake._queues["metrics"].inbox = Sleepy()
    inbox.intake = intake
    idle.log({"a": 1.0})
    assert not intake.is_wake_asked, "nobody woke the sender"
    assert len(inbox) == 1


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
def test_a_wake_that_fails_is_not_the_callers_trouble(
    idle: Publisher, call: Callable[[Publisher], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []

    def fail(_intake: Intake) -> None:
        called.append(1)
        raise OSError("no memory")

    assert idle._intake is not None
    idle._intake.ask_to_wake(by_frames=True, above_fields=0)
    with monkeypatch.context() as patch:  # closing wakes too
        patch.setattr(Intake, "wake", fail)
        call(idle)
    assert called == [1]


def test_training_threads_empty_a_full_inbox_themselves_and_drop_nothing(idle: Publisher) -> None:
    total = 3 * MAX_INBOX
    for step in range(total):
        idle.log({"a": 1.0}, step)
        idle.log_iteration({"a": 1.0}, step)
    intake = idle._intake
    assert intake is not None
    assert all(len(intake.inbox(stream)) <= MAX_INBOX for stream in ("metrics", "iterations"))
    assert queued(intake)["metrics"] == queued(intake)["iterations"] == total
    assert idle.stats.dropped_total == 0
    wide = {f"field {number}": 1.0 for number in range(1000)}
    for step in range(1000):
        idle.log(wide, step)
        idle.log_iteration(wide, step)
    assert sum(queued(intake).values()) < 500
    intake.clear()


@pytest.mark.parametrize("late", [[2.0], np.array([2.0]), {"b": [2.0]}], ids=["list", "array", "mapping"])
def test_later_changes_by_the_caller_are_not_sent(make: Make, sink: MemorySink, late: Any) -> None:
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


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda hud: copy.deepcopy([hud])[0]])
def test_a_copy_is_silent_and_so_are_copies_and_pickles_of_it(
    make: Make, sink: MemorySink, duplicate: Callable[..., Publisher], caplog: pytest.LogCaptureFixture
) -> None:
    hud = make(info={"env": "x"})
    hud.log({"a": 1})
    twin = duplicate(hud)
    for silent in (twin, copy.copy(twin), pickle.loads(pickle.dumps(Publisher.__copy__(Publisher(fps=7))))):
        silent.log({"a": 2})
        silent.log_iteration({"a": 2})
        silent.vision(JPEG)
        assert not silent.wants_frame()
        assert not silent.frame(FRAME, data={"a": 2})
        silent.start()
        silent.close()
        assert (silent.status, silent._thread) == ("disabled", None)
    assert (twin.run_id, twin.info, twin.channel) == (hud.run_id, {"env": "x"}, hud.channel)
    assert twin.info is not hud.info
    hud.close()
    assert [entry.data for entry in sink.landed if isinstance(entry, MetricsEntry)] == [{"a": 1}]
    assert len([record for record in caplog.records if "copy" in record.getMessage()]) == 1


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["/opt/train.py", "--lr"], "train"),
        (["-c"], "python"),
        (["-m"], "python"),
        (["-"], "python"),
        ([""], "python"),
        ([], "python"),
        ([None], "python"),
        (None, "python"),
        (["/usr/lib/python3/site-packages/ipykernel_launcher.py", "-f", "kernel.json"], "notebook"),
        (["/usr/local/lib/python3/dist-packages/colab_kernel_launcher.py"], "notebook"),
        (["/usr/bin/ipython"], "ipython"),
        (["/home/a/agents/__main__.py"], "agents"),
        (["/x/ray/_private/workers/default_worker.py"], "ray"),
        (["a\ud800b.py"], "a?b"),
    ],
)
def test_a_run_without_a_name_is_called_after_its_program(
    argv: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert Publisher().name.rpartition("@")[0].startswith(name)
    assert Publisher(name="").name == Publisher(name=" ").name == Publisher().name
    assert Publisher(name=7).name == "7"  # type: ignore[arg-type]
    if argv is None:
        monkeypatch.delattr(sys, "argv")
        assert Publisher().name.startswith("python@")


def test_a_host_without_a_name_is_no_obstacle(make: Make, sink: MemorySink, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise OSError("forbidden")

    monkeypatch.setattr(socket, "gethostname", fail)
    hud = make(name=None)
    hud.log({"a": 1})
    hud.close()
    assert len(sink.landed) == 1
    assert hud.name.endswith("@localhost")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nam": "x"}, ["nam=", "name=", "help(Publisher)"]),
        ({"redis": "redis://host"}, ["redis=", "redis_url="]),
        ({"frame": "off"}, ["frame=", "frames="]),
        ({"zzz": 1, "helper": "off"}, ["zzz="]),
        ({"info": "Zelda"}, ["info=", '{"env"']),
        ({"info": 7}, ["info="]),
        ({"info": {str(n): "x" for n in range(4500)}}, ["info=", "4500", "64"]),
        ({"settings": {"fps": 5}}, ["settings=", "dict"]),
        ({"max_side": "large"}, ["HUD_MAX_SIDE"]),
        ({"max_side": 0}, ["HUD_MAX_SIDE"]),
        ({"fps": np.zeros(3)}, ["HUD_FPS"]),
        ({"channel": ["a"]}, ["HUD_CHANNEL"]),
    ],
)
def test_a_wrong_argument_is_named_with_the_fix(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        Publisher(**options)
    assert all(word in str(error.value) for word in words)
    assert "docs/" not in str(error.value), "the wheel holds no docs"


def test_a_joining_publisher_leaves_the_session_that_it_registered_first(make: Make, sink: MemorySink) -> None:
    twin = pickle.loads(pickle.dumps(Publisher(redis_url="redis://nowhere.invalid")))
    twin._sink_factory = lambda _publisher: sink
    twin.log({"a": 1})
    twin.close()
    assert (len(sink.landed), sink.released) == (1, [])


def test_a_run_that_another_process_of_it_registered_first_ends_with_the_one_that_began_it(
    make: Make, sink: MemorySink
) -> None:
    sink.is_joining = True
    for options, releases in (({}, 1), ({"run_id": "shared"}, 0)):
        sink.released.clear()
        hud = make(**options)
        hud.log({"a": 1})
        hud.close()
        assert len(sink.released) == releases


def test_an_interrupt_while_the_thread_starts_leaves_a_publisher_that_works(
    make: Make, sink: MemorySink, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start
    for interrupt_first in (True, False):
        hud = make()

        def interrupted(thread: threading.Thread, first: bool = interrupt_first) -> None:
            if not first:
                start(thread)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                hud.log({"a": 0})
        hud.log({"a": 1})
        hud.close()
        assert sent(hud, "metrics") == 1


def test_a_thread_that_cannot_start_is_named_once_and_harms_nothing(
    make: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    hud = make()
    monkeypatch.setattr(threading.Thread, "start", fail)
    for _ in range(3):
        hud.log({"a": 1})
        assert not hud.frame(FRAME)
    hud.close()
    assert len([record for record in caplog.records if "nothing will be shown" in record.getMessage()]) == 1


@pytest.mark.parametrize("timeout_s", [-1, 0, "2", None, float("nan"), float("inf"), 10**400, object()])
def test_closing_takes_any_time_limit(make: Make, sink: MemorySink, timeout_s: Any) -> None:
    hud = make()
    hud.log({"a": 1})
    hud.close(timeout_s, release=timeout_s)
    hud.close()
    assert hud.status == "closed"


def test_a_pickled_publisher_joins_the_same_run_with_a_separate_thread() -> None:
    hud = Publisher(redis_url="redis://nowhere.invalid", name="run", info={"env": "x"}, fps=7, max_side=64, writer="w1")
    hud.claim = Claim((1, 0))
    hud.start()
    twin = pickle.loads(pickle.dumps(hud))
    hud.close(0)
    assert (twin.run_id, twin.name, twin.info, twin.settings) == (hud.run_id, "run", {"env": "x"}, hud.settings)
    assert (twin.status, twin._thread, twin.claim) == ("connecting", None, Claim((1, 0)))


def test_a_forked_child_publishes_as_a_separate_writer_and_the_parent_goes_on(make: Make, sink: MemorySink) -> None:
    hud = make()
    hud.log({"from": "parent"})
    wait_until(lambda: len(sink.landed) == 1, "the parent's first entry")
    reader, writer = os.pipe()
    hud._start_lock.acquire()
    child = os.fork()
    if child == 0:  # the child does not use the parent's held locks, sockets and threads
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
    lifecycle._start_anew_in_child()
    assert hud.status == "closed"


def test_a_child_reads_the_secret_of_its_run_after_the_fork_only(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child of the forkserver gets the secret of the program after it was forked."""
    monkeypatch.setattr(lifecycle, "_is_forked", False)
    hud = make()
    lifecycle._start_anew_in_child()
    before = hud.run_id
    monkeypatch.setattr(multiprocessing.current_process(), "authkey", b"of the program")
    assert hud.run_id != before


def test_a_name_that_utf8_cannot_hold_is_made_one_that_it_can() -> None:
    hud = Publisher(redis_url="redis://host", name="a\ud800\n", info={"env\ud800": "b\ud800", "n": 7})  # type: ignore[dict-item]
    assert (hud.name, hud.info) == ("a?", {"env?": "b?", "n": "7"})


def test_the_printed_text_holds_no_secret() -> None:
    hud = Publisher(redis_url="redis://user:secret-word@host", run_id="secret-run", token="secret-token")
    for text in (repr(hud), repr(hud.settings), str(hud.stats)):
        assert "secret" not in text


def test_a_view_of_the_policy_is_published_with_its_frame(make: Make, sink: MemorySink) -> None:
    sink.viewers, policy = 1, np.array([0.25, 0.75])
    hud = make(fps=1)
    assert not hud.mind(value=1.0)  # not yet watched
    hud.log({"a": 1})
    wait_until(lambda: hud.wants_mind((1, 0)), "a view to be wanted")
    make().vision(JPEG, action="left")  # in the same process
    mind = {"probabilities": policy, "action": 1, "action_names": ["left", "right"]}
    assert hud.frame(FRAME, step=4, episode=2, env=(1, 0), mind=mind)
    policy[:] = 0  # the caller's array is the caller's again
    assert not hud.wants_mind((1, 0))
    assert not hud.mind(value=1.0, env=(1, 0))
    assert hud.mind(value=Hostile(), env=(1, 1), step=5)
    hud.close()
    first, second = (entry for entry in sink.landed if isinstance(entry, MindEntry))
    (frame,) = (entry for entry in sink.landed if isinstance(entry, FrameEntry))
    assert first.data["probabilities"] == [0.25, 0.75]
    assert first.data["advice"]["text"] == "advised left, policy 25 % left"  # type: ignore[index, call-overload]
    assert (first.time_ms, first.step, first.episode, first.env) == (frame.time_ms, 4, 2, (1, 0))
    assert (second.data, second.step) == ({}, 5)
