"""The evaluator of one session: turns its annotations and its fields into alerts, by the rules.

Its memory is a JSON value of bounded size that the monitor saves with the alerts in one script, so that another replica
continues without a lost or a second alert. No I/O and no clock. The monitor calls it through its protocol `Rules`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Any

from hud_publisher.protocol.names import clean_name, clean_text
from hud_web.alerts.rules import Rule
from hud_web.monitor.annotations import Annotation
from hud_web.monitor.detectors import Observation, figure, is_number, span
from hud_web.monitor.problems import ENDS
from hud_web.store.roles import Roles

#: Characters of an alert's text.
MAX_TEXT = 500
#: Open alerts of one session, and alerts whose last time is remembered: about 300 bytes each.
MAX_OPEN = 100
MAX_TOLD = 200
#: Fields that an open alert waits for.
MAX_FIELDS = 50
#: The kind of an annotation that lasts → the kinds that end it.
_ENDS = {**ENDS, "non_finite": ("finite_again",)}
#: Kinds whose annotations are about one of several subjects, and kinds of which each text is a separate event.
_BY_SUBJECT = ("symptom", "process_died", "process_lost", "env_runner_lost")
_BY_TEXT = ("process_died", "process_lost")


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules of a server.

    Attributes:
        rules: the rules.
        repeat_ms: the least time between two alerts of one rule about one subject, in milliseconds.
    """

    rules: tuple[Rule, ...]
    repeat_ms: int = 600_000

    def evaluator(self, channel: str, memory: object = None) -> Evaluator | None:
        """Return the evaluator of a session of this channel; None if no rule is about the channel.

        Args:
            channel: of the session.
            memory: of the evaluator of the earlier entries.
        """
        rules = [rule for rule in self.rules if any(fnmatchcase(channel, glob) for glob in rule.channels)]
        return Evaluator(rules, self.repeat_ms, memory) if rules else None


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert to be delivered.

    Attributes:
        rule: the name of its rule.
        kind: of the annotation, or "condition".
        text: one sentence for people.
        time_ms: when it began, or ended if `is_end`, in Unix milliseconds by Redis' clock.
        step: environment steps sampled by then; None if unknown.
        is_end: whether it reports the end of an earlier alert.
        targets: ids of the targets.
    """

    rule: str
    kind: str
    text: str
    time_ms: int
    step: int | None
    is_end: bool
    targets: tuple[str, ...]

    def encode(self, sid: str) -> list[str]:
        """Return the fields of its entry in the outbox, names and values in turn."""
        step = [] if self.step is None else ["step", str(self.step)]
        return [
            "session", sid, "rule", clean_name(self.rule), "kind", self.kind, "text", clean_text(self.text)[:MAX_TEXT],
            "time", str(self.time_ms), "state", "resolved" if self.is_end else "open",
            "targets", " ".join(self.targets), *step,
        ]  # fmt: skip


@dataclass(slots=True)
class _Open:
    """An alert whose cause lasts.

    Attributes:
        rule: the name of the rule.
        kind: of the annotation, or "condition".
        text: the sentence that describes it.
        since_ms: when the cause began.
        step: environment steps sampled by then.
        subject: that it is about, such as the name of a process; "" if its kind has one subject.
        fields: that must recover before it ends; none: any end of its kind and subject ends it.
        is_sent: whether the alert was sent; one that repeats too early, or does not last long enough yet, is not.
    """

    rule: str
    kind: str
    text: str
    since_ms: int
    step: int | None
    subject: str = ""
    fields: list[str] = field(default_factory=list)
    is_sent: bool = False

    def is_over(self, end: Annotation) -> bool:
        """Whether the annotation of an end ends this alert; keeps the fields that have not recovered yet."""
        if not self.fields:
            return self.subject == _subject(end, self.kind)
        self.fields = [path for path in self.fields if path not in end.fields]
        return not self.fields


class Evaluator:
    """Judges the rules of one session; `memory` holds all that another replica needs to continue."""

    def __init__(self, rules: Sequence[Rule], repeat_ms: int, memory: object = None) -> None:
        self._rules = {rule.name: rule for rule in rules}
        self._repeat_ms = repeat_ms
        known = memory if isinstance(memory, Mapping) else {}
        self._open: dict[str, _Open] = {
            key: _Open(**one) for key, one in known.get("open", {}).items() if one.get("rule") in self._rules
        }
        self._told: dict[str, int] = dict(known.get("told", {}))

    def memory(self) -> dict[str, Any]:
        """Return the memory for a later evaluator, as JSON values."""
        attributes = ("rule", "kind", "text", "since_ms", "step", "subject", "fields", "is_sent")
        return {
            "open": {key: {name: getattr(one, name) for name in attributes} for key, one in self._open.items()},
            "told": self._told,
        }

    def see(self, entry: Observation, roles: Roles) -> list[Alert]:
        """Judge the conditions on the fields of an entry."""
        due: list[Alert] = []
        for rule in self._rules.values():
            if rule.condition is None:
                continue
            for path in rule.condition.paths(roles):
                value = entry.data.get(path)
                if not is_number(value):  # neither true nor false of a field that is NaN or missing
                    continue
                key = _key(rule.name, path)
                if rule.condition.holds(value):
                    begun = self._begin(key, _Open(rule.name, "condition", "", entry.time_ms, entry.step))
                    begun.text = rule.condition.describe(path, value)
                elif key in self._open:
                    due += self._end(key, entry.time_ms, entry.step, f"{path} is {figure(value)}")
        return due + self.pass_time(entry.time_ms)

    def follow(self, annotations: Sequence[Annotation]) -> list[Alert]:
        """Judge the rules about annotations."""
        due: list[Alert] = []
        for annotation in annotations:
            for rule in self._rules.values():
                if rule.is_about(annotation):
                    due += self._report(rule, annotation)
            for key, one in list(self._open.items()):
                if annotation.kind in _ENDS.get(one.kind, ()) and one.is_over(annotation):
                    due += self._end(key, annotation.time_ms, annotation.step, annotation.text)
        return due

    def pass_time(self, now_ms: int) -> list[Alert]:
        """Return the alerts that are due by now."""
        return [alert for key in list(self._open) for alert in self._send(key, now_ms)]

    def _report(self, rule: Rule, annotation: Annotation) -> Iterator[Alert]:
        """Send an alert about an annotation, unless the same one was sent a short time ago."""
        kind, now_ms, subject = annotation.kind, annotation.time_ms, _subject(annotation)
        fields = list(annotation.fields[:MAX_FIELDS]) if kind == "non_finite" else []
        lasts = kind in _ENDS
        key = _key(rule.name, kind, subject, "" if lasts and kind not in _BY_TEXT else annotation.text, *fields)
        self._begin(key, _Open(rule.name, kind, annotation.text, now_ms, annotation.step, subject, fields))
        yield from self._send(key, now_ms)
        if not lasts:
            del self._open[key]

    def _begin(self, key: str, one: _Open) -> _Open:
        """Remember an open alert; return the known one if it is open already."""
        if key not in self._open and len(self._open) >= MAX_OPEN:
            del self._open[next(iter(self._open))]
        return self._open.setdefault(key, one)

    def _send(self, key: str, now_ms: int) -> Iterator[Alert]:
        one = self._open[key]
        rule = self._rules[one.rule]
        lasted = now_ms - one.since_ms
        if one.is_sent or lasted < rule.for_ms or now_ms - self._told.get(key, -self._repeat_ms) < self._repeat_ms:
            return
        one.is_sent = True
        self._told.pop(key, None)
        self._told[key] = now_ms
        while len(self._told) > MAX_TOLD:
            del self._told[next(iter(self._told))]
        text = f"{one.text} for {span(lasted)}" if rule.for_ms else one.text
        yield Alert(rule.name, one.kind, text, one.since_ms, one.step, False, rule.targets)

    def _end(self, key: str, now_ms: int, step: int | None, text: str) -> Iterator[Alert]:
        one = self._open.pop(key)
        if one.is_sent:
            rule = self._rules[one.rule]
            text = f"Resolved after {span(now_ms - one.since_ms)}: {text}"
            yield Alert(rule.name, one.kind, text, now_ms, step, True, rule.targets)


def _subject(annotation: Annotation, kind: str = "") -> str:
    """Return the subject of an annotation of this kind, or of one that ends it."""
    if (kind or annotation.kind) not in _BY_SUBJECT:
        return ""
    return (annotation.pattern or (annotation.fields[0] if annotation.fields else ""))[:200]


def _key(*parts: str) -> str:
    """Return the key of an alert in the memory: short, whatever the text of the parts."""
    return blake2b("\n".join(parts).encode("utf-8", "replace"), digest_size=9).hexdigest()
