"""Annotations: the kind, the time and the step of an event in a run; their form in Redis and on the wire. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from hud_publisher.protocol.names import clean_text
from hud_publisher.protocol.stored import read_int, read_value
from hud_publisher.protocol.values import NOT_FINITE, NotFinite, to_json

Kind = Literal[
    "session_started", "session_ended", "session_lapsed", "session_taken_over", "reporter_changed",
    "best_episode", "collapse", "recovered", "non_finite", "finite_again", "milestone",
    "stall", "resumed", "hung_phase", "phase_ended", "steps_restarted", "env_runner_lost", "env_runner_back",
    "vision_failing", "vision_recovered", "symptom", "symptom_ended",
    "process_died", "process_lost", "process_back", "restarted", "alert",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Annotation:
    """One event of a run.

    Attributes:
        kind: the kind of event.
        time_ms: when, in Unix milliseconds by Redis' clock.
        text: one sentence for people.
        step: environment steps sampled by then; None if unknown.
        iteration: training iteration by then; None if unknown.
        entry_id: the stream entry that shows it; None for an event that only a clock showed.
        fields: paths of the fields that it is about.
        value: of a field that is not finite.
        pattern: the name of the failure pattern that a symptom shows, such as "entropy_collapse".
    """

    kind: Kind
    time_ms: int
    text: str
    step: int | None = None
    iteration: int | None = None
    entry_id: str | None = None
    fields: tuple[str, ...] = ()
    value: NotFinite | None = None
    pattern: str | None = None

    def encode(self) -> list[str]:
        """Return the fields of its stream entry, names and values in turn."""
        pairs: dict[str, str] = {"kind": self.kind, "time": str(self.time_ms), "text": clean_text(self.text)}
        if self.step is not None:
            pairs["step"] = str(self.step)
        if self.iteration is not None:
            pairs["iteration"] = str(self.iteration)
        if self.entry_id is not None:
            pairs["entry"] = self.entry_id
        if self.fields:
            pairs["fields"] = to_json(list(self.fields))
        if self.value is not None:
            pairs["value"] = self.value
        if self.pattern is not None:
            pairs["pattern"] = self.pattern
        return [part for pair in pairs.items() for part in pair]


def decode(fields: Mapping[bytes, bytes]) -> Annotation:
    """Return the annotation of a stream entry.

    Raises:
        ValueError: the fields are not an annotation of HUD.
    """
    text = {name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, value in fields.items()}
    kind, names = text.get("kind"), read_value(fields.get(b"fields", b"[]"))
    if kind not in KINDS or not isinstance(names, list):
        raise ValueError(f"expected the kind of an annotation, got {str(kind)[:40]!r}")
    return Annotation(
        kind, read_int(fields, b"time") or 0, text.get("text", ""), read_int(fields, b"step"),
        read_int(fields, b"iteration"), text.get("entry"), tuple(map(str, names)),
        _value(kind, text.get("value")), text.get("pattern"),
    )  # fmt: skip


def describe(annotation: Annotation, annotation_id: str) -> dict[str, Any]:
    """Return an annotation in the form for pages, the API and exports."""
    return {
        "id": annotation_id, "kind": annotation.kind, "time_ms": annotation.time_ms, "text": annotation.text,
        "step": annotation.step, "iteration": annotation.iteration, "entry_id": annotation.entry_id,
        "fields": list(annotation.fields), "value": annotation.value,
        "pattern": annotation.pattern,
    }  # fmt: skip


def follow(not_finite: dict[str, Any], annotation: Annotation) -> None:
    """Apply an annotation to the fields that are not finite: path → their value, and the time and step since then."""
    for path in annotation.fields:
        if annotation.kind == "non_finite":
            not_finite[path] = {
                "value": annotation.value, "time_ms": annotation.time_ms, "step": annotation.step,
            }  # fmt: skip
        elif annotation.kind == "finite_again":
            not_finite.pop(path, None)


def _value(kind: Kind, text: str | None) -> NotFinite | None:
    """Return the value of a field that is not finite; annotations of earlier versions do not tell which."""
    return next((name for name in NOT_FINITE if name == text), "NaN" if kind == "non_finite" else None)
