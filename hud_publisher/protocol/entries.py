"""What stands in the streams: metrics, frames and vision entries, each with `encode` and `decode`.

Owns the field names inside stream entries and the bounds of each stream. Does no I/O. Called by the publisher, which
makes entries, by the web tier's endpoints, which make them for others, and by its tailer, which reads them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, Literal, NewType

from hud_publisher.protocol.images import MAX_IMAGE_BYTES
from hud_publisher.protocol.values import Json, to_json

#: Redis' id of a stream entry, `milliseconds-counter`.
EntryId = NewType("EntryId", str)
StreamName = Literal["metrics", "iterations", "frames", "thumbs", "vision"]
STREAMS: tuple[StreamName, ...] = ("metrics", "iterations", "frames", "thumbs", "vision")

Field = bytes | str | int
START = EntryId("0-0")

MAX_METRICS_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class MetricsEntry:
    """Fields of one moment.

    Attributes:
        data: cleaned fields (values.clean_metrics).
        time_ms: Unix time in milliseconds at which they were logged, on the writer's clock.
        step: environment steps sampled so far in this run, where known.
        stream: "metrics" for step and episode level, "iterations" for one training iteration.
        not_finite: paths of fields that were NaN or infinite, so that somebody can be told.
    """

    data: Mapping[str, Json]
    time_ms: int
    step: int | None = None
    stream: Literal["metrics", "iterations"] = "metrics"
    not_finite: tuple[str, ...] = ()

    def encode(self) -> list[Field]:
        fields: list[Field] = ["data", to_json(dict(self.data)), "time", self.time_ms]
        if self.step is not None:
            fields += ("step", self.step)
        if self.not_finite:
            fields += ("not_finite", to_json(list(self.not_finite)))
        return fields


@dataclass(frozen=True, slots=True)
class FrameEntry:
    """One live frame of one env.

    Attributes:
        image: encoded picture.
        mime: its media type.
        time_ms: Unix time in milliseconds at which it was rendered.
        step: environment steps sampled so far in this run, where known.
        episode: number of the episode it belongs to, where known.
        env: (worker index, env index) of its env, where known.
        stream: "frames" for the reporter's pictures, "thumbs" for a small one of any env.
    """

    image: bytes
    time_ms: int
    mime: str = "image/jpeg"
    step: int | None = None
    episode: int | None = None
    env: tuple[int, int] | None = None
    stream: Literal["frames", "thumbs"] = "frames"

    def encode(self) -> list[Field]:
        fields: list[Field] = ["image", self.image, "mime", self.mime, "time", self.time_ms]
        if self.step is not None:
            fields += ("step", self.step)
        if self.episode is not None:
            fields += ("episode", self.episode)
        if self.env is not None:
            fields += ("env", env_name(self.env))
        return fields


@dataclass(frozen=True, slots=True)
class VisionEntry:
    """One call of the vision LLM: what it saw, what it was asked and what it said.

    Attributes:
        image: the encoded picture exactly as the model got it.
        time_ms: Unix time in milliseconds of the answer.
        mime: the picture's media type.
        response_time_ms: how long the model took.
        step: environment steps sampled so far in this run, where known.
        prompt: the text that went with the picture.
        response: the model's answer.
        extra: further cleaned fields, shown by their names (model, action, tokens, error …).
    """

    image: bytes
    time_ms: int
    mime: str = "image/jpeg"
    response_time_ms: float | None = None
    step: int | None = None
    prompt: str | None = None
    response: str | None = None
    extra: Mapping[str, Json] = field(default_factory=dict)
    stream: ClassVar[Literal["vision"]] = "vision"

    def encode(self) -> list[Field]:
        latency = None if self.response_time_ms is None else repr(float(self.response_time_ms))
        extra = to_json(dict(self.extra)) if self.extra else None
        fields: list[Field] = ["image", self.image, "mime", self.mime, "time", self.time_ms]
        for name, value in (
            ("latency_ms", latency), ("step", self.step), ("prompt", self.prompt), ("response", self.response),
            ("extra", extra),
        ):  # fmt: skip
            if value is not None:
                fields += (name, value)
        return fields


Entry = MetricsEntry | FrameEntry | VisionEntry


@dataclass(frozen=True, slots=True)
class Bound:
    """How much of a stream is kept.

    Attributes:
        entries: at most about this many (Redis trims whole nodes, so a few more can stand).
        stream_bytes: about this many bytes; 0 for no limit.
        age_ms: nothing older; 0 for no limit.
    """

    entries: int
    stream_bytes: int = 0
    age_ms: int = 0

    def max_entries(self, entry_bytes: int) -> int:
        """The number of entries of this size that stay within both bounds; 1 at the least."""
        if not self.stream_bytes:
            return self.entries
        return max(1, min(self.entries, self.stream_bytes // max(1, entry_bytes)))


def bounds(frame_history_s: float) -> dict[StreamName, Bound]:
    """The bounds of every stream of a session.

    20,000 metrics entries are about 7 MB (338 B each, measured) and 15 minutes at 20/s; iterations are kept whole,
    which at one per 10 s lasts 11 days, and 64 MB are 5,000 results of 12 KB; 96 MB of frames are 5 minutes of 16 KB
    pictures at 20/s. What leaves metrics and iterations stays in its pieces (fold.lua).
    """
    return {
        "metrics": Bound(entries=20_000, stream_bytes=32 * 1024 * 1024),
        "iterations": Bound(entries=100_000, stream_bytes=64 * 1024 * 1024),
        "frames": Bound(entries=20_000, stream_bytes=96 * 1024 * 1024, age_ms=int(frame_history_s * 1000)),
        "thumbs": Bound(entries=256, stream_bytes=2 * 1024 * 1024, age_ms=60_000),
        "vision": Bound(entries=1_000, stream_bytes=24 * 1024 * 1024),
    }


def decode_entry(stream: StreamName, fields: Mapping[bytes, bytes]) -> Entry:
    """Return the entry that `encode` wrote; fields of newer versions are passed over."""
    time_ms = int(fields.get(b"time", b"0"))
    step = _int(fields.get(b"step"))
    if stream == "metrics" or stream == "iterations":
        not_finite = tuple(json.loads(fields.get(b"not_finite", b"[]")))
        return MetricsEntry(json.loads(fields[b"data"]), time_ms, step, stream, not_finite)
    image, mime = fields[b"image"], _text(fields.get(b"mime")) or "image/jpeg"
    if stream == "frames" or stream == "thumbs":
        env = parse_env(_text(fields.get(b"env")))
        return FrameEntry(image, time_ms, mime, step, _int(fields.get(b"episode")), env, stream)
    latency = fields.get(b"latency_ms")
    return VisionEntry(
        image, time_ms, mime, None if latency is None else float(latency), step,
        _text(fields.get(b"prompt")), _text(fields.get(b"response")), json.loads(fields.get(b"extra", b"{}")),
    )  # fmt: skip


def _int(value: bytes | None) -> int | None:
    return None if value is None else int(value)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def env_name(env: tuple[int, int]) -> str:
    """Return how (worker index, env index) is written: `1/0`."""
    return f"{env[0]}/{env[1]}"


@lru_cache(maxsize=1024)
def parse_env(text: str | None) -> tuple[int, int] | None:
    """Read what `env_name` wrote; None for nothing."""
    if not text:
        return None
    worker, _, env = text.partition("/")
    return int(worker), int(env)


def entry_bytes(entry: Entry) -> int:
    """About how much room an entry takes in memory and on the wire."""
    if isinstance(entry, MetricsEntry):
        return len(to_json(dict(entry.data))) + 64
    return len(entry.image) + 128


__all__ = [
    "MAX_IMAGE_BYTES", "MAX_METRICS_BYTES", "START", "STREAMS", "Bound", "Entry", "EntryId", "FrameEntry",
    "MetricsEntry", "StreamName", "VisionEntry", "bounds", "decode_entry", "entry_bytes", "env_name", "parse_env",
]  # fmt: skip
