"""The endpoints that read: health, readiness, snapshots, sessions and single pictures."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response

from hud_publisher.protocol.entries import FrameEntry, MindEntry, StreamName, VisionEntry
from hud_publisher.protocol.errors import NotFoundError, UnavailableError
from hud_publisher.protocol.stored import decode_entry
from hud_web import distribution_version
from hud_web.doctor.findings import Finding
from hud_web.http.answers import JsonAnswer
from hud_web.http.query import channel_of, session_of, sid_of
from hud_web.live.channels import Channels
from hud_web.store.snapshot import encode_opening
from hud_web.store.store import Store

#: A probe must answer within the kubelet's timeout of 1 s.
READY_TIMEOUT_S = 0.8
#: A frame never changes under its id, so browsers and proxies may keep it for any time.
_IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}


class ReadingEndpoints:
    """All GET endpoints except the page and the stream."""

    def __init__(self, store: Store, channels: Channels) -> None:
        self._store = store
        self._channels = channels
        self._redis_trouble: Finding | None = None

    def tell_redis(self, trouble: Finding | None) -> None:
        """Store the last result of the server's check of Redis: reads may work while Redis refuses writes."""
        self._redis_trouble = trouble

    async def health(self, _request: Request) -> JsonAnswer:
        """Answer that the process runs. It does not query Redis, whose failure would restart every replica."""
        return JsonAnswer({"status": "healthy"})

    async def ready(self, _request: Request) -> JsonAnswer:
        """Answer whether this replica should get viewers: Redis answers, and the replica is not draining."""
        if self._channels.is_draining:
            raise UnavailableError("this replica is going away")
        trouble = None if self._redis_trouble is None else asdict(self._redis_trouble)
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._store.ping()
                policy = await self._store.eviction_policy()
        except TimeoutError:
            reason = f"Redis did not answer within {READY_TIMEOUT_S:g} s"
        except UnavailableError as error:
            reason = str(error)
        else:
            return JsonAnswer({
                "status": "ready", "viewers": self._channels.viewers, "version": distribution_version(),
                "redis_policy": policy, "redis_trouble": trouble,
            })  # fmt: skip
        away = {"error": "Redis is not available", "detail": reason, "redis_trouble": trouble}
        return JsonAnswer(away, 503, {"Retry-After": "1"})

    async def state(self, request: Request) -> Response:
        """The snapshot of the current session, or of `?session=`."""
        channel, wanted = channel_of(request), sid_of(request)
        store = self._store
        opening = await (store.open(channel, wanted) if wanted else store.open_current(channel))
        return Response(
            encode_opening(opening, store),
            media_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    async def sessions(self, request: Request) -> JsonAnswer:
        """The channel's sessions, newest first."""
        channel = channel_of(request)
        views = await self._store.sessions(channel)
        return JsonAnswer({"channel": channel, "sessions": [view.describe() for view in views]})

    async def frame(self, request: Request) -> Response:
        """One stored frame."""
        return await self._picture(request, "frames")

    async def vision_image(self, request: Request) -> Response:
        """One picture that the vision LLM was shown."""
        return await self._picture(request, "vision")

    async def mind_image(self, request: Request) -> Response:
        """The observation of one view of the policy, if it is a picture."""
        return await self._picture(request, "mind")

    async def _picture(self, request: Request, stream: StreamName) -> Response:
        channel, sid = await session_of(request, self._store)
        fields = await self._store.entry(channel, sid, stream, request.path_params["id"])
        try:
            entry = decode_entry(stream, fields)
        except ValueError as error:
            self._store.pass_over(channel, stream, error)
            raise NotFoundError(f"the picture of this id cannot be read: {error}") from error
        assert isinstance(entry, (FrameEntry, VisionEntry, MindEntry))
        if entry.image is None:
            raise NotFoundError("the observation of this id is no picture: see /api/mind for its numbers")
        return Response(entry.image, media_type=entry.mime, headers=_IMMUTABLE)
