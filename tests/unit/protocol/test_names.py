"""Two names of a user stay distinct after any change needed to display them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hud_publisher.protocol.cleaning import clean_metrics
from hud_publisher.protocol.info import clean_info
from hud_publisher.protocol.names import MAX_NAME_CHARS, MAX_PATHS, Paths, clean_name, field_name, numbered


def series(data: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf by the path that charts, history and alerts know it by."""
    for name, value in data.items():
        if isinstance(value, dict):
            yield from series(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


@pytest.mark.parametrize(
    "data",
    [
        {"a/b": 1, "a": {"b": 2}},
        {"a": {"b": 1}, "a/b": 2},
        {"a/b": 1, "a": {"b": {"c": 2}}},
        {"a": {"b": {"c": 1}, "b/c": 2}, "a/b": {"c": 3}, "a/b/c": 4},
        {"a/b": 1, "a": {"b": 2, "b (2)": 3}},
        {"": {"a": 1}, "/a": 2},
        {"a/": {"b": 1}, "a": {"/b": 2}, "a//b": 3},
        {"a\nb": 1, "a b": 2, "a\x00b": 3},
        {"n" * 300 + "a": 1, "n" * 300 + "b": 2, "n" * 299: 3},
        dict(zip([os.fsdecode(b"caf\xe9"), os.fsdecode(b"caf\xea"), "caf?"], [1, 2, 3], strict=True)),
        {1: 1, "1": 2, 1.5: 3, "1.5": 4, None: 5, "None": 6},
    ],
)
def test_names_that_would_become_one_stay_apart(data: dict[Any, Any]) -> None:
    values = [value for _path, value in series(data)]
    paths = dict(series(clean_metrics(data)))
    assert sorted(paths.values()) == sorted(values)
    assert all(len(step) <= MAX_NAME_CHARS for path in paths for step in path.split("/"))


def test_the_first_field_of_a_path_keeps_it_for_as_long_as_it_is_published() -> None:
    paths = Paths()
    assert clean_metrics({"a/b": 1}, paths=paths) == {"a/b": 1}
    assert clean_metrics({"a": {"b": 2}}, paths=paths) == {"a": {"b (2)": 2}}
    assert clean_metrics({"a": {"b": 3}, "a/b": 4}, paths=paths) == {"a": {"b (2)": 3}, "a/b": 4}


def test_a_name_is_told_apart_by_itself_alone_so_every_process_calls_it_the_same() -> None:
    first, second = field_name("n" * 300 + "a"), field_name("n" * 300 + "b")
    assert first != second
    assert field_name("n" * 300 + "a") == first
    assert field_name(first) == first
    assert clean_name("n" * 300) == "n" * (MAX_NAME_CHARS - 1) + "…"


def test_remembered_paths_are_bounded_and_further_ones_still_shown() -> None:
    paths = Paths()
    for number in range(MAX_PATHS + 5):
        paths.tell_apart({f"a/{number}": 1})
    assert len(paths._owners) == MAX_PATHS
    assert paths.tell_apart({"x/y": 1}) == {"x/y": 1}


def test_numbers_are_put_behind_names_until_one_is_free() -> None:
    assert numbered("a", {}) == "a"
    assert numbered("a", {"a", "a (2)"}) == "a (3)"
    assert len(numbered("a" * MAX_NAME_CHARS, {"a" * MAX_NAME_CHARS})) <= MAX_NAME_CHARS


def test_the_fields_of_a_session_stay_apart_and_none_of_them_raises() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    info = {"a\nb": "x", "a b": "y", 1: 10**5000, "broken": Broken(), "file": "caf\udce9"}
    assert clean_info(info) == {"a b": "x", "a b (2)": "y", "1": "int", "broken": "Broken", "file": "caf?"}
    assert clean_info(None) == {}


KEYS = st.text(st.characters() | st.sampled_from("/ab \n\ud800"), max_size=5) | st.integers(0, 3)
TREES = st.recursive(
    st.just(0), lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=4), max_leaves=10
).filter(lambda tree: isinstance(tree, dict))


@given(TREES)
def test_as_many_series_come_out_as_went_in(tree: dict[Any, Any]) -> None:
    tree.pop("_hud", None)
    cleaned = clean_metrics(tree)
    assert len(dict(series(cleaned))) == sum(1 for _ in series(tree))
    assert clean_metrics(cleaned) == cleaned
