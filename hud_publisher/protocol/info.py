"""A session's describing fields (env, algorithm, host …), whose names users choose.

They are one JSON object in one field of the session hash, so that no name of a user can collide with a name of HUD.
Earlier versions stored each as a field of that hash; `decode_info` reads both. Does no I/O. Called by `scripts` and by
hud_web.store.store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from typing import Any

from hud_publisher.protocol.names import clean_name, clean_text, numbered, text_of
from hud_publisher.protocol.values import to_json

#: Enough for the main values of a configuration; the page lists them all.
MAX_INFO_FIELDS = 64
#: Bytes of the encoded fields together: every viewer gets them with each event of the session.
MAX_INFO_BYTES = 64 * 1024
#: HUD's own fields of the session hash.
RESERVED = frozenset({
    "run", "name", "started", "ended", "ended_by", "shown", "shown_ms", "main_ms", "info", "roles", "tags", "note",
    "pinned", "labelled",
})  # fmt: skip


def clean_info(info: Mapping[Any, Any] | None) -> dict[str, str]:
    """Return the text fields of a session; never raises for the content of a field."""
    cleaned: dict[str, str] = {}
    for key, value in (info or {}).items():
        cleaned[numbered(clean_name(key), cleaned)] = clean_text(text_of(value))
    return cleaned


def bounded_info(info: Mapping[Any, Any], max_bytes: int = MAX_INFO_BYTES) -> dict[str, str]:
    """Return the fields as text; those over the limits are left out, and a last field tells how many were.

    Args:
        info: names and values.
        max_bytes: of the kept fields together, as JSON.
    """
    fields: dict[str, str] = {}
    size = 0
    count = MAX_INFO_FIELDS if len(info) <= MAX_INFO_FIELDS else MAX_INFO_FIELDS - 1
    for name, text in clean_info(dict(islice(info.items(), count))).items():
        size += len(to_json({name: text}))
        if size > max_bytes:
            break
        fields[name] = text
    if len(fields) < len(info):
        fields.setdefault("…", f"{len(info) - len(fields)} more fields are not kept")
    return fields


def decode_info(stored: Mapping[str, str]) -> dict[str, str]:
    """Return the describing fields of a session hash, of this version or an older one; never raises."""
    try:
        fields = json.loads(stored.get("info", ""))
    except (ValueError, RecursionError):
        fields = None
    if isinstance(fields, dict):
        return {clean_name(name): value for name, value in fields.items() if isinstance(value, str)}
    return {name: value for name, value in stored.items() if name not in RESERVED or name == "info"}
