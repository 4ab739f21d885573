"""Brings a client that was away up to where the hub stands, from Redis: every kept entry once, or an honest `reset`.

Called by the stream endpoint for a client that sends Last-Event-ID. Any replica can do it for any other's clients.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

from hud_publisher.protocol.entries import EntryId, StreamName, VisionEntry, decode_entry
from hud_publisher.protocol.keys import Sid
from hud_web import sse
from hud_web.sse import KEPT_STREAMS, Position
from hud_web.store import Store, StreamEntry

#: More than this is better served by a snapshot: a page draws 20,000 points in about a second.
MAX_ENTRIES = 20_000
#: Sessions between the one a client saw last and the present one.
MAX_SESSIONS = 20
CHUNK_ENTRIES = 1_000


class HistoryGoneError(Exception):
    """Some of what the client missed is not kept any more."""


async def replay(store: Store, channel: str, since: Position, until: Position) -> AsyncGenerator[bytes]:
    """Yield, in chunks, the events after `since` up to `until`.

    Raises:
        HistoryGoneError: what lies between is trimmed, expired or more than MAX_ENTRIES; raised before the first
            chunk, so the caller can send a snapshot instead.
    """
    if int(since.sid) > int(until.sid):
        raise HistoryGoneError("the client has seen a newer session than there is")
    if since.sid != "0":  # "0": there was no session yet
        await _check_kept(store, channel, since)
    sids = [since.sid]
    if since.sid != until.sid:
        between = [view.sid for view in await store.sessions(channel, limit=MAX_SESSIONS + 1) if view.sid is not None]
        later = sorted((sid for sid in between if int(since.sid) < int(sid) <= int(until.sid)), key=int)
        if len(later) > MAX_SESSIONS or until.sid not in later:
            raise HistoryGoneError("too many sessions came since")
        sids += later
    missed: list[tuple[Position, bytes, list[tuple[StreamName, StreamEntry]]]] = []
    count = 0
    for sid in sids:
        start = since if sid == since.sid else Position(sid, events=since.events)
        stop = until if sid == until.sid else None
        entries = await _between(store, channel, sid, start, stop)
        count += len(entries)
        if count > MAX_ENTRIES:
            raise HistoryGoneError(f"more than {MAX_ENTRIES} entries came since")
        missed.append((start, b"" if sid == since.sid else await _announce(store, channel, start), entries))
    # All is read before the first chunk: a failure half-way, tried again, would repeat what was sent.
    for position, announcement, entries in missed:
        chunk = [announcement]
        for name, (entry_id, fields) in entries:
            position = position.after(name, entry_id)
            chunk.append(_encode(name, entry_id, fields, position))
            if len(chunk) >= CHUNK_ENTRIES:
                yield b"".join(chunk)
                chunk = []
        if joined := b"".join(chunk):
            yield joined


async def _check_kept(store: Store, channel: str, since: Position) -> None:
    """The last entry seen still stands, so nothing after it was trimmed; where none was seen, nothing ever was."""
    if (await store.session(channel, since.sid)).started_ms is None:
        raise HistoryGoneError(f"session {since.sid} is not kept any more")
    for name in KEPT_STREAMS:
        seen = since.of(name)
        if seen == "0-0":
            is_kept = await store.is_untouched(channel, since.sid, name)
        else:
            is_kept = bool(await store.entries(channel, since.sid, name, first=seen, last=seen, limit=1))
        if not is_kept:
            raise HistoryGoneError(f"entries of {name} since {seen} are not kept any more")


async def _between(
    store: Store, channel: str, sid: Sid, start: Position, stop: Position | None
) -> list[tuple[StreamName, StreamEntry]]:
    found: list[tuple[StreamName, StreamEntry]] = []
    for name in KEPT_STREAMS:
        last = "+" if stop is None else stop.of(name)
        if last == "0-0" or sse.order(start.of(name)) >= (sse.order(last) if last != "+" else (2**63, 0)):
            continue
        entries = await store.entries(channel, sid, name, first=f"({start.of(name)}", last=last, limit=MAX_ENTRIES + 1)
        found += [(name, entry) for entry in entries]
    found.sort(key=lambda item: sse.order(item[1][0]))
    return found


async def _announce(store: Store, channel: str, position: Position) -> bytes:
    session = (await store.session(channel, position.sid)).describe()
    snapshot = {"session": session, "state": {}, "frame": None, "vision": None}
    return sse.event("session", sse.dump(session), position) + sse.event("snapshot", sse.dump(snapshot), position)


def _encode(name: StreamName, entry_id: EntryId, fields: dict[bytes, bytes], position: Position) -> bytes:
    if name == "vision":
        entry = decode_entry(name, fields)
        assert isinstance(entry, VisionEntry)
        return sse.event("vision_update", sse.vision_update(entry, entry_id), position)
    update = sse.training_update(fields, json.loads(fields[b"data"]), entry_id, name)
    return sse.event("training_update", update, position)
