"""A viewer that reconnects: reads one stream through any proxy, as a browser does."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

#: A browser waits for the time in `retry:`; a fixed short time keeps the tests quick.
RECONNECT_S = 0.3
#: Two heartbeats: a connection that is silent for longer is dead; the page applies the same rule.
SILENT_S = 17.0


@dataclass
class Follower:
    """Follows `/stream` until closed, and resumes with Last-Event-ID after every end.

    Attributes:
        url: of the HUD, or of the proxy before it.
        numbers: field "n" of every training_update, in the order of arrival.
        lags_s: time.monotonic() - field "sent_s", where an update has one.
        ages_s: how long each ended stream lived.
        resets: reasons of `reset` events, each of which means lost history.
        statuses: the state of Redis in each `status` event.
    """

    url: str
    context: ssl.SSLContext | None = None
    query: str = "frames=0"
    numbers: list[int] = field(default_factory=list)
    lags_s: list[float] = field(default_factory=list)
    ages_s: list[float] = field(default_factory=list)
    resets: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    opened: int = 0
    opened_at_s: float = 0.0
    _last_id: str | None = None
    _is_closed: bool = False
    _connection: http.client.HTTPConnection | None = None

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def __str__(self) -> str:
        newest, age_s = self.numbers[-1:], time.monotonic() - self.opened_at_s
        return f"{self.opened} streams, newest {newest}, opened {age_s:.1f} s ago, id {self._last_id}, {self.statuses}"

    def close(self) -> None:
        self._is_closed = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(2)
        self._thread.join(10)

    def _follow(self) -> None:
        while not self._is_closed:
            # After any failure the next stream resumes from the last id.
            with contextlib.suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
                self._read_once()
            if not self._is_closed:
                time.sleep(RECONNECT_S)

    def _read_once(self) -> None:
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port
        if self.context is not None:
            self._connection = http.client.HTTPSConnection(host, port, timeout=SILENT_S, context=self.context)
        else:
            self._connection = http.client.HTTPConnection(host, port, timeout=SILENT_S)
        headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
        try:
            self._connection.request("GET", f"/stream?{self.query}", headers=headers)
            response = self._connection.getresponse()
            if response.status != 200:
                return
            self.opened += 1
            self.opened_at_s = time.monotonic()
            try:
                self._read_events(response)
            finally:
                self.ages_s.append(time.monotonic() - self.opened_at_s)
        finally:
            self._connection.close()

    def _read_events(self, response: http.client.HTTPResponse) -> None:
        name, data, event_id = "message", "", None
        for raw in response:
            key, _, value = raw.decode().rstrip("\n").partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                data = value
            elif key == "id":
                event_id = value
            elif not key and data:
                self._take(name, json.loads(data))
                self._last_id = event_id or self._last_id
                name, data, event_id = "message", "", None

    def _take(self, name: str, data: Any) -> None:
        if name == "training_update" and "n" in data:
            self.numbers.append(data["n"])
            if "sent_s" in data:
                self.lags_s.append(time.monotonic() - data["sent_s"])
        elif name == "reset":
            self.resets.append(data["reason"])
        elif name == "status":
            self.statuses.append(data["redis"])
