"""Reads the contents of Redis: every session with its numbered entries, straight from the streams."""

from __future__ import annotations

import json
from typing import Any

from hud_publisher.protocol.keys import ChannelKeys
from hud_publisher.sinks.redis_client import Client
from tests.faults.history import STREAMS, Number, Session, Stream

KEYS = ChannelKeys("default")

#: Reads every session and deletes all data in one atomic step, so that the list of the lost data is exact.
#: KEYS[1]: the index of sessions. ARGV[1]: the prefix of a session's keys. Reply: {sid, name, started, streams …} each.
_WIPE = """
local index, prefix = KEYS[1], ARGV[1]
local found = {}
for _, sid in ipairs(redis.call("ZRANGE", index, 0, -1)) do
    local session = {sid, redis.call("HMGET", prefix .. sid, "name", "started")}
    for number = 2, #ARGV do
        session[#session + 1] = redis.call("XRANGE", prefix .. sid .. ":" .. ARGV[number], "-", "+")
    end
    found[#found + 1] = session
end
redis.call("FLUSHALL")
return found
"""


def read_sessions(client: Client) -> list[Session]:
    """Return the channel's sessions, oldest first."""
    found = []
    for sid in client.execute_command("ZRANGE", KEYS.sessions, 0, -1):
        keys = KEYS.session(sid.decode())
        about = client.execute_command("HMGET", keys.info, "name", "started")
        streams = [_range(client, keys.stream(stream)) for stream in (*STREAMS, "frames")]
        found.append(_session(sid, about, streams))
    return sorted(found, key=lambda session: int(session.sid))


def wipe(client: Client) -> list[Session]:
    """Delete everything in Redis and return the channel's sessions as they were at that moment, oldest first."""
    prefix = KEYS.session_prefix
    reply = client.execute_command("EVAL", _WIPE, 1, KEYS.sessions, prefix, *STREAMS, "frames")
    found = []
    for sid, about, *streams in reply:
        pairs = [
            [(entry_id, dict(zip(flat[::2], flat[1::2], strict=True))) for entry_id, flat in entries]
            for entries in streams
        ]
        found.append(_session(sid, about, pairs))
    return sorted(found, key=lambda session: int(session.sid))


def _session(sid: bytes, about: list[bytes], streams: list[list[Any]]) -> Session:
    name, started = about
    entries: dict[Stream, list[tuple[str, Number]]] = {
        stream: [_number(stream, *entry) for entry in found] for stream, found in zip(STREAMS, streams, strict=False)
    }
    frames = [entry_id.decode() for entry_id, _fields in streams[-1]]
    return Session(sid.decode(), name.decode(), int(started), entries, frames)


def _range(client: Client, key: str) -> list[Any]:
    return list(client.execute_command("XRANGE", key, "-", "+"))


def _number(stream: Stream, entry_id: bytes, fields: dict[bytes, bytes]) -> tuple[str, Number]:
    [(name, n)] = json.loads(fields[b"data"]).items()
    return entry_id.decode(), Number(name.removesuffix("i") if stream == "iterations" else name, stream, n)
