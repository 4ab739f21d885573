"""The memory of the monitor's parts: dataclasses whose attributes are JSON values or such dataclasses. No I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")
#: Types of attributes that are JSON values as they are.
_PLAIN = (int, float, str, bool, list, tuple, type(None))


def restored(kind: type[T], memory: object) -> T:
    """Return a part with its memory; unknown names of another version's memory are dropped."""
    if isinstance(memory, kind):
        return memory
    known = memory if isinstance(memory, Mapping) else {}
    return kind(**{name: known[name] for name in _names(kind) if name in known})


def stored(part: Any) -> Any:
    """Return the memory of a part; lists and plain mappings are shared with it, so it must be encoded at once."""
    kind = type(part)
    if kind in _PLAIN:
        return part
    if kind is dict:
        is_plain = not any(dataclasses.is_dataclass(value) for value in part.values())
        return part if is_plain else {name: stored(value) for name, value in part.items()}
    return {name: stored(getattr(part, name)) for name in _names(kind)}


_NAMES: dict[Any, tuple[str, ...]] = {}


def _names(kind: Any) -> tuple[str, ...]:
    if kind not in _NAMES:
        _NAMES[kind] = tuple(item.name for item in dataclasses.fields(kind))
    return _NAMES[kind]
