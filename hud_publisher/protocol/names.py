"""Names of fields: text that a page, a key and a URL can hold, such that two different names stay different.

Owns three rules. A name that had to be changed to be shown ends with a digest of the original, so that two long names
with one beginning do not become one. Keys of one mapping that read alike (1 and "1") are numbered. A nested field and a
name with slashes that lead to one path (`{"a": {"b": 1}}` and `{"a/b": 1}`) are numbered too, because charts, history
and alerts address a field by its path. Texts that are no names get the same cleaning. Does no I/O. Called by `cleaning`
and `info`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Container, Mapping
from functools import lru_cache
from hashlib import blake2s
from typing import Any

MAX_NAME_CHARS = 256
MAX_TEXT_CHARS = 16_384
#: Paths that one `Paths` remembers: as many as a session's state may have fields.
MAX_PATHS = 10_000

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def valid_unicode(text: str) -> str:
    """Return text without lone surrogates, which UTF-8 cannot encode; a pair of surrogates becomes its character."""
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return joined.encode("utf-8", "replace").decode("utf-8")
    return text


def clean_name(name: object) -> str:
    """Return a label as text without control characters or lone surrogates, at most MAX_NAME_CHARS long."""
    text = _CONTROL.sub(" ", valid_unicode(text_of(name)[: MAX_NAME_CHARS * 2]))
    return text if len(text) <= MAX_NAME_CHARS else f"{text[: MAX_NAME_CHARS - 1]}…"


def clean_text(text: str) -> str:
    """Return text without lone surrogates, which UTF-8 cannot encode, at most MAX_TEXT_CHARS long."""
    return valid_unicode(str.__str__(text)[:MAX_TEXT_CHARS])


def field_name(key: object) -> str:
    """Return a field's name as `clean_name` does; a name that this changes gets a digest of the original at its end."""
    if type(key) is str and len(key) <= MAX_NAME_CHARS:
        return _short_field_name(key)
    return _any_field_name(text_of(key))


def _any_field_name(text: str) -> str:
    name = clean_name(text)
    if name == text:
        return name
    digest = blake2s(text.encode("utf-8", "surrogatepass"), digest_size=3).hexdigest()
    return f"{name[: MAX_NAME_CHARS - len(digest) - 1]}~{digest}"


#: A run logs the same few names at every step.
_short_field_name = lru_cache(maxsize=4096)(_any_field_name)


def text_of(name: object) -> str:
    """Return the text of a name or label; never raises."""
    try:
        if isinstance(name, enum.Enum):
            name = name.name or name.value
        if isinstance(name, bytes):
            name = name.decode("utf-8", "surrogateescape")
        return str.__str__(name) if isinstance(name, str) else str(name)
    except Exception:  # a foreign object's own text may raise anything, and Python prints no integer of 5,000 digits
        return type(name).__name__


def numbered(name: str, taken: Container[str]) -> str:
    """Return the first of `name`, `name (2)`, `name (3)` … that is not taken."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name[: MAX_NAME_CHARS - 8]} ({number})"
    return free


class Paths:
    """Assigns each path to the first field that uses it; another field with the same path gets a number.

    One instance per publisher keeps this stable over a run; it grows up to MAX_PATHS, with paths of several steps only.
    """

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}

    def tell_apart(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return cleaned fields in which no two leaves have one path; the same object if no path has several steps."""
        for name, value in data.items():
            if "/" in name or type(value) is dict:
                return self._walk(data, "", "")
        return data

    def _walk(self, data: Mapping[str, Any], prefix: str, above: str) -> dict[str, Any]:
        owners, told = self._owners, {}
        for name, value in data.items():
            steps, own = above + name, name
            if (prefix or "/" in name) and owners.get(prefix + name) != steps:
                own = self._own(prefix, name, steps)
            told[own] = self._walk(value, f"{prefix}{own}/", f"{steps}\n") if type(value) is dict else value
        return told

    def _own(self, prefix: str, name: str, steps: str) -> str:
        """Return a name whose path belongs to this field alone; `steps` are its names, joined by line breaks."""
        own, number = name, 1
        while (owner := self._owners.get(prefix + own)) != steps:
            if owner is None:
                if len(self._owners) < MAX_PATHS:
                    self._owners[prefix + own] = steps
                break
            number += 1
            own = f"{name[: MAX_NAME_CHARS - 8]} ({number})"
        return own
