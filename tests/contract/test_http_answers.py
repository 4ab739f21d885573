"""What the HTTP sink makes of every answer: a HUD server's, a proxy's, and nonsense."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from hud_publisher.http_sink import HttpSink, parse_hud_url
from hud_publisher.protocol.batch import Batch, decode_batch
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
from tests.fixtures.publishing import JPEG
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
    """Answers as it is told, and keeps what it was asked."""

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


def test_a_registration_says_who_asks(server: Script, make: Callable[..., HttpSink]) -> None:
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


def test_a_full_redis_is_told_from_one_that_is_away(server: Script, sink: HttpSink) -> None:
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


def test_a_held_channel_says_by_whom_and_for_how_long(server: Script, sink: HttpSink) -> None:
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
def test_a_held_channel_is_that_whatever_the_body(server: Script, sink: HttpSink, answer: Any) -> None:
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


def test_where_nobody_listens_it_is_unavailable(make: Callable[..., HttpSink]) -> None:
    sink = make(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UnavailableError, match="ConnectionRefused"):
        sink.publish(SESSION, METRICS)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://host", (False, "host", 80, "")),
        ("https://host", (True, "host", 443, "")),
        ("http://host:8086/", (False, "host", 8086, "")),
        ("https://[::1]:8443/hud/", (True, "::1", 8443, "/hud")),
    ],
)
def test_the_address_is_read(url: str, parts: tuple[bool, str, int, str]) -> None:
    assert parse_hud_url(url) == parts


@pytest.mark.parametrize(
    "url", ["", "host:8086", "ftp://host", "http://", "http://host:port", "http://user:secret@host"]
)
def test_a_wrong_address_is_a_mistake_that_shows_no_secret(url: str) -> None:
    with pytest.raises(ConfigError, match="HUD_URL") as mistake:
        parse_hud_url(url)
    assert "secret" not in str(mistake.value)
