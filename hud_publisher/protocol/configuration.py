"""A run's configuration: sections of nested values, such as its hyperparameters, its command line, and its versions.

Owns the plain form of a configuration's values, in which classes and functions are their names, and the bounds of a
session's sections. Does no I/O. Called by the publisher and by the web tier's endpoints.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from enum import Enum
from itertools import islice
from typing import Any

from hud_publisher.protocol.foreign import Unreadable, count_of, fields_of, items_of, plain_of
from hud_publisher.protocol.names import clean_name, clean_text, field_name, numbered, text_of
from hud_publisher.protocol.values import Json, name_not_finite, to_json

#: Bytes of all sections of a session, as JSON: RLlib's configuration is about 12 KB.
MAX_CONFIG_BYTES = 256 * 1024
MAX_SECTIONS = 16
#: Values of one call, so that it ends within about 10 ms; further ones are left out.
MAX_VALUES = 5_000
MAX_DEPTH = 12
MAX_TEXT_CHARS = 4_000
MAX_ITEMS = 200
#: Arrays of more numbers are described by their shape.
MAX_ARRAY = 64
#: Packages whose objects have a short and telling text, such as the space `Box(-1.0, 1.0, (3,), float32)`.
_TELLING = frozenset({"gymnasium", "gym", "torch", "numpy", "datetime", "pathlib", "fractions", "decimal", "re"})
#: The name of the value by which a section lists its missing values.
REST = "…"
_REST_CHARS = 400


def readable(value: object, *, without: frozenset[str] = frozenset()) -> Json:
    """Return a value of a configuration as plain JSON; never raises.

    Unlike the fields of metrics, None stays, and NaN and infinity are their names.

    Args:
        value: of any type.
        without: names whose values are left out at every level.
    """
    return _readable(value, MAX_DEPTH, [MAX_VALUES], without)


def _readable(value: Any, depth: int, left: list[int], without: frozenset[str]) -> Json:
    left[0] -= 1
    if value is None or value is True or value is False:
        return value
    try:
        return _plain(value, depth, left, without)
    except Exception as error:  # a foreign object's methods may raise anything
        return f"{_kind(value)} that raised {type(error).__name__}"


def _plain(value: Any, depth: int, left: list[int], without: frozenset[str]) -> Json:
    if isinstance(value, Enum):
        return text_of(value)
    if isinstance(value, str):
        return clean_text(value[:MAX_TEXT_CHARS])
    if isinstance(value, int):
        return int(value) if value.bit_length() <= 1023 else f"about 2^{value.bit_length()}"
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else name_not_finite(value)
    if isinstance(value, functools.partial):
        return _name_of(value.func)
    if isinstance(value, type) or hasattr(value, "__qualname__"):
        return _name_of(value)
    fields = value if isinstance(value, Mapping) else fields_of(value)
    items = items_of(value) if fields is None else None
    if fields is None and items is None:
        return _single(value, depth, left, without)
    if depth <= 0 or left[0] <= 0:
        return REST
    if fields is not None:
        found: dict[str, Json] = {}
        for key, item in fields.items():
            if left[0] <= 0:
                found[REST] = f"{len(fields) - len(found)} more values are not kept"
                break
            if key not in without:
                name = field_name(_name_of(key) if isinstance(key, type) else key)
                found[numbered(name, found)] = _readable(item, depth - 1, left, without)
        return found
    kept = [_readable(item, depth - 1, left, without) for item in islice(items or (), min(MAX_ITEMS, left[0]))]
    return [*kept, f"{len(items) - len(kept)} more"] if items and len(kept) < len(items) else kept


def _single(value: Any, depth: int, left: list[int], without: frozenset[str]) -> Json:
    if isinstance(value, Unreadable):
        return value.reason
    count = count_of(value)
    if count is not None and count > MAX_ARRAY and hasattr(value, "shape"):
        return f"{_kind(value)} of shape {tuple(value.shape)}"
    if type(value).__module__.partition(".")[0] in _TELLING and count is None:
        return clean_text(str(value)[:MAX_TEXT_CHARS])
    try:
        plain = plain_of(value)
    except TypeError:
        return _kind(value)
    return _kind(value) if type(plain) is type(value) else _readable(plain, depth - 1, left, without)


def _name_of(value: Any) -> str:
    """Return the name of a class, function or callable object, without the module of Python's own."""
    name = getattr(value, "__qualname__", None)
    if not isinstance(name, str):
        return _kind(value)
    module = getattr(value, "__module__", None)
    return clean_name(name if module in (None, "builtins", "__main__") else f"{module}.{name}")


def _kind(value: object) -> str:
    return f"an object of {_name_of(type(value))}"


def encode_sections(sections: Mapping[str, Json], most_bytes: int = MAX_CONFIG_BYTES) -> dict[str, str]:
    """Return each section as JSON, together at most `most_bytes`; a section that is cut names the missing values.

    Args:
        sections: readable values; at most MAX_SECTIONS.
        most_bytes: for all of them, shared evenly: what small sections leave is for the large ones.
    """
    texts = {clean_name(name)[:64]: to_json(tree) for name, tree in islice(sections.items(), MAX_SECTIONS)}
    by_size = sorted(texts, key=lambda name: len(texts[name]))
    space = most_bytes
    for number, name in enumerate(by_size):
        share = space // (len(by_size) - number)
        if len(texts[name]) > share:
            texts[name] = to_json(_cut(json.loads(texts[name]), share))
        space -= len(texts[name])
    return texts


def _cut(tree: Json, most_bytes: int) -> Json:
    """Return the small values of a mapping that fit together, and which ones are missing."""
    if not isinstance(tree, dict):
        return "not kept: too large"
    sizes = {name: len(to_json({name: value})) for name, value in tree.items()}
    kept, used = set(), 6 * _REST_CHARS  # an escaped character takes six bytes
    for name in sorted(sizes, key=sizes.__getitem__):
        used += sizes[name]
        if used > most_bytes:
            break
        kept.add(name)
    missing = [name for name in tree if name not in kept]
    note = f"{len(missing)} values are not kept: {', '.join(missing[:20])}"
    return {name: value for name, value in tree.items() if name in kept} | {REST: note[: _REST_CHARS - 40]}
