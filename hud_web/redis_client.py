"""The asyncio Redis clients of the web tier: one that asks, one that blocks.

Neither retries by itself: redis-py's retry of a write that timed out leaves two entries, and its retry of a blocking
read hides that Redis is away. Called by the app's life cycle.
"""

from __future__ import annotations

from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from hud_publisher.protocol.redis_url import parse_redis_url
from hud_web.tailer import READ_TIMEOUT_S

WRITER_TIMEOUT_S = 2.0
#: By so much less a client of a cluster waits for each answer: before it learns who took a silent node's place it may
#: have to wait for that node three times, and the page shall live again within five seconds.
CLUSTER_HASTE_S = 1.0
#: Requests that wait for Redis at once; more wait for a connection.
MAX_CONNECTIONS = 64


def connect_writer(url: str) -> Redis:
    """Return the client for scripts and reads, each limited to WRITER_TIMEOUT_S; opens no connection yet."""
    return _connect(url, WRITER_TIMEOUT_S)


def connect_reader(url: str) -> Redis:
    """Return the client for blocking reads of less than READ_TIMEOUT_S; opens no connection yet."""
    return _connect(url, READ_TIMEOUT_S)


def _connect(url: str, timeout_s: float) -> Redis:
    target = parse_redis_url(url)
    common: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": WRITER_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        # RESP3 gives XREAD another form; pinned, so that a new default of redis-py changes nothing.
        "protocol": 2,
        "decode_responses": False,
    }
    options = common | target.client_options()
    if target.kind == "unix":
        return Redis(unix_socket_path=target.path, max_connections=MAX_CONNECTIONS * 4, **options)
    options["socket_keepalive"] = common["socket_keepalive"] = True
    if target.kind == "sentinel":
        sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
            list(target.hosts), sentinel_kwargs=common | target.sentinel_options()
        )
        return cast("Redis", sentinel.master_for(target.service or "", **options))
    if target.kind == "cluster":
        options["socket_timeout"] = timeout_s - CLUSTER_HASTE_S
        nodes = [ClusterNode(host, port) for host, port in target.hosts]
        return cast("Redis", RedisCluster(startup_nodes=nodes, **options))
    host, port = target.hosts[0]
    return Redis(host=host, port=port, max_connections=MAX_CONNECTIONS * 4, **options)
