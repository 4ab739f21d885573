"""Makes entries of what waits in the outbox: cleans values, encodes pictures, cuts to the protocol's limits.

Runs in the publisher's thread. Whatever cannot be sent is counted, named once in the log, and left out; the rest goes.
"""

from __future__ import annotations

from collections.abc import Callable

from hud_publisher.encoder import Encoder
from hud_publisher.outbox import Fields, Item, Picture, Vision
from hud_publisher.protocol.batch import check_metrics
from hud_publisher.protocol.entries import Entry, FrameEntry, MetricsEntry, VisionEntry
from hud_publisher.protocol.errors import TooLargeError, UnsupportedImageError
from hud_publisher.protocol.images import Mime, inspect_image
from hud_publisher.protocol.values import clean_metrics, clean_text
from hud_publisher.snapshot import copy_env, copy_step
from hud_publisher.stats import Counters

#: Longest side of a thumbnail in pixels: a strip of twenty fits a page.
THUMB_SIDE = 96
#: A picture that we encoded and that is no larger has fewer pixels than the protocol's limit: a JPEG takes 12 bytes for
#: a thousand pixels of one grey, and other forms are for small pictures only.
SMALL_BYTES = 64 * 1024
#: So few values, with names and texts of any length, stay below the limit on an entry's bytes: it need not be measured.
LIGHT = 200


class Composer:
    """Items in, entries out; `breathe` is called between two of them."""

    def __init__(self, encoder: Encoder, counters: Counters, breathe: Callable[[], None] = lambda: None) -> None:
        self._encoder, self._counters, self._breathe = encoder, counters, breathe

    def compose(self, items: list[Item]) -> tuple[Entry, ...]:
        """Return an entry for each item that can be sent."""
        entries: list[Entry] = []
        for item in items:
            if entries:
                self._breathe()
            try:
                entries.append(self._compose_one(item))
            except (UnsupportedImageError, ValueError, TypeError) as error:  # the latter two for an env that is none
                self._counters.leave_out(item.stream, "unusable", error)
            except TooLargeError as error:
                self._counters.leave_out(item.stream, "too large", error)
        return tuple(entries)

    def _compose_one(self, item: Item) -> Entry:
        if isinstance(item, Fields):
            return self._metrics(item)
        if isinstance(item, Picture):
            side = THUMB_SIDE if item.stream == "thumbs" else None
            image, mime = self._image(item.pixels, lambda: self._encoder.encode(item.pixels, max_side=side))
            step, episode = copy_step(item.step), copy_step(item.episode)
            return FrameEntry(image, item.time_ms, mime, step, episode, copy_env(item.env), item.stream)
        return self._vision(item)

    def _metrics(self, item: Fields) -> MetricsEntry:
        not_finite: list[str] = []
        data = clean_metrics(item.data, self._counters.cannot_show, not_finite)
        if item.weight <= LIGHT:
            return MetricsEntry(data, item.time_ms, copy_step(item.step), item.stream, tuple(not_finite))
        return check_metrics(data, item.time_ms, copy_step(item.step), item.stream, not_finite)

    def _vision(self, item: Vision) -> VisionEntry:
        image, mime = self._image(item.image, lambda: self._encoder.encode(item.image, is_exact=True))
        extra = check_metrics(clean_metrics(item.extra, self._counters.cannot_show), item.time_ms).data
        return VisionEntry(
            image, item.time_ms, mime, item.response_time_ms, item.step, _text(item.prompt), _text(item.response), extra
        )

    def _image(self, image: object, encode: Callable[[], tuple[bytes, Mime]]) -> tuple[bytes, Mime]:
        if not isinstance(image, bytes):
            encoded, mime = encode()
            if len(encoded) <= SMALL_BYTES:
                return encoded, mime
            image = encoded
        return image, inspect_image(image).mime


def _text(text: str | None) -> str | None:
    return None if text is None else clean_text(text)
