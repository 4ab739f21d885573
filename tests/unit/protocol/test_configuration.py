"""The configuration of a run: the plain form of any value, and the bounds of its sections."""

from __future__ import annotations

import functools
import json
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from hud_publisher.protocol.configuration import MAX_CONFIG_BYTES, REST, encode_sections, readable
from hud_publisher.protocol.values import to_json


class Colour(Enum):
    RED = 1


@dataclass
class Model:
    layers: tuple[int, ...] = (64, 64)
    activation: Any = max


class Opaque:
    """An object whose text may hold anything."""

    def __repr__(self) -> str:
        return "password=hunter2"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (3e-4, 3e-4),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        (True, True),
        (2**2000, "about 2^2001"),
        (Colour.RED, "RED"),
        (Model(), {"layers": [64, 64], "activation": "max"}),
        (OrderedDict(a=1, b=None), {"a": 1, "b": None}),
        ({1: "x", int: "y"}, {"1": "x", "int": "y"}),
        (json.JSONEncoder, "json.encoder.JSONEncoder"),
        (functools.partial(json.dumps, "https://user:secret@host"), "json.dumps"),
        (Opaque(), f"an object of {__name__}.Opaque"),
        (np.float32(0.5), 0.5),
        (np.arange(3), [0, 1, 2]),
        (np.zeros((84, 84), np.uint8), "an object of numpy.ndarray of shape (84, 84)"),
        (np.dtype("float32"), "float32"),
        (PurePosixPath("/tmp/x"), "/tmp/x"),
        ({"env_config": {"key": "secret"}, "deep": [{"env_config": 1, "lr": 2}]}, {"deep": [{"lr": 2}]}),
        (list(range(205)), [*range(200), "5 more"]),
    ],
)
def test_any_value_has_a_plain_form(value: object, plain: object) -> None:
    assert readable(value, without=frozenset({"env_config"})) == plain


def test_no_value_raises() -> None:
    class Hostile:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    class Cyclic(dict[str, Any]):
        pass

    cycle = Cyclic()
    cycle["self"] = cycle
    assert "Hostile" in str(readable(Hostile()))
    assert to_json(readable(cycle)).endswith("}")
    assert len(to_json(readable([[[0] * 200] * 200] * 200))) < 100_000


def test_a_section_that_is_too_large_keeps_its_small_values() -> None:
    sections = {"config": {"lr": 0.1, "text": "x" * 300_000, "seed": None}, "git": {"commit": "abc"}}
    kept = {name: json.loads(text) for name, text in encode_sections(sections).items()}
    assert kept["git"] == {"commit": "abc"}
    assert kept["config"] == {"lr": 0.1, "seed": None, REST: "1 values are not kept: text"}


@given(
    some.dictionaries(
        some.text(max_size=8),
        some.dictionaries(some.text(max_size=40), some.text(max_size=200), max_size=60),
        max_size=8,
    ),
    some.integers(20_000, 60_000),
)
def test_sections_stay_within_their_bound(sections: dict[str, Any], most: int) -> None:
    texts = encode_sections(sections, most)
    assert sum(map(len, texts.values())) <= most
    for text in texts.values():
        json.loads(text)


def test_an_ordinary_configuration_is_kept_whole() -> None:
    tree = {f"option_{number}": number / 7 for number in range(2_000)}
    [(name, text)] = encode_sections({"config": readable(tree)}).items()
    assert (name, json.loads(text)) == ("config", tree)
    assert len(text) < MAX_CONFIG_BYTES
