"""A batch: what one writer sends at once; and its form on the wire of `POST /api/publish`.

The wire form is `HUD1`, the length of a JSON header as 4 bytes (big-endian), that header, then the pictures one after
another as they are: no base64. Owns the limits on what a batch may hold. Does no I/O. Called by the HTTP sink (encode)
and by the web tier (decode).
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hud_publisher.protocol.entries import MAX_METRICS_BYTES, Entry, FrameEntry, MetricsEntry, VisionEntry
from hud_publisher.protocol.errors import MalformedError, TooLargeError
from hud_publisher.protocol.images import inspect_image
from hud_publisher.protocol.keys import SessionId
from hud_publisher.protocol.values import MAX_NOT_FINITE, clean_metrics, clean_name, clean_text, to_json

MAGIC = b"HUD1"
MEDIA_TYPE = "application/vnd.hud.batch"
MAX_BATCH_ENTRIES = 512
#: Of the live frames of one batch, viewers are given so many: the newest.
FRAMES_TOGETHER = 4
#: Redis compares batch numbers as doubles.
MAX_NUMBER = 2**53 - 1
MAX_ENV_INDEX = 10**6
#: Years 1970 to 5138: what a Unix time in milliseconds can reasonably be.
_MAX_TIME_MS = 10**14

_WRITER = re.compile(r"[A-Za-z0-9_.:/\-]{1,80}")


@dataclass(frozen=True, slots=True)
class Claim:
    """A wish to be the reporter, the one env whose episode is shown.

    It is granted if nobody else was reporter within the last 10 s, or if `is_preferred`; each granted claim renews it.
    Frames of a batch whose claim is not granted are passed over.

    Attributes:
        env: (worker index, env index).
        is_preferred: this env is the one that was asked for, so it takes the place of any other.
    """

    env: tuple[int, int]
    is_preferred: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries that land together or not at all, in this order.

    Attributes:
        writer: name of the writing process, unique within the run.
        number: grows by one per batch of this writer, from 1; the same number lands once. 0 for a heartbeat.
        entries: at most MAX_BATCH_ENTRIES.
        claim: set by who is, or wants to be, the reporter.
    """

    writer: str
    number: int = 0
    entries: tuple[Entry, ...] = ()
    claim: Claim | None = None


def encode_batch(session_id: SessionId, batch: Batch) -> bytes:
    """Return the body of a `POST /api/publish`."""
    heads: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for entry in batch.entries:
        head: dict[str, Any] = {"stream": entry.stream, "time_ms": entry.time_ms, "step": entry.step}
        if isinstance(entry, MetricsEntry):
            head |= {"data": dict(entry.data), "not_finite": list(entry.not_finite) or None}
        else:
            head["bytes"] = len(entry.image)
            blobs.append(entry.image)
        if isinstance(entry, FrameEntry):
            head |= {"episode": entry.episode, "env": entry.env}
        elif isinstance(entry, VisionEntry):
            head |= {
                "response_time_ms": entry.response_time_ms,
                "prompt": entry.prompt,
                "response": entry.response,
                "extra": dict(entry.extra),
            }
        heads.append({name: value for name, value in head.items() if value is not None})
    whole: dict[str, Any] = {"session_id": session_id, "writer": batch.writer, "number": batch.number, "entries": heads}
    if batch.claim:
        whole |= {"claim": list(batch.claim.env), "is_preferred": batch.claim.is_preferred}
    header = to_json(whole).encode("ascii")
    return b"".join([MAGIC, struct.pack(">I", len(header)), header, *blobs])


def decode_batch(body: bytes) -> tuple[SessionId, Batch]:
    """Return what `encode_batch` wrote, checked field by field, since it came over the network.

    Raises:
        MalformedError: it is not such a body; the message names the place.
        TooLargeError: more entries or a larger entry than allowed.
    """
    if body[:4] != MAGIC or len(body) < 8:
        raise MalformedError(f"expected a body that starts with {MAGIC!r}, got {body[:4]!r}: send {MEDIA_TYPE}")
    (length,) = struct.unpack(">I", body[4:8])
    try:
        header = json.loads(body[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"expected a JSON header of {length} bytes, got {error}: resend the batch") from error
    if not isinstance(header, dict) or not isinstance(header.get("entries"), list):
        raise MalformedError("expected a header {session_id, writer, number, entries}, got something else")
    if len(header["entries"]) > MAX_BATCH_ENTRIES:
        count = len(header["entries"])
        raise TooLargeError(f"expected at most {MAX_BATCH_ENTRIES} entries, got {count}: send several batches")
    reader = _Blobs(body, 8 + length)
    entries = tuple(_decode_entry(head, reader) for head in header["entries"])
    if reader.at != len(body):
        raise MalformedError(f"expected {reader.at} bytes as the header says, got {len(body)}: resend the batch")
    env = _env(header.get("claim"))
    claim = Claim(env, header.get("is_preferred") is True) if env else None
    number = _number(header, "number", MAX_NUMBER) or 0
    return SessionId(_text(header, "session_id", required=True) or ""), Batch(
        check_writer(header.get("writer")), number, entries, claim
    )


def check_writer(writer: object) -> str:
    """Return a writer's name, or raise MalformedError if it is not 1–80 letters, digits and `_.:/-`."""
    if not isinstance(writer, str) or not _WRITER.fullmatch(writer):
        raise MalformedError(f"expected a writer of 1 to 80 letters, digits and '_.:/-', got {str(writer)[:80]!r}")
    return writer


class _Blobs:
    """Hands out the pictures behind the header, in order."""

    def __init__(self, body: bytes, at: int) -> None:
        self._body = body
        self.at = at

    def take(self, count: int) -> bytes:
        blob = self._body[self.at : self.at + count]
        if len(blob) != count:
            raise MalformedError(f"expected a picture of {count} bytes, got {len(blob)}: the body is cut short")
        self.at += count
        return blob


def _decode_entry(head: object, blobs: _Blobs) -> Entry:
    if not isinstance(head, dict):
        raise MalformedError("expected each entry to be an object, got something else")
    stream = head.get("stream")
    time_ms = _number(head, "time_ms", _MAX_TIME_MS)
    step = _number(head, "step", MAX_NUMBER)
    if time_ms is None:
        raise MalformedError("expected time_ms in every entry, got none: send Unix time in milliseconds")
    if stream == "metrics" or stream == "iterations":
        return check_metrics(head.get("data"), time_ms, step, stream, _names(head.get("not_finite", [])))
    if stream not in ("frames", "thumbs", "vision"):
        raise MalformedError(f"expected stream metrics, iterations, frames, thumbs or vision, got {str(stream)[:40]!r}")
    image = blobs.take(_number(head, "bytes", 2**31) or 0)
    mime = inspect_image(image).mime
    if stream != "vision":
        episode = _number(head, "episode", MAX_NUMBER)
        return FrameEntry(image, time_ms, mime, step, episode, _env(head.get("env")), stream)
    extra = head.get("extra", {})
    return VisionEntry(
        image, time_ms, mime, check_latency_ms(head.get("response_time_ms")), step,
        _text(head, "prompt"), _text(head, "response"), check_metrics(extra, time_ms, None).data,
    )  # fmt: skip


def check_metrics(
    data: object, time_ms: int, step: int | None = None, kind: Any = "metrics", not_finite: Sequence[str] = ()
) -> MetricsEntry:
    """Return an entry of cleaned fields; `not_finite` names those that the sender has left out itself.

    Raises:
        MalformedError: `data` is not an object.
        TooLargeError: over MAX_METRICS_BYTES once cleaned.
    """
    if not isinstance(data, Mapping):
        raise MalformedError(f"expected data to be an object of names and values, got {type(data).__name__}")
    try:
        wrong = list(not_finite)
        entry = MetricsEntry(clean_metrics(data, not_finite=wrong), time_ms, step, kind, tuple(wrong))
        size = len(to_json(dict(entry.data)))
    except RecursionError as error:
        raise MalformedError("expected data nested a few levels deep, got far more: flatten it") from error
    if size > MAX_METRICS_BYTES:
        raise TooLargeError(f"expected at most {MAX_METRICS_BYTES} bytes of fields, got {size}: send several entries")
    return entry


def check_latency_ms(value: object) -> float | None:
    """Return a response time in milliseconds, None where there is none, or raise MalformedError."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e12:
        raise MalformedError(f"expected a response time in milliseconds from 0 up, got {str(value)[:40]!r}")
    return float(value)


def _number(head: Mapping[str, Any], name: str, most: int) -> int | None:
    value = head.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise MalformedError(f"expected {name} to be a whole number from 0 to {most}, got {str(value)[:40]!r}")
    return value


def _names(value: object) -> list[str]:
    if not isinstance(value, list) or len(value) > MAX_NOT_FINITE or not all(isinstance(name, str) for name in value):
        raise MalformedError(f"expected not_finite to be at most {MAX_NOT_FINITE} names, got {str(value)[:40]!r}")
    return [clean_name(name) for name in value]


def _text(head: Mapping[str, Any], name: str, *, required: bool = False) -> str | None:
    value = head.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, str):
        raise MalformedError(f"expected {name} to be text, got {type(value).__name__}")
    return clean_text(value)


def _env(value: object) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise MalformedError(f"expected env to be [worker index, env index], got {str(value)[:40]!r}")
    pair = {"worker index": value[0], "env index": value[1]}
    return _number(pair, "worker index", MAX_ENV_INDEX) or 0, _number(pair, "env index", MAX_ENV_INDEX) or 0
