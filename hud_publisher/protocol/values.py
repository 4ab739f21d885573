"""Cleaning, flattening and merging of field values.

Owns the rule that a missing, null or non-finite value is absent, never 0, and never overwrites a real one. `names`
cleans the names, `foreign` reads other libraries' types. Called by the sender thread and by the web tier's old
endpoints, so both accept the same values.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from itertools import islice
from typing import Any, Literal, NamedTuple, get_args

from hud_publisher.protocol.foreign import Unreadable, count_of, fields_of, items_of, plain_of
from hud_publisher.protocol.names import MAX_NAME_CHARS as MAX_NAME_CHARS
from hud_publisher.protocol.names import Paths, field_name, numbered, text_of, valid_unicode
from hud_publisher.protocol.names import clean_name as clean_name

#: The numbers that JSON lacks, by the names that Python and JavaScript parse.
NotFinite = Literal["NaN", "Infinity", "-Infinity"]
NOT_FINITE: tuple[NotFinite, ...] = get_args(NotFinite)
Json = None | bool | int | float | str | list[Any] | dict[str, Any]

#: Separates the names of a nested field in the state hash. No name contains it: control characters are removed.
PATH_SEPARATOR = "\x1f"
#: The server adds this part to every training_update; a user's field of this name would be mistaken for it.
RESERVED_FIELD = "_hud"

MAX_TEXT_CHARS = 16_384
MAX_DEPTH = 8
MAX_LIST_ITEMS = 1_024

# A number of more bits is infinite as a JavaScript number, and Python refuses to print far longer ones.
_MAX_INT_BITS = 1023
_TOO_LARGE = 2**_MAX_INT_BITS
_MAX_INT = 2**62

_ABSENT: Any = object()


class _NotFinite(str):
    """The name of a number that is not finite: absent too, but reported, since users must learn of a NaN loss."""


#: Non-finite fields of one entry that are reported by name: every layer of a large network may break at once.
MAX_NOT_FINITE = 500
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def clean_text(text: str) -> str:
    """Return text without lone surrogates, which UTF-8 cannot encode, at most MAX_TEXT_CHARS long."""
    return valid_unicode(str.__str__(text)[:MAX_TEXT_CHARS])


def clean_info(info: Mapping[Any, Any] | None) -> dict[str, str]:
    """Return the text fields of a session; never raises for the content of a field."""
    cleaned: dict[str, str] = {}
    for key, value in (info or {}).items():
        cleaned[numbered(clean_name(key), cleaned)] = clean_text(text_of(value))
    return cleaned


def clean_metrics(
    data: Mapping[Any, Any],
    on_unusable: Callable[[str, object], None] | None = None,
    not_finite: dict[str, NotFinite] | None = None,
    paths: Paths | None = None,
) -> dict[str, Json]:
    """Return the fields of `data` that can be shown, as plain JSON values.

    Numbers, bools and text stay. Mappings, dataclasses, named tuples, attrs classes and pydantic models become nested
    fields; lists, sets, deques, ranges, arrays and tensors of up to MAX_LIST_ITEMS values become lists, those of one
    value a number. Enums become their names, paths and UUIDs text, dates and times ISO 8601, durations seconds. None,
    missing values and non-finite numbers are left out.

    Args:
        data: names to values; names that are not text are turned into text.
        on_unusable: called with (name, value) for each value that is left out for its type, not for being absent.
        not_finite: receives path (`a/b`) → value of the first MAX_NOT_FINITE fields that are NaN or infinite.
        paths: remembers which field owns which path between calls; without it only the fields of one call are told
            apart.
    """
    notes = _Notes(on_unusable or (lambda _name, _value: None), {} if not_finite is None else not_finite)
    return (Paths() if paths is None else paths).tell_apart(_clean_mapping(data, notes, "", MAX_DEPTH))


class _Notes(NamedTuple):
    """Collects reports on the fields that are left out."""

    unusable: Callable[[str, object], None]
    not_finite: dict[str, NotFinite]


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
    fields = value if isinstance(value, Mapping) else fields_of(value)
    if fields is not None:
        # An empty mapping holds no value; a mapping whose fields are all absent is absent itself.
        return _clean_mapping(fields, notes, f"{name}/", depth - 1) or _ABSENT
    items = items_of(value)
    if items is not None:
        cleaned = (_clean_value(item, notes, name, depth - 1) for item in islice(items, MAX_LIST_ITEMS))
        return [None if item is _ABSENT or type(item) is _NotFinite else item for item in cleaned]
    count = count_of(value)
    if isinstance(value, Unreadable) or (count is not None and count > MAX_LIST_ITEMS):
        raise TypeError("expected a value that can be shown")
    plain = plain_of(value)
    while count == 1 and isinstance(plain, list):
        plain = plain[0]
    # The item of a long double is a long double.
    return _clean_value(float(plain) if type(plain) is type(value) else plain, notes, name, depth - 1)


def name_not_finite(value: float) -> NotFinite:
    """Return the name of a number that is not finite."""
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _clean_int(value: int) -> int | str:
    bits = value.bit_length()
    return int(value) if bits <= _MAX_INT_BITS else f"about {'-' if value < 0 else ''}2^{bits}"


def to_json(value: Json) -> str:
    """Encode cleaned values; ASCII only, so neither UTF-8 errors nor line separators can reach a stream."""
    kind = type(value)
    if kind is int or (kind is float and math.isfinite(value)):  # type: ignore[arg-type]
        return repr(value)  # as the encoder writes them, at a tenth of the cost
    return _ENCODER.encode(value)


#: Fields that a session's state may have; names that change with every step would fill the memory otherwise.
MAX_STATE_FIELDS = 10_000


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


#: Depth up to which a stored value is read unchanged; a deeper one is cut as if it came from a user.
MAX_STORED_DEPTH = 64


def read_object(text: bytes) -> tuple[dict[str, Json], bytes]:
    """Return a stored JSON object, and its text as one line of ASCII that every JSON parser reads.

    Text in the form of `to_json` is returned unchanged; any other is cleaned and encoded anew.

    Raises:
        ValueError: it is not a JSON object.
    """
    try:
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError(f"expected a JSON object, got {type(data).__name__}")
        text = text.strip()
        is_ours = text.isascii() and not (b"\n" in text or b"\r" in text or b'"_hud"' in text)
        if is_ours and _is_sound(data.values(), MAX_STORED_DEPTH):
            return data, text
        data = clean_metrics(data)
        return data, to_json(data).encode("ascii")
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def read_value(text: bytes) -> Json:
    """Return a stored JSON value in a form that can be shown; None if it is absent, not finite, or not JSON."""
    try:
        value: Json = json.loads(text)
        return value if _is_sound((value,), MAX_STORED_DEPTH) else clean_metrics({"value": value}).get("value")
    except (ValueError, RecursionError):
        return None


def _is_sound(values: Iterable[Any], depth: int) -> bool:
    """Return whether every browser can parse these values: Python also parses NaN, Infinity, 1e999 and any depth."""
    for value in values:
        kind = type(value)
        if kind is float:
            if value - value != 0.0:  # infinite or NaN
                return False
        elif kind is int:
            if not -_TOO_LARGE < value < _TOO_LARGE:
                return False
        elif kind is dict:
            if not depth or not _is_sound(value.values(), depth - 1):
                return False
        elif kind is list and not (depth and _is_sound(value, depth - 1)):
            return False
    return True


def decode_state(fields: Mapping[bytes, bytes], unreadable: list[str] | None = None) -> dict[str, Any]:
    """Return the nested state that the state hash holds; a field that cannot be read does not affect the others.

    A value is `{entry id} {JSON}`. Where a field was once a mapping and once a plain value, the newer one is kept.

    Args:
        fields: of the hash.
        unreadable: receives the names of the fields that are left out.
    """
    newest: list[tuple[tuple[int, int], str, Any]] = []
    for name, stored in fields.items():
        entry_id, _, text = stored.partition(b" ")
        match = _STORED_ID.fullmatch(entry_id)
        value = read_value(text) if match else None
        path = name.decode("utf-8", "replace")
        if match and value is not None and path.count(PATH_SEPARATOR) < MAX_PATH_STEPS:
            newest.append(((int(match[1]), int(match[2] or 0)), path, value))
        elif unreadable is not None:
            unreadable.append(path)
    newest.sort(key=lambda item: item[:2])
    state: dict[str, Any] = {}
    for _position, path, value in newest:
        *parents, leaf = path.split(PATH_SEPARATOR)
        target = state
        for parent in parents:
            child = target.get(parent)
            if not isinstance(child, dict):
                child = target[parent] = {}
            target = child
        target[leaf] = value
    return state


#: Steps of a path that is accepted; a deeper one is refused.
MAX_PATH_STEPS = 64
_STORED_ID = re.compile(rb"([0-9]{1,20})(?:-([0-9]{1,20}))?")
