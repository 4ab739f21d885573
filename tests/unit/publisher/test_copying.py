"""A caller may change a value right after passing it, and no value passed can raise into training."""

from __future__ import annotations

import dataclasses
from collections import deque
from decimal import Decimal
from typing import Any

import numpy as np
import pydantic
import pytest
from PIL import Image

from hud_publisher.intake.copying import copy_env, copy_fields, copy_pictures, copy_pixels, copy_step
from hud_publisher.intake.items import NoPicture
from hud_publisher.intake.report import Counters
from hud_publisher.protocol.cleaning import clean_metrics
from hud_publisher.protocol.errors import UnsupportedImageError
from hud_publisher.sender.encoder import Encoder


class Model(pydantic.BaseModel):
    hits: list[int]


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


def test_changes_of_deques_views_models_and_bytes_do_not_show() -> None:
    waiting, known = deque([1, 2]), {"a": 1}
    model = Model(hits=[1])
    data: dict[str, Any] = {
        "deque": waiting, "view": known.keys(), "model": model, "raw": bytearray(b"a"),
    }  # fmt: skip
    copied, _weight = copy_fields(data)
    waiting.append(3)
    known["b"] = 2
    model.hits.append(2)
    data["raw"][:] = b"b"
    assert clean_metrics(copied) == {
        "deque": [1, 2], "view": ["a"], "model": {"hits": [1]}, "raw": "a",
    }  # fmt: skip


class Treacherous:
    """A value whose every attribute raises, like a tensor after its device failed."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("device-side assert")


def test_a_value_that_raises_hides_none_of_its_neighbours() -> None:
    named: list[str] = []
    copied, _weight = copy_fields({"a": 1.0, "bad": Treacherous(), "nested": {"x": [Treacherous()], "y": 3}, "b": 2})
    assert clean_metrics(copied, lambda name, _value: named.append(name)) == {
        "a": 1.0, "nested": {"x": [None], "y": 3}, "b": 2,
    }  # fmt: skip
    assert named == ["bad", "nested/x"]
    assert copy_step(Treacherous()) is None


def test_an_array_too_large_to_be_shown_is_not_copied_but_named() -> None:
    named: list[str] = []
    copied, weight = copy_fields({"image": np.zeros((500, 500), complex), "ok": 1})
    assert clean_metrics(copied, lambda name, _value: named.append(name)) == {"ok": 1}
    assert named == ["image"]
    assert weight < 10


def test_the_log_says_why_a_value_cannot_be_shown(caplog: pytest.LogCaptureFixture) -> None:
    endless: list[Any] = []
    endless.append(endless)
    copied, _weight = copy_fields(
        {"image": np.full((500, 500), "x"), "bad": Treacherous(), "endless": endless, "f": len}
    )
    clean_metrics(copied, Counters().cannot_show)
    assert [message.partition(": ")[0] for message in caplog.messages] == [
        "HUD cannot show 'image', a value of type ndarray with 250,000 numbers, of at most 1,024",
        "HUD cannot show 'bad', a value of type Treacherous that raised RuntimeError",
        "HUD cannot show 'endless', a value nested deeper than 8 levels",
        "HUD cannot show 'f', a value of type builtin_function_or_method",
    ]


def test_pictures_of_a_vision_call_that_raise_are_replaced_by_the_reason() -> None:
    assert copy_pictures(Treacherous()) == [NoPicture("device-side assert")]


def test_weight_counts_nested_values_and_long_texts() -> None:
    assert copy_fields({"a": 1.0, "b": 2})[1] == 2
    assert copy_fields({"a": {"b": [1, 2, 3]}})[1] >= 4
    assert copy_fields({"a": "x" * 6400})[1] >= 100
    assert copy_fields({"a": ["x" * 6400]})[1] >= 100


def test_a_list_that_never_ends_and_one_that_holds_itself_come_to_an_end() -> None:
    endless: list[Any] = []
    endless.append(endless)
    copied, _weight = copy_fields({"endless": endless, "long": list(range(100_000))})
    assert clean_metrics(copied, histograms=True)["long"][1]["n"] == 100_000  # type: ignore[index]
    texts, _weight = copy_fields({"long": ["a"] * 100_000})
    assert len(clean_metrics(texts)["long"]) == 1024  # type: ignore[arg-type]


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
        (Decimal("1e999999"), None),  # `int` takes 45 s
        (Decimal(7), 7),
        (np.array([7]), 7),
        (1j, None),
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


@pytest.mark.parametrize("pixels", [None, "text", 7, [], [None], object()])
def test_an_invalid_picture_is_refused_with_advice(pixels: Any) -> None:
    with pytest.raises(UnsupportedImageError, match="render_mode"):
        copy_pixels(pixels)


def test_a_picture_larger_than_any_that_can_be_sent_is_not_copied() -> None:
    huge = np.broadcast_to(np.zeros((1, 1, 3), np.float64), (20_000, 20_000, 3))
    with pytest.raises(UnsupportedImageError, match="at most"):
        copy_pixels(huge)
