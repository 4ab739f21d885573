"""The channels that this process follows: a hub and its tailer for each channel that somebody watches.

Owns the tailers' tasks. Opens a room for a channel's first viewer and closes it a while after its last one left. Called
by the stream endpoint and by the app's life cycle.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from redis.asyncio import Redis

from hud_publisher.protocol.errors import HudError, TooManyRequestsError
from hud_web.hub import Hub
from hud_web.store import Store
from hud_web.subscriber import Subscriber
from hud_web.tailer import CHECK_S, Tailer
from hud_web.tally import Tally

logger = logging.getLogger("hud.rooms")

#: A room without viewers is kept this long, so that a page's reload finds it warm.
IDLE_S = 60.0
#: Anyone may name a channel to watch, so the number of blocking reads is bounded.
MAX_ROOMS = 256
#: Wait between the restarts of a tailer that failed by a defect.
RESTART_S = 1.0
#: A replica that goes away ends its streams over this time, and fewer in proportion: one viewer does not wait for that.
DRAIN_S = 6.0
DRAIN_EACH_S = 0.05


@dataclass(slots=True, eq=False)
class Room:
    """A channel's hub with the task that feeds it."""

    hub: Hub
    tailer: Tailer
    task: asyncio.Task[None] | None = None
    empty_since_s: float = field(default_factory=time.monotonic)


class Rooms:
    """All rooms of this process."""

    def __init__(self, store: Store, reader: Redis, tally: Tally | None = None) -> None:
        self.tally = tally or Tally()
        self._store = store
        self._reader = reader
        self._replica = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._rooms: dict[str, Room] = {}
        self._group: asyncio.TaskGroup | None = None
        self.is_draining = False

    @property
    def viewers(self) -> int:
        """How many streams this process serves."""
        return sum(len(room.hub.subscribers) for room in self._rooms.values())

    @property
    def hubs(self) -> list[Hub]:
        """The hubs of the channels that are followed."""
        return [room.hub for room in self._rooms.values()]

    async def run(self) -> None:
        """Keep the rooms until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self._close_empty())
        finally:
            self._group = None

    async def _close_empty(self) -> None:
        while True:
            await asyncio.sleep(IDLE_S / 10)
            for channel, room in list(self._rooms.items()):
                if not room.hub.subscribers and time.monotonic() - room.empty_since_s > IDLE_S:
                    self._rooms.pop(channel)
                    if room.task is not None:
                        room.task.cancel()

    def enter(self, channel: str, interval_s: float | None, *, ends_s: float) -> tuple[Hub, Subscriber]:
        """Add a viewer to a channel, opening its room if needed; see Hub.enter.

        Raises:
            TooManyRequestsError: this process follows MAX_ROOMS channels already, or is going away.
        """
        room = self._rooms.get(channel)
        if room is None:
            if self._group is None or len(self._rooms) >= MAX_ROOMS:
                raise TooManyRequestsError(
                    f"expected at most {MAX_ROOMS} channels to be watched, got one more: close some pages",
                    retry_after_s=IDLE_S,
                )
            hub = Hub(channel, self.tally)
            room = Room(hub, Tailer(hub, self._store, self._reader, replica=self._replica))
            room.task = self._group.create_task(self._keep(room))
            self._rooms[channel] = room
        was_empty = not room.hub.subscribers
        subscriber = room.hub.enter(interval_s, ends_s=ends_s)
        if was_empty and room.hub.is_ready:
            room.tailer.check_soon()
        return room.hub, subscriber

    def leave(self, subscriber: Subscriber) -> None:
        """Remove a viewer that was closed."""
        hub = subscriber.cohort.hub
        hub.leave(subscriber)
        room = self._rooms.get(hub.channel)
        if room is not None:
            room.empty_since_s = time.monotonic()

    async def _keep(self, room: Room) -> None:
        while True:
            try:
                await room.tailer.run()
            except Exception:  # a defect of ours: the other rooms and this one's viewers go on
                logger.exception("channel %s: the tailer failed and starts again", room.hub.channel)
                await asyncio.sleep(RESTART_S)

    async def drain(self, is_hurried: Callable[[], bool] = lambda: False) -> None:
        """End every stream, one after another, so that a hall does not come back all at once; new ones are turned away.

        Args:
            is_hurried: asked now and then; once it is true, all that are left end at once.
        """
        self.is_draining = True
        viewers = [subscriber for hub in self.hubs for subscriber in hub.subscribers]
        random.shuffle(viewers)  # of every address some are early and some late
        total, began_s = len(viewers), time.monotonic()
        spread_s = min(DRAIN_S, total * DRAIN_EACH_S)
        while viewers:
            left = 0.0 if is_hurried() else 1.0 - (time.monotonic() - began_s) / spread_s
            while viewers and len(viewers) > total * left:
                viewers.pop().close()
            await asyncio.sleep(DRAIN_EACH_S)

    async def sign_off(self) -> None:
        """Take this replica's viewers off the count, as far as Redis is there."""
        for room in self._rooms.values():
            room.hub.subscribers.clear()
            try:
                async with asyncio.timeout(CHECK_S / 4):
                    await room.tailer.report_viewers()
            except (HudError, TimeoutError):
                return


__all__ = ["Room", "Rooms"]
