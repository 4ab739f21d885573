"""What waits is bounded, the newest survives, and every loss is counted."""

from __future__ import annotations

from typing import Literal

from hud_publisher.outbox import Fields, Outbox, Picture, Room, Vision
from hud_publisher.stats import Counters


def make(room: Room | None = None) -> tuple[Outbox, Counters]:
    counters = Counters()
    return Outbox(counters, room), counters


def fields(number: int, stream: Literal["metrics", "iterations"] = "metrics", weight: int = 1) -> Fields:
    return Fields({"n": number}, number, number, stream, weight)


def picture(
    number: int, env: tuple[int, int] | None = (1, 0), stream: Literal["frames", "thumbs"] = "frames"
) -> Picture:
    return Picture(b"", number, number, None, env, stream)


def test_the_oldest_metrics_give_way_and_are_counted() -> None:
    outbox, counters = make(Room(metrics=3))
    for number in range(5):
        outbox.offer_fields(fields(number))
    assert [item.step for item in outbox.take(10, 0)] == [2, 3, 4]
    assert counters.dropped == {"metrics/overflow": 2}


def test_room_is_measured_in_values_so_large_entries_cannot_fill_the_memory() -> None:
    outbox, _counters = make(Room(metrics=1000))
    for number in range(100):
        outbox.offer_fields(fields(number, weight=400))
    assert outbox.waiting()["metrics"] == 2


def test_one_entry_larger_than_the_room_still_waits() -> None:
    outbox, _counters = make(Room(metrics=10))
    outbox.offer_fields(fields(1, weight=10_000))
    assert outbox.waiting()["metrics"] == 1


def test_room_is_free_again_once_entries_are_taken() -> None:
    outbox, counters = make(Room(metrics=3))
    for number in range(9):
        outbox.offer_fields(fields(number))
        outbox.take(1, 0)
    assert counters.dropped == {}


def test_a_flood_of_steps_pushes_no_iteration_out() -> None:
    outbox, counters = make(Room(metrics=3, iterations=3))
    outbox.offer_fields(fields(0, "iterations"))
    for number in range(1, 100):
        outbox.offer_fields(fields(number))
    assert outbox.waiting()["iterations"] == 1
    assert counters.dropped == {"metrics/overflow": 96}


def test_what_was_logged_first_is_taken_first_whatever_its_stream() -> None:
    outbox, _counters = make()
    for number in range(6):
        outbox.offer_fields(fields(number, "iterations" if number % 2 else "metrics"))
    assert [item.step for item in outbox.take(10, 0)] == list(range(6))


def test_only_the_newest_frame_of_each_env_waits() -> None:
    outbox, counters = make()
    for number in range(3):
        for env in ((1, 0), (1, 1)):
            outbox.offer_picture(picture(number, env))
    taken = outbox.take(0, 10)
    assert sorted((item.env, item.step) for item in taken if isinstance(item, Picture)) == [((1, 0), 2), ((1, 1), 2)]
    assert counters.dropped == {"frames/replaced": 4}


def test_a_frame_and_a_thumbnail_of_one_env_do_not_replace_each_other() -> None:
    outbox, counters = make()
    outbox.offer_picture(picture(1))
    outbox.offer_picture(picture(2, stream="thumbs"))
    assert len(outbox.take(0, 10)) == 2
    assert counters.dropped == {}


def test_pictures_of_too_many_envs_push_the_oldest_out() -> None:
    outbox, counters = make(Room(envs=2))
    for env in range(5):
        outbox.offer_picture(picture(env, (env, 0)))
    assert outbox.waiting()["frames"] == 2
    assert counters.dropped == {"frames/overflow": 3}


def test_an_env_that_is_always_replaced_does_not_starve_the_others() -> None:
    outbox, _counters = make()
    outbox.offer_picture(picture(0, (1, 0)))
    outbox.offer_picture(picture(1, (1, 1)))
    outbox.offer_picture(picture(2, (1, 0)))
    (item,) = outbox.take(0, 1)
    assert isinstance(item, Picture)
    assert item.env == (1, 1)


def test_vision_calls_wait_in_order_up_to_their_room() -> None:
    outbox, counters = make(Room(vision=2))
    for number in range(4):
        outbox.offer_vision(Vision(b"", number, number, None, None, None))
    assert [item.step for item in outbox.take(0, 10)] == [2, 3]
    assert counters.dropped == {"vision/overflow": 2}


def test_forgetting_everything_leaves_room_for_all() -> None:
    outbox, counters = make(Room(metrics=2))
    outbox.offer_fields(fields(1, weight=2))
    outbox.clear()
    assert outbox.is_empty()
    outbox.offer_fields(fields(2, weight=2))
    assert counters.dropped == {}
