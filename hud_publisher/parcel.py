"""How what was offered is written down for the helper's process, and read there.

Nothing but what is built into Python goes there, so that no foreign module is loaded to take it apart; the bytes of
pixels stand behind the rest, so that they are copied once. Called by hud_publisher.helper and helper_process.
"""

from __future__ import annotations

import marshal
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from PIL import Image

from hud_publisher.encoder import to_array
from hud_publisher.link import Link
from hud_publisher.outbox import Fields, Item, Picture, Vision
from hud_publisher.protocol.batch import Claim

#: In place of a data type: an image of Pillow, with its size as shape.
_IMAGE = "RGB"


@dataclass(slots=True)
class Note:
    """What goes to the process.

    Attributes:
        items: what was offered, in order.
        claim: the newest wish to be the reporter.
        frames_at: when frames were asked for last, and when one was taken; both sides have one monotonic clock.
        thumbs_at: when thumbnails were asked for last.
        close_by: set to ask it to end.
        release: as of Link.
    """

    items: list[Item]
    claim: Claim | None
    frames_at: tuple[float, float]
    thumbs_at: float
    close_by: float | None
    release: bool | None


#: By number: what they hold is written as tuples.
_KINDS: tuple[type[Item], ...] = (Fields, Picture, Vision)
_VALUES = {kind: attrgetter(*kind.__slots__) for kind in _KINDS}
#: What can be written as it is.
_SIMPLE = frozenset({float, int, bool, type(None), str})


def pack(link: Link, items: list[Item]) -> list[bytes]:
    """Return the parts of a message: how long the note is, the note, then the bytes of each item's pixels.

    Raises:
        Exception: an item holds what cannot be written down.
    """
    written: list[Any] = []
    parts = [b"", b""]
    for item in items:
        kind = type(item)
        values, size = _VALUES[kind](item), None
        if kind is not Fields:
            pixels, *rest = values
            if type(pixels) is not bytes:
                data, shape, form = _raw(pixels)
                parts.append(data)
                pixels, size = (shape, form), len(data)
            values = (pixels, *rest)
        written.append((_KINDS.index(kind), size, _plain(values)))
    claim = None if link.claim is None else (link.claim.env, link.claim.is_preferred)
    frames, thumbs = link.frames, link.thumbs
    parts[1] = marshal.dumps(
        (written, claim, (frames.asked_at, frames.taken_at), thumbs.asked_at, link.close_by, link.release)
    )
    parts[0] = len(parts[1]).to_bytes(4, "little")
    return parts


def unpack(message: bytes) -> Note:
    """Return what was packed."""
    end = 4 + int.from_bytes(message[:4], "little")
    view = memoryview(message)
    written, claim, *rest = marshal.loads(view[4:end])
    items: list[Item] = []
    for number, size, values in written:
        if size is not None:
            about, *others = values
            values = (_pixels(view[end : end + size], *about), *others)
            end += size
        items.append(_KINDS[number](*values))
    return Note(items, None if claim is None else Claim(*claim), *rest)


def _raw(pixels: Any) -> tuple[bytes, Sequence[int], str]:
    """The bytes of pixels, their shape, and of what type they are."""
    if isinstance(pixels, Image.Image):
        image = pixels.convert("RGB")
        return image.tobytes(), image.size, _IMAGE
    if type(pixels) is not tuple:  # a tensor
        array = to_array(pixels)
        pixels = array.tobytes(), array.shape, array.dtype
    data, shape, dtype = pixels
    return data, shape, dtype.str


def _pixels(data: memoryview, shape: Sequence[int], form: str) -> Any:
    if form == _IMAGE:
        return Image.frombytes("RGB", (shape[0], shape[1]), bytes(data))
    import numpy as np

    return data, tuple(shape), np.dtype(form)


def _plain(value: Any) -> Any:
    """The same with nothing in it that is not built in.

    Raises:
        TypeError: it holds something else.
    """
    kind = type(value)
    if kind in _SIMPLE or kind is bytes:
        return value
    if kind is dict:
        if _SIMPLE.issuperset(map(type, value.values())) and _SIMPLE.issuperset(map(type, value)):
            return value
        return {_name(name): _plain(item) for name, item in value.items()}
    if kind is list or kind is tuple:
        return kind(map(_plain, value))
    if kind.__module__ == "numpy" and type(built_in := value.tolist()) is not kind:  # a long double stays one
        return _plain(built_in)
    raise TypeError(f"expected numbers, text or mappings, got {kind.__module__}.{kind.__name__}")


def _name(name: Any) -> Any:
    if type(name) not in _SIMPLE:
        raise TypeError(f"expected names that are text, got {type(name).__name__}")
    return name
