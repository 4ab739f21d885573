"""`GET /stream`: one viewer's Server-Sent Events, as a plain ASGI application.

Owns the order of what a viewer gets: status, session, then what it missed or a snapshot; then its hub writes to it
until the stream ends. It stays outside Starlette's responses, which cost several times as much per event.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import Self

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from hud_publisher.protocol.errors import MalformedError, NotFoundError, UnavailableError
from hud_publisher.protocol.keys import Sid, check_sid
from hud_web import sse
from hud_web.hub import HEARTBEAT_S, Hub
from hud_web.outlet import Piece, outlet_for
from hud_web.query import channel_of
from hud_web.replay import HistoryGoneError, replay
from hud_web.rooms import Rooms
from hud_web.snapshot import encode_opening
from hud_web.sse import Position
from hud_web.store import Store
from hud_web.subscriber import Subscriber

#: Streams end after 80–100 % of this, so that viewers spread over new replicas.
MAX_AGE_S = 600.0
#: The browser's wait before it reconnects; it has no jitter of its own, so the server varies it.
RETRY_MS = (500, 2_000)
#: The same for who comes to a replica that is going away: time for the way in to lead elsewhere.
TURNED_AWAY_RETRY_MS = (1_000, 5_000)
#: How long a viewer waits, before the head of its stream, for the room's first look at Redis: as long as that may take.
FIRST_LOOK_S = 2.0
#: How long this replica may be behind the one that a viewer comes from.
REACH_S = 3.0
#: How often such a viewer looks whether it still has to wait, and how often while Redis is away.
LOOK_S = 0.02
AWAY_LOOK_S = 0.5
#: Viewers whom Redis is asked at once for what they missed; the others wait their turn.
REPLAYS_AT_ONCE = 4

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx buffers streams otherwise
]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a viewer asks for.

    Attributes:
        channel: which display.
        sid: a past session instead of the present one.
        interval_s: least time between two frames, 0 for every frame, None for none.
        since: what it has seen already.
    """

    channel: str
    sid: Sid | None
    interval_s: float | None
    since: Position | None

    @classmethod
    def of(cls, request: Request) -> Self:
        """Read the query and the Last-Event-ID.

        Raises:
            HudError: something is not what it must be.
        """
        query = request.query_params
        sid = query.get("session")
        is_pictureless = query.get("frames", "1") in ("0", "false", "off")
        last_id = request.headers.get("last-event-id") or query.get("last_event_id")
        return cls(
            channel_of(request), check_sid(sid) if sid else None,
            None if is_pictureless else _interval_s(query.get("fps")), Position.parse(last_id),
        )  # fmt: skip


class StreamEndpoint:
    """The ASGI application behind `/stream`."""

    def __init__(self, rooms: Rooms, store: Store) -> None:
        self._rooms = rooms
        self._store = store
        self._replays = asyncio.Semaphore(REPLAYS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one viewer until it leaves, is cut, grows too old, or the server drains."""
        wish = Wish.of(Request(scope))
        if scope["method"] == "HEAD" or self._rooms.is_draining:
            await _turn_away(send)
            return
        ends_s = time.monotonic() + random.uniform(0.8, 1.0) * MAX_AGE_S
        hub, viewer = self._rooms.enter(wish.channel, wish.interval_s, ends_s=ends_s)
        viewer.outlet = outlet_for(scope, receive, send, viewer)
        viewer.at_close = self._end
        try:
            if not hub.is_ready:  # what is written once the head is there comes as an event, not in the snapshot
                await viewer.pause(FIRST_LOOK_S)  # the hub ends it
            await viewer.outlet.start(_HEADERS)
            await self._open(hub, viewer, wish)
        except BaseException:
            viewer.close()
            raise
        await viewer.outlet.stay()

    def _end(self, viewer: Subscriber) -> None:
        self._rooms.leave(viewer)
        if not viewer.is_gone:
            viewer.outlet.end(Piece(sse.retry(random.randint(*RETRY_MS))))

    async def _open(self, hub: Hub, viewer: Subscriber, wish: Wish) -> None:
        """Bring a viewer to where it follows its hub."""
        hello = sse.retry(random.randint(*RETRY_MS))
        if not hub.is_ready:
            await self._await_redis(hub, viewer, hello)
            hello = b""
        hello += hub.status_event()
        if wish.sid is not None and wish.sid != hub.position.sid:
            await self._show_past(hub, viewer, wish.sid, hello)
        elif wish.since is None or not await self._resume(hub, viewer, wish.since, hello):
            await self._show(hub, viewer, hello if wish.since is None else b"")

    async def _await_redis(self, hub: Hub, viewer: Subscriber, hello: bytes) -> None:
        while not hub.is_ready and not viewer.is_closed:
            await viewer.write(hello + hub.status_event())
            hello = b""
            await viewer.pause(HEARTBEAT_S)  # the hub ends it

    async def _show(self, hub: Hub, viewer: Subscriber, hello: bytes) -> None:
        picture, cursor = hub.whole_picture()
        await viewer.write(hello + picture)
        viewer.follow(cursor, has_frame=True)

    async def _resume(self, hub: Hub, viewer: Subscriber, since: Position, hello: bytes) -> bool:
        """Give a viewer what it missed, and let it follow. Returns False if that is not kept any more."""
        await viewer.write(hello + hub.session_event_without_id())
        try:
            await self._reach(hub, viewer, since)
            missed = hub.missed(since)
            if missed is not None:
                head, cursor = missed
                await viewer.write(head)
            else:
                async with self._replays:
                    cursor = await self._replay(hub, viewer, since)
        except HistoryGoneError as error:
            await viewer.write(sse.event("reset", sse.dump({"reason": str(error)})))
            return False
        viewer.follow(cursor, has_frame=False)
        return True

    async def _reach(self, hub: Hub, viewer: Subscriber, since: Position) -> None:
        """Return once this replica has read what another has shown the viewer: it would show it again otherwise."""
        ends_s = beat_s = time.monotonic() + REACH_S
        while not hub.position.covers(since) and not viewer.is_closed:
            now = time.monotonic()
            if hub.redis_trouble is not None:
                ends_s = now + REACH_S
            elif now > ends_s:
                raise HistoryGoneError("the client has seen more than there is")
            if now > beat_s:
                beat_s = now + HEARTBEAT_S
                await viewer.write(hub.status_event())
            await viewer.pause(LOOK_S if hub.redis_trouble is None else AWAY_LOOK_S)

    async def _replay(self, hub: Hub, viewer: Subscriber, since: Position) -> int:
        while not viewer.is_closed:
            cursor, until = hub.wake(), hub.position  # the hub goes on exactly where the replay ends
            try:
                async with aclosing(replay(self._store, hub.channel, since, until)) as chunks:
                    async for chunk in chunks:
                        await viewer.write(chunk)
            except UnavailableError:  # went away just now; wait for its return
                await viewer.pause(random.uniform(0.2, 1.0))
                await viewer.write(hub.status_event())
            else:
                return cursor
        return hub.delivered

    async def _show_past(self, hub: Hub, viewer: Subscriber, sid: Sid, hello: bytes) -> None:
        """A session that is over: its last state, then nothing but heartbeats."""
        try:
            opening = await self._store.open(hub.channel, sid)
        except (NotFoundError, UnavailableError) as error:
            await viewer.write(hello + sse.event("reset", sse.dump({"reason": str(error)})))
            viewer.close()
            return
        session = sse.event("session", sse.dump(opening.session.describe()))
        await viewer.write(hello + session + sse.event("snapshot", encode_opening(opening, hub.viewers_total)))
        hub.watch_past(viewer)


def _interval_s(text: str | None) -> float:
    if not text:
        return 0.0
    try:
        fps = float(text)
    except ValueError:
        fps = -1.0
    if not 0.05 <= fps <= 120:
        raise MalformedError(f"expected fps to be a number from 0.05 to 120, got {text[:40]!r}")
    return 1.0 / fps


async def _turn_away(send: Send) -> None:
    """Ask a viewer to come again: an EventSource comes back after this, and never after an error (HTML §9.2.2)."""
    body = sse.retry(random.randint(*TURNED_AWAY_RETRY_MS))
    headers = [*_HEADERS, (b"connection", b"close"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
