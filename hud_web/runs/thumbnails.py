"""The pictures of the wall: small ones as they are stored, large ones scaled down in a thread.

Owns the encoded form of a picture in the event `changes`. Called by the overview.
"""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from hud_publisher.protocol.entries import FrameEntry
from hud_publisher.protocol.errors import HudError
from hud_publisher.protocol.images import inspect_image
from hud_publisher.protocol.stored import decode_entry
from hud_web.runs.run import Key
from hud_web.store.sse import dump

#: Larger pictures are scaled down: two hundred cards with one such picture per second are 40 Mbit/s.
SMALL_BYTES = 24 * 1024
#: Longest side of a scaled picture in pixels: twice the width of a card, for screens with two pixels per CSS pixel.
SIDE = 320
QUALITY = 70
#: Time that scaling may take between two ticks, in seconds; pictures that wait longer are replaced by newer ones.
SCALING_S = 0.15

_scaler = ThreadPoolExecutor(1, "hud-thumbnails")


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture of a run as JSON, with the number that orders it among all pictures."""

    number: int
    encoded: bytes


class Thumbnails:
    """The newest picture of each run, the one that changed last at the end."""

    def __init__(self) -> None:
        self.newest: dict[Key, Thumbnail] = {}
        self._waiting: dict[Key, FrameEntry] = {}
        self._number = 0

    @property
    def number(self) -> int:
        """Of the newest picture."""
        return self._number

    def offer(self, key: Key, fields: Mapping[bytes, bytes]) -> None:
        """Take a stored frame; a large one waits until it is scaled, and replaces an older one that waits.

        Raises:
            ValueError: it cannot be read.
        """
        entry = decode_entry("frames", fields)
        assert isinstance(entry, FrameEntry)
        if len(entry.image) > SMALL_BYTES:
            self._waiting[key] = entry
        else:
            self._waiting.pop(key, None)
            self._take(key, entry)

    async def scale(self) -> None:
        """Scale the pictures that wait, those that waited longest first, as many as SCALING_S allows."""
        if not self._waiting:
            return
        waiting = dict(self._waiting)
        for key, entry in (await asyncio.get_running_loop().run_in_executor(_scaler, _scaled, waiting)).items():
            if self._waiting.get(key) is waiting[key]:
                del self._waiting[key]
            if entry is not None:
                self._take(key, entry)

    def drop(self, key: Key) -> None:
        """Forget the pictures of a run."""
        self.newest.pop(key, None)
        self._waiting.pop(key, None)

    def since(self, number: int, most_bytes: int) -> tuple[list[tuple[Key, Thumbnail]], int]:
        """Return pictures after this number, oldest first, of about `most_bytes`, and the number of the last one."""
        found: list[tuple[Key, Thumbnail]] = []
        for key, one in reversed(self.newest.items()):
            if one.number <= number:
                break
            found.append((key, one))
        found.reverse()
        size = 0
        for at, (_key, one) in enumerate(found):
            size += len(one.encoded)
            if size > most_bytes and at:
                del found[at:]
                break
        return found, found[-1][1].number if found else number

    def _take(self, key: Key, entry: FrameEntry) -> None:
        self._number += 1
        try:
            info = inspect_image(entry.image)
        except HudError:  # a browser could not show it either
            return
        about = {
            "run": f"{key[0]}:{key[1]}", "time_ms": entry.time_ms, "mime": entry.mime, "width": info.width,
            "height": info.height,
        }  # fmt: skip
        encoded = b'{"image":"%b",%b' % (base64.b64encode(entry.image), dump(about)[1:])
        self.newest.pop(key, None)  # so that it becomes the last one
        self.newest[key] = Thumbnail(self._number, encoded)


def _scaled(waiting: Mapping[Key, FrameEntry]) -> dict[Key, FrameEntry | None]:
    ends_s, done = time.monotonic() + SCALING_S, dict[Key, FrameEntry | None]()
    for key, entry in waiting.items():
        done[key] = _scale(entry)
        if time.monotonic() > ends_s:
            break
    return done


def _scale(entry: FrameEntry) -> FrameEntry | None:
    try:
        inspect_image(entry.image)  # refuses a small file that claims a huge size
        with Image.open(io.BytesIO(entry.image)) as opened:
            opened.draft("RGB", (SIDE, SIDE))  # a JPEG is decoded at a fraction of its size
            picture = opened.convert("RGB")
    except (HudError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return FrameEntry(buffer.getvalue(), entry.time_ms, "image/jpeg", entry.step, entry.episode, entry.env)
