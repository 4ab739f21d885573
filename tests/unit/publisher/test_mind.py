"""The policy's view: taken only when due and watched, copied at once, with the observation exactly as it was given."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hud_publisher.intake.intake import MIND_BYTES_PER_S
from hud_publisher.intake.items import Mind
from hud_publisher.intake.mind import copy_mind
from hud_publisher.intake.report import Counters
from hud_publisher.protocol.batch import FRAMES_TOGETHER
from hud_publisher.protocol.entries import MindEntry
from hud_publisher.protocol.names import Paths
from hud_publisher.sender.advice import ADVICE_S, NewestAdvice, agreement, index_of
from hud_publisher.sender.compose import compose
from hud_publisher.sender.encoder import Encoder
from hud_publisher.sender.observation import MAX_NUMBERS, Observations
from tests.fixtures.publishing import Bench


def composed(observations: Observations | None = None, advice: Any = None, **parts: Any) -> MindEntry:
    item = Mind(copy_mind(parts)[0], 1_000, 7, 2, (1, 0), advice)
    [entry] = compose([item], Encoder(), observations or Observations(), Counters(), Paths())
    assert isinstance(entry, MindEntry)
    return entry


def pixels_of(entry: MindEntry) -> Any:
    assert entry.image is not None
    return np.asarray(Image.open(io.BytesIO(entry.image)))


@pytest.mark.parametrize("shape", [(84, 84), (84, 84, 1), (1, 84, 84), (60, 40, 3), (3, 60, 40), (1, 1, 60, 40)])
def test_a_picture_keeps_each_of_its_values(shape: tuple[int, ...]) -> None:
    given = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    expected = np.moveaxis(given, 0, -1) if shape == (3, 60, 40) else given.squeeze()
    entry = composed(observation=given)
    assert np.array_equal(pixels_of(entry), expected)
    assert entry.data == {"observation_range": [0.0, 255.0]}


@pytest.mark.parametrize(("shape", "axis"), [((84, 84, 4), 2), ((4, 84, 84), 0), ((9, 9, 17), 2), ((17, 9, 9), 0)])
def test_each_channel_of_another_number_is_a_tile(shape: tuple[int, ...], axis: int) -> None:
    given = np.random.default_rng(2).integers(0, 256, shape, np.uint8)
    entry = composed(observation=given)
    columns, count = entry.data["observation_tiles"]  # type: ignore[misc, index]
    assert count == shape[axis]
    sheet, side = pixels_of(entry), shape[1]
    for index in range(count):
        top, left = index // columns * side, index % columns * side
        assert np.array_equal(sheet[top : top + side, left : left + side], given.take(index, axis))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 1]), (-1, 1, [-1, 1]), (0, 200, [0, 255]), (-3, 1, [-3, 1]), (0, 1000, [0, 1000])],
)
def test_other_types_have_the_range_that_holds_them(low: float, high: float, expected: list[float]) -> None:
    given = np.linspace(low, high, 100, dtype=np.float32).reshape(10, 10)
    entry = composed(observation=given)
    assert entry.data["observation_range"] == expected
    scaled = (given - expected[0]) / (expected[1] - expected[0]) * 255
    assert np.abs(pixels_of(entry) - scaled).max() <= 1


def test_the_range_of_an_env_only_widens() -> None:
    observations = Observations()
    composed(observations, observation=np.full((10, 10), 200.0))
    entry = composed(observations, observation=np.full((10, 10), 1.0))
    assert entry.data["observation_range"] == [0.0, 255.0]


def test_the_parts_of_an_observation_have_their_names() -> None:
    picture = np.full((20, 30, 3), 9, np.uint8)
    entry = composed(observation={"speed": 1.5, "near": {"left": [1, 2], "n": np.int64(4)}, "camera": picture})
    assert entry.data["observation"] == [1.5, 1, 2, 4]
    assert entry.data["observation_names"] == ["speed", "near/left/0", "near/left/1", "near/n"]
    assert np.array_equal(pixels_of(entry), picture)
    entry = composed(observation=(np.arange(2), True))
    assert (entry.data["observation"], entry.data["observation_names"]) == ([0, 1, 1], ["0/0", "0/1", "1"])


def test_a_vector_has_the_names_that_are_given_and_is_cut_with_a_note() -> None:
    entry = composed(observation=np.arange(3.0), observation_names=["x", "y", "z"])
    assert (entry.data["observation"], entry.data["observation_names"]) == ([0, 1, 2], ["x", "y", "z"])
    entry = composed(observation=np.arange(5_000.0))
    assert entry.data["observation"] == list(map(float, range(MAX_NUMBERS)))
    assert entry.data["observation_note"] == f"the first {MAX_NUMBERS} of 5000 numbers"
    assert composed(observation=[0.5, math.nan, math.inf]).data["observation"] == [0.5, None, None]


class Hostile:
    """An array whose every use raises."""

    shape = (2, 2)

    @property
    def nbytes(self) -> int:
        raise RuntimeError("no")

    def __array__(self, *_arguments: Any) -> Any:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "observation",
    [
        object(), Hostile(), "a text", b"bytes", np.zeros((2_000, 2_000, 3)), np.zeros((0, 5)), np.array(["a", "b"]),
        {"deep": {"deep": {"deep": {"deep": {"deep": {"deep": 1}}}}}}, [[1, 2], [3]], None, {}, (), np.zeros((2,) * 9),
        np.array([1 + 2j]), [None, 1], np.array([{"a": 1}], dtype=object),
    ],
)  # fmt: skip
def test_an_odd_observation_costs_the_other_parts_nothing(observation: Any) -> None:
    entry = composed(observation=observation, value=2.0)
    assert entry.data["value"] == 2.0
    assert entry.encode()


def test_the_entropy_is_that_of_the_distribution() -> None:
    assert composed(probabilities=[0.5, 0.5]).data["entropy"] == pytest.approx(math.log(2))
    assert composed(probabilities=[1.0, 0.0]).data["entropy"] == 0
    both = composed(probabilities=[[0.5, 0.5], [0.25] * 4]).data["entropy"]
    assert both == pytest.approx(math.log(2) + math.log(4))
    normal = composed(mean=[0.0, 0.0], deviation=[1.0, 2.0]).data["entropy"]
    assert normal == pytest.approx(math.log(2 * math.pi * math.e) + math.log(2))
    assert "entropy" not in composed(deviation=[0.0]).data
    assert "entropy" not in composed(probabilities=[0.5, math.nan]).data
    assert composed(probabilities=[0.5, 0.5], entropy=0.1).data["entropy"] == 0.1


def test_several_choices_at_once_have_a_list_each() -> None:
    data = composed(probabilities=[[0.5, 0.5], np.array([0.2, 0.3, 0.5])], action=[1, 2], advice="0").data
    assert (data["probabilities"], data["action"]) == ([[0.5, 0.5], [0.2, 0.3, 0.5]], [1, 2])
    assert "advice" not in data


def test_a_single_number_is_a_list_where_a_list_is_expected() -> None:
    data = composed(mean=np.array([0.5]), deviation=2.0).data
    assert (data["mean"], data["deviation"]) == ([0.5], [2.0])


def test_advice_is_compared_with_the_choice() -> None:
    policy = {"probabilities": [0.12, 0.88], "action": 1, "action_names": ["UP", "DOWN"], "action_name": "DOWN"}
    found = composed(advice="I would move up.", **policy).data["advice"]
    assert found == {"action": "UP", "agrees": False, "probability": 0.12, "text": "advised UP, policy 12 % UP"}
    assert "advice" not in composed(advice="up or down", **policy).data
    assert "advice" not in composed(**policy).data
    own = {"action": "UP", "agrees": True, "text": "mine"}
    assert agreement(own, policy) == own
    q_values = {"q_values": [1.0, 2.0], "action": 0, "action_names": ["UP", "DOWN"]}
    assert agreement(1, q_values) == {"action": "DOWN", "agrees": False, "text": "advised DOWN, policy chose 0"}


@pytest.mark.parametrize(
    ("advice", "index"),
    [
        ("LEFT", 0), ("fire right", 2), ("FIRE right", 2), ('{"action": "right", "why": "…"}', 1), ('{"Action": 2}', 2),
        ("2", 2), (2, 2), (3, None), ("", None), (True, None), (None, None), ("left right", None), (-1, None),
    ],
)  # fmt: skip
def test_an_action_is_found_in_an_advice(advice: Any, index: int | None) -> None:
    assert index_of(advice, ["LEFT", "RIGHT", "FIRE RIGHT"], 3) == index


def test_an_advice_is_compared_while_it_is_new_and_with_its_env(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("hud_publisher.sender.advice.time.monotonic", lambda: now[0])
    newest = NewestAdvice()
    assert newest.current() is None
    newest.note({"action": "UP"}, "because …")
    assert newest.current() == "UP"
    newest.note({}, "left")
    assert newest.current() == "left"
    newest.note({"action": "UP", "env": [1, 0]}, None)
    assert [newest.current(env) for env in (None, (1, 0), (1, 1))] == ["UP", "UP", None]
    now[0] += ADVICE_S + 1
    assert newest.current() is None


def offer(bench: Bench, env: tuple[int, int] = (1, 0), step: int = 7) -> bool:
    if not bench.intake.begin("mind", env):
        return False
    bench.intake.offer_mind(Mind({"value": 1.0}, int(bench.clock.now * 1000), step, 1, env))
    return True


def test_views_are_taken_only_while_watched_and_at_most_five_times_a_second() -> None:
    bench = Bench()
    bench.turns(2)
    assert not bench.intake.is_due("mind", (1, 0))
    bench.sink.viewers = 1
    bench.log()
    bench.run(2.0)
    taken = 0
    for _ in range(100):
        taken += offer(bench)
        bench.run(0.02)
    assert 9 <= taken <= 11
    bench.sink.viewers = 0
    bench.run(12.0)  # until the next heartbeat
    assert not bench.intake.is_due("mind", (1, 0))


def test_views_with_large_observations_come_less_often() -> None:
    bench = Bench()
    bench.sink.viewers = 1
    bench.log()
    bench.run(1.0)
    assert bench.intake.begin("mind", (1, 0))
    bench.intake.offer_mind(Mind({}, 1_000, 1, 1, (1, 0)), size=2 * MIND_BYTES_PER_S)
    bench.clock.advance(1.9)
    assert not bench.intake.is_due("mind", (1, 0))
    assert bench.intake.is_due("mind", (1, 1))
    bench.clock.advance(0.2)
    assert bench.intake.begin("mind", (1, 0))
    bench.clock.advance(0.21)
    assert bench.intake.is_due("mind", (1, 0))


def test_the_newest_view_of_an_env_wins_and_a_view_of_a_hidden_env_is_counted() -> None:
    bench = Bench()
    bench.sink.viewers = 1
    bench.log()
    bench.run(1.0)
    for step in range(3):
        bench.intake.offer_mind(Mind({"value": 1.0}, 1_000, step, 1, (1, 0)))
    bench.run(1.0)
    landed = [entry for entry in bench.sink.landed if isinstance(entry, MindEntry)]
    assert [(entry.step, entry.data) for entry in landed] == [(2, {"value": 1.0})]
    stats = bench.intake.stats()
    assert (stats.taken["mind"], stats.sent["mind"], stats.dropped["mind/replaced"]) == (3, 1, 2)


def test_a_view_waits_for_its_frame_if_frames_are_batched_and_goes_at_once_otherwise() -> None:
    intake = Bench().intake
    intake.ask_to_wake(by_frames=False, above_fields=40)
    intake.offer_mind(Mind({}, 1_000, 1, 1, (1, 0)))
    assert not intake.has_more_than(40, FRAMES_TOGETHER - 1)
    assert intake.has_more_than(40)
    assert not intake.is_empty()
    intake.ask_to_wake(by_frames=True, above_fields=0)
    intake.offer_mind(Mind({}, 1_000, 1, 1, (1, 0)))
    assert not intake.is_wake_asked  # the sender was woken


def test_queued_views_have_a_bound() -> None:
    bench = Bench()
    for index in range(100):
        bench.intake.offer_mind(Mind({}, 1_000, 1, 1, (1, index)))
    assert bench.intake.offered()["mind"] == 16
    assert bench.intake.early.dropped["mind/overflow"] == 84
