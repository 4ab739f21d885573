"""The server's reports about its Redis, and their timing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from hud_publisher.protocol.settings import Settings
from hud_web.doctor import redis_watch
from hud_web.doctor.findings import Cause, Finding, problem

SETTINGS = Settings(redis_url="redis://:QXZV@host:1/0")


def trouble(cause: Cause) -> Finding:
    return problem("redis", f"it is {cause}", cause, "do this")


async def watch(monkeypatch: pytest.MonkeyPatch, results: list[Finding | None]) -> list[Finding | None]:
    """Give the watch these results in order without waiting, and end it; return its reports."""
    told: list[Finding | None] = []
    remaining: Iterator[Finding | None] = iter(results)
    is_done = asyncio.Event()

    async def examine(*_arguments: object) -> Finding | None:
        for result in remaining:
            return result
        is_done.set()
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr(redis_watch, "_examine", examine)
    monkeypatch.setattr(redis_watch, "CHECK_S", 0.0)
    task = asyncio.create_task(redis_watch.watch_redis(SETTINGS, told.append))
    await is_done.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return told


async def test_each_cause_is_logged_once_and_so_is_its_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    away, refused = trouble("no-redis"), trouble("redis-password")
    await watch(monkeypatch, [away, away, away, refused, refused, None, None, away])
    assert caplog.messages == [
        "it is no-redis. Fix: do this. The page starts, and shows runs as soon as this is mended.",
        "it is redis-password. Fix: do this",
        "redis://host:1/0 works again",
        "it is no-redis. Fix: do this",
    ]


async def test_a_redis_that_works_is_not_mentioned(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await watch(monkeypatch, [None, None, None])
    assert caplog.messages == []


async def test_each_result_is_reported_without_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    away = problem("redis", "nothing listens at redis://host:1/0", "no-redis", "start it")
    told = await watch(monkeypatch, [None, away, None])
    assert [result and result.text for result in told] == [None, "nothing listens at Redis", None]


async def test_a_silent_redis_is_reported_before_the_cause_is_known_and_only_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Finding | None] = []
    is_reported, is_found = asyncio.Event(), asyncio.Event()

    async def examine(*_arguments: object) -> Finding | None:
        if not told:
            await is_reported.wait()
            return trouble("redis-silent")
        is_found.set()
        return trouble("redis-silent")

    def tell(finding: Finding | None) -> None:
        told.append(finding)
        is_reported.set()

    monkeypatch.setattr(redis_watch, "_examine", examine)
    monkeypatch.setattr(redis_watch, "PATIENCE_S", 0.0)
    monkeypatch.setattr(redis_watch, "CHECK_S", 0.0)
    task = asyncio.create_task(redis_watch.watch_redis(SETTINGS, tell))
    await is_found.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert [finding and finding.cause for finding in told[:2]] == ["redis-silent", "redis-silent"]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("redis://host:1/0 has not answered for 0 s. Fix: check firewalls")
    assert caplog.messages[0].endswith("The page starts, and shows runs as soon as this is mended.")


async def test_it_ends_although_the_client_swallows_the_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def swallow(*_arguments: object) -> None:
        asked.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    monkeypatch.setattr(redis_watch, "_examine", swallow)
    task = asyncio.create_task(redis_watch.watch_redis(SETTINGS, lambda _trouble: None))
    await asked.wait()
    task.cancel()
    async with asyncio.timeout(1):  # below the time between two checks
        with contextlib.suppress(asyncio.CancelledError):
            await task
