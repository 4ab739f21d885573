"""The readings that the failure patterns judge: values of a field, actions, ends of episodes, and speed.

Dataclasses whose attributes are bounded JSON values. No I/O and no clock. Called by `patterns`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from hud_web.monitor.detectors import Observation

#: Newest values of a field, and earlier ones for its median.
NEWEST = 20
KEPT = 24
#: A value that repeats within this time is one update, which a loop logs with each of its steps, in milliseconds.
REPEATS_MS = 5_000
#: Values before the median is known.
LEAST_KNOWN = 6
#: Newest actions that are remembered.
ACTIONS = 60
MAX_ACTIONS = 64
#: Time between two marks of the speed, in milliseconds, and the number of marks: 24 minutes.
MARK_MS = 30_000
MARKS = 48
#: Speed is judged over this time.
SPEED_MS = 120_000


@dataclass(slots=True)
class Series:
    """The values of one field.

    Attributes:
        last: the newest values.
        kept: earlier values, evenly spread over the run.
        stride: every value of this number is kept.
        count: of the values.
        high: the highest value.
        low: the lowest value.
        newest_ms: time of the newest value.
    """

    last: list[float] = field(default_factory=list)
    kept: list[float] = field(default_factory=list)
    stride: int = 1
    count: int = 0
    high: float = -1e308  # JSON has no infinity
    low: float = 1e308
    newest_ms: int = 0

    def add(self, value: float, time_ms: int) -> bool:
        """Append a value; return False if it only repeats the newest."""
        if self.last and value == self.last[-1] and time_ms - self.newest_ms < REPEATS_MS:
            return False
        self.newest_ms = time_ms
        if self.count % self.stride == 0:
            self.kept.append(value)
            if len(self.kept) > KEPT:
                del self.kept[1::2]
                self.stride *= 2
        self.count += 1
        self.last.append(value)
        del self.last[:-NEWEST]
        self.high, self.low = max(self.high, value), min(self.low, value)
        return True

    @property
    def newest(self) -> float:
        """The newest value."""
        return self.last[-1]

    def usual(self) -> float | None:
        """Return the median of the absolute values over the run; None before LEAST_KNOWN values."""
        return median(map(abs, self.kept)) if self.count >= LEAST_KNOWN else None

    def count_of(self, number: int, is_so: Callable[[float], bool]) -> int:
        """Return how many of the newest values meet a condition; 0 if there are fewer values."""
        return sum(map(is_so, self.last[-number:])) if len(self.last) >= number else 0

    def ends_with(self, number: int, is_so: Callable[[float], bool]) -> bool:
        """Whether each of the newest values meets a condition, and there are as many."""
        return self.count_of(number, is_so) == number


@dataclass(slots=True)
class Actions:
    """The newest actions of the shown env's policy.

    Attributes:
        last: names or numbers of the newest actions.
        names: the different ones since the run began.
        is_continuous: whether an action was no whole number and no name.
        since_ms: since when nearly all of the newest actions are one.
    """

    last: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    is_continuous: bool = False
    since_ms: int = 0

    def add(self, action: Any) -> bool:
        """Append an action; return False if it is continuous."""
        if isinstance(action, float) and not action.is_integer():
            self.is_continuous = True
        if self.is_continuous or isinstance(action, bool) or not isinstance(action, (int, float, str)):
            self.is_continuous |= isinstance(action, list)
            return False
        name = str(action)[:16]
        if name not in self.names and len(self.names) < MAX_ACTIONS:
            self.names.append(name)
        self.last.append(name)
        del self.last[:-ACTIONS]
        return True

    def most_frequent(self) -> tuple[str, float, int]:
        """Return the most frequent of the newest actions, its share, and the number of actions."""
        if self.is_continuous or not self.last:
            return "", 0.0, 0
        [(name, number)] = Counter(self.last).most_common(1)
        return name, number / len(self.last), len(self.last)


@dataclass(slots=True)
class Endings:
    """How the shown env's episodes ended.

    Attributes:
        terminated: episodes that ended by themselves.
        truncated: episodes that were cut by a time limit.
        first_ms: time of the first end.
    """

    terminated: int = 0
    truncated: int = 0
    first_ms: int = 0

    def add(self, seen: Observation) -> bool:
        """Count the end of an episode, if the entry has one."""
        data = seen.data
        end = data.get("episode_end")
        if data.get("terminated") is True:
            end = "terminated"
        elif data.get("truncated") is True:
            end = "truncated"
        if end not in ("terminated", "truncated"):
            return False
        self.first_ms = self.first_ms or seen.time_ms
        if end == "terminated":
            self.terminated += 1
        else:
            self.truncated += 1
        return True


@dataclass(slots=True)
class Speed:
    """Environment steps per second, from the entries' steps.

    Attributes:
        writer: whose steps are judged: they are of one clock.
        marks: [time in ms, step], at most one for each MARK_MS.
    """

    writer: str = ""
    marks: list[list[int]] = field(default_factory=list)

    def add(self, time_ms: int, step: int, writer: str) -> bool:
        """Add a mark if one is due; return whether it is."""
        if self.marks and writer != self.writer and time_ms - self.marks[-1][0] < 2 * SPEED_MS:
            return False
        if self.marks and (writer != self.writer or step < 0.9 * self.marks[-1][1]):  # the steps began again
            self.marks = []
        if self.marks and time_ms - self.marks[-1][0] < MARK_MS:
            return False
        self.writer = writer
        self.marks.append([time_ms, step])
        del self.marks[:-MARKS]
        return True

    def rates(self) -> tuple[float, float] | None:
        """Return the rate of the last 2 minutes and the usual one, in steps per second; None before it is known."""
        marks = self.marks
        # Marks that are far apart, as with one entry for each long iteration, need a longer time.
        wide = max(1, round(SPEED_MS / max(1, (marks[-1][0] - marks[0][0]) / max(1, len(marks) - 1)))) if marks else 1
        wide = max(wide, 2)
        if len(marks) <= 3 * wide:
            return None
        pairs = [(marks[at], marks[at + wide]) for at in range(len(marks) - wide)]
        rates = [(later[1] - first[1]) * 1000 / max(1, later[0] - first[0]) for first, later in pairs]
        usual = median(rates)
        return (rates[-1], usual) if usual > 0 else None
