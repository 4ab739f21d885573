"""The detectors: each watches one aspect of a run and reports its events.

A detector is a dataclass whose attributes are JSON values: they are its whole memory, so that another replica continues
with them at the next entry. Their size is bounded. No I/O and no clock. Called by `judge`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeGuard

from hud_publisher.protocol.values import NotFinite
from hud_web.monitor.annotations import Kind
from hud_web.store.roles import RoleMap

#: Fields of one kind that a detector remembers; names that change with every step must not fill its memory.
MAX_PATHS = 500
#: Fields that the text of a grouped annotation names.
NAMED_FIELDS = 3


class Finding(NamedTuple):
    """The report of a detector.

    Attributes:
        kind: of the annotation.
        text: a sentence for people.
        fields: paths of the fields that it is about.
        value: their value if it is not finite.
        pattern: of a symptom.
    """

    kind: Kind
    text: str
    fields: tuple[str, ...] = ()
    value: NotFinite | None = None
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """One entry of the metrics or iterations stream.

    Attributes:
        entry_id: its id.
        time_ms: when Redis appended it, in Unix milliseconds.
        step: environment steps sampled by then; None if unknown.
        writer: the process of the run that wrote it, with the stream's name.
        data: path → value of every field.
        not_finite: path → value of the fields that were NaN or infinite.
    """

    entry_id: str
    time_ms: int
    step: int | None
    writer: str
    data: Mapping[str, Any]
    not_finite: Mapping[str, NotFinite] = field(default_factory=dict)


@dataclass(slots=True)
class NonFinite:
    """Reports that a field became NaN or infinite, or is a number again.

    Attributes:
        now: the fields that are not finite; the judge updates it by `annotations.follow`.
    """

    now: dict[str, Any] = field(default_factory=dict)

    def look(self, seen: Observation, _roles: RoleMap) -> Iterator[Finding]:
        """Report every field whose state changes with this entry; fields with the same change are one finding."""
        broken: dict[NotFinite, list[str]] = {}
        space = MAX_PATHS - len(self.now)
        for path, value in seen.not_finite.items():
            known = self.now.get(path)
            if known is None and space > 0:
                space -= 1
                broken.setdefault(value, []).append(path)
            elif known is not None and known["value"] != value:
                broken.setdefault(value, []).append(path)
        for value, paths in broken.items():
            text = f"{paths[0]} is {value}" if len(paths) == 1 else f"{value} in {len(paths)} fields: {first_of(paths)}"
            yield Finding("non_finite", text, tuple(paths), value)
        mended: dict[str, list[str]] = {}
        for path, since in self.now.items():
            if is_number(seen.data.get(path)):
                mended.setdefault(span(seen.time_ms - since["time_ms"]), []).append(path)
        for lasted, paths in mended.items():
            text = f"{paths[0]} is a number again after {lasted}"
            if len(paths) > 1:
                text = f"{len(paths)} fields are numbers again after {lasted}: {first_of(paths)}"
            yield Finding("finite_again", text, tuple(paths))


@dataclass(slots=True)
class BestEpisode:
    """Reports each episode whose return is higher than that of every earlier episode."""

    best: float | None = None

    def look(self, seen: Observation, roles: RoleMap) -> Iterator[Finding]:
        """Report the entry's return if it is a record."""
        highest = [entry["path"] for entry in roles.roles.get("return_max", ())]
        for path in dict.fromkeys([*highest, *roles.last_returns]):
            value = seen.data.get(path)
            if not is_number(value):
                continue
            if self.best is not None and value > self.best:
                yield Finding("best_episode", f"Best episode: return {figure(value)}", (path,))
            if self.best is None or value > self.best:
                self.best = value


@dataclass(slots=True)
class Collapse:
    """Reports that the return lost half of the run's gain, and more than its noise explains.

    The return is smoothed exponentially. Its noise is the mean distance between consecutive values. A fall counts if it
    exceeds all three of: NOISE deviations of the smoothed value, half of the distance from the lowest smoothed value to
    the best, and a quarter of the best. If most values equal the one before, as with a sparse reward, the mean distance
    says little, and the deviation follows from the mean square of the distances.
    """

    path: str = ""
    count: int = 0
    smooth: float = 0.0
    last: float = 0.0
    noise: float = 0.0
    square: float = 0.0
    equal: float = 0.0
    low: float = 0.0
    best: float = 0.0
    has_collapsed: bool = False

    def look(self, seen: Observation, roles: RoleMap) -> Iterator[Finding]:
        """Judge the entry's return, if it has one."""
        fields = roles.roles.get("return")
        if not fields or "running" in fields[0]["label"]:
            return
        path = fields[0]["path"]
        value = seen.data.get(path)
        if not is_number(value):
            return
        if path != self.path:  # a mean appeared beside single episodes: another quantity
            self.path, self.count, self.has_collapsed = path, 0, False
        self.count += 1
        share = max(SMOOTH_SHARE, 1 / self.count)
        if self.count > 1:
            distance = abs(value - self.last)
            newest = max(NOISE_SHARE, 1 / self.count)
            self.square += newest * (distance * distance - self.square)
            self.equal += newest * ((distance == 0) - self.equal)
            if self.count > 2 * LEAST_RETURNS and self.noise > 0:
                distance = min(distance, OUTLIER * self.noise)  # a fall must not count as noise
            self.noise += newest * (distance - self.noise)
        else:
            self.smooth, self.noise, self.square, self.equal = value, 0.0, 0.0, 0.0
        self.last = value
        self.smooth += share * (value - self.smooth)
        if self.count < LEAST_RETURNS:
            return
        if self.count == LEAST_RETURNS:
            self.best = self.low = self.smooth
        self.best, self.low = max(self.best, self.smooth), min(self.low, self.smooth)
        yield from self._judge(path)

    def _judge(self, path: str) -> Iterator[Finding]:
        fall, gain = self.best - self.smooth, self.best - self.low
        deviation = math.sqrt(self.square / 2) if self.equal > 0.5 else FROM_DISTANCE * self.noise
        deviation *= math.sqrt(SMOOTH_SHARE / (2 - SMOOTH_SHARE))
        limit = max(NOISE * deviation, gain / 2, abs(self.best) / 4)
        if not self.has_collapsed and fall > limit:
            self.has_collapsed = True
            text = f"The return collapsed from {figure(self.best)} to {figure(self.smooth)}"
            yield Finding("collapse", text, (path,))
        elif self.has_collapsed and fall < limit / 2:
            self.has_collapsed = False
            yield Finding("recovered", f"The return recovered to {figure(self.smooth)}", (path,))


#: Share of the newest value in the smoothed return, and of its distance in the noise.
SMOOTH_SHARE = 0.1
NOISE_SHARE = 0.02
#: Returns that must be known before a fall counts.
LEAST_RETURNS = 10
#: The standard deviation of normal noise, from the mean distance of two values: the square root of pi, halved.
FROM_DISTANCE = 0.886
#: A distance beyond this multiple of the noise is cut to it.
OUTLIER = 4.0
#: Deviations of the smoothed return that a fall must exceed: its highest value is itself an extreme of noise.
NOISE = 10.0


@dataclass(slots=True)
class Milestones:
    """Reports that a bool inside a nested field became true, such as `milestones/sword_found`."""

    flags: dict[str, bool] = field(default_factory=dict)

    def look(self, seen: Observation, _roles: RoleMap) -> Iterator[Finding]:
        """Report every flag that turned true."""
        for path, value in seen.data.items():
            if not isinstance(value, bool) or "/" not in path:
                continue
            before = self.flags.get(path)
            if path in self.flags or len(self.flags) < MAX_PATHS:
                self.flags[path] = value
            if value and before is False:
                yield Finding("milestone", f"Milestone: {path.rpartition('/')[2].replace('_', ' ')}", (path,))


@dataclass(slots=True)
class Steps:
    """Reports that a writer's steps began again, as after a restart or a second pass over the same data."""

    last: dict[str, int] = field(default_factory=dict)

    def look(self, seen: Observation, _roles: RoleMap) -> Iterator[Finding]:
        """Report a step far below the writer's previous step."""
        if seen.step is None:
            return
        before = self.last.get(seen.writer)
        if before is not None and before - seen.step > max(10, before // 100):
            yield Finding("steps_restarted", f"Steps began again at {seen.step:,}, after {before:,}")
        if seen.writer in self.last or len(self.last) < MAX_PATHS:
            self.last[seen.writer] = seen.step


@dataclass(slots=True)
class EnvRunners:
    """Reports env runners that RLlib lost or got back, also within one iteration (`fault_tolerance/`)."""

    healthy: int | None = None
    restarts: int = 0
    most: int = 0

    def look(self, seen: Observation, _roles: RoleMap) -> Iterator[Finding]:
        """Report a change of the number of healthy env runners."""
        value = seen.data.get(HEALTHY)
        if not is_number(value):
            return
        before, self.healthy = self.healthy, int(value)
        self.most = max(self.most, self.healthy)
        if before is not None and self.healthy != before:
            kind: Kind = "env_runner_lost" if self.healthy < before else "env_runner_back"
            yield Finding(kind, f"{self.healthy} env runners are healthy, {before} were", (HEALTHY,))
        restarts = seen.data.get(RESTARTS)
        if not is_number(restarts):
            return
        restarted, self.restarts = int(restarts) - self.restarts, int(restarts)
        if restarted > 0 and before is not None and self.healthy == before:
            yield Finding("env_runner_lost", f"RLlib lost {restarted} env runners within this iteration", (RESTARTS,))
            yield Finding("env_runner_back", f"RLlib restarted {restarted} env runners", (RESTARTS,))

    def describe(self) -> str | None:
        """Return how many of the env runners are lost now; None if none is."""
        if self.healthy is None or self.healthy >= self.most:
            return None
        return f"{self.most - self.healthy} of {self.most} env runners are restarting"


HEALTHY = "fault_tolerance/num_healthy_workers"
RESTARTS = "fault_tolerance/num_remote_worker_restarts"


@dataclass(slots=True)
class Vision:
    """Reports a vision LLM that fails several times in a row, and its next answer.

    Attributes:
        failures: in a row.
        since_ms: time of the first of them, in Unix milliseconds.
        is_failing: whether they were reported.
    """

    failures: int = 0
    since_ms: int = 0
    is_failing: bool = False

    def look_at_call(self, error: str | None, time_ms: int) -> Iterator[Finding]:
        """Report the third failure in a row, or the second one after a while, and the first success after it."""
        if not error:
            if self.is_failing:
                yield Finding("vision_recovered", f"The vision LLM answers again after {self.failures} failures")
            self.failures, self.is_failing = 0, False
            return
        self.since_ms = self.since_ms if self.failures else time_ms
        self.failures += 1
        is_down = self.failures >= FAILURES or (self.failures > 1 and time_ms - self.since_ms >= DOWN_MS)
        if is_down and not self.is_failing:
            self.is_failing = True
            yield Finding("vision_failing", f"The vision LLM failed {self.failures} times in a row: {error[:160]}")


@dataclass(frozen=True, slots=True)
class SessionState:
    """A session, from its hash and its channel's lock.

    Attributes:
        started_ms: when it began, in Unix milliseconds by Redis' clock.
        ended_ms: when it ended, or None.
        ended_by: "released", "reset", "taken over" or "expired"; None while it has not ended.
        reporter: the env that is shown, such as "1/0", or "".
        has_lease: whether the session holds its channel.
        last_batch_ms: when its newest batch came, of any stream; None if it has none.
    """

    started_ms: int
    ended_ms: int | None = None
    ended_by: str | None = None
    reporter: str = ""
    has_lease: bool = True
    last_batch_ms: int | None = None


@dataclass(slots=True)
class Life:
    """Reports the session's beginning and end, a lease that lapsed, and another reporter."""

    has_started: bool = False
    has_lapsed: bool = False
    is_done: bool = False
    reporter: str = ""

    def begin(self) -> Iterator[Finding]:
        """Report the session's beginning, once."""
        if not self.has_started:
            self.has_started = True
            yield Finding("session_started", "The session started")

    def look_at_session(self, state: SessionState, now_ms: int) -> Iterator[tuple[int, Finding]]:
        """Report each change since the last call, with its time in Unix milliseconds."""
        if state.reporter and state.reporter != self.reporter:
            if self.reporter:
                text = f"The shown env changed from {self.reporter} to {state.reporter}"
                yield now_ms, Finding("reporter_changed", text)
            self.reporter = state.reporter
        if state.ended_ms is not None:
            if not self.is_done:
                self.is_done = True
                if state.ended_by != "expired" or not self.has_lapsed:
                    yield state.ended_ms, _ENDS.get(state.ended_by or "", _ENDS[""])
        elif state.has_lease:
            self.has_lapsed = False
        elif not self.has_lapsed:
            self.has_lapsed = True
            yield now_ms, _ENDS["expired"]


_ENDS = {
    "": Finding("session_ended", "The session ended"),
    "reset": Finding("session_ended", "The session was reset"),
    "taken over": Finding("session_taken_over", "Another run took the channel over"),
    "expired": Finding("session_lapsed", "The session's lease lapsed: its last process was not heard of any more"),
}


#: Failures in a row that count; a single one is common.
FAILURES = 3
#: Two failures count if they are this far apart, in milliseconds: a model that is asked rarely has been down for long.
DOWN_MS = 20_000


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number, and not a bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def first_of(paths: list[str]) -> str:
    """Return the first of these fields as text, with the number of the others: "a, b, c … and 97 more"."""
    named, others = ", ".join(paths[:NAMED_FIELDS]), len(paths) - NAMED_FIELDS
    return f"{named} … and {others} more" if others > 0 else named


def figure(value: float) -> str:
    """Return a number as text: four significant digits, integers in full."""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.4g}"


def span(ms: float) -> str:
    """Return a duration as text: "6 s", "4 min", "2 h 10 min"."""
    seconds = round(ms / 1000)
    if seconds < 120:
        return f"{ms / 1000:.1f} s" if ms < 10_000 else f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
