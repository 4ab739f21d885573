"""Server-Sent Events: how events, ids and positions are written (WHATWG HTML §9.2.6).

Owns the wire form and nothing else; no I/O. Called by the tailer, the stream endpoint and the replay.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hud_publisher.protocol.entries import START, EntryId, FrameEntry, StreamName, VisionEntry
from hud_publisher.protocol.keys import Sid
from hud_publisher.protocol.values import to_json

#: The streams that a client must not lose; frames and thumbnails are newest-wins and have no place in a position.
KEPT_STREAMS: tuple[StreamName, ...] = ("metrics", "iterations", "vision")
HEARTBEAT = b": heartbeat\n\n"
_PARTS = (*KEPT_STREAMS, "events")

_ENTRY_ID = r"([0-9]{1,16}-[0-9]{1,19})"
_POSITION = re.compile(rf"([0-9]{{1,16}})_{_ENTRY_ID}_{_ENTRY_ID}_{_ENTRY_ID}_{_ENTRY_ID}")


@dataclass(frozen=True, slots=True)
class Position:
    """How far into a channel's streams a client is: the `id:` of an event.

    It is made of stream positions only, so every replica can resume every other replica's clients.
    """

    sid: Sid
    metrics: EntryId = START
    iterations: EntryId = START
    vision: EntryId = START
    events: EntryId = START

    def encode(self) -> str:
        """Return the position as it stands in `id:`."""
        return f"{self.sid}_{self.metrics}_{self.iterations}_{self.vision}_{self.events}"

    @classmethod
    def parse(cls, text: str | None) -> Position | None:
        """Return the position, or None if the text is not one of ours."""
        match = _POSITION.fullmatch(text.strip()) if text else None
        return cls(Sid(match[1]), *(EntryId(part) for part in match.groups()[1:])) if match else None

    def after(self, stream: str, entry_id: EntryId) -> Position:
        """Return the position once this entry has been seen."""
        return replace(self, **{stream: entry_id})  # type: ignore[arg-type]

    def of(self, stream: str) -> EntryId:
        """The newest entry seen of a kept stream, or of "events"."""
        entry_id: EntryId = getattr(self, stream)
        return entry_id

    def covers(self, other: Position) -> bool:
        """Whether who stands here has seen all that one who stands there has."""
        if self.sid != other.sid:
            return int(self.sid) > int(other.sid)
        return all(order(other.of(stream)) <= order(self.of(stream)) for stream in _PARTS)

    def union(self, other: Position) -> Position:
        """Return where one stands who has seen what was seen here and there."""
        if self.sid != other.sid:
            return self if int(self.sid) > int(other.sid) else other
        newest = {stream: max(self.of(stream), other.of(stream), key=order) for stream in _PARTS}
        return replace(self, **newest)  # type: ignore[arg-type]


def order(entry_id: str) -> tuple[int, int]:
    """Return an entry id as numbers that compare."""
    millis, _, counter = entry_id.partition("-")
    return int(millis), int(counter or 0)


def event(name: str, data: bytes | str, position: Position | None = None) -> bytes:
    """Return one event; `data` must hold no line break, which JSON never does."""
    body = data if isinstance(data, bytes) else data.encode("utf-8")
    head = f"id: {position.encode()}\nevent: {name}\ndata: " if position else f"event: {name}\ndata: "
    return head.encode("ascii") + body + b"\n\n"


def with_position(encoded: bytes, position: Position) -> bytes:
    """Return the same event under another id."""
    return b"id: %b%b" % (position.encode().encode("ascii"), encoded[encoded.index(b"\n") :])


def retry(delay_ms: int) -> bytes:
    """Tell the browser how long to wait before it reconnects."""
    return b"retry: %d\n\n" % delay_ms


def training_update(fields: Mapping[bytes, bytes], data: Mapping[str, Any], entry_id: EntryId, stream: str) -> bytes:
    """Return the data of a training_update: the entry's own JSON with `_hud` added, encoded once for all viewers.

    Args:
        fields: the stream entry as Redis has it.
        data: its `data` field, parsed.
        entry_id: where it stands.
        stream: "metrics" or "iterations".
    """
    raw = fields[b"data"].strip()
    if b"\n" in raw or b"\r" in raw or b'"_hud"' in raw:  # not written by our encoder: it could forge an event
        raw = to_json({name: value for name, value in data.items() if name != "_hud"}).encode("ascii")
    step = fields.get(b"step")
    about: dict[str, Any] = {
        "id": entry_id,
        "stream": stream,
        "step": None if step is None else int(step),
        "time_ms": int(fields.get(b"time", b"0")),
        "writer": fields.get(b"writer", b"").decode("utf-8", "replace"),
    }
    if b"not_finite" in fields:
        about["not_finite"] = json.loads(fields[b"not_finite"])
    return raw[:-1] + (b"," if data else b"") + b'"_hud":' + to_json(about).encode("ascii") + b"}"


def vision_update(entry: FrameEntry | VisionEntry, entry_id: EntryId) -> bytes:
    """Return the data of a vision_update (or thumbnail): the picture as base64 and what is known about it."""
    # A JPEG in base64 needs no escaping, so the encoder does not look through it.
    return b'{"image":"%b",%b' % (base64.b64encode(entry.image), dump(about_picture(entry, entry_id))[1:])


def about_picture(entry: FrameEntry | VisionEntry, entry_id: EntryId) -> dict[str, Any]:
    """Return what is known about a picture."""
    about: dict[str, Any] = {
        "source": "env", "mime": entry.mime, "id": entry_id, "step": entry.step, "time_ms": entry.time_ms,
    }  # fmt: skip
    if isinstance(entry, VisionEntry):
        return about | {
            "source": "vlm",
            "response_time": entry.response_time_ms,
            "prompt": entry.prompt,
            "response": entry.response,
            "extra": dict(entry.extra),
        }
    if entry.stream == "thumbs":
        del about["source"]
    about["episode"], about["env"] = entry.episode, entry.env
    return about


def dump(data: Any) -> bytes:
    """Encode an event's data."""
    return to_json(data).encode("ascii")
