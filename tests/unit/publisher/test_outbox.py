"""What waits is bounded, the newest survives, and every loss is counted."""

from __future__ import annotations

from typing import Literal

from hud_publisher.outbox import Fields, Outbox, Picture, Room, Vision
from hud_publisher.stats import Counters, make_stats


class Bench:
    """An outbox with both sides of it: what training offers, and what the publisher's thread takes."""

    def __init__(self, room: Room | None = None) -> None:
        self.counters, self.refusals = Counters(), Counters()
        self.outbox = Outbox(self.counters, self.refusals, room)

    def log(self, number: int, stream: Literal["metrics", "iterations"] = "metrics", weight: int = 1) -> None:
        inbox = self.outbox.metrics_inbox if stream == "metrics" else self.outbox.iterations_inbox
        inbox.append((number * 1_000_000, number, {"n": number}, weight))

    @property
    def dropped(self) -> dict[str, int]:
        return dict(make_stats(self.counters, self.refusals, self.outbox.offered()).dropped)


def picture(
    number: int, env: tuple[int, int] | None = (1, 0), stream: Literal["frames", "thumbs"] = "frames"
) -> Picture:
    return Picture(b"", number, number, None, env, stream)


def test_the_oldest_metrics_give_way_and_are_counted() -> None:
    bench = Bench(Room(metrics=3))
    for number in range(5):
        bench.log(number)
    assert [item.step for item in bench.outbox.take(10_000, 0)] == [2, 3, 4]
    assert bench.dropped == {"metrics/overflow": 2}


def test_room_is_measured_in_values_so_large_entries_cannot_fill_the_memory() -> None:
    bench = Bench(Room(metrics=1000))
    for number in range(100):
        bench.log(number, weight=400)
    bench.outbox.collect()
    assert bench.outbox.waiting()["metrics"] == 2


def test_in_a_flood_of_steps_the_newest_value_of_a_rare_field_survives() -> None:
    bench = Bench(Room(metrics=20))
    inbox = bench.outbox.metrics_inbox
    inbox.append((0, 0, {"episode_return": 12.5, "reward": 0.0}, 0))
    for number in range(1, 500):
        inbox.append((number, number, {"reward": float(number)}, 0))
        bench.outbox.collect()
    taken = [item for item in bench.outbox.take(10_000, 0) if isinstance(item, Fields)]
    assert len(taken) <= 20
    assert taken[0].data == {"episode_return": 12.5, "reward": taken[0].data["reward"]}
    assert [item.data["reward"] for item in taken] == [float(number) for number in range(500 - len(taken), 500)]
    assert bench.dropped == {"metrics/overflow": 500 - len(taken)}


def test_names_that_change_with_every_step_do_not_pile_up_in_a_flood() -> None:
    bench = Bench(Room(metrics=50))
    for number in range(3000):
        bench.outbox.metrics_inbox.append((number, number, {f"name {number}": 1.0}, 0))
        bench.outbox.collect()
    held = sum(len(item.data) for item in bench.outbox.take(10_000, 0) if isinstance(item, Fields))
    assert held <= 600


def test_one_entry_larger_than_the_room_still_waits() -> None:
    bench = Bench(Room(metrics=10))
    bench.log(1, weight=10_000)
    bench.outbox.collect()
    assert bench.outbox.waiting()["metrics"] == 1


def test_room_is_free_again_once_entries_are_taken() -> None:
    bench = Bench(Room(metrics=3))
    for number in range(9):
        bench.log(number)
        bench.outbox.take(1, 0)
    assert bench.dropped == {}


def test_a_flood_of_steps_pushes_no_iteration_out() -> None:
    bench = Bench(Room(metrics=3, iterations=3))
    bench.log(0, "iterations")
    for number in range(1, 100):
        bench.log(number)
    bench.outbox.collect()
    assert bench.outbox.waiting()["iterations"] == 1
    assert bench.dropped == {"metrics/overflow": 96}


def test_what_was_logged_first_is_taken_first_whatever_its_stream() -> None:
    bench = Bench()
    for number in range(6):
        bench.log(number, "iterations" if number % 2 else "metrics")
    assert [item.step for item in bench.outbox.take(10_000, 0)] == list(range(6))


def test_only_the_newest_frame_of_each_env_waits() -> None:
    bench = Bench()
    for number in range(3):
        for env in ((1, 0), (1, 1)):
            bench.outbox.offer_picture(picture(number, env))
    taken = bench.outbox.take(0, 10)
    assert sorted((item.env, item.step) for item in taken if isinstance(item, Picture)) == [((1, 0), 2), ((1, 1), 2)]
    assert bench.dropped == {"frames/replaced": 4}


def test_where_frames_go_together_so_many_of_each_env_wait_in_order() -> None:
    bench = Bench(Room(frames=3))
    for number in range(5):
        for env in ((1, 0), (1, 1)):
            bench.outbox.offer_picture(picture(number, env))
    assert bench.outbox.has_more_than(0, frames=5)
    assert not bench.outbox.has_more_than(0, frames=6)
    taken = [(item.step, item.env) for item in bench.outbox.take(0, 10) if isinstance(item, Picture)]
    assert taken == [(number, env) for number in (2, 3, 4) for env in ((1, 0), (1, 1))]
    assert bench.dropped == {"frames/replaced": 4}
    bench.outbox.offer_picture(picture(1, stream="thumbs"))
    bench.outbox.offer_picture(picture(2, stream="thumbs"))
    assert [item.step for item in bench.outbox.take(0, 10)] == [2]


def test_a_frame_and_a_thumbnail_of_one_env_do_not_replace_each_other() -> None:
    bench = Bench()
    bench.outbox.offer_picture(picture(1))
    bench.outbox.offer_picture(picture(2, stream="thumbs"))
    assert len(bench.outbox.take(0, 10)) == 2
    assert bench.dropped == {}


def test_pictures_of_too_many_envs_push_the_oldest_out() -> None:
    bench = Bench(Room(envs=2))
    for env in range(5):
        bench.outbox.offer_picture(picture(env, (env, 0)))
    assert bench.outbox.waiting()["frames"] == 2
    assert bench.dropped == {"frames/overflow": 3}


def test_an_env_that_is_always_replaced_does_not_starve_the_others() -> None:
    bench = Bench()
    bench.outbox.offer_picture(picture(0, (1, 0)))
    bench.outbox.offer_picture(picture(1, (1, 1)))
    bench.outbox.offer_picture(picture(2, (1, 0)))
    (item,) = bench.outbox.take(0, 1)
    assert isinstance(item, Picture)
    assert item.env == (1, 1)


def test_vision_calls_wait_in_order_up_to_their_room() -> None:
    bench = Bench(Room(vision=2))
    for number in range(4):
        bench.outbox.offer_vision(Vision(b"", number, number, None, None, None))
    assert [item.step for item in bench.outbox.take(0, 10)] == [2, 3]
    assert bench.dropped == {"vision/overflow": 2}


def test_entries_without_a_weight_weigh_as_many_values_as_they_have_fields() -> None:
    bench = Bench(Room(metrics=25))
    for number in range(5):
        bench.outbox.metrics_inbox.append((number, number, dict.fromkeys("abcdefghij", 1.0), 0))
    bench.outbox.collect()
    assert bench.outbox.waiting()["metrics"] == 2


def test_an_inbox_that_nobody_empties_stays_bounded() -> None:
    bench = Bench()
    for number in range(5):
        bench.log(number)
    bench.outbox.make_room("metrics")
    assert [item.step for item in bench.outbox.take(10_000, 0)] == [1, 2, 3, 4]
    bench.outbox.make_room("metrics")
    assert bench.dropped == {"metrics/overflow": 1}


def test_forgetting_everything_counts_it_and_leaves_room_for_all() -> None:
    bench = Bench(Room(metrics=2))
    bench.log(1, weight=2)
    bench.outbox.offer_picture(picture(1))
    bench.outbox.offer_vision(Vision(b"", 1, 1, None, None, None))
    bench.outbox.clear()
    assert bench.outbox.is_empty()
    assert bench.dropped == {"metrics/closed": 1, "frames/closed": 1, "vision/closed": 1}
    bench.log(2, weight=2)
    assert len(bench.outbox.take(10_000, 0)) == 1
