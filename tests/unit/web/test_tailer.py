"""The tailer between two polls of Redis: its knowledge of a session decides, not the session's later state."""

from __future__ import annotations

from typing import Any, cast

import pytest

from hud_publisher.protocol.entries import START, EntryId
from hud_publisher.protocol.keys import Sid
from hud_publisher.protocol.replies import Marks
from hud_web.live.hub import Hub
from hud_web.live.tailer import CHECKS_AT_ONCE, Checks, Tailer
from hud_web.store.sse import ALL_STREAMS, Position
from hud_web.store.store import Check, Store
from hud_web.store.views import Opening, SessionView

OLD, NEW = Sid("1000"), Sid("2000")
NAMES = ("events", *ALL_STREAMS)


class FlushedStore:
    """Redis that loses its data at a chosen call; then another session begins."""

    def __init__(self) -> None:
        self.is_flushed = False
        self.current = OLD
        self.has_entries = False

    async def current_sid(self, _channel: str) -> Sid:
        return self.current

    async def marks(self, _channel: str, _sid: Sid, seen: dict[str, str]) -> Marks:
        found = Marks(not self.is_flushed, 0, dict.fromkeys(seen, START), frozenset(), dict.fromkeys(seen, 0))
        self.is_flushed = True  # between this read and the next call
        return found

    async def check(self, channel: str, sid: Sid, seen: dict[str, str], _watch: object) -> Check:
        newest, marks = await self.current_sid(channel), await self.marks(channel, sid, seen)
        return Check(newest, marks, await self.session(channel, sid), 1)

    async def session(self, channel: str, sid: Sid | None) -> SessionView:
        return SessionView(channel, sid, started_ms=5 if sid == NEW else None)

    async def sessions(self, channel: str, *, limit: int) -> list[SessionView]:
        return [SessionView(channel, NEW, started_ms=5)]

    async def open(self, channel: str, sid: Sid | None) -> Opening:
        fields = {b"data": b'{"n": 5}', b"step": b"5"}
        newest: Any = {"metrics": (EntryId("5-0"), fields)} if self.has_entries else {}
        return Opening(await self.session(channel, sid), {}, newest, START)

    async def newest(self, *_arguments: Any, **_options: Any) -> list[Any]:
        return [(EntryId(f"{n}-0"), {b"data": b'{"n": %d}' % n, b"step": b"%d" % n}) for n in (4, 3)]

    async def entries(self, *_arguments: Any, **_options: Any) -> list[Any]:
        return []

    def readable(self, _channel: str, _kind: str, read: Any, *arguments: Any) -> Any:
        return read(*arguments)

    async def run(self, _call: object) -> int:
        return 1


async def test_a_flush_between_two_reads_of_one_look_is_told_when_the_next_session_begins() -> None:
    hub, store = Hub("default"), FlushedStore()
    tailer = Tailer(hub, cast("Store", store), cast("Any", None), replica="r", checks=Checks())
    hub.switch(SessionView("default", OLD, started_ms=1), Position(OLD), {})
    tailer._forget_marks()
    tailer._at = dict.fromkeys(NAMES, EntryId("0-0"))
    await tailer._check_lease()
    assert hub.session.started_ms is None
    store.current = NEW
    await tailer._verify()
    assert hub.position.sid == NEW
    events = b"".join(hub._fresh)
    assert events.count(b"event: reset\n") == 1
    assert events.index(b"event: reset\n") < events.rindex(b"event: snapshot\n")


async def test_a_client_that_saw_the_next_session_elsewhere_is_not_told_of_a_loss() -> None:
    hub, store = Hub("default"), FlushedStore()
    tailer = Tailer(hub, cast("Store", store), cast("Any", None), replica="r", checks=Checks())
    hub.switch(SessionView("default", OLD, started_ms=1), Position(OLD), {})
    tailer._had_info = store.is_flushed = store.has_entries = True
    tailer._at = dict.fromkeys(NAMES, EntryId("0-0"))
    store.current = NEW
    await tailer._verify()
    assert b"event: reset" in b"".join(hub._fresh)
    behind, level = (Position(NEW, events=START, metrics=EntryId(at)) for at in ("4-0", "5-0"))
    assert hub.missed(behind) is None  # Redis has the missed entries
    assert hub.missed(level) == (b"", hub.ring.end)


async def test_a_channel_whose_check_has_to_wait_reads_on(monkeypatch: pytest.MonkeyPatch) -> None:
    hub, checks = Hub("default"), Checks()
    tailer = Tailer(hub, cast("Store", FlushedStore()), cast("Any", None), replica="r", checks=checks)
    reads: list[int] = []

    async def read(*, block_ms: int) -> int:
        reads.append(block_ms)
        return 0

    monkeypatch.setattr(tailer, "_read", read)
    for _ in range(CHECKS_AT_ONCE):
        await checks.slots.acquire()
    for _ in range(3):
        await tailer._step()
    assert len(reads) == 3
    assert tailer._next_check_s == 0.0
    checks.slots.release()
    hub.switch(SessionView("default", OLD, started_ms=1), Position(OLD), {})
    tailer._at = dict.fromkeys(NAMES, EntryId("0-0"))
    await tailer._step()
    assert tailer._next_check_s > 0.0


def test_a_thousand_channels_are_checked_every_five_seconds_and_few_every_two() -> None:
    checks = Checks()
    for channels, interval_s in ((1, 2.0), (400, 2.0), (1_000, 5.0)):
        checks.share(channels)
        assert checks.interval_s == interval_s
