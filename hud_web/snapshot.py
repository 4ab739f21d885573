"""The snapshot: everything of a session that a page needs at once.

Owns its form. No I/O. Called by the hub for live sessions and by the endpoints for any.
"""

from __future__ import annotations

import time
from typing import Any

from hud_publisher.protocol.entries import FrameEntry, StreamName, VisionEntry, decode_entry
from hud_web.sse import dump, vision_update
from hud_web.store import Opening, SessionView, StreamEntry


def encode_snapshot(
    session: SessionView, state: dict[str, Any], frame: bytes | None, vision: bytes | None, viewers: int
) -> bytes:
    """Return a snapshot's JSON; `frame` and `vision` are encoded vision_updates."""
    head = {
        "session": session.describe(), "state": state, "viewers": viewers, "server_time_ms": int(time.time() * 1000),
    }  # fmt: skip
    return b"".join([dump(head)[:-1], b',"frame":', frame or b"null", b',"vision":', vision or b"null", b"}"])


def encode_opening(opening: Opening, viewers: int = 0) -> bytes:
    """Return the snapshot of a session as it was read from Redis."""
    pictures = {name: encode_picture(name, entry) for name, entry in opening.newest.items() if name in _PICTURES}
    return encode_snapshot(opening.session, opening.state, pictures.get("frames"), pictures.get("vision"), viewers)


def encode_picture(name: StreamName, found: StreamEntry) -> bytes:
    """Return the vision_update of an entry of frames, thumbs or vision."""
    entry_id, fields = found
    entry = decode_entry(name, fields)
    assert isinstance(entry, (FrameEntry, VisionEntry))
    return vision_update(entry, entry_id)


_PICTURES = ("frames", "vision")
