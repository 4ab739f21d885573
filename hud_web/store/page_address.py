"""Tells publishers the address of the page, so that a run can log the link of its display.

Called by the app, for as long as the server runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import re

from hud_publisher.protocol.errors import UnavailableError
from hud_publisher.protocol.keys import PAGE
from hud_publisher.protocol.texts import text
from hud_web.store.store import Store

#: How often the address is renewed, and how long it stays after the last server has ended, in seconds.
RENEW_S, LASTS_S = 20.0, 60.0
_LOCAL = re.compile(r"https?://(localhost|127\.[\d.]+|\[::1\])(:\d+)?(/.*)?")


async def tell_address(store: Store, address: str) -> None:
    """Keep the address in Redis until cancelled; an address of this machine replaces none that others can reach."""
    while True:
        with contextlib.suppress(UnavailableError):
            (known,) = await store.pipelined([("GET", PAGE)])
            if known is None or not _LOCAL.fullmatch(address) or _LOCAL.fullmatch(text(known)):
                await store.pipelined([("SET", PAGE, address, "PX", int(LASTS_S * 1000))])
        await asyncio.sleep(RENEW_S)
