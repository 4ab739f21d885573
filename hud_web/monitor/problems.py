"""The open problems of a run: from the annotation that reports a problem until the one that reports its end.

A problem stays for a short time after its end, so that a viewer sees one that lasted a second. The memory is bounded
and consists of JSON values. No I/O and no clock. Called by `judge`, which feeds it, and by `verdict`, which ranks it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hud_web.monitor.annotations import Annotation

#: The kind that reports a problem → the kinds that report its end. NaN is in `NonFinite.now`, field by field.
ENDS: dict[str, tuple[str, ...]] = {
    "process_died": ("process_back", "restarted"),
    "process_lost": ("process_back", "restarted"),
    "session_lapsed": (),
    "hung_phase": ("phase_ended",),
    "stall": ("resumed",),
    "collapse": ("recovered",),
    "env_runner_lost": ("env_runner_back",),
    "symptom": ("symptom_ended",),
    "vision_failing": ("vision_recovered",),
}
#: Problems of one kind: one for each process or pattern, in which the kinds of its end agree.
_BY_SUBJECT = ("process_died", "process_lost", "symptom")
#: Open problems that are remembered; a run has a process for each env runner.
MAX_OPEN = 64
#: Fields of a problem that are remembered as its evidence.
MAX_FIELDS = 8
#: The time for which these problems stay after their end, in milliseconds: their cause may return.
LINGER_MS = 120_000
LINGERING = ("process_died", "process_lost", "env_runner_lost")


@dataclass(slots=True)
class Problems:
    """The problems of one session, by kind and subject.

    Attributes:
        open: key → kind, text, pattern, fields, time_ms, step, entry_id and ended_ms (None while it lasts).
    """

    open: dict[str, dict[str, Any]] = field(default_factory=dict)

    def follow(self, annotation: Annotation) -> None:
        """Open or end the problem that an annotation reports."""
        for kind, ends in ENDS.items():
            if annotation.kind == kind:
                self._open(annotation)
            elif annotation.kind in ends:
                self._end(kind, annotation)

    def _open(self, annotation: Annotation) -> None:
        key = _key(annotation.kind, annotation)
        if annotation.kind == "process_died":  # its death explains its silence
            self.open.pop(_key("process_lost", annotation), None)
        if annotation.kind == "process_lost":  # the lost process tells more than its session's lease
            self.open.pop("session_lapsed", None)
        if key not in self.open and len(self.open) >= MAX_OPEN:
            return
        self.open[key] = {
            "kind": annotation.kind, "text": annotation.text, "pattern": annotation.pattern,
            "fields": list(annotation.fields[:MAX_FIELDS]), "time_ms": annotation.time_ms, "step": annotation.step,
            "entry_id": annotation.entry_id, "ended_ms": None,
        }  # fmt: skip

    def _end(self, kind: str, annotation: Annotation) -> None:
        key = _key(kind, annotation)
        known = self.open.get(key)
        if known is None or known["ended_ms"] is not None:
            return
        if kind in LINGERING:
            known["ended_ms"] = annotation.time_ms
        else:
            del self.open[key]

    def forget(self, now_ms: int) -> None:
        """Remove the problems that ended more than LINGER_MS ago."""
        over = [key for key, one in self.open.items() if one["ended_ms"] and now_ms - one["ended_ms"] > LINGER_MS]
        for key in over:
            del self.open[key]

    def names_process(self) -> bool:
        """Whether a process died or was lost: that explains the end of the run."""
        return any(self.of("process_died")) or any(self.of("process_lost"))

    def of(self, kind: str) -> Iterator[dict[str, Any]]:
        """Return the problems of a kind."""
        return (one for one in self.open.values() if one["kind"] == kind)


def _key(kind: str, annotation: Annotation) -> str:
    if kind not in _BY_SUBJECT:
        return kind
    subject = annotation.pattern or (annotation.fields[0] if annotation.fields else "")
    return f"{kind} {subject[:200]}"
