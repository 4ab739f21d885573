"""The doctor's check of Redis: it can be reached, accepts our credentials, and is configured to keep a session lock.

Called by `doctor`.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import replace
from pathlib import Path
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
    ResponseError,
)

from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.keys import ChannelKeys
from hud_publisher.protocol.settings import Settings
from hud_publisher.protocol.texts import one_line
from hud_publisher.protocol.transport.local_redis import accepts
from hud_publisher.protocol.transport.redis_clients import CLIENT_ERRORS
from hud_publisher.protocol.urls import RedisTarget, parse_redis_url
from hud_web.doctor.findings import Finding, clock_skew, evicts, note, ok, problem
from hud_web.doctor.reach import TIMEOUT_S, Blocked, reach, refusal, speaks_tls
from hud_web.store.redis_client import connect_writer

_NOBODY = SimpleNamespace(sentinels=())
_FULL_FIX = "raise maxmemory, or shorten HUD_RETENTION and HUD_FRAME_HISTORY_S"
_SILENT_FIX = (
    "check firewalls and NetworkPolicies in between (the pod needs the label zelda-hud/publisher: 'true'), and whether "
    "Redis hangs"
)
#: The first version with XADD … MINID and XTRIM … MINID.
OLDEST = (6, 2)
#: Share of maxmemory above which the next long episode may find Redis full.
MOST_USED = 0.9


async def examine_redis(settings: Settings) -> list[Finding]:
    """Return the findings about the Redis that REDIS_URL names."""
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
        await examine_rights(client, settings)
    except CLIENT_ERRORS as error:
        trouble = explain(error, target, settings.redis_url_variable)
        # A replica and a full Redis cause two findings.
        if trouble.cause not in {finding.cause for finding in found}:
            found.append(trouble)
    finally:
        await client.aclose()
        # Closing a client that uses Sentinels leaves its connections to them open.
        for asked in getattr(getattr(client, "connection_pool", None), "sentinel_manager", _NOBODY).sentinels:
            await asked.aclose()
    return found


def explain(error: Exception, target: RedisTarget, variable: str = "REDIS_URL") -> Finding:
    """Return the finding about a failed call; `variable` is the variable that the address came from."""
    found = _explain(error, target)
    return replace(found, text=found.text.replace("REDIS_URL", variable), fix=found.fix.replace("REDIS_URL", variable))


def silent(target: RedisTarget, words: str) -> Finding:
    """Return the finding about a Redis from which nothing comes; `words` say what happens instead."""
    return problem("redis", f"{target} {words}", "redis-silent", _SILENT_FIX)


def _explain(error: Exception, target: RedisTarget) -> Finding:
    is_lost = not (isinstance(error, ResponseError) or _is_silence(error) or target.tls) and target.hosts
    words = ((is_lost and refusal(*target.hosts[0])) or str(error))[:200]
    shown = one_line(target.hide_secrets(words), 200)
    if isinstance(error, BusyLoadingError):
        return problem(
            "redis",
            f"{target} is loading its data from disk",
            "redis-loading",
            "wait; it may take a minute per gigabyte",
        )
    if isinstance(error, (AuthenticationError, AuthorizationError)) or words.startswith(("WRONGPASS", "NOAUTH")):
        return _not_let_in(words, target)
    if isinstance(error, NoPermissionError):
        return problem(
            "redis", f"{target} does not give this user the necessary rights: {shown}", "redis-rights",
            "give the user the rights of k8s/base/redis/start.sh",
        )  # fmt: skip
    if isinstance(error, ReadOnlyError):
        return problem(
            "redis", f"{target} is a replica and refuses writes", "redis-replica",
            "set REDIS_URL to the primary, or to the Sentinels: redis+sentinel://host:26379/name",
        )  # fmt: skip
    if isinstance(error, OutOfMemoryError):
        return problem("redis", f"Redis is full: {shown}", "redis-full", _FULL_FIX)
    if words.startswith("MISCONF"):
        return problem(
            "redis", f"{target} refuses every write, because it cannot write to its disk", "redis-refuses",
            "free space in Redis' directory (redis-cli config get dir) and let Redis write there; its log has the "
            "reason. Then redis-cli bgsave ends the refusal",
        )  # fmt: skip
    if words.startswith("NOREPLICAS") or "replicas to write" in words:
        return problem(
            "redis", f"{target} refuses every write, because it has fewer replicas than min-replicas-to-write",
            "redis-refuses", "start its replicas, or check why they do not reach it: redis-cli info replication",
        )  # fmt: skip
    if "max number of clients" in words:
        return problem(
            "redis", f"{target} refuses connections: maxclients is reached", "redis-clients",
            "end the programs that hold most of them (redis-cli client list), or raise the limit: redis-cli config set "
            "maxclients 10000",
        )  # fmt: skip
    if "certificate required" in words.lower():
        return problem(
            "redis", f"{target} requires a certificate of each client", "redis-tls",
            "add ?ssl_certfile=/path/to/client.crt&ssl_keyfile=/path/to/client.key to REDIS_URL",
        )  # fmt: skip
    if isinstance(error, InvalidResponse):
        return problem(
            "redis", f"{target} answers, but not as Redis does", "not-a-redis",
            "REDIS_URL leads to another program: set it to the host and port of Redis (6379)",
        )  # fmt: skip
    return _not_one_server(error, words, target) or _not_reached(target, error) or _unknown(error, shown, target)


def _not_let_in(words: str, target: RedisTarget) -> Finding:
    if not target.password:
        text = f"{target} requires a password, and REDIS_URL has none"
    elif "without any password configured" in words or "no password is set" in words:
        text = f"{target} has no password, and REDIS_URL has one"
    else:
        who = f"user {target.username}" if target.username else "the default user"
        text = f"{target} refuses {who} with this password"
    return problem(
        "redis", text, "redis-password",
        "put the right user and password into REDIS_URL (redis://user:password@host:6379/0); on Kubernetes they "
        "are in the Secret zelda-hud-redis",
    )  # fmt: skip


def _not_reached(target: RedisTarget, error: Exception) -> Finding | None:
    """Return the obstacle between here and every one of the hosts; None if one of them can be reached."""
    if isinstance(error, ResponseError):
        return None
    try:
        context = _context(target)
    except OSError as reason:
        return problem(
            "redis", f"a certificate or key that REDIS_URL names cannot be read: {reason}", "redis-tls",
            "set ssl_ca_certs, ssl_certfile and ssl_keyfile to PEM files on this machine",
        )  # fmt: skip
    blocked: Blocked | None = None
    for host, port in target.hosts:
        blocked = reach(host, port, context)
        if blocked is None:
            break
    if target.kind == "unix" and not accepts(Path(target.path or "")):
        blocked = Blocked("nothing listens", "no such socket")
    if blocked is None:
        if context is None and not _is_silence(error) and any(speaks_tls(host, port) for host, port in target.hosts):
            return problem(
                "redis", f"{target} speaks TLS, and REDIS_URL begins with redis", "redis-tls", "write rediss://"
            )
        return None
    match blocked.by:
        case "unknown name":
            return problem(
                "redis", f"the host name in {target} cannot be resolved", "redis-name",
                "correct the host in REDIS_URL; within Kubernetes it is zelda-hud-redis.NAMESPACE.svc",
            )  # fmt: skip
        case "nothing listens":
            return problem(
                "redis", f"no program listens at {target}", "no-redis",
                "start Redis there, or correct REDIS_URL; without REDIS_URL `hud up` starts one",
            )  # fmt: skip
        case "no way":
            return silent(target, f"does not answer: {blocked.words}")
        case "no tls":
            return problem(
                "redis", f"{target} does not speak TLS: {blocked.words}", "redis-tls",
                "write redis:// instead of rediss://",
            )  # fmt: skip
        case "untrusted":
            return problem(
                "redis", f"the certificate of {target} is not trusted: {blocked.words}", "redis-tls",
                "add ?ssl_ca_certs=/path/to/ca.crt to REDIS_URL, and use a host name in the certificate",
            )  # fmt: skip


def _context(target: RedisTarget) -> ssl.SSLContext | None:
    """Return a TLS context with the options that redis-py would use."""
    if target.tls is None:
        return None
    authorities = target.tls.get("ssl_ca_certs")
    context = ssl.create_default_context(cafile=str(authorities) if authorities else None)
    if target.tls.get("ssl_check_hostname") is False or target.tls.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
    if target.tls.get("ssl_cert_reqs") == "none":
        context.verify_mode = ssl.CERT_NONE
    if certificate := target.tls.get("ssl_certfile"):
        key = target.tls.get("ssl_keyfile")
        context.load_cert_chain(str(certificate), str(key) if key else None)
    return context


def _not_one_server(error: Exception, words: str, target: RedisTarget) -> Finding | None:
    """Return the finding about Sentinels or a cluster, or about the form of REDIS_URL that names them."""
    if isinstance(error, MasterNotFoundError) and not all(reach(*host) for host in target.hosts):
        return problem(
            "redis", f"the Sentinels of {target} know no primary called {target.service}", "redis-sentinel",
            "correct the name after the hosts in REDIS_URL, or check whether a primary lives: redis-cli -p 26379 "
            "sentinel masters",
        )  # fmt: skip
    if isinstance(error, MovedError):
        return problem(
            "redis", f"{target} is one node of a cluster", "redis-cluster", "write redis+cluster:// instead of redis://"
        )
    if "Cluster mode is not enabled" in words or "cluster support disabled" in words:
        return problem(
            "redis", f"{target} is not a cluster", "redis-cluster", "write redis:// instead of redis+cluster://"
        )
    if isinstance(error, ClusterError) or "slot not served" in words or "slots are not covered" in words:
        return problem(
            "redis", f"the cluster of {target} is down: {one_line(target.hide_secrets(words), 200)}", "redis-cluster",
            "check its nodes: redis-cli cluster info; redis-cli --cluster check host:6379",
        )  # fmt: skip
    return None


def _is_silence(error: Exception) -> bool:
    return isinstance(error, TimeoutError) or "Timeout" in type(error).__name__


def _unknown(error: Exception, words: str, target: RedisTarget) -> Finding:
    if _is_silence(error):
        return silent(target, "accepts the connection and does not answer")
    reason = words if isinstance(error, ResponseError) else f"{type(error).__name__}: {words}"
    return problem("redis", f"{target} cannot be used: {reason}", "redis-other", "see docs/troubleshooting.md")


async def _examine_settings(client: Redis, target: RedisTarget) -> list[Finding]:
    if target.kind == "cluster":
        return [note("redis", "a cluster: check each node's maxmemory-policy, which must be noeviction")]
    before_s = time.time()
    try:
        info: dict[str, Any] = await client.info()
        seconds, micros = await client.time()
    except NoPermissionError:
        return [note("redis", "this user may not run INFO, so the settings of Redis were not checked")]
    after_s = time.time()
    found = [*_version(info), *_memory(info)]
    if info.get("role") == "slave":
        found.append(explain(ReadOnlyError("a replica"), target))
    if str(info.get("aof_enabled")) == "0":
        found.append(
            note("redis", "appendonly is off: a restart of Redis loses the run", "redis-forgets", "appendonly yes")
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


async def examine_rights(client: Redis, settings: Settings) -> None:
    """Read the keys that every writer reads first, and try a write without effect: SET XX on a key that is absent.

    Raises:
        RedisError: Redis cannot be used; `explain` says why.
    """
    keys = ChannelKeys(settings.channel)
    for read, key in ((client.get, keys.lock), (client.hgetall, keys.viewers)):
        try:
            await read(key)
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):  # such a key is replaced by the next write
                raise
    await client.set(f"{keys.lock}:doctor", "", xx=True)
