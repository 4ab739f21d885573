"""What a caller hands over may be changed by it at once; and nothing it hands over can raise into training."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hud_publisher.encoder import Encoder
from hud_publisher.protocol.values import clean_metrics
from hud_publisher.snapshot import copy_env, copy_fields, copy_pixels, copy_step


@dataclasses.dataclass
class Position:
    x: float
    path: list[int]


def test_later_changes_by_the_caller_do_not_show() -> None:
    array, items, inner = np.array([1.0, 2.0]), [1, [2]], {"a": 1}
    position = Position(1.0, [1])
    data: dict[str, Any] = {"array": array, "list": items, "map": inner, "dataclass": position}
    copied, _weight = copy_fields(data)
    array[0] = 9.0
    items[1].append(9)  # type: ignore[attr-defined]
    inner["a"] = 9
    position.path.append(9)
    data["new"] = 9
    assert clean_metrics(copied) == {
        "array": [1.0, 2.0],
        "list": [1, [2]],
        "map": {"a": 1},
        "dataclass": {"x": 1.0, "path": [1]},
    }


class Treacherous:
    """A value of which everything raises, as a tensor does after its device has failed."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("device-side assert")


def test_a_value_that_raises_hides_none_of_its_neighbours() -> None:
    named: list[str] = []
    copied, _weight = copy_fields({"a": 1.0, "bad": Treacherous(), "nested": {"x": [Treacherous()]}, "b": 2})
    assert clean_metrics(copied, lambda name, _value: named.append(name)) == {"a": 1.0, "b": 2}
    assert named == ["bad", "nested"]
    assert copy_step(Treacherous()) is None


def test_an_array_too_large_to_be_shown_is_not_copied_but_named() -> None:
    named: list[str] = []
    copied, weight = copy_fields({"image": np.zeros((500, 500)), "ok": 1})
    assert clean_metrics(copied, lambda name, _value: named.append(name)) == {"ok": 1}
    assert named == ["image"]
    assert weight < 10


def test_weight_counts_nested_values_and_long_texts() -> None:
    assert copy_fields({"a": 1.0, "b": 2})[1] == 2
    assert copy_fields({"a": {"b": [1, 2, 3]}})[1] >= 4
    assert copy_fields({"a": "x" * 6400})[1] >= 100
    assert copy_fields({"a": ["x" * 6400]})[1] >= 100


def test_a_list_that_never_ends_and_one_that_holds_itself_come_to_an_end() -> None:
    endless: list[Any] = []
    endless.append(endless)
    copied, _weight = copy_fields({"endless": endless, "long": list(range(100_000))})
    assert len(clean_metrics(copied)["long"]) == 1024  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (None, None),
        (7, 7),
        (np.int64(7), 7),
        (7.0, 7),
        (float("nan"), None),
        (float("inf"), None),
        (-1, None),
        (2**60, None),
    ],
)
def test_a_step_is_a_whole_number_from_zero_or_none(step: object, expected: int | None) -> None:
    assert copy_step(step) == expected


def test_an_env_may_be_given_as_a_pair_or_a_number() -> None:
    assert copy_env(None) is None
    assert copy_env([np.int64(2), 1]) == (2, 1)
    assert copy_env(3) == (0, 3)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((4, 4, 4), np.float32),
        np.zeros((4, 4), bool),
        np.zeros((8, 8, 3), np.uint8)[::2, ::2],
        Image.new("RGB", (4, 4)),
        bytearray(b"abc"),
    ],
)
def test_pixels_are_copied(pixels: Any) -> None:
    copied = copy_pixels(pixels)
    assert copied is not pixels
    if isinstance(pixels, np.ndarray):
        before = Encoder(image_format="auto").encode(pixels)
        pixels[:] = 77
        assert Encoder(image_format="auto").encode(copied) == before


def test_encoded_bytes_are_passed_on_as_they_are() -> None:
    encoded = b"\xff\xd8\xff"
    assert copy_pixels(encoded) is encoded


@pytest.mark.parametrize("pixels", [None, "text", 7, [[1, 2], [3, 4]], object()])
def test_what_is_no_picture_is_refused_with_what_to_do(pixels: Any) -> None:
    with pytest.raises(TypeError, match="render_mode"):
        copy_pixels(pixels)


def test_a_picture_larger_than_any_that_can_be_sent_is_not_copied() -> None:
    huge = np.broadcast_to(np.zeros((1, 1, 3), np.float64), (20_000, 20_000, 3))
    with pytest.raises(TypeError, match="at most"):
        copy_pixels(huge)
