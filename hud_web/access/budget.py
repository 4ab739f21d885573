"""Memory that requests may hold at once, in total and for each address, and the middleware that applies it.

An answer counts from before it is loaded until the client has read it, so clients that stop reading hold a bounded
amount of memory, and one address cannot use all of it. A client must read an answer at a minimum rate. Bodies of
requests count while they are received and processed. Called by the app and by the stream endpoint.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hud_publisher.protocol.errors import TooManyRequestsError
from hud_publisher.protocol.images import MAX_IMAGE_BYTES
from hud_web.http.errors import answer_hud_error
from hud_web.http.proxies import client_of
from hud_web.http.wire import abort

#: Answers of a replica together, and of one address. The smallest host that runs the server has 512 MB of memory.
ANSWER_BYTES = 96 * 1024 * 1024
ADDRESS_ANSWER_BYTES = 32 * 1024 * 1024
#: Bodies of a replica's requests together, and of one address.
BODY_BYTES = 96 * 1024 * 1024
ADDRESS_BODY_BYTES = 32 * 1024 * 1024
#: Share of each total that is reserved for addresses that hold nothing yet.
RESERVE = 0.25
#: An answer of unknown size counts as this number of bytes until it is loaded; a picture is the largest single item.
UNKNOWN_BYTES = MAX_IMAGE_BYTES
#: How long a request waits for room before it is answered 429.
WAIT_S = 10.0
#: Requests that wait at once, in total and of one address.
MAX_WAITING, ADDRESS_WAITING = 1_000, 100
#: An answer is passed to the connection in pieces of this size, which is the size of the connection's buffer.
PIECE_BYTES = 64 * 1024
#: The lowest rate at which a client must read an answer, after a first delay: 3 MB within 106 s.
GRACE_S = 10.0
LEAST_BYTES_PER_S = 32 * 1024


@dataclass(slots=True)
class _Waiting:
    address: str
    size: int
    future: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Budget:
    """A number of bytes that all requests share."""

    def __init__(self, total: int, per_address: int, *, wait_s: float = WAIT_S) -> None:
        """Make an unused budget.

        Args:
            total: bytes of all addresses together.
            per_address: bytes of one address; a single larger item is accepted if the address holds nothing else.
            wait_s: how long `take` waits for room.
        """
        self._total, self._per_address, self._wait_s = total, per_address, wait_s
        self._held: dict[str, int] = {}
        self._waiting: deque[_Waiting] = deque()
        self.used = 0

    def try_take(self, address: str, size: int) -> bool:
        """Take bytes for an address; returns whether the budget allowed it."""
        held = self._held.get(address, 0)
        most = self._total * (1 - RESERVE) if held else self._total
        if (held and held + size > self._per_address) or self.used + size > most:
            return False
        self._add(address, size)
        return True

    async def take(self, address: str, size: int) -> None:
        """Take bytes for an address once there is room.

        Raises:
            TooManyRequestsError: there was no room within `wait_s`, or too many requests are waiting.
        """
        if self.try_take(address, size):
            return
        of_address = sum(1 for one in self._waiting if one.address == address)
        if len(self._waiting) < MAX_WAITING and of_address < ADDRESS_WAITING:
            waiting = _Waiting(address, size)
            self._waiting.append(waiting)
            try:
                async with asyncio.timeout(self._wait_s):
                    await waiting.future
                return
            except TimeoutError:
                if waiting.future.done() and not waiting.future.cancelled():  # granted at the last moment
                    return
            except asyncio.CancelledError:
                if waiting.future.done() and not waiting.future.cancelled():
                    self.give(address, size)
                raise
            finally:
                if waiting in self._waiting:
                    self._waiting.remove(waiting)
        raise TooManyRequestsError(
            f"too many answers to {address}, or to all clients, are on their way: read those first, then ask again",
            retry_after_s=1.0,
        )

    def change(self, address: str, size: int) -> None:
        """Add bytes to the number that an address holds (subtract if negative), even beyond the budget."""
        self._add(address, size)
        if size < 0:
            self._admit()

    def give(self, address: str, size: int) -> None:
        """Give back bytes that an address took."""
        self.change(address, -size)

    @asynccontextmanager
    async def hold(self, address: str, size: int) -> AsyncIterator[None]:
        """Hold bytes during a `with` block; see `take`."""
        await self.take(address, size)
        try:
            yield
        finally:
            self.give(address, size)

    def _add(self, address: str, size: int) -> None:
        held = self._held.get(address, 0) + size
        self.used += size
        if held:
            self._held[address] = held
        else:
            self._held.pop(address, None)

    def _admit(self) -> None:
        for waiting in tuple(self._waiting):
            if not waiting.future.done() and self.try_take(waiting.address, waiting.size):
                self._waiting.remove(waiting)
                waiting.future.set_result(None)


class Share:
    """The part of a budget that one address may take."""

    __slots__ = ("_address", "_budget")

    def __init__(self, budget: Budget, address: str) -> None:
        self._budget, self._address = budget, address

    def try_take(self, size: int) -> bool:
        """Take bytes; returns whether the budget allowed it."""
        return self._budget.try_take(self._address, size)

    def give(self, size: int) -> None:
        """Give bytes back."""
        self._budget.give(self._address, size)


class ByteLimits:
    """Keeps answers under `/api/` and bodies within their budgets; a plain ASGI middleware."""

    def __init__(self, app: ASGIApp, *, answers: Budget, bodies: Budget) -> None:
        self._app = app
        self._answers, self._bodies = answers, bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] == "POST":
            await self._receive(scope, receive, send)
        elif scope["path"].startswith("/api/"):
            await self._answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _receive(self, scope: Scope, receive: Receive, send: Send) -> None:
        address, held = client_of(scope), 0

        async def receive_within_budget() -> Message:
            nonlocal held
            message = await receive()
            size = len(message.get("body", b""))
            if size and not self._bodies.try_take(address, size):
                raise TooManyRequestsError(
                    "too many bytes of request bodies arrive at once: send again when the others are answered",
                    retry_after_s=1.0,
                )
            held += size
            return message

        try:
            await self._app(scope, receive_within_budget, send)
        finally:
            self._bodies.give(address, held)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = client_of(scope)
        try:
            await self._answers.take(address, UNKNOWN_BYTES)
        except TooManyRequestsError as error:
            await (await answer_hud_error(Request(scope), error))(scope, receive, send)
            return
        paced = _PacedSend(self._answers, address, send, lambda: abort(scope))
        try:
            await self._app(scope, receive, paced)
        finally:
            paced.close()


class _PacedSend:
    """Sends an answer to the connection piece by piece, as the client reads it."""

    def __init__(self, budget: Budget, address: str, send: Send, drop: Callable[[], None]) -> None:
        self._budget, self._address, self._send, self._drop = budget, address, send, drop
        self._held = UNKNOWN_BYTES
        self._sent = 0
        self._waited_s = 0.0

    async def __call__(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            await self._hand_over(message)  # the client may not have read the previous answer on this connection yet
            return
        body, is_last = message.get("body", b""), not message.get("more_body", False)
        self._hold(len(body))
        if len(body) <= PIECE_BYTES:
            await self._hand_over(message)
            return
        view = memoryview(body)
        for at in range(0, len(body), PIECE_BYTES):
            await self._hand_over(_body(bytes(view[at : at + PIECE_BYTES])))
        if is_last:  # waits until most of the last piece has left the connection's buffer
            await self._hand_over(_body(b"", is_last=True))

    def close(self) -> None:
        """Give back all bytes that the answer holds."""
        self._hold(0)

    def _hold(self, size: int) -> None:
        self._budget.change(self._address, size - self._held)
        self._held = size

    async def _hand_over(self, message: Message) -> None:
        """Pass a message to the connection once it accepts one. Drops a client that is too slow."""
        allowed_s = GRACE_S + self._sent / LEAST_BYTES_PER_S - self._waited_s
        timer = asyncio.get_running_loop().call_later(allowed_s, self._drop)
        began_s = time.monotonic()
        try:
            await self._send(message)
        finally:
            timer.cancel()
            self._waited_s += time.monotonic() - began_s
            self._sent += len(message.get("body", b""))


def _body(piece: bytes, *, is_last: bool = False) -> Message:
    return {"type": "http.response.body", "body": piece, "more_body": not is_last}
