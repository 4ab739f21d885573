"""Histograms: many numbers become counts over equal intervals, in the sender and in the web tier alike."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from hud_publisher import Histogram
from hud_publisher.intake.copying import copy_fields
from hud_publisher.protocol.cleaning import MAX_SHOWN_NUMBERS, clean_metrics
from hud_publisher.protocol.histogram import MAX_BINS, MAX_SAMPLE

RANDOM = np.random.default_rng(1)


def shown(value: Any) -> dict[str, Any]:
    """Return the histogram that a value becomes on its way through the publisher."""
    copied, _weight = copy_fields({"v": value})
    field = clean_metrics(copied, histograms=True)["v"]
    assert isinstance(field, list)
    tag, about = field
    assert tag == "histogram"
    assert json.loads(json.dumps(about, allow_nan=False)) == about
    return dict(about)


@pytest.mark.parametrize(
    "make", [list, tuple, np.asarray, lambda values: np.asarray(values, np.float32).reshape(25, 40)]
)
def test_many_numbers_become_counts_of_equal_intervals(make: Any) -> None:
    values = RANDOM.normal(3.0, 2.0, 1_000)
    about = shown(make(values.tolist()))
    assert about["n"] == sum(about["counts"]) == 1_000
    assert len(about["counts"]) == MAX_BINS
    assert about["low"] == pytest.approx(values.min(), rel=1e-5)
    assert about["high"] == pytest.approx(values.max(), rel=1e-5)
    assert about["mean"] == pytest.approx(values.mean(), rel=1e-5)
    assert about["deviation"] == pytest.approx(values.std(), rel=1e-5)
    expected = np.histogram(values, MAX_BINS)[0]
    assert np.abs(np.asarray(about["counts"]) - expected).sum() <= 8, "rounding moves a few numbers to the next one"


@pytest.mark.parametrize(
    "value", [[1.0] * MAX_SHOWN_NUMBERS, np.zeros(MAX_SHOWN_NUMBERS), ["a"] * 100, [[1], [2]] * 50]
)
def test_few_numbers_and_other_lists_stay_as_they_are(value: Any) -> None:
    copied, _weight = copy_fields({"v": value})
    assert clean_metrics(copied, histograms=True) == {"v": list(value)}


def test_long_lists_stay_lists_where_histograms_are_not_asked_for() -> None:
    assert clean_metrics({"probabilities": [0.01] * 100}) == {"probabilities": [0.01] * 100}


def test_numbers_that_are_not_finite_are_counted_apart() -> None:
    for value in ([*range(100), math.nan, math.inf, -math.inf], np.array([*range(100), np.nan, np.inf, -np.inf])):
        about = shown(value)
        assert (about["n"], sum(about["counts"]), about["nan"], about["infinite"]) == (103, 100, 1, 2)
    about = shown(np.full(50, np.nan))
    assert (about["n"], about["counts"], about["nan"]) == (50, [], 50)
    assert "mean" not in about


def test_few_whole_numbers_have_one_interval_each() -> None:
    about = shown(np.array([0, 1, 1, 3] * 25))
    assert (about["low"], about["high"], about["counts"]) == (-0.5, 3.5, [25, 50, 0, 25])
    assert shown([0, 1, 1, 3] * 25)["counts"] == [25, 50, 0, 25]


def test_equal_numbers_have_one_narrow_interval() -> None:
    about = shown(np.full(100, 2.0))
    assert about["counts"] == [100]
    assert about["low"] < 2.0 < about["high"] < 2.1


@pytest.mark.parametrize(
    "array", [np.arange(1e6), np.arange(1e6).reshape(1000, 1000).T, np.arange(2e6)[::2].reshape(10, 100, 1000)]
)
def test_of_a_huge_array_a_regular_sample_is_copied_and_counted(array: Any) -> None:
    copied, weight = copy_fields({"v": array})
    assert weight < MAX_SAMPLE / 4
    before = clean_metrics(copied, histograms=True)
    array[...] = 0  # the copy shares nothing with it
    assert clean_metrics(copied, histograms=True) == before
    about = clean_metrics(copied, histograms=True)["v"][1]
    assert about["n"] == 1_000_000
    assert MAX_SAMPLE / 4 <= sum(about["counts"]) <= MAX_SAMPLE
    assert min(about["counts"]) > 0.5 * max(about["counts"]), "evenly over all of it"


def test_a_long_list_of_a_million_numbers_is_sampled() -> None:
    about = shown(list(range(1_000_000)))
    assert about["n"] == 1_000_000
    assert len(about["counts"]) == MAX_BINS


def test_counts_that_exist_already_are_taken_as_they_are() -> None:
    about = shown(Histogram(np_histogram=np.histogram(np.arange(100.0), 10)))
    assert (about["low"], about["high"], about["counts"]) == (0.0, 99.0, [10] * 10)
    assert about["mean"] == pytest.approx(49.5)
    # Edges of other distances are spread over equal intervals; no count is lost.
    uneven = shown(Histogram(np_histogram=([4, 4, 8], [0.0, 1.0, 3.0, 4.0])))
    assert sum(uneven["counts"]) == 16
    assert len(uneven["counts"]) == 3
    assert sum(shown(Histogram(np_histogram=np.histogram(RANDOM.normal(size=5_000), 300)))["counts"]) == 5_000


@pytest.mark.parametrize(
    ("counts", "edges"), [([1, 2], [0, 1]), ([1], [1, 0]), ([], [0]), ([-1], [0, 1]), ([1], [0, math.inf])]
)
def test_counts_and_edges_that_do_not_fit_are_refused(counts: list[float], edges: list[float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Histogram(np_histogram=(counts, edges))


def test_a_histogram_of_few_numbers_is_one_if_it_is_asked_for() -> None:
    assert shown(Histogram([1, 2, 2]))["counts"] == [1, 2]
    assert shown(Histogram(np.array([0.5])))["n"] == 1
    with pytest.raises(TypeError, match="expected numbers"):
        Histogram([])


def test_a_histogram_of_another_library_is_taken() -> None:
    class Foreign:
        histogram, bins = np.histogram(np.arange(100.0), 10)

    Foreign.__name__ = "Histogram"
    assert shown(Foreign())["counts"] == [10] * 10


def test_a_cleaned_histogram_is_not_cleaned_into_another_one() -> None:
    once = clean_metrics({"v": np.arange(1000.0)}, histograms=True)
    assert clean_metrics(once, histograms=True) == once
    assert clean_metrics(once) == once
