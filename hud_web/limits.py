"""How often one address may register and write, and how many streams it may hold.

Token buckets in memory, per replica: they keep one careless client from being everybody's trouble; they are no defence
against many. Refuses with 429 and Retry-After, which our publisher obeys. Called by the app.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from hud_publisher.protocol.errors import TooManyRequestsError
from hud_web.errors import answer_hud_error
from hud_web.wire import when_over


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests per second in the long run, and how many at once."""

    per_s: float
    burst: int


#: A thousand env runners of one node ask once at their start, and when refused again after half a minute.
REGISTRATIONS = Rate(50.0, 500)
#: A publisher sends at most 100 batches a second; sixty old clients of one node 1,200 updates.
WRITES = Rate(2_000.0, 4_000)
#: Addresses that are remembered; a bucket that was forgotten is full again.
MAX_ADDRESSES = 10_000


class Buckets:
    """A token bucket per address."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> float:
        """Take one token. Returns 0 if there was one, else in how many seconds there will be."""
        now = self._clock()
        tokens, since = self._buckets.pop(address, (float(self._rate.burst), now))
        tokens = min(float(self._rate.burst), tokens + (now - since) * self._rate.per_s)
        wait_s = 0.0 if tokens >= 1 else (1 - tokens) / self._rate.per_s
        self._buckets[address] = (tokens if wait_s else tokens - 1, now)
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return wait_s


class AddressLimits:
    """Refuses an address that asks too often; a plain ASGI middleware."""

    def __init__(self, app: ASGIApp, *, streams_per_address: int) -> None:
        """Wrap an application.

        Args:
            app: what answers.
            streams_per_address: streams that one address may hold at once; 0 for any number.
        """
        self._app = app
        self._registrations, self._writes = Buckets(REGISTRATIONS), Buckets(WRITES)
        self._most_streams = streams_per_address
        self._streams: dict[str, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        address = (scope.get("client") or ("unknown", 0))[0]
        if scope["type"] == "http" and scope["method"] == "POST":
            buckets = self._registrations if scope["path"] == "/api/register_session" else self._writes
            if wait_s := buckets.take(address):
                error = TooManyRequestsError(
                    f"expected fewer requests from {address}: come back in {wait_s:.2f} s", retry_after_s=wait_s
                )
                await (await answer_hud_error(Request(scope), error))(scope, receive, send)
                return
        elif scope["type"] == "http" and scope["path"] == "/stream" and self._most_streams:
            await self._stream(address, scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _stream(self, address: str, scope: Scope, receive: Receive, send: Send) -> None:
        held = self._streams.get(address, 0)
        if held >= self._most_streams:
            error = TooManyRequestsError(
                f"expected at most {self._most_streams} streams from {address}, got one more: close some pages, or "
                "raise HUD_STREAMS_PER_ADDRESS",
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
