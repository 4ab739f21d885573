"""The budget of bytes that requests share."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hud_publisher.protocol.errors import TooManyRequestsError
from hud_web.access.budget import ADDRESS_WAITING, PIECE_BYTES, RESERVE, UNKNOWN_BYTES, Budget, ByteLimits


async def test_an_address_gets_its_share_and_leaves_the_reserve_to_others() -> None:
    budget = Budget(1_000, 400)
    assert [budget.try_take("a", 100) for _ in range(5)] == [True, True, True, True, False]
    assert budget.try_take("b", 300)
    assert not budget.try_take("b", 100)  # the last quarter is for addresses that hold nothing
    assert budget.try_take("c", 200)
    assert budget.used == 900
    assert not budget.try_take("d", 200)


async def test_a_single_item_above_the_share_is_let_through() -> None:
    budget = Budget(1_000, 400)
    assert budget.try_take("a", 900)
    assert not budget.try_take("a", 1)


async def test_a_request_waits_until_there_is_room_and_keeps_nobody_else_waiting() -> None:
    budget = Budget(1_000, 400)
    await budget.take("a", 400)
    waiting = asyncio.create_task(budget.take("a", 300))
    await asyncio.sleep(0)
    assert budget.try_take("b", 300)
    assert not waiting.done()
    budget.give("a", 400)
    await waiting
    assert budget.used == 600


async def test_a_request_that_waits_too_long_is_refused_and_forgotten() -> None:
    budget = Budget(1_000, 400, wait_s=0.0)
    await budget.take("a", 400)
    with pytest.raises(TooManyRequestsError):
        await budget.take("a", 1)
    budget.give("a", 400)
    assert budget.used == 0


async def test_requests_of_one_address_that_wait_are_bounded() -> None:
    budget = Budget(1_000, 400, wait_s=60)
    await budget.take("a", 400)
    tasks = [asyncio.create_task(budget.take("a", 400)) for _ in range(ADDRESS_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequestsError):
        await budget.take("a", 400)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    budget.give("a", 400)
    assert budget.used == 0
    assert budget.try_take("a", 1_000)


async def test_a_request_that_is_cancelled_just_after_it_got_room_gives_it_back() -> None:
    budget = Budget(1_000, 400, wait_s=60)
    await budget.take("a", 400)
    waiting = asyncio.create_task(budget.take("a", 400))
    await asyncio.sleep(0)
    budget.give("a", 400)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert budget.used == 0


def limited(app: ASGIApp, answers: Budget | None = None, bodies: Budget | None = None) -> ByteLimits:
    return ByteLimits(app, answers=answers or Budget(10**9, 10**9), bodies=bodies or Budget(10**9, 10**9))


def scope(path: str, method: str = "GET", address: str = "192.0.2.1") -> Scope:
    return {"type": "http", "method": method, "path": path, "headers": [], "client": (address, 1), "query_string": b""}


async def never() -> Message:
    return await asyncio.Future()


async def test_an_answer_is_held_until_the_client_has_taken_it_and_goes_out_in_pieces() -> None:
    budget, sent, may_go_on = Budget(10**8, 10**8), [], asyncio.Event()
    body = bytes(range(256)) * 3_000

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        assert budget.used == UNKNOWN_BYTES
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) == 3:
            await may_go_on.wait()

    task = asyncio.create_task(limited(app, budget)(scope("/api/frames/1-0"), never, send))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(sent) == 3
    assert budget.used == len(body)
    may_go_on.set()
    await task
    assert budget.used == 0
    assert b"".join(message["body"] for message in sent[1:]) == body
    assert max(len(message["body"]) for message in sent[1:]) == PIECE_BYTES
    assert [message["more_body"] for message in sent[1:]] == [True] * (len(sent) - 2) + [False]


async def test_an_answer_for_which_there_is_no_room_is_429_and_is_not_loaded() -> None:
    budget, sent = Budget(UNKNOWN_BYTES, UNKNOWN_BYTES, wait_s=0.0), []

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        pytest.fail("it was loaded")

    async def send(message: Any) -> None:
        sent.append(message)

    assert budget.try_take("192.0.2.1", 1)
    await limited(app, budget)(scope("/api/frames/1-0"), never, send)
    assert sent[0]["status"] == 429
    assert b"retry-after" in dict(sent[0]["headers"])


async def test_bodies_that_are_received_count_until_they_are_answered() -> None:
    budget = Budget(2_000, 1_000)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x" * 400, "more_body": True}

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        assert budget.used == 400
        await receive()
        with pytest.raises(TooManyRequestsError):
            await receive()

    await limited(app, bodies=budget)(scope("/api/publish", "POST"), receive, never)  # type: ignore[arg-type]
    assert budget.used == 0


async def test_an_ipv6_network_has_one_share() -> None:
    assert RESERVE == 0.25
    budget = Budget(10 * UNKNOWN_BYTES, UNKNOWN_BYTES, wait_s=0.0)
    statuses = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Future()

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))

    tasks = [
        asyncio.create_task(limited(app, budget)(scope("/api/state", address=address), never, send))
        for address in ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1")
    ]
    for _ in range(5):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert sorted(status for status in statuses if status) == [200, 200, 429]
