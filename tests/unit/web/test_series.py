"""The points of a metric that remain after downsampling."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hud_web.api.series import KEPT_POINTS, Series, describe


def filled(values: list[float]) -> Series:
    series = Series()
    for at, value in enumerate(values):
        series.add(at, float(at), 1_000.0 + at, value)
    return series


def test_a_short_run_is_exact() -> None:
    values = [math.sin(n / 10) for n in range(2_000)]
    points = filled(values).points(2_000)
    assert [value for _step, _time, value in points] == values
    assert [step for step, _time, _value in points] == list(range(2_000))


@pytest.mark.parametrize("count", [4_001, 10_000, 65_537, 300_000])
def test_a_long_run_keeps_its_spikes_where_they_were_and_stays_bounded(count: int) -> None:
    noise = random.Random(count)
    values = [noise.random() for _ in range(count)]
    spikes = {noise.randrange(count): 100.0 + n for n in range(20)} | {0: 55.0, count - 1: -55.0}
    for at, value in spikes.items():
        values[at] = value
    series = filled(values)
    assert len(series) <= KEPT_POINTS
    points = series.points(2_000)
    assert len(points) <= 2_002
    found = {int(step): value for step, _time, value in points}
    width = count / 1_000
    for at, value in spikes.items():
        rivals = [other for other, its in spikes.items() if abs(other - at) < 2 * width and its > value > 0]
        assert rivals or found.get(at) == value, (at, value)


@pytest.mark.parametrize("count", [10_000, 300_000])
def test_the_beginning_is_as_fine_as_the_end(count: int) -> None:
    noise = random.Random(1)
    points = filled([noise.random() for _ in range(count)]).points(2_000)
    in_first_tenth = sum(step < count / 10 for step, _time, _value in points)
    in_last_tenth = sum(step >= count * 9 / 10 for step, _time, _value in points)
    assert 0.6 < in_first_tenth / in_last_tenth < 1.6
    assert in_first_tenth > 60


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=300), st.integers(2, 50), st.integers(1, 40))
def test_lowest_highest_and_newest_survive_and_order_is_kept(values: list[float], most: int, gap: int) -> None:
    series = Series()
    for n, value in enumerate(values):
        series.add(n * gap, float(n), float(n), value)
    points = series.points(most)
    seen = [value for _step, _time, value in points]
    assert len(points) <= max(3, most + 1)
    assert min(seen) == min(values)
    assert max(seen) == max(values)
    assert seen[-1] == values[-1]
    assert [time for _step, time, _value in points] == sorted(time for _step, time, _value in points)


def test_columns_are_short_and_mark_unknown_values() -> None:
    columns = describe([(math.nan, 1.0, 1 / 3), (7.0, 2.0, 4.0), (8.0, 3.0, 1e300)])
    assert columns == {"step": [None, 7, 8], "time_ms": [1, 2, 3], "value": [0.333333, 4, 1e300]}


def test_whole_numbers_of_stored_pieces_are_described_like_any_other_number() -> None:
    series = Series()
    series.add_span((0, 1, 1_000), 42, (99, 100, 2_000), 42)
    series.add_span((100, 101, 3_000), -3, (199, 200, 4_000), 10**18)
    series.add(200, 201, 5_000, 7)
    assert describe(series.points(2_000)) == {
        "step": [1, 101, 200, 201], "time_ms": [1_000, 3_000, 4_000, 5_000], "value": [42, -3, 1e18, 7],
    }  # fmt: skip
    newest = Series(width=1_000)
    newest.add(0, 0, 0, 1)
    newest.add_span((1, 1, 1_000), 2, (999, 5, 2_000), 2)
    newest.add(1_000, 6, 3_000, 5)
    newest.add(1_001, 7, 4_000, 6)
    newest.add(1_002, 8, 5_000, 5)  # between the two points kept, so it is only the newest
    assert describe(newest.points(2_000))["value"][-1] == 5
