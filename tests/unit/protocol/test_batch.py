"""The body of POST /api/publish: an encoded batch decodes to itself, and any other body is refused."""

from __future__ import annotations

import contextlib
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hud_publisher.protocol.batch import MAX_BATCH_ENTRIES, MAX_NUMBER, Batch, Claim
from hud_publisher.protocol.batch_body import (
    FIRST_NOT_FINITE,
    BatchHead,
    check_latency_ms,
    check_metrics,
    check_writer,
    decode_entries,
    decode_head,
    encode_batch,
    parse_json,
)
from hud_publisher.protocol.cleaning import MAX_NOT_FINITE
from hud_publisher.protocol.entries import (
    FIELD_STREAMS,
    MAX_METRICS_BYTES,
    FrameEntry,
    MetricsEntry,
    MindEntry,
    VisionEntry,
)
from hud_publisher.protocol.errors import HudError, MalformedError, TooLargeError, UnsupportedImageError, brief
from hud_publisher.protocol.keys import SessionId
from hud_publisher.protocol.names import field_name
from hud_publisher.protocol.values import NOT_FINITE
from tests.fixtures.publishing import JPEG, decode_batch

SESSION = SessionId("default.1.aaaaaaaaaaaaaaaaaaaaaaaa")
TIMES = st.integers(0, 10**14)
NUMBERS = st.none() | st.integers(0, MAX_NUMBER)
ENVS = st.none() | st.tuples(st.integers(0, 10**6), st.integers(0, 10**6))
DATA = st.dictionaries(st.text("abc", min_size=1), st.integers(-9, 9) | st.text("xyz"), max_size=4)
BROKEN = st.dictionaries(st.text("abc/", min_size=1), st.sampled_from(NOT_FINITE), max_size=3)
TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ENTRIES = st.one_of(
    st.builds(MetricsEntry, DATA, TIMES, NUMBERS, st.sampled_from(FIELD_STREAMS), BROKEN),
    st.builds(
        FrameEntry,
        st.just(JPEG),
        TIMES,
        st.just("image/jpeg"),
        NUMBERS,
        NUMBERS,
        ENVS,
        st.sampled_from(["frames", "thumbs"]),
    ),
    st.builds(
        VisionEntry,
        st.just(JPEG),
        TIMES,
        st.just("image/jpeg"),
        st.none() | st.floats(0, 1e9),
        NUMBERS,
        TEXTS,
        TEXTS,
        DATA,
    ),
    st.builds(MindEntry, DATA, TIMES, NUMBERS, NUMBERS, ENVS),
    st.builds(MindEntry, DATA, TIMES, NUMBERS, NUMBERS, ENVS, st.just(JPEG), st.just("image/jpeg")),
)
BATCHES = st.builds(
    Batch,
    st.from_regex(r"[A-Za-z0-9_.:/\-]{1,80}", fullmatch=True),
    st.integers(0, MAX_NUMBER),
    st.lists(ENTRIES, max_size=6).map(tuple),
    st.none() | st.builds(Claim, ENVS.filter(bool), st.booleans()),
)


@given(BATCHES)
def test_an_encoded_batch_decodes_to_itself(batch: Batch) -> None:
    assert decode_batch(encode_batch(SESSION, batch)) == (SESSION, batch)


@pytest.mark.parametrize("count", [FIRST_NOT_FINITE, FIRST_NOT_FINITE + 1, MAX_NOT_FINITE])
def test_any_number_of_fields_that_are_not_finite_passes_a_server_of_an_earlier_version(count: int) -> None:
    wrong: dict[str, Any] = {f"layer{n}": "Infinity" if n % 2 else "NaN" for n in range(count)}
    batch = Batch("w", 1, (MetricsEntry({"ok": 1}, 5, 7, "iterations", wrong),))
    sent = encode_batch(SESSION, batch)
    (entry,) = decode_head(sent).fields["entries"]
    assert len(entry["not_finite"]) == FIRST_NOT_FINITE  # that server refuses a longer list
    assert len(entry.get("more_not_finite", [])) == count - FIRST_NOT_FINITE
    assert decode_batch(sent) == (SESSION, batch)


@given(BATCHES)
def test_the_same_batch_is_the_same_bytes(batch: Batch) -> None:
    assert encode_batch(SESSION, batch) == encode_batch(SESSION, batch)


@given(BATCHES, st.data())
def test_a_body_cut_short_or_changed_is_refused_or_read_but_raises_nothing_else(batch: Batch, data: Any) -> None:
    body = bytearray(encode_batch(SESSION, batch))
    if data.draw(st.booleans()):
        del body[data.draw(st.integers(0, len(body) - 1)) :]
    else:
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(HudError):
        decode_batch(bytes(body))


def body(header: Any, blobs: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return b"HUD1" + struct.pack(">I", len(text)) + text + blobs


def header(*entries: Any, **rest: Any) -> dict[str, Any]:
    return {"session_id": SESSION, "writer": "w", "number": 1, "entries": list(entries)} | rest


METRICS = {"stream": "metrics", "time_ms": 1, "data": {"a": 1}}


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"{}",
        b"HUD1",
        b"HUD1\xff\xff\xff\xff{}",
        b"HUD1\x00\x00\x00\x02[]",
        body({}),
        body(header(writer=None)),
        body(header(writer="no spaces")),
        body(header(writer="w" * 81)),
        body(header(number=-1)),
        body(header(number=1.5)),
        body(header(number=True)),
        body(header(number=MAX_NUMBER + 1)),
        body(header(session_id=None)),
        body(header(session_id=7)),
        body(header(claim=[1])),
        body(header(claim=[-1, 0])),
        body(header("text")),
        body(header({"stream": "metrics"})),
        body(header(METRICS | {"time_ms": -1})),
        body(header(METRICS | {"time_ms": 10**15})),
        body(header(METRICS | {"stream": "events"})),
        body(header(METRICS | {"data": [1]})),
        body(header(METRICS | {"step": "7"})),
        body(header(METRICS | {"not_finite": "loss"})),
        body(header(METRICS | {"not_finite": [7]})),
        body(header(METRICS | {"not_finite": ["loss"] * (MAX_NOT_FINITE + 1)})),
        body(header(METRICS | {"more_not_finite": [7]})),
        body(header(METRICS), b"trailing"),
        body(header({"stream": "frames", "time_ms": 1, "bytes": 100}), JPEG),
        body(header({"stream": "frames", "time_ms": 1, "bytes": len(JPEG), "env": [1, 2, 3]}), JPEG),
        body(header({"stream": "vision", "time_ms": 1, "bytes": len(JPEG), "prompt": 7}), JPEG),
        body(header({"stream": "vision", "time_ms": 1, "bytes": len(JPEG), "response_time_ms": -1}), JPEG),
        body(header({"stream": "vision", "time_ms": 1, "bytes": len(JPEG), "extra": [1]}), JPEG),
    ],
)
def test_a_body_of_another_form_is_malformed(wrong: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_batch(wrong)


def test_a_header_nested_without_end_is_malformed() -> None:
    text = b'{"entries":' + b"[" * 90_000 + b"]" * 90_000 + b"}"
    with pytest.raises(MalformedError):
        decode_batch(b"HUD1" + struct.pack(">I", len(text)) + text)


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b"1," * 780_000 + b"1]",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        "[".encode("utf-16") + "1,".encode("utf-16-le") * 200_000,
    ],
)
def test_a_text_of_too_many_values_is_refused_without_being_parsed(
    text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json, "loads", lambda _text: pytest.fail("it was parsed"))
    with pytest.raises(TooLargeError, match="values"):
        parse_json(text)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"nothing", b"[" * 5_000, b'{"a":' * 5_000, b"1" * 5_000, b"-" + b"1" * 5_000, b"\xff\xfe",
        b'"\\ud8"',
        b'{"a":"\xe9"}', "[1".encode("utf-16"), b"\xef\xbb\xbf{", b"[1]x", b'"' + b"a" * 10, b"\x00",
    ],
)  # fmt: skip
def test_invalid_json_is_malformed(text: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_json(text)


NESTED: Any = []
for _ in range(2_000):
    NESTED = [NESTED]


@pytest.mark.parametrize("value", [NESTED, {"a": NESTED}, 10**4_000, "x" * 10**6, [1] * 10**6, "\ud800", None, 1e999])
def test_a_value_of_any_size_is_quoted_in_a_few_characters(value: object) -> None:
    text = brief(value)
    assert len(text) <= 50
    text.encode("utf-8")


@pytest.mark.parametrize("name", ["number", "claim", "writer"])
@pytest.mark.parametrize("value", [NESTED, 10**4_000, -1, 1.5, True, "\ud800", float("nan"), [1, 10**400]])
def test_a_header_of_odd_values_is_refused_and_raises_nothing_else(name: str, value: object) -> None:
    head = BatchHead(SESSION, {"session_id": SESSION, "writer": "w", "number": 1, "entries": [], name: value}, 0)
    with contextlib.suppress(HudError):
        decode_entries(head, b"")


@pytest.mark.parametrize("image", [b"", b"GIF89a", b"<svg/>", b"\xff\xd8\xff"])
def test_a_body_that_is_not_a_picture_is_unsupported(image: bytes) -> None:
    with pytest.raises(UnsupportedImageError):
        decode_batch(body(header({"stream": "frames", "time_ms": 1, "bytes": len(image)}), image))


def test_too_many_entries_are_too_large() -> None:
    with pytest.raises(TooLargeError):
        decode_batch(body(header(*[METRICS] * (MAX_BATCH_ENTRIES + 1))))


def test_an_entry_of_too_many_fields_is_too_large() -> None:
    with pytest.raises(TooLargeError):
        check_metrics({str(number): "x" * 1000 for number in range(MAX_METRICS_BYTES // 1000)}, 1)


def test_fields_that_came_over_the_network_are_cleaned() -> None:
    entry = METRICS | {"data": {"a\nb": 1, "_hud": 2, "none": None, "big": 10**400}}
    _session, batch = decode_batch(body(header(entry)))
    (found,) = batch.entries
    assert isinstance(found, MetricsEntry)
    assert set(found.data) == {field_name("a\nb"), "big"}


def test_unknown_parts_of_a_newer_publisher_are_skipped() -> None:
    _session, batch = decode_batch(body(header(METRICS | {"newer": 1}, newer=2)))
    assert batch == Batch("w", 1, (MetricsEntry({"a": 1}, 1),))


@pytest.mark.parametrize(("value", "expected"), [(None, None), (0, 0.0), (412, 412.0), (0.5, 0.5)])
def test_a_latency_is_milliseconds_from_zero(value: object, expected: float | None) -> None:
    assert check_latency_ms(value) == expected


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "412", True, [1]])
def test_an_invalid_latency_is_malformed(value: object) -> None:
    with pytest.raises(MalformedError):
        check_latency_ms(value)


def test_writers_are_named_in_plain_letters() -> None:
    assert check_writer("w1-host.domain-77/x:2") == "w1-host.domain-77/x:2"
