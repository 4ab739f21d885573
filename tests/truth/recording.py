"""Recordings of real training runs: their format, how to read them and how to write them.

A recording is `runs/NAME.jsonl.gz`. Each line is one call of a publisher that the server acknowledged, in the order in
which the server stored them. A line has `at_ms`, the server's time of that call in milliseconds since the session's
start, and one of:

- `register`: `{"name": …, "info": {…}, "roles": {…}}`, a process that takes the channel, or joins the run if the line's
  `joined` is true. The first line is the registration that began the session. Run ids are not stored.
- `batch`: the header of `hud_publisher.protocol.batch` as it was sent, without its session id: `writer`, `number` (0
  for a heartbeat), `claim`, `is_preferred` and `entries`. Each entry has `stream`, `time_ms` and the fields of that
  stream: `step`, `data` and `not_finite` for metrics and iterations; `step`, `episode` and `env` for frames and
  thumbnails; `step`, `prompt`, `response`, `response_time_ms` and `extra` for vision calls. `time_ms` is the
  publisher's time, in milliseconds since the session's start. The publisher sends a NaN or infinite field as its path
  in `not_finite`, so NaN and Infinity look the same. Pictures are base64 in `image`.
- `release`: true, the publisher ended the session.

Metrics, iterations and vision calls are complete. Frames and thumbnails are thinned to one of each env in `FRAME_MS`
and `THUMB_MS`, and their pictures are JPEGs of 40×30 pixels that show the picture's number in the recording. A batch
that lost all of its entries in this way stays, since it renews the lease and the claim of the reporter.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.batch_body import MAGIC, decode_entries, decode_head

RUNS = Path(__file__).parent / "runs"
FRAME_MS = 200
THUMB_MS = 4_000
SIZE = (40, 30)


@dataclass(frozen=True)
class Line:
    """One acknowledged call.

    Attributes:
        at_ms: server time in milliseconds since the session's start.
        kind: "register", "batch" or "release".
        fields: of the call, as they are stored.
        joined: whether a registration joined the session.
    """

    at_ms: int
    kind: str
    fields: Mapping[str, Any]
    joined: bool = False

    def batch(self, started_ms: int) -> Batch:
        """Return the batch, with its times moved to a session that started at this Unix time in milliseconds."""
        heads, pictures = [], []
        for head in self.fields["entries"]:
            moved = {**head, "time_ms": started_ms + head["time_ms"]}
            if "image" in moved:
                pictures.append(base64.b64decode(moved.pop("image")))
                moved["bytes"] = len(pictures[-1])
            heads.append(moved)
        header = json.dumps({**self.fields, "session_id": "recorded", "entries": heads}).encode()
        body = b"".join([MAGIC, struct.pack(">I", len(header)), header, *pictures])
        return decode_entries(decode_head(body), body)


@dataclass(frozen=True)
class Recording:
    """All calls of one run.

    Attributes:
        name: of the file, without its suffixes.
        lines: the calls, in the server's order.
    """

    name: str
    lines: tuple[Line, ...]

    @property
    def duration_ms(self) -> int:
        return self.lines[-1].at_ms

    def entries(self, *streams: str) -> Iterator[dict[str, Any]]:
        """The entries of these streams as they are stored, in order; of all streams by default."""
        for line in self.lines:
            if line.kind == "batch":
                yield from (entry for entry in line.fields["entries"] if not streams or entry["stream"] in streams)


def names() -> list[str]:
    """The names of all recordings."""
    return sorted(path.name.removesuffix(".jsonl.gz") for path in RUNS.glob("*.jsonl.gz"))


def path_of(name: str) -> Path:
    return RUNS / f"{name}.jsonl.gz"


def load(name: str) -> Recording:
    """Read a recording."""
    with gzip.open(path_of(name), "rt", encoding="utf-8") as file:
        return Recording(name, tuple(_line(json.loads(text)) for text in file))


def _line(fields: dict[str, Any]) -> Line:
    kind = next(kind for kind in ("register", "batch", "release") if kind in fields)
    given = fields[kind]
    return Line(fields["at_ms"], kind, given if isinstance(given, dict) else {}, fields.get("joined", False))


def store(name: str, lines: Iterable[dict[str, Any]]) -> int:
    """Thin the pictures of a recording and write it; returns the size of the file in bytes."""
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in _thinned(lines))
    RUNS.mkdir(exist_ok=True)
    path_of(name).write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    return path_of(name).stat().st_size


def _thinned(lines: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    due: dict[tuple[str, str], int] = {}
    number = 0
    for line in lines:
        if "batch" not in line:
            yield line
            continue
        kept = []
        for entry in line["batch"]["entries"]:
            period_ms = {"frames": FRAME_MS, "thumbs": THUMB_MS}.get(entry["stream"])
            if period_ms is not None:
                key = (entry["stream"], str(entry.get("env")))
                if entry["time_ms"] < due.get(key, -(10**9)):
                    continue
                due[key] = entry["time_ms"] + period_ms
                number += 1
                entry["image"] = _small(base64.b64decode(entry["image"]), number)
            kept.append(entry)
        yield {**line, "batch": {**line["batch"], "entries": kept}}


def _small(picture: bytes, number: int) -> str:
    """A JPEG of SIZE that shows the picture in grey, and a number."""
    small = Image.open(io.BytesIO(picture)).convert("L").resize(SIZE)
    ImageDraw.Draw(small).text((1, 0), str(number), fill=255)
    out = io.BytesIO()
    small.save(out, "JPEG", quality=20)
    return base64.b64encode(out.getvalue()).decode()
