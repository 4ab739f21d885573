"""The endpoints for stored data: history for charts, the index of frames, vision calls, and the export."""

from __future__ import annotations

import csv
import gzip
import io
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from hud_publisher.protocol.entries import StreamName, VisionEntry
from hud_publisher.protocol.errors import MalformedError
from hud_publisher.protocol.keys import Sid
from hud_publisher.protocol.stored import decode_entry, read_int, read_not_finite, read_object
from hud_publisher.protocol.values import flatten
from hud_web.api.history import ANSWER_POINTS, COMPRESSED_ANSWER_POINTS, Histories
from hud_web.api.points import Asked, newest_points
from hud_web.api.series import MAX_POINTS
from hud_web.http.answers import JsonAnswer
from hud_web.http.query import parameter, parameters, session_of, whole_number
from hud_web.monitor.annotations import decode, describe
from hud_web.store.pages import PAGE_BYTES, pages
from hud_web.store.slices import Slices
from hud_web.store.snapshot import roles_of
from hud_web.store.sse import about_picture, dump
from hud_web.store.store import Store
from hud_web.store.views import Fields

#: Rows of a CSV export between two checks of the clock.
SLICE_ROWS = 200
MAX_VISION_CALLS = 200
#: An annotation is about 250 bytes.
MAX_ANNOTATIONS = 1_000
#: A death with its frames is about 3 KB; the answer has at most REPORTS_BYTES of the newest reports.
MAX_REPORTS = 2_000
REPORTS_BYTES = 1024 * 1024
#: An entry in the form of the JSON export.
Item = dict[str, Any]
Entries = AsyncIterator[list[Item]]
REPORT_KINDS = ("death", "restart", "end", "log", "alert")
_NO_STORE = {"Cache-Control": "no-store"}
#: An answer of /api/mind: at 600 bytes each, about 5 minutes of views at 5 per second.
MIND_ANSWER_BYTES = 1024 * 1024


class ArchiveEndpoints:
    """The stored streams of a session."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._histories = Histories()

    async def history(self, request: Request) -> Response:
        """Downsampled series of the whole run; `fields` (comma-separated), `field` (repeatable) and `points` narrow it.

        The answer is at most about 100 KB: the more fields the request names, the fewer points each has.
        """
        channel, sid = await session_of(request, self._store)
        points = whole_number(request, "points", MAX_POINTS, least=2, most=MAX_POINTS)
        wanted = parameter(request, "fields")
        fields = [name for name in (wanted or "").split(",") if name] + parameters(request, "field")
        is_gzip = "gzip" in request.headers.get("accept-encoding", "")
        most = COMPRESSED_ANSWER_POINTS if is_gzip else ANSWER_POINTS
        found = await self._histories.of(channel, sid).series(
            self._store, fields if fields or wanted is not None else None, points, most
        )
        body = dump({"channel": channel, "session": sid} | found)
        headers = _NO_STORE | {"Vary": "Accept-Encoding"}
        if is_gzip:  # digits compress to a third at the fastest setting, within a few milliseconds
            body, headers = gzip.compress(body, 1), headers | {"Content-Encoding": "gzip"}
        return Response(body, media_type="application/json", headers=headers)

    async def points(self, request: Request) -> Response:
        """The points of several runs after a position of each: `run=CHANNEL:SID@POSITION` and `field`, repeatable."""
        asked = [Asked.read(text) for text in parameters(request, "run")]
        found = await newest_points(self._store, asked, frozenset(parameters(request, "field")))
        return JsonAnswer({"runs": found}, headers=_NO_STORE)

    async def frames(self, request: Request) -> Response:
        """The index of stored frames, `from_ms` to `to_ms`; each picture is at /api/frames/{id}."""
        channel, sid = await session_of(request, self._store)
        from_ms, to_ms = _span(request, time.time_ns() // 1_000_000 + 10**10)
        frames = await self._histories.of(channel, sid).frames.between(self._store, from_ms, to_ms)
        return _listing(channel, sid, "frames", frames)

    async def minds(self, request: Request) -> Response:
        """The policy's stored views, `from_ms` to `to_ms`, oldest first; each picture is at /api/mind/{id}.

        An answer has at most MIND_ANSWER_BYTES: the newest views of the time, so a page asks for shorter times.
        """
        channel, sid = await session_of(request, self._store)
        from_ms, to_ms = _span(request, time.time_ns() // 1_000_000 + 10**10)
        index = self._histories.of(channel, sid).minds
        return _listing(channel, sid, "mind", await index.between(self._store, from_ms, to_ms, MIND_ANSWER_BYTES))

    async def annotations(self, request: Request) -> Response:
        """The newest annotations of a session, oldest first; `from_ms` and `to_ms` narrow it."""
        channel, sid = await session_of(request, self._store)
        limit = whole_number(request, "limit", MAX_ANNOTATIONS, least=1, most=MAX_ANNOTATIONS)
        from_ms, to_ms = _span(request)
        found = []
        for entry_id, fields in await self._store.newest(channel, sid, "annotations", limit):
            annotation = self._store.readable(channel, "annotations", decode, fields)
            if annotation is not None and from_ms <= annotation.time_ms <= to_ms:
                found.append(describe(annotation, entry_id))
        return JsonAnswer({"channel": channel, "session": sid, "annotations": found[::-1]}, headers=_NO_STORE)

    async def reports(self, request: Request) -> Response:
        """The newest deaths, restarts, log lines and alerts of a session, oldest first; `kind` narrows it."""
        channel, sid = await session_of(request, self._store)
        limit = whole_number(request, "limit", MAX_REPORTS, least=1, most=MAX_REPORTS)
        kind = parameter(request, "kind")
        if kind and kind not in REPORT_KINDS:
            raise MalformedError(f"expected kind to be one of {', '.join(REPORT_KINDS)}, got {kind[:40]!r}")
        found: list[bytes] = []
        left = REPORTS_BYTES
        for entry in await self._store.newest(channel, sid, "reports", MAX_REPORTS):
            item = self._store.readable(channel, "reports", _report, *entry)
            if item is None or (kind and item["data"].get("kind") != kind):
                continue
            found.append(dump(item))
            left -= len(found[-1])
            if left < 0 or len(found) >= limit:
                break
        return _listing(channel, sid, "reports", found[::-1])

    async def config(self, request: Request) -> Response:
        """The run's configuration: from each section's name to its tree of values."""
        channel, sid = await session_of(request, self._store)
        return JsonAnswer(await self._store.config(channel, sid), headers=_NO_STORE)

    async def vision(self, request: Request) -> Response:
        """The newest calls of the vision LLM, newest first; each picture is at /api/vision/{id}."""
        channel, sid = await session_of(request, self._store)
        limit = whole_number(request, "limit", 50, least=1, most=MAX_VISION_CALLS)
        calls = []
        for entry_id, fields in await self._store.newest(channel, sid, "vision", limit):
            entry = self._store.readable(channel, "vision", decode_entry, "vision", fields)
            if isinstance(entry, VisionEntry):
                calls.append({"bytes": len(entry.image)} | about_picture(entry, entry_id))
        return JsonAnswer({"channel": channel, "session": sid, "calls": calls}, headers=_NO_STORE)

    async def export(self, request: Request) -> StreamingResponse:
        """Every stored metrics and iterations entry, every annotation and report, as CSV or JSON lines in an array.

        CSV has one row per value and per annotation, with the role of the field; JSON begins with the session, which
        has the roles and the configuration. NaN and infinite values have their names.
        `from_ms` and `to_ms` limit it to entries between two times on the clock of Redis; a page that rewinds to a time
        before it was opened requests those minutes.
        """
        channel, sid = await session_of(request, self._store)
        from_ms, to_ms = _span(request)
        first, last = f"{from_ms}-0", f"{to_ms}-{2**64 - 1}"
        kind = parameter(request, "format")
        kind = "csv" if kind is None else kind
        if kind not in ("csv", "json"):
            raise MalformedError(f"expected format to be csv or json, got {kind[:40]!r}")
        opening = await self._store.open(channel, sid)
        roles = roles_of(opening)
        entries = self._entries(channel, sid, first, last)
        if kind == "csv":
            body = self._csv(entries, {field["path"]: role for role, fields in roles.items() for field in fields})
        else:
            about = opening.session.describe() | {"roles": roles, "config": await self._store.config(channel, sid)}
            body = self._json({"stream": "session", "time_ms": about["started_ms"], "data": about}, entries)
        name = f"hud-{channel}-{sid}.{kind}"
        return StreamingResponse(
            body,
            media_type="text/csv" if kind == "csv" else "application/json",
            headers={"Content-Disposition": f'attachment; filename="{name}"'} | _NO_STORE,
        )

    async def _entries(self, channel: str, sid: Sid, first: str, last: str) -> Entries:
        streams: tuple[StreamName, ...] = ("iterations", "metrics", "annotations", "reports", "machine")
        for name in streams:
            async for page in pages(self._store, channel, sid, name, first=first, last=last):
                found = (self._store.readable(channel, name, _item, name, *entry) for entry in page)
                yield [item for item in found if item]

    async def _csv(self, chunks: Entries, roles: Mapping[str, str]) -> AsyncIterator[bytes]:
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(["stream", "time_ms", "step", "writer", "field", "value", "role"])
        slices = Slices(self._store.turns)
        async for entries in chunks:
            for item in entries:
                about = [item["stream"], item["time_ms"], item["step"], _inert(item["writer"])]
                if item["stream"] == "annotations":
                    writer.writerow([*about, item["data"]["kind"], _inert(item["data"]["text"]), ""])
                    continue
                for path, name in item["not_finite"].items():
                    writer.writerow([*about, _inert(path), name, roles.get(path, "")])
                for number, (path, value) in enumerate(flatten(item["data"], separator="/")):
                    writer.writerow([*about, _inert(path), _inert(value), roles.get(path, "")])
                    if number % SLICE_ROWS == 0:
                        await slices.rest()
                        if buffer.tell() > PAGE_BYTES:
                            yield _flush(buffer)
            yield _flush(buffer)
        yield _flush(buffer)

    async def _json(self, about: Item, chunks: Entries) -> AsyncIterator[bytes]:
        slices = Slices(self._store.turns)
        yield b"[\n" + dump(about)
        async for entries in chunks:
            for item in entries:
                yield b",\n" + dump(item)
                await slices.rest()
        yield b"\n]\n"


def _span(request: Request, latest_ms: int = 10**14) -> tuple[int, int]:
    """Return `from_ms` and `to_ms` in Unix milliseconds; by default from the beginning to `latest_ms`."""
    from_ms = whole_number(request, "from_ms", 0, least=0, most=10**14)
    return from_ms, whole_number(request, "to_ms", latest_ms, least=0, most=10**14)


def _listing(channel: str, sid: Sid, name: str, items: list[bytes]) -> Response:
    """Return an answer with a list of encoded items."""
    head = dump({"channel": channel, "session": sid})[:-1]
    body = b'%b,"%b":[%b]}' % (head, name.encode("ascii"), b",".join(items))
    return Response(body, media_type="application/json", headers=_NO_STORE)


def _report(entry_id: str, fields: Fields) -> Item:
    item = _item("reports", entry_id, fields)
    return {name: item[name] for name in ("id", "time_ms", "step", "writer", "data")}


def _item(name: StreamName, entry_id: str, fields: Fields) -> Item:
    if name == "annotations":
        found = describe(decode(fields), entry_id)
        about = {part: found.pop(part) for part in ("id", "time_ms", "step")}
        return {"stream": name, **about, "writer": "", "data": found}
    return {
        "stream": name,
        "id": entry_id,
        "time_ms": read_int(fields, b"time") or 0,
        "step": read_int(fields, b"step"),
        "writer": fields.get(b"writer", b"").decode("utf-8", "replace"),
        "data": read_object(fields.get(b"data", b""))[0],
        "not_finite": read_not_finite(fields),
    }


def _flush(buffer: io.StringIO) -> bytes:
    data = buffer.getvalue().encode("utf-8", "replace")  # a stored text may hold a lone surrogate
    buffer.seek(0)
    buffer.truncate()
    return data


def _inert(value: object) -> object:
    """Prefix an apostrophe to text that a spreadsheet would run as a formula (OWASP, CSV injection)."""
    if isinstance(value, (dict, list)):
        value = json.dumps(value)
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
