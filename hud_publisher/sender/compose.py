"""Makes entries of queued items: cleans values, encodes pictures, cuts to the protocol's limits.

An item that cannot be sent is counted, named once in the log, and left out. The publisher passes the result of
`composer` to its sender: this half of the thread's work, from items to entries, and sender.loop with the other half,
from entries to the sink, know nothing of each other.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hud_publisher.intake.copying import copy_env, copy_step
from hud_publisher.intake.items import Fields, Item, Mind, Picture, Vision
from hud_publisher.protocol.batch_body import check_metrics
from hud_publisher.protocol.cleaning import clean_metrics
from hud_publisher.protocol.entries import MAX_METRICS_BYTES, FrameEntry, MetricsEntry, MindEntry, VisionEntry
from hud_publisher.protocol.errors import TooLargeError, UnsupportedImageError
from hud_publisher.protocol.images import inspect_image
from hud_publisher.protocol.names import Paths, clean_text
from hud_publisher.protocol.values import to_json
from hud_publisher.redaction import redactor_of
from hud_publisher.sender.encoder import Encoder
from hud_publisher.sender.mind import view_fields
from hud_publisher.sender.observation import Observations
from hud_publisher.sender.stillness import Stillness
from hud_publisher.sender.vision_picture import readable_bytes, show_pictures

if TYPE_CHECKING:
    from hud_publisher.intake.report import Counters
    from hud_publisher.protocol.entries import Entry
    from hud_publisher.protocol.images import Mime
    from hud_publisher.protocol.settings import Settings
    from hud_publisher.protocol.values import NotFinite
    from hud_publisher.redaction import Redactor
    from hud_publisher.sender.pauses import GilYield

#: Longest side of a thumbnail in pixels: a strip of twenty fits a page.
THUMB_SIDE = 96
#: A picture that we encoded, of at most this size, has fewer pixels than the protocol's limit: a JPEG takes 12 bytes
#: for a thousand pixels of one grey, and the other formats are for small pictures only.
SMALL_BYTES = 64 * 1024
#: Characters of the message of a death, or of a log line.
REPORT_CHARS = 4_000
#: This many values, with names and texts of any length, stay below the limit on an entry's bytes, so it need not be
#: measured.
LIGHT = 200


def composer(settings: Settings, counters: Counters, yield_gil: GilYield) -> Callable[[list[Item]], tuple[Entry, ...]]:
    """Return `compose` for one sender, with a new encoder and memories of frames and of ranges of observations."""
    encoder = Encoder(
        quality=settings.jpeg_quality,
        image_format=settings.frame_format,
        max_side=settings.max_side,
        gil_released=yield_gil.restart,
    )
    still = Stillness()
    make = functools.partial(
        compose, encoder=encoder, observations=Observations(), counters=counters, paths=Paths(), yield_gil=yield_gil,
        redactor=functools.cache(lambda: redactor_of(settings)),
    )  # fmt: skip
    return lambda items: still.follow(make(items))


def compose(
    items: list[Item],
    encoder: Encoder,
    observations: Observations,
    counters: Counters,
    paths: Paths,
    yield_gil: Callable[[], None] = lambda: None,
    redactor: Callable[[], Redactor] = redactor_of,
) -> tuple[Entry, ...]:
    """Return an entry for each item that can be sent.

    Args:
        items: from the intake.
        encoder: for pictures.
        observations: for views of the policy.
        counters: of the sender.
        paths: of the fields that this sender has sent before.
        yield_gil: called between two items.
        redactor: returns the object that replaces the secrets in reports.
    """
    entries: list[Entry] = []
    for item in items:
        if entries:
            yield_gil()
        try:
            if isinstance(item, Fields):
                if item.stream == "reports":
                    item.data = _short(redactor().tree(item.data))
                entries.append(_metrics(item, counters, paths))
            elif isinstance(item, Picture):
                entries.append(_frame(item, encoder))
            elif isinstance(item, Mind):
                entries.append(_mind(item, observations, counters))
            else:
                entries.append(_vision(item, encoder, counters))
        except (UnsupportedImageError, ValueError, TypeError) as error:  # the latter two for a malformed env
            counters.leave_out(item.stream, "unusable", error)
        except TooLargeError as error:
            counters.leave_out(item.stream, "too large", error)
    return tuple(entries)


def _metrics(item: Fields, counters: Counters, paths: Paths) -> MetricsEntry:
    not_finite: dict[str, NotFinite] = {}
    data = clean_metrics(item.data, counters.cannot_show, not_finite, paths, histograms=True)
    make = MetricsEntry if item.weight <= LIGHT else check_metrics
    return make(data, item.time_ms, copy_step(item.step), item.stream, not_finite)


def _short(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a report with texts of at most REPORT_CHARS; called after secrets were replaced."""
    return {name: value[:REPORT_CHARS] if isinstance(value, str) else value for name, value in fields.items()}


def _frame(item: Picture, encoder: Encoder) -> FrameEntry:
    image, side = item.pixels, THUMB_SIDE if item.stream == "thumbs" else None
    mime: Mime | None = None
    if not isinstance(image, bytes):
        image, mime = encoder.encode(image, max_side=side, sequence=item.env or ())
    if mime is None or len(image) > SMALL_BYTES:
        try:
            mime = inspect_image(image).mime
        except (UnsupportedImageError, TooLargeError):
            image, mime = readable_bytes(image, encoder)
    step, episode = copy_step(item.step), copy_step(item.episode)
    return FrameEntry(image, item.time_ms, mime, step, episode, copy_env(item.env), item.stream)


def _mind(item: Mind, observations: Observations, counters: Counters) -> MindEntry:
    env, observation = copy_env(item.env), item.parts.get("observation")
    shown = None if observation is None else observations.show(observation, env)
    data = check_metrics(view_fields(item, shown, counters.cannot_show), item.time_ms).data
    image = None if shown is None else shown.image
    return MindEntry(data, item.time_ms, copy_step(item.step), copy_step(item.episode), env, image)


def _vision(item: Vision, encoder: Encoder, counters: Counters) -> VisionEntry:
    shown = show_pictures(item.images, encoder)
    for reason in shown.failed:
        counters.no_picture(reason)
    note = {"picture": shown.note} if shown.note else {}
    extra = clean_metrics(note | item.extra, counters.cannot_show)
    # Leave out the largest fields until the rest fits the limit; prompt and answer are sent.
    sizes = {name: len(to_json({name: value})) for name, value in extra.items()}
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if sum(sizes.values()) <= MAX_METRICS_BYTES:
            break
        counters.cannot_show(name, extra.pop(name))
        del sizes[name]
    return VisionEntry(
        shown.image, item.time_ms, shown.mime, item.response_time_ms, item.step, _text(item.prompt),
        _text(item.response), extra,
    )  # fmt: skip


def _text(text: str | None) -> str | None:
    return None if text is None else clean_text(text)
