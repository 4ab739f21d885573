"""The configuration of alerts: HUD_ALERTS, which has the URLs of the targets or names a TOML file with rules.

Only the server's environment and this file name targets. A mistake is named by its line, never by its content if that
is a URL. Called by the app when it is created, and by `hud alert test`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.names import clean_name
from hud_web.alerts.quiet import QuietTime
from hud_web.alerts.rules import Condition, Rule, Rules
from hud_web.alerts.target import Target, make_target
from hud_web.monitor.annotations import KINDS

#: Short names of patterns → kinds of annotations.
SHORT_NAMES: Mapping[str, tuple[str, ...]] = {
    "nan": ("non_finite",),
    "death": ("process_died", "process_lost", "session_lapsed"),
    "hung": ("hung_phase",),
    "stalled": ("stall",),
}
#: The kinds of the default rules: something is wrong.
DEFAULT_KINDS = (
    "process_died", "process_lost", "session_lapsed", "non_finite", "hung_phase", "stall", "collapse", "symptom",
    "vision_failing", "env_runner_lost", "alert",
)  # fmt: skip
MAX_RULES = 100
MAX_TARGETS = 50
MAX_FILE_BYTES = 1024 * 1024

_UNIT_MS = {"": 1_000, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)?(?:ec|econds?|in|inutes?|ours?|ays?)?")
_LINK = re.compile(r"https?://[^\s/?#@]+[^\s?#]*")
_SECTION = re.compile(r"\s*\[\[\s*rule\s*\]\]")

_EVERYWHERE: tuple[str, ...] = ("*",)
_NOTHING: tuple[str, ...] = ()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AlertConfig:
    """The targets and the rules of a server.

    Attributes:
        targets: id → target.
        rules: the rules.
        link: the page's base URL for the links in messages; None: messages have no link.
        group_s: alerts of one channel within this time are one message, in seconds.
        quiet: when only deaths are sent; None: never.
    """

    targets: Mapping[str, Target]
    rules: Rules
    link: str | None = None
    group_s: float = 10.0
    quiet: QuietTime | None = None


def read_config(value: str) -> AlertConfig:
    """Read the value of HUD_ALERTS.

    Raises:
        ConfigError: at least one part is wrong; the message names all of them with their fixes.
    """
    if "://" in value.split(maxsplit=1)[0]:
        reader = _Reader("HUD_ALERTS", "", {"targets": value.split()})
    elif value.endswith(".toml"):
        reader = _read_file(Path(value).expanduser())
    else:
        raise ConfigError(
            "HUD_ALERTS: expected URLs of Apprise such as ntfys://HOST/TOPIC, or the path of a .toml file"
        )
    config = reader.read()
    if reader.mistakes:
        raise ConfigError("; ".join(reader.mistakes))
    return config


def _read_file(path: Path) -> _Reader:
    try:
        raw = path.read_bytes()[:MAX_FILE_BYTES]
        text = raw.decode("utf-8")
        return _Reader(str(path), text, tomllib.loads(text))
    except OSError as error:
        raise ConfigError(f"HUD_ALERTS: {path} cannot be read ({error.strerror}): correct the path") from None
    except UnicodeDecodeError:
        raise ConfigError(f"HUD_ALERTS: {path} is not UTF-8: save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:  # its message has a position and at most one character of the file
        raise ConfigError(f"HUD_ALERTS: {path} is not TOML: {error}") from None


@dataclass
class _Reader:
    """Reads one document and collects its mistakes.

    Attributes:
        name: of the document, for messages.
        text: of the document, to find the lines of mistakes; "" for a variable.
        document: the parsed document.
        mistakes: so far.
        targets: id → target, so far.
    """

    name: str
    text: str
    document: Mapping[str, Any]
    mistakes: list[str] = field(default_factory=list)
    targets: dict[str, Target] = field(default_factory=dict)

    def read(self) -> AlertConfig:
        """Return the configuration; it is incomplete if there are mistakes."""
        top = _Table(self, self.document, 0)
        general = tuple(self._targets(top, "targets"))
        link = top.take("link", _link, None)
        group_s = top.take("group_s", _seconds(0, 3600), 10.0)
        repeat_s = top.take("repeat_s", _seconds(0, 7 * 86400), 600.0)
        quiet = top.take("quiet", _quiet, None)
        found = self.document.get("rule", [])
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found) or len(found) > MAX_RULES:
            self.mistakes.append(f"{self.name}: expected at most {MAX_RULES} tables [[rule]]")
            found = []
        rules = [self._rule(_Table(self, one, number), general) for number, one in enumerate(found, 1)]
        top.refuse_others({"rule"})
        if not rules:
            rules = [Rule("default", frozenset(DEFAULT_KINDS), targets=general)]
        if len({rule.name for rule in rules}) < len(rules):
            self.mistakes.append(f"{self.name}: two rules have one name: give each its own")
        if len(self.targets) > MAX_TARGETS:
            self.mistakes.append(f"{self.name}: expected at most {MAX_TARGETS} targets, got {len(self.targets)}")
        return AlertConfig(self.targets, Rules(tuple(rules), int(repeat_s * 1000)), link, group_s, quiet)

    def _rule(self, table: _Table, general: tuple[str, ...]) -> Rule:
        name = table.take("name", _name, f"rule {table.number}")
        kinds: frozenset[str] = table.take("pattern", _kinds, frozenset())
        condition = table.take("when", _text_of(Condition.parse), None)
        for_ms = table.take("for", _duration_ms, 0)
        channels: tuple[str, ...] = table.take("channels", _globs, _EVERYWHERE)
        targets = tuple(self._targets(table, "targets")) if "targets" in table.content else general
        if ("pattern" in table.content) == ("when" in table.content):
            table.complain(None, "expected either `pattern` or `when`")
        if for_ms and condition is None:
            table.complain("for", "only a rule with `when` has a duration: remove it")
        if not targets and not self.mistakes:
            table.complain(None, "it has no target: add `targets` to it or to the top of the file")
        table.refuse_others(set())
        return Rule(name, kinds, condition, for_ms, channels, targets)

    def _targets(self, table: _Table, key: str) -> Iterator[str]:
        for number, url in enumerate(table.take(key, _urls, _NOTHING), 1):
            try:
                target = make_target(url, len(self.targets) + 1)
            except ValueError as error:
                line = self.line_of(table.number, key, url)
                self.mistakes.append(f"{self.name}{line}: target {number}: {error}")
            else:
                yield self.targets.setdefault(target.id, target).id

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
class _Table:
    """One table of the document: the top (number 0), or a rule."""

    reader: _Reader
    content: Mapping[str, Any]
    number: int
    taken: set[str] = field(default_factory=set)

    def take(self, key: str, parse: Callable[[Any], T], default: T) -> T:
        """Return the parsed value of a key; the default if it is missing or wrong."""
        self.taken.add(key)
        if key not in self.content:
            return default
        try:
            return parse(self.content[key])
        except ValueError as error:
            self.complain(key, str(error))
            return default

    def refuse_others(self, known: set[str]) -> None:
        """Complain about each key that does not exist."""
        for key in self.content.keys() - self.taken - known:
            expected = ", ".join(sorted(self.taken | known))
            self.complain(key, f"no setting is called {clean_name(key)[:40]!r}: expected one of {expected}")

    def complain(self, key: str | None, mistake: str) -> None:
        """Record a mistake of this table."""
        line = self.reader.line_of(self.number, key)
        rule = f" rule {self.number}" if self.number else ""
        about = f" {key}" if key in self.taken else ""
        self.reader.mistakes.append(f"{self.reader.name}{line}:{rule}{about}: {mistake}")


def _text_of(parse: Callable[[str], T]) -> Callable[[Any], T]:
    def read(value: Any) -> T:
        if not isinstance(value, str):
            raise ValueError(f"expected text in quotes, got {type(value).__name__}")
        return parse(value)

    return read


def _list_of_text(value: Any) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(one, str) and one for one in found):
        raise ValueError("expected a list of texts in quotes")
    return tuple(found)


def _urls(value: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(url.strip() for url in _list_of_text(value)))


_globs = _list_of_text
_name = _text_of(clean_name)


@_text_of
def _link(value: str) -> str | None:
    if not _LINK.fullmatch(value):
        raise ValueError("expected the page's address, such as https://hud.example.org")
    return value.rstrip("/")


@_text_of
def _quiet(value: str) -> QuietTime | None:
    return QuietTime.parse(value)


def _kinds(value: Any) -> frozenset[str]:
    kinds: set[str] = set()
    for name in _list_of_text(value):
        found = SHORT_NAMES.get(name) or ((name,) if name in KINDS else ())
        if not found:
            known = ", ".join(sorted({*SHORT_NAMES, *KINDS}))
            raise ValueError(f"no pattern is called {clean_name(name)[:40]!r}: expected one of {known}")
        kinds |= set(found)
    return frozenset(kinds)


def _duration_ms(value: Any) -> int:
    text = str(value).strip().lower() if isinstance(value, (str, int, float)) else ""
    match = _DURATION.fullmatch(text)
    if match is None or isinstance(value, bool):
        raise ValueError("expected a duration such as '30 s', '2 min' or '1 h'")
    return int(float(match[1]) * _UNIT_MS[match[2] or ""])


def _seconds(least: float, most: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            raise ValueError(f"expected a number of seconds from {least:g} to {most:g}")
        return float(value)

    return read
