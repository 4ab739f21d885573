"""The synchronous Redis client of the sender thread, and how it runs a ScriptCall.

Called by hud_publisher.sinks.redis_sink.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol, cast

import hiredis
import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import NoPermissionError, NoScriptError, RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from hud_publisher.protocol.internals import missing_of, report_missing
from hud_publisher.protocol.transport.redis_clients import CLOSED, Library, make_client, reply_parser
from hud_publisher.protocol.urls import RedisTarget, parse_redis_url
from hud_publisher.sinks.sink import TIMEOUT_S

if TYPE_CHECKING:
    from hud_publisher.protocol.scripts import ScriptCall

_REDIS = Library(redis.Redis, Sentinel, RedisCluster, ClusterNode, Retry)
#: A server may close a connection that was idle for longer; the shortest idle timeout of Redis is 1 s.
IDLE_S = 0.9
#: Larger than nearly any reply that the publisher gets.
RECEIVE_BYTES = 4 * 1024
#: The first word of the reply of a primary that reaches too few replicas (min-replicas-to-write).
_ALONE = "NOREPLICAS"
#: Attributes of redis-py's connection that OneConnection uses and that redis-py does not document.
_INTERNALS = ("_sock", "_parser.parse_error")


class Client(Protocol):
    """The part of a redis-py client, single or cluster, that HUD uses."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its reply."""
        ...

    def close(self) -> None:
        """Close its connections."""
        ...


def connect(url: str | RedisTarget, *, timeout_s: float = TIMEOUT_S) -> Client:
    """Return a client for this URL; opens no connection yet, except to learn a cluster's nodes.

    Args:
        url: in a form that protocol.urls reads.
        timeout_s: for connecting and for each answer.
    """
    target = parse_redis_url(url) if isinstance(url, str) else url
    return cast("Client", make_client(target, _REDIS, timeout_s=timeout_s))


class OneConnection:
    """One persistent connection, for one thread.

    Each system call releases the interpreter to a training thread and may wait 5 ms to get it back. So a command makes
    two system calls, one to send and one to receive. A connection pool would check the socket first, and Python would
    poll it before each call for its timeout. redis-py opens the connection and interprets error replies.
    """

    def __init__(self, connection: Any, timeout_s: float) -> None:
        """Store a connection of redis-py that has the attributes in _INTERNALS; opens it at the first command."""
        self._connection = connection
        self._timeout_s = timeout_s
        self._used_at = time.monotonic()
        self._parser: Any = None
        self._sock: socket.socket | None = None

    def execute_command(self, *args: Any) -> Any:
        """Send one command and return its raw reply; opens the connection if none is open."""
        now = time.monotonic()
        if self._sock is not None and now - self._used_at > IDLE_S and not _is_good(self._connection):
            self.close()
        self._used_at = now
        try:
            sock = self._sock or self._connect()
            sock.sendall(hiredis.pack_command(args))
            reply = self._receive(sock)
        except BlockingIOError as error:
            raise self._late() from error
        except BaseException:  # an answer that comes later would be taken for that of the next command
            self.close()
            raise
        if isinstance(reply, RedisError):
            if isinstance(reply, (redis.ReadOnlyError, redis.ConnectionError)) or str(reply).startswith(_ALONE):
                self.close()  # this server may no longer be the primary: the next command asks Sentinel
            raise reply
        return reply

    def _receive(self, sock: socket.socket) -> Any:
        receive_by = float("inf")
        while (reply := self._parser.gets()) is False:
            if time.monotonic() > receive_by:  # a slow server may send each piece within the socket's timeout
                raise self._late()
            data = sock.recv(RECEIVE_BYTES)
            if not data:
                raise redis.ConnectionError(CLOSED)
            self._parser.feed(data)
            receive_by = min(receive_by, time.monotonic() + self._timeout_s)
        return reply

    def close(self) -> None:
        """Close the connection; the next command opens a new one."""
        self._sock = None
        self._connection.disconnect()

    def _connect(self) -> socket.socket:
        connection = self._connection
        connection.connect()
        sock: socket.socket = connection._sock
        _let_kernel_time(sock, self._timeout_s)
        self._parser = reply_parser(connection)
        self._sock = sock
        return sock

    def _late(self) -> TimeoutError:
        """Return the error for a BlockingIOError, which the kernel raises when its time limit has passed."""
        self.close()
        return TimeoutError(f"no answer within {self._timeout_s:g} s")


def _is_good(connection: Any) -> bool:
    """Whether the server has neither closed the connection nor sent unrequested data."""
    try:
        return not connection.can_read()
    except (RedisError, OSError):
        return False


def _let_kernel_time(sock: socket.socket, timeout_s: float) -> None:
    """Let the kernel end a call that takes too long; Python's timeout would cost a system call before each one."""
    if type(sock) is socket.socket and sys.platform == "linux":
        limit = struct.pack("@ll", int(timeout_s), int(timeout_s % 1 * 1e6))  # a struct timeval
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        sock.setblocking(True)


def connect_one(url: str | RedisTarget, *, timeout_s: float = TIMEOUT_S) -> Client:
    """Return a client for a single thread: one connection if the URL names one server, else as `connect`."""
    client = connect(url, timeout_s=timeout_s)
    if not isinstance(client, redis.Redis):
        return client
    connection = client.connection_pool.make_connection()
    if missing := missing_of(connection, _INTERNALS):
        report_missing("redis", missing, "the publisher uses redis-py's connection pool, which delays training more")
        return client
    return OneConnection(connection, timeout_s)


def execute(client: Client, call: ScriptCall) -> Any:
    """Run a script by its digest; send its source if Redis does not know it (after a restart or a failover).

    A user without the right to send scripts has to wait until the HUD server loads them: NoScriptError.
    """
    keys_and_args = (len(call.keys), *call.keys, *call.args)
    try:
        return client.execute_command("EVALSHA", call.script.sha, *keys_and_args)
    except NoScriptError as unknown:
        try:
            return client.execute_command("EVAL", call.script.source, *keys_and_args)
        except NoPermissionError:
            raise unknown from None
