"""Writes batches to a HUD server over HTTP, for training that reaches no Redis.

Owns one kept-alive connection, and the way from HTTP status codes to our errors. The bodies are protocol.batch's.
Called by the publisher's thread only.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import time
import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from hud_publisher.protocol.batch import MEDIA_TYPE, Batch, encode_batch
from hud_publisher.protocol.entries import EntryId, MetricsEntry
from hud_publisher.protocol.errors import (
    REDIS_IS_FULL,
    ConfigError,
    Holder,
    HudError,
    MalformedError,
    SessionHeldError,
    SessionNotActiveError,
    StorageFullError,
    TooLargeError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
)
from hud_publisher.protocol.keys import SessionId, Sid
from hud_publisher.protocol.replies import Published, Registered, parse_reporter
from hud_publisher.sink import TIMEOUT_S

#: A smaller body fits one packet anyway.
GZIP_BYTES = 1400
#: uvicorn closes a connection that was idle for 5 s.
IDLE_S = 4.0
#: An answer is a few hundred bytes; whatever sends more is no HUD server.
MAX_ANSWER_BYTES = 256 * 1024


class HttpSink:
    """One session's writes, through a HUD server."""

    def __init__(
        self,
        url: str,
        *,
        channel: str,
        run_id: str | None,
        name: str,
        info: Mapping[str, str],
        token: str | None = None,
    ) -> None:
        """Connect to nothing yet.

        Raises:
            ConfigError: the URL cannot be used.
        """
        self._is_tls, self._host, self._port, self._path = parse_hud_url(url)
        self._identity = {"run_id": run_id, "name": name, "channel": channel, "info": dict(info)}
        # Two tokens are the server's way to change them without a gap; a client has one.
        self._token = token.split(",")[0].strip() if token else None
        self._connection: http.client.HTTPConnection | None = None
        self._used_at = 0.0

    def __str__(self) -> str:
        return f"{'https' if self._is_tls else 'http'}://{self._host}:{self._port}{self._path}"

    def register(self, *, takeover: bool = False) -> Registered:
        """Take the channel or join the run's session; raises as sink.Sink says."""
        answer = self._post_json("/api/register_session", self._identity | ({"takeover": True} if takeover else {}))
        try:
            return Registered(
                SessionId(str(answer["session_id"])),
                Sid(str(answer["fence"])),
                answer["status"] == "joined",
                int(float(answer["ttl_s"]) * 1000),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise self._strange(answer) from error

    def publish(self, session_id: SessionId, batch: Batch) -> Published:
        """Append a batch; raises as sink.Sink says."""
        body = encode_batch(session_id, batch)
        headers = {"Content-Type": MEDIA_TYPE}
        if len(body) > GZIP_BYTES and all(isinstance(entry, MetricsEntry) for entry in batch.entries):
            body = zlib.compress(body, 1, wbits=31)
            headers["Content-Encoding"] = "gzip"
        answer = self._post("/api/publish", body, headers)
        try:
            shown, age_ms = answer.get("shown"), answer.get("shown_age_ms")
            return Published(
                int(answer["viewers"]),
                parse_reporter(answer.get("reporter")),
                answer["status"] == "duplicate",
                EntryId(str(answer["last_id"])) if answer.get("last_id") else None,
                (int(shown[0]), int(shown[1])) if shown else None,
                int(age_ms) if shown and age_ms is not None else None,
            )
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise self._strange(answer) from error

    def send(self, session_id: SessionId, batch: Batch) -> None:
        """A request and its answer belong together."""

    def release(self, session_id: SessionId) -> None:
        """Give the channel up; raises as sink.Sink says."""
        self._post_json("/api/release_session", {"session_id": session_id})

    def close(self) -> None:
        """Close the connection; never raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()

    def _post_json(self, path: str, data: Mapping[str, Any]) -> dict[str, Any]:
        return self._post(path, json.dumps(data).encode(), {"Content-Type": "application/json"})

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if time.monotonic() - self._used_at > IDLE_S:
            self.close()
        is_reused = self._connection is not None
        try:
            status, answer_headers, text = self._exchange(path, body, headers)
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            self.close()
            if not is_reused:
                raise self._away(error) from error
            # The server had closed the idle connection. If it did read the batch, the number keeps it single.
            try:
                status, answer_headers, text = self._exchange(path, body, headers)
            except (http.client.HTTPException, OSError) as again:
                self.close()
                raise self._away(again) from again
        except (http.client.HTTPException, OSError) as error:
            self.close()
            raise self._away(error) from error
        self._used_at = time.monotonic()
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            answer = {}
        if status == 200:
            if answer:
                return answer
            raise self._strange(text[:200])
        raise self._error(status, answer, answer_headers)

    def _exchange(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._is_tls else http.client.HTTPConnection
            self._connection = kind(self._host, self._port, timeout=TIMEOUT_S)
        self._connection.request("POST", self._path + path, body, headers)
        response = self._connection.getresponse()
        text = response.read(MAX_ANSWER_BYTES)
        if not response.isclosed():
            self.close()
        return response.status, dict(response.headers), text

    def _away(self, error: Exception) -> UnavailableError:
        return UnavailableError(f"HUD server at {self} does not answer ({type(error).__name__}: {str(error)[:200]})")

    def _strange(self, answer: object) -> UnavailableError:
        return UnavailableError(
            f"expected an answer of a HUD server at {self}, got {str(answer)[:200]!r}: check HUD_URL"
        )

    def _error(self, status: int, answer: Mapping[str, Any], headers: Mapping[str, str]) -> HudError:
        """Our error for an answer that is not 200."""
        said = str(answer.get("detail") or answer.get("error") or http.client.responses.get(status, ""))[:400]
        text = f"HUD server at {self} answered {status}: {said}"
        retry_after_s = _seconds(
            next((value for name, value in headers.items() if name.lower() == "retry-after"), None)
        )
        if status == 409:
            return SessionHeldError(_holder(answer, retry_after_s))
        if status == 429:
            return TooManyRequestsError(text, retry_after_s=retry_after_s or 5.0)
        if status == 401:
            return UnauthorizedError(f"{text}: set HUD_TOKEN to the server's")
        if status in (403, 410):
            return SessionNotActiveError(text)
        if status == 413:
            return TooLargeError(text)
        if status in (400, 415, 422):
            return MalformedError(text)
        if status == 503 and answer.get("error") == REDIS_IS_FULL:
            return StorageFullError(text)
        return UnavailableError(text, retry_after_s=retry_after_s)


def parse_hud_url(url: str) -> tuple[bool, str, int, str]:
    """Return (whether TLS, host, port, path before `/api`) of HUD_URL.

    Raises:
        ConfigError: there is no host, or a user and password, which this server does not know.
    """
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError("HUD_URL: expected http://host:8086, got something else")
    if parts.username or parts.password:
        raise ConfigError("HUD_URL: expected no user and password in it, got some: set HUD_TOKEN instead")
    is_tls = parts.scheme == "https"
    return is_tls, host, port or (443 if is_tls else 80), parts.path.rstrip("/")


def _seconds(retry_after: str | None) -> float:
    """The Retry-After header in seconds, at most ten minutes; 0 where it is missing or a date (RFC 9110 §10.2.3)."""
    return min(600.0, float(retry_after)) if retry_after and retry_after.strip().isdigit() else 0.0


def _holder(answer: Mapping[str, Any], retry_after_s: float) -> Holder:
    holder = answer.get("holder")
    known = holder if isinstance(holder, Mapping) else {}
    with contextlib.suppress(KeyError, ValueError, TypeError):
        retry_after_s = min(600.0, max(0.0, float(answer["retry_after_s"])))
    started_ms = known.get("started_ms")
    return Holder(
        str(known.get("sid", "?"))[:20],
        str(known.get("name", "another"))[:256],
        started_ms if isinstance(started_ms, int) else 0,
        int(retry_after_s * 1000),
    )
