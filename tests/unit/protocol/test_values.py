"""The accepted values of a metric, and the merging of fields."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import os
from collections import UserDict, UserString, deque
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID

import attrs
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hud_publisher.protocol.cleaning import MAX_LIST_ITEMS, MAX_NOT_FINITE, clean_metrics
from hud_publisher.protocol.names import MAX_NAME_CHARS, MAX_TEXT_CHARS, clean_name
from hud_publisher.protocol.stored import decode_state
from hud_publisher.protocol.values import NotFinite, encode_state, merge, to_json


class Mode(str, enum.Enum):  # noqa: UP042
    FAST = "fast"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: Any
    y: Any = None


@attrs.define
class Spot:
    x: int
    y: int


class Model(pydantic.BaseModel):
    x: float


class OnlyItem:
    """Like a jax array on an accelerator: only `item()` reads it."""

    def item(self) -> int:
        return 7


class OnlyNumpy:
    """Like a TensorFlow tensor: only `numpy()` reads it."""

    def numpy(self) -> Any:
        return np.array([1.0, 2.0])


class OnlyIndex:
    def __index__(self) -> int:
        return 5


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
        (Level.ONE, "ONE"),
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
def test_values_are_shown_by_their_type(value: object, shown: object) -> None:
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


def test_values_that_are_not_finite_are_distinguished_and_not_reported_without_bound() -> None:
    not_finite: dict[str, NotFinite] = {}
    data = {"loss": math.nan, "learner": {"kl": math.inf, "ok": 1.0, "none": None}, "array": np.float32("-inf")}
    assert clean_metrics(data, not_finite=not_finite) == {"learner": {"ok": 1.0}}
    assert not_finite == {"loss": "NaN", "learner/kl": "Infinity", "array": "-Infinity"}
    assert all(str(float(name)) in ("nan", "inf", "-inf") for name in not_finite.values())  # Python parses the names
    many: dict[str, NotFinite] = {}
    clean_metrics({f"loss{n}": math.nan for n in range(MAX_NOT_FINITE + 100)}, not_finite=many)
    assert len(many) == MAX_NOT_FINITE


class Liar:
    """Claims to be a number and is not one."""

    def __float__(self) -> float:
        raise RuntimeError

    def tolist(self) -> list[int]:
        raise RuntimeError


@pytest.mark.parametrize("value", [object(), iter([1]), Liar(), np.zeros((100, 100)), print, Position])
def test_values_that_cannot_be_shown_are_left_out_and_named(value: object) -> None:
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


def test_the_reserved_field_of_the_server_cannot_be_forged() -> None:
    assert clean_metrics({"_hud": {"id": "1-0"}, "a": {"_hud": 1}}) == {"a": {"_hud": 1}}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Path("/tmp/a.pt"), "/tmp/a.pt"),
        (Path(os.fsdecode(b"caf\xe9.png")), "caf?.png"),
        (datetime(2024, 1, 2, 3, 4, 5), "2024-01-02T03:04:05"),
        (datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00+00:00"),
        (date(2024, 1, 2), "2024-01-02"),
        (time(3, 4), "03:04:00"),
        (timedelta(minutes=2), 120.0),
        (np.datetime64("2024-01-02T03:04:05", "ns"), "2024-01-02T03:04:05"),
        (np.datetime64("2024-01-02"), "2024-01-02"),
        (np.array(["2024-01-02", "NaT"], "datetime64[ns]"), ["2024-01-02T00:00:00", None]),
        (np.timedelta64(1500, "ms"), 1.5),
        (np.array([1, 2], "timedelta64[m]"), [60.0, 120.0]),
        (Button.LEFT, "LEFT"),
        (Mode.FAST, "FAST"),
        (Right.READ | Right.WRITE, "READ|WRITE"),
        (Right(0), "0"),
        (deque([1, 2]), [1, 2]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset("ab"), ["a", "b"]),
        (range(3), [0, 1, 2]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.values(), [1]),
        ({"a": 1}.items(), [["a", 1]]),
        (UserDict(a=1), {"a": 1}),
        (UserString("text"), "text"),
        (Point(1, None), {"x": 1}),
        (Spot(1, 2), {"x": 1, "y": 2}),
        (Model(x=1.5), {"x": 1.5}),
        (Decimal("1.5"), 1.5),
        (1 + 2j, {"real": 1.0, "imag": 2.0}),
        (np.complex64(1 + 2j), {"real": 1.0, "imag": 2.0}),
        (np.clongdouble(1 + 2j), {"real": 1.0, "imag": 2.0}),
        (np.array([1j, 2]), [{"real": 0.0, "imag": 1.0}, {"real": 2.0, "imag": 0.0}]),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"bytes", "bytes"),
        (bytearray(b"\xff\xd8"), "2 bytes: ffd8"),
        (memoryview(b"\xff" * 100), f"100 bytes: {'ff' * 16}…"),
        (OnlyItem(), 7),
        (OnlyNumpy(), [1.0, 2.0]),
        (OnlyIndex(), 5),
        (np.ma.masked_array([1, 2], [False, True]), [1, None]),
        (-0.0, -0.0),
        (5e-324, 5e-324),
        ("caf\udce9.png", "caf?.png"),
        ("\ud83d\ude00", "\U0001f600"),
        (["\udce9", {"a": "\udce9"}], ["?", {"a": "?"}]),
        ("a\x00b\u202ec", "a\x00b\u202ec"),
        (np.str_("caf\udce9"), "caf?"),
    ],
)
def test_values_of_other_types_are_shown_as_their_text(value: object, shown: object) -> None:
    named: list[str] = []
    cleaned = clean_metrics({"v": value, "ok": 1}, lambda name, _value: named.append(name))
    assert cleaned == {"v": shown, "ok": 1}
    assert type(cleaned["v"]) is type(shown)
    assert named == []
    to_json(dict(cleaned)).encode("ascii")


def test_an_integer_that_python_refuses_to_print_is_shown_by_its_size() -> None:
    bits = (10**5000).bit_length()
    assert clean_metrics({"v": -(10**5000), "w": [10**5000]}) == {"v": f"about -2^{bits}", "w": [f"about 2^{bits}"]}


@pytest.mark.parametrize(
    "value",
    [
        np.datetime64("NaT", "s"), np.timedelta64("NaT", "s"), np.ma.masked, Decimal("Infinity"),
    ],
)  # fmt: skip
def test_missing_values_of_other_libraries_are_absent_and_no_mistake(value: object) -> None:
    named: list[str] = []
    assert clean_metrics({"v": value, "ok": 0}, lambda name, _value: named.append(name)) == {"ok": 0}
    assert named == []


class Unset:
    """An attrs class's field may be unset, and reading it raises."""

    __attrs_attrs__ = (SimpleNamespace(name="gone"), SimpleNamespace(name="here"))
    here = 1

    @property
    def gone(self) -> int:
        raise AttributeError


def test_one_odd_field_costs_none_of_its_neighbours() -> None:
    named: list[str] = []
    data = {"object": Unset(), "list": [1, object(), 3], "point": Point(object(), 2)}
    assert clean_metrics(data, lambda name, _value: named.append(name)) == {
        "object": {"here": 1}, "list": [1, None, 3], "point": {"y": 2},
    }  # fmt: skip
    assert named == ["object/gone", "list", "point/x"]


def test_names_of_other_types_are_read_as_their_text() -> None:
    data = {Button.LEFT: 1, Mode.FAST: 2, b"raw": 3, 10**5000: 4, (1, 2): 5, math.nan: 6}
    assert clean_metrics(data) == {"LEFT": 1, "FAST": 2, "raw": 3, "int": 4, "(1, 2)": 5, "nan": 6}


def test_the_reserved_field_of_the_server_is_named_when_it_is_left_out() -> None:
    named: list[str] = []
    clean_metrics({"_hud": 1}, lambda name, _value: named.append(name))
    assert named == ["_hud"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=6))
def test_any_value_becomes_valid_json_and_cleaning_is_idempotent(data: dict[str, Any]) -> None:
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
    """Each update is a separate batch: the hash's fields are replaced one by one, as publish.lua does."""
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
