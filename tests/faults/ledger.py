"""Reads what stands in Redis: every session with its numbered entries, straight from the streams."""

from __future__ import annotations

import json
from typing import Any

from hud_publisher.protocol.keys import ChannelKeys
from hud_publisher.redis_client import Client
from tests.faults.history import STREAMS, Number, Session, Stream

KEYS = ChannelKeys("default")


def read_sessions(client: Client) -> list[Session]:
    """Return the channel's sessions, oldest first."""
    found = []
    for sid in sorted((sid.decode() for sid in client.execute_command("ZRANGE", KEYS.sessions, 0, -1)), key=int):
        keys = KEYS.session(sid)
        name, started = client.execute_command("HMGET", keys.info, "name", "started")
        entries: dict[Stream, list[tuple[str, Number]]] = {
            stream: [_number(stream, *entry) for entry in _range(client, keys.stream(stream))] for stream in STREAMS
        }
        frames = [entry_id.decode() for entry_id, _fields in _range(client, keys.stream("frames"))]
        found.append(Session(sid, name.decode(), int(started), entries, frames))
    return found


def _range(client: Client, key: str) -> list[Any]:
    return list(client.execute_command("XRANGE", key, "-", "+"))


def _number(stream: Stream, entry_id: bytes, fields: dict[bytes, bytes]) -> tuple[str, Number]:
    [(name, n)] = json.loads(fields[b"data"]).items()
    return entry_id.decode(), Number(name.removesuffix("i") if stream == "iterations" else name, stream, n)
