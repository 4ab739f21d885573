"""A TOML document that names the line of each mistake: tables, and parsers of their values. No I/O.

A mistake never shows the content of a value that may be a URL. Called by `config`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hud_publisher.protocol.names import clean_name

_UNIT_MS = {"": 1_000, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)?(?:ec|econds?|in|inutes?|ours?|ays?)?")
_SECTION = re.compile(r"\s*\[\[\s*rule\s*\]\]")

T = TypeVar("T")


@dataclass
class Document:
    """A document and its mistakes.

    Attributes:
        name: for messages.
        text: to find the lines of mistakes; "" for the value of a variable.
        content: the parsed document.
        mistakes: so far.
    """

    name: str
    text: str
    content: Mapping[str, Any]
    mistakes: list[str] = field(default_factory=list)

    def line_of(self, rule: int, key: str | None, content: str = "") -> str:
        """Return ", line N" for a key of the top (rule 0) or of a rule; "" if the document has no lines."""
        section, at = 0, 0
        for number, line in enumerate(self.text.splitlines(), 1):
            if _SECTION.match(line):
                section += 1
                at = number if section == rule else at
            if section == rule and key is not None and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
                at = number
            if section == rule and content and content in line:
                return f", line {number}"
        return f", line {at}" if at else ""


@dataclass
class Table:
    """One table of a document.

    Attributes:
        document: that it belongs to.
        content: keys and values.
        number: 0 for the top, else that of the rule.
    """

    document: Document
    content: Mapping[str, Any]
    number: int
    _taken: set[str] = field(default_factory=set)

    def take(self, key: str, parse: Callable[[Any], T], default: T) -> T:
        """Return the parsed value of a key; the default if it is missing or wrong."""
        self._taken.add(key)
        if key not in self.content:
            return default
        try:
            return parse(self.content[key])
        except ValueError as error:
            self.complain(key, str(error))
            return default

    def refuse_others(self, *known: str) -> None:
        """Complain about each key that was not taken and is not known."""
        for key in self.content.keys() - self._taken - set(known):
            expected = ", ".join(sorted({*self._taken, *known}))
            self.complain(key, f"no setting is called {clean_name(key)[:40]!r}: expected one of {expected}")

    def complain(self, key: str | None, mistake: str) -> None:
        """Record a mistake of this table."""
        line = self.document.line_of(self.number, key)
        rule = f" rule {self.number}" if self.number else ""
        about = f" {key}" if key in self._taken else ""
        self.document.mistakes.append(f"{self.document.name}{line}:{rule}{about}: {mistake}")


def text_of(parse: Callable[[str], T]) -> Callable[[Any], T]:
    """Return the parser of a value that is text."""

    def read(value: Any) -> T:
        if not isinstance(value, str):
            raise ValueError(f"expected text in quotes, got {type(value).__name__}")
        return parse(value)

    return read


def list_of_text(value: Any) -> tuple[str, ...]:
    """Parse one text or a list of texts."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
        raise ValueError("expected a list of texts in quotes")
    return tuple(found)


def duration_ms(value: Any) -> int:
    """Parse a duration such as "2 min", or a number of seconds."""
    text = str(value).strip().lower() if isinstance(value, (str, int, float)) else ""
    match = _DURATION.fullmatch(text)
    if match is None or isinstance(value, bool):
        raise ValueError("expected a duration such as '30 s', '2 min' or '1 h'")
    return int(float(match[1]) * _UNIT_MS[match[2] or ""])


def seconds(least: float, most: float) -> Callable[[Any], float]:
    """Return the parser of a number of seconds."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            raise ValueError(f"expected a number of seconds from {least:g} to {most:g}")
        return float(value)

    return read
