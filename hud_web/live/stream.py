"""`GET /stream`: one viewer's Server-Sent Events, as a plain ASGI application.

Owns the order of the events: status, session, then missed events or a snapshot; then its hub writes to it
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

from hud_publisher.protocol.entries import START
from hud_publisher.protocol.errors import NotFoundError, TooManyRequestsError, UnavailableError
from hud_publisher.protocol.keys import Sid
from hud_web.access.budget import Budget, Share
from hud_web.http.proxies import client_of
from hud_web.http.query import channel_of, decimal_number, parameter, sid_of
from hud_web.live.channels import Channels
from hud_web.live.hub import HEARTBEAT_S, Hub
from hud_web.live.outlet import Payload, outlet_for
from hud_web.live.replay import MAX_REPLAY_BYTES, HistoryGoneError, replay
from hud_web.live.subscriber import Subscriber
from hud_web.store import sse
from hud_web.store.snapshot import encode_opening
from hud_web.store.sse import Position
from hud_web.store.store import Store

#: Streams end after 80–100 % of this, so that viewers spread over new replicas.
MAX_AGE_S = 600.0
#: The browser's wait before it reconnects; it adds no jitter, so the server varies it.
RETRY_MS = (500, 2_000)
#: The same at a draining replica: time for the proxy to choose another one.
TURNED_AWAY_RETRY_MS = (1_000, 5_000)
#: How long a viewer waits, before the head of its stream, for the tailer's first read of Redis: that read's time limit.
FIRST_LOOK_S = 2.0
#: How long this replica may be behind a viewer's previous replica before it asks Redis whether the entries exist.
REACH_S = 3.0
#: How often such a viewer checks whether it still has to wait, and how often while Redis is unreachable.
LOOK_S = 0.02
AWAY_LOOK_S = 0.5
#: Replays that read from Redis at once; the others wait their turn.
REPLAYS_AT_ONCE = 4

#: Of every stream.
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx buffers streams otherwise
]


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """A viewer's request.

    Attributes:
        channel: the display to watch.
        sid: this session alone; None: the one that holds the channel, whichever that is.
        interval_s: least time between two frames, 0 for every frame, None for none.
        since: the position up to which it has seen all events.
    """

    channel: str
    sid: Sid | None
    interval_s: float | None
    since: Position | None

    @classmethod
    def of(cls, request: Request) -> Self:
        """Read the query and the Last-Event-ID.

        Raises:
            HudError: a parameter is malformed.
        """
        is_pictureless = parameter(request, "frames") in ("0", "false", "off")
        fps = decimal_number(request, "fps", least=0.05, most=120)
        last_id = request.headers.get("last-event-id") or parameter(request, "last_event_id")
        return cls(
            channel_of(request), sid_of(request), None if is_pictureless else _interval_s(fps), Position.parse(last_id)
        )


class StreamEndpoint:
    """The ASGI application behind `/stream`."""

    def __init__(self, channels: Channels, store: Store, answers: Budget) -> None:
        self._channels = channels
        self._answers = answers
        self._store = store
        self._replays = asyncio.Semaphore(REPLAYS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one viewer until it leaves, is cut, reaches its age limit, or the server drains."""
        asked = StreamRequest.of(Request(scope))
        if scope["method"] == "HEAD" or self._channels.is_draining:
            await turn_away(send)
            return
        ends_s = end_of_stream_s()
        address = client_of(scope)
        hub, viewer = await self._channels.enter(
            asked.channel, asked.interval_s, ends_s=ends_s, address=address, share=Share(self._answers, address),
            sid=asked.sid,
        )  # fmt: skip
        viewer.outlet = outlet_for(scope, receive, send, viewer)
        viewer.at_close = self._end
        try:
            if not hub.is_ready:  # later fields come as an event, not in the snapshot
                await viewer.pause(FIRST_LOOK_S)  # the hub ends it
            await viewer.outlet.start(HEADERS)
            await self._open(hub, viewer, asked, address)
        except BaseException:
            viewer.close()
            raise
        await viewer.outlet.stay()

    def _end(self, viewer: Subscriber) -> None:
        self._channels.leave(viewer)
        if not viewer.is_gone:
            viewer.outlet.end(Payload(retry()))

    async def _open(self, hub: Hub, viewer: Subscriber, asked: StreamRequest, address: str) -> None:
        """Write a viewer's opening and let it follow its hub."""
        hello = retry()
        if not hub.is_ready:
            await self._await_redis(hub, viewer, hello)
            hello = b""
        hello += hub.status_event(asked.sid)
        try:
            if asked.sid is not None and asked.sid != hub.position.sid:
                await self._show_past(hub, viewer, asked.sid, hello, address)
            elif asked.since is None or not await self._resume(hub, viewer, asked.since, hello, address):
                await self._show(hub, viewer, hello if asked.since is None else b"", address)
        except TooManyRequestsError:  # the head is sent: the browser reconnects by itself
            viewer.close()

    async def _await_redis(self, hub: Hub, viewer: Subscriber, hello: bytes) -> None:
        while not hub.is_ready and not viewer.is_closed:
            await viewer.write(hello + hub.status_event())
            hello = b""
            await viewer.pause(HEARTBEAT_S)  # the hub ends it

    async def _show(self, hub: Hub, viewer: Subscriber, hello: bytes, address: str) -> None:
        # Bytes of one viewer alone count against its address until it has read them; shared bytes belong to the hub.
        async with self._answers.hold(address, len(hub.snapshot_event())):
            picture, cursor = hub.whole_picture()
            await viewer.write(hello + picture)
        viewer.follow(cursor, has_frame=True)

    async def _resume(self, hub: Hub, viewer: Subscriber, since: Position, hello: bytes, address: str) -> bool:
        """Write the missed events and let the viewer follow. Returns False if they are not kept any more."""
        await viewer.write(hello + hub.session_event_without_id())
        try:
            await self._reach(hub, viewer, since)
            async with self._answers.hold(address, MAX_REPLAY_BYTES):
                missed = hub.missed(since)
                if missed is not None:
                    head, cursor = missed
                    await viewer.write(head)
                else:
                    cursor = await self._replay(hub, viewer, since)
        except HistoryGoneError as error:
            await viewer.write(sse.event("reset", sse.dump({"reason": str(error)})))
            return False
        viewer.follow(cursor, has_frame=False)
        return True

    async def _reach(self, hub: Hub, viewer: Subscriber, since: Position) -> None:
        """Return once this replica has read all events that another one has shown; else they would be shown again."""
        ends_s = beat_s = time.monotonic() + REACH_S
        while not hub.position.covers(since) and not viewer.is_closed:
            now = time.monotonic()
            if hub.redis_trouble is not None:
                ends_s = now + REACH_S
            elif now > ends_s:
                if not await self._is_there(hub.channel, since):
                    raise HistoryGoneError("the client has seen more than there is")
                ends_s = now + REACH_S  # Redis is slow but has the entries, so this replica will read them
            if now > beat_s:
                beat_s = now + HEARTBEAT_S
                await viewer.write(hub.status_event())
            await viewer.pause(LOOK_S if hub.redis_trouble is None else AWAY_LOOK_S)

    async def _is_there(self, channel: str, since: Position) -> bool:
        """Return whether Redis has all entries that a viewer has seen; True while Redis does not answer."""
        seen = {name: since.of(name) for name in sse.PARTS}
        try:
            marks = await self._store.marks(channel, since.sid, seen)
        except UnavailableError:
            return True
        return (marks.has_info or since.sid == "0") and all(
            entry_id == START or name in marks.kept or sse.order(marks.newest[name]) > sse.order(entry_id)
            for name, entry_id in seen.items()
        )

    async def _replay(self, hub: Hub, viewer: Subscriber, since: Position) -> int:
        while not viewer.is_closed:
            cursor, until = hub.wake(), hub.position  # the hub continues exactly where the replay ends
            try:
                async with aclosing(replay(self._store, hub.channel, since, until)) as chunks:
                    async with self._replays:  # the first chunk reads everything, so a slow viewer blocks no other
                        chunk = await anext(chunks, None)
                    while chunk is not None:
                        await viewer.write(chunk)
                        chunk = await anext(chunks, None)
            except UnavailableError:  # Redis failed meanwhile; wait for its return
                await viewer.pause(random.uniform(0.2, 1.0))
                await viewer.write(hub.status_event())
            else:
                return cursor
        return hub.delivered

    async def _show_past(self, hub: Hub, viewer: Subscriber, sid: Sid, hello: bytes, address: str) -> None:
        """Show a past session: its last state, then only heartbeats."""
        try:
            opening = await self._store.open(hub.channel, sid)
        except (NotFoundError, UnavailableError) as error:
            await viewer.write(hello + sse.event("reset", sse.dump({"reason": str(error)})))
            viewer.close()
            return
        session = sse.event("session", sse.dump(opening.session.describe()))
        snapshot = sse.event("snapshot", encode_opening(opening, self._store, hub.viewers_total))
        async with self._answers.hold(address, len(snapshot)):
            await viewer.write(hello + session + snapshot)
        hub.watch_past(viewer)


def _interval_s(fps: float | None) -> float:
    """Return the least time between two frames.

    Viewers of one rate share their events, so the rates are few: whole numbers, and multiples of 0.05 below 1.
    """
    if fps is None:
        return 0.0
    return 1.0 / int(fps) if fps >= 1 else 1.0 / (int(fps * 20 + 1e-6) / 20)


def end_of_stream_s() -> float:
    """Return when a stream that starts now ends, on the monotonic clock."""
    return time.monotonic() + random.uniform(0.8, 1.0) * MAX_AGE_S


def retry() -> bytes:
    """Return the field that tells a browser when to reconnect."""
    return sse.retry(random.randint(*RETRY_MS))


async def turn_away(send: Send) -> None:
    """Ask a viewer to reconnect: an EventSource does so after this answer, and never after an error (HTML §9.2.2)."""
    body = sse.retry(random.randint(*TURNED_AWAY_RETRY_MS))
    headers = [*HEADERS, (b"connection", b"close"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
