"""Writes batches to a HUD server over HTTP, for training that cannot reach a Redis.

Owns one keep-alive connection, and the mapping from HTTP status codes to our errors. protocol.batch_body encodes the
bodies. Called by the sender thread only.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import time
import zlib
from collections.abc import Mapping
from typing import Any

from hud_publisher.protocol.batch import Batch, Published, Registered
from hud_publisher.protocol.batch_body import MEDIA_TYPE, encode_batch
from hud_publisher.protocol.entries import EntryId, MetricsEntry
from hud_publisher.protocol.errors import (
    REDIS_IS_FULL,
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
from hud_publisher.protocol.info import MAX_INFO_BYTES, bounded_info
from hud_publisher.protocol.keys import SessionId, Sid
from hud_publisher.protocol.replies import parse_reporter
from hud_publisher.protocol.texts import one_line
from hud_publisher.protocol.transport.http_client import Connection, parse_hud_url
from hud_publisher.sinks.sink import TIMEOUT_S, Destination

#: A smaller body fits one packet anyway.
GZIP_BYTES = 1400
#: uvicorn closes a connection that was idle for 5 s.
IDLE_S = 4.0
#: An answer of a HUD server has a few hundred bytes.
MAX_ANSWER_BYTES = 256 * 1024
CONFIG_PATH = "/api/config"
#: A little less than the server's limit, so that it does not cut the describing fields a second time.
INFO_BYTES = MAX_INFO_BYTES - 256


class HttpSink:
    """The writes of one session, through a HUD server."""

    def __init__(
        self,
        url: str,
        *,
        channel: str,
        run_id: str | None,
        name: str,
        info: Mapping[str, str],
        roles: Mapping[str, str] | None = None,
        token: str | None = None,
    ) -> None:
        """Store the address; opens no connection yet.

        Raises:
            ConfigError: the URL cannot be used.
        """
        # A server accepts two tokens while they are rotated; a client has one.
        self._server = parse_hud_url(url, token.split(",")[0].strip() if token else None)
        self._identity: dict[str, Any] = {
            "run_id": run_id,
            "name": name,
            "channel": channel,
            "info": bounded_info(info, INFO_BYTES),
        }
        if roles:
            self._identity["roles"] = dict(roles)
        self.destination = Destination(str(self._server), channel)
        self._connection: Connection | None = None
        self._used_at = 0.0

    def __str__(self) -> str:
        """The server's address, for logs."""
        return str(self._server)

    def register(self, *, takeover: bool = False, aside: bool = False) -> Registered:
        """Take the channel or join the run's session; for errors see sink.Sink."""
        wishes = {"takeover": takeover, "aside": aside}
        body = self._identity | {name: True for name, is_wanted in wishes.items() if is_wanted}
        answer = self._post_json("/api/register_session", body)
        try:
            return Registered(
                SessionId(str(answer["session_id"])),
                Sid(str(answer["fence"])),
                answer["status"] == "joined",
                int(float(answer["ttl_s"]) * 1000),
                self._page_of(answer),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise self._strange(answer) from error

    def _page_of(self, answer: Mapping[str, Any]) -> str:
        """Return the page's address: the one that the server tells, since HUD_URL may be one within a cluster."""
        told = answer.get("page")
        is_url = isinstance(told, str) and told.startswith(("http://", "https://"))
        return one_line(str(told), 200) if is_url else self._server.page

    def publish(self, session_id: SessionId, batch: Batch) -> Published:
        """Append a batch; for errors see sink.Sink."""
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

    def describe(self, session_id: SessionId, sections: Mapping[str, str], *, replaces: bool = True) -> None:
        """Store sections of the run's configuration; for errors see sink.Sink."""
        trees = {name: json.loads(text) for name, text in sections.items()}
        self._post_json(CONFIG_PATH, {"session_id": session_id, "sections": trees, "replaces": replaces})

    def release(self, session_id: SessionId) -> None:
        """Give the channel up; for errors see sink.Sink."""
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
        headers |= self._server.headers()
        if time.monotonic() - self._used_at > IDLE_S:
            self.close()
        while True:
            is_reused = self._connection is not None
            try:
                status, answer_headers, text = self._exchange(path, body, headers)
                break
            except (http.client.HTTPException, OSError) as error:
                self.close()
                # A server closes idle connections: send once more on a new one. If it did read the batch, the batch
                # number prevents a duplicate.
                if not is_reused or not isinstance(error, ConnectionError):
                    raise self._away(error) from error
        self._used_at = time.monotonic()
        answer: Any = None
        with contextlib.suppress(ValueError):
            answer = json.loads(text)
        if status == 200:
            if answer and isinstance(answer, dict):
                return answer
            raise self._strange(text)
        raise self._error(status, answer if isinstance(answer, dict) else {}, answer_headers, path)

    def _exchange(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        if self._connection is None:
            self._connection = self._server.connect(TIMEOUT_S)
        self._connection.request("POST", self._server.path + path, body, headers)
        response = self._connection.getresponse()
        text = response.read(MAX_ANSWER_BYTES)
        if not response.isclosed():
            self.close()
        return response.status, dict(response.headers), text

    def _away(self, error: Exception) -> UnavailableError:
        said = self._clean(str(error))
        return UnavailableError(f"HUD server at {self} does not answer ({type(error).__name__}: {said})")

    def _strange(self, answer: object) -> UnavailableError:
        said = self._clean(answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer))
        return UnavailableError(f"the server at {self} is no HUD server, it answered {said!r}: check HUD_URL")

    def _clean(self, text: str) -> str:
        """Return text of the server for a message: one line, without the token, which a wrong server may repeat."""
        return one_line(text.replace(self._server.token, "…") if self._server.token else text, 200)

    def _error(self, status: int, answer: Mapping[str, Any], headers: Mapping[str, str], path: str = "") -> HudError:
        """Return our error for an answer that is not 200."""
        said = self._clean(str(answer.get("detail") or answer.get("error") or http.client.responses.get(status, "")))
        text = f"HUD server at {self} answered {status}: {said}"
        retry_after_s = _seconds(
            next((value for name, value in headers.items() if name.lower() == "retry-after"), None)
        )
        if status == 409:
            return SessionHeldError(_holder(answer, retry_after_s))
        if status == 429:
            return TooManyRequestsError(text, retry_after_s=retry_after_s or 5.0)
        if status == 401 and answer.get("error") == "Unauthorized":
            return UnauthorizedError(f"{text} (HUD_TOKEN of this process and of the server must be the same)")
        if status in (401, 407):
            return UnauthorizedError(f"{text}: HUD_URL leads to a login in front of the HUD, name the HUD itself")
        if status in (404, 405) and path == CONFIG_PATH:
            return MalformedError(f"{text}: the server is older than this program and takes no configuration")
        if status in (404, 405) or 300 <= status < 400:
            text += ": redirects are not followed" if status < 400 else ""
            return UnavailableError(f"{text}: check host, port and path of HUD_URL", retry_after_s=retry_after_s)
        if status in (403, 410):
            return SessionNotActiveError(text)
        if status == 413:
            return TooLargeError(text)
        if status in (400, 415, 422):
            return MalformedError(text)
        if status == 503 and answer.get("error") == REDIS_IS_FULL:
            return StorageFullError(text)
        return UnavailableError(text, retry_after_s=retry_after_s)


def _seconds(retry_after: str | None) -> float:
    """Return the Retry-After header in seconds, at most 600; 0 if it is missing or a date (RFC 9110 §10.2.3)."""
    return min(600.0, float(retry_after)) if retry_after and retry_after.strip().isdigit() else 0.0


def _holder(answer: Mapping[str, Any], retry_after_s: float) -> Holder:
    holder = answer.get("holder")
    known = holder if isinstance(holder, Mapping) else {}
    with contextlib.suppress(KeyError, ValueError, TypeError):
        retry_after_s = min(600.0, max(0.0, float(answer["retry_after_s"])))
    started_ms, silent_ms = known.get("started_ms"), known.get("silent_ms")
    return Holder(
        one_line(str(known.get("sid", "?")), 20),
        one_line(str(known.get("name", "another")), 256),
        started_ms if isinstance(started_ms, int) else 0,
        int(retry_after_s * 1000),
        silent_ms if isinstance(silent_ms, int) else None,
    )
