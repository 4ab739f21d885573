"""Headers of pictures, read without decoding any."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hud_publisher.protocol.errors import HudError, TooLargeError, UnsupportedImageError
from hud_publisher.protocol.images import MAX_IMAGE_BYTES, inspect_image


def encode(kind: str, size: tuple[int, int] = (37, 21), mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "mime"),
    [
        (encode("JPEG"), "image/jpeg"),
        (encode("JPEG", progressive=True), "image/jpeg"),
        (encode("JPEG", mode="L"), "image/jpeg"),
        (encode("JPEG", exif=b"Exif\x00\x00" + bytes(5000)), "image/jpeg"),
        (encode("PNG"), "image/png"),
        (encode("PNG", mode="P"), "image/png"),
        (encode("WEBP"), "image/webp"),
        (encode("WEBP", lossless=True), "image/webp"),
        (encode("WEBP", mode="RGBA", exif=b"Exif\x00\x00"), "image/webp"),
    ],
)
def test_kind_and_size_are_what_the_encoder_wrote(data: bytes, mime: str) -> None:
    info = inspect_image(data)
    assert (info.mime, info.width, info.height) == (mime, 37, 21)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"RIFF", b"GIF89a" + bytes(20), b"<svg></svg>", encode("BMP")])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedImageError):
        inspect_image(data)


def test_a_picture_of_no_size_is_refused() -> None:
    png = encode("PNG")
    with pytest.raises(UnsupportedImageError):
        inspect_image(png[:16] + struct.pack(">II", 0, 5) + png[24:])


def test_a_small_file_that_claims_a_huge_picture_is_refused() -> None:
    png = encode("PNG")
    with pytest.raises(TooLargeError):
        inspect_image(png[:16] + struct.pack(">II", 13_000, 13_000) + png[24:])


def test_too_many_bytes_are_refused() -> None:
    with pytest.raises(TooLargeError):
        inspect_image(encode("PNG") + bytes(MAX_IMAGE_BYTES))


@given(st.sampled_from([encode("JPEG"), encode("PNG"), encode("WEBP"), encode("WEBP", lossless=True)]), st.data())
def test_whatever_the_bytes_are_nothing_but_our_errors_is_raised(data: bytes, draw: st.DataObject) -> None:
    spoiled = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 6))):
        spoiled[draw.draw(st.integers(0, min(64, len(data) - 1)))] = draw.draw(st.integers(0, 255))
    cut = bytes(spoiled[: draw.draw(st.integers(0, len(data)))])
    try:
        info = inspect_image(cut)
    except HudError:
        return
    assert info.width > 0
    assert info.height > 0
