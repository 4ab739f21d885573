"""The form of a batch on the wire of `POST /api/publish`, and the checks of everything that comes over HTTP.

The wire form is `HUD1`, the length of a JSON header as 4 bytes (big-endian), that header, then the raw bytes of the
pictures one after another, without base64. Does no I/O. Called by the HTTP sink (encode) and by the web tier (decode).
"""

from __future__ import annotations

import io
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hud_publisher.protocol.batch import MAX_BATCH_ENTRIES, MAX_ENV_INDEX, MAX_NUMBER, Batch, Claim
from hud_publisher.protocol.cleaning import MAX_NOT_FINITE, clean_metrics
from hud_publisher.protocol.entries import (
    FIELD_STREAMS,
    MAX_METRICS_BYTES,
    STREAMS,
    Entry,
    FrameEntry,
    MetricsEntry,
    MindEntry,
    VisionEntry,
    decode_not_finite,
    encode_not_finite,
)
from hud_publisher.protocol.errors import MalformedError, TooLargeError, brief
from hud_publisher.protocol.images import inspect_image
from hud_publisher.protocol.keys import SessionId
from hud_publisher.protocol.names import clean_name, clean_text
from hud_publisher.protocol.values import NotFinite, to_json

MAGIC = b"HUD1"
MEDIA_TYPE = "application/vnd.hud.batch"
#: Names that servers of earlier versions accept in `not_finite`; further ones are in a part that those ignore.
FIRST_NOT_FINITE = 32
#: Values of one JSON text. Storing a value in Redis costs about 3 µs in all; parsing this many holds the GIL for 25 ms.
MAX_JSON_VALUES = 100_000
#: Years 1970 to 5138: the plausible Unix times in milliseconds.
_MAX_TIME_MS = 10**14

_WRITER = re.compile(r"[A-Za-z0-9_.:/\-]{1,80}")


def encode_batch(session_id: SessionId, batch: Batch) -> bytes:
    """Return the body of a `POST /api/publish`."""
    heads: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for entry in batch.entries:
        head: dict[str, Any] = {"stream": entry.stream, "time_ms": entry.time_ms, "step": entry.step}
        if isinstance(entry, MetricsEntry):
            wrong = encode_not_finite(entry.not_finite)
            names = wrong.get("not_finite", [])
            if len(names) > FIRST_NOT_FINITE:
                wrong |= {"not_finite": names[:FIRST_NOT_FINITE], "more_not_finite": names[FIRST_NOT_FINITE:]}
            head |= {"data": dict(entry.data)} | wrong
        elif entry.image is not None:
            head["bytes"] = len(entry.image)
            blobs.append(entry.image)
        if isinstance(entry, MindEntry):
            head["data"] = dict(entry.data)
        if isinstance(entry, (FrameEntry, MindEntry)):
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
    if batch.is_main:
        whole["is_main"] = True
    header = to_json(whole).encode("ascii")
    return b"".join([MAGIC, struct.pack(">I", len(header)), header, *blobs])


@dataclass(frozen=True, slots=True)
class BatchHead:
    """The JSON header of a body, before its entries are read.

    Attributes:
        session_id: the session that the batch is for.
        fields: the header as it was sent.
        pictures_at: where the pictures begin in the body.
    """

    session_id: SessionId
    fields: Mapping[str, Any]
    pictures_at: int


def decode_head(body: bytes) -> BatchHead:
    """Return the header of an output of `encode_batch`; every field is checked, since it came over the network.

    Raises:
        MalformedError: it is not such a body; the message names the place.
        TooLargeError: more entries, more values or a larger entry than allowed.
    """
    if body[:4] != MAGIC or len(body) < 8:
        raise MalformedError(f"expected a body that starts with {MAGIC!r}, got {body[:4]!r}: send {MEDIA_TYPE}")
    (length,) = struct.unpack(">I", body[4:8])
    header = parse_json(body[8 : 8 + length])
    if not isinstance(header, dict) or not isinstance(header.get("entries"), list):
        raise MalformedError("the header of the batch lacks its entries: send {session_id, writer, number, entries}")
    if len(header["entries"]) > MAX_BATCH_ENTRIES:
        count = len(header["entries"])
        raise TooLargeError(f"expected at most {MAX_BATCH_ENTRIES} entries, got {count}: send several batches")
    return BatchHead(SessionId(_text(header, "session_id", required=True) or ""), header, 8 + length)


def decode_entries(head: BatchHead, body: bytes) -> Batch:
    """Decode the entries after a header and return the batch; it raises as `decode_head` does."""
    header, reader = head.fields, io.BytesIO(body)
    reader.seek(head.pictures_at)
    entries = tuple(_decode_entry(entry, reader) for entry in header["entries"])
    if (end := reader.tell()) != len(body):
        raise MalformedError(f"the header announces {end} bytes, and the body has {len(body)}: resend the batch")
    env = _env(header.get("claim"))
    claim = Claim(env, header.get("is_preferred") is True) if env else None
    number = _number(header, "number", MAX_NUMBER) or 0
    return Batch(check_writer(header.get("writer")), number, entries, claim, header.get("is_main") is True)


def parse_json(text: bytes) -> Any:
    """Return the value that a JSON text holds; its number of values is bounded before it is parsed.

    Raises:
        TooLargeError: about more than MAX_JSON_VALUES values.
        MalformedError: it is not JSON, is nested too deeply, or has a number of more than 4,300 digits.
    """
    values = sum(text.count(mark) for mark in (b",", b"[", b"{"))
    if values > MAX_JSON_VALUES:
        raise TooLargeError(f"expected at most {MAX_JSON_VALUES} values, got about {values}: send less at once")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise MalformedError("the JSON is nested too deeply: flatten it") from error
    except ValueError as error:
        raise MalformedError(f"the text is not JSON: {str(error)[:200]}") from error


def check_writer(writer: object) -> str:
    """Return a writer's name, or raise MalformedError if it is not 1–80 letters, digits and `_.:/-`."""
    if not isinstance(writer, str) or not _WRITER.fullmatch(writer):
        raise MalformedError(f"expected a writer of 1 to 80 letters, digits and '_.:/-', got {brief(writer)}")
    return writer


def _decode_entry(head: object, pictures: io.BytesIO) -> Entry:
    if not isinstance(head, dict):
        raise MalformedError("an entry is not a JSON object: send {stream, time_ms, …}")
    stream = head.get("stream")
    time_ms = _number(head, "time_ms", _MAX_TIME_MS)
    step = _number(head, "step", MAX_NUMBER)
    if time_ms is None:
        raise MalformedError("an entry has no time_ms: send Unix time in milliseconds")
    if stream in FIELD_STREAMS:
        names = _names(head, "not_finite") + _names(head, "more_not_finite")
        not_finite = decode_not_finite(names[:MAX_NOT_FINITE], head.get("infinite"))
        return check_metrics(head.get("data"), time_ms, step, stream, not_finite, histograms=True)
    if stream not in STREAMS:
        raise MalformedError(f"expected a stream among {', '.join(STREAMS)}, got {brief(stream)}")
    count = _number(head, "bytes", 2**31) or 0
    image = pictures.read(count)
    if len(image) != count:
        raise MalformedError(f"the body ends within a picture, after {len(image)} of {count} bytes: resend the batch")
    episode, env = _number(head, "episode", MAX_NUMBER), _env(head.get("env"))
    if stream == "mind":
        data = check_metrics(head.get("data"), time_ms).data
        if not count:
            return MindEntry(data, time_ms, step, episode, env)
        return MindEntry(data, time_ms, step, episode, env, image, inspect_image(image).mime)
    mime = inspect_image(image).mime
    if stream != "vision":
        return FrameEntry(image, time_ms, mime, step, episode, env, stream)
    extra = head.get("extra", {})
    return VisionEntry(
        image, time_ms, mime, check_latency_ms(head.get("response_time_ms")), step,
        _text(head, "prompt"), _text(head, "response"), check_metrics(extra, time_ms, None).data,
    )  # fmt: skip


def check_metrics(
    data: object,
    time_ms: int,
    step: int | None = None,
    kind: Any = "metrics",
    not_finite: Mapping[str, NotFinite] | None = None,
    *,
    histograms: bool = False,
) -> MetricsEntry:
    """Return an entry of cleaned fields.

    Args:
        data: the fields.
        time_ms: Unix time in milliseconds.
        step: environment steps.
        kind: the stream.
        not_finite: the fields that the sender has left out itself.
        histograms: make histograms of long lists of numbers.

    Raises:
        MalformedError: `data` is not an object.
        TooLargeError: over MAX_METRICS_BYTES once cleaned.
    """
    if not isinstance(data, Mapping):
        raise MalformedError(f"expected data to be an object of names and values, got {type(data).__name__}")
    try:
        wrong = dict(not_finite or {})
        entry = MetricsEntry(clean_metrics(data, not_finite=wrong, histograms=histograms), time_ms, step, kind, wrong)
        size = len(to_json(dict(entry.data)))
    except RecursionError as error:
        raise MalformedError("the data is nested too deeply: flatten it") from error
    if size > MAX_METRICS_BYTES:
        raise TooLargeError(f"expected at most {MAX_METRICS_BYTES} bytes of fields, got {size}: send several entries")
    return entry


def check_latency_ms(value: object) -> float | None:
    """Return a response time in milliseconds, None if there is none, or raise MalformedError."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e12:
        raise MalformedError(f"expected a response time in milliseconds from 0 up, got {brief(value)}")
    return float(value)


def _number(head: Mapping[str, Any], name: str, most: int) -> int | None:
    value = head.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise MalformedError(f"expected {name} to be a whole number from 0 to {most}, got {brief(value)}")
    return value


def _names(head: Mapping[str, Any], part: str) -> list[str]:
    value = head.get(part, [])
    if not isinstance(value, list) or len(value) > MAX_NOT_FINITE or not all(isinstance(name, str) for name in value):
        raise MalformedError(f"expected {part} to be at most {MAX_NOT_FINITE} names, got {brief(value)}")
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
        raise MalformedError(f"expected env to be [worker index, env index], got {brief(value)}")
    pair = {"worker index": value[0], "env index": value[1]}
    return _number(pair, "worker index", MAX_ENV_INDEX) or 0, _number(pair, "env index", MAX_ENV_INDEX) or 0
