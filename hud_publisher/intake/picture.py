"""Finds the picture in a value that an environment's `render()` or a caller of `Publisher.frame` returned or passed.

`picture_of` is the one place that decides this, for RLlib, HudWrapper, Stable-Baselines3, `Publisher.frame` and
`Publisher.vision` alike; `pictures_of` does the same for an environment that holds several. Both only choose: they copy
no pixels, and change nothing. numpy, torch and others are known by their methods only, so this module loads none of
them, unless the value is a nested list of numbers or offers nothing but `__array__`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from hud_publisher.intake.items import CHANNELS
from hud_publisher.protocol.errors import UnsupportedImageError

#: How the reasons begin.
EXPECTED = "expected a picture, got "
#: numpy's kinds of complex numbers, texts, bytes and times.
_NO_NUMBERS = tuple("cUSmM")
#: Of a mapping of pictures, such as {"rgb": …, "depth": …}, the first of these names that it has.
_NAMES = ("rgb", "rgb_array", "image", "pixels", "frame", "screen")
#: Containers within containers that are searched: a list of tuples of a mapping is the deepest that libraries return.
_DEPTH = 6
#: A third dimension below this is one of channels, not the width of a grey picture in a batch (N, H, W).
_LEAST_SIDE = 8
#: Items of a list, tuple or mapping that are searched for a picture with colours.
_ITEMS = 4


def picture_of(value: Any, index: int = 0) -> Any:
    """Return the one picture in `value`: an array, a tensor, a PIL image or encoded bytes.

    A list holds the frames since the last call (render modes that end in `_list`): its newest frame is returned. A
    tuple holds several views of one moment, such as picture and depth: its first picture with colours is returned. Of
    a mapping, the entry named "rgb", else the first picture with colours. Of a batch, the picture of one environment.

    Args:
        value: as `render()` returned it.
        index: which picture of a batch of shape (N, H, W, 3).

    Raises:
        UnsupportedImageError: the value holds no picture; the message describes the value.
    """
    return _find(value, index, _DEPTH)


def pictures_of(value: Any, count: int, index: int) -> dict[int, Any]:
    """Return the pictures of an environment that holds `count` others, by their index.

    Args:
        value: as its `render()` returned it: one picture for each, as a list, tuple or batch, or one of them all.
        count: how many environments there are.
        index: which of them must have a picture; one of them all counts as its picture.

    Raises:
        UnsupportedImageError: the value holds no picture of that environment; the message describes the value.
    """
    if isinstance(value, Mapping) and value:
        name = next((name for name in _NAMES if name in value), None)
        is_by_env = name is None and len(value) == count
        value = list(value.values()) if is_by_env else value[next(iter(value)) if name is None else name]
    if isinstance(value, (list, tuple)) and len(value) == 2 == count and all(_is_batch(part, count) for part in value):
        value = value[0]  # the pictures and the depths of both
    if not _is_one_for_each(value, count):
        return {index: picture_of(value, index)}
    found = {index: picture_of(value[index])}
    for other in range(count):
        if other != index:
            try:
                found[other] = picture_of(value[other])
            except UnsupportedImageError:  # an environment without a picture does not cost the others theirs
                continue
    return found


def _find(value: Any, index: int, depth: int) -> Any:
    if isinstance(value, memoryview) and value.ndim > 1:  # of pixels, not of encoded bytes
        value = _to_array(value)
    if isinstance(value, (Image.Image, bytes, bytearray, memoryview)):
        return value
    if value is None or isinstance(value, (str, int, float, complex)) or depth == 0:
        raise UnsupportedImageError(EXPECTED + _name(value))
    if isinstance(value, Mapping):
        names = [name for name in _NAMES if name in value]
        return _choose([value[name] for name in names or list(value)[:_ITEMS]], value, depth)
    if isinstance(value, (Sequence, deque)):
        if _is_nested_numbers(value):
            return _find(_to_array(value), index, depth - 1)
        is_tuple = isinstance(value, tuple)
        nearest = value[:_ITEMS] if is_tuple else [value[-at] for at in range(1, min(_ITEMS, len(value)) + 1)]
        return _choose(nearest, value, depth)
    if not hasattr(value, "shape"):
        if hasattr(value, "__array__"):
            return _find(_to_array(value), index, depth - 1)
        raise UnsupportedImageError(EXPECTED + _name(value))
    return _find_in_array(value, index, depth)


def _find_in_array(array: Any, index: int, depth: int) -> Any:
    shape = tuple(array.shape)
    kind = getattr(getattr(array, "dtype", None), "kind", "")
    if kind == "O":  # of Python objects: pictures, or numbers
        return _find(array.tolist(), index, depth - 1)
    if not all(shape) or len(shape) < 2 or kind in _NO_NUMBERS:
        raise UnsupportedImageError(EXPECTED + _name(array))
    if len(shape) == 2 or (len(shape) == 3 and (shape[2] in CHANNELS or shape[0] in CHANNELS)):
        return array
    if len(shape) == 3 and shape[2] < _LEAST_SIDE:  # (H, W, 2) or (H, W, 5): channels that no screen shows
        raise UnsupportedImageError(EXPECTED + _name(array))
    return _find(array[index if index < shape[0] else 0], index, depth - 1)


def _choose(candidates: Sequence[Any], whole: Any, depth: int) -> Any:
    """Return the first picture with colours among the candidates, or the first picture."""
    found, reason = None, None
    for candidate in candidates:
        try:
            picture = _find(candidate, 0, depth - 1)
        except UnsupportedImageError as error:
            reason = reason or error
            continue
        if _has_colours(picture):
            return picture
        found = picture if found is None else found
    if found is None:
        raise reason or UnsupportedImageError(EXPECTED + _name(whole))
    return found


def _has_colours(picture: Any) -> bool:
    shape = getattr(picture, "shape", None)
    return shape is None or (len(shape) == 3 and (shape[2] in (3, 4) or (shape[2] != 1 and shape[0] in (3, 4))))


def _is_batch(value: Any, count: int) -> bool:
    """Whether it is an array with one picture or depth for each of the environments."""
    shape = tuple(getattr(value, "shape", ()))
    is_grey = len(shape) == 3 and shape[2] >= _LEAST_SIDE
    return (len(shape) > 3 or is_grey) and shape[0] == count


def _is_one_for_each(value: Any, count: int) -> bool:
    if isinstance(value, (list, tuple)):
        return len(value) == count and not _is_nested_numbers(value)
    shape = tuple(getattr(value, "shape", ()))
    is_objects = len(shape) == 1 and getattr(getattr(value, "dtype", None), "kind", "") == "O"
    return _is_batch(value, count) or (is_objects and shape[0] == count)


def _is_nested_numbers(value: Any) -> bool:
    """Whether the innermost first item of a list of lists is a number: pixels, not a list of pictures."""
    for _ in range(_DEPTH):
        if not isinstance(value, (list, tuple)) or not value:
            break
        value = value[0]
    return isinstance(value, (int, float))


def _to_array(value: Any) -> Any:
    import numpy as np

    try:
        return np.asarray(value)
    except Exception as error:  # a foreign object's methods may raise anything
        raise UnsupportedImageError(EXPECTED + f"{_name(value)}: {error}") from error


def _name(value: Any) -> str:
    """Describe in words a value that is not a picture."""
    if value is None:
        return "None"
    if isinstance(value, str):
        return "text"
    if isinstance(value, (Sequence, Mapping, deque)) and not len(value):
        return f"an empty {type(value).__name__}"
    if hasattr(value, "shape"):
        dtype = getattr(value, "dtype", "")
        return f"an array of shape {tuple(value.shape)}{f' of {dtype}' if dtype else ''}"
    return f"a value of type {type(value).__name__}"
