"""The HTTP sink handles every response: a HUD server's, a proxy's and a malformed one."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.entries import FrameEntry, MetricsEntry
from hud_publisher.protocol.errors import (
    ConfigError,
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
from hud_publisher.protocol.keys import SessionId
from hud_publisher.protocol.transport.http_client import HudServer, parse_hud_url
from hud_publisher.sinks.http_sink import HttpSink
from tests.fixtures.publishing import JPEG, decode_batch
from tests.fixtures.servers import free_port

SESSION = SessionId("default.1." + "s" * 24)
OK = {
    "status": "ok",
    "viewers": 2,
    "reporter": {"worker_index": 1, "env_index": 0},
    "last_id": "5-0",
    "shown": [1, 0],
    "shown_age_ms": 9,
}
METRICS = Batch("w", 1, (MetricsEntry({"n": 1}, 1),))


class Script(ThreadingHTTPServer):
    """An HTTP server that gives scripted responses and records the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status: int = 200
        self.answer: Any = OK
        self.extra_headers: dict[str, str] = {}
        self.is_closing_silently = False
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Script

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        if self.server.is_closing_silently and len(self.server.requests) > 1:
            self.server.is_closing_silently = False
            self.close_connection = True
            return
        answer = self.server.answer
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(self.server.status)
        for name, value in {"Content-Length": str(len(data)), **self.server.extra_headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Script]:
    script = Script()
    yield script
    script.shutdown()
    script.server_close()


@pytest.fixture
def make(server: Script) -> Iterator[Callable[..., HttpSink]]:
    made: list[HttpSink] = []

    def build(url: str = "", **options: Any) -> HttpSink:
        who: dict[str, Any] = {"channel": "team-a", "run_id": "r", "name": "n", "info": {"env": "x"}}
        made.append(HttpSink(url or server.url, **(who | options)))
        return made[-1]

    yield build
    for sink in made:
        sink.close()


@pytest.fixture
def sink(make: Callable[..., HttpSink]) -> HttpSink:
    return make()


def test_a_reply_is_read_whole(sink: HttpSink) -> None:
    told = sink.publish(SESSION, METRICS)
    assert (told.viewers, told.is_duplicate, told.last_id, told.shown, told.shown_age_ms) == (
        2,
        False,
        "5-0",
        (1, 0),
        9,
    )
    assert told.reporter is not None
    assert (told.reporter.worker_index, told.reporter.env_index) == (1, 0)


def test_a_registration_names_its_run(server: Script, make: Callable[..., HttpSink]) -> None:
    server.answer = {"session_id": SESSION, "status": "joined", "fence": 1763800000000, "ttl_s": 12.5}
    session = make(token="first,second").register()
    assert (session.session_id, session.sid, session.joined, session.ttl_ms) == (SESSION, "1763800000000", True, 12_500)
    path, headers, body = server.requests[0]
    assert path == "/api/register_session"
    assert json.loads(body) == {"run_id": "r", "name": "n", "channel": "team-a", "info": {"env": "x"}}
    assert headers["authorization"] == "Bearer first"


def test_a_server_below_a_path_is_reached(server: Script, make: Callable[..., HttpSink]) -> None:
    make(server.url + "/hud/").publish(SESSION, METRICS)
    assert server.requests[0][0] == "/hud/api/publish"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, MalformedError),
        (401, UnauthorizedError),
        (403, SessionNotActiveError),
        (404, UnavailableError),
        (410, SessionNotActiveError),
        (413, TooLargeError),
        (415, MalformedError),
        (422, MalformedError),
        (429, TooManyRequestsError),
        (500, UnavailableError),
        (502, UnavailableError),
        (503, UnavailableError),
        (301, UnavailableError),
    ],
)
@pytest.mark.parametrize("answer", [{"error": "no", "detail": "because"}, b"<html>a proxy's page</html>", b"", [1]])
def test_every_status_is_an_error_of_its_kind(
    server: Script, sink: HttpSink, status: int, kind: type[HudError], answer: Any
) -> None:
    server.status, server.answer = status, answer
    with pytest.raises(kind) as error:
        sink.publish(SESSION, METRICS)
    assert type(error.value) is kind


def test_a_full_redis_is_distinguished_from_an_unavailable_one(server: Script, sink: HttpSink) -> None:
    server.status, server.answer = 503, {"error": "Redis is full", "detail": "because"}
    with pytest.raises(StorageFullError):
        sink.publish(SESSION, METRICS)


@pytest.mark.parametrize(
    "answer", [b"", b"<html></html>", {}, [], {"status": "ok"}, {"viewers": "many"}, OK | {"shown": [1]}]
)
def test_an_answer_that_no_hud_server_gives_is_unavailable(server: Script, sink: HttpSink, answer: Any) -> None:
    server.answer = answer
    with pytest.raises(UnavailableError):
        sink.publish(SESSION, METRICS)
    with pytest.raises(UnavailableError):
        sink.register()


def test_a_held_channel_names_its_holder_and_the_remaining_time(server: Script, sink: HttpSink) -> None:
    server.status = 409
    server.answer = {
        "error": "Another session is active",
        "retry_after_s": 12,
        "holder": {"sid": "7", "name": "ppo", "started_ms": 5},
    }
    with pytest.raises(SessionHeldError) as refusal:
        sink.register()
    holder = refusal.value.holder
    assert (holder.sid, holder.name, holder.started_ms, holder.retry_after_ms) == ("7", "ppo", 5, 12_000)


@pytest.mark.parametrize("answer", [{"error": "held"}, b"held", {"holder": "x", "retry_after_s": "soon"}])
def test_a_held_channel_is_recognized_with_any_body(server: Script, sink: HttpSink, answer: Any) -> None:
    server.status, server.answer, server.extra_headers = 409, answer, {"Retry-After": "9"}
    with pytest.raises(SessionHeldError) as refusal:
        sink.register()
    assert refusal.value.holder.retry_after_ms == 9_000


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0), ("99999", 600.0), ("-1", 0.0)]
)
def test_retry_after_is_seconds_within_reason(server: Script, sink: HttpSink, header: str, seconds: float) -> None:
    server.status, server.extra_headers = 503, {"Retry-After": header}
    with pytest.raises(UnavailableError) as error:
        sink.publish(SESSION, METRICS)
    assert error.value.retry_after_s == seconds


def test_many_batches_go_over_one_connection(server: Script, sink: HttpSink) -> None:
    for _ in range(5):
        sink.publish(SESSION, METRICS)
    assert server.connections == 1


def test_a_connection_that_the_server_closed_meanwhile_costs_nothing(server: Script, sink: HttpSink) -> None:
    sink.publish(SESSION, METRICS)
    server.is_closing_silently = True
    sink.publish(SESSION, METRICS)
    assert len(server.requests) == 3


def test_metrics_go_packed_and_pictures_as_they_are(server: Script, sink: HttpSink) -> None:
    many = Batch("w", 1, tuple(MetricsEntry({"episode_reward": number}, 1) for number in range(200)))
    pictures = Batch("w", 2, (FrameEntry(JPEG + bytes(5000), 1), *many.entries))
    for batch in (many, pictures, METRICS):
        sink.publish(SESSION, batch)
    encodings = [headers.get("content-encoding") for _path, headers, _body in server.requests]
    assert encodings == ["gzip", None, None]
    packed = server.requests[0][2]
    assert len(packed) < len(zlib.decompress(packed, wbits=31)) / 3
    assert decode_batch(zlib.decompress(packed, wbits=31)) == (SESSION, many)
    assert decode_batch(server.requests[1][2]) == (SESSION, pictures)


def test_a_port_without_a_server_is_unavailable(make: Callable[..., HttpSink]) -> None:
    sink = make(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UnavailableError, match="ConnectionRefused"):
        sink.publish(SESSION, METRICS)


EVIL = "\x1b[31mred\x1b[0m\n2026-01-01 ERROR forged \u202eline\u2028 \x00 \udcff" + "x" * 5000


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 503])
@pytest.mark.parametrize("where", ["detail", "error"])
def test_a_servers_own_words_stay_one_short_printable_line(
    server: Script, sink: HttpSink, status: int, where: str
) -> None:
    server.status, server.answer = status, {where: EVIL}
    with pytest.raises(HudError) as refusal:
        sink.publish(SESSION, METRICS)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 400


def test_a_holders_name_stays_one_short_printable_line(server: Script, sink: HttpSink) -> None:
    server.status, server.answer = 409, {"holder": {"name": EVIL, "sid": EVIL}, "retry_after_s": 1}
    with pytest.raises(SessionHeldError) as refusal:
        sink.register()
    assert refusal.value.holder.name.isprintable()
    assert refusal.value.holder.sid.isprintable()
    assert str(refusal.value).isprintable()


def test_a_wrong_server_that_echoes_the_request_does_not_bring_the_token_into_a_message(
    server: Script, make: Callable[..., HttpSink]
) -> None:
    server.answer = b"you sent: Authorization: Bearer QXZVTOKEN\x1b[2J"
    with pytest.raises(UnavailableError, match="check HUD_URL") as strange:
        make(token="QXZVTOKEN").publish(SESSION, METRICS)
    assert "QXZV" not in str(strange.value)
    assert str(strange.value).isprintable()


class Dripping:
    """Sends one byte of `answer` every 50 ms without end."""

    def __init__(self, answer: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._answer = answer
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = self._listener.accept()
                threading.Thread(target=self._drip, args=(client,), daemon=True).start()

    def _drip(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.recv(65536)
            for byte in itertools.chain(self._answer, itertools.repeat(ord("x"))):
                client.sendall(bytes([byte]))
                time.sleep(0.05)

    def close(self) -> None:
        self._listener.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-A: ",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    ],
    ids=["status line", "header", "continue", "body", "endless body"],
)
def test_a_server_that_drips_holds_a_call_no_longer_than_the_time_limit(
    answer: bytes, make: Callable[..., HttpSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hud_publisher.sinks.http_sink.TIMEOUT_S", 0.4)
    dripping = Dripping(answer)
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="TimeoutError"):
        make(dripping.url).publish(SESSION, METRICS)
    assert time.monotonic() - began < 1.5
    dripping.close()


def test_a_server_that_reads_nothing_holds_a_large_batch_no_longer_than_the_time_limit(
    make: Callable[..., HttpSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hud_publisher.sinks.http_sink.TIMEOUT_S", 0.4)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        frames = tuple(FrameEntry(JPEG + b"x" * 4_000_000, 1) for _ in range(8))
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="TimeoutError"):
            make(f"http://127.0.0.1:{deaf.getsockname()[1]}").publish(SESSION, Batch("w", 1, frames))
        assert time.monotonic() - began < 1.5


def test_a_proxy_of_the_environment_is_not_used(sink: HttpSink, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert sink.publish(SESSION, METRICS).viewers == 2


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("http://host", HudServer(False, "host", 80)),
        ("https://host", HudServer(True, "host", 443)),
        ("http://host:8086/?channel=a", HudServer(False, "host", 8086)),
        ("https://[::1]:8443/hud/", HudServer(True, "::1", 8443, "/hud")),
    ],
)
def test_the_address_is_read(url: str, server: HudServer) -> None:
    assert parse_hud_url(url) == server


@pytest.mark.parametrize(
    "url", ["", "host:8086", "ftp://host", "http://", "http://host:port", "http://user:secret@host"]
)
def test_a_wrong_address_is_a_mistake_that_shows_no_secret(url: str) -> None:
    with pytest.raises(ConfigError, match="HUD_URL") as mistake:
        parse_hud_url(url)
    assert "secret" not in str(mistake.value)
