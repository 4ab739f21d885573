"""The entries of the streams: metrics, frames and vision entries, each with `encode`.

Owns the field names of stream entries, and how much of each stream and session is kept. Does no I/O. Called by the
publisher, which makes entries, and by the web tier's endpoints, which make them for HTTP clients; `stored` reads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Literal, NewType, get_args

from hud_publisher.protocol.values import NOT_FINITE, Json, NotFinite, to_json

#: Redis' id of a stream entry, `milliseconds-counter`.
EntryId = NewType("EntryId", str)
StreamName = Literal[
    "metrics", "iterations", "frames", "thumbs", "vision", "mind", "machine", "reports", "annotations"
]  # fmt: skip
#: The streams of `MetricsEntry`.
FieldStream = Literal["metrics", "iterations", "machine", "reports"]
FIELD_STREAMS: tuple[FieldStream, ...] = get_args(FieldStream)
#: The streams that publishers write; the monitor writes annotations.
STREAMS: tuple[StreamName, ...] = (
    "metrics", "iterations", "frames", "thumbs", "vision", "mind", "machine", "reports"
)  # fmt: skip

Field = bytes | str | int
START = EntryId("0-0")

MAX_METRICS_BYTES = 512 * 1024
_ENV = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class MetricsEntry:
    """Fields that were logged at one moment.

    Attributes:
        data: cleaned fields (cleaning.clean_metrics).
        time_ms: Unix time in milliseconds at which they were logged, on the writer's clock.
        step: environment steps sampled in this run until then, if known.
        stream: "metrics" for step and episode level, "iterations" for one training iteration, "machine" for the use of
            CPU, memory and GPU, "reports" for deaths, restarts, log lines and alerts of a process.
        not_finite: path → value of the fields that were NaN or infinite, so that viewers see them.
    """

    data: Mapping[str, Json]
    time_ms: int
    step: int | None = None
    stream: FieldStream = "metrics"
    not_finite: Mapping[str, NotFinite] = field(default_factory=dict)

    @property
    def is_merged(self) -> bool:
        """Whether the state of the session takes the fields; reports are events, which have no newest value."""
        return self.stream != "reports"

    def encode(self) -> list[Field]:
        wrong = {name: to_json(value) for name, value in encode_not_finite(self.not_finite).items()}
        return _fields_of(data=to_json(dict(self.data)), time=self.time_ms, step=self.step, **wrong)


@dataclass(frozen=True, slots=True)
class FrameEntry:
    """One live frame of one env.

    Attributes:
        image: encoded picture.
        mime: its media type.
        time_ms: Unix time in milliseconds at which it was rendered.
        step: environment steps sampled in this run until then, if known.
        episode: number of the episode it belongs to, if known.
        env: (worker index, env index) of its env, if known.
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
        env = None if self.env is None else env_name(self.env)
        return _fields_of(
            image=self.image, mime=self.mime, time=self.time_ms, step=self.step, episode=self.episode, env=env
        )


@dataclass(frozen=True, slots=True)
class VisionEntry:
    """One call of the vision LLM: the picture, the prompt and the answer.

    Attributes:
        image: the encoded picture exactly as the model received it.
        time_ms: Unix time in milliseconds of the answer.
        mime: the picture's media type.
        response_time_ms: how long the model took.
        step: environment steps sampled in this run until then, if known.
        prompt: the text that was sent with the picture.
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
        return _fields_of(
            image=self.image, mime=self.mime, time=self.time_ms, latency_ms=latency, step=self.step,
            prompt=self.prompt, response=self.response, extra=extra,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class MindEntry:
    """The policy's view of one step: what it observed, what it preferred, and what it expected.

    Attributes:
        data: cleaned fields, each optional: action, action_name, action_names, probabilities, mean, deviation,
            q_values, value, entropy, observation, observation_names, reward_parts, advice (docs/protocol.md).
        time_ms: Unix time in milliseconds of the step.
        step: environment steps sampled in this run until then, if known.
        episode: number of the episode it belongs to, if known.
        env: (worker index, env index) of its env, if known.
        image: the observation as an encoded picture; None if it is no picture.
        mime: the picture's media type.
    """

    data: Mapping[str, Json]
    time_ms: int
    step: int | None = None
    episode: int | None = None
    env: tuple[int, int] | None = None
    image: bytes | None = None
    mime: str = "image/png"
    stream: ClassVar[Literal["mind"]] = "mind"

    def encode(self) -> list[Field]:
        env = None if self.env is None else env_name(self.env)
        return _fields_of(
            data=to_json(dict(self.data)), time=self.time_ms, step=self.step, episode=self.episode, env=env,
            image=self.image, mime=None if self.image is None else self.mime,
        )  # fmt: skip


def _fields_of(**fields: Field | None) -> list[Field]:
    """Return the names and the values in turn; a field without a value is left out."""
    return [part for name, value in fields.items() if value is not None for part in (name, value)]


Entry = MetricsEntry | FrameEntry | VisionEntry | MindEntry


@dataclass(frozen=True, slots=True)
class Bound:
    """How much of a stream is kept.

    Attributes:
        entries: at most about this many (Redis trims whole nodes, so a few more can remain).
        stream_bytes: about this many bytes; 0 for no limit.
        age_ms: nothing older; 0 for no limit.
    """

    entries: int
    stream_bytes: int = 0
    age_ms: int = 0

    def max_entries(self, entry_bytes: int) -> int:
        """The number of entries of this size that stay within both bounds; at least 1."""
        if not self.stream_bytes:
            return self.entries
        return max(1, min(self.entries, self.stream_bytes // max(1, entry_bytes)))


def bounds(frame_history_s: float) -> dict[StreamName, Bound]:
    """Return the bounds of every stream of a session.

    20,000 metrics entries are about 7 MB (338 B each, measured) and 15 minutes at 20/s. Iterations are kept whole: at
    one per 10 s they last 11 days, and 64 MB are 5,000 results of 12 KB. 96 MB of frames are 5 minutes of 16 KB
    pictures at 20/s; the policy's view is kept as long, 5 times a second. 40,000 entries of the machine are 14 hours of
    four processes at one per 5 s each. Trimmed entries of metrics and iterations remain in the downsampled history
    (downsample.lua).
    """
    return {
        "metrics": Bound(entries=20_000, stream_bytes=32 * 1024 * 1024),
        "iterations": Bound(entries=100_000, stream_bytes=64 * 1024 * 1024),
        "frames": Bound(entries=20_000, stream_bytes=96 * 1024 * 1024, age_ms=int(frame_history_s * 1000)),
        "thumbs": Bound(entries=256, stream_bytes=2 * 1024 * 1024, age_ms=60_000),
        "vision": Bound(entries=1_000, stream_bytes=24 * 1024 * 1024),
        "mind": Bound(entries=5_000, stream_bytes=32 * 1024 * 1024, age_ms=int(frame_history_s * 1000)),
        "machine": Bound(entries=40_000, stream_bytes=16 * 1024 * 1024),
        "reports": Bound(entries=4_000, stream_bytes=4 * 1024 * 1024),
    }


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on time and memory that the writer passes to the scripts.

    Attributes:
        ttl_ms: how long a session holds its channel without a write or heartbeat.
        retention_ms: how long a session's keys stay after its last write.
        past_sessions: how many sessions stay besides the newest, 0 for any number.
        past_bytes: how much memory those may take together, 0 for any amount.
        streams: the bound of each stream.
    """

    ttl_ms: int = 30_000
    retention_ms: int = 7 * 24 * 3600 * 1000
    past_sessions: int = 100
    past_bytes: int = 256 * 1024 * 1024
    streams: Mapping[StreamName, Bound] = field(default_factory=lambda: bounds(300.0))


def encode_not_finite(not_finite: Mapping[str, NotFinite]) -> dict[str, Any]:
    """Return an entry's non-finite fields in their wire form: all paths, and the values of those that are not NaN.

    Earlier readers know the paths only.
    """
    infinite = {path: value for path, value in not_finite.items() if value != "NaN"}
    return ({"not_finite": list(not_finite)} if not_finite else {}) | ({"infinite": infinite} if infinite else {})


def decode_not_finite(paths: object, infinite: object) -> dict[str, NotFinite]:
    """Return path → value from the wire form; a part that cannot be read counts as absent."""
    values = infinite if isinstance(infinite, dict) else {}
    found = paths if isinstance(paths, list) else []
    return {
        path: next((name for name in NOT_FINITE if name == values.get(path)), "NaN")
        for path in found
        if isinstance(path, str)
    }


def env_name(env: tuple[int, int]) -> str:
    """Return the text form of (worker index, env index): `1/0`."""
    return f"{env[0]}/{env[1]}"


@lru_cache(maxsize=1024)
def parse_env(text: str | None) -> tuple[int, int] | None:
    """Parse the output of `env_name`; None for anything else."""
    if not text:
        return None
    match = _ENV.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else None


def entry_bytes(entry: Entry) -> int:
    """About the size of an entry in memory and on the wire."""
    if isinstance(entry, MetricsEntry):
        return len(to_json(dict(entry.data))) + 64
    if isinstance(entry, VisionEntry):  # a prompt may be larger than the picture
        texts = (entry.prompt or "", entry.response or "", to_json(dict(entry.extra)))
        return len(entry.image) + 128 + sum(len(text.encode("utf-8", "replace")) for text in texts)
    if isinstance(entry, MindEntry):
        return len(entry.image or b"") + len(to_json(dict(entry.data))) + 128
    return len(entry.image) + 128
