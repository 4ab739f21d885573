"""Every form of picture that environments return is encoded in a format that browsers show."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hud_publisher.intake.copying import copy_pixels
from hud_publisher.protocol.errors import UnsupportedImageError
from hud_publisher.protocol.images import inspect_image
from hud_publisher.sender import encoder as encoder_module
from hud_publisher.sender.encoder import Encoder

HEIGHT, WIDTH = 16, 24
RED: Any = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
RED[:, :, 0] = 255
GREY: Any = np.full((HEIGHT, WIDTH), 128, np.uint8)


@pytest.fixture(params=["simplejpeg", "pillow"], autouse=True)
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test runs with the fast codec and without it."""
    if request.param == "pillow":
        monkeypatch.setattr(encoder_module, "HAS_SIMPLEJPEG", False)
    return str(request.param)


def decode(encoded: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")).astype(int)


def wide(array: Any) -> Any:
    """The same values with gaps in memory."""
    gapped = np.zeros((array.shape[0] * 2, array.shape[1] * 3, *array.shape[2:]), array.dtype)[::2, ::3]
    gapped[:] = array
    return gapped


@pytest.mark.parametrize(
    "pixels",
    [
        RED,
        np.dstack([RED, np.full((HEIGHT, WIDTH), 7, np.uint8)]),
        RED.astype(np.float32) / 255,
        RED.astype(np.float64),
        RED.astype(np.int64),
        RED > 0,
        wide(RED),
        copy_pixels(RED),
        copy_pixels(RED.astype(np.float32) / 255),
        RED.transpose(2, 0, 1),
        Image.fromarray(RED),
        Image.fromarray(RED).convert("RGBA"),
        Image.fromarray(RED).convert("P"),
    ],
    ids=[
        "rgb", "rgba", "float 0-1", "float 0-255", "int64", "bool", "non-contiguous", "copied", "copied floats",
        "channels first", "PIL",
        "PIL with alpha", "PIL with palette",
    ],
)  # fmt: skip
def test_a_red_picture_of_any_form_is_red(pixels: Any) -> None:
    assert_red(pixels)


def assert_red(pixels: Any) -> None:
    encoded, mime = Encoder().encode(pixels)
    info = inspect_image(encoded)
    assert (info.mime, info.width, info.height, mime) == ("image/jpeg", WIDTH, HEIGHT, "image/jpeg")
    red, green, blue = decode(encoded).reshape(-1, 3).mean(axis=0)
    assert red > 240
    assert green < 15
    assert blue < 15


@pytest.mark.parametrize("pixels", [GREY, GREY[:, :, None], GREY.astype(np.float32) / 255, Image.fromarray(GREY)])
def test_a_grey_picture_of_any_form_is_grey(pixels: Any) -> None:
    encoded, _mime = Encoder().encode(pixels)
    assert abs(decode(encoded) - 128).max() <= 3


def brightness(encoder: Encoder, value: float, sequence: Any) -> float:
    pixels = np.full((8, 8, 3), value, np.float32)
    return float(decode(encoder.encode(pixels, sequence=sequence)[0]).mean())


def test_floats_of_one_sequence_have_one_scale_once_it_is_known() -> None:
    encoder = Encoder()
    first = [brightness(encoder, value, (0, 0)) for value in (1.0, 2.0, 255.0, 1.0, 0.0)]
    assert first == pytest.approx([255, 2, 255, 1, 0], abs=2)
    assert brightness(encoder, 1.0, (0, 1)) == pytest.approx(255, abs=2), "another environment has its own scale"
    assert brightness(encoder, 1.2, (0, 1)) == pytest.approx(255, abs=2), "a network overshoots"
    assert brightness(encoder, 0.5, (0, 1)) == pytest.approx(128, abs=2)


def test_a_single_picture_has_a_separate_scale() -> None:
    encoder = Encoder()
    assert [brightness(encoder, value, None) for value in (200.0, 1.0)] == pytest.approx([200, 255], abs=2)


def test_scales_of_ever_new_sequences_take_bounded_memory() -> None:
    encoder = Encoder()
    for number in range(1000):
        assert brightness(encoder, 100.0, (number, 0)) == pytest.approx(100, abs=2)
    assert len(encoder._wide) <= 256


def test_numbers_that_are_none_do_not_spoil_a_picture() -> None:
    pixels = np.full((8, 8, 3), 0.5)
    pixels[0, 0] = np.nan
    pixels[7, 7] = np.inf
    encoded, _mime = Encoder(image_format="auto").encode(pixels)
    assert abs(decode(encoded)[3:5, 3:5] - 128).max() <= 3


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((5, 5, 2), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(7),
        np.array(1.0),
        np.zeros((4, 4), complex),
        np.array([["a", "b"]]),
        np.zeros((4, 4), object),
        "text",
        None,
        object(),
    ],
)
def test_an_invalid_picture_is_refused(pixels: Any) -> None:
    with pytest.raises(UnsupportedImageError):
        Encoder().encode(pixels)


@pytest.mark.parametrize("pixels", [np.zeros((400, 600, 3), np.uint8), Image.new("RGB", (600, 400))])
def test_a_large_picture_is_scaled_down_in_proportion(pixels: Any) -> None:
    info = inspect_image(Encoder(max_side=300).encode(pixels)[0])
    assert (info.width, info.height) == (300, 200)
    info = inspect_image(Encoder().encode(pixels, max_side=96)[0])
    assert (info.width, info.height) == (96, 64)


def test_a_small_picture_is_never_scaled_up() -> None:
    info = inspect_image(Encoder(max_side=300).encode(RED)[0])
    assert (info.width, info.height) == (WIDTH, HEIGHT)


def test_a_picture_one_pixel_high_survives_scaling() -> None:
    info = inspect_image(Encoder(max_side=10).encode(np.zeros((1, 5000), np.uint8))[0])
    assert (info.width, info.height) == (10, 1)


def pixel_art() -> Any:
    """A screen of 8×8 tiles in four shades, as a Game Boy draws it."""
    rng = np.random.default_rng(1)
    tiles = rng.integers(0, 4, (12, 8, 8))
    screen = np.block([[tiles[rng.integers(12)] for _ in range(20)] for _ in range(18)])
    shades = np.array([[15, 56, 15], [48, 98, 48], [139, 172, 15], [155, 188, 15]], np.uint8)
    return shades[screen]


def test_pixel_art_is_sent_lossless_if_that_is_smaller() -> None:
    art = pixel_art()
    lossless, mime = Encoder(image_format="auto").encode(art)
    jpeg, _mime = Encoder().encode(art)
    assert mime == "image/webp"
    assert len(lossless) < len(jpeg) / 2
    assert (decode(lossless) == art).all()


def test_a_photograph_stays_a_jpeg_in_auto_too() -> None:
    photograph = np.random.default_rng(1).integers(0, 255, (144, 160, 3), dtype=np.uint8)
    assert Encoder(image_format="auto").encode(photograph)[1] == "image/jpeg"


def test_a_picture_for_a_model_is_kept_sharper_than_a_live_frame() -> None:
    picture = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    exact, live = (Encoder(quality=40).encode(picture, is_exact=exact)[0] for exact in (True, False))
    assert abs(decode(exact) - picture).mean() < abs(decode(live) - picture).mean()


def test_quality_is_the_settings() -> None:
    picture = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    assert len(Encoder(quality=20).encode(picture)[0]) < len(Encoder(quality=90).encode(picture)[0]) / 2


def test_a_pil_image_needs_no_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert Encoder().encode(Image.new("RGB", (4, 4)))[1] == "image/jpeg"
