"""The doctor's look at Redis: reached, let in, set up so that a session lock survives.

Called by `doctor`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from types import SimpleNamespace
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterError,
    InvalidResponse,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.keys import ChannelKeys
from hud_publisher.protocol.redis_url import RedisTarget, parse_redis_url
from hud_publisher.protocol.settings import Settings
from hud_web.findings import Finding, clock_skew, evicts, note, ok, problem
from hud_web.reach import Blocked, reach, speaks_tls
from hud_web.redis_client import connect_writer

TIMEOUT_S = 5.0
_NOBODY = SimpleNamespace(sentinels=())
_FULL_FIX = "raise maxmemory, or shorten HUD_RETENTION and HUD_FRAME_HISTORY_S"
_SILENT_FIX = (
    "look for a firewall or NetworkPolicy in between (the pod needs the label zelda-hud/publisher: 'true'), or a Redis "
    "that is stuck"
)
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
    found: list[Finding] = []
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await client.ping()
            found.append(ok("redis", f"{target} answers"))
        found += await _examine_settings(client, target)
        await _examine_rights(client, settings)
    except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
        trouble = explain(error, target)
        # A replica and a full Redis show in two places.
        if trouble.cause not in {finding.cause for finding in found}:
            found.append(trouble)
    finally:
        await client.aclose()
        # Closing a client that asks Sentinels leaves its connections to them.
        for asked in getattr(getattr(client, "connection_pool", None), "sentinel_manager", _NOBODY).sentinels:
            await asked.aclose()
    return found


def explain(error: Exception, target: RedisTarget) -> Finding:
    """Return what a failed call means."""
    words = str(error)[:200]
    if isinstance(error, BusyLoadingError):
        return problem(
            "redis", f"{target} is reading its data back", "redis-loading", "wait; it may take a minute per gigabyte"
        )
    if isinstance(error, (AuthenticationError, AuthorizationError)) or words.startswith(("WRONGPASS", "NOAUTH")):
        return _not_let_in(words, target)
    if isinstance(error, NoPermissionError):
        return problem(
            "redis", f"{target} does not let this user do it: {words}", "redis-rights",
            "give the user the rights of k8s/base/redis/start.sh",
        )  # fmt: skip
    if isinstance(error, ReadOnlyError):
        return problem(
            "redis", f"{target} is a replica and takes no writes", "redis-replica",
            "name the primary in REDIS_URL, or the Sentinels: redis+sentinel://host:26379/name",
        )  # fmt: skip
    if isinstance(error, OutOfMemoryError):
        return problem("redis", f"Redis is full: {words}", "redis-full", _FULL_FIX)
    if words.startswith(("MISCONF", "NOREPLICAS")) or "replicas to write" in words:
        return problem(
            "redis", f"{target} refuses every write: {words}", "redis-refuses",
            "look at Redis' log and at its disk (MISCONF), or at its replicas (NOREPLICAS: min-replicas-to-write)",
        )  # fmt: skip
    if isinstance(error, InvalidResponse):
        return problem(
            "redis", f"{target} answers, and not as Redis does", "not-a-redis",
            "REDIS_URL leads to another program: name Redis' own host and port (6379)",
        )  # fmt: skip
    return _not_one_server(error, words, target) or _not_reached(target, error) or _unknown(error, words, target)


def _not_let_in(words: str, target: RedisTarget) -> Finding:
    if not target.password:
        text = f"{target} wants a password, and REDIS_URL has none"
    elif "without any password configured" in words or "no password is set" in words:
        text = f"{target} knows no password, and REDIS_URL has one"
    else:
        who = f"user {target.username}" if target.username else "the default user"
        text = f"{target} refuses {who} with this password"
    return problem(
        "redis", text, "redis-password",
        "put the right user and password into REDIS_URL (redis://user:password@host:6379/0); on Kubernetes they "
        "stand in the Secret zelda-hud-redis",
    )  # fmt: skip


def _not_reached(target: RedisTarget, error: Exception) -> Finding | None:
    """What stands in the way to every one of the hosts; None where one of them can be reached."""
    if isinstance(error, ResponseError):
        return None
    context = _context(target)
    blocked: Blocked | None = None
    for host, port in target.hosts:
        blocked = reach(host, port, TIMEOUT_S, context)
        if blocked is None:
            break
    if target.kind == "unix" and not _is_socket(target.path or ""):
        blocked = Blocked("nothing listens", "no such socket")
    if blocked is None:
        if (
            context is None
            and not _is_silence(error)
            and any(speaks_tls(host, port, TIMEOUT_S) for host, port in target.hosts)
        ):
            return problem(
                "redis", f"{target} speaks TLS, and REDIS_URL begins with redis", "redis-tls", "write rediss://"
            )
        return None
    match blocked.by:
        case "unknown name":
            return problem(
                "redis", f"the name in {target} is not known here", "redis-name",
                "correct the host in REDIS_URL; within Kubernetes it is zelda-hud-redis.NAMESPACE.svc",
            )  # fmt: skip
        case "nothing listens":
            return problem(
                "redis", f"nothing listens at {target}", "no-redis",
                "start Redis there (`hud up` brings one along; docker compose up redis), or correct REDIS_URL",
            )  # fmt: skip
        case "no way":
            return problem("redis", f"{target} does not answer: {blocked.words}", "redis-silent", _SILENT_FIX)
        case "no tls":
            return problem(
                "redis", f"{target} does not speak TLS: {blocked.words}", "redis-tls",
                "write redis:// instead of rediss://",
            )  # fmt: skip
        case "untrusted":
            return problem(
                "redis", f"the certificate of {target} is not trusted here: {blocked.words}", "redis-tls",
                "add ?ssl_ca_certs=/path/to/ca.crt to REDIS_URL, and call Redis by a name that the certificate has",
            )  # fmt: skip


def _is_socket(path: str) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as link:
        link.settimeout(TIMEOUT_S)
        link.connect(path)
        return True
    return False


def _context(target: RedisTarget) -> ssl.SSLContext | None:
    """As redis-py makes it of the same options."""
    if target.tls is None:
        return None
    authorities = target.tls.get("ssl_ca_certs")
    context = ssl.create_default_context(cafile=str(authorities) if authorities else None)
    if target.tls.get("ssl_check_hostname") is False or target.tls.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
    if target.tls.get("ssl_cert_reqs") == "none":
        context.verify_mode = ssl.CERT_NONE
    return context


def _not_one_server(error: Exception, words: str, target: RedisTarget) -> Finding | None:
    """What is wrong with Sentinels or a cluster, or with the form of REDIS_URL that names them."""
    if isinstance(error, MasterNotFoundError) and not all(reach(*host, TIMEOUT_S) for host in target.hosts):
        return problem(
            "redis", f"the Sentinels of {target} know no primary called {target.service}", "redis-sentinel",
            "correct the name after the hosts in REDIS_URL, or look whether a primary lives: redis-cli -p 26379 "
            "sentinel masters",
        )  # fmt: skip
    if isinstance(error, MovedError):
        return problem(
            "redis", f"{target} is one node of a cluster", "redis-cluster", "write redis+cluster:// instead of redis://"
        )
    if "Cluster mode is not enabled" in words or "cluster support disabled" in words:
        return problem(
            "redis", f"{target} is no cluster", "redis-cluster", "write redis:// instead of redis+cluster://"
        )
    if isinstance(error, ClusterError) or "slot not served" in words or "slots are not covered" in words:
        return problem(
            "redis", f"the cluster of {target} is down: {words}", "redis-cluster",
            "look at its nodes: redis-cli cluster info; redis-cli --cluster check host:6379",
        )  # fmt: skip
    return None


def _is_silence(error: Exception) -> bool:
    return isinstance(error, TimeoutError) or "Timeout" in type(error).__name__


def _unknown(error: Exception, words: str, target: RedisTarget) -> Finding:
    if _is_silence(error):
        return problem("redis", f"{target} is reached and does not answer", "redis-silent", _SILENT_FIX)
    reason = words if isinstance(error, ResponseError) else f"{type(error).__name__}: {words}"
    return problem("redis", f"{target} cannot be used: {reason}", "redis-other", "see docs/troubleshooting.md")


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
        found.append(evicts("Redis", policy))
    if not most:
        found.append(
            note("redis", "maxmemory is not set: a long run may take all memory", "redis-unbounded", "maxmemory 512mb")
        )
    elif used > most * MOST_USED:
        found.append(
            problem(
                "redis", f"Redis is full: {used >> 20} of {most >> 20} MB", "redis-full",
                _FULL_FIX,
            )
        )  # fmt: skip
    return found or [ok("redis", f"noeviction, {used >> 20} of {most >> 20} MB used")]


async def _examine_rights(client: Redis, settings: Settings) -> None:
    """Read what every writer reads first, and ask for a write that changes nothing: XX on a key that is not there."""
    keys = ChannelKeys(settings.channel)
    await client.get(keys.lock)
    await client.hgetall(keys.viewers)
    await client.set(f"{keys.lock}:doctor", "", xx=True)
