"""Channels that share a connection: each gets its own entries, and the trouble of one is not that of another."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import pytest
from redis.exceptions import ResponseError

from hud_publisher.protocol.entries import START, EntryId
from hud_web.live import readers as module
from hud_web.live.readers import OWN_CONNECTIONS, SHARED_CHANNELS, Reader, Readers

Found = list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]


class Connection:
    """Replaces a ChannelReader: has the entries that a test wrote, and waits for further ones."""

    is_direct = True
    written: ClassVar[dict[bytes, list[bytes]]] = {}
    errors: ClassVar[dict[bytes, Exception]] = {}
    opened: ClassVar[list[Connection]] = []

    def __init__(self, _client: object, *, timeout_s: float) -> None:
        self.reads: list[tuple[frozenset[bytes], int, bool]] = []
        self.is_closed = False
        self._interrupted = asyncio.Event()
        self.opened.append(self)

    async def read(
        self, after: Mapping[bytes, EntryId], *, count: int, block_ms: int, is_shared: bool = False
    ) -> Found:
        self.reads.append((frozenset(after), count, is_shared))
        for key in after:
            if key in self.errors:
                raise self.errors[key]
        found: Found = [
            (key, [(one, dict[bytes, bytes]()) for one in self.written.get(key, []) if one > at.encode()][:count])
            for key, at in after.items()
        ]
        if not any(entries for _key, entries in found):
            try:
                async with asyncio.timeout(block_ms / 1000):
                    await self._interrupted.wait()
            except TimeoutError:
                pass
            self._interrupted.clear()
        return [(key, entries) for key, entries in found if entries]

    def interrupt(self) -> None:
        self._interrupted.set()

    async def aclose(self) -> None:
        self.is_closed = True


@pytest.fixture(autouse=True)
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Connection]:
    """All connections that were opened; with short waits."""
    Connection.written, Connection.errors, Connection.opened = {}, {}, []
    monkeypatch.setattr(module, "ChannelReader", Connection)
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    monkeypatch.setattr(module, "BLOCK_S", 0.001)
    return Connection.opened


def key(number: int) -> bytes:
    return b"hud:{c%d}:metrics" % number


def ids(found: Found) -> dict[bytes, list[bytes]]:
    return {name: [entry_id for entry_id, _fields in entries] for name, entries in found}


async def read(reader: Reader, number: int, after: str = START, *, count: int = 500, block_ms: int = 20) -> Any:
    return ids(await reader.read({key(number): EntryId(after)}, count=count, block_ms=block_ms))


async def joined(count: int) -> tuple[Readers, list[Reader]]:
    """Readers of `count` channels, each of which has read once."""
    readers = Readers(cast("Any", None))
    members = [readers.reader() for _ in range(count)]
    await asyncio.gather(*(read(member, number, block_ms=1) for number, member in enumerate(members)))
    return readers, members


async def closed(*members: Reader) -> None:
    for member in members:
        await member.aclose()


async def test_a_thousand_channels_take_a_hundred_connections_and_few_take_one_each() -> None:
    readers, members = await joined(OWN_CONNECTIONS)
    assert readers.connections == OWN_CONNECTIONS
    others = [readers.reader() for _ in range(1_000 - OWN_CONNECTIONS)]
    await asyncio.gather(*(read(member, number, block_ms=1) for number, member in enumerate(others)))
    assert readers.connections <= OWN_CONNECTIONS + 1_000 / SHARED_CHANNELS
    assert all(len(keys) <= SHARED_CHANNELS for one in Connection.opened for keys, _count, _shared in one.reads)
    await closed(*members, *others)
    assert readers.connections == 0
    assert all(one.is_closed for one in Connection.opened)


async def test_each_channel_of_a_shared_connection_gets_its_entries_alone() -> None:
    _readers, members = await joined(OWN_CONNECTIONS + 3)
    last = range(OWN_CONNECTIONS, OWN_CONNECTIONS + 3)
    Connection.written = {key(number): [b"1-0", b"2-0"] for number in last}
    answers = await asyncio.gather(*(read(members[number], number, "1-0") for number in last))
    assert answers == [{key(number): [b"2-0"]} for number in last]
    await closed(*members)


async def test_a_silent_channel_gets_its_turn_in_time_although_its_neighbours_are_busy() -> None:
    _readers, members = await joined(OWN_CONNECTIONS + 2)
    busy, silent = OWN_CONNECTIONS, OWN_CONNECTIONS + 1
    Connection.written = {key(busy): [b"1-0"]}
    waiting = asyncio.create_task(read(members[silent], silent, block_ms=50))
    while not waiting.done():
        assert await read(members[busy], busy) == {key(busy): [b"1-0"]}
    assert waiting.result() == {}
    await closed(*members)


async def test_an_error_reaches_every_channel_of_its_connection_and_ends_with_its_cause() -> None:
    _readers, members = await joined(OWN_CONNECTIONS + 2)
    last = range(OWN_CONNECTIONS, OWN_CONNECTIONS + 2)
    Connection.errors = {key(last[0]): ResponseError("WRONGTYPE")}
    waiting = [asyncio.create_task(read(members[number], number)) for number in last]
    assert all(isinstance(one, ResponseError) for one in await asyncio.gather(*waiting, return_exceptions=True))
    Connection.written = {key(last[1]): [b"1-0"]}  # the tailer of the first one leaves its key out from now on
    assert await read(members[last[1]], last[1]) == {key(last[1]): [b"1-0"]}
    await closed(*members)


async def test_channels_of_one_connection_get_no_larger_an_answer_than_a_single_one() -> None:
    _readers, members = await joined(OWN_CONNECTIONS + 3)
    last = range(OWN_CONNECTIONS, OWN_CONNECTIONS + 3)
    Connection.written = {key(number): [b"%d-0" % n for n in range(1, 10)] for number in last}
    found = await asyncio.gather(*(read(members[number], number, count=9) for number in last))
    assert [len(one[key(number)]) for one, number in zip(found, last, strict=True)] == [3, 3, 3]
    await closed(*members)


async def test_the_last_channel_of_a_shared_connection_reads_alone_again(connections: list[Connection]) -> None:
    _readers, members = await joined(OWN_CONNECTIONS + 1)
    (shared,) = [one for one in connections if any(is_shared for _keys, _count, is_shared in one.reads)]
    partner = next(n for n in range(OWN_CONNECTIONS) if any(key(n) in keys for keys, _count, _s in shared.reads))
    await members[OWN_CONNECTIONS].aclose()
    Connection.written = {key(partner): [b"1-0"]}
    assert await read(members[partner], partner) == {key(partner): [b"1-0"]}
    for _ in range(2):  # the first may be the last of the shared ones
        await read(members[partner], partner, "1-0", block_ms=1)
    assert shared.reads[-1] == (frozenset({key(partner)}), 500, False)
    await closed(*members)


async def test_a_channel_that_joins_ends_the_long_wait_of_the_other_one() -> None:
    readers, members = await joined(OWN_CONNECTIONS)
    waits = [asyncio.create_task(read(one, number, block_ms=60_000)) for number, one in enumerate(members)]
    await asyncio.sleep(0)
    another = readers.reader()
    Connection.written = {key(99): [b"1-0"]}
    assert await read(another, 99) == {key(99): [b"1-0"]}
    for one in waits:
        one.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    await closed(*members, another)


async def test_a_tailer_that_ends_in_the_middle_of_a_read_leaves_the_others_theirs() -> None:
    _readers, members = await joined(OWN_CONNECTIONS + 2)
    gone, other = OWN_CONNECTIONS, OWN_CONNECTIONS + 1
    waiting = asyncio.create_task(read(members[gone], gone, block_ms=60_000))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await members[gone].aclose()
    Connection.written = {key(other): [b"1-0"]}
    assert await read(members[other], other) == {key(other): [b"1-0"]}
    await closed(*members)


async def test_a_cluster_gives_every_channel_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "is_direct", False)
    readers, members = await joined(OWN_CONNECTIONS + 20)
    assert readers.connections == OWN_CONNECTIONS + 20
    await closed(*members)


async def test_a_shared_read_names_a_quiet_stream_seldom_and_finds_its_next_entry(
    monkeypatch: pytest.MonkeyPatch, connections: list[Connection]
) -> None:
    _readers, members = await joined(OWN_CONNECTIONS + 2)
    monkeypatch.setattr(module, "BLOCK_S", 0.05)
    busy, quiet = OWN_CONNECTIONS, OWN_CONNECTIONS + 1
    Connection.written = {key(busy): [b"1-0"]}
    waiting = asyncio.create_task(read(members[quiet], quiet, block_ms=10_000))
    await asyncio.sleep(0)
    for _ in range(40):
        await read(members[busy], busy)
    (shared,) = [one for one in connections if any(key(busy) in keys for keys, _count, _shared in one.reads)]
    named = sum(key(quiet) in keys for keys, _count, _shared in shared.reads)
    assert named < len(shared.reads) / 2
    Connection.written[key(quiet)] = [b"1-0"]
    while not waiting.done():
        await read(members[busy], busy)
    assert waiting.result() == {key(quiet): [b"1-0"]}
    await closed(*members)
