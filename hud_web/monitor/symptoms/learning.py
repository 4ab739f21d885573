"""The course of the return, and of the success rate and the episode length beside it: whether the run learns.

Its attributes are its whole memory, bounded, as JSON values. No I/O and no clock. Called by `judge`; the patterns read
it, and `verdict` puts it into words.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hud_web.monitor.detectors import FROM_DISTANCE, Observation, is_number
from hud_web.monitor.memory import restored
from hud_web.monitor.symptoms.trend import LEAST_POINTS, NO_TREND, Block, Course, Trend, trend_of
from hud_web.store.roles import RoleMap

#: The window of "+0.4 in 10 min", and the least duration of a flat return, in milliseconds.
WINDOW_MS = 10 * 60_000
#: A run with fewer block means in that window is judged by this many.
LEAST_BLOCKS = 12
#: Longest blocks of the recent courses, in milliseconds: 48 of them are 24 minutes.
RECENT_BLOCK_MS = 30_000
#: Returns before a trend is judged.
LEAST_RETURNS = 10
#: A gain counts if it exceeds this multiple of the deviation of a block mean, and a tenth of the beginning.
GAIN = 5.0
#: The share of the gain above which a run counts as near its best.
NEAR_BEST = 0.7
#: The share of the newest distance of two returns in their mean.
SINGLE_SHARE = 0.05
#: The deviation of a mean of many episodes, from that of one: their number is unknown, and usually 100.
MEAN_OF = 7.0
#: Fields of one step: their presence tells a step's entry from an episode's.
STEP_FIELDS = ("reward", "action")


class Progress(NamedTuple):
    """The return's course over the whole run.

    Attributes:
        first: mean of the first blocks.
        now: mean of the last blocks.
        best: highest mean of as many blocks in a row.
        noise: standard deviation of one block mean around its neighbours.
    """

    first: float
    now: float
    best: float
    noise: float

    @property
    def has_gained(self) -> bool:
        """Whether the return has ever been above its beginning by more than its noise."""
        return self.best - self.first > max(GAIN * self.noise, abs(self.first) / 10, 1e-9)

    @property
    def is_near_best(self) -> bool:
        """Whether the run has gained, and most of the gain is still there."""
        return self.has_gained and self.now > self.first + NEAR_BEST * (self.best - self.first)

    @property
    def has_lost(self) -> bool:
        """Whether the return is below its beginning by more than its noise and a third."""
        return self.first - self.now > max(GAIN * self.noise, abs(self.first) / 3, 1e-9)


@dataclass(slots=True)
class Learning:
    """The courses of a run.

    Attributes:
        path: field of the return.
        is_mean: whether each value is the mean of several episodes.
        count: returns that were logged.
        first_ms: time of the first return; 0 before it.
        last: the newest return.
        equal: returns in a row that equal the newest.
        equal_since_ms: time of the first of these.
        best: the highest logged return with its time, step and entry id; empty before the first return.
        newest: time, step and entry id of the newest return; empty before it.
        scale: the largest absolute return.
        single: [newest return of one episode, mean distance of two in a row, their number]; for the noise of means.
        step: environment steps at the newest entry that has them.
        episodes: newest value of the counter of episodes; -1 without one.
        recent: course of the return, of the last 24 minutes or 48 values.
        whole: course of the return since the first.
        success: course of the success rate, over the same time as `recent`.
        lengths: course of the episode length, over the same time as `whole`.
    """

    path: str = ""
    is_mean: bool = False
    count: int = 0
    first_ms: int = 0
    last: float = 0.0
    equal: int = 0
    equal_since_ms: int = 0
    best: dict[str, Any] = field(default_factory=dict)
    newest: dict[str, Any] = field(default_factory=dict)
    scale: float = 0.0
    single: list[float] = field(default_factory=lambda: [0.0, 0.0, 0])
    step: int | None = None
    episodes: float = -1
    recent: Course = field(default_factory=Course)
    whole: Course = field(default_factory=Course)
    success: Course = field(default_factory=Course)
    lengths: Course = field(default_factory=Course)

    def __post_init__(self) -> None:
        for name in ("recent", "whole", "success", "lengths"):
            setattr(self, name, restored(Course, getattr(self, name)))

    def look(self, seen: Observation, roles: RoleMap) -> bool:
        """Learn from an entry; return whether it has a return."""
        is_step = self._is_within_episode(seen, roles)
        counter = _value(seen, roles, "episodes")
        is_stale = counter is not None and counter == self.episodes
        if counter is not None:
            self.episodes = counter
        if (length := _value(seen, roles, "length")) is not None and _is_final(roles, is_step):
            self.lengths.add(seen.time_ms, seen.step, length)
        if (success := _value(seen, roles, "success_rate")) is not None:
            self.success.add(seen.time_ms, seen.step, success, RECENT_BLOCK_MS)
        if self.is_mean:
            self._learn_single(seen, roles, is_step)
        fields = roles.roles.get("return")
        if not fields or "running" in fields[0]["label"]:
            return False
        path = fields[0]["path"]
        value = seen.data.get(path)
        if not is_number(value):
            return False
        if path != self.path:  # a mean appeared beside single episodes: another quantity
            self._restart(path, "mean" in fields[0]["label"])
        if value == self.last and self.count and (is_stale or is_step):
            return False
        self._add(seen, value)
        return True

    def _is_within_episode(self, seen: Observation, roles: RoleMap) -> bool:
        """Whether an entry is of a step within an episode: it may repeat the return of the last finished one.

        An entry that names an action, too, is the end of an episode if the steps grew by the episode's length.
        """
        step, self.step = self.step, self.step if seen.step is None else seen.step
        if "episode_end" in seen.data or not any(name in seen.data for name in STEP_FIELDS):
            return False
        length = _value(seen, roles, "length")
        return step is None or seen.step is None or length is None or not 0 < length <= seen.step - step

    def _learn_single(self, seen: Observation, roles: RoleMap, is_step: bool) -> None:
        for path in () if is_step else roles.last_returns:
            if is_number(value := seen.data.get(path)):
                last, distance, number = self.single
                if number:
                    distance += max(SINGLE_SHARE, 1 / number) * (abs(value - last) - distance)
                self.single = [value, distance, number + 1]

    def _restart(self, path: str, is_mean: bool) -> None:
        self.path, self.is_mean = path, is_mean
        self.count = self.first_ms = self.equal = 0
        self.best, self.scale = {}, 0.0
        self.recent, self.whole = Course(), Course()

    def _add(self, seen: Observation, value: float) -> None:
        self.equal = self.equal + 1 if self.count and value == self.last else 1
        if self.equal == 1:
            self.equal_since_ms = seen.time_ms
        self.count += 1
        self.first_ms = self.first_ms or seen.time_ms
        self.last = value
        self.scale = max(self.scale, abs(value))
        self.newest = {"time_ms": seen.time_ms, "step": seen.step, "entry_id": seen.entry_id}
        if not self.best or value > self.best["value"]:
            self.best = {"value": value, "fields": [self.path], **self.newest}
        self.recent.add(seen.time_ms, seen.step, value, RECENT_BLOCK_MS)
        self.whole.add(seen.time_ms, seen.step, value)

    def values_of(self, episodes: int) -> int:
        """Return how many logged values are about so many episodes: a mean is of several."""
        return episodes // 4 if self.is_mean else episodes

    @property
    def is_known(self) -> bool:
        """Whether there are enough returns for a trend."""
        return self.count >= LEAST_RETURNS and len(self.whole.blocks) >= LEAST_POINTS

    def window(self) -> list[Block]:
        """Return the blocks of the last 10 minutes, or more of a run that logs few returns."""
        blocks = self.recent.since(0)
        if not blocks:
            return []
        newest = [block for block in blocks if block.time_ms >= blocks[-1].time_ms - WINDOW_MS]
        return newest if len(newest) >= LEAST_BLOCKS else blocks[-LEAST_BLOCKS:]

    def trend(self) -> Trend:
        """Return the trend of the window."""
        return trend_of(self.window()) if self.is_known else NO_TREND

    def whole_trend(self) -> Trend:
        """Return the trend since the first return."""
        return trend_of(self.whole.since(0)) if self.is_known else NO_TREND

    def progress(self) -> Progress | None:
        """Return how far the return has come; None before there are enough returns."""
        if not self.is_known:
            return None
        # The mean of the last 100 episodes wanders slowly: its blocks show less than its noise.
        least = FROM_DISTANCE * self.single[1] / MEAN_OF if self.is_mean else 0.0
        return _progress(self.whole.blocks, least)

    def has_gained(self) -> bool:
        """Whether the return has ever been above its beginning by more than its noise."""
        progress = self.progress()
        return progress is not None and progress.has_gained

    def thrives(self) -> bool:
        """Whether the return rises, or is near the best of a real gain: then an unusual statistic is no failure."""
        progress = self.progress()
        if progress is None:
            return False
        return progress.is_near_best or (self.trend().rises and self.whole_trend().z > -1)


def _progress(blocks: Sequence[Sequence[float]], least_noise: float) -> Progress:
    """Return the progress of a course's blocks: lists of the values of `Block`, which would take longer to make."""
    most = max(2, len(blocks) // 8)
    sums = list(itertools.accumulate((block[2] * block[3] for block in blocks), initial=0.0))
    sizes = list(itertools.accumulate((block[3] for block in blocks), initial=0))
    means = [(sums[at + most] - sums[at]) / (sizes[at + most] - sizes[at]) for at in range(len(blocks) - most + 1)]
    jumps = sorted(abs(one[2] - two[2]) for one, two in itertools.pairwise(blocks))
    # The median distance of two normal values is 0.954 deviations; a mean of `most` blocks has less noise.
    noise = jumps[len(jumps) // 2] / 0.954 / most**0.5
    return Progress(means[0], means[-1], max(means), max(noise, least_noise))


def _value(seen: Observation, roles: RoleMap, role: Any) -> float | None:
    for one in roles.roles.get(role, ()):
        value = seen.data.get(one["path"])
        if is_number(value):
            return value
    return None


def _is_final(roles: RoleMap, is_step: bool) -> bool:
    """Whether the entry's length is that of finished episodes: publishers log the running length in steps' entries."""
    return "(" in roles.roles["length"][0]["label"] or not is_step
