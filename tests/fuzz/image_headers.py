"""Coverage-guided fuzzing of the picture headers' reader: `python tests/fuzz/image_headers.py -runs=1000000`.

For any bytes, the reader returns a result or raises one of its declared errors, and never reads past the end.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports():
    from hud_publisher.protocol.errors import TooLargeError, UnsupportedImageError
    from hud_publisher.protocol.images import MAX_IMAGE_PIXELS, inspect_image

STARTS = (
    b"", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xc0\x00\x0b\x08", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    b"RIFF\x00\x00\x00\x00WEBPVP8 ", b"RIFF\x00\x00\x00\x00WEBPVP8L", b"RIFF\x00\x00\x00\x00WEBPVP8X",
)  # fmt: skip


def look(data: bytes) -> None:
    """Test one input: the first byte chooses a known file header; the ends of JPEG and PNG follow."""
    start = STARTS[data[0] % len(STARTS)] if data else b""
    try:
        info = inspect_image(start + data[1:] + b"\xff\xd9IEND\xaeB`\x82")
    except (TooLargeError, UnsupportedImageError):
        return
    if not 0 < info.width * info.height <= MAX_IMAGE_PIXELS:
        raise AssertionError(f"{info} should have been refused")


if __name__ == "__main__":
    atheris.Setup(sys.argv, look)
    atheris.Fuzz()
