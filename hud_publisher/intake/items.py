"""What training hands to the sender: fields, pictures, calls of a vision LLM and views of the policy; copied only.

Called by both ends of the intake: training threads make items, and sender.compose makes entries of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Env = tuple[int, int]
FieldsStream = Literal["metrics", "iterations", "machine", "reports"]
PictureStream = Literal["frames", "thumbs"]
PacedStream = Literal["frames", "thumbs", "mind"]

#: Channels that pixels may have: grey, RGB and RGBA.
CHANNELS = (1, 3, 4)
#: Bytes of one encoded picture of a vision call that are kept: OpenAI accepts 20 MB.
MAX_GIVEN_BYTES = 20 * 1024 * 1024
#: Pictures of one vision call that are shown.
MAX_PICTURES = 9


@dataclass(slots=True)
class Fields:
    """Metrics as they were logged; `weight` is about how many values they hold."""

    data: dict[Any, Any]
    time_ms: int
    step: int | None
    stream: FieldsStream
    weight: int


@dataclass(slots=True)
class Picture:
    """A frame or thumbnail: pixels to encode, or bytes that are encoded already."""

    pixels: Any
    time_ms: int
    step: int | None
    episode: int | None
    env: Env | None
    stream: PictureStream


@dataclass(frozen=True, slots=True)
class NoPicture:
    """Replaces a picture that cannot be shown; holds the reason."""

    reason: str


@dataclass(slots=True)
class Vision:
    """A call of the vision LLM; `images` are the pictures that it was given (copying.copy_pictures)."""

    images: list[Any]
    time_ms: int
    step: int | None
    prompt: str | None
    response: str | None
    response_time_ms: float | None
    extra: dict[Any, Any] = field(default_factory=dict)
    stream: Literal["vision"] = "vision"


@dataclass(slots=True)
class Mind:
    """A view of the policy; `parts` are copied arguments of `Publisher.mind`, `advice` the newest of a vision LLM."""

    parts: dict[str, Any]
    time_ms: int
    step: int | None
    episode: int | None
    env: Env | None
    advice: Any = None
    stream: Literal["mind"] = "mind"


Item = Fields | Picture | Vision | Mind
