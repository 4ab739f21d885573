"""The channels that this process follows: a hub and its tailer for each channel with viewers.

Owns the tailers' tasks. Follows a channel from its first viewer until some time after its last one left. Called by the
stream endpoint and by the app's life cycle.
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

from hud_publisher.protocol.errors import HudError, TooManyRequestsError, UnavailableError
from hud_publisher.protocol.keys import DEFAULT_CHANNEL, Sid
from hud_web.access.budget import Share
from hud_web.live.hub import CHANNEL_BYTES, CHANNELS_BYTES, Hub
from hud_web.live.readers import Readers
from hud_web.live.subscriber import Subscriber
from hud_web.live.tailer import CHECK_S, Checks, Tailer
from hud_web.store.store import Store
from hud_web.store.tally import Tally

logger = logging.getLogger("hud.channels")

#: A channel without viewers is followed this long, so that a reloaded page finds it ready; shorter at the bound below.
IDLE_S = 60.0
#: Each channel costs reads of Redis and memory, and any client may name a channel to watch. So there is a bound on the
#: channels that have had a session, and a separate one on those that have had none: an invented name displaces no
#: channel that exists.
MAX_KNOWN = 1_280
MAX_UNKNOWN = 64
#: Channels of each kind that one address may have opened and may hold: one program may follow a thousand runs, and
#: leaves channels for the other addresses.
ADDRESS_KNOWN = MAX_KNOWN * 4 // 5
ADDRESS_UNKNOWN = MAX_UNKNOWN // 4
#: How long a viewer of a channel that is not followed yet waits for Redis to tell whether it has had a session.
LOOK_UP_S = 1.0
#: Wait before the restart of a tailer that failed by a bug.
RESTART_S = 1.0
#: A draining replica ends its streams over this time, and fewer in proportion: a single viewer does not wait.
DRAIN_S = 6.0
DRAIN_EACH_S = 0.05


@dataclass(slots=True, eq=False)
class WatchedChannel:
    """A channel's hub, and the task that fills it.

    Attributes:
        opener: the address whose viewer opened it.
        was_known: the channel had had a session by then, or is the server's channel.
    """

    hub: Hub
    tailer: Tailer
    task: asyncio.Task[None] | None = None
    opener: str = ""
    was_known: bool = True
    empty_since_s: float = field(default_factory=time.monotonic)

    @property
    def is_known(self) -> bool:
        """Whether the channel has had a session, or is the server's channel."""
        return self.was_known or self.hub.session.sid is not None


class Channels:
    """All channels that this process follows."""

    def __init__(
        self, store: Store, reader: Redis, tally: Tally | None = None, *, own_channel: str = DEFAULT_CHANNEL
    ) -> None:
        """Make an empty set of channels.

        Args:
            store: for all calls except blocking reads.
            reader: for blocking reads.
            tally: of this process.
            own_channel: HUD_CHANNEL; the bounds do not apply to it.
        """
        self._own_channel = own_channel
        self.tally = tally or Tally()
        self._store = store
        self._readers = Readers(reader)
        self._checks = Checks()
        self._replica = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._channels: dict[str, WatchedChannel] = {}
        #: Memory of each channel for events and pictures.
        self._share = CHANNEL_BYTES
        self._group: asyncio.TaskGroup | None = None
        self.is_draining = False

    @property
    def viewers(self) -> int:
        """The number of streams that this process serves."""
        return sum(len(watched.hub.subscribers) for watched in self._channels.values())

    @property
    def connections(self) -> int:
        """The number of connections to Redis that wait for entries."""
        return self._readers.connections

    @property
    def hubs(self) -> list[Hub]:
        """The hubs of the channels that are followed."""
        return [watched.hub for watched in self._channels.values()]

    async def run(self) -> None:
        """Follow the channels until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self._close_empty())
        finally:
            self._group = None

    async def _close_empty(self) -> None:
        while True:
            await asyncio.sleep(IDLE_S / 10)
            for watched in list(self._channels.values()):
                if not watched.hub.subscribers and time.monotonic() - watched.empty_since_s > IDLE_S:
                    self._close(watched)
                    await asyncio.sleep(0)  # a thousand may be due at once

    async def enter(
        self,
        channel: str,
        interval_s: float | None,
        *,
        ends_s: float,
        address: str,
        share: Share | None = None,
        sid: Sid | None = None,
    ) -> tuple[Hub, Subscriber]:
        """Add a viewer to a channel, and follow the channel from now on; see Hub.enter.

        Args:
            channel: the channel to watch.
            interval_s: least time between two frames.
            ends_s: when the stream ends.
            address: the viewer's, whose share of the channels is bounded.
            share: the bytes that the viewer has not read count against it.
            sid: the only session that it wants to see.

        Raises:
            TooManyRequestsError: too many channels are watched, in total or by this address, or this process is going
                away.
        """
        if channel not in self._channels:
            is_known = channel == self._own_channel or await self._has_had_session(channel)
            if channel not in self._channels:  # no other viewer has opened it meanwhile
                self._open(channel, address, is_known)
        watched = self._channels[channel]
        was_empty = not watched.hub.subscribers
        subscriber = watched.hub.enter(interval_s, ends_s=ends_s, share=share, sid=sid)
        if was_empty and watched.hub.is_ready:
            watched.tailer.check_soon()
        return watched.hub, subscriber

    async def _has_had_session(self, channel: str) -> bool:
        try:
            async with self._checks.slots, asyncio.timeout(LOOK_UP_S):
                return await self._store.current_sid(channel) is not None
        except (UnavailableError, TimeoutError):
            return False

    def _open(self, channel: str, address: str, is_known: bool) -> None:
        channels = [watched for watched in self._channels.values() if watched.is_known == is_known]
        most, most_of_address = (MAX_KNOWN, ADDRESS_KNOWN) if is_known else (MAX_UNKNOWN, ADDRESS_UNKNOWN)
        of_address = sum(1 for watched in channels if watched.opener == address and watched.hub.subscribers)
        if channel != self._own_channel:
            if len(channels) >= most:
                channels = self._close_longest_empty(channels)
            if self._group is None or len(channels) >= most or of_address >= most_of_address:
                kind = "" if is_known else " that have had no session yet"
                raise TooManyRequestsError(
                    f"viewers already watch {most} channels{kind}, or {most_of_address} from this address: close some "
                    "pages",
                    retry_after_s=5.0,
                )
        if self._group is None:
            raise TooManyRequestsError("this server is shutting down: connect again", retry_after_s=5.0)
        hub = Hub(channel, self.tally)
        hub.limit(self._share)
        tailer = Tailer(hub, self._store, self._readers.reader(), replica=self._replica, checks=self._checks)
        watched = self._channels[channel] = WatchedChannel(hub, tailer, opener=address, was_known=is_known)
        watched.task = self._group.create_task(self._keep(watched))
        self._share_all()

    def _share_all(self) -> None:
        """Share memory and checks among the channels."""
        self._checks.share(len(self._channels))
        # Shares change when their number doubles, since each change costs time for every channel.
        shares = 1 << (len(self._channels) - 1).bit_length()
        share = min(CHANNEL_BYTES, CHANNELS_BYTES // shares)
        if share != self._share:
            self._share = share
            for hub in self.hubs:
                hub.limit(share)

    def _close_longest_empty(self, channels: list[WatchedChannel]) -> list[WatchedChannel]:
        """Close the channel that has been without viewers for the longest time, if any; return the others."""
        empty = [one for one in channels if not one.hub.subscribers and one.hub.channel != self._own_channel]
        if not empty:
            return channels
        longest = min(empty, key=lambda watched: watched.empty_since_s)
        self._close(longest)
        return [watched for watched in channels if watched is not longest]

    def _close(self, watched: WatchedChannel) -> None:
        """Stop following a channel without viewers, and drop its counters."""
        channel = watched.hub.channel
        self._channels.pop(channel, None)
        self._share_all()
        for key in [key for key in self.tally.entries if key[0] == channel]:
            del self.tally.entries[key]
        if watched.task is not None:
            watched.task.cancel()

    def leave(self, subscriber: Subscriber) -> None:
        """Remove a viewer that was closed."""
        watched = self._channels.get(subscriber.cohort.hub.channel)
        if watched is None or subscriber not in watched.hub.subscribers:
            return
        watched.hub.leave(subscriber)
        if watched.hub.subscribers:
            return
        watched.empty_since_s = time.monotonic()
        if not watched.is_known:  # it holds nothing that a reloaded page would need
            self._close(watched)

    async def _keep(self, watched: WatchedChannel) -> None:
        while True:
            try:
                await watched.tailer.run()
            except Exception:  # a bug: the other channels and this one's viewers continue
                logger.exception("channel %s: the tailer failed and starts again", watched.hub.channel)
                await asyncio.sleep(RESTART_S)

    async def drain(self, is_hurried: Callable[[], bool] = lambda: False) -> None:
        """End every stream, one after another, so that the viewers do not reconnect together; refuse new ones.

        Args:
            is_hurried: called from time to time; once it returns True, all remaining streams end at once.
        """
        self.is_draining = True
        viewers = [subscriber for hub in self.hubs for subscriber in hub.subscribers]
        random.shuffle(viewers)  # so each address has early and late ones
        total, began_s = len(viewers), time.monotonic()
        spread_s = min(DRAIN_S, total * DRAIN_EACH_S)
        while viewers:
            left = 0.0 if is_hurried() else 1.0 - (time.monotonic() - began_s) / spread_s
            while viewers and len(viewers) > total * left:
                viewers.pop().close()
            await asyncio.sleep(DRAIN_EACH_S)

    async def sign_off(self) -> None:
        """Subtract this replica's viewers from the count, if Redis can be reached."""
        for watched in self._channels.values():
            for subscriber in tuple(watched.hub.subscribers):
                watched.hub.leave(subscriber)
            try:
                async with asyncio.timeout(CHECK_S / 4):
                    await watched.tailer.report_viewers()
            except (HudError, TimeoutError):
                return
