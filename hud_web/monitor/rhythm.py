"""The run's rhythm: usual gaps between entries, usual durations of phases, and the length of a suspicious silence.

Both detectors use the clock of Redis and this run's past, between a least and a greatest limit. Their attributes are
bounded JSON values, like those of the other detectors. No I/O and no clock. Called by `judge`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from hud_web.monitor.detectors import Finding, span

#: The run counts as stalled after this multiple of its longest usual gap between entries.
GAPS = 3
#: Limits of that time, in milliseconds.
STALL_FLOOR_MS = 10_000
STALL_CEILING_MS = 30 * 60_000
#: Until this many gaps are known, the run's rhythm is unknown, and only a long silence is a stall.
KNOWN_GAPS = 3
UNKNOWN_STALL_MS = 5 * 60_000
#: Gaps that are remembered: the longest gap of each of the last windows of this length.
WINDOW_MS = 60_000
WINDOWS = 30

#: A phase hangs after this multiple of its usual duration.
DURATIONS = 5
HUNG_FLOOR_MS = 30_000
HUNG_CEILING_MS = 60 * 60_000
UNKNOWN_HUNG_MS = 55_000
KEPT_DURATIONS = 16
#: Phases whose durations are remembered.
MAX_PHASES = 20
#: In this phase the run logs steps continually, so the gaps between entries are judged, not its duration.
STEPPING = "sampling"
#: If entries come this time after a phase began, in milliseconds, the run logs in this phase: its gaps are judged.
GOES_ON_MS = 2_000


@dataclass(slots=True)
class Stall:
    """Reports that no entry came for much longer than usual, and the next entry after that."""

    last_ms: int | None = None
    count: int = 0
    windows: list[list[int]] = field(default_factory=list)
    has_stalled: bool = False

    def arrive(self, now_ms: int) -> Iterator[Finding]:
        """Process the arrival of an entry."""
        if self.last_ms is not None:
            gap = max(0, now_ms - self.last_ms)
            if self.has_stalled:
                yield Finding("resumed", f"Data again after {span(gap)}")
                gap //= 2  # the limit becomes 1.5 times a pause that ended by itself, as for a checkpoint
            self._remember(now_ms, gap)
        self.has_stalled = False
        self.last_ms = now_ms

    def _remember(self, now_ms: int, gap: int) -> None:
        self.count += 1
        window = now_ms // WINDOW_MS
        if not self.windows or self.windows[-1][0] != window:
            self.windows = [*self.windows[-(WINDOWS - 1) :], [window, gap]]
        else:
            self.windows[-1][1] = max(self.windows[-1][1], gap)

    def limit_ms(self) -> int:
        """Return the time without entries after which the run counts as stalled, in milliseconds."""
        if self.count < KNOWN_GAPS:
            return UNKNOWN_STALL_MS
        longest = max(gap for _window, gap in self.windows)
        return min(max(GAPS * longest, STALL_FLOOR_MS), STALL_CEILING_MS)

    def pass_time(self, now_ms: int) -> Iterator[Finding]:
        """Judge the time since the last entry."""
        if self.last_ms is None or self.has_stalled:
            return
        quiet = now_ms - self.last_ms
        if quiet > self.limit_ms():
            self.has_stalled = True
            usual = f" (longest gap before: {span(max(gap for _window, gap in self.windows))})" if self.windows else ""
            yield Finding("stall", f"No data for {span(quiet)}{usual}")


@dataclass(slots=True)
class Phase:
    """Reports that a phase, such as "learning", lasts much longer than usual, and the end of that phase."""

    name: str = ""
    since_ms: int = 0
    durations: dict[str, list[int]] = field(default_factory=dict)
    is_hung: bool = False
    goes_on: bool = False

    @property
    def is_silent(self) -> bool:
        """Whether no entry is expected before this phase ends."""
        return self.name not in ("", STEPPING) and not self.goes_on

    def arrive(self, now_ms: int) -> Iterator[Finding]:
        """Process the arrival of an entry."""
        if not self.name or now_ms - self.since_ms < GOES_ON_MS:
            return
        self.goes_on = True
        if self.is_hung:
            self.is_hung = False
            text = f"The phase {self.name!r} continues after {span(now_ms - self.since_ms)}"
            yield Finding("phase_ended", text, ("phase",))

    def enter(self, name: str, now_ms: int) -> Iterator[Finding]:
        """Process the phase that an entry names."""
        if name == self.name:
            return
        lasted = now_ms - self.since_ms
        if self.is_hung:
            yield Finding("phase_ended", f"The phase {self.name!r} ended after {span(lasted)}", ("phase",))
        if self.name and (self.name in self.durations or len(self.durations) < MAX_PHASES):
            known = self.durations.setdefault(self.name, [])
            self.durations[self.name] = [*known[-(KEPT_DURATIONS - 1) :], lasted]
        self.name, self.since_ms, self.is_hung, self.goes_on = name, now_ms, False, False

    def usual_ms(self) -> int | None:
        """Return the usual duration of this phase, in milliseconds; None if it has never ended."""
        known = self.durations.get(self.name)
        return int(median(known)) if known else None

    def lasts(self, now_ms: int) -> str:
        """Return the duration of this phase as text, with its usual one if that is known."""
        usual = self.usual_ms()
        return span(now_ms - self.since_ms) + ("" if usual is None else f" (usually {span(usual)})")

    def limit_ms(self) -> int:
        """Return the duration after which this phase counts as hung, in milliseconds."""
        usual = self.usual_ms()
        if usual is None:
            return UNKNOWN_HUNG_MS
        return min(max(DURATIONS * usual, HUNG_FLOOR_MS), HUNG_CEILING_MS)

    def pass_time(self, now_ms: int) -> Iterator[Finding]:
        """Judge the duration of the current phase."""
        lasted = now_ms - self.since_ms
        if not self.is_silent or self.is_hung or lasted <= self.limit_ms():
            return
        self.is_hung = True
        yield Finding("hung_phase", f"{self.name.capitalize()} for {self.lasts(now_ms)}", ("phase",))
