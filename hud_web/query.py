"""Reads what GET endpoints are asked: channel, session, whole numbers."""

from __future__ import annotations

from starlette.requests import Request

from hud_publisher.protocol.errors import MalformedError, NotFoundError
from hud_publisher.protocol.keys import DEFAULT_CHANNEL, Sid, check_channel, check_sid
from hud_web.store import Store


def channel_of(request: Request) -> str:
    """Return `?channel=`, or the default one."""
    return check_channel(request.query_params.get("channel") or DEFAULT_CHANNEL)


async def session_of(request: Request, store: Store) -> tuple[str, Sid]:
    """Return (channel, session): `?session=`, or the channel's newest.

    Raises:
        NotFoundError: the channel has had no session yet, or not this one.
    """
    channel = channel_of(request)
    wanted = request.query_params.get("session")
    if wanted:
        sid = check_sid(wanted)
        if not await store.has_session(channel, sid):
            raise NotFoundError(f"channel {channel!r} has no session {sid} (any more)")
        return channel, sid
    newest = await store.current_sid(channel)
    if newest is None:
        raise NotFoundError(f"channel {channel!r} has had no session yet")
    return channel, newest


def whole_number(request: Request, name: str, default: int, *, least: int, most: int) -> int:
    """Return a number of the query, or the default where it is not there.

    Raises:
        MalformedError: it is no whole number within the bounds.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not least <= int(text[:20]) <= most:
        raise MalformedError(f"expected {name} to be a whole number from {least} to {most}, got {text[:40]!r}")
    return int(text)
