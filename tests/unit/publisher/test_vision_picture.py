"""A vision model's input is shown, converted, or replaced by the reason; never lost, and never fetched."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hud_publisher.intake.copying import copy_pictures, picture_bytes
from hud_publisher.intake.items import MAX_GIVEN_BYTES, NoPicture
from hud_publisher.protocol.errors import UnsupportedImageError
from hud_publisher.protocol.images import MAX_IMAGE_BYTES, inspect_image
from hud_publisher.sender.encoder import Encoder
from hud_publisher.sender.vision_picture import ShownPicture, bytes_of_text, show_pictures
from tests.fixtures.publishing import JPEG

RED = (200, 30, 60)


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image or Image.new("RGB", (40, 30), RED)).save(buffer, kind, **options)
    return buffer.getvalue()


def url(data: bytes, head: str = "data:image/png;base64,") -> str:
    return head + base64.b64encode(data).decode()


def show(*given: Any) -> ShownPicture:
    shown = show_pictures(copy_pictures(list(given) if len(given) > 1 else given[0]), Encoder())
    assert inspect_image(shown.image).mime == shown.mime
    return shown


def color(shown: ShownPicture, at: tuple[int, int] = (5, 5)) -> Any:
    return Image.open(io.BytesIO(shown.image)).convert("RGB").getpixel(at)


def is_close(found: Any, expected: tuple[int, ...]) -> bool:
    return all(abs(a - b) < 12 for a, b in zip(found, expected, strict=True))


NOISE = Image.fromarray(np.random.default_rng(1).integers(0, 256, (1400, 1400, 3), np.uint8))
MOVING = [Image.new("RGB", (40, 30), color) for color in (RED, (0, 0, 255))]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_formats_that_browsers_show_are_not_converted(kind: str) -> None:
    data = encoded(kind)
    assert show(data) == ShownPicture(data, f"image/{kind.lower()}")  # type: ignore[arg-type]
    assert show(url(data)).image == data


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "AVIF", "ICO", "PPM", "JPEG2000", "TGA", "QOI", "DIB"])
def test_other_formats_are_converted_and_it_is_said(kind: str) -> None:
    data = encoded(kind)
    for shown in (show(data), show(url(data, f"data:image/{kind.lower()};base64,"))):
        assert is_close(color(shown), RED)
        assert shown.note.startswith("converted from ")
        assert not shown.failed


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGBA", (40, 30), (*RED, 255)), Image.new("P", (40, 30)), Image.new("1", (40, 30), 1),
        Image.new("LA", (40, 30)), Image.new("CMYK", (40, 30)), Image.new("I;16", (40, 30), 30000),
        Image.new("I", (40, 30), 7), Image.new("F", (40, 30), 0.5),
    ],
)  # fmt: skip
def test_every_mode_of_pixels_is_converted(image: Image.Image) -> None:
    assert show(encoded("TIFF", image)).note.startswith("converted from TIFF")


def test_transparent_pixels_are_put_on_white() -> None:
    assert is_close(color(show(encoded("TIFF", Image.new("RGBA", (40, 30), (0, 0, 0, 0))))), (255, 255, 255))


def test_of_a_moving_picture_the_first_frame_is_shown_and_it_is_said() -> None:
    shown = show(encoded("GIF", MOVING[0], save_all=True, append_images=MOVING[1:]))
    assert is_close(color(shown), RED)
    assert shown.note == "converted from GIF, 40×30, first frame"


def test_a_picture_over_the_limit_of_bytes_is_made_smaller() -> None:
    data = encoded("PNG", NOISE)
    assert len(data) > MAX_IMAGE_BYTES
    shown = show(url(data))
    assert len(shown.image) <= MAX_IMAGE_BYTES
    assert shown.note == "converted from PNG, 1400×1400"


def test_a_picture_over_the_limit_of_pixels_is_scaled_down() -> None:
    shown = show(encoded("PNG", Image.new("L", (5000, 5000), 77)))
    assert Image.open(io.BytesIO(shown.image)).size == (4096, 4096)
    assert is_close(color(shown), (77, 77, 77))


def bomb(side: int) -> bytes:
    """A PNG of a few kilobytes whose header claims `side` pixels in each direction."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(100_000))), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [6_000, 12_000, 60_000])
def test_a_decompression_bomb_is_not_decoded(side: int) -> None:
    shown = show(bomb(side))
    assert shown.failed


@pytest.mark.parametrize(
    "text",
    [
        "data:image/jpeg;base64,{lines}", "DATA:IMAGE/JPEG;BASE64,{plain}",
        "data:image/jpeg;charset=utf-8;base64,{plain}",
        "data:;base64,{plain}", "data:image/png;base64,{plain}", "data:image/jpeg;base64,{bare}", "{lines}", "{plain}",
        "data:image/jpeg;base64,{alphabet}", " data:image/jpeg;base64, {plain} ", "data:image/jpeg;base64,{quoted}",
        "data:image/jpeg,{percent}",
    ],
)  # fmt: skip
def test_every_way_to_write_a_data_url_is_read(text: str) -> None:
    data = encoded("JPEG", NOISE.resize((40, 30)))
    plain = base64.b64encode(data).decode()
    forms = {
        "plain": plain, "lines": base64.encodebytes(data).decode(), "bare": plain.rstrip("="),
        "alphabet": base64.urlsafe_b64encode(data).decode(), "quoted": plain.replace("+", "%2B").replace("=", "%3D"),
        "percent": "".join(f"%{byte:02x}" for byte in data),
    }  # fmt: skip
    assert set(plain) & set("+/"), "or this proves nothing"
    assert bytes_of_text(text.format(**forms)) == data
    assert show(text.format(**forms)) == ShownPicture(data, "image/jpeg")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            "https://user:secret@cdn.host/cat.png?signature=secret",
            "the picture is at https://cdn.host/cat.png; HUD fetches no",
        ),
        ("s3://bucket/cat.png", "the picture is at s3://bucket/cat.png"),
        ("file-abc123", "a file that only the model's provider holds"),
        ("data:image/png;base64,???", "the image/png is not valid base64"),
        ("data:image/heic;base64,AAAA", "the picture cannot be decoded: 3 bytes that start with 000000"),
        ("data:image/svg+xml,<svg/>", "the picture cannot be decoded"),
        ("data:image/png;base64,", "the picture cannot be decoded: 0 bytes"),
        ("https://user:sec/secret@host/cat.png", "the picture is at an address of the kind https://"),
        ("https://user:sec?secret@host/cat.png", "the picture is at an address of the kind https://"),
        ("https://user:sec#secret@host/cat.png", "the picture is at an address of the kind https://"),
        ("blob:https://user:secret@host/cat.png", "another text of 37 characters"),
        ("//user:secret@host/cat.png", "another text of 26 characters"),
        ("/home/ada/secret/cat.png", "another text of 24 characters"),
        ("file_of?signature=secret", "another text of 24 characters"),
        ("no picture!", "expected a picture"),
        ("", "expected a picture"),
        (b"", "the picture cannot be decoded"),
        (b"garbage", "the picture cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n", "the picture cannot be decoded"),
        (encoded("GIF")[:20], "the picture cannot be decoded"),
        (encoded("TIFF")[:-900], "the picture cannot be decoded"),
        (encoded("PNG", NOISE.resize((40, 30)))[:-100], "the picture cannot be decoded"),
        (encoded("JPEG", NOISE.resize((40, 30)))[:-100], "the picture cannot be decoded"),
        (url(encoded("WEBP", NOISE.resize((40, 30)))[:-100]), "the picture cannot be decoded"),
        (bytes(MAX_GIVEN_BYTES + 1), "the picture has 20,971,521 bytes"),
        ("A" * (MAX_GIVEN_BYTES * 2), "the picture has 31,457,280 bytes"),
        (None, "the call has no picture"),
        ([], "the call has no picture"),
        (7, "expected a picture, got a value of type int"),
        (object(), "expected a picture, got a value of type object"),
        (np.zeros((5, 5, 7), np.uint8), "an array of shape (5, 5, 7)"),
        (np.zeros(0, np.uint8), "an array of shape (0,)"),
    ],
)
def test_a_picture_that_cannot_be_shown_is_replaced_by_the_reason(given: Any, reason: str) -> None:
    shown = show(given)
    assert reason in shown.note
    assert "secret" not in shown.note
    assert shown.failed == (shown.note,)
    size = Image.open(io.BytesIO(shown.image)).size
    assert size[0] == 384


def test_all_pictures_of_a_call_are_shown_on_one_sheet() -> None:
    pixels = np.full((30, 40, 3), 255, np.uint8)
    shown = show(url(encoded("PNG")), encoded("GIF", Image.new("RGB", (40, 30), (0, 0, 255))), pixels)
    assert shown.note == "3 pictures"
    assert is_close(color(shown, (5, 5)), RED)
    assert is_close(color(shown, (60, 5)), (0, 0, 255))
    assert is_close(color(shown, (5, 50)), (255, 255, 255))


def test_a_picture_that_cannot_be_shown_costs_none_of_its_neighbours() -> None:
    shown = show(encoded("PNG"), "https://host/cat.png", object())
    assert is_close(color(shown), RED)
    assert len(shown.failed) == 2
    assert "https://host/cat.png" in shown.note


def test_more_pictures_than_fit_are_counted() -> None:
    shown = show(*[encoded("PNG")] * 12)
    assert shown.note == "9 of 12 pictures"


def test_large_pictures_of_a_sheet_are_scaled_down() -> None:
    shown = show(encoded("PNG", NOISE), Image.new("L", (3000, 3000)))
    assert max(Image.open(io.BytesIO(shown.image)).size) <= 4096


def test_a_batch_of_pixels_is_a_sheet() -> None:
    assert show(np.zeros((2, 30, 40, 3), np.uint8)).note == "2 pictures"


def test_pictures_of_one_call_are_kept_up_to_a_bound_on_their_memory() -> None:
    pixels = np.zeros((4000, 4000, 3), np.uint8)
    kept = copy_pictures([pixels, Image.new("RGB", (4000, 4000)), pixels, "data:image/png;base64,AAAA"])
    assert kept[2:] == [NoPicture("the pictures before are too large")] * 2
    assert picture_bytes(kept) == 2 * pixels.nbytes


def test_text_without_pictures_says_why() -> None:
    with pytest.raises(UnsupportedImageError, match="fetches no addresses"):
        bytes_of_text("https://host/cat.png")
    assert copy_pictures(None) == [NoPicture("the call has no picture")]
    assert show(JPEG).image == JPEG
