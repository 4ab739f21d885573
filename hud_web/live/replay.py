"""Sends a returning client the events that it missed, from Redis: every stored entry once, or an explicit `reset`.

Called by the stream endpoint for a client that sends Last-Event-ID. Any replica can do it for any other's clients.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from hud_publisher.protocol.entries import START, EntryId, StreamName
from hud_publisher.protocol.keys import Sid
from hud_web.monitor.annotations import decode, describe
from hud_web.store import sse
from hud_web.store.pages import pages
from hud_web.store.snapshot import encode_picture
from hud_web.store.sse import KEPT_STREAMS, Position
from hud_web.store.store import Store
from hud_web.store.views import Fields, StreamEntry

#: Past this number a snapshot is better: a page draws 20,000 points in about a second.
MAX_ENTRIES = 20_000
#: Sessions between the last one that a client saw and the current one.
MAX_SESSIONS = 20
CHUNK_BYTES = 256 * 1024
#: The entries of one replay stay in memory until the client has read them.
MAX_REPLAY_BYTES = 8 * 1024 * 1024


class HistoryGoneError(Exception):
    """Some of the events that the client missed are not stored any more."""


async def replay(store: Store, channel: str, since: Position, until: Position) -> AsyncGenerator[bytes]:
    """Yield, in chunks, the events after `since` up to `until`.

    Raises:
        HistoryGoneError: the entries between are trimmed, expired or more than MAX_ENTRIES or MAX_REPLAY_BYTES; raised
            before the first chunk, so the caller can send a snapshot instead.
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
    room = _Room()
    for sid in sids:
        start = since if sid == since.sid else Position(sid, events=since.events)
        stop = until if sid == until.sid else None
        entries = await _between(store, channel, sid, start, stop, room)
        missed.append((start, b"" if sid == since.sid else await _announce(store, channel, start), entries))
    # All is read before the first chunk: a retry after a failure half-way would repeat the chunks that were sent.
    for position, announcement, entries in missed:
        chunk, size = [announcement], len(announcement)
        for name, (entry_id, fields) in entries:
            position = position.after(name, entry_id)
            found = store.readable(channel, name, encode_entry, name, entry_id, fields)
            if found is None:
                continue
            chunk.append(sse.event(*found, position))
            size += len(chunk[-1])
            if size >= CHUNK_BYTES:
                yield b"".join(chunk)
                chunk, size = [], 0
        if joined := b"".join(chunk):
            yield joined


async def _check_kept(store: Store, channel: str, since: Position) -> None:
    """Check that the last entry seen is stored, so no later one was trimmed; if none was seen, that none ever was."""
    if (await store.session(channel, since.sid)).started_ms is None:
        raise HistoryGoneError(f"session {since.sid} is not kept any more")
    for name in KEPT_STREAMS:
        seen = since.of(name)
        if seen == START:
            is_kept = await store.is_untouched(channel, since.sid, name)
        else:
            is_kept = bool(await store.entries(channel, since.sid, name, first=seen, last=seen, limit=1))
        if not is_kept:
            raise HistoryGoneError(f"entries of {name} since {seen} are not kept any more")


class _Room:
    """The bytes that may still be read for one client."""

    def __init__(self) -> None:
        self._entries, self._bytes = MAX_ENTRIES, MAX_REPLAY_BYTES

    def take(self, page: list[StreamEntry]) -> None:
        """Count a page; raises HistoryGoneError if there was no room for it."""
        self._entries -= len(page)
        self._bytes -= sum(len(value) for _entry_id, fields in page for value in fields.values())
        if self._entries < 0 or self._bytes < 0:
            raise HistoryGoneError(f"more than {MAX_ENTRIES} entries or {MAX_REPLAY_BYTES} bytes came since")


async def _between(
    store: Store, channel: str, sid: Sid, start: Position, stop: Position | None, room: _Room
) -> list[tuple[StreamName, StreamEntry]]:
    found: list[tuple[StreamName, StreamEntry]] = []
    for name in KEPT_STREAMS:
        last = "+" if stop is None else stop.of(name)
        if last == START or sse.order(start.of(name)) >= (sse.order(last) if last != "+" else (2**63, 0)):
            continue
        async for page in pages(store, channel, sid, name, first=f"({start.of(name)}", last=last):
            room.take(page)
            found += [(name, entry) for entry in page]
    found.sort(key=lambda item: sse.order(item[1][0]))
    return found


async def _announce(store: Store, channel: str, position: Position) -> bytes:
    session = (await store.session(channel, position.sid)).describe()
    snapshot = {"session": session, "state": {}, "frame": None, "vision": None}
    return sse.event("session", sse.dump(session), position) + sse.event("snapshot", sse.dump(snapshot), position)


def encode_entry(
    name: StreamName, entry_id: EntryId, fields: Fields, merge_fields: sse.MergeFields = sse.merge_nothing
) -> tuple[str, bytes]:
    """Return the name and data of an entry's event; for `merge_fields` see training_update.

    Raises:
        ValueError: it cannot be read.
    """
    if name == "vision":
        return "vision_update", encode_picture(name, (entry_id, fields))
    if name == "annotations":
        return "annotation", sse.dump(describe(decode(fields), entry_id))
    if name == "reports":
        return "report", sse.training_update(fields, entry_id, name)
    return "training_update", sse.training_update(fields, entry_id, name, merge_fields)
