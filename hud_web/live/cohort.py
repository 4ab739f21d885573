"""The viewers of a channel that want frames at the same rate: each delivery is built once and written to all of them.

Owns the numbers of the frame and thumbnails that they were sent last. A delivery is a loop over writes that never
block, and it calls no Python function if the server provides its transports: at a thousand viewers, two calls per
viewer were a tenth of the whole cost. A viewer that falls behind leaves the loop (`subscriber`). Called by the hub.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from hud_web.live.outlet import Outlet, Payload
from hud_web.live.pictures import Pictures
from hud_web.live.ring import Ring
from hud_web.store.tally import Tally


class Source(Protocol):
    """The part of a hub that its cohorts and viewers use; see Hub."""

    channel: str
    clock: Callable[[], float]
    call_later: Callable[[float, Callable[[], None]], asyncio.TimerHandle]
    tally: Tally
    ring: Ring
    pictures: Pictures
    delivered: int

    def whole_picture(self) -> tuple[bytes, int]:
        """Return the session and snapshot for a new viewer, and the number of the event from which it follows."""


class Cohort:
    """Viewers with one frame rate.

    Attributes:
        hub: the hub whose events they get.
        frame_number: number of the newest frame that they were sent.
        thumbs_number: the same for thumbnails.
    """

    def __init__(self, hub: Source, interval_s: float | None) -> None:
        """Make a cohort.

        Args:
            hub: the hub whose events they get.
            interval_s: least time between two frames, 0 for every frame, None for no pictures at all.
        """
        self.hub = hub
        #: The outlets of the viewers that keep up, by their framing, each with its write function.
        self._current: dict[bool, dict[Outlet, Callable[[bytes], object]]] = {True: {}, False: {}}
        self._pictures = hub.pictures
        self.frame_number = hub.pictures.frame_number
        self.thumbs_number = hub.pictures.thumbs_number
        self._interval_s = interval_s
        self._next_frame_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def size(self) -> int:
        """How many viewers keep up."""
        return len(self._current[True]) + len(self._current[False])

    def join(self, outlet: Outlet) -> None:
        """Add a viewer to all further deliveries."""
        self._current[outlet.takes_chunks][outlet] = outlet.put

    def part(self, outlet: Outlet) -> bool:
        """Remove a viewer from further deliveries; returns whether it had kept up until now."""
        return any(puts.pop(outlet, None) is not None for puts in self._current.values())

    def deliver(self, events: bytes) -> None:
        """Write events, and the pictures that are due, to all viewers that keep up."""
        data = events if self._interval_s is None else events + self._due_pictures(self._interval_s)
        size = self.size
        if not data or not size:
            return
        payload = Payload(data)
        tally = self.hub.tally
        tally.deliveries += size
        tally.delivered_bytes += len(data) * size
        for takes_chunks, puts in self._current.items():
            if puts:
                framed = payload.chunk if takes_chunks else payload.plain
                for put in tuple(puts.values()):  # a write may fill its viewer's buffer, which removes the viewer
                    put(framed)

    def pictures_since(self, frame_number: int, thumbs_number: int) -> bytes:
        """Return the newest pictures that the cohort was sent since those of the given numbers."""
        if self._interval_s is None:
            return b""
        thumbs = self._pictures.thumbs_between(thumbs_number, self.thumbs_number)
        if frame_number == self.frame_number:
            return thumbs
        if frame_number >= 0:
            self.hub.tally.drops["frame skipped"] += self.frame_number - frame_number - 1
        return thumbs + b"".join(self._pictures.newest_frames(1, 0.0))

    def _due_pictures(self, interval_s: float) -> bytes:
        hub, newest = self.hub, self._pictures
        pictures = b""
        if self.thumbs_number != newest.thumbs_number:
            pictures = newest.thumbs_between(self.thumbs_number, newest.thumbs_number)
            self.thumbs_number = newest.thumbs_number
        if self.frame_number == newest.frame_number:
            return pictures
        wait_s = self._next_frame_s - hub.clock()
        if wait_s > 0:
            if self._timer is None:
                self._timer = hub.call_later(wait_s, self._on_due)
            return pictures
        came = newest.frame_number - self.frame_number
        frames = newest.newest_frames(came, interval_s)
        self._next_frame_s = hub.clock() + interval_s * len(frames)
        self.frame_number = newest.frame_number
        if not interval_s:
            hub.tally.drops["frame skipped"] += (came - len(frames)) * self.size
        return pictures + b"".join(frames)

    def _on_due(self) -> None:
        self._timer = None
        self.deliver(b"")
