"""Server-Sent Events: the encoding of events, ids and positions (WHATWG HTML §9.2.6).

Owns the wire form and nothing else; no I/O. Called by the tailer, the stream endpoint and the replay.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hud_publisher.protocol.entries import (
    START,
    STREAMS,
    EntryId,
    FrameEntry,
    MindEntry,
    StreamName,
    VisionEntry,
    encode_not_finite,
)
from hud_publisher.protocol.keys import Sid
from hud_publisher.protocol.stored import read_int, read_not_finite, read_object
from hud_publisher.protocol.values import Json, to_json

#: The streams that a client must not lose; frames and thumbnails are newest-wins and have no place in a position.
KEPT_STREAMS: tuple[StreamName, ...] = (
    "metrics", "iterations", "vision", "annotations", "machine", "reports"
)  # fmt: skip
#: Every stream of a session.
ALL_STREAMS: tuple[StreamName, ...] = (*STREAMS, "annotations")
HEARTBEAT = b": heartbeat\n\n"
PARTS = (*KEPT_STREAMS, "events")
#: (fields, paths that are not finite, size in bytes) → the field roles if this entry changed them, else None.
MergeFields = Callable[[dict[str, Json], Iterable[str], int], Any]

#: The form of an entry id.
ENTRY_ID = r"[0-9]{1,16}-[0-9]{1,19}"
#: Clients of earlier versions send no position of the last three streams; they get all of their entries.
_POSITION = re.compile(
    rf"([0-9]{{1,16}})_({ENTRY_ID})_({ENTRY_ID})_({ENTRY_ID})_({ENTRY_ID})(?:_({ENTRY_ID}))?(?:_({ENTRY_ID})_({ENTRY_ID}))?"
)


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
    annotations: EntryId = START
    machine: EntryId = START
    reports: EntryId = START

    def encode(self) -> str:
        """Return the position as the text of `id:`."""
        return "_".join((
            self.sid, self.metrics, self.iterations, self.vision, self.events, self.annotations, self.machine,
            self.reports,
        ))  # fmt: skip

    @classmethod
    def parse(cls, text: str | None) -> Position | None:
        """Return the position; None if the text is not a position."""
        match = _POSITION.fullmatch(text.strip()) if text else None
        return cls(Sid(match[1]), *(EntryId(part or START) for part in match.groups()[1:])) if match else None

    def after(self, stream: str, entry_id: EntryId) -> Position:
        """Return the position once this entry has been seen."""
        # dataclasses.replace takes twice as long, and this runs for each entry.
        ids = {name: getattr(self, name) for name in PARTS}
        ids[stream] = entry_id
        return Position(self.sid, **ids)

    def of(self, stream: str) -> EntryId:
        """Return the id of the newest entry seen of a kept stream, or of "events"."""
        entry_id: EntryId = getattr(self, stream)
        return entry_id

    def covers(self, other: Position) -> bool:
        """Whether a client at this position has seen every event up to `other`."""
        if self.sid != other.sid:
            return int(self.sid) > int(other.sid)
        return all(order(other.of(stream)) <= order(self.of(stream)) for stream in PARTS)

    def union(self, other: Position) -> Position:
        """Return the position of a client that has seen every event up to both positions."""
        if self.sid != other.sid:
            return self if int(self.sid) > int(other.sid) else other
        newest = {stream: max(self.of(stream), other.of(stream), key=order) for stream in PARTS}
        return replace(self, **newest)  # type: ignore[arg-type]


def order(entry_id: str) -> tuple[int, int]:
    """Return an entry id as numbers, which compare in order."""
    millis, _, counter = entry_id.partition("-")
    return int(millis), int(counter or 0)


def time_ms_of(entry_id: str) -> int:
    """Return the time at which Redis appended an entry, in Unix ms: the clock of its writer may be wrong."""
    return order(entry_id)[0]


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


def merge_nothing(_data: dict[str, Json], _not_finite: Iterable[str], _size: int) -> None:
    """Take the fields of an entry for no state."""


def training_update(
    fields: Mapping[bytes, bytes], entry_id: EntryId, stream: str, merge_fields: MergeFields = merge_nothing
) -> bytes:
    """Return the data of a training_update, encoded once for all viewers.

    The stored JSON of the entry is sent unchanged, with `_hud` added.

    Args:
        fields: the stream entry from Redis.
        entry_id: its id in the stream.
        stream: of the entry, one of FIELD_STREAMS.
        merge_fields: takes the fields for the state of the session.

    Raises:
        ValueError: the entry has no JSON object.
    """
    data, text = read_object(fields.get(b"data", b""))
    about: dict[str, Any] = {
        "id": entry_id,
        "stream": stream,
        "step": read_int(fields, b"step"),
        "time_ms": read_int(fields, b"time") or 0,
        "writer": fields.get(b"writer", b"").decode("utf-8", "replace"),
    }
    not_finite = read_not_finite(fields)
    about |= encode_not_finite(not_finite)
    comma = b"," if data else b""
    data.pop("_hud", None)
    roles = merge_fields(data, not_finite, len(text))
    if roles is not None:
        about["roles"] = roles
    return text[:-1] + comma + b'"_hud":' + to_json(about).encode("ascii") + b"}"


def vision_update(entry: FrameEntry | VisionEntry, entry_id: EntryId) -> bytes:
    """Return the data of a vision_update (or thumbnail): the picture as base64 and its description."""
    # A JPEG in base64 needs no escaping, so the JSON encoder does not process it.
    return b'{"image":"%b",%b' % (base64.b64encode(entry.image), dump(about_picture(entry, entry_id))[1:])


def about_picture(entry: FrameEntry | VisionEntry, entry_id: EntryId) -> dict[str, Any]:
    """Return the description of a picture."""
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


def about_mind(entry: MindEntry, entry_id: EntryId) -> dict[str, Any]:
    """Return the policy's view without its picture."""
    return dict(entry.data) | {
        "id": entry_id, "step": entry.step, "time_ms": entry.time_ms, "episode": entry.episode, "env": entry.env,
        "has_image": entry.image is not None,
    }  # fmt: skip


def dump(data: Any) -> bytes:
    """Encode an event's data."""
    return to_json(data).encode("ascii")
