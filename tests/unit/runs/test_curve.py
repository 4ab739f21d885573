"""A run's return in few points."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hud_web.runs.curve import MAX_POINTS, Curve


@given(st.lists(st.tuples(st.integers(0, 10**9), st.floats(-1e9, 1e9)), max_size=400))
def test_a_curve_is_in_order_bounded_and_ends_with_the_newest_value(values: list[tuple[int, float]]) -> None:
    curve = Curve()
    newest: tuple[int, float] | None = None
    for time_ms, value in values:
        curve.add(time_ms, None, value)
        if newest is None or time_ms > newest[0]:
            newest = time_ms, value
    points = curve.points
    times = [point[0] for point in points]
    assert times == sorted(set(times))
    assert len(points) <= MAX_POINTS
    assert (points[-1][0], points[-1][2]) == newest if newest else not points


def test_points_of_a_long_run_are_spread_over_all_of_it() -> None:
    curve = Curve()
    for second in range(100_000):
        curve.add(second * 500, second, float(second))
    times = [point[0] for point in curve.points]
    gaps = [after - before for before, after in pairwise(times)]
    assert times[0] == 0
    assert len(times) >= MAX_POINTS / 3
    assert max(gaps) < 100_000 * 500 / 10
