"""What is written down for the helper's process is the same when it is read there."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hud_publisher.assembly import make_link
from hud_publisher.encoder import Encoder
from hud_publisher.link import Link
from hud_publisher.outbox import Fields, Item, Picture, Vision
from hud_publisher.parcel import pack, unpack
from hud_publisher.protocol.batch import Claim
from hud_publisher.protocol.settings import Settings
from hud_publisher.protocol.values import clean_metrics
from hud_publisher.snapshot import copy_fields, copy_pixels

PIXELS = np.random.default_rng(1).integers(0, 255, (30, 40, 3), dtype=np.uint8)


@pytest.fixture
def link() -> Link:
    return make_link(Settings.from_env({}, redis_url="redis://localhost"), None)


def through(link: Link, *items: Item) -> list[Item]:
    return unpack(b"".join(pack(link, list(items)))).items


@pytest.mark.parametrize(
    "data",
    [
        {"a": 1.5, "b": 2, "c": True, "d": None, "e": "text", "f": float("nan"), "g": 10**30},
        {"f32": np.float32(0.1), "i64": np.int64(7), "flag": np.bool_(True), "text": np.str_("x"), "zero": np.array(3)},
        {"nested": {"list": [1, [2.0, "x"]], "array": np.arange(4.0), "deep": {"a": {"b": np.float64(1)}}}},
        {7: 1.0, None: 2.0, "bytes": b"raw"},
    ],
)
def test_fields_mean_the_same(link: Link, data: dict[Any, Any]) -> None:
    copied, weight = copy_fields(data)
    item = Fields(copied, 1_700_000_000_123, 5, "metrics", weight)
    (found,) = through(link, item)
    assert isinstance(found, Fields)
    assert clean_metrics(found.data) == clean_metrics(data)
    assert dataclasses.replace(found, data={}) == dataclasses.replace(item, data={})


@pytest.mark.parametrize(
    "value", [Decimal("1.5"), object(), np.longdouble(1), {"a": [Decimal(1)]}, {np.int64(1): 2}, {Decimal(1): 2}]
)
def test_foreign_objects_are_refused(link: Link, value: Any) -> None:
    with pytest.raises(TypeError, match="expected"):
        pack(link, [Fields({"value": value, **(value if isinstance(value, dict) else {})}, 1, 1, "metrics", 1)])


@pytest.mark.parametrize(
    "pixels",
    [
        PIXELS, PIXELS[:, :, 0], PIXELS[::2, ::2], PIXELS.astype(np.float32) / 255, PIXELS > 128,
        Image.fromarray(PIXELS), Image.fromarray(PIXELS).convert("P"),
    ],
)  # fmt: skip
def test_pixels_make_the_same_picture(link: Link, pixels: Any) -> None:
    item = Picture(copy_pixels(pixels), 1_700_000_000_123, 5, 2, (1, 0), "frames")
    (found,) = through(link, item)
    assert isinstance(found, Picture)
    assert Encoder().encode(found.pixels) == Encoder().encode(item.pixels)
    assert dataclasses.replace(found, pixels=None) == dataclasses.replace(item, pixels=None)


def test_encoded_pictures_and_calls_of_a_model_stay_what_they_are(link: Link) -> None:
    picture = Picture(b"\xff\xd8jpeg", 1, None, None, None, "frames")
    call = Vision(b"\x89PNG", 2, 3, "Where to?", "left", 412.0, {"model": "m", "tokens": 7})
    shown = Vision(copy_pixels(PIXELS), 2, 3, None, None, None)
    found = through(link, picture, call, shown)
    assert found[:2] == [picture, call]
    assert isinstance(found[2], Vision)
    assert Encoder().encode(found[2].image) == Encoder().encode(PIXELS)


def test_what_the_publisher_wishes_goes_along(link: Link) -> None:
    link.claim = Claim((3, 1), is_preferred=True)
    link.frames.take((3, 1))
    link.close(12.5, False)
    note = unpack(b"".join(pack(link, [])))
    assert (note.items, note.claim, note.close_by, note.release) == ([], link.claim, 12.5, False)
    assert note.frames_at == (link.frames.asked_at, link.frames.taken_at)
