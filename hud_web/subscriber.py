"""One viewer: how far it is in its channel's events, and what happens while it does not keep up.

A viewer that keeps up is in its cohort's hands and has no state that changes. One that is full is left alone until it
has room: then it gets what it missed, its metrics from the ring, of pictures only the newest, and where even the ring
has gone on without it, `reset` and a snapshot. It never costs memory, since what it has not taken stands in the ring
alone. No I/O but writes that never wait. Called by the stream endpoint, by its outlet, and by the hub.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from hud_web.outlet import Outlet, Piece
from hud_web.sse import dump, event

if TYPE_CHECKING:
    from hud_web.cohort import Cohort

#: What a viewer that catches up gets at once; with more it would be full anyway.
CATCH_UP_BYTES = 256 * 1024
#: A viewer that takes nothing for so long is cut; its browser comes back by itself.
STALL_S = 30.0


class Subscriber:
    """A viewer's place in its hub.

    Attributes:
        cohort: what it wants.
        outlet: the way to it; set before anything is written.
        at_close: called once when the stream shall end.
        is_closed: the stream shall end, or has ended.
        is_gone: the viewer left by itself.
    """

    # Ten thousand of these stand in one process.
    __slots__ = (
        "_cursor", "_ends_s", "_frame_number", "_full_since_s", "_thumbs_number", "_untaken", "_waiter", "at_close",
        "cohort", "is_closed", "is_gone", "outlet",
    )  # fmt: skip
    outlet: Outlet
    at_close: Callable[[Subscriber], None] | None

    def __init__(self, cohort: Cohort, *, ends_s: float) -> None:
        self.cohort = cohort
        self.at_close = None
        self.is_closed = self.is_gone = False
        self._ends_s = ends_s
        self._cursor: int | None = None  # it does not follow yet
        self._frame_number = -1
        self._thumbs_number = 0
        self._full_since_s: float | None = None
        self._untaken = 0
        self._waiter: asyncio.Future[None] | None = None

    def close(self) -> None:
        """End this viewer's stream."""
        self.cohort.part(self)
        if self.is_closed:
            return
        self.is_closed = True
        self.go_on()
        if self.at_close is not None:
            self.at_close(self)

    async def write(self, data: bytes) -> None:
        """Write something of this viewer's own, before it follows; returns when there is room for more."""
        self._write(data)
        if self._full_since_s is not None:
            await self.pause(None)

    async def pause(self, seconds: float | None) -> None:
        """Wait before it follows: for so long, or until it has room again; no longer than until it is closed."""
        if self.is_closed:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        await asyncio.wait({self._waiter}, timeout=seconds)
        self._waiter = None

    def follow(self, cursor: int, *, has_frame: bool) -> None:
        """Get all that comes.

        Args:
            cursor: number of the ring's first event that this viewer shall get.
            has_frame: it was shown the newest frame already.
        """
        self._cursor = cursor
        if has_frame:
            self._frame_number = self.cohort.frame_number
        self._catch_up()

    def beat(self, piece: Piece) -> None:
        """Write a heartbeat to one who follows nothing."""
        if self._full_since_s is None and not self.is_closed:
            self.outlet.write(piece)

    def look_after(self, now: float) -> None:
        """End the stream if it has lasted long enough, or cut it if its viewer stopped reading."""
        if now >= self._ends_s:
            self.close()
        elif self._full_since_s is not None and not self.is_closed:
            untaken = self.outlet.backlog
            if untaken != self._untaken:
                self._full_since_s, self._untaken = now, untaken
            elif now - self._full_since_s >= STALL_S:
                self.cohort.hub.tally.drops["viewer stalled"] += 1
                self.outlet.abort()

    # -- told by the outlet -------------------------------------------------------------------------------------------

    def on_full(self) -> None:
        """The viewer does not take what it gets: leave it alone from here on."""
        cohort = self.cohort
        self._full_since_s, self._untaken = cohort.hub.clock(), -1
        if cohort.part(self):
            self._cursor = cohort.hub.delivered
            self._frame_number, self._thumbs_number = cohort.frame_number, cohort.thumbs_number

    def on_room(self) -> None:
        """The viewer has taken most of what it had: give it what it missed."""
        self._full_since_s = None
        self.go_on()
        self._catch_up()

    def on_gone(self) -> None:
        """The viewer left."""
        self.is_gone = True
        self.close()

    def go_on(self) -> None:
        """End its pause."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- what it missed -----------------------------------------------------------------------------------------------

    def _catch_up(self) -> None:
        while self._cursor is not None and self._full_since_s is None and not self.is_closed:
            missed = self._missed(self._cursor)
            if not missed:
                self.cohort.join(self)
                return
            self._write(missed)

    def _missed(self, cursor: int) -> bytes:
        cohort, hub = self.cohort, self.cohort.hub
        if cursor < hub.ring.first:
            hub.tally.drops["viewer fell behind"] += 1
            picture, self._cursor = hub.whole_picture()
            self._frame_number = cohort.frame_number
            return event("reset", dump({"reason": "this viewer fell behind"})) + picture
        if cursor < hub.delivered:
            events, self._cursor = hub.ring.joined(cursor, hub.delivered, CATCH_UP_BYTES)
            return events
        pictures = cohort.pictures_since(self._frame_number, self._thumbs_number)
        self._frame_number, self._thumbs_number = cohort.frame_number, cohort.thumbs_number
        return pictures

    def _write(self, data: bytes) -> None:
        if self.is_closed or not data:  # an empty chunk is the end of the body
            return
        tally = self.cohort.hub.tally
        tally.deliveries += 1
        tally.delivered_bytes += len(data)
        self.outlet.write(Piece(data))
