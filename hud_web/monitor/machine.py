"""The machine: memory that grows until it is full, and memory and disks that are full.

Growth counts if it is linear and would fill the node within the hour: a replay buffer that fills, or libraries that are
loaded, are no leak, and either slow down or would take longer. The test is `mann_kendall`. The memory is bounded JSON.
No I/O and no clock. Called by `judge`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from hud_web.monitor.detectors import Finding, Observation, is_number, span
from hud_web.monitor.processes import amount, measurements
from hud_web.monitor.symptoms.trend import correlation, mann_kendall

#: Processes and nodes that are judged.
MAX_PROCESSES = 48
#: Samples of a process that are kept, at one per 5 s: two minutes.
SAMPLES = 24
LEAST_SAMPLES = 9
#: Samples that are tested together, with the least correlation with time: all of them, then the newest alone, since a
#: leak may begin at any time.
WINDOWS = ((SAMPLES, 0.97), (15, 0.985), (10, 0.99))
#: Growth must last this long, in milliseconds, and this share of the time until the memory is full.
LEAST_MS = 40_000
#: The same for growth that began within this time of the first sample: the process loads libraries, and collects its
#: first batch.
YOUNG_MS, BEGIN_MS = 55_000, 20_000
LEAST_SHARE = 0.02
#: Growth of fewer bytes within the samples is common.
LEAST_BYTES = 16_000_000
#: The growth between the last two thirds of the samples is at least this share of that between the first two: it does
#: not flatten.
STEADY = 0.75
#: Share of the growth that is beyond the most that the process had before: otherwise it fills a batch again.
NEW_SHARE = 0.25
#: Time until the memory is full, in milliseconds, below which growth counts, and beyond which it no longer does.
FULL_MS, NOT_FULL_MS = 60 * 60_000, 90 * 60_000
#: Growth ends after this many samples in a row without it, or after this time without a sample.
ENDS_AFTER = 6
SILENT_MS = 60_000
#: Shares of a node's memory in use at which it is full, and is no longer.
MEMORY_FULL, MEMORY_FREE = 0.95, 0.92
#: The same for a disk, in percent, with the bytes that are left: 3 % of a large disk are much.
DISK_FULL, DISK_FREE = 97.0, 96.0
DISK_LEFT, DISK_ROOM = 5e9, 6e9


@dataclass(slots=True)
class Machine:
    """Reports the patterns memory_growth, memory_full and disk_full.

    Attributes:
        samples: process → its newest [time in ms, bytes], with the memory of its children.
        ceilings: process → the most bytes that it had before these samples: growth below it is a return.
        places: process → its node.
        room: node → bytes that are free.
        rates: process → bytes per ms while its memory grows steadily.
        growing: process → [ms until the memory is full, samples in a row without growth, time in ms].
        full: pattern → the nodes of which it is true.
    """

    samples: dict[str, list[list[int]]] = field(default_factory=dict)
    ceilings: dict[str, int] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    room: dict[str, float] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    growing: dict[str, list[int]] = field(default_factory=dict)
    full: dict[str, list[str]] = field(default_factory=dict)

    def look(self, seen: Observation) -> Iterator[Finding]:
        """Process an entry of the stream `machine`."""
        had = bool(self.growing)
        for name, fields in measurements(seen).items():
            if name.startswith("node "):
                yield from self._judge_node(name.removeprefix("node "), fields)
            else:
                self._judge_process(name, fields, seen.time_ms)
        for name in [name for name, one in self.growing.items() if seen.time_ms - one[2] > SILENT_MS]:
            del self.growing[name]
        if self.growing and not had:
            paths = tuple(f"machine/{name}/memory_bytes" for name in self._by_urgency())
            yield Finding("symptom", self.describe(), paths, pattern="memory_growth")
        elif had and not self.growing:
            yield Finding("symptom_ended", "Memory no longer grows", pattern="memory_growth")

    def describe(self) -> str:
        """Return the growth with its present numbers: "Memory of env runner 2 grows 40 MB/min, full in 25 min"."""
        names = self._by_urgency()
        if not names:
            return ""
        per_min = amount(60_000 * self.rates.get(names[0], 0.0))
        others = f" (and of {len(names) - 1} more)" if len(names) > 1 else ""
        left = span(max(60_000, self.growing[names[0]][0]))
        return f"Memory{self._owner(names[0])}{others} grows {per_min}/min, full in {left}"

    def _owner(self, name: str) -> str:
        """Return the process whose memory it is, for a sentence; a program of one process needs no name."""
        if name == "driver":
            return " of the driver"
        return f" of {name}" if len(self.samples) > 1 or name.startswith(("env runner ", "learner ")) else ""

    def _by_urgency(self) -> list[str]:
        """Return the processes whose memory grows, the fastest first."""
        return sorted(self.growing, key=lambda name: -self.rates.get(name, 0.0))

    # -- processes ----------------------------------------------------------------------------------------------------

    def _judge_process(self, name: str, fields: Mapping[str, Any], now_ms: int) -> None:
        used = fields.get("memory_bytes")
        if not is_number(used) or (name not in self.samples and len(self.samples) >= MAX_PROCESSES):
            return
        of_children = fields.get("children_memory_bytes")
        used += of_children if is_number(of_children) else 0
        samples = self.samples.setdefault(name, [])
        samples.append([now_ms, int(used)])
        if len(samples) > SAMPLES:
            self.ceilings[name] = max(self.ceilings.get(name, 0), samples.pop(0)[1])
        self.places[name] = str(fields.get("node", ""))[:80]
        rate, since_ms = self._growth(name)
        if rate > 0:
            self.rates[name] = rate
        known = self.growing.get(name)
        left_ms = self._left_ms(name, rate)
        if rate > 0 and left_ms < (FULL_MS if known is None else NOT_FULL_MS):
            is_young = name not in self.ceilings and since_ms - samples[0][0] < BEGIN_MS
            least_ms = max(YOUNG_MS if is_young else LEAST_MS, LEAST_SHARE * left_ms)
            if known is not None or now_ms - since_ms >= least_ms:
                self.growing[name] = [int(left_ms), 0, now_ms]
        elif known is not None:
            known[1:] = [known[1] + 1, now_ms]
            if known[1] >= ENDS_AFTER:
                del self.growing[name]
        if rate <= 0 and name not in self.growing:
            self.rates.pop(name, None)

    def _growth(self, name: str) -> tuple[float, int]:
        """Return the bytes per ms by which a process's memory grows steadily, and since when; (0, 0) if it does not."""
        samples = self.samples[name]
        for count, least_r in WINDOWS:
            tested = samples[-count:]
            before = max((used for _time_ms, used in samples[:-count]), default=0)
            new = tested[-1][1] - max(before, self.ceilings.get(name, 0))
            if new < NEW_SHARE * (tested[-1][1] - tested[0][1]):
                continue
            if rate := _steady_growth(tested, least_r):
                return rate, tested[0][0]
        return 0.0, 0

    def _left_ms(self, name: str, rate: float) -> float:
        """Return the time until the memory of a process's node is full if all of its processes go on like this."""
        node = self.places[name]
        room = self.room.get(node)
        others = sum(one for other, one in self.rates.items() if other != name and self.places.get(other) == node)
        return float("inf") if room is None or rate <= 0 else room / (rate + others)

    # -- nodes --------------------------------------------------------------------------------------------------------

    def _judge_node(self, node: str, fields: Mapping[str, Any]) -> Iterator[Finding]:
        used, total = fields.get("memory_bytes"), fields.get("memory_total_bytes")
        if (node not in self.room and len(self.room) >= MAX_PROCESSES) or not is_number(used) or not is_number(total):
            return
        self.room[node] = max(0.0, total - used)
        share = used / max(1, total)
        text = f"Memory of node {node} is {100 * share:.0f} % full: {amount(used)} of {amount(total)}"
        yield from self._turn("memory_full", node, share >= MEMORY_FULL, share < MEMORY_FREE, text)
        percent, left = fields.get("disk_percent"), fields.get("disk_free_bytes")
        if is_number(percent) and is_number(left):
            is_full, is_free = percent >= DISK_FULL and left < DISK_LEFT, percent < DISK_FREE or left > DISK_ROOM
            text = f"Disk of node {node} is {percent:.0f} % full, {amount(left)} left"
            yield from self._turn("disk_full", node, is_full, is_free, text)

    def _turn(self, pattern: str, node: str, begins: bool, ends: bool, text: str) -> Iterator[Finding]:
        """Report the first node of which a pattern is true, and the end on the last one."""
        nodes = self.full.setdefault(pattern, [])
        part = "memory_bytes" if pattern == "memory_full" else "disk_percent"
        if begins and node not in nodes:
            nodes.append(node)
            if len(nodes) == 1:
                yield Finding("symptom", text, (f"machine/node {node}/{part}",), pattern=pattern)
        elif ends and node in nodes:
            nodes.remove(node)
            if not nodes:
                yield Finding("symptom_ended", text, (f"machine/node {node}/{part}",), pattern=pattern)


def _steady_growth(samples: list[list[int]], least_r: float) -> float:
    """Return the bytes per ms of a linear growth; 0 if it is not linear, not significant, or flattens."""
    values = [used for _time_ms, used in samples]
    if len(values) < LEAST_SAMPLES or values[-1] - values[0] < LEAST_BYTES or values[-1] <= values[-3]:
        return 0.0
    third = len(values) // 3
    first, middle, last = median(values[:third]), median(values[third:-third]), median(values[-third:])
    if last - middle < STEADY * (middle - first):
        return 0.0
    times = [time_ms - samples[0][0] for time_ms, _used in samples]
    if correlation(times, values) < least_r or not (trend := mann_kendall(values)).rises:
        return 0.0
    return trend.change / max(1, times[-1])
