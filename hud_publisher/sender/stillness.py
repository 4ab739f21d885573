"""Finds a picture that does not change while the steps advance, as with a frozen emulator or a stuck renderer.

Compares the encoded frames of each env, which are made in the publisher's thread, also without a viewer: then there is
one frame a second. Two different frames mostly differ in length, so that a comparison costs nothing. Does no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hud_publisher.protocol.entries import FrameEntry, MetricsEntry

if TYPE_CHECKING:
    from hud_publisher.protocol.entries import Entry

#: A picture counts as unchanged after this time, in milliseconds, and this many steps: a menu may stay for a while.
UNCHANGED_MS = 10_000
UNCHANGED_STEPS = 100
#: Time between two reports, in milliseconds.
REPORT_MS = 5_000
#: Envs whose newest frame is kept; past that all are forgotten.
MAX_ENVS = 16


@dataclass(slots=True)
class _Still:
    """The first frame of those that are equal, and when they were reported last; 0 before."""

    first: FrameEntry
    reported_ms: int = 0


class Stillness:
    """Adds the fields `picture_unchanged_s` and `picture_unchanged_steps` to the entries of a publisher."""

    def __init__(self) -> None:
        self._frames: dict[tuple[int, int] | None, _Still] = {}

    def follow(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """Return the entries, with a report on each frame that has been the same for a while, or changed after that."""
        reports = [
            report
            for entry in entries
            if isinstance(entry, FrameEntry) and entry.stream == "frames" and (report := self._see(entry)) is not None
        ]
        return (*entries, *reports) if reports else entries

    def _see(self, frame: FrameEntry) -> MetricsEntry | None:
        known = self._frames.get(frame.env)
        if known is not None and known.first.image == frame.image:
            lasts_ms = frame.time_ms - known.first.time_ms
            steps = 0 if frame.step is None or known.first.step is None else frame.step - known.first.step
            if lasts_ms < UNCHANGED_MS or steps < UNCHANGED_STEPS or frame.time_ms - known.reported_ms < REPORT_MS:
                return None
            known.reported_ms = frame.time_ms
            return _report(frame, lasts_ms / 1000, steps)
        if len(self._frames) >= MAX_ENVS:
            self._frames.clear()
        self._frames[frame.env] = _Still(frame)
        return _report(frame, 0.0, 0) if known is not None and known.reported_ms else None


def _report(frame: FrameEntry, seconds: float, steps: int) -> MetricsEntry:
    data = {"picture_unchanged_s": round(seconds, 1), "picture_unchanged_steps": steps}
    return MetricsEntry(data, frame.time_ms, frame.step)
