"""Headers and ends of pictures, read without decoding any."""

from __future__ import annotations

import io
import struct
import time

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
def test_kind_and_size_match_the_encoder(data: bytes, mime: str) -> None:
    info = inspect_image(data)
    assert (info.mime, info.width, info.height) == (mime, 37, 21)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"RIFF", b"GIF89a" + bytes(20), b"<svg></svg>", encode("BMP")])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedImageError):
        inspect_image(data)


@pytest.mark.parametrize(
    "filling",
    [b"\xff" * 4_000_000, b"\xff\xe0\x00\x02" * 1_000_000, b"\xff\xd0" * 2_000_000, b"\xff" * 2_000_000 + b"\xd0" * 9],
    ids=["fill bytes", "empty segments", "markers without a segment", "one marker behind fill bytes"],
)
def test_a_jpeg_made_of_markers_is_refused_at_once(filling: bytes) -> None:
    began_s = time.process_time()
    with pytest.raises(UnsupportedImageError):
        inspect_image(b"\xff\xd8" + filling)
    assert time.process_time() - began_s < 0.1  # 2 ms; a look at every byte takes 860 ms


def test_fill_bytes_and_segments_before_the_size_are_skipped() -> None:
    jpeg = encode("JPEG")
    padded = jpeg[:2] + b"\xff" * 5_000 + b"\xff\xfe\x00\x02" * 300 + b"\xff" * 3 + jpeg[2:]
    assert inspect_image(padded) == inspect_image(jpeg)


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


def with_thumbnail() -> bytes:
    thumbnail = encode("JPEG", (16, 16))
    return encode("JPEG", exif=b"Exif\x00\x00MM\x00*" + thumbnail)


@pytest.mark.parametrize(
    "data",
    [
        encode("JPEG"), encode("JPEG", progressive=True), with_thumbnail(), encode("PNG"), encode("WEBP"),
        encode("WEBP", lossless=True), encode("WEBP", mode="RGBA", exif=b"Exif\x00\x00"),
    ],
    ids=["jpeg", "progressive jpeg", "jpeg with a thumbnail", "png", "webp", "lossless webp", "extended webp"],
)  # fmt: skip
@pytest.mark.parametrize("share", [0.3, 0.9, 1.0])
def test_a_picture_that_was_cut_is_refused(data: bytes, share: float) -> None:
    with pytest.raises(UnsupportedImageError, match="expected a whole"):
        inspect_image(data[: int((len(data) - 1) * share)])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_whole_picture_with_data_behind_its_end_is_accepted(kind: str) -> None:
    assert inspect_image(encode(kind) + b"motion photo" * 99) == inspect_image(encode(kind))


def test_a_large_picture_without_an_end_is_refused_at_once() -> None:
    png = encode("PNG")[:33] + b"IEND" * 1_000_000
    began_s = time.process_time()
    with pytest.raises(UnsupportedImageError):
        inspect_image(png)
    assert time.process_time() - began_s < 0.1


@given(st.sampled_from([encode("JPEG"), encode("PNG"), encode("WEBP"), encode("WEBP", lossless=True)]), st.data())
def test_any_bytes_raise_only_our_errors(data: bytes, draw: st.DataObject) -> None:
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
