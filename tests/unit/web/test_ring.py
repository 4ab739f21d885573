"""The position at which a reconnecting client resumes, and the events replayed to it."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hud_publisher.protocol.entries import EntryId
from hud_publisher.protocol.keys import Sid
from hud_web.live.ring import Ring
from hud_web.store import sse
from hud_web.store.sse import KEPT_STREAMS, Position

SID = Sid("7")
Entry = tuple[Any, int]


def event_of(stream: str, number: int, position: Position) -> bytes:
    return sse.event("training_update", f'"{stream} {number}"', position)


def filled(entries: list[Entry], base: Position | None = None) -> tuple[Ring, Position]:
    """A ring of these entries, (stream, number), and the position behind them."""
    position = base or Position(SID)
    ring = Ring(position)
    for stream, number in entries:
        position = position.after(stream, EntryId(f"{number}-0"))
        ring.append(event_of(stream, number, position), position, stream)
    return ring, position


def all_from(ring: Ring, since: Position) -> list[str] | None:
    """The data of all events that a client resuming after `since` gets."""
    found = ring.find(since)
    if found is None:
        return None
    head, number = found
    rest = b""
    while number < ring.end:
        piece, number = ring.joined(number, ring.end, 1)
        rest += piece
    return re.findall(r'data: "(.*)"', (head + rest).decode())


def test_a_client_that_saw_everything_gets_nothing() -> None:
    ring, position = filled([("metrics", 1), ("metrics", 2)])
    assert all_from(ring, position) == []


def test_a_client_gets_only_the_events_after_its_position() -> None:
    ring, _ = filled([("metrics", n) for n in range(1, 6)])
    assert all_from(ring, Position(SID, metrics=EntryId("3-0"))) == ["metrics 4", "metrics 5"]


def test_events_that_another_replica_read_in_another_order_come_once_and_ids_never_go_back() -> None:
    ring, _ = filled([("metrics", 1), ("metrics", 2), ("vision", 3), ("metrics", 4)])
    since = Position(SID, metrics=EntryId("1-0"), vision=EntryId("3-0"))
    assert all_from(ring, since) == ["metrics 2", "metrics 4"]
    found = ring.find(since)
    assert found is not None
    assert f"id: {Position(SID, metrics=EntryId('2-0'), vision=EntryId('3-0')).encode()}\n".encode() in found[0]


def test_events_of_the_present_state_are_left_out_of_the_replayed_part() -> None:
    ring = Ring(Position(SID))
    one = Position(SID, metrics=EntryId("1-0"))
    ring.append(event_of("metrics", 1, one), one, "metrics")
    ring.append(b"event: status\ndata: {}\n\n", one, None)
    two = one.after("metrics", EntryId("2-0"))
    ring.append(event_of("metrics", 2, two), two, "metrics")
    assert all_from(ring, one) == ["metrics 2"]


def test_a_new_session_reaches_clients_of_the_one_before() -> None:
    ring, last = filled([("metrics", 1), ("metrics", 2)])
    following = Position(Sid("9"), events=EntryId("5-0"))
    ring.append(sse.event("session", '"turn"', following), following, "turn")
    first = following.after("metrics", EntryId("3-0"))
    ring.append(event_of("metrics", 3, first), first, "metrics")
    assert all_from(ring, Position(SID, metrics=EntryId("1-0"))) == ["metrics 2", "turn", "metrics 3"]
    assert all_from(ring, last) == ["turn", "metrics 3"]
    assert all_from(ring, following) == ["metrics 3"]


def test_nobody_resumes_from_before_the_ring_or_across_a_restart_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hud_web.live.ring.RING_EVENTS", 3)
    ring, position = filled([("metrics", n) for n in range(1, 6)])
    assert all_from(ring, Position(SID, metrics=EntryId("1-0"))) is None
    assert all_from(ring, Position(SID, metrics=EntryId("2-0"))) == ["metrics 3", "metrics 4", "metrics 5"]
    assert ring.end == 5
    ring.restart(position)
    assert (ring.first, ring.end) == (5, 5)
    assert all_from(ring, Position(SID, metrics=EntryId("4-0"))) is None
    assert all_from(ring, position) == []


def test_the_ring_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hud_web.live.ring.RING_BYTES", 300)
    ring, _ = filled([("metrics", n) for n in range(1, 50)])
    assert 0 < ring.end - ring.first < 5


def test_joined_events_are_bounded_and_never_empty() -> None:
    ring, _ = filled([("metrics", n) for n in range(1, 6)])
    piece, number = ring.joined(0, 5, 1)
    assert (piece.count(b"data:"), number) == (1, 1)
    piece, number = ring.joined(1, 4, 10**6)
    assert (piece.count(b"data:"), number) == (3, 4)


@given(
    st.lists(st.tuples(st.sampled_from(KEPT_STREAMS), st.integers(0, 3)), max_size=30),
    st.integers(0, 30),
)
def test_every_entry_comes_once_for_any_read_order_of_two_replicas(steps: list[Entry], cut: int) -> None:
    entries: list[Entry] = []
    number = 0
    for stream, gap in steps:
        number += gap + 1
        entries.append((stream, number))
    # Each replica sees every stream in order; between streams the order is open.
    there = sorted(entries, key=lambda entry: (entry[1] // 5, entry[0], entry[1]))
    here = sorted(entries, key=lambda entry: (entry[1] // 7, entry[0][::-1], entry[1]))
    seen = Position(SID)
    for stream, at in there[:cut]:
        seen = seen.after(stream, EntryId(f"{at}-0"))
    ring, _ = filled(here)
    got = all_from(ring, seen)
    assert got is not None
    assert sorted(got) == sorted(f"{stream} {at}" for stream, at in there[cut:])
    head, _number = ring.find(seen) or (b"", 0)
    ids = [Position.parse(found) for found in re.findall(r"id: (\S+)", head.decode())]
    assert all(later is not None and earlier is not None and later.covers(earlier) for earlier, later in pairwise(ids))


def test_a_client_of_a_session_that_this_replica_never_saw_does_not_resume() -> None:
    """Redis lost session 7 before this replica read it: from "no session" on, the ring holds session 9 only."""
    ring = Ring(Position(Sid("0")))
    position = Position(Sid("9"))
    ring.append(sse.event("session", "{}", position), position, "turn")
    assert ring.find(Position(Sid("7"), metrics=EntryId("3-0"))) is None
    assert ring.find(Position(Sid("0"))) is not None
    assert ring.find(position) is not None
