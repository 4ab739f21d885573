"""Values of torch and pandas, which come with RLlib, are shown as plain values; later changes to them are not shown."""

from __future__ import annotations

import math
from typing import Any

import pandas
import pytest
import torch

from hud_publisher.intake.copying import copy_fields
from hud_publisher.protocol.cleaning import clean_metrics


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (pandas.Timestamp("2024-01-02"), "2024-01-02T00:00:00"),
        (pandas.Timedelta(seconds=3), 3.0),
        (pandas.Series([1.0, math.nan, 3.0]), [1.0, None, 3.0]),
        (pandas.Series([1, None], dtype="Int64"), [1, None]),
        (pandas.Series(["2024-01-02"] * 2, dtype="datetime64[ns]"), ["2024-01-02T00:00:00"] * 2),
        (pandas.Index(["a", "b"]), ["a", "b"]),
        (pandas.DataFrame({"x": [1, 2], "y": ["a", None]}), {"x": [1, 2], "y": ["a", None]}),
        (torch.tensor(1.5, requires_grad=True), 1.5),
        (torch.tensor([1.5, 2.0], dtype=torch.bfloat16), [1.5, 2.0]),
        (torch.tensor(True), True),
        (torch.Size([2, 3]), [2, 3]),
    ],
)
def test_torch_and_pandas_values_are_shown_as_plain_values(value: Any, shown: Any) -> None:
    named: list[str] = []
    copied, _weight = copy_fields({"v": value, "ok": 1})
    assert clean_metrics(copied, lambda name, _value: named.append(name)) == {"v": shown, "ok": 1}
    assert clean_metrics({"v": value}) == {"v": shown}
    assert named == []


@pytest.mark.parametrize(
    "value", [pandas.NA, pandas.NaT, pandas.Series([pandas.NA]), torch.tensor(math.nan), pandas.Series([], dtype=float)]
)
def test_missing_values_are_absent_and_no_mistake(value: Any) -> None:
    named: list[str] = []
    copied, _weight = copy_fields({"v": value, "ok": 0})
    assert clean_metrics(copied, lambda name, _value: named.append(name)).get("v", []) == []
    assert named == []


def test_later_changes_by_the_caller_do_not_show() -> None:
    series, frame, tensor = pandas.Series([1.0, 2.0]), pandas.DataFrame({"a": [1]}), torch.ones(2)
    copied, _weight = copy_fields({"series": series, "frame": frame, "tensor": tensor})
    series[0] = 9.0
    frame.loc[0, "a"] = 9
    tensor.zero_()
    assert clean_metrics(copied) == {"series": [1.0, 2.0], "frame": {"a": [1]}, "tensor": [1.0, 1.0]}


def test_a_series_too_long_to_be_shown_is_not_copied_but_named() -> None:
    named: list[str] = []
    copied, _weight = copy_fields({"series": pandas.Series(range(5000)), "frame": pandas.DataFrame({"a": range(5000)})})
    assert clean_metrics(copied, lambda name, _value: named.append(name)) == {}
    assert named == ["series", "frame"]
