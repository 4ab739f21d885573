"""Reads what Redis holds of a session: stored JSON, the entries of its streams, and its state.

Content that HUD did not write, or that another version wrote, becomes a value that can be shown, or a ValueError. Does
no I/O. Called by the web tier only: publishers read nothing back.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, get_args

from hud_publisher.protocol.cleaning import clean_metrics
from hud_publisher.protocol.entries import (
    FIELD_STREAMS,
    Entry,
    FrameEntry,
    MetricsEntry,
    MindEntry,
    StreamName,
    VisionEntry,
    decode_not_finite,
    parse_env,
)
from hud_publisher.protocol.images import Mime
from hud_publisher.protocol.values import PATH_SEPARATOR, to_json

if TYPE_CHECKING:
    from hud_publisher.protocol.values import Json, NotFinite

#: Media types of stored pictures; the server must not send a browser any other type.
IMAGE_TYPES = frozenset(get_args(Mime))
#: Depth up to which a stored value is read unchanged; a deeper one is cut as if it came from a user.
MAX_STORED_DEPTH = 64
#: Steps of a path that is accepted; a deeper one is refused.
MAX_PATH_STEPS = 64
# A larger whole number is infinite as a JavaScript number.
_TOO_LARGE = 2**1023
_WHOLE = re.compile(rb"-?[0-9]{1,16}")
_MAX_WHOLE = 2**53 - 1
_STORED_ID = re.compile(rb"([0-9]{1,20})(?:-([0-9]{1,20}))?")


def decode_entry(stream: StreamName, fields: Mapping[bytes, bytes]) -> Entry:
    """Return the entry that `encode` wrote.

    Fields of newer versions are ignored; a field that cannot be read counts as absent.

    Raises:
        ValueError: there is no picture, or the data are not a JSON object.
    """
    time_ms = read_int(fields, b"time") or 0
    step = read_int(fields, b"step")
    if stream in FIELD_STREAMS or stream == "mind":
        data, _text_of_data = read_object(fields.get(b"data", b""))
    if stream in FIELD_STREAMS:
        return MetricsEntry(data, time_ms, step, stream, read_not_finite(fields))
    image = fields.get(b"image")
    if stream == "mind" and image is None:
        return MindEntry(data, time_ms, step, read_int(fields, b"episode"), parse_env(_text(fields.get(b"env"))))
    if image is None:
        raise ValueError("the entry has no picture")
    mime = _text(fields.get(b"mime")) or "image/jpeg"
    if mime not in IMAGE_TYPES:
        raise ValueError(f"expected a picture of a type that HUD stores, got {mime[:40]!r}")
    episode, env = read_int(fields, b"episode"), parse_env(_text(fields.get(b"env")))
    if stream == "mind":
        return MindEntry(data, time_ms, step, episode, env, image, mime)
    if stream == "frames" or stream == "thumbs":
        return FrameEntry(image, time_ms, mime, step, episode, env, stream)
    return VisionEntry(
        image, time_ms, mime, _read_latency_ms(fields), step,
        _text(fields.get(b"prompt")), _text(fields.get(b"response")), _read_extra(fields),
    )  # fmt: skip


def read_int(fields: Mapping[bytes, bytes], name: bytes) -> int | None:
    """Return a whole number of a stored entry; None for any other value, or one that JavaScript cannot represent."""
    match = _WHOLE.fullmatch(fields.get(name, b""))
    number = int(match[0]) if match else None
    return number if number is None or abs(number) <= _MAX_WHOLE else None


def read_not_finite(fields: Mapping[bytes, bytes]) -> dict[str, NotFinite]:
    """Return path → value of a stored entry's non-finite fields."""
    paths, infinite = fields.get(b"not_finite"), fields.get(b"infinite")
    return decode_not_finite(read_value(paths), read_value(infinite or b"")) if paths else {}


def _read_latency_ms(fields: Mapping[bytes, bytes]) -> float | None:
    try:
        latency_ms = float(fields.get(b"latency_ms", b"nan"))
    except ValueError:
        return None
    return latency_ms if math.isfinite(latency_ms) else None


def _read_extra(fields: Mapping[bytes, bytes]) -> dict[str, Json]:
    try:
        return read_object(fields.get(b"extra", b"{}"))[0]
    except ValueError:
        return {}


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def read_object(text: bytes) -> tuple[dict[str, Json], bytes]:
    """Return a stored JSON object, and its text as one line of ASCII that every JSON parser reads.

    Text in the form of `to_json` is returned unchanged; any other is cleaned and encoded anew.

    Raises:
        ValueError: it is not a JSON object.
    """
    try:
        data = json.loads(text.decode("utf-8", "surrogatepass"))  # of bytes, it would look for other encodings
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
