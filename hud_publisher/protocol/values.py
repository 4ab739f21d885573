"""Plain JSON values: their text, their paths, and the merging of newer values into older ones.

Owns the rule that an absent value never overwrites a real one. `cleaning` makes plain values of anything that a program
logs, `stored` reads them back. Does no I/O. Called by both sides.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

#: The numbers that JSON lacks, by the names that Python and JavaScript parse.
NotFinite = Literal["NaN", "Infinity", "-Infinity"]
NOT_FINITE: tuple[NotFinite, ...] = get_args(NotFinite)
Json = None | bool | int | float | str | list[Any] | dict[str, Any]

#: Separates the names of a nested field in the state hash. No name contains it: control characters are removed.
PATH_SEPARATOR = "\x1f"
_ABSENT: Any = object()
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def name_not_finite(value: float) -> NotFinite:
    """Return the name of a number that is not finite."""
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def to_json(value: Json) -> str:
    """Encode cleaned values; ASCII only, so neither UTF-8 errors nor line separators can reach a stream."""
    kind = type(value)
    if kind is int or (kind is float and math.isfinite(value)):  # type: ignore[arg-type]
        return repr(value)  # as the encoder writes them, at a tenth of the cost
    return _ENCODER.encode(value)


#: Fields that a session's state may have; names that change with every step would fill the memory otherwise.
MAX_STATE_FIELDS = 20_000


def merge(base: dict[str, Any], update: Mapping[str, Any], room: int = MAX_STATE_FIELDS) -> int:
    """Merge `update` into `base` in place: mappings merge field by field, any other value replaces the old one.

    Args:
        base: the known fields.
        update: the newer fields.
        room: fields that may be new; further ones are left out.

    Returns:
        How many fields were new.
    """
    added = 0
    for name, value in update.items():
        known = base.get(name, _ABSENT)
        if known is _ABSENT and added >= room:
            continue
        if isinstance(value, dict):
            if not isinstance(known, dict):
                known = base[name] = {}
            added += merge(known, value, room - added)
        else:
            added += known is _ABSENT
            base[name] = value
    return added


def learn_numbers(base: dict[str, Any], update: Mapping[str, Any]) -> None:
    """Replace numbers of `base` by those of `update`; anything else, and any new field, is left out."""
    for name, value in update.items():
        known = base.get(name)
        if isinstance(value, dict) and isinstance(known, dict):
            learn_numbers(known, value)
        elif isinstance(value, (int, float)) and isinstance(known, (int, float)):
            base[name] = value


def flatten(data: Mapping[str, Any], prefix: str = "", separator: str = PATH_SEPARATOR) -> Iterator[tuple[str, Any]]:
    """Yield (path, leaf) of nested mappings; the separator joins the names in a path."""
    for name, value in data.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}{separator}", separator)
        else:
            yield f"{prefix}{name}", value


def encode_state(updates: Sequence[Mapping[str, Json]]) -> dict[str, str]:
    """Return the state hash's fields (path → JSON) after several entries of one batch, the later over the earlier."""
    if not updates:
        return {}
    merged: Any = updates[0]
    if len(updates) > 1:
        merged = {}
        for update in updates:
            merge(merged, update)
    return {path: to_json(value) for path, value in flatten(merged)}
