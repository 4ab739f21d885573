"""The endpoints that look back: history for charts, the index of frames, vision calls, and the export."""

from __future__ import annotations

import csv
import gzip
import io
import json
import time
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from hud_publisher.protocol.entries import FrameEntry, StreamName, VisionEntry, decode_entry
from hud_publisher.protocol.errors import MalformedError
from hud_publisher.protocol.keys import Sid
from hud_web.history import ANSWER_POINTS, COMPRESSED_ANSWER_POINTS, Histories
from hud_web.query import session_of, whole_number
from hud_web.series import MAX_POINTS
from hud_web.sse import about_picture, dump
from hud_web.store import Store, StreamEntry

#: Entries per chunk of an export: a few milliseconds of Redis and a few hundred kilobytes.
EXPORT_ENTRIES = 1_000
MAX_VISION_CALLS = 200
Entries = AsyncIterator[list[tuple[StreamName, StreamEntry]]]
_NO_STORE = {"Cache-Control": "no-store"}


class ArchiveEndpoints:
    """What is kept of a session."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._histories = Histories()

    async def history(self, request: Request) -> Response:
        """Down-sampled series of the whole run; `fields` (comma-separated) and `points` narrow it.

        The answer is about 100 KB at the most: the more fields are asked for, the fewer points each has.
        """
        channel, sid = await session_of(request, self._store)
        points = whole_number(request, "points", MAX_POINTS, least=2, most=MAX_POINTS)
        wanted = request.query_params.get("fields")
        fields = [name for name in wanted.split(",") if name] if wanted is not None else None
        is_gzip = "gzip" in request.headers.get("accept-encoding", "")
        most = COMPRESSED_ANSWER_POINTS if is_gzip else ANSWER_POINTS
        found = await self._histories.of(channel, sid).series(self._store, fields, points, most)
        body = dump({"channel": channel, "session": sid} | found)
        headers = _NO_STORE | {"Vary": "Accept-Encoding"}
        if is_gzip:  # digits compress to a third at the fastest setting, within a few milliseconds
            body, headers = gzip.compress(body, 1), headers | {"Content-Encoding": "gzip"}
        return Response(body, media_type="application/json", headers=headers)

    async def frames(self, request: Request) -> JSONResponse:
        """The index of kept frames, `from_ms` to `to_ms`; each picture is at /api/frames/{id}."""
        channel, sid = await session_of(request, self._store)
        now_ms = time.time_ns() // 1_000_000
        from_ms = whole_number(request, "from_ms", 0, least=0, most=10**14)
        to_ms = whole_number(request, "to_ms", now_ms + 10**10, least=0, most=10**14)
        frames = await self._histories.of(channel, sid).frames(self._store, from_ms, to_ms)
        return JSONResponse({"channel": channel, "session": sid, "frames": frames}, headers=_NO_STORE)

    async def vision(self, request: Request) -> JSONResponse:
        """The newest calls of the vision LLM, newest first; each picture is at /api/vision/{id}."""
        channel, sid = await session_of(request, self._store)
        limit = whole_number(request, "limit", 50, least=1, most=MAX_VISION_CALLS)
        calls = []
        for entry_id, fields in await self._store.newest(channel, sid, "vision", limit):
            entry = decode_entry("vision", fields)
            assert isinstance(entry, (FrameEntry, VisionEntry))
            calls.append({"bytes": len(entry.image)} | about_picture(entry, entry_id))
        return JSONResponse({"channel": channel, "session": sid, "calls": calls}, headers=_NO_STORE)

    async def export(self, request: Request) -> StreamingResponse:
        """Every kept metrics and iterations entry, as CSV (one row per value) or JSON lines in an array.

        `from_ms` and `to_ms` narrow it to what was appended between two times of Redis' clock; a page that rewinds past
        the moment it was opened asks for those minutes.
        """
        channel, sid = await session_of(request, self._store)
        first = f"{whole_number(request, 'from_ms', 0, least=0, most=10**14)}-0"
        last = f"{whole_number(request, 'to_ms', 10**14, least=0, most=10**14)}-{2**64 - 1}"
        kind = request.query_params.get("format", "csv")
        if kind not in ("csv", "json"):
            raise MalformedError(f"expected format to be csv or json, got {kind[:40]!r}")
        entries = self._entries(channel, sid, first, last)
        body = self._csv(entries) if kind == "csv" else self._json(entries)
        name = f"hud-{channel}-{sid}.{kind}"
        return StreamingResponse(
            body,
            media_type="text/csv" if kind == "csv" else "application/json",
            headers={"Content-Disposition": f'attachment; filename="{name}"'} | _NO_STORE,
        )

    async def _entries(self, channel: str, sid: Sid, first: str, last: str) -> Entries:
        streams: tuple[StreamName, ...] = ("iterations", "metrics")
        for name in streams:
            since, limit = first, EXPORT_ENTRIES
            while entries := await self._store.entries(channel, sid, name, first=since, last=last, limit=limit):
                since = f"({entries[-1][0]}"
                yield [(name, entry) for entry in entries]

    async def _csv(self, chunks: Entries) -> AsyncIterator[bytes]:
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(["stream", "time_ms", "step", "writer", "field", "value"])
        async for entries in chunks:
            for name, (_entry_id, fields) in entries:
                about = [name, *(fields.get(part, b"").decode("utf-8", "replace") for part in _ABOUT)]
                for field, value in json.loads(fields[b"data"]).items():
                    writer.writerow([*about, _inert(field), _inert(value)])
            yield _flush(buffer)
        yield _flush(buffer)

    async def _json(self, chunks: Entries) -> AsyncIterator[bytes]:
        separator = b"[\n"
        async for entries in chunks:
            for name, (entry_id, fields) in entries:
                step = fields.get(b"step")
                about = {
                    "stream": name, "id": entry_id, "time_ms": int(fields.get(b"time", b"0")),
                    "step": None if step is None else int(step),
                    "writer": fields.get(b"writer", b"").decode("utf-8", "replace"),
                    "data": json.loads(fields[b"data"]),
                }  # fmt: skip
                yield separator + dump(about)
                separator = b",\n"
        yield b"\n]\n" if separator == b",\n" else b"[]\n"


_ABOUT = (b"time", b"step", b"writer")


def _flush(buffer: io.StringIO) -> bytes:
    data = buffer.getvalue().encode("utf-8")
    buffer.seek(0)
    buffer.truncate()
    return data


def _inert(value: object) -> object:
    """Text that a spreadsheet would run as a formula gets an apostrophe (OWASP, CSV injection)."""
    if isinstance(value, (dict, list)):
        value = json.dumps(value)
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
