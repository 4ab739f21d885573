"""The decoders turn stored content that HUD did not write into a value or a ValueError, and always into valid JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hud_publisher.protocol.entries import (
    STREAMS,
    EntryId,
    FrameEntry,
    MetricsEntry,
    MindEntry,
    StreamName,
    VisionEntry,
    parse_env,
)
from hud_publisher.protocol.info import decode_info
from hud_publisher.protocol.replies import parse_marks, parse_publish, parse_reporter
from hud_publisher.protocol.stored import decode_entry, decode_state, read_object, read_value
from hud_publisher.protocol.values import PATH_SEPARATOR, to_json
from hud_web.store import sse

ODD_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "-1E+999", "1e0999", "9" * 400, "9" * 5_000]
NAMES = [b"data", b"time", b"step", b"episode", b"env", b"image", b"mime", b"latency_ms", b"prompt", b"response",
         b"extra", b"writer", b"not_finite", b"infinite", b"from a newer version"]  # fmt: skip
texts = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([number.encode() for number in ODD_NUMBERS]),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
    st.integers(min_value=-(10**30), max_value=10**30).map(lambda number: str(number).encode()),
)


def strictly(text: bytes) -> Any:
    """Parse as a browser does."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def is_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(is_finite(part) for part in value.values())
    if isinstance(value, list):
        return all(is_finite(part) for part in value)
    return not isinstance(value, (int, float)) or abs(value) < 1.8e308


@given(st.sampled_from(STREAMS), st.dictionaries(st.sampled_from(NAMES), texts))
def test_a_stored_entry_is_shown_as_json_or_skipped(stream: StreamName, fields: dict[bytes, bytes]) -> None:
    try:
        entry = decode_entry(stream, fields)
        if isinstance(entry, MetricsEntry):
            encoded = sse.training_update(fields, EntryId("5-0"), stream)
            assert strictly(encoded) | {"_hud": 0} == {**entry.data, "_hud": 0}
        elif isinstance(entry, MindEntry):
            encoded = sse.dump(sse.about_mind(entry, EntryId("5-0")))
        else:
            encoded = sse.vision_update(entry, EntryId("5-0"))
    except ValueError:
        return
    shown = strictly(encoded)
    assert is_finite(shown)
    assert b"\n" not in encoded
    assert b"\r" not in encoded
    assert isinstance(shown, dict)


@given(st.dictionaries(st.binary(max_size=12), st.one_of(texts, texts.map(lambda text: b"5-0 " + text))))
def test_a_stored_state_is_encoded_for_any_content_of_its_fields(fields: dict[bytes, bytes]) -> None:
    state = decode_state(fields)
    assert strictly(to_json(state).encode()) == state
    assert is_finite(state)


@pytest.mark.parametrize("number", ODD_NUMBERS)
def test_a_number_that_json_lacks_costs_only_itself(number: str) -> None:
    text = f'{{"bad": {number}, "list": [1, {number}], "in": {{"bad": {number}, "good": 2}}, "good": 1}}'.encode()
    if len(number) > 4_300:  # Python itself refuses to read it
        with pytest.raises(ValueError):
            read_object(text)
        return
    data, encoded = read_object(text)
    assert strictly(encoded) == data
    assert data["good"] == 1
    assert data["in"]["good"] == 2  # type: ignore[call-overload, index]
    assert is_finite(data)


@pytest.mark.parametrize(
    "text", [b"", b"[1,2]", b"5", b"null", b'"text"', b"{", b"\xff", b"[" * 100_000, b'{"a":' * 990]
)
def test_data_that_are_no_object_are_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        read_object(text)


@pytest.mark.parametrize("depth", [100, 300, 900])
def test_data_nested_too_deeply_for_others_are_cut(depth: int) -> None:
    text = b'{"a":' * depth + b"1" + b"}" * depth
    data, encoded = read_object(b'{"good": 1, "deep": ' + text + b"}")
    assert data["good"] == 1
    assert strictly(encoded) == data


@pytest.mark.parametrize(
    "text", ['{"a": 1,\n "b": 2}', '{"a":"é"}', '{"_hud": {"id": "forged"}, "a": 1}', '{"\\u005fhud":1}']
)
def test_text_that_hud_did_not_encode_cannot_forge_an_event(text: str) -> None:
    encoded = sse.training_update({b"data": text.encode(), b"time": b"7"}, EntryId("5-0"), "metrics")
    shown = strictly(encoded)
    assert shown.pop("_hud") == {"id": "5-0", "stream": "metrics", "step": None, "time_ms": 7, "writer": ""}
    assert shown == {name: value for name, value in json.loads(text).items() if name != "_hud"}
    assert encoded.isascii()
    assert b"\n" not in encoded


def test_fields_of_the_state_that_cannot_be_read_are_named() -> None:
    unreadable: list[str] = []
    deep = PATH_SEPARATOR.join("x" * 70).encode()
    fields = {b"good": b"5-0 1", b"no id": b"1", b"no json": b"5-0 {", b"nan": b"5-0 NaN", b"text id": b"x-y 1",
              b"huge id": b"9" * 30 + b"-0 1", deep: b"5-0 1", b"\xff": b"5-0 2"}  # fmt: skip
    assert decode_state(fields, unreadable) == {"good": 1, "\ufffd": 2}
    assert len(unreadable) == 6


def test_pictures_of_a_type_that_hud_does_not_store_are_skipped() -> None:
    with pytest.raises(ValueError, match="text/html"):
        decode_entry("frames", {b"image": b"<script>", b"mime": b"text/html"})
    with pytest.raises(ValueError, match="the entry has no picture"):
        decode_entry("vision", {})


def test_odd_numbers_of_an_entry_count_as_absent() -> None:
    odd = {b"image": b"x", b"time": b"1e3", b"step": b"9" * 30, b"episode": b"\xff", b"env": b"1/2/3",
           b"latency_ms": b"inf", b"extra": b"[1]"}  # fmt: skip
    assert decode_entry("frames", odd) == FrameEntry(b"x", 0)
    assert decode_entry("vision", odd) == VisionEntry(b"x", 0)
    assert decode_entry("frames", odd | {b"step": str(2**53 - 1).encode()}).step == 2**53 - 1


@pytest.mark.parametrize("text", ["x", "1", "1/", "/1", "1/x", "-1/0", "1/0/0", "9" * 5_000 + "/0", "１/0"])
def test_an_invalid_env_is_none(text: str) -> None:
    assert parse_env(text) is None


@pytest.mark.parametrize(
    "wish",
    ["x", "[]", "5", "{}", '{"worker_index": NaN, "env_index": 0}', '{"worker_index": Infinity, "env_index": 0}',
     '{"worker_index": -1, "env_index": 0}', '{"worker_index": 1e300, "env_index": 0}', "[" * 100_000],
)  # fmt: skip
def test_a_wish_that_names_no_env_is_ignored(wish: str) -> None:
    assert parse_reporter(wish) is None
    reply = [b"ok", 0, wish.encode(), b"", b"not an env", 5]
    assert parse_publish(reply).reporter is None
    assert parse_publish(reply).shown is None


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=40)), texts)
def test_describing_fields_are_texts_for_any_stored_content(stored: dict[str, str], info: bytes) -> None:
    fields = decode_info(stored | {"info": info.decode("utf-8", "replace")})
    assert all(isinstance(value, str) for value in fields.values())


def test_marks_of_streams_that_do_not_exist_are_at_the_start() -> None:
    marks = parse_marks([0, 0, b"", 0, -1, b"7-0", 1, 3], {"metrics": "0-0", "events": "7-0"})
    assert marks.newest == {"metrics": "0-0", "events": "7-0"}
    assert marks.kept == {"events"}
    assert marks.added == {"events": 3}


def test_a_value_of_the_state_is_read_as_json() -> None:
    assert read_value(b'{"a": [1, null]}') == {"a": [1, None]}
    assert read_value(b"1e999") is None
    assert read_value(b"[1, NaN]") == [1, None]
