"""`GET /api/runs`, and the writes of people about runs: labels and deletion."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request

from hud_publisher.protocol import scripts
from hud_publisher.protocol.entries import Limits
from hud_publisher.protocol.errors import MalformedError, NotFoundError, SessionLiveError, brief
from hud_publisher.protocol.keys import check_channel, check_sid
from hud_publisher.protocol.names import clean_name, clean_text
from hud_publisher.protocol.replies import text
from hud_publisher.protocol.values import to_json
from hud_web.http.answers import JsonAnswer
from hud_web.http.auth import require_token
from hud_web.http.body import read_json
from hud_web.runs.catalogue import Catalogue, column_counts, note_change
from hud_web.runs.overview import Overview
from hud_web.runs.reading import MAX_NOTE_CHARS, MAX_TAG_CHARS, MAX_TAGS
from hud_web.runs.run import Key
from hud_web.runs.search import Query, matching
from hud_web.store.store import Store

#: The labels, if each character is written as an escape of 12 bytes.
MAX_LABELS_BODY_BYTES = 128 * 1024


class RunsEndpoints:
    """The endpoints below `/api/runs`."""

    def __init__(self, store: Store, overview: Overview, limits: Limits, tokens: tuple[str, ...]) -> None:
        self._store, self._overview, self._limits, self._tokens = store, overview, limits, tokens
        self._catalogue = Catalogue(store)

    async def runs(self, request: Request) -> JsonAnswer:
        """The sessions of all channels: filtered, sorted, one page of them."""
        query = Query.of(request)
        catalogue = self._catalogue
        runs = [run for run in await catalogue.runs() if query.accepts(run)]
        if query.needs_states:
            await catalogue.fill(runs, configs=query.needs_configs)
        runs = await matching(query, runs)
        now_ms = int(time.time() * 1000)
        until = query.offset + query.limit
        page = query.sorted(runs, now_ms)[query.offset : until]
        await catalogue.fill(page, configs=query.needs_configs)
        body: dict[str, Any] = {
            "runs": [run.describe(query.columns) for run in page], "total": len(runs),
            "next_offset": until if until < len(runs) else None,
            "columns": column_counts(runs) if query.wants_columns else None, "server_time_ms": now_ms,
        }  # fmt: skip
        return JsonAnswer(body, headers={"Cache-Control": "no-store"})

    async def label(self, request: Request) -> JsonAnswer:
        """`{channel, session, tags?, note?, pinned?}`: store the labels of a run; the answer is the run."""
        require_token(request, self._tokens)
        body, _size = await read_json(request, MAX_LABELS_BODY_BYTES)
        key = _key(body)
        fields = _labels(body)
        if text(await self._store.run(scripts.label(*key, fields, self._limits))) == "unknown":
            raise _unknown(key)
        await self._tell(key)
        run = await self._catalogue.read_again(key)
        if run is None:
            raise _unknown(key)
        return JsonAnswer(run.describe())

    async def delete(self, request: Request) -> JsonAnswer:
        """`{channel, session}`: remove a run that has ended, with all its data."""
        require_token(request, self._tokens)
        body, _size = await read_json(request)
        key = channel, _sid = _key(body)
        status = text(await self._store.run(scripts.delete(*key)))
        if status == "live":
            raise SessionLiveError(f"the run is live: end it first, with `hud reset --channel {channel}`")
        if status == "unknown":
            raise _unknown(key)
        await self._tell(key)
        await self._catalogue.read_again(key)
        return JsonAnswer({"status": "deleted"})

    async def _tell(self, key: Key) -> None:
        """Let the overview and all replicas read a run again."""
        self._overview.read_again(key)
        await note_change(self._store, key)


def _key(body: dict[str, Any]) -> Key:
    channel, sid = body.get("channel"), body.get("session")
    if not isinstance(channel, str) or not isinstance(sid, str):
        raise MalformedError("expected channel and session as texts: take both from /api/runs")
    return check_channel(channel), check_sid(sid)


def _labels(body: dict[str, Any]) -> dict[str, str]:
    fields: dict[str, str] = {}
    tags, note, pinned = body.get("tags"), body.get("note"), body.get("pinned")
    if tags is not None:
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags) or len(tags) > MAX_TAGS:
            raise MalformedError(f"expected tags to be a list of at most {MAX_TAGS} texts, got {brief(tags)}")
        if any(len(tag) > MAX_TAG_CHARS for tag in tags):
            raise MalformedError(f"expected each tag to have at most {MAX_TAG_CHARS} characters: shorten it")
        names = (clean_name(tag).strip() for tag in tags)
        fields["tags"] = to_json([name for name in dict.fromkeys(names) if name])
    if note is not None:
        if not isinstance(note, str) or len(note) > MAX_NOTE_CHARS:
            raise MalformedError(
                f"expected note to be a text of at most {MAX_NOTE_CHARS} characters, got {brief(note)}"
            )
        fields["note"] = clean_text(note)
    if pinned is not None:
        if not isinstance(pinned, bool):
            raise MalformedError(f"expected pinned to be true or false, got {brief(pinned)}")
        fields["pinned"] = "1" if pinned else ""
    return fields


def _unknown(key: Key) -> NotFoundError:
    return NotFoundError(f"channel {key[0]!r} has no session {key[1]} (any more): see /api/runs")
