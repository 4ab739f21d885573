"""The endpoints that read: health, readiness, snapshots, sessions and single pictures."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hud_publisher.protocol.entries import FrameEntry, StreamName, VisionEntry, decode_entry
from hud_publisher.protocol.errors import UnavailableError
from hud_publisher.protocol.keys import check_sid
from hud_web.query import channel_of, session_of
from hud_web.rooms import Rooms
from hud_web.snapshot import encode_opening
from hud_web.store import Store
from hud_web.version import distribution_version

#: A probe must answer within the kubelet's own time-out of 1 s.
READY_TIMEOUT_S = 0.8
#: A frame never changes under its id, so browsers and proxies may keep it as long as they like.
_IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}


class ReadingEndpoints:
    """Everything that takes GET, but the page and the stream."""

    def __init__(self, store: Store, rooms: Rooms) -> None:
        self._store = store
        self._rooms = rooms

    async def health(self, _request: Request) -> JSONResponse:
        """The process lives; Redis is not asked, or its absence would restart every replica."""
        return JSONResponse({"status": "healthy"})

    async def ready(self, _request: Request) -> JSONResponse:
        """Whether this replica should get viewers: Redis answers, and it is not going away."""
        if self._rooms.is_draining:
            raise UnavailableError("this replica is going away")
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._store.ping()
                policy = await self._store.eviction_policy()
        except TimeoutError as error:
            raise UnavailableError(f"expected an answer of Redis within {READY_TIMEOUT_S} s, got none") from error
        return JSONResponse({
            "status": "ready", "viewers": self._rooms.viewers, "version": distribution_version(),
            "redis_policy": policy,
        })  # fmt: skip

    async def state(self, request: Request) -> Response:
        """The snapshot of the present session, or of `?session=`."""
        channel, wanted = channel_of(request), request.query_params.get("session")
        store = self._store
        opening = await (store.open(channel, check_sid(wanted)) if wanted else store.open_current(channel))
        return Response(
            encode_opening(opening),
            media_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    async def sessions(self, request: Request) -> JSONResponse:
        """The channel's sessions, newest first."""
        channel = channel_of(request)
        views = await self._store.sessions(channel)
        return JSONResponse({"channel": channel, "sessions": [view.describe() for view in views]})

    async def frame(self, request: Request) -> Response:
        """One kept frame."""
        return await self._picture(request, "frames")

    async def vision_image(self, request: Request) -> Response:
        """One picture that the vision LLM was shown."""
        return await self._picture(request, "vision")

    async def _picture(self, request: Request, stream: StreamName) -> Response:
        channel, sid = await session_of(request, self._store)
        entry = decode_entry(stream, await self._store.entry(channel, sid, stream, request.path_params["id"]))
        assert isinstance(entry, (FrameEntry, VisionEntry))
        return Response(entry.image, media_type=entry.mime, headers=_IMMUTABLE)
