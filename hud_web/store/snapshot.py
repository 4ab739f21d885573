"""The snapshot: all data of a session that a page needs when it opens.

Owns its form. No I/O. Called by the hub for live sessions and by the endpoints for any.
"""

from __future__ import annotations

import base64
import time
from typing import Any

from hud_publisher.protocol.entries import FrameEntry, MindEntry, StreamName, VisionEntry
from hud_publisher.protocol.stored import decode_entry
from hud_web.store.roles import RoleMap, Roles
from hud_web.store.sse import about_mind, dump, vision_update
from hud_web.store.store import Store
from hud_web.store.views import Opening, SessionView, StreamEntry

#: The streams whose newest entry is in a snapshot.
PICTURES: tuple[StreamName, ...] = ("frames", "vision", "mind")


def encode_snapshot(
    session: SessionView,
    state: dict[str, Any],
    not_finite: dict[str, Any],
    roles: Roles,
    frame: bytes | None,
    vision: bytes | None,
    mind: bytes | None,
    viewers: int,
) -> bytes:
    """Return a snapshot's JSON; `frame` and `vision` are encoded vision_updates, `mind` is the data of that event."""
    head = {
        "session": session.describe() | {"roles": roles}, "state": state, "not_finite": not_finite, "roles": roles,
        "rhythm": session.rhythm, "verdict": session.verdict, "viewers": viewers,
        "server_time_ms": int(time.time() * 1000),
    }  # fmt: skip
    return b"".join([
        dump(head)[:-1], b',"frame":', frame or b"null", b',"vision":', vision or b"null",
        b',"mind":', mind or b"null", b"}",
    ])  # fmt: skip


def encode_opening(opening: Opening, store: Store, viewers: int = 0) -> bytes:
    """Return the snapshot of a session that was read from `store`; a picture that cannot be read is left out."""
    session, newest = opening.session, opening.newest
    frame, vision, mind = (
        store.readable(session.channel, name, _encode, name, newest[name]) if name in newest else None
        for name in PICTURES
    )
    return encode_snapshot(
        session, opening.state, session.not_finite, roles_of(opening), frame, vision, mind, viewers
    )  # fmt: skip


def _encode(name: StreamName, found: StreamEntry) -> bytes:
    return encode_mind(found)[0] if name == "mind" else encode_picture(name, found)


def roles_of(opening: Opening) -> Roles:
    """Return the roles of a stored session's fields."""
    return RoleMap.of(opening.session.chosen_roles, opening.state, opening.session.not_finite).roles


def encode_picture(name: StreamName, found: StreamEntry) -> bytes:
    """Return the vision_update of an entry of frames, thumbs or vision; raises ValueError if it has no picture."""
    entry_id, fields = found
    entry = decode_entry(name, fields)
    assert isinstance(entry, (FrameEntry, VisionEntry))
    return vision_update(entry, entry_id)


def encode_mind(found: StreamEntry) -> tuple[bytes, bytes]:
    """Return the data of the event `mind` with the picture as base64, and without it.

    Raises:
        ValueError: the entry cannot be read.
    """
    entry_id, fields = found
    entry = decode_entry("mind", fields)
    assert isinstance(entry, MindEntry)
    about = about_mind(entry, entry_id)
    numbers = dump(about | {"image": None})
    if entry.image is None:
        return numbers, numbers
    return b'{"image":"%b",%b' % (base64.b64encode(entry.image), dump(about)[1:]), numbers
