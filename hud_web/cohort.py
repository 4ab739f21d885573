"""The viewers of a channel who want frames at the same rate: what they get is made once and written to each.

Owns which frame and thumbnails they were given last. A loop over writes that never wait is all that a delivery costs,
and no Python function is called in it where the server gives its transports: at a thousand viewers two calls for each
were a tenth of all. Whoever does not keep up has left the loop (`subscriber`). Called by the hub.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from hud_web.outlet import Piece

if TYPE_CHECKING:
    from hud_web.hub import Hub
    from hud_web.subscriber import Subscriber


class Cohort:
    """Subscribers with one wish.

    Attributes:
        hub: whose events they get.
        frame_number: number of the newest frame that they were given.
        thumbs_number: the same for thumbnails.
    """

    def __init__(self, hub: Hub, interval_s: float | None) -> None:
        """Make a cohort.

        Args:
            hub: whose events they get.
            interval_s: least time between two frames, 0 for every frame, None for no pictures at all.
        """
        self.hub = hub
        #: Those that have been given everything that was delivered, by what their outlets take, with how to write.
        self._current: dict[bool, dict[Subscriber, Callable[[bytes], object]]] = {True: {}, False: {}}
        self.frame_number = hub.frame_number
        self.thumbs_number = hub.thumbs_number
        self._frame = b"".join(hub.newest_frames(1, 0.0))
        self._interval_s = interval_s
        self._next_frame_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def size(self) -> int:
        """How many keep up."""
        return len(self._current[True]) + len(self._current[False])

    def join(self, subscriber: Subscriber) -> None:
        """Give a viewer all that is delivered from now on."""
        self._current[subscriber.outlet.takes_chunks][subscriber] = subscriber.outlet.put

    def part(self, subscriber: Subscriber) -> bool:
        """Give a viewer nothing more; returns whether it had kept up until now."""
        return any(puts.pop(subscriber, None) is not None for puts in self._current.values())

    def deliver(self, events: bytes) -> None:
        """Write events, and the pictures that are due, to all who keep up."""
        data = events if self._interval_s is None else events + self._due_pictures(self._interval_s)
        size = self.size
        if not data or not size:
            return
        piece = Piece(data)
        tally = self.hub.tally
        tally.deliveries += size
        tally.delivered_bytes += len(data) * size
        for takes_chunks, puts in self._current.items():
            if puts:
                framed = piece.chunk if takes_chunks else piece.plain
                for put in tuple(puts.values()):  # one may find its viewer full, which takes it out
                    put(framed)

    def pictures_since(self, frame_number: int, thumbs_number: int) -> bytes:
        """Return the newest of what was given to the cohort since."""
        if self._interval_s is None:
            return b""
        thumbs = self.hub.thumbs_between(thumbs_number, self.thumbs_number)
        if frame_number == self.frame_number:
            return thumbs
        if frame_number >= 0:
            self.hub.tally.drops["frame skipped"] += self.frame_number - frame_number - 1
        return thumbs + self._frame

    def _due_pictures(self, interval_s: float) -> bytes:
        hub = self.hub
        pictures = b""
        if self.thumbs_number != hub.thumbs_number:
            pictures = hub.thumbs_between(self.thumbs_number, hub.thumbs_number)
            self.thumbs_number = hub.thumbs_number
        if self.frame_number == hub.frame_number:
            return pictures
        wait_s = self._next_frame_s - hub.clock()
        if wait_s > 0:
            if self._timer is None:
                self._timer = hub.call_later(wait_s, self._on_due)
            return pictures
        came = hub.frame_number - self.frame_number
        frames = hub.newest_frames(came, interval_s)
        self._next_frame_s = hub.clock() + interval_s * len(frames)
        self.frame_number, self._frame = hub.frame_number, b"".join(frames[-1:])
        if not interval_s:
            hub.tally.drops["frame skipped"] += (came - len(frames)) * self.size
        return pictures + b"".join(frames)

    def _on_due(self) -> None:
        self._timer = None
        self.deliver(b"")
