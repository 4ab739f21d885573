"""Plain values of Python's and other libraries' types: one level of conversion.

Knows numpy, torch, pandas, jax, attrs and pydantic by the attributes of their types, so it loads none of them. Called
by `cleaning`, which cleans the results, and by the publisher's snapshot, which copies values first.
"""

from __future__ import annotations

import dataclasses
import enum
import os
from collections import UserString, deque
from collections.abc import Sequence, Set, ValuesView
from typing import Any

#: Bytes of binary data that are shown, in hexadecimal.
SHOWN_BYTES = 16


class Unreadable:
    """Replaces a value that cannot be shown; the other fields are shown. `reason` describes the value for the log."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def fields_of(value: Any) -> dict[str, Any] | None:
    """Return the fields of a named tuple, dataclass, attrs class, pydantic model or msgspec struct; None for others.

    A field that raises when it is read is `Unreadable`.
    """
    kind = type(value)
    if isinstance(value, tuple):
        names = getattr(kind, "_fields", None)
    elif isinstance(value, type):
        return None
    elif dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
    elif (attributes := getattr(kind, "__attrs_attrs__", None)) is not None:
        names = [attribute.name for attribute in attributes]
    else:
        names = getattr(kind, "model_fields", None) or getattr(kind, "__struct_fields__", None)
    if not isinstance(names, (tuple, list, dict)):
        return None
    return {str(name): _read(value, name) for name in names}


def _read(value: Any, name: str) -> Any:
    try:
        return getattr(value, name)
    except Exception as error:  # an unset slot, or a property of the user's
        return Unreadable(f"a field that raised {type(error).__name__}")


def items_of(value: Any) -> Sequence[Any] | None:
    """Return the items of a list, tuple, set, deque, range, view of a mapping or the like; None for others.

    The items of a set are sorted if possible, so that two processes show one order.
    """
    if isinstance(value, (list, tuple, range, deque)):
        return value
    if isinstance(value, Set):
        try:
            return sorted(value)
        except Exception:  # members of several types, or a comparison of the user's
            return list(value)
    if isinstance(value, ValuesView):
        return list(value)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview, UserString)):
        return value
    return None


def plain_of(value: Any) -> Any:
    """Return a plainer form of a single value: a text, number, mapping or list; None if it is a missing value.

    Raises:
        TypeError: no plainer form is known.
        Exception: any error of the value's methods.
    """
    kind = type(value)
    if isinstance(value, enum.Enum):
        return str(value.value) if value.name is None else value.name
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _text_in(bytes(value))
    if isinstance(value, UserString) or hasattr(kind, "urn"):  # a UUID
        return str(value)
    if hasattr(kind, "__fspath__"):
        return os.fsdecode(value)
    if isinstance(value, complex) or kind.__name__ == "clongdouble":  # numpy's type that is not a `complex`
        return {"real": value.real, "imag": value.imag}
    if callable(getattr(kind, "total_seconds", None)):  # pandas' Timedelta has both methods
        return value.total_seconds() if value == value else None
    if callable(getattr(kind, "isoformat", None)):  # date, time, datetime, Timestamp; NaT does not equal itself
        return value.isoformat() if value == value else None
    if kind.__name__ == "NAType":  # comparing pandas' missing value raises
        return None
    if kind.__module__ == "numpy" and getattr(getattr(value, "dtype", None), "kind", "") in ("m", "M"):
        return _plain_times(value)
    for name in ("tolist", "to_list", "numpy", "item"):
        if callable(getattr(kind, name, None)):
            return getattr(value, name)()
    if callable(getattr(kind, "iterrows", None)):  # a data frame
        return value.to_dict("list")
    if hasattr(kind, "__float__"):
        return float(value)
    if hasattr(kind, "__index__"):
        return int(value)
    raise TypeError(f"expected a value, got {kind.__name__}")


def _text_in(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        more = "…" if len(data) > SHOWN_BYTES else ""
        return f"{len(data)} bytes: {data[:SHOWN_BYTES].hex()}{more}"


def _plain_times(value: Any) -> Any:
    """Return the values of datetime64 and timedelta64; `tolist` alone makes bare integers of nanoseconds."""
    if value.dtype.kind == "M":
        is_date = value.dtype.name.endswith(("[Y]", "[M]", "[W]", "[D]"))
        return (value if is_date else value.astype("datetime64[us]")).tolist()
    seconds = (value / value.dtype.type(1, "s")).tolist()
    return None if seconds != seconds else seconds


def count_of(value: Any) -> int | None:
    """Return the number of values in an array, tensor, series or data frame; None if it is unknown."""
    kind = type(value)
    count = value.numel() if hasattr(kind, "numel") else getattr(value, "size", None)
    return count if isinstance(count, int) else None
