"""The synchronous Redis client of the publisher's thread, and how it runs a ScriptCall.

Owns the rules of the writer's client: short time-outs, no retries (a write that timed out may have landed; the batch
number makes sending again safe, redis-py's own retry does not know it), one protocol version. Called by
hud_publisher.redis_sink and by the `hud` command's checks.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import NoScriptError, RedisClusterException, RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from hud_publisher.protocol.redis_url import RedisTarget, parse_redis_url
from hud_publisher.protocol.scripts import ScriptCall
from hud_publisher.sink import TIMEOUT_S

#: What a client raises when Redis does not do what it was asked. A cluster of which no node answers is no RedisError.
CLIENT_ERRORS = (RedisError, RedisClusterException, OSError)


class Client(Protocol):
    """What is used of a redis-py client, single or cluster."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its reply."""
        ...

    def close(self) -> None:
        """Close its connections."""
        ...


def connect(url: str | RedisTarget, *, timeout_s: float = TIMEOUT_S) -> Client:
    """Return a client for this URL; opens no connection yet, except to learn a cluster's nodes.

    Args:
        url: as protocol.redis_url reads it.
        timeout_s: for connecting and for each answer.
    """
    target = parse_redis_url(url) if isinstance(url, str) else url
    common: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "decode_responses": False,
    }
    options = common | target.client_options()
    if target.kind == "unix":
        for name in ("socket_connect_timeout", "socket_keepalive"):  # a Unix socket has neither
            options.pop(name)
        return cast("Client", redis.Redis(unix_socket_path=target.path, **options))
    if target.kind == "sentinel":
        sentinel = Sentinel(target.hosts, sentinel_kwargs=common | target.sentinel_options())  # type: ignore[no-untyped-call]
        return cast("Client", sentinel.master_for(target.service, **options))  # type: ignore[no-untyped-call]
    if target.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in target.hosts]  # type: ignore[no-untyped-call]
        return cast("Client", RedisCluster(startup_nodes=nodes, **options))
    host, port = target.hosts[0]
    return cast("Client", redis.Redis(host=host, port=port, **options))


def execute(client: Client, call: ScriptCall) -> Any:
    """Run a script by its digest; send its source where Redis does not know it (after a restart or a failover)."""
    rest = (len(call.keys), *call.keys, *call.args)
    try:
        return client.execute_command("EVALSHA", call.script.sha, *rest)
    except NoScriptError:
        return client.execute_command("EVAL", call.script.source, *rest)
