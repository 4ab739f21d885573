"""Makes a picture for browsers from the input of a vision model, or a picture of the reason if that is impossible.

JPEG, PNG and WebP within the protocol's limits stay unchanged. Other formats that Pillow decodes, and larger
pictures, are converted; several pictures of one call become one sheet. Addresses are never fetched. Called by
sender.compose.
"""

from __future__ import annotations

import binascii
import io
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from PIL import Image

from hud_publisher.intake.items import MAX_GIVEN_BYTES, MAX_PICTURES, NoPicture
from hud_publisher.protocol.errors import ConfigError, HudError, TooLargeError, UnsupportedImageError
from hud_publisher.protocol.images import MAX_IMAGE_PIXELS, Mime, inspect_image
from hud_publisher.protocol.urls import split_url
from hud_publisher.sender.encoder import Encoder, flat, to_array

#: A picture of more pixels is not decoded: 33 million take 134 MB.
MAX_DECODED_PIXELS = 2 * MAX_IMAGE_PIXELS
#: Formats that Pillow decodes by itself; EPS, for one, would start another program.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "ICO", "PPM", "JPEG2000", "TGA", "QOI")
#: Longest sides in pixels that are tried until a converted picture fits the protocol's limits.
_SIDES = (4096, 2048, 1024)
#: Longest side of one picture on a sheet, and the gap between two.
_SHEET_SIDE, _SHEET_GAP = 768, 4

_DATA_URL = re.compile(r"\s*data:([^,]{0,200}),", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ShownPicture:
    """A picture in its published form.

    Attributes:
        image: encoded.
        mime: its media type.
        note: for the viewer: the reason of a missing picture, the conversion, or the number of pictures.
        failed: reasons of pictures that cannot be shown.
    """

    image: bytes
    mime: Mime
    note: str = ""
    failed: tuple[str, ...] = ()


def show_pictures(given: Sequence[Any], encoder: Encoder) -> ShownPicture:
    """Return one picture for all pictures of a call; never raises for their content.

    Args:
        given: encoded bytes, pixels (copying.copy_pixels), `data:` URLs, base64, addresses, or NoPicture.
        encoder: for pictures that must be encoded.
    """
    if len(given) > 1:
        return _sheet(given, encoder)
    try:
        return _show(given[0] if given else NoPicture("the call has no picture"), encoder)
    except HudError as error:
        return ShownPicture(*_placard(str(error), encoder), note=str(error), failed=(str(error),))


def _show(given: Any, encoder: Encoder) -> ShownPicture:
    data = _encoded(given)
    if data is None:
        image, mime = encoder.encode(given, is_exact=True)
        try:
            inspect_image(image)
        except TooLargeError:
            image, mime = _fitting(_open_pixels(given), encoder)
            return ShownPicture(image, mime, "scaled down")
        return ShownPicture(image, mime)
    try:
        return ShownPicture(data, inspect_image(data).mime)
    except HudError:  # another format, or over a limit of the protocol
        decoded, note = _open(data)
        return ShownPicture(*_fitting(decoded, encoder), note=note)


def readable_bytes(data: bytes, encoder: Encoder) -> tuple[bytes, Mime]:
    """Return encoded bytes unchanged if they can be sent, else converted.

    Raises:
        HudError: they cannot be converted either.
    """
    shown = _show(data, encoder)
    return shown.image, shown.mime


def _encoded(given: Any) -> bytes | None:
    """The encoded picture; None for pixels."""
    if isinstance(given, NoPicture):
        raise UnsupportedImageError(given.reason)
    data = bytes_of_text(given) if isinstance(given, str) else given
    if not isinstance(data, bytes):
        return None
    if len(data) > MAX_GIVEN_BYTES:
        raise UnsupportedImageError(f"the picture has {len(data):,} bytes; at most {MAX_GIVEN_BYTES:,} are shown")
    return data


def bytes_of_text(text: str) -> bytes:
    """Return the bytes of a `data:` URL or of base64 text, with line breaks, without padding, or of the URL alphabet.

    Raises:
        UnsupportedImageError: it is an address, an identifier, or not base64.
    """
    head = _DATA_URL.match(text)
    if head is None:
        return _bytes_of_bare_text(text)
    body = text[head.end() :]
    if "base64" not in head[1].lower():
        return unquote_to_bytes(body)
    try:
        return _bytes_of_base64(body)
    except ValueError as error:
        kind = head[1].split(";")[0].strip() or "picture"
        raise UnsupportedImageError(f"the {kind} is not valid base64: {error}") from error


def _bytes_of_bare_text(text: str) -> bytes:
    stripped = text.strip()
    if re.match(r"[A-Za-z][A-Za-z0-9+.\-]*://", stripped):
        raise UnsupportedImageError(f"the picture is at {_without_secrets(stripped)}; HUD fetches no addresses")
    if re.fullmatch(r"file[-_][\w\-]{1,80}", stripped):
        raise UnsupportedImageError(f"the picture is {stripped!r}, a file that only the model's provider holds")
    try:
        data = _bytes_of_base64(stripped)
    except ValueError:
        data = b""
    if not data:
        # The text is not repeated: it may be an address with a password, such as that of a `blob:`.
        raise UnsupportedImageError(
            f"expected a picture, a data: URL or base64, got another text of {len(stripped):,} characters"
        )
    return data


def _bytes_of_base64(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        pass
    plain = "".join((unquote(text) if "%" in text else text).split()).rstrip("=").replace("-", "+").replace("_", "/")
    return binascii.a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)


def _without_secrets(address: str) -> str:
    """Return scheme, host and path: a user, a password or a signature in the query are secrets.

    Returns only the scheme if an `@` behind the host shows that a password with an unescaped `/` or `?` may end there.
    """
    scheme = address.partition("://")[0].lower()
    hidden = f"an address of the kind {scheme}://"
    try:
        parts = split_url(address, (scheme,))
    except ConfigError:
        return hidden
    return hidden if "@" in parts.query else f"{scheme}://{parts.location}{parts.path}"[:120]


def _open(data: bytes) -> tuple[Image.Image, str]:
    """Decode a picture of any format, its first frame if it moves; the text describes the conversion."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            kind, (width, height) = image.format, image.size
            if kind in ("JPEG", "MPO"):
                image.draft("RGB", (_SIDES[0], _SIDES[0]))  # decodes large ones at a half, a quarter or an eighth
            if image.width * image.height > MAX_DECODED_PIXELS:
                raise UnsupportedImageError(f"the picture has {width}×{height} pixels; it is not decoded")
            is_moving = bool(getattr(image, "is_animated", False))
            image.load()
            decoded = flat(image)
    except UnsupportedImageError:
        raise
    except Exception as error:  # decoders raise errors of many classes for hostile bytes
        head = f"{len(data):,} bytes that start with {data[:8].hex() or 'nothing'}"
        raise UnsupportedImageError(f"the picture cannot be decoded: {head} ({type(error).__name__})") from error
    return decoded, f"converted from {kind}, {width}×{height}" + (", first frame" if is_moving else "")


def _open_pixels(given: Any) -> Image.Image:
    return flat(given) if isinstance(given, Image.Image) else Image.fromarray(to_array(given))


def _fitting(image: Image.Image, encoder: Encoder) -> tuple[bytes, Mime]:
    for side in _SIDES:
        encoded, mime = encoder.encode(image, max_side=side, is_exact=True)
        try:
            inspect_image(encoded)
        except TooLargeError:
            continue
        return encoded, mime
    raise UnsupportedImageError(f"the picture of {image.width}×{image.height} pixels stays too large")


def _sheet(given: Sequence[Any], encoder: Encoder) -> ShownPicture:
    """Return one sheet with all pictures of a call, in rows, in the given order."""
    tiles, failed = [], []
    for one in given[:MAX_PICTURES]:
        try:
            data = _encoded(one)
            tile = _open_pixels(one) if data is None else _open(data)[0]
        except (HudError, OSError, ValueError, TypeError, RuntimeError) as error:
            failed.append(str(error))
            tile = _drawn(str(error))
        tile.thumbnail((_SHEET_SIDE, _SHEET_SIDE))
        tiles.append(tile)
    columns = 1 if len(tiles) == 1 else 2 if len(tiles) <= 4 else 3
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    width = max(sum(tile.width + _SHEET_GAP for tile in row) for row in rows) - _SHEET_GAP
    heights = [max(tile.height for tile in row) + _SHEET_GAP for row in rows]
    sheet = Image.new("RGB", (width, sum(heights) - _SHEET_GAP), "#808080")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for tile in row:
            sheet.paste(tile, (left, top))
            left += tile.width + _SHEET_GAP
        top += height
    note = f"{len(tiles)} of {len(given)} pictures" if len(given) > len(tiles) else f"{len(tiles)} pictures"
    return ShownPicture(*_fitting(sheet, encoder), note="; ".join((note, *failed)), failed=tuple(failed))


def _placard(reason: str, encoder: Encoder) -> tuple[bytes, Mime]:
    return encoder.encode(_drawn(reason), is_exact=True)


def _drawn(reason: str) -> Image.Image:
    """Return a small picture with the reason that there is none; Pillow's own font has Latin letters only."""
    from PIL import ImageDraw

    lines = ["Picture not shown:", *textwrap.wrap(reason.replace("×", "x").encode("ascii", "replace").decode(), 52)[:6]]
    image = Image.new("L", (384, 20 + 16 * len(lines)), 230)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((10, 10 + 16 * number), line, fill=30)
    return image
