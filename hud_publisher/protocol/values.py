"""What a metric may be: cleaning, flattening and merging of field values.

Owns the rule that a missing, null or non-finite value is absent, never 0, and never overwrites a real one. Knows numpy
and torch only by their methods, so it never loads them. Called by the publisher's thread and by the web tier's old
endpoints, so both accept and refuse the same values.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

Json = None | bool | int | float | str | list[Any] | dict[str, Any]

#: Separates the steps of a nested field in the state hash. No name can hold it: control characters are removed.
PATH_SEPARATOR = "\x1f"
#: Added to every training_update by the server; a field of this name would be taken for it.
RESERVED_FIELD = "_hud"

MAX_NAME_CHARS = 256
MAX_TEXT_CHARS = 16_384
MAX_DEPTH = 8
MAX_LIST_ITEMS = 1_024

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# A number of more bits is infinite as a JavaScript number, and Python refuses to print far longer ones.
_MAX_INT_BITS = 1023

_ABSENT: Any = object()
#: Absent, too, but worth a word: a loss that is NaN is what somebody must be told.
_NOT_FINITE: Any = object()
#: Names of one entry's non-finite fields that are told.
MAX_NOT_FINITE = 32
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def clean_name(name: object) -> str:
    """Return a field's name as text without control characters or lone surrogates, at most MAX_NAME_CHARS long."""
    if type(name) is str and len(name) <= MAX_NAME_CHARS:
        return _clean_short_name(name)
    try:
        text = name if isinstance(name, str) else str(name)
    except Exception:  # a foreign object's own text may raise anything
        text = type(name).__name__
    return _clean_any_name(text)


def _clean_any_name(text: str) -> str:
    text = _CONTROL.sub(" ", text[: MAX_NAME_CHARS * 2]).encode("utf-8", "replace").decode("utf-8")
    if len(text) > MAX_NAME_CHARS:
        text = text[: MAX_NAME_CHARS - 1] + "…"
    return text


#: A run logs the same few names at every step.
_clean_short_name = lru_cache(maxsize=4096)(_clean_any_name)


def clean_text(text: str) -> str:
    """Return text without lone surrogates, which no UTF-8 can hold, at most MAX_TEXT_CHARS long."""
    return text[:MAX_TEXT_CHARS].encode("utf-8", "replace").decode("utf-8")


def clean_metrics(
    data: Mapping[Any, Any],
    on_unusable: Callable[[str, object], None] | None = None,
    not_finite: list[str] | None = None,
) -> dict[str, Json]:
    """Return the fields of `data` that can be shown, as plain JSON values.

    Numbers, bools and strings stay; numpy scalars, 0-d arrays and one-element tensors become numbers; nested mappings,
    dataclasses, lists, tuples and small arrays keep their shape. None and non-finite numbers are left out.

    Args:
        data: names to values; names that are not text are turned into text.
        on_unusable: called with (name, value) for each value that is left out for its type, not for being absent.
        not_finite: gets the paths (`a/b`) of the first MAX_NOT_FINITE fields that are NaN or infinite.
    """
    notes = _Notes(on_unusable or (lambda _name, _value: None), [] if not_finite is None else not_finite)
    return _clean_mapping(data, notes, "", MAX_DEPTH)


class _Notes:
    """What is to be told of the fields that are left out."""

    __slots__ = ("not_finite", "unusable")

    def __init__(self, unusable: Callable[[str, object], None], not_finite: list[str]) -> None:
        self.unusable, self.not_finite = unusable, not_finite


def _clean_mapping(data: Mapping[Any, Any], notes: _Notes, prefix: str, depth: int) -> dict[str, Json]:
    cleaned: dict[str, Json] = {}
    for key, value in data.items():
        name = clean_name(key)
        if name == RESERVED_FIELD and not prefix:
            continue
        result = _clean_value(value, notes, f"{prefix}{name}", depth)
        if result is _NOT_FINITE:
            if len(notes.not_finite) < MAX_NOT_FINITE:
                notes.not_finite.append(f"{prefix}{name}"[:MAX_NAME_CHARS])
        elif result is not _ABSENT:
            cleaned[name] = result
    return cleaned


def _clean_value(value: object, notes: _Notes, name: str, depth: int) -> Any:
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else _NOT_FINITE  # type: ignore[arg-type]
    if kind is bool:
        return value
    if kind is int or kind is str:
        return _clean_scalar(value)
    if value is None:
        return _ABSENT
    if depth <= 0:
        notes.unusable(name, value)
        return _ABSENT
    if isinstance(value, Mapping):
        # An empty mapping says nothing; one whose fields are all absent is absent itself.
        return _clean_mapping(value, notes, f"{name}/", depth - 1) or _ABSENT
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return _clean_mapping(fields, notes, f"{name}/", depth - 1) or _ABSENT
    if isinstance(value, (list, tuple, set, frozenset)):
        return _clean_list(list(value), notes, name, depth)
    if isinstance(value, (bool, int, float, str)):
        return _clean_scalar(value)
    return _clean_foreign(value, notes, name, depth)


def _clean_list(items: list[object], notes: _Notes, name: str, depth: int) -> list[Any]:
    cleaned = (_clean_value(item, notes, name, depth - 1) for item in items[:MAX_LIST_ITEMS])
    return [None if item is _ABSENT or item is _NOT_FINITE else item for item in cleaned]


def _clean_scalar(value: object) -> Any:
    if isinstance(value, str):
        return str(value)[:MAX_TEXT_CHARS]
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, int):
        return int(value) if value.bit_length() <= _MAX_INT_BITS else f"about 2^{value.bit_length()}"
    number = float(value)  # type: ignore[arg-type]
    return number if math.isfinite(number) else _NOT_FINITE


def _clean_foreign(value: object, notes: _Notes, name: str, depth: int) -> Any:
    """Numpy scalars and arrays, torch tensors, enums, Decimals: whatever says how to become a number or a list."""
    try:
        size = getattr(value, "numel", None) or getattr(value, "size", None)
        count = size() if callable(size) else size
        to_list = getattr(value, "tolist", None)
        if callable(to_list) and (count is None or count <= MAX_LIST_ITEMS):
            if (detach := getattr(value, "detach", None)) is not None:
                to_list = detach().tolist
            plain = to_list()
            if isinstance(plain, list) and count == 1:
                while isinstance(plain, list):
                    plain = plain[0]
            if isinstance(plain, complex):
                raise TypeError("complex")
            if type(plain) is not type(value):  # a long double is its own item
                return _clean_value(plain, notes, name, depth - 1)
        if hasattr(value, "__float__"):
            return _clean_scalar(float(value))
    except Exception:  # whatever a foreign object raises says only that it cannot be shown
        pass
    notes.unusable(name, value)
    return _ABSENT


def to_json(value: Json) -> str:
    """Encode cleaned values; ASCII only, so neither UTF-8 errors nor line separators can reach a stream."""
    kind = type(value)
    if kind is int or (kind is float and math.isfinite(value)):  # type: ignore[arg-type]
        return repr(value)  # as the encoder writes them, at a tenth of the cost
    return _ENCODER.encode(value)


#: Fields that a session's state may have; names that change with every step would fill the memory otherwise.
MAX_STATE_FIELDS = 10_000


def merge(base: dict[str, Any], update: Mapping[str, Any], room: int = MAX_STATE_FIELDS) -> int:
    """Lay `update` over `base` in place: mappings merge field by field, anything else replaces.

    Args:
        base: what was known.
        update: what is newer.
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


def flatten(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, leaf) of nested mappings, the path's steps joined by PATH_SEPARATOR."""
    for name, value in data.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}{PATH_SEPARATOR}")
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


def decode_state(fields: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Return the nested state that the state hash holds.

    A value is `{entry id} {JSON}`. Where a field was once a mapping and once a plain value, the newer one stands.
    """
    newest: list[tuple[tuple[int, int], str, Any]] = []
    for name, stored in fields.items():
        entry_id, _, text = stored.partition(b" ")
        millis, _, counter = entry_id.partition(b"-")
        newest.append(((int(millis), int(counter or 0)), name.decode("utf-8", "replace"), json.loads(text)))
    newest.sort(key=lambda item: item[0])
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
