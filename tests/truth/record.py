"""Records real training runs: `python -m tests.truth.record [NAME …]`, all of them by default.

Each run publishes over HTTP, as any run may, to a server that stores each call and passes it on to a real web tier on a
private Redis. So all processes of a run are recorded at one place, in the order of storage and with one clock. A viewer
watches the channel throughout, so frames are sent at the watched rate.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from hud_publisher import Publisher
from hud_publisher.protocol.batch_body import decode_head
from tests.fixtures.servers import redis_binary, running
from tests.fixtures.web import SseClient, WebServer
from tests.truth.recording import load, path_of, store

#: Frames per second that runs are asked for; recordings keep fewer.
FPS = 8.0


class Recorder(ThreadingHTTPServer):
    """Passes calls on to a web tier, one at a time, and keeps those that were acknowledged."""

    daemon_threads = True

    def __init__(self, web: WebServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.web = web
        self.lock = threading.Lock()
        self.lines: list[dict[str, Any]] = []
        self.started_ms = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def keep(self, path: str, body: bytes, answer: dict[str, Any]) -> None:
        """Add the line of an acknowledged call."""
        if path == "/api/register_session":
            if answer["status"] != "joined":
                assert not self.started_ms, "the run began two sessions"
                self.started_ms = int(answer["fence"])
            identity = json.loads(body)
            kept = {field: identity.get(field) or {} for field in ("name", "info", "roles")}
            self._add({"register": kept, **({"joined": True} if answer["status"] == "joined" else {})})
        elif path == "/api/publish" and answer["status"] != "duplicate":
            self._add({"batch": self._batch(body)})
        elif path == "/api/release_session":
            self._add({"release": True})

    def _add(self, line: dict[str, Any]) -> None:
        self.lines.append({"at_ms": time.time_ns() // 1_000_000 - self.started_ms, **line})

    def _batch(self, body: bytes) -> dict[str, Any]:
        head = decode_head(body)
        fields, at = dict(head.fields), head.pictures_at
        del fields["session_id"]
        for entry in fields["entries"]:
            entry["time_ms"] -= self.started_ms
            if "bytes" in entry:
                size = entry.pop("bytes")
                entry["image"] = base64.b64encode(body[at : at + size]).decode()
                at += size
        return fields


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        with self.server.lock:
            web = http.client.HTTPConnection("127.0.0.1", self.server.web.port, timeout=30)
            web.request("POST", self.path, body, {"Content-Type": self.headers["Content-Type"]})
            response = web.getresponse()
            text = response.read()
            web.close()
            if response.status == 200:
                self.server.keep(self.path, body, json.loads(text))
        self.send_response(response.status)
        self.send_header("Content-Type", response.headers["Content-Type"])
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@contextmanager
def recorder() -> Iterator[Recorder]:
    """A recorder with a private web tier, Redis and viewer."""
    with tempfile.TemporaryDirectory() as folder, running(redis_binary(), Path(folder)) as redis:
        web = WebServer(redis.url)
        viewer = SseClient(f"{web.url}/stream?channel=default")
        server = Recorder(web)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
            server.server_close()
            viewer.close()
            web.close()


def _loop(run: Callable[[Publisher], None], url: str) -> None:
    name = run.__name__
    with Publisher(hud_url=url, name=name, info={"env": "CartPole", "algorithm": "REINFORCE"}, fps=FPS) as hud:
        run(hud)


def runs() -> dict[str, Callable[[str], None]]:
    """The runs by name; each takes the address of the server to publish to."""
    from tests.truth.loops import LOOPS
    from tests.truth.trainers import TRAINERS

    loops = {run.__name__: partial(_loop, run) for run in LOOPS}
    return {**loops, **{run.__name__: partial(run, fps=FPS) for run in TRAINERS}}


def main(chosen: list[str]) -> None:
    """Record the chosen runs."""
    known = runs()
    for name in chosen or known:
        with recorder() as server:
            known[name](server.url)
        size = store(name, server.lines)
        recording = load(name)
        print(f"{path_of(name)}: {size:,} bytes, {recording.duration_ms / 1000:.1f} s, {len(recording.lines)} calls")


if __name__ == "__main__":
    main(sys.argv[1:])
