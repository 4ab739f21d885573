"""The judge of one session: turns its entries, in order, into annotations.

Deterministic: the same entries and the same memory give the same annotations on every replica. No I/O and no clock.
Called by `monitor`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hud_web.monitor.annotations import Annotation, follow
from hud_web.monitor.detectors import (
    BestEpisode,
    Collapse,
    EnvRunners,
    Finding,
    Life,
    Milestones,
    NonFinite,
    Observation,
    SessionState,
    Steps,
    Vision,
    is_number,
    span,
)
from hud_web.monitor.machine import Machine
from hud_web.monitor.memory import restored, stored
from hud_web.monitor.problems import Problems
from hud_web.monitor.processes import Processes
from hud_web.monitor.rhythm import Phase, Stall
from hud_web.monitor.symptoms.learning import Learning
from hud_web.monitor.symptoms.patterns import Patterns
from hud_web.monitor.verdict import (
    Earlier,
    Verdict,
    clause,
    collapse_text,
    compose,
    in_line,
    not_finite_problem,
    outlook,
    rank,
)
from hud_web.store.roles import RoleMap, Roles

#: The detectors of entries, by the name under which their memory is stored.
DETECTORS: dict[str, type[Any]] = {
    "non_finite": NonFinite,
    "best_episode": BestEpisode,
    "collapse": Collapse,
    "milestones": Milestones,
    "steps": Steps,
    "env_runners": EnvRunners,
}


#: Roles of fields that are means of episodes: they are NaN before the first episode's end.
EPISODE_ROLES = ("return", "return_max", "return_min", "length", "success_rate")


class Judge:
    """Watches one session; `memory` holds all that another replica needs to continue.

    Attributes:
        problems: the open problems that its annotations reported.
        earlier: the previous run of the channel, for a comparison; None without one.
    """

    def __init__(self, memory: Mapping[str, Any] | None = None, chosen_roles: Mapping[str, str] | None = None) -> None:
        """Make a judge.

        Args:
            memory: of the judge of the earlier entries; None for the session's first entry.
            chosen_roles: role → field path, as the user decided.
        """
        known = memory or {}
        self._detectors = {name: restored(kind, known.get(name)) for name, kind in DETECTORS.items()}
        self._vision = restored(Vision, known.get("vision"))
        self._stall = restored(Stall, known.get("stall"))
        self._phase = restored(Phase, known.get("phase"))
        self._life = restored(Life, known.get("life"))
        self._processes = restored(Processes, known.get("processes"))
        self._machine = restored(Machine, known.get("machine"))
        self.problems = restored(Problems, known.get("problems"))
        self._learning = restored(Learning, known.get("learning"))
        self._patterns = restored(Patterns, known.get("patterns"))
        self._roles = RoleMap(chosen_roles)
        for path in known.get("role_paths", ()):
            self._roles.add(path)
        self._step: int | None = known.get("step")
        self._iteration: int | None = known.get("iteration")
        self._now_ms: int = known.get("now_ms", 0)
        self.earlier: Earlier | None = None

    @property
    def roles(self) -> Roles:
        """The roles of the session's known fields."""
        return self._roles.roles

    def memory(self) -> dict[str, Any]:
        """Return the memory for a later judge, as JSON values; it must be encoded before the next entry."""
        parts = {
            **self._detectors,
            "vision": self._vision,
            "stall": self._stall,
            "phase": self._phase,
            "life": self._life,
            "processes": self._processes,
            "machine": self._machine,
            "problems": self.problems,
            "learning": self._learning,
            "patterns": self._patterns,
        }
        paths = [field["path"] for fields in self.roles.values() for field in fields]
        return {
            **{name: stored(part) for name, part in parts.items()},
            "role_paths": paths, "step": self._step, "iteration": self._iteration,
            "now_ms": self._now_ms,
        }  # fmt: skip

    @property
    def not_finite(self) -> dict[str, Any]:
        """The fields that are NaN or infinite now: path → value, and the time and step at which each became so."""
        detector: NonFinite = self._detectors["non_finite"]
        return detector.now

    @property
    def is_done(self) -> bool:
        """Whether the session's end was reported."""
        return self._life.is_done

    def rhythm(self) -> dict[str, Any]:
        """Return the limits beyond which a page shows this run as stalled or hung, in milliseconds."""
        return {
            "stall_after_ms": self._stall.limit_ms(),
            "last_entry_ms": self._stall.last_ms,
            "phase": self._phase.name,
            "phase_since_ms": self._phase.since_ms,
            "phase_usual_ms": self._phase.usual_ms(),
            "phase_hung_after_ms": self._phase.limit_ms(),
        }

    def verdict(self) -> Verdict:
        """Return the verdict on the run at the time of the newest entry or look at the session."""
        self.problems.forget(self._now_ms)
        level, problems = rank(self._open_problems())
        trend, clauses = outlook(self._learning, self._now_ms, self.earlier)
        if level is None and not self.is_done:
            return compose(trend, clauses, self._now_ms)
        if self.is_done:
            rest = [in_line(one) for one in clauses if trend != "early"]
            if not self.problems.names_process():
                return compose("ended", [clause("Ended"), *map(in_line, problems), *rest], self._now_ms)
            return compose("bad", [*problems, *rest], self._now_ms)
        rest = [in_line(clauses[0])] if trend in ("good", "warning") else []
        return compose(level or trend, [*problems, *rest], self._now_ms)

    def _open_problems(self) -> Iterator[Mapping[str, Any]]:
        """Return the open problems with their current numbers."""
        names_process = self.problems.names_process()
        for one in self.problems.open.values():
            if one["kind"] == "session_lapsed" and names_process:
                continue  # the process explains the lapse
            if self.is_done and one["kind"] in ("stall", "hung_phase"):
                continue
            if one["kind"] == "collapse" and not self._learning.has_gained():
                continue  # a fall from the beginning is the symptom "return_falls", if it lasts
            yield {**one, "text": self._text(one)}
        if not_finite := self._wrong():
            yield not_finite_problem(not_finite)

    def _text(self, problem: Mapping[str, Any]) -> str:
        """Return the text of a problem: its annotation's, or if the problem goes on, one with the present numbers."""
        kind, text = problem["kind"], str(problem["text"])
        if kind == "hung_phase":
            return f"Hung in {self._phase.name} for {self._phase.lasts(self._now_ms)}"
        if kind == "stall":
            return f"No data for {span(self._now_ms - (self._stall.last_ms or self._now_ms))}"
        if kind == "collapse":
            return collapse_text(self._learning) or text
        if problem.get("pattern") == "memory_growth":
            return self._machine.describe() or text
        if kind == "symptom":
            return str(self._patterns.open.get(problem["pattern"], problem)["text"])
        if kind == "env_runner_lost":
            runners: EnvRunners = self._detectors["env_runners"]
            return runners.describe() or text
        return text

    def _wrong(self) -> dict[str, Any]:
        """Return the fields that are not finite, without means of episodes before the first episode and counts.

        RLlib reports a count as NaN if an iteration had no new value of it.
        """
        by_path, is_early = self._roles.by_path, not self._learning.count
        return {
            path: one
            for path, one in self.not_finite.items()
            if not path.rpartition("/")[2].startswith("num_") and not (is_early and by_path.get(path) in EPISODE_ROLES)
        }

    def see(self, entry: Observation) -> list[Annotation]:
        """Process an entry of metrics or iterations."""
        for path, value in entry.data.items():
            if path not in self._roles.known and is_number(value):
                self._roles.add(path)
        for path in entry.not_finite:
            self._roles.add(path)
        if entry.step is not None:
            self._step = entry.step
        self._learn_iteration(entry.data)
        findings = list(self._stall.arrive(entry.time_ms))
        phase = entry.data.get("phase")
        if isinstance(phase, str):
            findings += self._phase.enter(phase[:80], entry.time_ms)
        findings += self._phase.arrive(entry.time_ms)
        findings += self._processes.hear(entry.writer.rpartition("/")[0], entry.time_ms)
        for detector in self._detectors.values():
            findings += detector.look(entry, self._roles)
        has_return = self._learning.look(entry, self._roles)
        findings += self._patterns.look(entry, self._roles, self._learning, has_return)
        return list(self._annotate(findings, entry.time_ms, entry.entry_id))

    def see_vision(self, entry_id: str, time_ms: int, error: str | None) -> list[Annotation]:
        """Process a call of the vision LLM and its error, if it failed."""
        findings = [*self._stall.arrive(time_ms), *self._vision.look_at_call(error, time_ms)]
        return list(self._annotate(findings, time_ms, entry_id))

    def see_process(self, entry: Observation) -> list[Annotation]:
        """Process an entry of the streams `machine` and `reports`, which is no sign that training goes on."""
        findings = list(self._processes.look(entry))
        if entry.writer.endswith("/machine"):
            findings += self._machine.look(entry)
        return list(self._annotate(findings, entry.time_ms, entry.entry_id))

    def begin(self, started_ms: int) -> list[Annotation]:
        """Process the beginning of the session; called before its first entry."""
        return list(self._annotate(self._life.begin(), started_ms, None))

    def see_session(self, state: SessionState, now_ms: int) -> list[Annotation]:
        """Process the state of the session at a moment of Redis' clock, after all entries that it had then."""
        found = self._life.look_at_session(state, now_ms)
        annotations = [annotation for at_ms, one in found for annotation in self._annotate([one], at_ms, None)]
        if any(one.kind == "session_lapsed" for one in annotations):
            annotations += self._annotate(self._processes.lapse(state.last_batch_ms), now_ms, None)
        if state.ended_ms is None and state.has_lease:
            if state.last_batch_ms is not None:
                annotations += self.see_other(state.last_batch_ms)
            annotations += self.pass_time(now_ms)
        return annotations

    def see_other(self, time_ms: int) -> list[Annotation]:
        """Process the time of a batch, which may hold entries that are not judged, such as frames."""
        if self._stall.last_ms is not None and time_ms <= self._stall.last_ms:
            return []
        findings = [*self._stall.arrive(time_ms), *self._phase.arrive(time_ms)]
        return list(self._annotate(findings, time_ms, None))

    def pass_time(self, now_ms: int) -> list[Annotation]:
        """Judge the time since the last entry."""
        findings = [*self._processes.pass_time(now_ms), *self._phase.pass_time(now_ms)]
        if not self._phase.is_silent:
            findings += self._stall.pass_time(now_ms)
        return list(self._annotate(findings, now_ms, None))

    def _learn_iteration(self, data: Mapping[str, Any]) -> None:
        for field in self.roles.get("iteration", ()):
            value = data.get(field["path"])
            if is_number(value):
                self._iteration = int(value)

    def _annotate(self, findings: Iterable[Finding], time_ms: int, entry_id: str | None) -> Iterator[Annotation]:
        self._now_ms = max(self._now_ms, time_ms)
        for kind, text, fields, value, pattern in findings:
            annotation = Annotation(kind, time_ms, text, self._step, self._iteration, entry_id, fields, value, pattern)
            follow(self.not_finite, annotation)
            self.problems.follow(annotation)
            yield annotation
