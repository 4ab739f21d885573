"""One alert rule: a set of patterns, or a condition on the fields of a run. No I/O.

`config` makes the rules, and `evaluator` judges them.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hud_publisher.protocol.roles import ROLES
from hud_web.monitor.annotations import Annotation
from hud_web.monitor.detectors import figure
from hud_web.store.roles import Roles

#: Fields of one role that a condition compares: each belongs to another policy.
MAX_POLICIES = 10

_OPERATORS: Mapping[str, tuple[Callable[[float, float], bool], str]] = {
    ">=": (operator.ge, "at least"), "<=": (operator.le, "at most"), "==": (operator.eq, "equal to"),
    "!=": (operator.ne, "not"), ">": (operator.gt, "above"), "<": (operator.lt, "below"),
}  # fmt: skip
_CONDITION = re.compile(
    r"([^\s<>=!](?:[^<>=!]*[^\s<>=!])?)\s*(>=|<=|==|!=|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of a field with a number, such as `learner/kl > 0.1`.

    Attributes:
        subject: a role, which stands for the fields that play it, or the path of a field.
        comparison: one of > >= < <= == !=.
        limit: the number.
    """

    subject: str
    comparison: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition.

        Raises:
            ValueError: the text has another form.
        """
        match = _CONDITION.fullmatch(text.strip())
        if match is None:
            raise ValueError("expected a role or a field, a comparison and a number, such as 'learner/kl > 0.1'")
        return cls(match[1], match[2], float(match[3]))

    def paths(self, roles: Roles) -> list[str]:
        """Return the paths of the fields that it compares."""
        role = next((role for role in ROLES if role == self.subject), None)
        return [self.subject] if role is None else [one["path"] for one in roles.get(role, [])[:MAX_POLICIES]]

    def holds(self, value: float) -> bool:
        """Whether it is true of a value."""
        return _OPERATORS[self.comparison][0](value, self.limit)

    def describe(self, path: str, value: float) -> str:
        """Return a clause about a value for which it is true."""
        return f"{path} is {figure(value)}, {_OPERATORS[self.comparison][1]} {figure(self.limit)}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its alerts go to `targets`.

    Attributes:
        name: shown in messages.
        kinds: kinds of annotations and patterns of symptoms that it alerts about.
        excluded: kinds and patterns that it does not alert about.
        condition: of the fields that it alerts about; None: the rule is about annotations.
        for_ms: how long the condition must be true, in milliseconds.
        channels: globs of channel names.
        targets: ids of the targets.
    """

    name: str
    kinds: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()
    condition: Condition | None = None
    for_ms: int = 0
    channels: tuple[str, ...] = ("*",)
    targets: tuple[str, ...] = ()

    def is_about(self, annotation: Annotation) -> bool:
        """Whether it alerts about this annotation."""
        names = {annotation.kind} | ({annotation.pattern} if annotation.kind == "symptom" else set())
        return not names.isdisjoint(self.kinds) and names.isdisjoint(self.excluded)
