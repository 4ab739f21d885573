"""Copies the caller's values, so that the caller may change them at once.

Runs in the training thread, so it does only the necessary work: plain values are passed on, nested containers and
arrays are copied, of large ones a sample for a histogram. The sender cleans the values
(protocol.cleaning). Knows numpy and torch by their methods only.
"""

from __future__ import annotations

import enum
import operator
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from PIL import Image

from hud_publisher.intake.items import MAX_GIVEN_BYTES, MAX_PICTURES, Env, NoPicture
from hud_publisher.intake.picture import picture_of
from hud_publisher.protocol.batch import MAX_ENV_INDEX, MAX_NUMBER
from hud_publisher.protocol.cleaning import MAX_DEPTH, MAX_LIST_ITEMS, are_numbers, has_numbers
from hud_publisher.protocol.errors import UnsupportedImageError
from hud_publisher.protocol.foreign import Unreadable, count_of, fields_of, items_of
from hud_publisher.protocol.histogram import Histogram, histogram_of
from hud_publisher.protocol.names import MAX_TEXT_CHARS, text_of

#: Immutable types whose values count as one: nearly every metric has one of them. numpy's scalar types are added at
#: use.
PLAIN: set[type] = {float, int, bool, type(None)}
#: More pixels than protocol.images allows could not be sent anyway: 4096×4096, 4 channels of 4-byte floats.
MAX_PIXEL_BYTES = 4096 * 4096 * 4 * 4


_FIX = (
    "pass an array (height, width, 3) of uint8, as env.render() returns it with render_mode='rgb_array', a PIL image, "
    "or encoded JPEG, PNG or WebP bytes"
)
#: Memory that the pictures of one vision call take: once they exceed it, further ones are left out.
MAX_CALL_BYTES = 64 * 1024 * 1024


#: A copied array: its bytes, shape and dtype. numpy releases the interpreter lock while it copies an array, and a busy
#: thread may then keep the lock for milliseconds; numpy does not release it while it makes bytes of an array.
RawPixels = tuple[bytes, tuple[int, ...], Any]
#: numpy's array type, once one was seen.
_ARRAYS: set[type] = set()


def check_fields(data: Any, call: str) -> Mapping[Any, Any]:
    """Return `data` if it maps names to values.

    Raises:
        TypeError: it does not; the message names the call and the fix.
    """
    if isinstance(data, Mapping) or hasattr(type(data), "keys"):
        return data  # type: ignore[no-any-return]
    name = text_of(data)[:40] if isinstance(data, str) else "loss"
    raise TypeError(
        f"hud.{call}() expected a mapping of names to values, got {type(data).__name__}: write "
        f"hud.{call}({{{name!r}: value}}, step=step)"
    )


def copy_fields(data: Mapping[Any, Any]) -> tuple[dict[Any, Any], int]:
    """Return a copy of `data` that shares nothing mutable with it, and how many values it holds."""
    copied = dict(data)
    weight = len(copied)
    for name, value in copied.items():
        kind = type(value)
        if kind in PLAIN:
            continue
        if kind is str:
            if len(value) > 256:  # shorter texts weigh about one value
                copied[name] = value[:MAX_TEXT_CHARS]
                weight += len(value) >> 6
            continue
        counted = [0]
        copied[name] = _copy_value(value, MAX_DEPTH, counted)
        weight += counted[0]
    return copied, weight


def _copy_value(value: Any, depth: int, weight: list[int]) -> Any:
    weight[0] += 1
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind is str:
        weight[0] += len(value) >> 6
        return value[:MAX_TEXT_CHARS]
    if depth <= 0:
        return Unreadable(f"a value nested deeper than {MAX_DEPTH} levels")
    try:
        return _copy_other(value, depth, weight)
    except Exception as error:  # a foreign object's methods may raise anything
        return Unreadable(f"a value of type {kind.__name__} that raised {type(error).__name__}")


def _copy_other(value: Any, depth: int, weight: list[int]) -> Any:
    if isinstance(value, (str, bytes, enum.Enum)):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if (histogram := histogram_of(value)) is not None:
        weight[0] += histogram.weight
        return histogram
    fields = value if isinstance(value, Mapping) else fields_of(value)
    if fields is not None:
        return {name: _copy_value(item, depth - 1, weight) for name, item in fields.items()}
    items = items_of(value)
    if items is not None:
        if len(items) > MAX_LIST_ITEMS and are_numbers(items):
            return _copy_other(Histogram(items), depth, weight)
        return [_copy_value(item, depth - 1, weight) for item in islice(items, MAX_LIST_ITEMS)]
    return _copy_foreign(value, weight)


def _copy_foreign(value: Any, weight: list[int]) -> Any:
    """Copy tensors, arrays and series, which their owner changes in place; anything else is passed on."""
    kind = type(value)
    if kind.__module__ == "numpy" and hasattr(value, "dtype") and not hasattr(value, "__setitem__"):
        if kind.__name__ not in ("str_", "bytes_", "void", "object_"):
            PLAIN.add(kind)
        return value
    if not hasattr(kind, "__len__") and not hasattr(kind, "numel"):
        return value
    count = count_of(value)
    if count is None:
        return value
    if count > MAX_LIST_ITEMS and has_numbers(value):
        return _copy_other(Histogram(value), 1, weight)
    if count > MAX_LIST_ITEMS:
        return Unreadable(f"a value of type {kind.__name__} with {count:,} numbers, of at most {MAX_LIST_ITEMS:,}")
    weight[0] += count
    if hasattr(kind, "detach"):
        # One number on the CPU is read at once; one on a device is copied there, so that training does not wait for it.
        return value.item() if count == 1 and value.device.type == "cpu" else value.detach().clone()
    return value.copy() if hasattr(kind, "copy") else value


def copy_pixels(pixels: Any) -> Any:
    """Return a copy of a picture: an array (as RawPixels), a tensor, a PIL image, or encoded bytes.

    Args:
        pixels: any value in which picture.picture_of finds a picture.

    Raises:
        UnsupportedImageError: there is no picture in it, or one larger than can be sent.
    """
    if type(pixels) not in _ARRAYS or not _is_ordinary(pixels):
        try:
            pixels = picture_of(pixels)
        except UnsupportedImageError as error:
            raise UnsupportedImageError(f"{error}: {_FIX}") from error
    kind = type(pixels)
    if kind is bytes:
        return pixels
    if isinstance(pixels, (bytearray, memoryview)):
        return bytes(pixels)
    if isinstance(pixels, Image.Image):
        return pixels.copy()
    if getattr(pixels, "nbytes", 0) > MAX_PIXEL_BYTES:
        raise UnsupportedImageError(f"expected a picture of at most {MAX_PIXEL_BYTES} bytes, got {pixels.nbytes}")
    return copy_array(pixels)


def copy_array(array: Any) -> Any:
    """Return a copy of an array or a tensor: RawPixels of a numpy array, any other as its own type."""
    kind = type(array)
    if hasattr(array, "detach"):
        return array.detach().clone()
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
        _ARRAYS.add(kind)
        return array.tobytes(), array.shape, array.dtype
    if hasattr(array, "copy"):
        return array.copy()
    import numpy as np

    return np.array(array)


def _is_ordinary(array: Any) -> bool:
    """Whether a numpy array has the shape that nearly all environments render."""
    return array.ndim == 3 and array.shape[2] == 3 and array.dtype.kind in "ufi"


def copy_pictures(given: Any) -> list[Any]:
    """Return copies of the pictures of one vision call: one picture, or a list or tuple of them. Never raises.

    Besides the values that `copy_pixels` accepts, a picture may be a `data:` URL, base64 or an address, as text.
    Anything else becomes NoPicture, so that prompt and answer are published.
    """
    try:
        is_batch = hasattr(type(given), "shape") and hasattr(type(given), "__len__") and len(given.shape) == 4
        pictures = given if is_batch or isinstance(given, (list, tuple)) else (given,)
        first = list(pictures[:MAX_PICTURES])
    except Exception as error:  # a foreign object's methods may raise anything
        return [NoPicture(text_of(error))]
    kept: list[Any] = []
    for picture in first:
        is_full = picture_bytes(kept) > MAX_CALL_BYTES
        kept.append(NoPicture("the pictures before are too large") if is_full else _copy_picture(picture))
    return kept + [NoPicture("there is room for no more")] * min(len(pictures) - len(kept), 1000)


def picture_bytes(pictures: Sequence[Any]) -> int:
    """Return about how much memory copied pictures take."""
    return sum(_bytes_of(picture) for picture in pictures)


def _bytes_of(picture: Any) -> int:
    if isinstance(picture, (str, bytes)):
        return len(picture)
    if isinstance(picture, tuple):  # RawPixels
        return len(picture[0])
    if isinstance(picture, Image.Image):
        return picture.width * picture.height * len(picture.getbands())
    nbytes = getattr(picture, "nbytes", 0)
    return nbytes if isinstance(nbytes, int) else 0


def _copy_picture(picture: Any) -> Any:
    if picture is None:
        return NoPicture("the call has no picture")
    try:
        size = len(picture) * (3 if type(picture) is str else 4) // 4 if isinstance(picture, (str, bytes)) else 0
        if size > MAX_GIVEN_BYTES:
            return NoPicture(f"the picture has {size:,} bytes; at most {MAX_GIVEN_BYTES:,} are shown")
        return picture if type(picture) is str else copy_pixels(picture)
    except Exception as error:  # a foreign object's methods may raise anything
        return NoPicture(text_of(error))


def _number_of(value: Any) -> int | float:
    """Return a number in constant time: `int` of a Decimal such as 1e999999 takes 45 s."""
    value = value.item() if hasattr(value, "item") else value
    return operator.index(value) if hasattr(value, "__index__") else float(value)


def copy_step(step: Any) -> int | None:
    """Return a step or episode as a whole number from 0; None for any other value (missing, NaN, negative)."""
    if step is None:
        return None
    try:
        number = int(_number_of(step))
    except Exception:  # a foreign object's methods may raise anything; the entry goes without a step
        return None
    return number if 0 <= number <= MAX_NUMBER else None


def copy_duration(duration_ms: Any) -> float | None:
    """Return a duration in milliseconds; None for any other value (missing, NaN, negative)."""
    try:
        duration = None if duration_ms is None else float(_number_of(duration_ms))
    except Exception:  # a foreign object's methods may raise anything
        return None
    return duration if duration is not None and 0 <= duration < 1e12 else None


def copy_env(env: Any) -> Env | None:
    """Return (worker index, env index) as plain numbers; one number alone is an env of worker 0.

    Raises:
        ValueError: it is neither, or out of range.
    """
    if env is None:
        return None
    worker, index = (0, env) if isinstance(env, int) else env
    pair = int(_number_of(worker)), int(_number_of(index))
    if not (0 <= pair[0] <= MAX_ENV_INDEX and 0 <= pair[1] <= MAX_ENV_INDEX):
        raise ValueError(f"expected an env of numbers from 0 to {MAX_ENV_INDEX}, got {pair}")
    return pair
