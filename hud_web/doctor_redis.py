"""The doctor's look at Redis: reached, let in, set up so that a session lock survives.

Called by `doctor`.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.keys import ChannelKeys
from hud_publisher.protocol.redis_url import RedisTarget, parse_redis_url
from hud_publisher.protocol.settings import Settings
from hud_web.findings import Finding, clock_skew, note, ok, problem
from hud_web.redis_client import connect_writer

TIMEOUT_S = 5.0
#: XADD … MINID and XTRIM … MINID came with it.
OLDEST = (6, 2)
#: Above it the next long episode may find Redis full.
MOST_USED = 0.9


async def examine_redis(settings: Settings) -> list[Finding]:
    """Return what there is to say of the Redis that REDIS_URL names."""
    assert settings.redis_url is not None
    try:
        target = parse_redis_url(settings.redis_url)
    except ConfigError as error:
        return [problem("redis", str(error), "redis-url", "correct REDIS_URL; docs/settings.md has its forms")]
    client = connect_writer(settings.redis_url)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await client.ping()
            found = [ok("redis", f"{target} answers")]
        found += await _examine_settings(client, target)
        found += await _examine_rights(client, settings)
        return found
    except (RedisError, OSError, TimeoutError) as error:
        return [explain(error, target)]
    finally:
        await client.aclose()


def explain(error: Exception, target: RedisTarget) -> Finding:
    """Return what a failed call means."""
    words = str(error)
    if isinstance(error, BusyLoadingError):
        return problem(
            "redis", f"{target} is reading its data back", "redis-loading", "wait; it may take a minute per gigabyte"
        )
    if isinstance(error, (AuthenticationError, AuthorizationError)) or words.startswith(("WRONGPASS", "NOAUTH")):
        who = f"user {target.username}" if target.username else "no user"
        given = "a password" if target.password else "no password"
        return problem(
            "redis", f"{target} is there and refuses {who} with {given}", "redis-password",
            "put the right user and password into REDIS_URL (redis://user:password@host:6379/0); on Kubernetes they "
            "stand in the Secret zelda-hud-redis",
        )  # fmt: skip
    if isinstance(error, NoPermissionError):
        return problem(
            "redis", f"{target} does not let this user do it: {words[:200]}", "redis-rights",
            "give the user the rights of k8s/base/redis/start.sh",
        )  # fmt: skip
    if isinstance(error, ReadOnlyError):
        return problem(
            "redis", f"{target} is a replica and takes no writes", "redis-replica",
            "name the primary in REDIS_URL, or the Sentinels: redis+sentinel://host:26379/name",
        )  # fmt: skip
    if _is_caused_by(error, socket.gaierror):
        return problem(
            "redis", f"the name in {target} is not known here", "redis-name",
            "correct the host in REDIS_URL; within Kubernetes it is zelda-hud-redis.NAMESPACE.svc",
        )  # fmt: skip
    if _is_caused_by(error, ConnectionRefusedError) or _is_caused_by(error, FileNotFoundError):
        return problem(
            "redis", f"nothing listens at {target}", "no-redis",
            "start Redis there (`hud up` brings one along; docker compose up redis), or correct REDIS_URL",
        )  # fmt: skip
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return problem(
            "redis", f"{target} does not answer within {TIMEOUT_S:.0f} s", "redis-silent",
            "look for a firewall or NetworkPolicy in between (the pod needs the label zelda-hud/publisher: 'true'), "
            "or a Redis that is stuck",
        )  # fmt: skip
    reason = words[:200] if isinstance(error, ResponseError) else f"{type(error).__name__}: {words[:200]}"
    return problem("redis", f"{target} cannot be used: {reason}", "redis-other", "see docs/troubleshooting.md")


def _is_caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Whether this error, or one that it was raised from, is of a kind; redis-py wraps the system's errors."""
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, kind):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


async def _examine_settings(client: Redis, target: RedisTarget) -> list[Finding]:
    if target.kind == "cluster":
        return [note("redis", "a cluster: look at each node's maxmemory-policy, which must be noeviction")]
    before_s = time.time()
    try:
        info: dict[str, Any] = await client.info()
        seconds, micros = await client.time()
    except NoPermissionError:
        return [note("redis", "this user may not ask for INFO, so Redis' settings were not looked at")]
    after_s = time.time()
    found = [*_version(info), *_memory(info)]
    if info.get("role") == "slave":
        found.append(explain(ReadOnlyError("a replica"), target))
    if str(info.get("aof_enabled")) == "0":
        found.append(
            note("redis", "appendonly is off: a restart of Redis forgets the run", "redis-forgets", "appendonly yes")
        )
    skew_s = float(seconds) + float(micros) / 1e6 - (before_s + after_s) / 2
    found += clock_skew("Redis", skew_s, (after_s - before_s) / 2)
    return found


def _version(info: dict[str, Any]) -> list[Finding]:
    text = str(info.get("redis_version", "0"))
    parts = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
    if parts >= OLDEST:
        return []
    return [problem("redis", f"Redis {text} is older than 6.2", "redis-old", "use Redis 6.2 or newer, or Valkey")]


def _memory(info: dict[str, Any]) -> list[Finding]:
    policy, most = str(info.get("maxmemory_policy", "noeviction")), int(info.get("maxmemory", 0))
    used = int(info.get("used_memory", 0))
    found = []
    if policy != "noeviction":
        found.append(
            problem(
                "redis", f"maxmemory-policy is {policy}: when memory is full, Redis drops the session lock, and the "
                "run loses its display", "redis-evicts",
                "redis-cli config set maxmemory-policy noeviction, and the same in redis.conf",
            )
        )  # fmt: skip
    if not most:
        found.append(
            note("redis", "maxmemory is not set: a long run may take all memory", "redis-unbounded", "maxmemory 512mb")
        )
    elif used > most * MOST_USED:
        found.append(
            problem(
                "redis", f"Redis is full: {used >> 20} of {most >> 20} MB", "redis-full",
                "raise maxmemory, or shorten HUD_RETENTION and HUD_FRAME_HISTORY_S",
            )
        )  # fmt: skip
    return found or [ok("redis", f"noeviction, {used >> 20} of {most >> 20} MB used")]


async def _examine_rights(client: Redis, settings: Settings) -> list[Finding]:
    """Read what every writer reads first; who holds the channel is the server's to say."""
    keys = ChannelKeys(settings.channel)
    await client.get(keys.lock)
    await client.hgetall(keys.viewers)
    return []
