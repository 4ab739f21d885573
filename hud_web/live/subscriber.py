"""One viewer: its cursor in the events of its channel, and how it catches up.

A viewer that keeps up is served by its cohort and has no state that changes. A full one is skipped until it has room.
Then it gets the metrics that it missed from the ring and only the newest pictures, or `reset` and a snapshot if the
ring has dropped events that it missed. It costs little memory, because only the ring stores its missed events. No I/O
except writes that never block. Called by the stream endpoint, by its outlet, and by the hub.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hud_publisher.protocol.keys import Sid
from hud_web.access.budget import LEAST_BYTES_PER_S, Share
from hud_web.live.cohort import Cohort
from hud_web.live.outlet import Outlet, Payload
from hud_web.live.pictures import Seen
from hud_web.store.sse import dump, event

#: Catch-up chunk size in bytes; a larger one would exceed the write buffer.
CATCH_UP_BYTES = 64 * 1024
#: The backlog of a viewer counts against its address's share after it has had no room for this time. Before that, most
#: of it is shared: viewers that get the same event at the same time hold the same bytes.
SLOW_S = 2.0
#: A viewer that has had no room for this time is cut; its browser reconnects by itself. A large picture gets more time.
STALL_S = 30.0


class Subscriber:
    """The state of one viewer of a hub.

    Attributes:
        cohort: the viewers that want frames at the same rate.
        sid: the only session that it wants to see; None: the channel's, whichever that is.
        outlet: the connection to it; set before the first write.
        at_close: called once when the stream is to end.
        is_closed: the stream is to end, or has ended.
        is_gone: the viewer left by itself.
    """

    # A process may hold ten thousand of these.
    __slots__ = (
        "_cursor", "_ends_s", "_full_since_s", "_held", "_seen", "_share", "_untaken", "_waiter", "at_close", "cohort",
        "is_closed", "is_gone", "outlet", "sid",
    )  # fmt: skip
    outlet: Outlet
    at_close: Callable[[Subscriber], None] | None

    def __init__(self, cohort: Cohort, *, ends_s: float, share: Share | None = None, sid: Sid | None = None) -> None:
        self.cohort = cohort
        self.sid = sid
        self.at_close = None
        self.is_closed = self.is_gone = False
        self._ends_s = ends_s
        self._cursor: int | None = None  # it does not follow yet
        self._seen = Seen()
        self._full_since_s: float | None = None
        self._untaken = 0
        self._share = share
        self._held = 0
        self._waiter: asyncio.Future[None] | None = None

    def close(self) -> None:
        """End this viewer's stream."""
        self.cohort.part(self.outlet)
        if self.is_closed:
            return
        self.is_closed = True
        self._let_go()
        self.resume()
        if self.at_close is not None:
            self.at_close(self)

    async def write(self, data: bytes) -> None:
        """Write bytes for this viewer alone, before it follows; returns when there is room for more."""
        self._write(data)
        if self._full_since_s is not None:
            await self.pause(None)

    async def pause(self, seconds: float | None) -> None:
        """Wait before it follows: for this time, or if None until it has room again; at most until it is closed."""
        if self.is_closed:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        await asyncio.wait({self._waiter}, timeout=seconds)
        self._waiter = None

    def follow(self, cursor: int, *, has_frame: bool) -> None:
        """Start to get all further events.

        Args:
            cursor: number of the ring's first event for this viewer.
            has_frame: it was shown the newest frame and view of the policy already.
        """
        self._cursor = cursor
        if has_frame:
            self._seen = self.cohort.seen._replace(thumbs=0)
        self._catch_up()

    def send_heartbeat(self, payload: Payload) -> None:
        """Write a heartbeat to a viewer of a past session."""
        if self._full_since_s is None and not self.is_closed:
            self.outlet.write(payload)

    def check_deadlines(self, now: float) -> None:
        """End the stream if its time is over, or cut it if its viewer stopped reading."""
        if now >= self._ends_s:
            self.close()
        elif self._full_since_s is not None and not self.is_closed:
            untaken = self.outlet.backlog
            if self._untaken < 0:
                self._untaken = untaken
            full_s = now - self._full_since_s
            if full_s >= STALL_S + self._untaken / LEAST_BYTES_PER_S or (
                full_s >= SLOW_S and not self._held and not self._hold(untaken)
            ):
                self.cohort.hub.tally.drops["viewer stalled"] += 1
                self.outlet.abort()

    def _hold(self, size: int) -> bool:
        """Count the backlog against the address's share; returns whether the share allowed it."""
        if self._share is None or self._cursor is None or not size:  # its opening counts until it is read
            return True
        if not self._share.try_take(size):
            return False
        self._held = size
        return True

    def _let_go(self) -> None:
        if self._share is not None and self._held:
            self._share.give(self._held)
            self._held = 0

    # -- called by the outlet -----------------------------------------------------------------------------------------

    def on_full(self) -> None:
        """The viewer has no room for more: write nothing to it from now on."""
        cohort = self.cohort
        self._full_since_s, self._untaken = cohort.hub.clock(), -1
        if cohort.part(self.outlet):
            self._cursor = cohort.hub.delivered
            self._seen = cohort.seen

    def on_room(self) -> None:
        """The viewer has room again: write the events that it missed."""
        self._full_since_s = None
        self._let_go()
        self.resume()
        self._catch_up()

    def on_gone(self) -> None:
        """The viewer left."""
        self.is_gone = True
        self.close()

    def resume(self) -> None:
        """End the pause of a viewer that does not follow yet."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- missed events -----------------------------------------------------------------------------------------------

    def _catch_up(self) -> None:
        while self._cursor is not None and self._full_since_s is None and not self.is_closed:
            missed = self._missed(self._cursor)
            if not missed:
                self.cohort.join(self.outlet)
                return
            self._write(missed)

    def _missed(self, cursor: int) -> bytes:
        cohort, hub = self.cohort, self.cohort.hub
        if cursor < hub.ring.first:
            hub.tally.drops["viewer fell behind"] += 1
            picture, self._cursor = hub.whole_picture()
            self._seen = cohort.seen._replace(thumbs=self._seen.thumbs)
            return event("reset", dump({"reason": "this viewer fell behind"})) + picture
        if cursor < hub.delivered:
            events, self._cursor = hub.ring.joined(cursor, hub.delivered, CATCH_UP_BYTES)
            return events
        pictures = cohort.pictures_since(self._seen)
        self._seen = cohort.seen
        return pictures

    def _write(self, data: bytes) -> None:
        if self.is_closed or not data:  # an empty chunk is the end of the body
            return
        tally = self.cohort.hub.tally
        tally.deliveries += 1
        tally.delivered_bytes += len(data)
        self.outlet.write(Payload(data))
