"""Memory that grows until it is full, and what a healthy run must not be accused of."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hud_web.monitor.annotations import Annotation
from hud_web.monitor.detectors import Observation
from hud_web.monitor.judge import Judge

GB, MB = 1e9, 1e6
TOTAL = 24 * GB
#: Bytes of a process after some seconds.
Memory = Callable[[float], float]


def entry(at_s: float, data: dict[str, Any]) -> Observation:
    at_ms = int(1_763_800_000_000 + 1000 * at_s)
    return Observation(f"{at_ms}-0", at_ms, None, "w1-host-7-ab/machine", data)


def run(
    lasts_s: float, total: float = TOTAL, used: float = 5 * GB, **processes: Memory
) -> list[tuple[float, Annotation]]:
    """Return the symptoms of a run whose processes have these amounts of memory, with their times in seconds."""
    judge, found = Judge(), []
    for number in range(int(lasts_s // 5)):
        at_s = 5.0 * number
        bytes_of = {name.replace("_", " "): memory(at_s) for name, memory in processes.items()}
        for name, memory in bytes_of.items():
            data = {f"machine/{name}/memory_bytes": int(memory), f"machine/{name}/node": "host"}
            found += [(at_s, one) for one in judge.see_process(entry(at_s, data))]
        grown = sum(bytes_of.values()) - sum(memory(0.0) for memory in processes.values())
        data = {"machine/node host/memory_bytes": int(used + grown), "machine/node host/memory_total_bytes": int(total)}
        found += [(at_s, one) for one in judge.see_process(entry(at_s, data))]
        if number % 4 == 0:  # as another replica that continues
            judge = Judge(json.loads(json.dumps(judge.memory())))
    return [(at_s, one) for at_s, one in found if one.kind.startswith("symptom")]


def leak(mb_per_min: float, start: float = 500 * MB, noise: float = 0.0, from_s: float = 0.0) -> Memory:
    dice = random.Random(1)
    return lambda at_s: start + mb_per_min * MB * max(0.0, at_s - from_s) / 60 + dice.gauss(0, noise * MB)


@pytest.mark.parametrize("mb_per_min", [600, 2_000, 8_000])
@pytest.mark.parametrize("from_s", [0.0, 60.0])
def test_a_leak_is_reported_within_a_minute(mb_per_min: float, from_s: float) -> None:
    steady, grows = leak(0, noise=2), leak(mb_per_min, noise=mb_per_min / 100, from_s=from_s)
    found = run(from_s + 70, driver=steady, env_runner_2=grows)
    at_s, symptom = found[0]
    assert at_s <= from_s + 60
    assert symptom.pattern == "memory_growth"
    assert symptom.fields == ("machine/env runner 2/memory_bytes",)
    assert symptom.text.startswith("Memory of env runner 2 grows ")
    assert len(found) == 1


def test_the_text_has_the_speed_and_the_time_that_is_left() -> None:
    [(_at_s, symptom)] = run(60, total=8 * GB, used=7 * GB, env_runner_2=leak(40))
    assert symptom.text == "Memory of env runner 2 grows 40 MB/min, full in 24 min"
    [(_at_s, symptom)] = run(60, total=8 * GB, used=7 * GB, **{"host-4711-ab": leak(40)})
    assert symptom.text == "Memory grows 40 MB/min, full in 24 min"


def test_processes_that_leak_together_fill_their_node_together() -> None:
    many = {f"env_runner_{number}": leak(100) for number in range(1, 9)}
    assert not run(120, used=4 * GB, env_runner_1=leak(100))
    assert [symptom.pattern for _at_s, symptom in run(120, used=4 * GB, **many)] == ["memory_growth"]


def test_the_symptom_ends_when_the_memory_stops_growing() -> None:
    found = run(300, driver=lambda at_s: 500 * MB + 20 * MB * min(at_s, 100.0))
    assert [one.kind for _at_s, one in found] == ["symptom", "symptom_ended"]
    assert found[1][0] <= 200


def sawtooth(period_s: float, height: float) -> Memory:
    return lambda at_s: GB + height * (at_s % period_s) / period_s


def saturating(height: float, tau_s: float) -> Memory:
    return lambda at_s: GB + height * (1 - math.exp(-at_s / tau_s))


def steps(height: float, every_s: float, until_s: float) -> Memory:
    return lambda at_s: GB + height * (min(at_s, until_s) // every_s)


HEALTHY: dict[str, Memory] = {
    "constant": leak(0, noise=5),
    "loads libraries": saturating(1.5 * GB, 15.0),
    "warms up slowly": saturating(1.5 * GB, 40.0),
    "fills a replay buffer": leak(170),
    "collects a batch": sawtooth(20.0, 3 * GB),
    "collects a long batch again": sawtooth(40.0, 4 * GB),
    "evaluates at times": lambda at_s: GB + 2 * GB * (100 < at_s % 200 < 140),
    "allocates in steps": steps(200 * MB, 20.0, 60.0),
    "shrinks": leak(-100, start=8 * GB),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_no_healthy_process_is_accused(name: str) -> None:
    assert run(900, driver=HEALTHY[name]) == []


def test_noise_is_never_accused() -> None:
    for seed in range(20):
        dice, level = random.Random(seed), [GB]

        def wander(_at_s: float, dice: random.Random = dice, level: list[float] = level) -> float:
            level[0] += dice.gauss(0, 10 * MB)
            return level[0]

        assert run(900, driver=wander) == [], seed


def node(memory: float, disk_percent: float = 50.0, disk_free: float = 50 * GB) -> dict[str, Any]:
    values = {"memory_bytes": memory, "memory_total_bytes": 8 * GB, "disk_percent": disk_percent,
              "disk_free_bytes": disk_free}  # fmt: skip
    return {f"machine/node host/{name}": value for name, value in values.items()}


def test_a_full_memory_and_a_full_disk_are_reported_until_there_is_room() -> None:
    judge, kinds = Judge(), []
    for number, data in enumerate([
        node(7 * GB), node(7.8 * GB), node(7.5 * GB), node(7 * GB),
        node(GB, 98.0, 80 * GB),  # a large disk
        node(GB, 98.0, 2 * GB), node(GB, 96.5, 5.5 * GB), node(GB, 90.0, 10 * GB),
    ]):  # fmt: skip
        kinds += [(number, one.kind, one.pattern) for one in judge.see_process(entry(5.0 * number, data))]
        if number == 1:
            assert judge.verdict()["text"].startswith("Memory of node host is 98 % full: 7.8 GB of 8.0 GB")
        if number == 5:
            assert judge.verdict()["text"].startswith("Disk of node host is 98 % full, 2.0 GB left")
    assert kinds == [
        (1, "symptom", "memory_full"), (3, "symptom_ended", "memory_full"),
        (5, "symptom", "disk_full"), (7, "symptom_ended", "disk_full"),
    ]  # fmt: skip


def test_the_verdict_has_the_present_numbers_and_comes_before_other_symptoms() -> None:
    judge = Judge()
    for number in range(20):
        used = int(GB + number * 400 * MB)
        judge.see_process(entry(5.0 * number, {"machine/driver/memory_bytes": used, "machine/driver/node": "host"}))
        judge.see_process(entry(5.0 * number, node(used)))
    clauses = judge.verdict()["clauses"]
    assert clauses[0]["pattern"] == "memory_full"
    assert clauses[1]["text"] == "memory of the driver grows 4.8 GB/min, full in 60 s"


def test_the_memory_of_the_judge_is_bounded() -> None:
    judge = Judge()
    for number in range(3000):
        name = f"machine/p{number % 300}"
        judge.see_process(entry(float(number), {f"{name}/memory_bytes": number * 10**7, f"{name}/node": "h"}))
    assert len(json.dumps(judge.memory()["machine"])) < 60_000


def test_the_documentation_lists_the_patterns() -> None:
    text = (Path(__file__).parents[3] / "docs" / "verdicts.md").read_text().split("\n## The machine")[1]
    assert {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")} == {
        "memory_growth", "memory_full", "disk_full",
    }  # fmt: skip
