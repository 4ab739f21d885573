"""The queue is bounded, the newest entries survive, and every loss is counted."""

from __future__ import annotations

from typing import Literal

import pytest

from hud_publisher.intake.copying import picture_bytes
from hud_publisher.intake.fields import MAX_INBOX, WIDE
from hud_publisher.intake.intake import MAX_PICTURE_BYTES, Bounds, Intake
from hud_publisher.intake.items import Fields, FieldsStream, Picture, Vision
from tests.fixtures.publishing import queued


class Bench:
    """An intake with both its sides: training offers entries, the sender takes them."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self.intake = Intake(bounds)

    def log(self, number: int, stream: FieldsStream = "metrics", weight: int = 1) -> None:
        self.intake.inbox(stream).append((number * 1_000_000, number, {"n": number}, weight))

    @property
    def dropped(self) -> dict[str, int]:
        return dict(self.intake.stats().dropped)


def picture(
    number: int, env: tuple[int, int] | None = (1, 0), stream: Literal["frames", "thumbs"] = "frames"
) -> Picture:
    return Picture(b"", number, number, None, env, stream)


def test_the_oldest_metrics_give_way_and_are_counted() -> None:
    bench = Bench(Bounds(metrics=3))
    for number in range(5):
        bench.log(number)
    assert [item.step for item in bench.intake.take_batch(10_000, 0)] == [2, 3, 4]
    assert bench.dropped == {"metrics/overflow": 2}


def test_room_is_measured_in_values_so_large_entries_cannot_fill_the_memory() -> None:
    bench = Bench(Bounds(metrics=1000))
    for number in range(100):
        bench.log(number, weight=400)
    bench.intake.collect()
    assert queued(bench.intake)["metrics"] == 2


def test_in_a_flood_of_steps_the_newest_value_of_a_rare_field_survives() -> None:
    bench = Bench(Bounds(metrics=20))
    inbox = bench.intake.inbox("metrics")
    inbox.append((0, 0, {"episode_return": 12.5, "reward": 0.0}, 0))
    for number in range(1, 500):
        inbox.append((number, number, {"reward": float(number)}, 0))
        bench.intake.collect()
    taken = [item for item in bench.intake.take_batch(10_000, 0) if isinstance(item, Fields)]
    assert len(taken) <= 20
    assert taken[0].data == {"episode_return": 12.5, "reward": taken[0].data["reward"]}
    assert [item.data["reward"] for item in taken] == [float(number) for number in range(500 - len(taken), 500)]
    assert bench.dropped == {"metrics/overflow": 500 - len(taken)}


def test_names_that_change_with_every_step_do_not_pile_up_in_a_flood() -> None:
    bench = Bench(Bounds(metrics=50))
    for number in range(3000):
        bench.intake.inbox("metrics").append((number, number, {f"name {number}": 1.0}, 0))
        bench.intake.collect()
    held = sum(len(item.data) for item in bench.intake.take_batch(10_000, 0) if isinstance(item, Fields))
    assert held <= 600


@pytest.mark.parametrize("is_thread_stuck", [True, False], ids=["stuck", "collecting"])
def test_fields_that_were_logged_once_survive_any_flood(is_thread_stuck: bool) -> None:
    bench = Bench()
    inbox = bench.intake.inbox("metrics")
    once = {f"config {number}": float(number) for number in range(3000)}
    inbox.append((0, 0, once | {"nested": {"a": 1, "b": 1}, "loss": 0.5, "text": "x"}, 3005))
    for number in range(1, 30_000):
        late = {"nested": {"b": number}, "loss": float("nan"), "text": None}
        fields = {f"field {field}": float(number) for field in range(10)} | late
        inbox.append((number, number, fields, 14))
        if is_thread_stuck:
            bench.intake.attend("metrics", 14)
        elif number % 500 == 0:
            bench.intake.collect()
    first = bench.intake.take_batch(1, 0)[0]
    assert isinstance(first, Fields)
    assert first.data.items() >= once.items()
    assert first.data["nested"] == {"a": 1, "b": first.step}
    assert (first.data["loss"], first.data["text"]) == (0.5, "x")
    assert bench.dropped["metrics/overflow"] > 10_000


@pytest.mark.parametrize(("width", "count", "kept"), [(1, 200_000, 200_000), (10, 40_000, 20_000), (1000, 3_000, 200)])
def test_200_000_values_of_any_width_wait_while_the_thread_is_stuck(width: int, count: int, kept: int) -> None:
    for stream in ("metrics", "iterations"):
        bench = Bench()
        inbox = bench.intake.inbox(stream)
        fields = {f"field {field}": 1.0 for field in range(width)}
        for number in range(count):
            inbox.append((number, number, fields, 0))
            if len(inbox) > MAX_INBOX or width > WIDE:  # as Publisher.log does
                bench.intake.attend(stream, width)  # type: ignore[arg-type]
        waiting = queued(bench.intake)[stream]  # type: ignore[index]
        assert kept <= waiting <= kept + MAX_INBOX
        assert waiting * width <= 400_000
        assert bench.dropped.get(f"{stream}/overflow", 0) == count - waiting


def test_a_wide_entry_behind_many_narrow_ones_is_bounded_soon() -> None:
    bench = Bench()
    for number in range(MAX_INBOX):
        bench.log(number)
    for number in range(100):
        bench.log(number, weight=10_000)
        bench.intake.attend("metrics", 10_000)
    assert len(bench.intake.inbox("metrics")) < 10


def test_a_training_thread_does_not_wait_for_the_queue_and_an_interrupted_one_does_not_block_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hud_publisher.intake.fields.STUCK_S", 0.001)
    bench = Bench()
    bench.log(1)
    bench.intake._queues["metrics"]._lock.acquire()  # by a thread that an interrupt ended
    bench.intake.attend("metrics", 1_000)
    assert len(bench.intake.inbox("metrics")) == 1
    assert [item.step for item in bench.intake.take_batch(10, 0)] == [1]


def test_a_foreign_key_that_cannot_be_compared_costs_no_other_entry() -> None:
    class Odd:
        def __hash__(self) -> int:
            return 7

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("eq")

    bench = Bench(Bounds(metrics=2))
    for number in range(4):
        bench.intake.inbox("metrics").append((number, number, {Odd(): 1, "a": number}, 2))
    assert [item.step for item in bench.intake.take_batch(100, 0)] == [3]


@pytest.mark.parametrize("stream", ["frames", "thumbs"])
def test_large_pictures_of_many_envs_stay_within_a_bound_on_their_bytes(stream: Literal["frames", "thumbs"]) -> None:
    bench = Bench()
    pixels = b"p" * (4 * 1024 * 1024)  # one object: the bound counts it each time
    for env in range(256):
        bench.intake.offer_picture(Picture(pixels, env, env, None, (0, env), stream))
    assert queued(bench.intake)[stream] == MAX_PICTURE_BYTES // len(pixels) == 16
    assert bench.dropped == {f"{stream}/overflow": 240}


def test_one_entry_larger_than_the_room_still_waits() -> None:
    bench = Bench(Bounds(metrics=10))
    bench.log(1, weight=10_000)
    bench.intake.collect()
    assert queued(bench.intake)["metrics"] == 1


def test_room_is_free_again_once_entries_are_taken() -> None:
    bench = Bench(Bounds(metrics=3))
    for number in range(9):
        bench.log(number)
        bench.intake.take_batch(1, 0)
    assert bench.dropped == {}


def test_a_flood_of_steps_pushes_no_iteration_out() -> None:
    bench = Bench(Bounds(metrics=3, iterations=3))
    bench.log(0, "iterations")
    for number in range(1, 100):
        bench.log(number)
    bench.intake.collect()
    assert queued(bench.intake)["iterations"] == 1
    assert bench.dropped == {"metrics/overflow": 96}


def test_the_oldest_entry_of_any_stream_is_taken_first() -> None:
    bench = Bench()
    for number in range(6):
        bench.log(number, "iterations" if number % 2 else "metrics")
    assert [item.step for item in bench.intake.take_batch(10_000, 0)] == list(range(6))


def test_only_the_newest_frame_of_each_env_waits() -> None:
    bench = Bench()
    for number in range(3):
        for env in ((1, 0), (1, 1)):
            bench.intake.offer_picture(picture(number, env))
    taken = bench.intake.take_batch(0, 10)
    assert sorted((item.env, item.step) for item in taken if isinstance(item, Picture)) == [((1, 0), 2), ((1, 1), 2)]
    assert bench.dropped == {"frames/replaced": 4}


def test_where_frames_go_together_so_many_of_each_env_wait_in_order() -> None:
    bench = Bench(Bounds(frames=3))
    for number in range(5):
        for env in ((1, 0), (1, 1)):
            bench.intake.offer_picture(picture(number, env))
    assert bench.intake.has_more_than(0, frames=5)
    assert not bench.intake.has_more_than(0, frames=6)
    taken = [(item.step, item.env) for item in bench.intake.take_batch(0, 10) if isinstance(item, Picture)]
    assert taken == [(number, env) for number in (2, 3, 4) for env in ((1, 0), (1, 1))]
    assert bench.dropped == {"frames/replaced": 4}
    bench.intake.offer_picture(picture(1, stream="thumbs"))
    bench.intake.offer_picture(picture(2, stream="thumbs"))
    assert [item.step for item in bench.intake.take_batch(0, 10)] == [2]


def test_a_frame_and_a_thumbnail_of_one_env_do_not_replace_each_other() -> None:
    bench = Bench()
    bench.intake.offer_picture(picture(1))
    bench.intake.offer_picture(picture(2, stream="thumbs"))
    assert len(bench.intake.take_batch(0, 10)) == 2
    assert bench.dropped == {}


def test_pictures_of_too_many_envs_push_the_oldest_out() -> None:
    bench = Bench(Bounds(envs=2))
    for env in range(5):
        bench.intake.offer_picture(picture(env, (env, 0)))
    assert queued(bench.intake)["frames"] == 2
    assert bench.dropped == {"frames/overflow": 3}


def test_an_env_that_is_always_replaced_does_not_starve_the_others() -> None:
    bench = Bench()
    bench.intake.offer_picture(picture(0, (1, 0)))
    bench.intake.offer_picture(picture(1, (1, 1)))
    bench.intake.offer_picture(picture(2, (1, 0)))
    (item,) = bench.intake.take_batch(0, 1)
    assert isinstance(item, Picture)
    assert item.env == (1, 1)


def test_vision_calls_wait_in_order_up_to_their_room() -> None:
    bench = Bench(Bounds(vision=2))
    for number in range(4):
        bench.intake.offer_vision(Vision([b""], number, number, None, None, None))
    assert [item.step for item in bench.intake.take_batch(0, 10)] == [2, 3]
    assert bench.dropped == {"vision/overflow": 2}


def test_calls_whose_pictures_take_too_much_memory_wait_without_them() -> None:
    bench = Bench(Bounds(vision_bytes=100))
    for number in range(4):
        bench.intake.offer_vision(Vision([bytes(40)], number, number, "prompt", None, None))
    items = bench.intake.take_batch(0, 10)
    assert [picture_bytes(item.images) for item in items if isinstance(item, Vision)] == [0, 0, 40, 40]
    assert [item.prompt for item in items if isinstance(item, Vision)] == ["prompt"] * 4


def test_entries_without_a_weight_weigh_as_many_values_as_they_have_fields() -> None:
    bench = Bench(Bounds(metrics=25))
    for number in range(5):
        bench.intake.inbox("metrics").append((number, number, dict.fromkeys("abcdefghij", 1.0), 0))
    bench.intake.collect()
    assert queued(bench.intake)["metrics"] == 2


def test_forgetting_everything_counts_it_and_leaves_room_for_all() -> None:
    bench = Bench(Bounds(metrics=2))
    bench.log(1, weight=2)
    bench.intake.offer_picture(picture(1))
    bench.intake.offer_vision(Vision([b""], 1, 1, None, None, None))
    bench.intake.clear()
    assert bench.intake.is_empty()
    assert bench.dropped == {"metrics/closed": 1, "frames/closed": 1, "vision/closed": 1}
    bench.log(2, weight=2)
    assert len(bench.intake.take_batch(10_000, 0)) == 1
