"""The verdict of the soak, and a short soak."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest

from tests.faults.slope import slope_of

TIMES = [3.0 * index for index in range(150)]


def noise(seed: int, *, memory: float = 0.0) -> list[float]:
    """Samples around 0; with `memory` each resembles the one before."""
    rng = random.Random(seed)
    values = [0.0]
    for _ in TIMES[1:]:
        values.append(memory * values[-1] + rng.gauss(0, 1))
    return values


@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_noise_is_seldom_taken_for_growth(memory: float) -> None:
    series = [[100 + value for value in noise(seed, memory=memory)] for seed in range(200)]
    growing = sum(slope_of(TIMES, values).is_growing for values in series)
    assert growing < 20


@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_a_leak_in_the_noise_is_seen(memory: float) -> None:
    leak = [0.1 * index for index in range(len(TIMES))]
    for seed in range(20):
        values = [100 + value + more for value, more in zip(noise(seed, memory=memory), leak, strict=True)]
        assert slope_of(TIMES, values).is_growing


def test_growth_that_is_certain_but_small_creeps() -> None:
    assert slope_of(TIMES, [1_000 + time / 100 for time in TIMES]).verdict == "creeps"
    assert slope_of(TIMES, [1_000 + time / 10 for time in TIMES]).verdict == "GROWS"
    assert slope_of(TIMES, [1_000.0] * len(TIMES)).verdict == "flat"


def test_a_constant_and_a_falling_series_do_not_grow() -> None:
    assert not slope_of(TIMES, [5.0] * len(TIMES)).is_growing
    assert not slope_of(TIMES, [1_000.0 - time for time in TIMES]).is_growing


def test_the_slope_is_per_hour() -> None:
    assert slope_of(TIMES, [10 + 2 * time / 3600 for time in TIMES]).per_hour == pytest.approx(2)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_short_soak_runs_and_tells_the_course_of_every_measure() -> None:
    environment = os.environ | {"SOAK_MINUTES": "0.6", "SOAK_WARM_UP": "0.1", "SOAK_VIEWERS": "20"}
    ended = subprocess.run(
        [sys.executable, "-m", "tests.faults.soak"], env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    # Such a short run is all warm-up: memory may grow, but the run must not fail.
    assert ended.stderr == ""
    for measure in (
        "replica 1 memory, blocks",
        "publisher memory, heap kB",
        "replica 2 files",
        "replica 1 tasks",
        "replica 1 streams",
        "publisher threads",
        "Redis keys",
    ):
        assert measure in ended.stdout
