"""The asyncio Redis clients of the web tier: one for short commands, one for blocking reads.

Called by the app's life cycle.
"""

from __future__ import annotations

from typing import cast

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel

from hud_publisher.protocol.transport.redis_clients import Library, make_client
from hud_publisher.protocol.urls import parse_redis_url

#: How long a blocking read waits for entries. It must be shorter than READ_TIMEOUT_S: otherwise a quiet stream looks
#: like a dead connection.
BLOCK_MS = 1_000
#: The socket timeout of the client for blocking reads: a Redis that stopped answering is noticed after this time.
READ_TIMEOUT_S = BLOCK_MS / 1000 + 2.0
WRITER_TIMEOUT_S = 2.0
#: The client of a cluster waits this much less for each answer: it may time out at a silent node three times before it
#: learns the node's replacement, and the page must be live again within five seconds.
CLUSTER_HASTE_S = 1.0
#: Connections for requests to Redis; further requests wait for one.
MAX_CONNECTIONS = 64
_REDIS = Library(Redis, Sentinel, RedisCluster, ClusterNode, Retry)


def connect_writer(url: str) -> Redis:
    """Return the client for scripts and reads, each limited to WRITER_TIMEOUT_S; opens no connection yet."""
    return _connect(url, WRITER_TIMEOUT_S)


def connect_reader(url: str) -> Redis:
    """Return the client for blocking reads of less than READ_TIMEOUT_S; opens no connection yet."""
    return _connect(url, READ_TIMEOUT_S)


def _connect(url: str, timeout_s: float) -> Redis:
    target = parse_redis_url(url)
    return cast(
        "Redis",
        make_client(
            target,
            _REDIS,
            timeout_s=timeout_s - CLUSTER_HASTE_S if target.kind == "cluster" else timeout_s,
            connect_timeout_s=WRITER_TIMEOUT_S,
            max_connections=MAX_CONNECTIONS * 4,
        ),
    )
