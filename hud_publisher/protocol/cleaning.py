"""Cleaning of field values: what a program logs becomes plain JSON values, or is left out.

Owns the rule that a missing, null or non-finite value is absent, never 0. `names` cleans the names, `foreign` reads
other libraries' types. Called by the sender thread and by the web tier's old endpoints, so both accept the same values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from hud_publisher.protocol.foreign import Unreadable, count_of, fields_of, items_of, plain_of
from hud_publisher.protocol.histogram import Histogram, histogram_of, is_field
from hud_publisher.protocol.names import MAX_NAME_CHARS, Paths, clean_text, field_name, numbered
from hud_publisher.protocol.values import name_not_finite

if TYPE_CHECKING:
    from hud_publisher.protocol.values import Json, NotFinite

#: The server adds this part to every training_update; a user's field of this name would be mistaken for it.
RESERVED_FIELD = "_hud"

MAX_DEPTH = 8
MAX_LIST_ITEMS = 1_024
#: A list of more numbers becomes a histogram; fewer, such as a position or the actions of a game, are read one by one.
MAX_SHOWN_NUMBERS = 32
#: Non-finite fields of one entry that are reported by name: every layer of a large network may break at once.
MAX_NOT_FINITE = 500

# A number of more bits is infinite as a JavaScript number, and Python refuses to print far longer ones.
_MAX_INT_BITS = 1023
_MAX_INT = 2**62

_ABSENT: Any = object()


class _NotFinite(str):
    """The name of a number that is not finite: absent too, but reported, since users must learn of a NaN loss."""


def clean_metrics(
    data: Mapping[Any, Any],
    on_unusable: Callable[[str, object], None] | None = None,
    not_finite: dict[str, NotFinite] | None = None,
    paths: Paths | None = None,
    *,
    histograms: bool = False,
) -> dict[str, Json]:
    """Return the fields of `data` that can be shown, as plain JSON values.

    Numbers, bools and text stay. Mappings, dataclasses, named tuples, attrs classes and pydantic models become nested
    fields; lists, sets, deques, ranges, arrays and tensors of up to MAX_LIST_ITEMS values become lists, those of one
    value a number, and with `histograms` those of more than MAX_SHOWN_NUMBERS numbers histograms. Enums become their
    names, paths and UUIDs text, dates and times ISO 8601, durations seconds. None, missing values and non-finite
    numbers are left out.

    Args:
        data: names to values; names that are not text are turned into text.
        on_unusable: called with (name, value) for each value that is left out for its type, not for being absent.
        not_finite: receives path (`a/b`) → value of the first MAX_NOT_FINITE fields that are NaN or infinite.
        paths: remembers which field owns which path between calls; without it only the fields of one call are told
            apart.
        histograms: make histograms of long lists of numbers, which are shown over time.
    """
    notes = _Notes(on_unusable or (lambda _name, _value: None), {} if not_finite is None else not_finite, histograms)
    return (Paths() if paths is None else paths).tell_apart(_clean_mapping(data, notes, "", MAX_DEPTH))


class _Notes(NamedTuple):
    """Collects reports on the fields that are left out."""

    unusable: Callable[[str, object], None]
    not_finite: dict[str, NotFinite]
    histograms: bool


def _clean_mapping(data: Mapping[Any, Any], notes: _Notes, prefix: str, depth: int) -> dict[str, Json]:
    cleaned: dict[str, Json] = {}
    for key, value in data.items():
        name = field_name(key)
        if name == RESERVED_FIELD and not prefix:
            notes.unusable(name, value)
            continue
        if name in cleaned:
            name = numbered(name, cleaned)
        result = _clean_value(value, notes, f"{prefix}{name}", depth)
        if type(result) is _NotFinite:
            if len(notes.not_finite) < MAX_NOT_FINITE:
                notes.not_finite[f"{prefix}{name}"[:MAX_NAME_CHARS]] = result  # type: ignore[assignment]
        elif result is not _ABSENT:
            cleaned[name] = result
    return cleaned


def _clean_value(value: object, notes: _Notes, name: str, depth: int) -> Any:
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else _NotFinite(name_not_finite(value))  # type: ignore[arg-type]
    if kind is bool:
        return value
    if kind is int:
        return value if -_MAX_INT < value < _MAX_INT else _clean_int(value)  # type: ignore[arg-type, operator]
    if kind is str:
        return clean_text(value)  # type: ignore[arg-type]
    if value is None:
        return _ABSENT
    if depth > 0:
        try:
            return _clean_other(value, notes, name, depth)
        except Exception:  # any error of a foreign object means that it cannot be shown
            pass
    notes.unusable(name, value)
    return _ABSENT


def _clean_other(value: Any, notes: _Notes, name: str, depth: int) -> Any:
    if isinstance(value, (bool, int, float, str)) and not isinstance(value, Enum):
        if isinstance(value, str):
            return clean_text(value)
        return _clean_int(value) if isinstance(value, int) else _clean_value(float(value), notes, name, depth)
    if (histogram := histogram_of(value)) is not None:
        if not notes.histograms:
            raise TypeError("expected a value of few numbers")
        return histogram.field()
    fields = value if isinstance(value, Mapping) else fields_of(value)
    if fields is not None:
        # An empty mapping holds no value; a mapping whose fields are all absent is absent itself.
        return _clean_mapping(fields, notes, f"{name}/", depth - 1) or _ABSENT
    items = items_of(value)
    if items is not None:
        if notes.histograms and len(items) > MAX_SHOWN_NUMBERS and are_numbers(items):
            return Histogram(items).field()
        if notes.histograms and is_field(items):  # cleaned before: its counts are no list of numbers
            notes = notes._replace(histograms=False)
        cleaned = (_clean_value(item, notes, name, depth - 1) for item in islice(items, MAX_LIST_ITEMS))
        return [None if item is _ABSENT or type(item) is _NotFinite else item for item in cleaned]
    count = count_of(value)
    if notes.histograms and count is not None and count > MAX_SHOWN_NUMBERS and has_numbers(value):
        return Histogram(value).field()
    if isinstance(value, Unreadable) or (count is not None and count > MAX_LIST_ITEMS):
        raise TypeError("expected a value that can be shown")
    plain = plain_of(value)
    while count == 1 and isinstance(plain, list):
        plain = plain[0]
    # The item of a long double is a long double.
    return _clean_value(float(plain) if type(plain) is type(value) else plain, notes, name, depth - 1)


def are_numbers(items: Sequence[Any]) -> bool:
    """Whether a list holds numbers, or None for NaN; of a long one a sample is looked at."""
    kinds = set(map(type, items[:: 1 + len(items) // MAX_LIST_ITEMS])) - {type(None)}
    return bool(kinds) and all(map(_is_numeric, kinds))


def _is_numeric(kind: type) -> bool:
    if issubclass(kind, (int, float)):
        return kind is not bool and not issubclass(kind, Enum)
    return kind.__module__ == "numpy" and kind.__name__.startswith(("float", "int", "uint"))


def has_numbers(value: object) -> bool:
    """Whether an array, a tensor or a series holds numbers, by its type of values."""
    dtype = getattr(value, "dtype", None)
    kind = getattr(dtype, "kind", None)
    is_number = (
        kind in ("u", "i", "f") if isinstance(kind, str) else str(dtype).startswith(("torch.float", "torch.int"))
    )
    return is_number or (kind is None and str(dtype).startswith(("torch.bfloat", "torch.uint")))


def _clean_int(value: int) -> int | str:
    bits = value.bit_length()
    return int(value) if bits <= _MAX_INT_BITS else f"about {'-' if value < 0 else ''}2^{bits}"
