"""Copies what a caller hands over, so that the caller may change it at once.

Runs in the training thread, so it does the least that is safe: plain values are passed on, nested containers and
arrays are copied, and arrays too large to be shown are not copied at all. Cleaning is the publisher's thread's part
(protocol.values). Knows numpy and torch by their methods only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from itertools import islice
from typing import Any

from PIL import Image

from hud_publisher.protocol.batch import MAX_ENV_INDEX, MAX_NUMBER
from hud_publisher.protocol.values import MAX_DEPTH, MAX_LIST_ITEMS, MAX_TEXT_CHARS

#: Types whose values nobody can change and that weigh one: nearly every metric. numpy's scalar types join when seen.
PLAIN: set[type] = {float, int, bool, type(None)}
#: More pixels than protocol.images allows could not be sent anyway: 4096×4096, 4 channels of 4-byte floats.
MAX_PIXEL_BYTES = 4096 * 4096 * 4 * 4


#: A copied array: its bytes, shape and dtype. While numpy copies an array it gives the interpreter lock away, and a
#: busy thread may keep that for milliseconds; while it makes bytes of one it does not.
RawPixels = tuple[bytes, tuple[int, ...], Any]
#: numpy's array type, once one was seen.
_ARRAYS: set[type] = set()


class TooManyValues:
    """Stands for an array too large, or a container too deep, to be shown as a metric.

    protocol.values cannot make a number of it, so it is counted and named as unusable.
    """


class Unreadable:
    """The same for a value that raised when it was copied: its neighbours are shown all the same."""


def copy_fields(data: Mapping[Any, Any]) -> tuple[dict[Any, Any], int]:
    """Return a copy of `data` that shares nothing mutable with it, and how many values it holds."""
    copied = dict(data)
    weight = len(copied)
    for name, value in copied.items():
        kind = type(value)
        if kind in PLAIN:
            continue
        if kind is str:
            if len(value) > 256:  # shorter ones weigh about as much as a number
                copied[name] = value[:MAX_TEXT_CHARS]
                weight += len(value) >> 6
            continue
        counted = _Weight()
        try:
            copied[name] = _copy_value(value, MAX_DEPTH, counted)
        except Exception:  # a foreign object's methods may raise anything
            copied[name] = Unreadable()
        weight += counted.total
    return copied, weight


class _Weight:
    """Counts values on the slow path."""

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0


def _copy_value(value: Any, depth: int, weight: _Weight) -> Any:
    weight.total += 1
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind is str:
        weight.total += len(value) >> 6
        return value[:MAX_TEXT_CHARS]
    if depth <= 0:
        return TooManyValues()
    if isinstance(value, Mapping):
        return {name: _copy_value(item, depth - 1, weight) for name, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: _copy_value(getattr(value, field.name), depth - 1, weight) for field in fields}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_copy_value(item, depth - 1, weight) for item in islice(value, MAX_LIST_ITEMS)]
    return _copy_foreign(value, weight)


def _copy_foreign(value: Any, weight: _Weight) -> Any:
    """Copy tensors and arrays, which their owner changes in place; anything else of its own kind is passed on."""
    kind = type(value)
    if kind.__module__ == "numpy" and hasattr(value, "dtype") and not hasattr(value, "__setitem__"):
        if kind.__name__ not in ("str_", "bytes_", "void", "object_"):
            PLAIN.add(kind)
        return value
    if hasattr(value, "detach") and hasattr(value, "numel"):
        count = value.numel()
        if count > MAX_LIST_ITEMS:
            return TooManyValues()
        weight.total += count
        # One number on the CPU is read at once; one on a device is copied there, so that nobody waits for it here.
        return value.item() if count == 1 and value.device.type == "cpu" else value.detach().clone()
    if hasattr(value, "__array_interface__") and hasattr(value, "__setitem__"):
        if value.size > MAX_LIST_ITEMS:
            return TooManyValues()
        weight.total += value.size
        return value.copy()
    return value


def copy_pixels(pixels: Any) -> Any:
    """Return a copy of a picture: an array (as RawPixels), a tensor, a PIL image, or encoded bytes.

    Raises:
        TypeError: it is none of these, or larger than any picture that can be sent.
    """
    kind = type(pixels)
    if kind in _ARRAYS and pixels.nbytes <= MAX_PIXEL_BYTES:
        return pixels.tobytes(), pixels.shape, pixels.dtype
    if kind is bytes:
        return pixels
    if isinstance(pixels, (bytearray, memoryview)):
        return bytes(pixels)
    if isinstance(pixels, Image.Image):
        return pixels.copy()
    if getattr(pixels, "nbytes", 0) > MAX_PIXEL_BYTES:
        raise TypeError(f"expected a picture of at most {MAX_PIXEL_BYTES} bytes, got {pixels.nbytes}")
    if hasattr(pixels, "detach"):
        return pixels.detach().clone()
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
        _ARRAYS.add(kind)
        return pixels.tobytes(), pixels.shape, pixels.dtype
    if hasattr(pixels, "copy") and hasattr(pixels, "__array__"):
        return pixels.copy()
    raise TypeError(
        f"expected an array, a tensor, a PIL image or encoded bytes, got {type(pixels).__name__}: create the env with "
        "render_mode='rgb_array' and hand over what render() returns"
    )


def copy_step(step: Any) -> int | None:
    """Return a step or episode as a whole number from 0; None where it is not one (missing, NaN, negative)."""
    if step is None:
        return None
    try:
        number = int(step)
    except Exception:  # a foreign object's methods may raise anything; the entry goes without a step
        return None
    return number if 0 <= number <= MAX_NUMBER else None


def copy_env(env: Any) -> tuple[int, int] | None:
    """Return (worker index, env index) as plain numbers; one number alone is an env of worker 0.

    Raises:
        ValueError: it is neither, or out of range.
    """
    if env is None:
        return None
    worker, index = (0, env) if isinstance(env, int) else env
    pair = int(worker), int(index)
    if not (0 <= pair[0] <= MAX_ENV_INDEX and 0 <= pair[1] <= MAX_ENV_INDEX):
        raise ValueError(f"expected an env of numbers from 0 to {MAX_ENV_INDEX}, got {pair}")
    return pair
