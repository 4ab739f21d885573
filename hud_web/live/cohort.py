"""The viewers of a channel that want frames at the same rate: each delivery is built once and written to all of them.

Owns the numbers of the pictures that they were sent last. A delivery is a loop over writes that never
block, and it calls no Python function if the server provides its transports: at a thousand viewers, two calls per
viewer were a tenth of the whole cost. A viewer that falls behind leaves the loop (`subscriber`). Called by the hub.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from hud_web.live.outlet import Outlet, Payload
from hud_web.live.pictures import Pictures, Seen
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
        seen: the newest pictures that they were sent.
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
        self.seen = Seen(hub.pictures.frame_number, hub.pictures.thumbs_number, hub.pictures.mind_number)
        self._interval_s = interval_s
        self._next_frame_s = self._next_mind_s = 0.0
        #: Timers of the next frame and the next view of the policy.
        self._timers: dict[str, asyncio.TimerHandle] = {}

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
        data = events + self._due_mind()
        if self._interval_s is not None:
            data += self._due_pictures(self._interval_s)
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

    def pictures_since(self, seen: Seen) -> bytes:
        """Return the newest pictures that the cohort was sent since those of the given numbers."""
        mind = b"" if seen.mind == self.seen.mind else self._mind_event()
        if self._interval_s is None:
            return mind
        others = mind + self._pictures.thumbs_between(seen.thumbs, self.seen.thumbs)
        if seen.frame == self.seen.frame:
            return others
        if seen.frame >= 0:
            self.hub.tally.drops["frame skipped"] += self.seen.frame - seen.frame - 1
        return others + b"".join(self._pictures.newest_frames(1, 0.0))

    def _mind_event(self) -> bytes:
        return self._pictures.mind_event(has_picture=self._interval_s is not None)

    def _due_mind(self) -> bytes:
        """The policy's newest view, if it is due: before its frame, so that a page shows both at once."""
        newest = self._pictures.mind_number
        if self.seen.mind == newest or self._is_early("mind", self._next_mind_s):
            return b""
        self._next_mind_s = self.hub.clock() + (self._interval_s or 0.0)
        self.seen = self.seen._replace(mind=newest)
        return self._mind_event()

    def _due_pictures(self, interval_s: float) -> bytes:
        hub, newest = self.hub, self._pictures
        pictures = b""
        if self.seen.thumbs != newest.thumbs_number:
            pictures = newest.thumbs_between(self.seen.thumbs, newest.thumbs_number)
            self.seen = self.seen._replace(thumbs=newest.thumbs_number)
        if self.seen.frame == newest.frame_number or self._is_early("frame", self._next_frame_s):
            return pictures
        came = newest.frame_number - self.seen.frame
        frames = newest.newest_frames(came, interval_s)
        self._next_frame_s = hub.clock() + interval_s * len(frames)
        self.seen = self.seen._replace(frame=newest.frame_number)
        if not interval_s:
            hub.tally.drops["frame skipped"] += (came - len(frames)) * self.size
        return pictures + b"".join(frames)

    def _is_early(self, name: str, due_s: float) -> bool:
        """Whether it is due later; then a timer delivers it."""
        wait_s = due_s - self.hub.clock()
        if wait_s > 0 and name not in self._timers:
            self._timers[name] = self.hub.call_later(wait_s, lambda: self._on_due(name))
        return wait_s > 0

    def _on_due(self, name: str) -> None:
        del self._timers[name]
        self.deliver(b"")
