"""Reads the query parameters of GET endpoints: channel, session, numbers and choices.

Every parameter has one text form: it may occur once, unless it is a list, and the text that is checked is the text that
is used. Anything else is refused with 400.
"""

from __future__ import annotations

import re

from starlette.requests import Request

from hud_publisher.protocol.errors import MalformedError, NotFoundError
from hud_publisher.protocol.keys import DEFAULT_CHANNEL, Sid, check_channel, check_sid
from hud_web.store.store import Store

#: No number of the query is larger than 10**15; `int` and `float` also accept signs, spaces, `_`, exponents and digits
#: of other scripts.
_WHOLE = re.compile(r"[0-9]{1,16}")
_DECIMAL = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")


def parameter(request: Request, name: str) -> str | None:
    """Return the value of a query parameter, or None if it is missing.

    Raises:
        MalformedError: it occurs more than once.
    """
    values = request.query_params.getlist(name)
    if len(values) > 1:
        raise MalformedError(f"expected {name} once, got it {len(values)} times: send one")
    return values[0] if values else None


def parameters(request: Request, name: str) -> list[str]:
    """Return the values of a query parameter that may be repeated."""
    return request.query_params.getlist(name)


def channel_of(request: Request) -> str:
    """Return `?channel=`, or the default channel."""
    return check_channel(parameter(request, "channel") or DEFAULT_CHANNEL)


def sid_of(request: Request) -> Sid | None:
    """Return `?session=`, or None if the newest session is wanted."""
    wanted = parameter(request, "session")
    return check_sid(wanted) if wanted else None


async def session_of(request: Request, store: Store) -> tuple[str, Sid]:
    """Return (channel, session): `?session=`, or the channel's newest.

    Raises:
        NotFoundError: the channel has had no session yet, or does not keep this one.
    """
    channel, wanted = channel_of(request), sid_of(request)
    if wanted is not None:
        if not await store.has_session(channel, wanted):
            raise NotFoundError(f"channel {channel!r} has no session {wanted} (any more)")
        return channel, wanted
    newest = await store.current_sid(channel)
    if newest is None:
        raise NotFoundError(f"channel {channel!r} has had no session yet")
    return channel, newest


def whole_number(request: Request, name: str, default: int, *, least: int, most: int) -> int:
    """Return a whole number of the query, or the default if it is missing.

    Raises:
        MalformedError: it is not written as 1 to 16 decimal digits, or is out of bounds.
    """
    text = parameter(request, name)
    if text is None:
        return default
    number = int(text) if _WHOLE.fullmatch(text) else -1
    if not least <= number <= most:
        raise MalformedError(f"expected {name} to be a whole number from {least} to {most}, got {text[:40]!r}")
    return number


def decimal_number(request: Request, name: str, *, least: float, most: float) -> float | None:
    """Return a number of the query, or None if it is missing or empty.

    Raises:
        MalformedError: it is not written as decimal digits with an optional fraction, or is out of bounds.
    """
    text = parameter(request, name)
    if not text:
        return None
    number = float(text) if _DECIMAL.fullmatch(text) else -1.0
    if not least <= number <= most:
        raise MalformedError(f"expected {name} to be a number from {least:g} to {most:g}, got {text[:40]!r}")
    return number
