"""The index of channels: updated while runs write through this replica, listed by `GET /api/channels`.

A publisher that writes directly into Redis updates the index too. Called by the writing endpoints and the app.
"""

from __future__ import annotations

import contextlib
import time

from starlette.requests import Request

from hud_publisher.protocol import scripts
from hud_publisher.protocol.entries import Limits
from hud_publisher.protocol.errors import UnavailableError
from hud_publisher.protocol.scripts import MAX_CHANNELS, TOUCH_S
from hud_web.http.answers import JsonAnswer
from hud_web.http.query import whole_number
from hud_web.store.store import Store

DEFAULT_LIMIT, MAX_LIMIT = 100, 200


class ChannelIndex:
    """The channels in use, over all replicas and publishers."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self._touched_at: dict[str, float] = {}

    async def touch(self, channel: str, *, is_new: bool = False) -> None:
        """Record that a channel is in use; a failure only delays the record.

        Args:
            channel: the channel.
            is_new: whether its session has just begun. Otherwise the record is renewed at most every TOUCH_S.
        """
        now = time.monotonic()
        if not is_new and now - self._touched_at.get(channel, float("-inf")) < TOUCH_S:
            return
        if len(self._touched_at) >= MAX_CHANNELS:
            self._touched_at.clear()
        self._touched_at[channel] = now
        with contextlib.suppress(UnavailableError):
            await self._store.run(scripts.touch(channel, self._limits))

    async def channels(self, request: Request) -> JsonAnswer:
        """The channels with activity within the retention, newest first; `limit` and `offset` choose a page."""
        limit = whole_number(request, "limit", DEFAULT_LIMIT, least=1, most=MAX_LIMIT)
        offset = whole_number(request, "offset", 0, least=0, most=MAX_CHANNELS)
        views, total = await self._store.channels(limit=limit, offset=offset)
        next_offset = offset + limit if offset + limit < total else None
        body = {"channels": [view.describe() for view in views], "total": total, "next_offset": next_offset}
        return JsonAnswer(body, headers={"Cache-Control": "no-store"})
