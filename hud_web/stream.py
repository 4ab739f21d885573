"""`GET /stream`: one viewer's Server-Sent Events, as a plain ASGI application.

It stays outside Starlette's responses, which cost twice as much per event (docs/decisions/fan-out.md). Owns the
order of what a viewer gets: status, session, then what it missed or a snapshot, then live events from its hub.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncGenerator

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from hud_publisher.protocol.errors import MalformedError, NotFoundError, UnavailableError
from hud_publisher.protocol.keys import Sid, check_sid
from hud_web import sse
from hud_web.hub import Hub, Subscriber
from hud_web.query import channel_of
from hud_web.replay import HistoryGoneError, replay
from hud_web.rooms import Rooms
from hud_web.snapshot import encode_opening
from hud_web.sse import Position
from hud_web.store import Store
from hud_web.tailer import HEARTBEAT_S

logger = logging.getLogger("hud.stream")

#: A viewer that takes nothing for so long is cut; its browser comes back by itself.
SEND_TIMEOUT_S = 30.0
#: Streams end after 80–100 % of this, so that viewers spread over new replicas.
MAX_AGE_S = 600.0
#: The browser's wait before it reconnects; it has no jitter of its own, so the server varies it.
RETRY_MS = (500, 2_000)
#: How long a viewer waits for the room's first look at Redis before it is told that Redis is away.
FIRST_LOOK_S = 0.5

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx buffers streams otherwise
]


class StreamEndpoint:
    """The ASGI application behind `/stream`."""

    def __init__(self, rooms: Rooms, store: Store) -> None:
        self._rooms = rooms
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one viewer until it leaves, is cut, grows too old, or the server drains."""
        request = Request(scope, receive)
        channel = channel_of(request)
        wanted = request.query_params.get("session")
        sid = check_sid(wanted) if wanted else None
        wants_frames = request.query_params.get("frames", "1") not in ("0", "false", "off")
        last_id = request.headers.get("last-event-id") or request.query_params.get("last_event_id")
        if self._rooms.is_draining:
            raise UnavailableError("expected a server that stays, got one that is going away: connect again")
        tally = self._rooms.tally
        room, viewer = self._rooms.enter(channel, wants_frames=wants_frames, fps=_fps(request))
        watcher = asyncio.create_task(_watch_disconnect(receive, viewer))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b""})
                return
            events = self._events(room.hub, viewer, sid, Position.parse(last_id))
            async with contextlib.aclosing(events):
                async for chunk in events:
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    tally.deliveries += 1
                    tally.delivered_bytes += len(chunk)
            await send({"type": "http.response.body", "body": sse.retry(random.randint(*RETRY_MS))})
        except TimeoutError:
            tally.drops["viewer stalled"] += 1
            logger.info("channel %s: cut a viewer that took nothing for %.0f s", channel, SEND_TIMEOUT_S)
            await _abort(send)
        finally:
            watcher.cancel()
            self._rooms.leave(room, viewer)

    async def _events(
        self, hub: Hub, viewer: Subscriber, sid: Sid | None, since: Position | None
    ) -> AsyncGenerator[bytes]:
        ends_s = time.monotonic() + random.uniform(0.8, 1.0) * MAX_AGE_S
        yield sse.retry(random.randint(*RETRY_MS))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK_S):
                await hub.is_ready.wait()
        yield hub.status_event()
        while not hub.is_ready.is_set() and not viewer.is_closed:
            viewer.skip()
            await viewer.wait()
            yield viewer.take()
        if sid is not None and sid != hub.position.sid:
            async for chunk in self._past(hub, viewer, sid, ends_s):
                yield chunk
            return
        async for chunk in self._opening(hub, viewer, since):
            yield chunk
        while not viewer.is_closed and time.monotonic() < ends_s:
            await viewer.wait()
            if chunk := viewer.take():
                yield chunk

    async def _opening(self, hub: Hub, viewer: Subscriber, since: Position | None) -> AsyncGenerator[bytes]:
        """What a viewer gets before live events: what it missed, or the whole picture."""
        while since is not None and not viewer.is_closed:
            until = hub.position
            viewer.skip()  # live begins exactly where the replay ends
            try:
                yield hub.session_event_without_id()
                async for chunk in replay(self._store, hub.channel, since, until):
                    yield chunk
                viewer.want_frame_again()
                return
            except HistoryGoneError as error:
                yield sse.event("reset", sse.dump({"reason": str(error)}))
                since = None
            except UnavailableError:  # went away just now: the tailer says so to all; wait for its return
                await asyncio.sleep(random.uniform(0.2, 1.0))
        viewer.skip()
        yield hub.session_event() + hub.snapshot_event()

    async def _past(self, hub: Hub, viewer: Subscriber, sid: Sid, ends_s: float) -> AsyncGenerator[bytes]:
        """A session that is over: its last state, then nothing but heartbeats."""
        try:
            opening = await self._store.open(hub.channel, sid)
        except NotFoundError as error:
            yield sse.event("reset", sse.dump({"reason": str(error)}))
            return
        yield sse.event("session", sse.dump(opening.session.describe())) + sse.event(
            "snapshot", encode_opening(opening, hub.viewers_total)
        )
        while not viewer.is_closed and time.monotonic() < ends_s:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await viewer.wait_for_close()
                    return
            yield sse.HEARTBEAT


def _fps(request: Request) -> float | None:
    text = request.query_params.get("fps")
    if not text:
        return None
    try:
        fps = float(text)
    except ValueError:
        fps = -1.0
    if not 0.05 <= fps <= 120:
        raise MalformedError(f"expected fps to be a number from 0.05 to 120, got {text[:40]!r}")
    return fps


async def _watch_disconnect(receive: Receive, viewer: Subscriber) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    viewer.close()


async def _abort(send: Send) -> None:
    """Try to end the body; a viewer that takes nothing does not take this either, so the wait is short."""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(0.1):
            await send({"type": "http.response.body", "body": b""})
