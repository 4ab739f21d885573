"""The connections on which a replica reads its channels: one for each channel, or with many channels one for several.

On a connection of its own a channel gets each entry at once, at the cost of a read for each batch. A thousand channels
would spend all of the replica's time on such reads. So beyond OWN_CONNECTIONS, up to SHARED_CHANNELS channels share a
connection: one XREAD over all their streams, then a pause in which the next entries gather. Called by the tailers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from redis.asyncio import Redis

from hud_publisher.protocol.entries import EntryId
from hud_web.live.channel_reader import ChannelReader, Entries
from hud_web.store.redis_client import READ_TIMEOUT_S

#: Channels that get a connection of their own: a few dozen cost little, and the connections stay few.
OWN_CONNECTIONS = 48
#: Channels of one shared connection: XREAD takes Redis 0.2 µs for each of the ten streams of a channel.
SHARED_CHANNELS = 16
#: Time between two reads of a shared connection: a delay of its entries, during which further ones come.
PAUSE_S = 0.03
#: How long a shared read waits for entries: a channel that asks meanwhile has to wait for its end. The streams that had
#: no entry for BUSY_S are read this seldom: most of a run's ten streams never have one, and a read costs by the stream.
BLOCK_S = 0.1
BUSY_S = 10.0

#: Key of a stream → the id of the newest entry that was read.
Positions = Mapping[bytes, EntryId]
Found = list[tuple[bytes, Entries]]


class Readers:
    """All connections for reading; channels take them when they read for the first time."""

    def __init__(self, client: Redis) -> None:
        """Make an empty set of connections; see ChannelReader for `client`."""
        self._client = client
        self._lines: list[_Line] = []

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._lines)

    def reader(self) -> Reader:
        """Return a reader for one channel; it takes no connection yet."""
        return Reader(self)

    def join(self, member: Reader) -> _Line:
        """Return the connection for a reader: a new one, or the fullest one with room."""
        line = None
        if len(self._lines) >= OWN_CONNECTIONS:
            with_room = [one for one in self._lines if one.can_share and len(one.members) < SHARED_CHANNELS]
            line = max(with_room, key=lambda one: len(one.members), default=None)
        if line is None:
            line = _Line(ChannelReader(self._client, timeout_s=READ_TIMEOUT_S))
            self._lines.append(line)
        line.add(member)
        return line

    async def leave(self, member: Reader, line: _Line) -> None:
        """Remove a reader from its connection, which is closed after its last one."""
        if not line.remove(member):
            self._lines.remove(line)
            await line.aclose()


class Reader:
    """Reads the streams of one channel."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._line: _Line | None = None

    async def read(self, after: Positions, *, count: int, block_ms: int) -> Found:
        """Return the newer entries of each stream, within block_ms, at most `count` of each; see ChannelReader.read.

        On a shared connection the time may be exceeded by BLOCK_S, and there may be fewer entries than possible.
        """
        if self._line is None:
            self._line = self._readers.join(self)
        return await self._line.read(self, after, count, block_ms)

    async def aclose(self) -> None:
        """Leave the connection; the next read takes one again."""
        line, self._line = self._line, None
        if line is not None:
            await self._readers.leave(self, line)


@dataclass(slots=True)
class _Ask:
    """A read that waits for its answer."""

    after: Positions
    count: int
    ends_s: float
    answer: asyncio.Future[Found] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def settle(self, found: Found) -> None:
        if not self.answer.done():  # cancelled
            self.answer.set_result(found)


class _Line:
    """One connection and the readers that use it: a single one directly, several through a task that reads for all."""

    def __init__(self, reader: ChannelReader) -> None:
        self._reader = reader
        self._reading = asyncio.Lock()
        self._asks: dict[Reader, _Ask] = {}
        self._has_asks = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.members: set[Reader] = set()
        #: Key of each stream that had entries lately → when; and when all streams were read. On the loop's clock.
        self._busy: dict[bytes, float] = {}
        self._whole_s = 0.0

    @property
    def can_share(self) -> bool:
        """Whether one read may have keys of several channels; a cluster has them on different nodes."""
        return self._reader.is_direct

    def add(self, member: Reader) -> None:
        self.members.add(member)
        if len(self.members) > 1 and self._task is None:
            self._reader.interrupt()  # the only member may be waiting for entries
            self._task = asyncio.create_task(self._serve())

    def remove(self, member: Reader) -> int:
        """Remove a member; returns how many are left."""
        self.members.discard(member)
        self._asks.pop(member, None)
        self._has_asks.set()
        return len(self.members)

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
        await self._reader.aclose()

    async def read(self, member: Reader, after: Positions, count: int, block_ms: int) -> Found:
        if self._task is None:
            async with self._reading:
                return await self._reader.read(after, count=count, block_ms=block_ms)
        ask = self._asks[member] = _Ask(after, count, asyncio.get_running_loop().time() + block_ms / 1000)
        self._has_asks.set()
        return await ask.answer

    async def _serve(self) -> None:
        """Read for all members while there are several."""
        loop = asyncio.get_running_loop()
        try:
            while len(self.members) > 1:
                await self._has_asks.wait()
                self._has_asks.clear()
                if not self._asks:
                    continue
                asks, self._asks = self._asks, {}
                try:
                    is_behind = await self._read_for(list(asks.values()))
                except Exception as error:  # each member's tailer handles it
                    for ask in asks.values():
                        if not ask.answer.done():
                            ask.answer.set_exception(error)
                    continue
                now_s = loop.time()
                for member, ask in asks.items():
                    if member not in self.members or now_s >= ask.ends_s:
                        ask.settle([])
                    elif not ask.answer.done():
                        self._asks[member] = ask
                        self._has_asks.set()
                if not is_behind:
                    await asyncio.sleep(PAUSE_S)
        finally:
            self._task = None
            for ask in self._asks.values():
                ask.settle([])
            self._asks.clear()

    async def _read_for(self, asks: list[_Ask]) -> bool:
        """Read once for all; return whether a stream may have further entries."""
        now_s = asyncio.get_running_loop().time()
        after, block_s = self._streams_to_read(asks, now_s)
        # Together they get no larger an answer than a single channel does.
        count = max(1, min(ask.count for ask in asks) // len(asks))
        async with self._reading:
            came = await self._reader.read(after, count=count, block_ms=round(block_s * 1000), is_shared=True)
        answers: dict[int, Found] = {}
        for key, entries in came:
            self._busy[key] = now_s
            number = next(number for number, ask in enumerate(asks) if key in ask.after)
            answers.setdefault(number, []).append((key, entries))
        for number, found in answers.items():
            asks[number].settle(found)
        return any(len(entries) >= count for _key, entries in came)

    def _streams_to_read(self, asks: list[_Ask], now_s: float) -> tuple[dict[bytes, EntryId], float]:
        """Return all streams at every BLOCK_S, between that the busy ones; and how long to wait for entries."""
        after: dict[bytes, EntryId] = {}
        left_s = self._whole_s + BLOCK_S - now_s
        if left_s > 0.001:
            for ask in asks:
                after.update([(key, at) for key, at in ask.after.items() if key in self._busy])
            if after:
                return after, left_s
        self._whole_s = now_s
        self._busy = {key: busy_s for key, busy_s in self._busy.items() if now_s - busy_s < BUSY_S}
        for ask in asks:
            after.update(ask.after)
        return after, BLOCK_S
