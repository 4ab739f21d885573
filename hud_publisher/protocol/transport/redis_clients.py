"""Makes the clients of redis-py, synchronous or asyncio, for each kind of address, and names their errors.

No client retries: redis-py's retry of a write that timed out does not use the batch number, so the write could land
twice, and its retry of a blocking read hides that Redis is unreachable. Called by the publisher's Redis sink and by the
web tier.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import hiredis
from redis.backoff import NoBackoff
from redis.exceptions import InvalidResponse, RedisClusterException, RedisError

if TYPE_CHECKING:
    from hud_publisher.protocol.urls import RedisTarget

#: All that a client, synchronous or not, raises when Redis fails to answer. A cluster without a node that answers
#: raises no RedisError; hiredis and asyncio raise other errors for a broken reply; uvloop raises RuntimeError ("the
#: handler is closed") for a connection that is lost while it is opened. Catch these around calls of a client alone:
#: elsewhere a RuntimeError is a defect of ours.
CLIENT_ERRORS = (
    RedisError, RedisClusterException, OSError, EOFError, RuntimeError, UnicodeDecodeError, hiredis.HiredisError,
)  # fmt: skip
CLOSED = "Redis closed the connection"


@dataclass(frozen=True, slots=True)
class Library:
    """The classes of redis-py of one kind, synchronous or asyncio."""

    client: Any
    sentinel: Any
    cluster: Any
    node: Any
    retry: Any


def make_client(
    target: RedisTarget,
    library: Library,
    *,
    timeout_s: float,
    connect_timeout_s: float | None = None,
    **pool: Any,
) -> Any:
    """Return a client for this address; opens no connection yet, except to learn a cluster's nodes (synchronous only).

    Args:
        target: the address.
        library: the classes to use.
        timeout_s: limits each answer.
        connect_timeout_s: limits connecting; None: as `timeout_s`.
        **pool: further options for the client of a single server.
    """
    common: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s if connect_timeout_s is None else connect_timeout_s,
        "socket_keepalive": True,
        "retry": library.retry(NoBackoff(), 0),
        # RESP3 gives XREAD another form; pinned, so that a new default of redis-py has no effect.
        "protocol": 2,
        "decode_responses": False,
    }
    options = common | target.client_options()
    if target.kind == "sentinel":
        sentinel = library.sentinel(list(target.hosts), sentinel_kwargs=common | target.sentinel_options())
        return sentinel.master_for(target.service, **options)
    if target.kind == "cluster":
        return library.cluster(startup_nodes=[library.node(host, port) for host, port in target.hosts], **options)
    if target.kind == "unix":
        return library.client(unix_socket_path=target.path, **pool, **options)
    host, port = target.hosts[0]
    return library.client(host=host, port=port, **pool, **options)


def reply_parser(connection: Any) -> Any:
    """Return a parser for the replies on a connection of redis-py; error replies become redis-py's errors."""
    return hiredis.Reader(protocolError=InvalidResponse, replyError=connection._parser.parse_error)
