"""No public call raises anything but ConfigError for any argument; interrupts pass."""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections import UserDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from hud_publisher import Claim, ConfigError, HUDClient, Publisher
from hud_publisher.protocol.entries import MetricsEntry
from tests.fixtures.publishing import JPEG, MemorySink

NAMES = [
    "str",
    "repr",
    "len",
    "iter",
    "bool",
    "array",
    "int",
    "float",
    "index",
    "hash",
    "eq",
    "contains",
    "getitem",
    "sizeof",
    "copy",
    "deepcopy",
    "reduce",
    "getattribute",
    "class",
    "keys",
    "items",
    "get",
    "shape",
    "format",
    "bytes",
]


def raising(*names: str, error: type[BaseException] = RuntimeError) -> Any:
    """An object of which these methods raise."""

    def fail(*_arguments: Any) -> Any:
        raise error("odd")

    methods = {f"__{name}__": fail for name in names if name != "class"}
    return type("Odd", (), methods | ({"__class__": property(fail)} if "class" in names else {}))()


def recursive(depth: int) -> dict[str, Any]:
    data: dict[str, Any] = {}
    data["self"] = data["list"] = [data] * depth
    return data


class BadError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("text")


class BadMapping(UserDict[str, Any]):
    def keys(self) -> Any:
        raise BadError

    __iter__ = __getitem__ = get = keys


ODD: dict[str, Callable[[], Any]] = {
    **{f"raises in {name}": (lambda name=name: raising(name)) for name in NAMES},
    "raises in all": lambda: raising(*(name for name in NAMES if name not in ("getattribute", "class"))),
    "mapping that raises": lambda: BadMapping(a=1),
    "recursive": lambda: recursive(2),
    "deep": lambda: [[[[[[[[[[[[{"a": 1}]]]]]]]]]]]],
    "huge int": lambda: 10**10_000,
    "negative": lambda: -1,
    "nan": lambda: float("nan"),
    "surrogate": lambda: "\ud800\udfff\x00",
    "bytes": lambda: b"\xff\x00",
    "generator": lambda: (n for n in range(3)),
    "endless": itertools.count,
    "endless pairs": lambda: ((str(n), n) for n in itertools.count()),
    "text": lambda: "loss",
    "number": lambda: 3,
    "None": lambda: None,
    "class": lambda: int,
    "function": lambda: len,
    "exception": BadError,
    "object array": lambda: np.array([object(), None], dtype=object),
    "empty array": lambda: np.zeros((0, 0, 3), np.uint8),
    "odd keys": lambda: {None: 1, (1, 2): 2, b"x": 3, "": 4, "\ud800": 5, 1.5: 6, frozenset(): 7},
    "odd values": lambda: {name: raising(name) for name in NAMES},
    "set": lambda: {1, 2},
    "Ellipsis": lambda: ...,
    "memoryview": lambda: memoryview(b"abcd"),
}

CALLS: dict[str, Callable[[Publisher, Any], object]] = {
    "log": lambda hud, odd: hud.log(odd),
    "log value": lambda hud, odd: hud.log({"odd": odd}),
    "log nested": lambda hud, odd: hud.log({"odd": {"list": [odd, {"deeper": odd}]}}),
    "log step": lambda hud, odd: hud.log({"a": 1}, step=odd),
    "log two": lambda hud, odd: hud.log("loss", odd),  # type: ignore[arg-type]
    "log_iteration": lambda hud, odd: hud.log_iteration(odd, step=odd),
    "frame": lambda hud, odd: hud.frame(odd),
    "frame all": lambda hud, odd: hud.frame(JPEG, step=odd, episode=odd, env=odd, data=odd),
    "wants_frame": lambda hud, odd: hud.wants_frame(odd),
    "wants_thumbnail": lambda hud, odd: hud.wants_thumbnail(odd),
    "thumbnail": lambda hud, odd: hud.thumbnail(odd, env=odd, step=odd),
    "vision": lambda hud, odd: hud.vision(odd),
    "vision all": lambda hud, odd: hud.vision(
        JPEG, prompt=odd, response=odd, response_time_ms=odd, step=odd, extra=odd
    ),
    "claim": lambda hud, odd: setattr(hud, "claim", odd),
    "claim env": lambda hud, odd: setattr(hud, "claim", Claim(odd, odd)),
    "client data": lambda hud, odd: HUDClient(publisher=hud).update_training_data(odd),
    "client step": lambda hud, odd: HUDClient(publisher=hud).update_training_data({"global_step": odd}),
    "client picture": lambda hud, odd: HUDClient(publisher=hud).update_vision_data(odd),
    "client latency": lambda hud, odd: HUDClient(publisher=hud).update_vision_data("aaaa", odd),
}


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink(viewers=1)


@pytest.fixture
def hud(sink: MemorySink) -> Iterator[Publisher]:
    publisher = Publisher(redis_url="redis://nowhere.invalid", frames="always", fps=120)
    publisher._sink_factory = lambda _publisher: sink
    yield publisher
    publisher.close(0)


@pytest.mark.parametrize("call", CALLS)
def test_no_call_raises_and_later_calls_work(hud: Publisher, sink: MemorySink, call: str) -> None:
    for make in ODD.values():
        CALLS[call](hud, make())
    hud.log({"last": 1.0}, step=77)
    hud.close(10)
    assert {"last": 1.0} in [entry.data for entry in sink.landed if isinstance(entry, MetricsEntry)]
    assert hud.stats.pending == dict.fromkeys(hud.stats.pending, 0)


@pytest.mark.parametrize("odd", ODD)
def test_closing_never_raises(sink: MemorySink, hud: Publisher, odd: str) -> None:
    hud.log({"a": 1})
    hud.close(ODD[odd]() if odd != "huge int" else 1, release=ODD[odd]())
    hud.close()
    assert hud.status == "closed"


@pytest.mark.parametrize("odd", ODD)
def test_the_constructor_raises_nothing_but_config_errors(odd: str) -> None:
    arguments = "run_id channel name info settings redis_url hud_url fps max_side writer takeover gathers token nam"
    for argument in arguments.split():
        with contextlib.suppress(ConfigError):
            Publisher(**{argument: ODD[odd]()}).close()
    with pytest.raises(ConfigError):
        Publisher(**{odd: 1})  # type: ignore[arg-type]


@pytest.mark.parametrize("call", ["log value", "vision all", "log step"])
def test_an_interrupt_passes(hud: Publisher, call: str) -> None:
    odd = raising("str", "float", "iter", "len", error=KeyboardInterrupt)
    if call == "log value":
        odd = type("Slow", (dict,), {"items": lambda _self: raising("int", error=KeyboardInterrupt).__int__()})()
    with pytest.raises(KeyboardInterrupt):
        CALLS[call](hud, odd)
    hud.log({"a": 1})


def test_a_copy_of_a_client_is_silent(hud: Publisher, sink: MemorySink) -> None:
    client = HUDClient(publisher=hud)
    for twin in (copy.copy(client), copy.deepcopy(client)):
        assert not twin.update_training_data({"a": 2})
    assert client.update_training_data({"a": 1})
    hud.close()
    assert [entry.data for entry in sink.landed if isinstance(entry, MetricsEntry)] == [{"a": 1}]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda hud: hud.log("loss", 3), ["hud.log()", "got str", "hud.log({'loss': value}"]),
        (lambda hud: hud.log(3), ["hud.log()", "got int", "hud.log({'loss'"]),
        (lambda hud: hud.log_iteration([1]), ["hud.log_iteration()", "got list"]),
    ],
)
def test_a_wrong_call_is_named_with_its_fix(
    hud: Publisher, call: Callable[[Publisher], object], words: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    hud.start()
    call(hud)
    assert all(word in caplog.text for word in words)
