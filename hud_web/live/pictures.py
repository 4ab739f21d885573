"""The newest pictures of a channel: frames, the thumbnail of each env, the policy's view, the vision LLM's picture.

Owns their bound in memory, and the numbers from which a cohort knows the pictures that its viewers lack. No I/O. Called
by the hub, which stores pictures, and by cohorts.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from hud_publisher.protocol.batch import FRAMES_TOGETHER
from hud_web.store.sse import event
from hud_web.store.tally import Tally

#: Frames of one call of a publisher are delivered together; their times differ by at most this. If several calls came
#: with one read, only the frames of the newest one are delivered.
TOGETHER_MS = 1
#: Tolerance on the requested frame interval: accept a frame at 90 % of it, because capture times jitter.
EVENNESS = 0.9
#: A frame of this size is shown however many channels share the memory: 96 KB of JPEG, as base64.
FRAME_BYTES = 128 * 1024
#: Envs whose thumbnails are kept for the strip.
MAX_THUMBS = 256

Env = tuple[int, int]


class Seen(NamedTuple):
    """The numbers of the newest frame, thumbnail and view of the policy that viewers were sent; -1: none yet."""

    frame: int = -1
    thumbs: int = 0
    mind: int = -1


class Pictures:
    """The pictures of the session on display.

    Attributes:
        frame_at_ms: when Redis received it.
        frame_number: how many frames came; it only grows.
        thumbs_number: the same for thumbnails.
        mind: the policy's newest view, as the data of its event.
        mind_number: the same as `frame_number` for the policy's view.
        vision: the newest picture of the vision LLM, as the data of its event.
        changes: how often `frame`, `mind` or `vision` changed.
    """

    def __init__(self, tally: Tally, most_bytes: int) -> None:
        """Make an empty set of pictures; for `most_bytes` see `limit`."""
        self._tally = tally
        self._most_bytes = most_bytes
        self.frame_number = self.thumbs_number = self.mind_number = self.changes = 0
        self.forget()

    def forget(self) -> None:
        """Drop all pictures; their numbers continue."""
        self.changes += 1
        self.frame_at_ms: int | None = None
        self.vision: bytes | None = None
        self.mind: bytes | None = None
        #: The event of the policy's view without the picture, for viewers that want no pictures.
        self._mind_numbers = b""
        #: The frames of the newest call: the time of each, in ms, and the data of its event.
        self._frames: deque[tuple[int, bytes]] = deque(maxlen=FRAMES_TOGETHER)
        self._thumbs: dict[Env | None, tuple[int, bytes]] = {}

    def limit(self, most_bytes: int) -> None:
        """Keep at most `most_bytes`: 2/5 each for frames and the vision LLM's picture, 1/10 for thumbnails and mind.

        However small that is, the newest frame may have FRAME_BYTES.
        """
        self._most_bytes = most_bytes
        self._drop_old_thumbs()

    @property
    def frame(self) -> bytes | None:
        """The newest frame, as the data of its event; None if there is none."""
        return self._frames[-1][1] if self._frames else None

    def put_frame(self, encoded: bytes, at_ms: int | None = None, taken_ms: int = 0) -> None:
        """Replace the newest frame; `at_ms` is when Redis received it, `taken_ms` its time on the writer's clock."""
        most_bytes = 2 * self._most_bytes // 5
        if len(encoded) > max(most_bytes, FRAME_BYTES):  # the channel's share of the memory is too small
            self._tally.drops["frame skipped"] += 1
            return
        before_ms, self.frame_at_ms = self.frame_at_ms, at_ms
        if before_ms is None or at_ms is None or at_ms - before_ms > TOGETHER_MS:
            self._frames.clear()
        self._frames.append((taken_ms, encoded))
        while len(self._frames) > 1 and sum(len(frame) for _taken_ms, frame in self._frames) > most_bytes:
            self._frames.popleft()
        self.frame_number += 1
        self.changes += 1

    def put_mind(self, encoded: bytes, numbers: bytes) -> None:
        """Replace the policy's view: the data of its event with the picture, and without."""
        self.mind = encoded if len(encoded) <= self._most_bytes // 10 else numbers
        self._mind_numbers = event("mind", numbers)
        self.mind_number += 1
        self.changes += 1

    def mind_event(self, *, has_picture: bool) -> bytes:
        """Return the event of the policy's newest view; empty if there is none."""
        if self.mind is None:
            return b""
        return event("mind", self.mind) if has_picture else self._mind_numbers

    def put_thumb(self, env: Env | None, encoded: bytes) -> None:
        """Replace one env's thumbnail."""
        if len(self._thumbs) >= MAX_THUMBS and env not in self._thumbs:
            return
        self.thumbs_number += 1
        self._thumbs.pop(env, None)  # the newest comes last
        self._thumbs[env] = (self.thumbs_number, event("thumbnail", encoded))
        self._drop_old_thumbs()

    def _drop_old_thumbs(self) -> None:
        used = sum(len(encoded) for _number, encoded in self._thumbs.values())
        while used > self._most_bytes // 10:
            used -= len(self._thumbs.pop(next(iter(self._thumbs)))[1])

    def put_vision(self, encoded: bytes) -> None:
        """Replace the newest picture of the vision LLM."""
        self.vision = encoded if len(encoded) <= 2 * self._most_bytes // 5 else None
        self.changes += 1

    def newest_frames(self, most: int, interval_s: float) -> list[bytes]:
        """Return the events of the newest call's frames, oldest first.

        Args:
            most: their greatest number.
            interval_s: least time between two of them, by their times of capture; the newest is always included.
        """
        chosen: list[bytes] = []
        next_ms = 0
        for taken_ms, encoded in list(self._frames)[-most:][::-1]:
            if not chosen or abs(next_ms - taken_ms) >= interval_s * 1000 * EVENNESS:  # that clock may jump back
                chosen.append(event("vision_update", encoded))
                next_ms = taken_ms
        return chosen[::-1]

    def thumbs_between(self, after: int, last: int) -> bytes:
        """Return the thumbnails that came after one of this number, up to another."""
        return b"".join([encoded for number, encoded in self._thumbs.values() if after < number <= last])
