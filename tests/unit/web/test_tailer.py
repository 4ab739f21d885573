"""The tailer between two polls of Redis: its knowledge of a session decides, not the session's later state."""

from __future__ import annotations

from typing import Any, cast

from hud_publisher.protocol.entries import START, EntryId
from hud_publisher.protocol.keys import Sid
from hud_publisher.protocol.replies import Marks
from hud_web.live.hub import Hub
from hud_web.live.tailer import Tailer
from hud_web.store.sse import ALL_STREAMS, Position
from hud_web.store.store import Store
from hud_web.store.views import Opening, SessionView

OLD, NEW = Sid("1000"), Sid("2000")
NAMES = ("events", *ALL_STREAMS)


class FlushedStore:
    """Redis that loses its data at a chosen call; then another session begins."""

    def __init__(self) -> None:
        self.is_flushed = False
        self.newest = OLD

    async def current_sid(self, _channel: str) -> Sid:
        return self.newest

    async def marks(self, _channel: str, _sid: Sid, seen: dict[str, str]) -> Marks:
        found = Marks(not self.is_flushed, 0, dict.fromkeys(seen, START), frozenset(), dict.fromkeys(seen, 0))
        self.is_flushed = True  # between this read and the next call
        return found

    async def session(self, channel: str, sid: Sid | None) -> SessionView:
        return SessionView(channel, sid, started_ms=5 if sid == NEW else None)

    async def sessions(self, channel: str, *, limit: int) -> list[SessionView]:
        return [SessionView(channel, NEW, started_ms=5)]

    async def open(self, channel: str, sid: Sid | None) -> Opening:
        return Opening(await self.session(channel, sid), {}, {}, START)

    async def entries(self, *_arguments: Any, **_options: Any) -> list[Any]:
        return []

    async def run(self, _call: object) -> int:
        return 1


async def test_a_flush_between_two_reads_of_one_look_is_told_when_the_next_session_begins() -> None:
    hub, store = Hub("default"), FlushedStore()
    tailer = Tailer(hub, cast("Store", store), cast("Any", None), replica="r")
    hub.switch(SessionView("default", OLD, started_ms=1), Position(OLD), {})
    tailer._forget_marks()
    tailer._at = dict.fromkeys(NAMES, EntryId("0-0"))
    await tailer._check_lease()
    assert hub.session.started_ms is None
    store.newest = NEW
    await tailer._verify()
    assert hub.position.sid == NEW
    events = b"".join(hub._fresh)
    assert events.count(b"event: reset\n") == 1
    assert events.index(b"event: reset\n") < events.rindex(b"event: snapshot\n")
