"""Copies the policy's view of a step: numbers as any fields, and the observation, of which pictures keep their pixels.

Runs in the training thread, at most five times a second. The sender makes numbers and pictures of it (sender.mind).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from hud_publisher.intake.copying import PLAIN, copy_array, copy_fields
from hud_publisher.protocol.foreign import Unreadable, fields_of, items_of

#: Memory of one copied observation: a float32 picture of 480×640 takes 3.7 MB. A larger part is left out, and named.
MAX_OBSERVATION_BYTES = 4 * 1024 * 1024
#: Parts of an observation, their depth, and the numbers of a list that are copied.
MAX_PARTS = 64
MAX_DEPTH = 4
MAX_NUMBERS = 4_096

#: Types that a list of plain numbers holds.
_NUMBERS = (int, float)


def copy_mind(parts: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """Return a copy of the given arguments of `Publisher.mind`, without those that are None, and its arrays' bytes."""
    room = [MAX_OBSERVATION_BYTES]
    given = {name: value for name, value in parts.items() if value is not None}
    observation = given.pop("observation", None)
    copied, _weight = copy_fields(given)
    if observation is not None:
        copied["observation"] = _copy_part(observation, MAX_DEPTH, room)
    return copied, MAX_OBSERVATION_BYTES - room[0]


def _copy_part(value: Any, depth: int, room: list[int]) -> Any:
    """Copy an observation or a part of one: parts become a mapping by name, arrays what `copy_array` returns."""
    if type(value) in PLAIN:
        return value
    try:
        return _copy_other(value, depth, room)
    except Exception as error:  # a foreign object's methods may raise anything
        return Unreadable(f"a value of type {type(value).__name__} that raised {type(error).__name__}")


def _copy_other(value: Any, depth: int, room: list[int]) -> Any:
    kind = type(value)
    if hasattr(value, "shape") or hasattr(kind, "__array__") or hasattr(kind, "__array_interface__"):
        return _copy_array(value, room)
    fields = value if isinstance(value, Mapping) else fields_of(value)
    items = None if fields is not None else items_of(value)
    if items is not None and all(isinstance(item, _NUMBERS) for item in islice(items, MAX_NUMBERS)):
        return list(islice(items, MAX_NUMBERS))
    if fields is None and items is not None:
        fields = {str(index): item for index, item in enumerate(islice(items, MAX_PARTS))}
    if fields is None or depth <= 0:
        return Unreadable(f"a value of type {kind.__name__}")
    return {str(name): _copy_part(part, depth - 1, room) for name, part in islice(fields.items(), MAX_PARTS)}


def _copy_array(array: Any, room: list[int]) -> Any:
    if not hasattr(array, "nbytes"):  # such as Gymnasium's LazyFrames, and PIL images
        import numpy as np

        array = np.asarray(array)
    if array.nbytes > room[0]:
        return Unreadable(f"an array of shape {tuple(array.shape)}: parts of more than {MAX_OBSERVATION_BYTES:,} bytes")
    room[0] -= array.nbytes
    return copy_array(array)
