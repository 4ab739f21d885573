"""`hud doctor` with a wrong address: the value of HUD_URL or REDIS_URL leads somewhere else."""

from __future__ import annotations

import http.server
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
import redis
from redis.exceptions import MovedError

from hud_publisher.protocol.urls import parse_redis_url
from hud_web.doctor.reach import reach
from hud_web.doctor.redis import explain
from tests.deploy.test_doctor import Examine, examine, notes, problems, serving, the
from tests.deploy.test_secret_job import make_certificate
from tests.fixtures.proxy import KEPT, PARTIAL, STRIPPED, prefix_proxy
from tests.fixtures.servers import Server, die_with_parent, free_port, redis_binary, running, wait_until
from tests.fixtures.web import WebServer

__all__ = ["examine"]


class Quiet(http.server.BaseHTTPRequestHandler):
    status = 200
    headers_sent: Mapping[str, str] = MappingProxyType({})
    body = b""

    def do_GET(self) -> None:
        self.send_response(self.status)
        for name, value in self.headers_sent.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_arguments: object) -> None:
        pass


def relay(web: WebServer, path: str) -> tuple[int, str, bytes]:
    """Return (status, media type, body) of the server's answer; a stream is empty."""
    if path.startswith("/stream"):
        return 200, "text/event-stream", b""
    try:
        with urllib.request.urlopen(web.url + path, timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read()


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    """A TLS server whose certificate no known authority signed."""
    make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.crt", tmp_path / "key")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture
def silent_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server that accepts connections and sends nothing, as a frozen process does."""
    for module in ("reach", "redis"):
        monkeypatch.setattr(f"hud_web.doctor.{module}.TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


# ---------------------------------------------------------------- HUD_URL


@pytest.mark.parametrize("end", ["/", "//", "/?x=1"])
def test_a_slash_or_query_that_a_publisher_ignores_is_no_problem(examine: Examine, web: WebServer, end: str) -> None:
    assert problems(examine(HUD_URL=web.url + end)) == []


@pytest.mark.parametrize("path", ["/stream", "/api/register_session/", "/hud"])
def test_a_superfluous_path(examine: Examine, web: WebServer, path: str) -> None:
    found = examine(HUD_URL=web.url + path)
    assert problems(found) == ["wrong-path"]
    assert the(found, "wrong-path").fix == f"HUD_URL={web.url}"


def test_the_page_below_a_path_prefix(examine: Examine, web: WebServer, tmp_path: Path) -> None:
    with prefix_proxy(web.port, tmp_path) as origin:
        stripped, kept = (examine(HUD_URL=f"{origin}{prefix}/") for prefix in (STRIPPED, KEPT))
        assert problems(stripped) == problems(kept) == []
        assert "view-only" not in notes(stripped)
        assert "view-only" in notes(kept)  # one cannot publish this way
        for found in stripped, kept:
            assert [finding.level for finding in found if finding.check == "page"] == ["ok"]
        partial = examine(HUD_URL=f"{origin}{PARTIAL}/")
        assert problems(partial) == ["page-files"]
        assert "static/" in the(partial, "page-files").text
        assert "404" in the(partial, "page-files").text


def test_a_login_page_in_the_place_of_a_script_is_not_taken_for_it(examine: Examine, web: WebServer) -> None:
    class Login(Quiet):
        def do_GET(self) -> None:
            self.status, media_type, self.body = relay(web, self.path)
            if "/static/" in self.path:
                media_type, self.body = "text/html", b"<h1>Log in</h1>"
            self.headers_sent = {"Content-Type": media_type}
            super().do_GET()

    with serving(Login) as port:
        found = examine(HUD_URL=f"http://127.0.0.1:{port}")
    assert "page-files" in problems(found)
    assert "text/html" in the(found, "page-files").text


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("/static/js/server/feed-worker.js", "static/js/server/feed-worker.js answered 404"),  # named by a module
        ("/static/vendor/inter/inter.woff2", "static/vendor/inter/inter.woff2 answered 404"),  # and by a style sheet
        ("/static/js/charts/chart.js", "static/js/charts/chart.js answered 404"),  # imported when it is needed
        ("/wall", "wall answered 404 with text/html"),
    ],
)
def test_a_file_or_page_that_a_proxy_leaves_out_is_named_with_its_address(
    examine: Examine, web: WebServer, lost: str, named: str
) -> None:
    class Lossy(Quiet):
        def do_GET(self) -> None:
            self.status, media_type, self.body = relay(web, self.path)
            if self.path == lost:
                self.status, media_type, self.body = 404, "text/html", b"<h1>no such page here</h1>"
            self.headers_sent = {"Content-Type": media_type}
            super().do_GET()

    with serving(Lossy) as port:
        found = examine(HUD_URL=f"http://127.0.0.1:{port}")
    assert f"http://127.0.0.1:{port}/{named}" in the(found, "page-files").text
    assert "404" in the(found, "page-files").text
    assert "proxy" in the(found, "page-files").fix


def test_an_older_hud_without_the_page_of_all_runs_is_no_problem(examine: Examine, web: WebServer) -> None:
    class Older(Quiet):
        def do_GET(self) -> None:
            self.status, media_type, self.body = relay(web, self.path)
            if self.path in ("/wall", "/runs"):
                self.status, media_type, self.body = 404, "application/json", b'{"error": "Not Found"}'
            self.headers_sent = {"Content-Type": media_type}
            super().do_GET()

    with serving(Older) as port:
        assert "page-files" not in problems(examine(HUD_URL=f"http://127.0.0.1:{port}"))


def test_a_page_whose_url_lacks_its_last_slash(examine: Examine, web: WebServer) -> None:
    class Mapped(Quiet):
        """Maps both `/hud` and `/hud/` to the page, as a rule without a slash does."""

        def do_GET(self) -> None:
            self.status, media_type, self.body = relay(web, self.path.removeprefix("/hud") or "/")
            self.headers_sent = {"Content-Type": media_type}
            super().do_GET()

    with serving(Mapped) as port:
        assert "no-slash" in notes(examine(HUD_URL=f"http://127.0.0.1:{port}/hud"))


@pytest.mark.parametrize("url", ["http://:8086", "http://me:secret@127.0.0.1:8086"])
def test_a_url_that_publishers_refuse_is_refused(examine: Examine, url: str) -> None:
    found = examine(HUD_URL=url)
    assert problems(found) == ["settings"]
    assert "secret" not in str(found)


def test_http_where_tls_is_spoken(examine: Examine, tls_port: int) -> None:
    found = examine(HUD_URL=f"http://127.0.0.1:{tls_port}")
    assert problems(found) == ["tls"]
    assert the(found, "tls").fix == f"HUD_URL=https://127.0.0.1:{tls_port}"


def test_a_certificate_of_an_authority_that_nobody_knows(examine: Examine, tls_port: int) -> None:
    assert problems(examine(HUD_URL=f"https://127.0.0.1:{tls_port}")) == ["tls-untrusted"]


def test_a_certificate_of_an_authority_that_was_told(examine: Examine, tls_port: int, tmp_path: Path) -> None:
    found = examine(HUD_URL=f"https://127.0.0.1:{tls_port}", SSL_CERT_FILE=str(tmp_path / "ca.crt"))
    assert problems(found) == ["not-a-hud"]  # TLS accepted the certificate


def test_tls_where_something_else_waits_for_more(examine: Examine, silent_port: int) -> None:
    assert problems(examine(HUD_URL=f"https://127.0.0.1:{silent_port}")) == ["tls"]


def test_a_program_that_sends_nothing(examine: Examine, silent_port: int) -> None:
    assert problems(examine(HUD_URL=f"http://127.0.0.1:{silent_port}")) == ["not-a-hud"]


def test_redis_as_hud_url(examine: Examine, redis_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hud_web.doctor.reach.TIMEOUT_S", 0.5)
    assert problems(examine(HUD_URL=f"http://127.0.0.1:{redis_server.port}")) == ["not-a-hud"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_to_another_address(examine: Examine, status: int) -> None:
    there = {"Location": "https://hud.example.org/health?secret=1"}
    with serving(type("Redirect", (Quiet,), {"status": status, "headers_sent": there})) as port:
        found = examine(HUD_URL=f"http://127.0.0.1:{port}")
    assert problems(found) == ["redirected"]
    assert "redirects to https://hud.example.org/…" in the(found, "redirected").text
    assert "secret" not in str(found)


@pytest.mark.parametrize("status", [401, 403])
def test_a_login_in_front(examine: Examine, status: int) -> None:
    with serving(type("Login", (Quiet,), {"status": status, "body": b"<html>Log in</html>"})) as port:
        assert problems(examine(HUD_URL=f"http://127.0.0.1:{port}")) == ["login"]


def test_a_name_that_the_hud_does_not_answer_to(examine: Examine, serve: Callable[..., WebServer]) -> None:
    web = serve(environment={"HUD_ALLOWED_HOSTS": "127.0.0.1"})
    found = examine(HUD_URL=f"http://localhost:{web.port}")
    assert problems(found) == ["wrong-name"]
    assert "localhost" in the(found, "wrong-name").fix


def test_compression_on_the_way_is_seen(examine: Examine, web: WebServer) -> None:
    """A proxy compresses only for clients that send Accept-Encoding, as browsers do."""

    class Compressing(Quiet):
        def do_GET(self) -> None:
            status, media_type, body = relay(web, self.path)
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            if "gzip" in self.headers.get("Accept-Encoding", ""):
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.send_response(403)
            self.end_headers()

    with serving(Compressing) as port:
        assert problems(examine(HUD_URL=f"http://127.0.0.1:{port}")) == ["buffered"]


# ---------------------------------------------------------------- versions and Redis behind the server


def test_a_server_that_is_newer_than_this_client(
    examine: Examine, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hud_web.doctor.server.distribution_version", lambda: "0.0.9")
    found = examine(HUD_URL=web.url)
    assert problems(found) == ["old-client"]
    assert "0.0.9" in the(found, "old-client").text


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random", "volatile-lru", "volatile-ttl"])
def test_evicting_policy_of_a_redis_that_only_the_server_reaches(
    examine: Examine, web: WebServer, redis_server: Server, policy: str
) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.config_set("maxmemory-policy", policy)
    found = examine(HUD_URL=web.url)
    assert problems(found) == ["redis-evicts"]
    assert policy in the(found, "redis-evicts").text


# ---------------------------------------------------------------- REDIS_URL


def test_a_hud_as_redis_url(examine: Examine, web: WebServer) -> None:
    assert problems(examine(REDIS_URL=f"redis://127.0.0.1:{web.port}/0")) == ["not-a-redis"]


def test_a_redis_that_sends_nothing(examine: Examine, silent_port: int) -> None:
    assert problems(examine(REDIS_URL=f"redis://127.0.0.1:{silent_port}/0")) == ["redis-silent"]


def test_tls_to_a_redis_without(examine: Examine, redis_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("reach", "redis"):
        monkeypatch.setattr(f"hud_web.doctor.{module}.TIMEOUT_S", 0.5)
    assert problems(examine(REDIS_URL=redis_server.url.replace("redis:", "rediss:"))) == ["redis-tls"]


def test_a_redis_with_tls_called_without(examine: Examine, tls_port: int) -> None:
    found = examine(REDIS_URL=f"redis://127.0.0.1:{tls_port}/0")
    assert problems(found) == ["redis-tls"]
    assert "rediss://" in the(found, "redis-tls").fix


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_certificate_file_that_cannot_be_read(
    examine: Examine, tls_port: int, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "odd.crt").write_text(content)
    for option in ("ssl_ca_certs", "ssl_certfile"):
        found = examine(REDIS_URL=f"rediss://127.0.0.1:{tls_port}/0?{option}={tmp_path}/odd.crt")
        assert problems(found) == ["redis-tls"]
        assert "PEM" in the(found, "redis-tls").fix


def test_a_redis_whose_certificate_nobody_knows(examine: Examine, tls_port: int) -> None:
    found = examine(REDIS_URL=f"rediss://127.0.0.1:{tls_port}/0")
    assert problems(found) == ["redis-tls"]
    assert "ssl_ca_certs" in the(found, "redis-tls").fix


@pytest.mark.parametrize("form", ["redis://127.0.0.1:{}/0", "redis+cluster://127.0.0.1:{}",
                                  "redis+sentinel://127.0.0.1:{}/hud"])  # fmt: skip
def test_nobody_is_there_by_any_form_of_redis_url(examine: Examine, form: str) -> None:
    assert problems(examine(REDIS_URL=form.format(free_port()))) == ["no-redis"]


def test_a_name_of_redis_that_nobody_knows(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_arguments: object, **_options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # a real look-up would leave this machine
    assert problems(examine(REDIS_URL="redis://zelda-hud-radish:6379/0")) == ["redis-name"]


def test_one_server_called_a_cluster(examine: Examine, redis_server: Server) -> None:
    found = examine(REDIS_URL=f"redis+cluster://127.0.0.1:{redis_server.port}")
    assert problems(found) == ["redis-cluster"]
    assert "redis://" in the(found, "redis-cluster").fix


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
def test_a_cluster_that_is_down(examine: Examine, tmp_path: Path, scheme: str) -> None:
    with running(redis_binary(), tmp_path / "cluster", "--cluster-enabled", "yes") as server:
        found = examine(REDIS_URL=f"{scheme}://127.0.0.1:{server.port}")
    assert problems(found) == ["redis-cluster"]
    assert "down" in the(found, "redis-cluster").text


def test_a_node_of_a_cluster_called_as_one_server() -> None:
    finding = explain(MovedError("11034 10.0.0.7:6379"), parse_redis_url("redis://10.0.0.6:6379/0"))
    assert finding.cause == "redis-cluster"
    assert "redis+cluster://" in finding.fix


def test_sentinels_that_know_no_such_primary(examine: Examine, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "sentinel.conf").write_text(f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\n")
    command = [str(redis_binary()), str(tmp_path / "sentinel.conf"), "--sentinel"]
    sentinel = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=die_with_parent)
    try:
        wait_until(lambda: reach("127.0.0.1", port) is None, "the Sentinel")
        found = examine(REDIS_URL=f"redis+sentinel://127.0.0.1:{port}/hud/0")
    finally:
        sentinel.kill()
        sentinel.wait()
    assert problems(found) == ["redis-sentinel"]
    assert "no primary called hud" in the(found, "redis-sentinel").text


def test_a_replica(examine: Examine, redis_server: Server) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.replicaof("127.0.0.1", free_port())
    assert problems(examine(REDIS_URL=redis_server.url)) == ["redis-replica"]


def test_a_primary_that_has_too_few_replicas_to_write(examine: Examine, redis_server: Server) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.config_set("min-replicas-to-write", 2)
    found = examine(REDIS_URL=redis_server.url)
    assert problems(found) == ["redis-refuses"]
    assert "min-replicas-to-write" in the(found, "redis-refuses").text


def test_looking_at_redis_leaves_nothing_there(examine: Examine, redis_server: Server) -> None:
    assert problems(examine(REDIS_URL=redis_server.url)) == []
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.keys() == []


@pytest.mark.parametrize(
    ("given", "words"),
    [("", "requires a password, and REDIS_URL has none"), (":wrong@", "refuses the default user with this password"),
     ("nobody:right@", "refuses user nobody with this password")],
)  # fmt: skip
def test_the_wrong_part_of_the_login_is_named(examine: Examine, redis_server: Server, given: str, words: str) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.config_set("requirepass", "right")
    found = examine(REDIS_URL=f"redis://{given}127.0.0.1:{redis_server.port}/0")
    assert problems(found) == ["redis-password"]
    assert words in the(found, "redis-password").text


def test_a_password_where_none_is_wanted(examine: Examine, redis_server: Server) -> None:
    found = examine(REDIS_URL=f"redis://:any@127.0.0.1:{redis_server.port}/0")
    assert problems(found) == ["redis-password"]
    assert "has no password" in the(found, "redis-password").text


def test_a_redis_of_an_old_version(examine: Examine) -> None:
    """Answers as Redis 5 did."""
    info = (
        b"# Server\r\nredis_version:5.0.14\r\nmaxmemory:1000000000\r\nmaxmemory_policy:noeviction\r\nused_memory:1\r\n"
    )
    replies = {b"PING": b"+PONG\r\n", b"INFO": b"$%d\r\n%s\r\n" % (len(info), info), b"GET": b"$-1\r\n",
               b"TIME": None, b"HGETALL": b"*0\r\n", b"SET": b"$-1\r\n"}  # fmt: skip

    def answer(link: socket.socket) -> None:
        with link, link.makefile("rb") as lines:
            while head := lines.readline():
                words = []
                for _ in range(int(head[1:])):
                    size = int(lines.readline()[1:])
                    words.append(lines.read(size + 2)[:-2])
                reply = replies.get(words[0].upper(), b"-ERR unknown command\r\n")
                if reply is None:
                    reply = b"*2\r\n$10\r\n%010d\r\n$1\r\n0\r\n" % int(time.time())
                link.sendall(reply)

    def accept() -> None:
        while True:
            try:
                link, _address = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(link,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        found = examine(REDIS_URL=f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
        listener.shutdown(socket.SHUT_RDWR)
    assert problems(found) == ["redis-old"]
