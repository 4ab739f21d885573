"""Shows an observation as the policy receives it: labelled numbers, and a picture with exactly its pixels.

Runs in the sender thread. An observation of several parts has their numbers one after another, under their names, and
the tiles of its pictures. numpy is loaded with the first array.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hud_publisher.protocol.foreign import Unreadable
from hud_publisher.protocol.images import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS
from hud_publisher.sender.encoder import load_array

#: Numbers of an observation that are shown: more bars do not fit a page.
MAX_NUMBERS = 256
#: Channels and pictures of an observation that are shown: a stack of frames has 4, the planes of a chess board 119.
MAX_TILES = 128
#: A table of numbers with fewer rows or columns is shown as numbers; pictures with a third dimension may be smaller.
LEAST_SIDE = 8
LEAST_SIDE_OF_CHANNELS = 3
#: Tiles in one row of a sheet, if there are no more: stacked frames are seen side by side.
ROW = 4
#: Envs whose range of values is remembered.
MAX_RANGES = 256


@dataclass(slots=True)
class Shown:
    """An observation in the form of a view's fields.

    Attributes:
        numbers: of the parts that are no pictures; a number that is not finite is None.
        names: of those numbers; empty if they have none.
        notes: what is not shown.
        image: a PNG of the pictures; None if there are none.
        tiles: columns and tiles of that sheet; None for one picture.
        range: the numbers that black and white stand for.
    """

    numbers: list[float | int | None] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    image: bytes | None = None
    tiles: tuple[int, int] | None = None
    range: tuple[float, float] | None = None

    def fields(self, names: Any = None) -> dict[str, Any]:
        """Return the fields of a view; `names` are the user's for its numbers."""
        found: dict[str, Any] = {}
        if self.numbers:
            found["observation"] = self.numbers
            given = names if isinstance(names, (list, tuple)) and names else self.names
            if given:
                found["observation_names"] = list(given[: len(self.numbers)])
        if self.notes:
            found["observation_note"] = "; ".join(self.notes)
        if self.range is not None:
            found["observation_range"] = list(self.range)
        if self.tiles is not None:
            found["observation_tiles"] = list(self.tiles)
        return found


class Observations:
    """Shows one observation after another; the pictures of one env share the range of their values."""

    def __init__(self) -> None:
        self._ranges: dict[Hashable, tuple[float, float]] = {}

    def show(self, observation: Any, env: Hashable) -> Shown:
        """Return an observation that `intake.mind` copied; a part that cannot be shown is named in the notes."""
        shown, tiles, count = Shown(), [], 0
        for name, part in _parts_of(observation):
            try:
                if isinstance(part, list):
                    count += _add_numbers(shown, name, part, len(part))
                    continue
                if isinstance(part, (str, bytes, Unreadable)):
                    raise TypeError(getattr(part, "reason", "a text"))
                array = load_array(part)
                planes = _planes_of(array)
                if planes:
                    low_high, planes = self._as_bytes(planes, (env, name))
                    shown.range = shown.range or low_high
                    tiles += [(name, plane) for plane in planes]
                else:
                    count += _add_numbers(shown, name, array.ravel()[:MAX_NUMBERS].tolist(), int(array.size))
            except (TypeError, ValueError, OverflowError, RuntimeError) as error:
                shown.notes.append(f"{name or 'the observation'} is not shown: {error}")
        if count > len(shown.numbers):
            shown.notes.append(f"the first {len(shown.numbers)} of {count} numbers")
        if not any(shown.names):
            shown.names = []
        _make_sheet(shown, tiles)
        return shown

    def _as_bytes(self, planes: list[Any], key: Hashable) -> tuple[tuple[float, float], list[Any]]:
        """Return planes with values from 0 to 255, and the numbers that these stand for."""
        import numpy as np

        if all(plane.dtype == np.uint8 for plane in planes):
            return (0.0, 255.0), planes
        planes = [np.nan_to_num(plane.astype(np.float64), posinf=0.0, neginf=0.0) for plane in planes]
        low, high = min(float(plane.min()) for plane in planes), max(float(plane.max()) for plane in planes)
        before = self._ranges.get(key, (0.0, 1.0))
        low, high = min(low, before[0]), max(high, before[1])
        low = 0.0 if low >= 0 else -1.0 if low >= -1 else low
        high = 1.0 if high <= 1 else 255.0 if high <= 255 else high
        if len(self._ranges) >= MAX_RANGES:
            self._ranges.clear()
        self._ranges[key] = low, high
        scale = 255.0 / (high - low)
        return (low, high), [((plane - low) * scale + 0.5).astype(np.uint8) for plane in planes]


def _parts_of(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each part of an observation with its name, such as `camera/left`."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _parts_of(part, f"{name}/{key}" if name else str(key))
    else:
        yield name, value


def _add_numbers(shown: Shown, name: str, numbers: list[Any], count: int) -> int:
    """Append the first numbers of a part; return `count`, how many the part has."""
    for index, number in enumerate(numbers[: MAX_NUMBERS - len(shown.numbers)]):
        shown.numbers.append((int(number) if isinstance(number, bool) else number) if math.isfinite(number) else None)
        shown.names.append("" if not name else name if count == 1 else f"{name}/{index}")
    return count


def _planes_of(array: Any) -> list[Any]:
    """Return the pictures in an array, each of shape (H, W) or (H, W, 3); none if it is no picture.

    One or three channels make one picture. Each channel of another number is a picture: stacked grey frames, or the
    planes of a board. The channels are the dimension that differs from two equal sides, else the smaller one of the
    first and the last, else the last.
    """
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.dtype.kind not in "buif" or not array.size:
        return []
    if array.ndim == 2:
        return [array] if min(array.shape) >= LEAST_SIDE else []
    if array.ndim == 4 and array.shape[0] <= MAX_TILES:
        planes = [_planes_of(one) for one in array]
        return [plane for found in planes for plane in found] if all(planes) else []
    if array.ndim != 3:
        return []
    first, middle, last = array.shape
    is_first = middle == last != first or (first != middle and first < last)
    array = array.transpose(1, 2, 0) if is_first else array
    if min(array.shape[:2]) < LEAST_SIDE_OF_CHANNELS:
        return []
    if array.shape[2] == 3:
        return [array]
    return [array[:, :, channel] for channel in range(array.shape[2])]


def _make_sheet(shown: Shown, tiles: list[tuple[str, Any]]) -> None:
    """Put the pictures on one sheet, without a gap; pictures of another size than the first are named in a note."""
    if not tiles:
        return
    import numpy as np

    height, width = tiles[0][1].shape[:2]
    others = {name for name, tile in tiles if tile.shape[:2] != (height, width)}
    kept = [tile for _name, tile in tiles if tile.shape[:2] == (height, width)]
    shown.notes += [f"{name}: a picture of another size is not shown" for name in sorted(others)]
    most = max(1, min(MAX_TILES, MAX_IMAGE_PIXELS // (height * width)))
    if len(kept) > most:
        shown.notes.append(f"the first {most} of {len(kept)} pictures")
        kept = kept[:most]
    columns = len(kept) if len(kept) <= ROW else math.ceil(math.sqrt(len(kept)))
    rows = math.ceil(len(kept) / columns)
    has_colours = any(tile.ndim == 3 for tile in kept)
    sheet = np.zeros((rows * height, columns * width, 3 if has_colours else 1), np.uint8)
    for index, tile in enumerate(kept):
        top, left = index // columns * height, index % columns * width
        sheet[top : top + height, left : left + width] = tile if tile.ndim == 3 else tile[:, :, None]
    image = encode_png(sheet)
    if len(image) > MAX_IMAGE_BYTES or sheet.shape[0] * sheet.shape[1] > MAX_IMAGE_PIXELS:
        shown.notes.append(f"the picture of {sheet.shape[1]}×{sheet.shape[0]} pixels is too large to be sent")
        return
    shown.image = image
    shown.tiles = (columns, len(kept)) if len(kept) > 1 else None


def encode_png(pixels: Any) -> bytes:
    """Return a PNG (third edition) of a uint8 array of shape (H, W, 1) or (H, W, 3).

    zlib works without the interpreter lock, which Pillow keeps while it encodes a PNG.
    """
    import numpy as np

    height, width, channels = pixels.shape
    lines = np.zeros((height, 1 + width * channels), np.uint8)  # each line begins with its filter: 0, none
    lines[:, 1:] = pixels.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = (b"IHDR", head), (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
