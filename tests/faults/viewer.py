"""A viewer that behaves as a browser: it reads a stream and reconnects with Last-Event-ID to any replica.

It keeps every event unchanged. tests.faults.history reads the events afterwards.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hud_web.store.sse import Position

#: Shorter than the server's heartbeat: these viewers prefer a needless reconnect to a missed failure.
SILENCE_S = 2.5


@dataclass(frozen=True, slots=True)
class Seen:
    """One event, or with the name "connect" a new connection (data: the Last-Event-ID sent, or None)."""

    name: str
    data: Any
    position: Position | None = None


class Viewer:
    """Watches a channel through any of some ports until it is closed.

    Attributes:
        last_id: the next value of Last-Event-ID.
        last_frame: id of the newest frame shown.
        is_restless: whether it disconnects and reconnects now and then.
    """

    def __init__(self, ports: Sequence[int], rng: random.Random, *, query: str = "", is_restless: bool = False) -> None:
        self.ports, self.query, self.is_restless = list(ports), query, is_restless
        self.last_id: str | None = None
        self._rng = rng
        self._blocks: list[bytes] = []
        self._stop = threading.Event()
        self._response: http.client.HTTPResponse | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(SILENCE_S + 10)

    def seen(self) -> list[Seen]:
        """Every received event."""
        return [_parse(block) for block in list(self._blocks)]

    def position(self) -> Position | None:
        return Position.parse(self.last_id)

    def newest_frame(self) -> str | None:
        """Id of the newest frame received, in an update or in a snapshot."""
        for block in reversed(list(self._blocks)):
            if b"event: vision_update\n" in block or b"event: snapshot\n" in block:
                data = _parse(block).data
                frame = data if "image" in data else data["frame"]
                if frame and frame.get("source") == "env":
                    return str(frame["id"])
        return None

    def _run(self) -> None:
        port = self._rng.choice(self.ports)
        while not self._stop.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._watch(port)
            others = [other for other in self.ports if other != port]
            port = self._rng.choice(others or self.ports)
            self._stop.wait(self._rng.uniform(0.02, 0.25))

    def _watch(self, port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SILENCE_S)
        try:
            headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
            connection.request("GET", f"/stream?{self.query}", headers=headers)
            response = connection.getresponse()
            if response.status == 200:
                self._blocks.append(b"event: connect\ndata: " + json.dumps(self.last_id).encode())
                self._read(response)
        finally:
            connection.close()

    def _read(self, response: http.client.HTTPResponse) -> None:
        leave_at = time.monotonic() + self._rng.uniform(0.3, 2.0)
        rest = b""
        while not self._stop.is_set() and not (self.is_restless and time.monotonic() > leave_at):
            chunk = response.read1(65_536)
            if not chunk:
                return
            # Only a whole event counts (WHATWG HTML §9.2.6); the server sends a truncated event again.
            *blocks, rest = (rest + chunk).split(b"\n\n")
            for block in blocks:
                if block.startswith(b"id: "):
                    self.last_id = block[4 : block.index(b"\n")].decode("ascii")
                self._blocks.append(block)


def _parse(block: bytes) -> Seen:
    position, name, data = None, "comment", None
    for line in block.split(b"\n"):
        key, _, value = line.partition(b": ")
        if key == b"id":
            position = Position.parse(value.decode("ascii"))
        elif key == b"event":
            name = value.decode("ascii")
        elif key == b"data":
            data = json.loads(value)
    return Seen(name, data, position)
