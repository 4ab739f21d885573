"""What a metric may be, and how fields are merged."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hud_publisher.protocol.values import (
    MAX_LIST_ITEMS,
    MAX_NAME_CHARS,
    MAX_NOT_FINITE,
    MAX_TEXT_CHARS,
    clean_metrics,
    clean_name,
    decode_state,
    encode_state,
    merge,
    to_json,
)


class Button(enum.Enum):
    LEFT = 1


class Level(enum.IntEnum):
    ONE = 1


@dataclasses.dataclass
class Position:
    x: float
    y: float | None = None


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1, 1),
        (1.5, 1.5),
        (True, True),
        ("text", "text"),
        (np.float32(1.5), 1.5),
        (np.longdouble(1.5), 1.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.str_("text"), "text"),
        (np.array(2.5), 2.5),
        (np.array([2.5]), 2.5),
        (np.array([[2.5]]), 2.5),
        (np.array([1, 2]), [1, 2]),
        (np.array([[1.0, np.nan]]), [[1.0, None]]),
        (Decimal("1.5"), 1.5),
        (Fraction(3, 2), 1.5),
        (Level.ONE, 1),
        (Position(1.0, 2.0), {"x": 1.0, "y": 2.0}),
        (Position(1.0), {"x": 1.0}),
        ([1, None, math.nan], [1, None, None]),
        ((1, "a"), [1, "a"]),
        ({"a": {"b": 1}}, {"a": {"b": 1}}),
        ({1: "one"}, {"1": "one"}),
        (2**60, 2**60),
        (10**400, f"about 2^{(10**400).bit_length()}"),
        ("x" * 20_000, "x" * MAX_TEXT_CHARS),
        (list(range(5000)), list(range(MAX_LIST_ITEMS))),
    ],
)
def test_values_are_shown_as_what_they_are(value: object, shown: object) -> None:
    assert clean_metrics({"v": value}) == {"v": shown}


@pytest.mark.parametrize(
    "value",
    [
        None, math.nan, math.inf, -math.inf, np.float32("nan"), np.array([np.inf]), {},
        {"a": None}, {"a": {"b": math.nan}}, Position(math.nan), Decimal("NaN"),
    ],
)  # fmt: skip
def test_missing_and_infinite_values_are_absent_and_no_mistake(value: object) -> None:
    named: list[str] = []
    assert clean_metrics({"v": value, "ok": 0}, lambda name, _value: named.append(name)) == {"ok": 0}
    assert named == []


def test_values_that_are_not_finite_are_named_by_their_paths_and_not_without_bound() -> None:
    not_finite: list[str] = []
    data = {"loss": math.nan, "learner": {"kl": math.inf, "ok": 1.0, "none": None}, "array": np.float32("-inf")}
    assert clean_metrics(data, not_finite=not_finite) == {"learner": {"ok": 1.0}}
    assert not_finite == ["loss", "learner/kl", "array"]
    many: list[str] = []
    clean_metrics({f"loss{n}": math.nan for n in range(100)}, not_finite=many)
    assert len(many) == MAX_NOT_FINITE


class Liar:
    """Says that it is a number, and is none."""

    def __float__(self) -> float:
        raise RuntimeError

    def tolist(self) -> list[int]:
        raise RuntimeError


@pytest.mark.parametrize(
    "value", [object(), 1 + 2j, b"bytes", Button.LEFT, Liar(), np.zeros((100, 100)), print, Position]
)
def test_what_cannot_be_shown_is_left_out_and_named(value: object) -> None:
    named: list[str] = []
    data = {"v": value, "nested": {"v": value}, "ok": 1}
    assert clean_metrics(data, lambda name, _value: named.append(name)) == {"ok": 1}
    assert named == ["v", "nested/v"]


def test_values_nested_too_deep_are_named_and_end() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    named: list[str] = []
    assert clean_metrics(endless, lambda name, _value: named.append(name)) == {}
    assert len(named) == 1


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("reward", "reward"), ("a\nb\x00c\u2028d", "a b c d"), (7, "7"), ("\ud800", "?"), ("ü", "ü"), (None, "None"),
        ("n" * 1000, "n" * (MAX_NAME_CHARS - 1) + "…"),
    ],
)  # fmt: skip
def test_names_are_text_that_a_page_and_a_key_can_hold(name: object, shown: str) -> None:
    assert clean_name(name) == shown


def test_the_servers_own_field_cannot_be_forged() -> None:
    assert clean_metrics({"_hud": {"id": "1-0"}, "a": {"_hud": 1}}) == {"a": {"_hud": 1}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=6))
def test_whatever_comes_in_valid_json_comes_out_and_cleaning_it_again_changes_nothing(data: dict[str, Any]) -> None:
    cleaned = clean_metrics(data)
    text = to_json(dict(cleaned))
    assert text.isascii()
    assert json.loads(text) == cleaned
    assert clean_metrics(cleaned) == cleaned


TREE = st.recursive(
    st.integers(0, 9),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3),
    max_leaves=8,
)
UPDATES = st.lists(st.dictionaries(st.sampled_from("abc"), TREE, min_size=1, max_size=3), min_size=1, max_size=5)


@given(UPDATES)
def test_the_state_hash_reads_back_as_the_updates_laid_over_each_other(updates: list[dict[str, Any]]) -> None:
    """Each update is a batch of its own: the hash's fields are replaced one by one, as publish.lua does."""
    stored: dict[bytes, bytes] = {}
    expected: dict[str, Any] = {}
    for number, update in enumerate(updates, start=1):
        merge(expected, update)
        for path, value in encode_state([update]).items():
            stored[path.encode()] = f"{number}-0 {value}".encode()
    state = decode_state(stored)
    # Where a mapping replaced a number its old fields may reappear; the newest value of every field is always right.
    for steps, value in leaves(updates[-1]):
        assert lookup(state, steps) == value
    if len(updates) == 1:
        assert state == expected


def leaves(tree: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found = []
    for name, value in tree.items():
        found += leaves(value, (*path, name)) if isinstance(value, dict) else [((*path, name), value)]
    return found


def lookup(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree


def test_fields_of_several_updates_merge_leaf_by_leaf() -> None:
    base = {"health": {"current": 3, "max": 5}, "a": 1}
    merge(base, {"health": {"current": 2}, "b": {"c": 1}})
    assert base == {"health": {"current": 2, "max": 5}, "a": 1, "b": {"c": 1}}
    merge(base, {"health": "unknown"})
    assert base["health"] == "unknown"
