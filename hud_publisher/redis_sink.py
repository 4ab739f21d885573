"""Writes batches into Redis: one script call each.

Owns the way from redis-py's errors to ours. Called by the publisher's thread only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import NoReturn

import redis.exceptions as redis_errors

from hud_publisher.protocol import replies, scripts
from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.errors import (
    HudError,
    MalformedError,
    StorageFullError,
    UnauthorizedError,
    UnavailableError,
)
from hud_publisher.protocol.keys import SessionId
from hud_publisher.protocol.redis_url import RedisTarget, parse_redis_url
from hud_publisher.protocol.replies import Published, Registered
from hud_publisher.protocol.scripts import Limits
from hud_publisher.redis_client import CLIENT_ERRORS, Client, OneConnection, connect_one, evalsha, execute

# First words of error replies that pass by themselves: a failover, a resharding, a slow script, a full disk.
_PASSING = frozenset(
    {"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "BUSY", "MISCONF", "UNBLOCKED"}
)


class RedisSink:
    """One session's writes, straight into Redis."""

    def __init__(
        self,
        url: str,
        *,
        channel: str,
        run_id: str | None,
        name: str,
        info: Mapping[str, str],
        limits: Limits,
        connect: Callable[[RedisTarget], Client] = connect_one,
    ) -> None:
        self._target = parse_redis_url(url)
        self._channel, self._run_id, self._name, self._info, self._limits = channel, run_id, name, dict(info), limits
        self._connect = connect
        self._client: Client | None = None

    def __str__(self) -> str:
        return str(self._target)

    def register(self, *, takeover: bool = False) -> Registered:
        """Take the channel or join the run's session; raises as sink.Sink says."""
        call = scripts.register(
            self._channel,
            run_id=self._run_id,
            name=self._name,
            limits=self._limits,
            info=self._info,
            takeover=takeover,
        )
        return replies.parse_register(self._execute(call))

    def publish(self, session_id: SessionId, batch: Batch) -> Published:
        """Append a batch; raises as sink.Sink says."""
        return replies.parse_publish(self._execute(scripts.publish(session_id, batch, self._limits)))

    def send(self, session_id: SessionId, batch: Batch) -> Callable[[], Published] | None:
        """Send a batch without waiting, where there is one connection; as sink.Sink says."""
        client = self._client
        if not isinstance(client, OneConnection):
            return None
        call = scripts.publish(session_id, batch, self._limits)
        try:
            client.send(*evalsha(call))
        except CLIENT_ERRORS as error:
            failure = self._translate(error)
            return lambda: _raise(failure)
        return lambda: replies.parse_publish(self._execute(call, client.receive))

    def release(self, session_id: SessionId) -> None:
        """Give the channel up; raises as sink.Sink says."""
        self._execute(scripts.release(session_id))

    def close(self) -> None:
        """Close the connections; never raises."""
        if self._client is not None:
            with contextlib.suppress(*CLIENT_ERRORS):
                self._client.close()
            self._client = None

    def _execute(self, call: scripts.ScriptCall, receive: Callable[[], object] | None = None) -> list[object]:
        try:
            if self._client is None:
                self._client = self._connect(self._target)
            reply: list[object] = execute(self._client, call, receive)
            return reply
        except CLIENT_ERRORS as error:
            raise self._translate(error) from error

    def _translate(self, error: Exception) -> HudError:
        """Our error for one of redis-py's."""
        text = str(error)
        where = f"Redis at {self._target}"
        if isinstance(error, redis_errors.OutOfMemoryError) or " OOM " in f" {text[:400]}":
            return StorageFullError(f"{where} has reached maxmemory: raise it or shorten HUD_RETENTION")
        if isinstance(error, (redis_errors.AuthenticationError, redis_errors.NoPermissionError)):
            return UnauthorizedError(f"{where} refused the user or password of REDIS_URL: {text[:200]}")
        if isinstance(error, redis_errors.DataError):
            return MalformedError(f"{where} was not asked: {text[:200]}")
        is_answer = isinstance(error, redis_errors.ResponseError) and not isinstance(error, redis_errors.ReadOnlyError)
        if is_answer and text.partition(" ")[0] not in _PASSING:
            return MalformedError(f"{where} refused the batch: {text[:200]}")
        return UnavailableError(f"{where} does not answer ({type(error).__name__}: {text[:200]})")


def _raise(error: HudError) -> NoReturn:
    raise error
