"""The synchronous Redis client of the publisher's thread, and how it runs a ScriptCall.

Owns the rules of the writer's client: short time-outs, no retries (a write that timed out may have landed; the batch
number makes sending again safe, redis-py's own retry does not know it), one protocol version. Called by
hud_publisher.redis_sink and by the `hud` command's checks.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol, cast

import hiredis
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
#: A server may close a connection that was idle for so long; the shortest time-out that Redis knows is a second.
IDLE_S = 0.9
#: More than nearly any reply that the publisher gets.
RECEIVE_BYTES = 4 * 1024
_CLOSED = "Redis closed the connection"


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


class OneConnection:
    """One connection that is kept, for one thread.

    Each call of the kernel hands the interpreter to a training thread and waits for it for 5 ms. So a command is two
    calls, one to send and one to receive: a pool would look at the socket before, and Python would ask before each of
    both whether it will wait. redis-py connects, and says what an error reply means.
    """

    def __init__(self, client: redis.Redis, timeout_s: float) -> None:
        self._connection: Any = client.connection_pool.make_connection()
        self._timeout_s = timeout_s
        self._used_at = time.monotonic()
        self._parser: Any = None
        self._sock: socket.socket | None = None
        self._is_awaited = False

    def execute_command(self, *args: Any) -> Any:
        """Send one command and return its reply, as it is; connects where there is no connection."""
        self.send(*args)
        return self.receive()

    def send(self, *args: Any) -> None:
        """Send one command; connects where there is no connection."""
        connection, now = self._connection, time.monotonic()
        if self._sock is not None and (self._is_awaited or (now - self._used_at > IDLE_S and not _is_good(connection))):
            self.close()  # a reply that nobody came for would be taken for this one's
        self._used_at, self._is_awaited = now, True
        try:
            sock = self._sock or self._connect()
            sock.sendall(hiredis.pack_command(args))
        except BlockingIOError as error:
            raise self._late() from error
        except BaseException:
            self.close()
            raise

    def receive(self) -> Any:
        """Return the reply of what was sent, as it is."""
        sock, parser = self._sock, self._parser
        try:
            if sock is None:
                raise redis.ConnectionError(_CLOSED)
            while (reply := parser.gets()) is False:
                data = sock.recv(RECEIVE_BYTES)
                if not data:
                    raise redis.ConnectionError(_CLOSED)
                parser.feed(data)
        except BlockingIOError as error:
            raise self._late() from error
        except BaseException:  # an answer may still be on its way
            self.close()
            raise
        self._is_awaited = False
        if isinstance(reply, RedisError):
            if isinstance(reply, (redis.ReadOnlyError, redis.ConnectionError)):
                self.close()  # it is no primary any more: Sentinel is asked again who is
            raise reply
        return reply

    def close(self) -> None:
        """Close it; the next command opens it again."""
        self._sock, self._is_awaited = None, False
        self._connection.disconnect()

    def _connect(self) -> socket.socket:
        connection = self._connection
        connection.connect()
        sock: socket.socket = connection._sock
        _let_kernel_time(sock, self._timeout_s)
        self._parser = hiredis.Reader(
            protocolError=redis.InvalidResponse, replyError=lambda text: connection._parser.parse_error(text)
        )
        self._sock = sock
        return sock

    def _late(self) -> TimeoutError:
        """What stands for the BlockingIOError by which the kernel says that it has waited for long enough."""
        self.close()
        return TimeoutError(f"no answer within {self._timeout_s:g} s")


def _is_good(connection: Any) -> bool:
    """Whether the server has not closed it, nor said what nobody asked for."""
    try:
        return not connection.can_read()
    except (RedisError, OSError):
        return False


def _let_kernel_time(sock: socket.socket, timeout_s: float) -> None:
    """Have the kernel end a call that takes too long, instead of Python, which asks it before each call."""
    if type(sock) is socket.socket and sys.platform == "linux":
        limit = struct.pack("@ll", int(timeout_s), int(timeout_s % 1 * 1e6))  # a struct timeval
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        sock.setblocking(True)


def connect_one(url: str | RedisTarget, *, timeout_s: float = TIMEOUT_S) -> Client:
    """The same for a single thread: one connection, where there is one server to connect to."""
    client = connect(url, timeout_s=timeout_s)
    return OneConnection(client, timeout_s) if isinstance(client, redis.Redis) else client


def evalsha(call: ScriptCall) -> tuple[Any, ...]:
    """Return the command that runs a script by its digest."""
    return ("EVALSHA", call.script.sha, len(call.keys), *call.keys, *call.args)


def execute(client: Client, call: ScriptCall, receive: Callable[[], Any] | None = None) -> Any:
    """Run a script by its digest; send its source where Redis does not know it (after a restart or a failover).

    Args:
        client: where.
        call: which.
        receive: gives the reply, where the script was sent already.
    """
    try:
        return client.execute_command(*evalsha(call)) if receive is None else receive()
    except NoScriptError:
        return client.execute_command("EVAL", call.script.source, len(call.keys), *call.keys, *call.args)
