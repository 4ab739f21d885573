"""Reads the kind and size of a picture from its first bytes, and looks for its end; never decodes one.

A 728-byte file can claim 13000×13000 pixels and decode to 667 MB, so every picture is inspected here before it is
stored or shown. A file that was cut keeps its header, so its end must be there too. Called by sender.compose, and by
the web tier for each picture in a request.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Literal

from hud_publisher.protocol.errors import TooLargeError, UnsupportedImageError

Mime = Literal["image/jpeg", "image/png", "image/webp"]

MAX_IMAGE_BYTES = 4 * 1024 * 1024
#: 4096×4096: more than any game or vision model shows, and 67 MB once a browser has decoded it.
MAX_IMAGE_PIXELS = 16_777_216

# ITU-T T.81, table B.1: the start-of-frame markers, which carry the size (C4, C8 and CC are not among them).
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: T.81, B.1.1.2: any number of fill bytes may precede a marker.
_FILL_BYTES = re.compile(rb"\xff+")
#: Segments before the size. A colour profile has at most 255, and 4 MB of metadata 64; a file with more wastes time.
_MAX_SEGMENTS = 1_000
#: T.81, table B.1: the end-of-image marker. PNG (third edition), 11.2.5: the chunk IEND with its checksum. Both are
#: searched from the last byte, since cameras append data to a whole picture.
_JPEG_END, _PNG_END = b"\xff\xd9", b"IEND\xaeB`\x82"


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Kind and size in pixels of an encoded picture."""

    mime: Mime
    width: int
    height: int


def inspect_image(data: bytes) -> ImageInfo:
    """Return the kind and size that the header gives.

    Raises:
        UnsupportedImageError: it is not a JPEG, PNG or WebP, its header is broken, or its end is missing.
        TooLargeError: more than MAX_IMAGE_BYTES, or more pixels than MAX_IMAGE_PIXELS.
    """
    if len(data) > MAX_IMAGE_BYTES:
        raise TooLargeError(f"expected at most {MAX_IMAGE_BYTES} bytes, got {len(data)}: send a smaller picture")
    try:
        info = _read_header(data)
    except (struct.error, IndexError):
        info = None
    if info is None or not info.width or not info.height:
        raise UnsupportedImageError(
            f"expected a whole JPEG, PNG or WebP picture, got {len(data)} bytes that start with {data[:8].hex()!r}: "
            "encode the frame before sending it"
        )
    if info.width * info.height > MAX_IMAGE_PIXELS:
        raise TooLargeError(
            f"expected at most {MAX_IMAGE_PIXELS} pixels, got {info.width}×{info.height}: scale the picture down"
        )
    return info


def _read_header(data: bytes) -> ImageInfo | None:
    if data[:3] == b"\xff\xd8\xff":
        return _read_jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR":
        width, height = struct.unpack(">II", data[16:24])
        return ImageInfo("image/png", width, height) if data.rfind(_PNG_END) > 0 else None
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _read_webp(data)
    return None


def _read_jpeg(data: bytes) -> ImageInfo | None:
    at = 2
    for _ in range(_MAX_SEGMENTS):
        fill = _FILL_BYTES.match(data, at)
        if fill is None:
            return None
        at = fill.end() - 1  # the last 0xFF before the marker
        marker = data[at + 1]
        if marker in _JPEG_SIZES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            is_whole = data.rfind(_JPEG_END, at) > 0  # the end marker of an embedded thumbnail precedes the size
            return ImageInfo("image/jpeg", width, height) if is_whole else None
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
        else:
            length = struct.unpack(">H", data[at + 2 : at + 4])[0]
            if length < 2 or marker == 0xDA:  # scan data before any size: not a picture
                return None
            at += 2 + length
    return None


def _read_webp(data: bytes) -> ImageInfo | None:
    """RFC 9649: VP8 (lossy), VP8L (lossless) and VP8X (extended) keep the size in different places."""
    kind = data[12:16]
    if len(data) < 8 + int.from_bytes(data[4:8], "little"):
        return None
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", data[26:30])
        return ImageInfo("image/webp", width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = struct.unpack("<I", data[21:25])[0]
        return ImageInfo("image/webp", (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1)
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        return ImageInfo("image/webp", width, height) if len(data) >= 30 else None
    return None
