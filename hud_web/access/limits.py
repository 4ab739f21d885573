"""Rate limits for each address: registrations, writes, reads, and the number of open streams.

The token buckets are in memory, per replica. They keep one careless client from disturbing the others, and do not
protect against many clients. A refusal is 429 with Retry-After, which our publisher obeys. Called by the app.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from hud_publisher.protocol.errors import TooManyRequestsError
from hud_web.http.errors import answer_hud_error
from hud_web.http.proxies import client_of
from hud_web.http.wire import when_over


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests per second in the long run, and the size of a burst."""

    per_s: float
    burst: int


#: A thousand env runners of one node register when they start, and again half a minute after a refusal.
REGISTRATIONS = Rate(50.0, 500)
#: A publisher sends at most 100 batches per second; sixty old clients of one node send 1,200 updates.
WRITES = Rate(2_000.0, 4_000)
#: A page sends a dozen requests when it opens, and one for each picture while it steps through the past.
READS = Rate(50.0, 1_000)
#: Opened streams, unless one address may hold any number; all pages behind one address may reconnect together.
OPENINGS = Rate(50.0, 2_000)
#: Greatest number of stored buckets; an address without a stored bucket starts with a full one.
MAX_ADDRESSES = 10_000


class Buckets:
    """A token bucket per address."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> float:
        """Take one token. Returns 0 if there was one, else the number of seconds until the next one."""
        now = self._clock()
        tokens, since = self._buckets.pop(address, (float(self._rate.burst), now))
        tokens = min(float(self._rate.burst), tokens + (now - since) * self._rate.per_s)
        wait_s = 0.0 if tokens >= 1 else (1 - tokens) / self._rate.per_s
        self._buckets[address] = (tokens if wait_s else tokens - 1, now)
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return wait_s


#: Paths whose answers last until the viewer leaves.
STREAMS = frozenset({"/stream", "/stream/runs"})


class AddressLimits:
    """Refuses an address that sends too many requests; a plain ASGI middleware."""

    def __init__(self, app: ASGIApp, *, streams_per_address: int) -> None:
        """Wrap an application.

        Args:
            app: the application.
            streams_per_address: streams that one address may hold at once; 0 for any number.
        """
        self._app = app
        self._registrations, self._writes = Buckets(REGISTRATIONS), Buckets(WRITES)
        self._reads, self._openings = Buckets(READS), Buckets(OPENINGS)
        self._most_streams = streams_per_address
        self._streams: dict[str, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        address, buckets = client_of(scope), self._buckets_for(scope)
        if buckets is not None and (wait_s := buckets.take(address)):
            error = TooManyRequestsError(
                f"too many requests from {address}: ask again in {wait_s:.2f} s", retry_after_s=wait_s
            )
            await (await answer_hud_error(Request(scope), error))(scope, receive, send)
        elif scope["path"] in STREAMS and scope["method"] != "POST" and self._most_streams:
            await self._stream(address, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _buckets_for(self, scope: Scope) -> Buckets | None:
        """Return the buckets for a request; None for the page's files and for probes, which cost next to nothing."""
        path = scope["path"]
        if scope["method"] == "POST":
            return self._registrations if path == "/api/register_session" else self._writes
        if path in STREAMS:
            return self._openings if self._most_streams else None
        return self._reads if path.startswith("/api/") else None

    async def _stream(self, address: str, scope: Scope, receive: Receive, send: Send) -> None:
        held = self._streams.get(address, 0)
        if held >= self._most_streams:
            error = TooManyRequestsError(
                f"{address} already holds {held} streams, the most for one address: close some pages, or raise "
                "HUD_STREAMS_PER_ADDRESS",
                retry_after_s=5.0,
            )
            await (await answer_hud_error(Request(scope), error))(scope, receive, send)
            return
        self._streams[address] = held + 1
        try:
            await self._app(scope, receive, send)
        finally:
            when_over(scope, lambda: self._let_go(address))

    def _let_go(self, address: str) -> None:
        self._streams[address] -= 1
        if not self._streams[address]:
            del self._streams[address]
