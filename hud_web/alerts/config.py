"""The configuration of alerts: HUD_ALERTS, which has the URLs of the targets or names a TOML file with rules.

Only the server's environment and this file name targets. A mistake is named by its line, never by its content if that
is a URL. Called by the app when it is created, and by `hud alert test`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.names import clean_name
from hud_web.alerts.document import Document, Table, duration_ms, list_of_text, seconds, text_of
from hud_web.alerts.evaluator import Rules
from hud_web.alerts.quiet import QuietTime
from hud_web.alerts.rules import Condition, Rule
from hud_web.alerts.target import Target, make_target
from hud_web.monitor.annotations import KINDS
from hud_web.monitor.symptoms.patterns import RANKS

#: Short names of patterns → kinds of annotations.
SHORT_NAMES: Mapping[str, tuple[str, ...]] = {
    "nan": ("non_finite",),
    "death": ("process_died", "process_lost", "session_lapsed"),
    "hung": ("hung_phase",),
    "stalled": ("stall",),
}
#: Patterns of symptoms: those of the table of rules, of processes, and of machines.
PATTERNS = (*RANKS, "thread_died", "memory_growth", "memory_full", "disk_full")
#: The default rule: something is wrong, but not the weakest symptoms, which a run may live with.
DEFAULT_KINDS = frozenset({
    "process_died", "process_lost", "session_lapsed", "non_finite", "hung_phase", "stall", "collapse", "symptom",
    "vision_failing", "env_runner_lost", "alert",
})  # fmt: skip
WEAK = frozenset({"learning_rate_zero", "episodes_truncated", "clip_fraction_high", "explained_variance_low",
                  "throughput_low"})  # fmt: skip
MAX_RULES = 100
MAX_TARGETS = 50
MAX_FILE_BYTES = 1024 * 1024

_LINK = re.compile(r"https?://[^\s/?#@]+[^\s?#]*")
_NONE: tuple[str, ...] = ()
_ALL: tuple[str, ...] = ("*",)


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


def read_config(value: str, link: str | None = None) -> AlertConfig:
    """Read the value of HUD_ALERTS.

    Args:
        value: the URLs or the path.
        link: the page's base URL if a file names none.

    Raises:
        ConfigError: at least one part is wrong; the message names all of them with their fixes.
    """
    if "://" in value.split(maxsplit=1)[0]:
        document = Document("HUD_ALERTS", "", {"targets": value.split()})
    elif value.endswith(".toml"):
        document = _read_file(Path(value).expanduser())
    else:
        raise ConfigError(
            "HUD_ALERTS: expected URLs of Apprise such as ntfys://HOST/TOPIC, or the path of a .toml file"
        )
    config = _Reader(document).read(link)
    if document.mistakes:
        raise ConfigError("; ".join(document.mistakes))
    return config


def _read_file(path: Path) -> Document:
    try:
        raw = path.read_bytes()[:MAX_FILE_BYTES]
        text = raw.decode("utf-8")
        return Document(str(path), text, tomllib.loads(text))
    except OSError as error:
        raise ConfigError(f"HUD_ALERTS: {path} cannot be read ({error.strerror}): correct the path") from None
    except UnicodeDecodeError:
        raise ConfigError(f"HUD_ALERTS: {path} is not UTF-8: save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:  # its message has a position and at most one character of the file
        raise ConfigError(f"HUD_ALERTS: {path} is not TOML: {error}") from None


class _Reader:
    """Reads one document; `targets` holds the targets that were read so far."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._targets: dict[str, Target] = {}

    def read(self, page_url: str | None) -> AlertConfig:
        """Return the configuration; it is incomplete if the document has mistakes."""
        name, mistakes = self._document.name, self._document.mistakes
        top = Table(self._document, self._document.content, 0)
        general = tuple(self._read_targets(top))
        link = top.take("link", _link, page_url)
        group_s = top.take("group_s", seconds(0, 3600), 10.0)
        repeat_s = top.take("repeat_s", seconds(0, 7 * 86400), 600.0)
        quiet = top.take("quiet", _quiet, None)
        found = self._document.content.get("rule", [])
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found) or len(found) > MAX_RULES:
            mistakes.append(f"{name}: expected at most {MAX_RULES} tables [[rule]]")
            found = []
        rules = [self._rule(Table(self._document, one, number), general) for number, one in enumerate(found, 1)]
        top.refuse_others("rule")
        if not rules:
            rules = [Rule("default", DEFAULT_KINDS, WEAK, targets=general)]
            if not general and not mistakes:
                mistakes.append(f"{name}: it names no target: add `targets`")
        if len({rule.name for rule in rules}) < len(rules):
            mistakes.append(f"{name}: two rules have one name: give each another one")
        if len(self._targets) > MAX_TARGETS:
            mistakes.append(f"{name}: expected at most {MAX_TARGETS} targets, got {len(self._targets)}")
        return AlertConfig(self._targets, Rules(tuple(rules), int(repeat_s * 1000)), link, group_s, quiet)

    def _rule(self, table: Table, general: tuple[str, ...]) -> Rule:
        kinds: frozenset[str] = table.take("pattern", _kinds, frozenset())
        condition = table.take("when", _condition, None)
        rule = Rule(
            table.take("name", _name, f"rule {table.number}"), kinds, table.take("except", _kinds, frozenset()),
            condition, table.take("for", duration_ms, 0), table.take("channels", list_of_text, _ALL),
            tuple(self._read_targets(table)) if "targets" in table.content else general,
        )  # fmt: skip
        if ("pattern" in table.content) == ("when" in table.content):
            table.complain(None, "expected either `pattern` or `when`")
        if rule.for_ms and condition is None:
            table.complain("for", "only a rule with `when` has a duration: remove it")
        if not rule.targets and not self._document.mistakes:
            table.complain(None, "it has no target: add `targets` to it or to the top of the file")
        table.refuse_others("targets")
        return rule

    def _read_targets(self, table: Table) -> Iterator[str]:
        for number, url in enumerate(table.take("targets", _urls, _NONE), 1):
            try:
                target = make_target(url, len(self._targets) + 1)
            except ValueError as error:
                line = self._document.line_of(table.number, "targets", url)
                self._document.mistakes.append(f"{self._document.name}{line}: target {number}: {error}")
            else:
                yield self._targets.setdefault(target.id, target).id


def _urls(value: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(url.strip() for url in list_of_text(value)))


_name = text_of(clean_name)


@text_of
def _condition(value: str) -> Condition | None:
    return Condition.parse(value)


@text_of
def _link(value: str) -> str | None:
    if not _LINK.fullmatch(value):
        raise ValueError("expected the page's address, such as https://hud.example.org")
    return value.rstrip("/")


@text_of
def _quiet(value: str) -> QuietTime | None:
    return QuietTime.parse(value)


def _kinds(value: Any) -> frozenset[str]:
    kinds: set[str] = set()
    for name in list_of_text(value):
        found = SHORT_NAMES.get(name) or ((name,) if name in KINDS or name in PATTERNS else ())
        if not found:
            known = ", ".join(sorted({*SHORT_NAMES, *KINDS, *PATTERNS}))
            raise ValueError(f"no pattern is called {clean_name(name)[:40]!r}: expected one of {known}")
        kinds |= set(found)
    return frozenset(kinds)
