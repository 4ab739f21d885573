"""The usual application of tutorials: sse-starlette, and a separate Redis subscription for every viewer."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import redis.asyncio as redis
from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

client = redis.from_url(os.environ["REDIS_URL"], max_connections=20_000)


async def stream(_request: Request) -> EventSourceResponse:
    async def events() -> AsyncIterator[dict[str, str]]:
        async with client.pubsub() as subscription:
            await subscription.subscribe("bench")
            async for message in subscription.listen():
                if message["type"] == "message":
                    yield {"data": message["data"].decode()}

    return EventSourceResponse(events(), ping=10)


app = Starlette(routes=[Route("/stream", stream)])
