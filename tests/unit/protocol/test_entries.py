"""Entries of streams: an encoded entry decodes to itself; the length of a stream is bounded."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given

from hud_publisher.protocol.entries import STREAMS, Bound, Entry, MetricsEntry, bounds, entry_bytes, env_name, parse_env
from hud_publisher.protocol.stored import decode_entry
from tests.unit.protocol.test_batch import ENTRIES


def as_redis_returns_it(entry: Entry) -> Mapping[bytes, bytes]:
    parts = [part if isinstance(part, bytes) else str(part).encode() for part in entry.encode()]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@given(ENTRIES)
def test_an_encoded_entry_decodes_to_itself(entry: Entry) -> None:
    assert decode_entry(entry.stream, as_redis_returns_it(entry)) == entry


@given(ENTRIES)
def test_fields_of_a_newer_version_are_skipped(entry: Entry) -> None:
    fields = {**as_redis_returns_it(entry), b"newer": b"1"}
    assert decode_entry(entry.stream, fields) == entry


def test_envs_are_written_and_read_alike() -> None:
    assert parse_env(env_name((12, 3))) == (12, 3)
    assert parse_env("") is None
    assert parse_env(None) is None


def test_streams_of_pictures_are_bounded_by_bytes_and_age() -> None:
    kept = bounds(300.0)
    assert set(kept) == set(STREAMS)
    assert kept["frames"].age_ms == 300_000
    for stream in ("frames", "thumbs", "vision", "mind"):
        bound = kept[stream]
        for size in (500, 16_000, 4_000_000):
            assert bound.max_entries(size) * size <= max(bound.stream_bytes, size)


@pytest.mark.parametrize(("size", "expected"), [(1, 10), (20, 5), (1000, 1)])
def test_a_bound_leaves_at_least_one_entry(size: int, expected: int) -> None:
    assert Bound(entries=10, stream_bytes=100).max_entries(size) == expected


def test_the_size_of_an_entry_is_about_right() -> None:
    entry = MetricsEntry({"a": "x" * 1000}, 1)
    assert 1000 <= entry_bytes(entry) <= 1200
