"""Writes batches into Redis, with one script call each.

Owns the mapping from redis-py's errors to ours. Called by the sender thread only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping

import redis.exceptions as redis_errors

from hud_publisher.protocol import registration, replies, scripts
from hud_publisher.protocol.batch import Batch, Published, Registered
from hud_publisher.protocol.entries import Limits
from hud_publisher.protocol.errors import (
    HudError,
    MalformedError,
    StorageFullError,
    UnauthorizedError,
    UnavailableError,
)
from hud_publisher.protocol.keys import PAGE, SessionId
from hud_publisher.protocol.texts import one_line, text
from hud_publisher.protocol.transport.redis_clients import CLIENT_ERRORS
from hud_publisher.protocol.urls import RedisTarget, parse_redis_url
from hud_publisher.sinks.redis_client import Client, connect_one, execute
from hud_publisher.sinks.sink import Destination

# First words of error replies for a passing condition: a failover, a resharding, a slow script, a full disk.
_PASSING = frozenset(
    {"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "BUSY", "MISCONF", "UNBLOCKED"}
)


class RedisSink:
    """The writes of one session, directly into Redis."""

    def __init__(
        self,
        url: str,
        *,
        channel: str,
        run_id: str | None,
        name: str,
        info: Mapping[str, str],
        limits: Limits,
        roles: Mapping[str, str] | None = None,
        note: str = "",
        connect: Callable[[RedisTarget], Client] = connect_one,
    ) -> None:
        self._target = parse_redis_url(url)
        self._channel, self._limits = channel, limits
        self._calls = scripts.RegisterCalls(
            channel=channel, run_id=run_id, name=name, limits=limits, info=dict(info), roles=dict(roles or {})
        )
        self._connect = connect
        self.destination = Destination(str(self._target), channel, note)
        self._client: Client | None = None
        self._touched_at = float("-inf")

    def __str__(self) -> str:
        return str(self._target)

    def register(self, *, takeover: bool = False, aside: bool = False) -> Registered:
        """Take the channel or join the run's session; for errors see sink.Sink."""
        procedure = registration.register(self._calls, takeover=takeover, aside=aside)
        registered = replies.parse_register(registration.run(procedure, self._execute))
        if not registered.joined or registered.channel != self._channel:
            self._touched_at = float("-inf")  # a Redis that lost the earlier session lost the index too
        self._channel = registered.channel
        self._touch()
        return dataclasses.replace(registered, page=self._read_page())

    def publish(self, session_id: SessionId, batch: Batch) -> Published:
        """Append a batch; for errors see sink.Sink."""
        published = replies.parse_publish(self._execute(scripts.publish(session_id, batch, self._limits)))
        self._touch()
        return published

    def describe(self, session_id: SessionId, sections: Mapping[str, str], *, replaces: bool = True) -> None:
        """Store sections of the run's configuration; for errors see sink.Sink."""
        replies.parse_describe(self._execute(scripts.describe(session_id, sections, self._limits, replaces=replaces)))

    def release(self, session_id: SessionId) -> None:
        """Give the channel up; for errors see sink.Sink."""
        self._execute(scripts.release(session_id))

    def close(self) -> None:
        """Close the connections; never raises."""
        if self._client is not None:
            with contextlib.suppress(*CLIENT_ERRORS):
                self._client.close()
            self._client = None

    def _read_page(self) -> str | None:
        """Return the address of the page, if a server told it; without it no link is logged."""
        with contextlib.suppress(*CLIENT_ERRORS):
            found = text((self._client or self._connect(self._target)).execute_command("GET", PAGE) or "")
            return one_line(found, 200) if found.startswith(("http://", "https://")) else None
        return None

    def _touch(self) -> None:
        """Record the channel in the index of channels, at most every TOUCH_S; a failure only delays the record."""
        now = time.monotonic()
        if now - self._touched_at >= scripts.TOUCH_S:
            self._touched_at = now
            with contextlib.suppress(HudError):
                self._execute(scripts.touch(self._channel, self._limits))

    def _execute(self, call: scripts.ScriptCall) -> list[object]:
        try:
            if self._client is None:
                self._client = self._connect(self._target)
            reply: list[object] = execute(self._client, call)
            return reply
        except CLIENT_ERRORS as error:
            raise self._translate(error) from error

    def _translate(self, error: Exception) -> HudError:
        """Return our error for one of redis-py's."""
        said = one_line(self._target.hide_secrets(str(error)), 200)
        where = f"Redis at {self._target}"
        if isinstance(error, redis_errors.OutOfMemoryError) or " OOM " in f" {str(error)[:400]}":
            return StorageFullError(f"{where} has reached maxmemory: raise it or shorten HUD_RETENTION")
        if isinstance(error, redis_errors.NoPermissionError):
            return UnauthorizedError(f"{where} does not give this user the rights of a publisher: {said}")
        if isinstance(error, redis_errors.AuthenticationError):
            return UnauthorizedError(f"{where} refused the user or password of its URL: {said}")
        if isinstance(error, redis_errors.NoScriptError):
            return UnavailableError(
                f"{where} does not have the scripts of this version yet: start the HUD server, which loads them, with "
                "the same version of rl-hud as here, or set HUD_URL instead of REDIS_URL"
            )
        if isinstance(error, redis_errors.DataError):
            return MalformedError(f"{where} was not asked: {said}")
        is_answer = isinstance(error, redis_errors.ResponseError) and not isinstance(error, redis_errors.ReadOnlyError)
        if is_answer and said.partition(" ")[0] not in _PASSING:
            return MalformedError(f"{where} refused the batch: {said}")
        return UnavailableError(f"{where} does not answer ({type(error).__name__}: {said})")
