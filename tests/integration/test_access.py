"""Access to a real server: tokens, viewing links, hosts, origins, limits."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.publishing import JPEG
from tests.fixtures.servers import free_port, redis_binary, running
from tests.fixtures.web import SseClient, WebServer, poll


def ask(web: WebServer, path: str, method: str = "GET", **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def raw(web: WebServer, head: bytes) -> tuple[int, http.client.HTTPMessage, bytes]:
    """The answer to a request that no library would send."""
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as link:
        link.sendall(head)
        response = http.client.HTTPResponse(link)
        response.begin()
        return response.status, response.headers, response.read()


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 200),
        ("GET", "/health", {}, 200),
        ("GET", "/api/sessions", {}, 200),
        ("GET", "/static/js/shell/main.js", {}, 200),
        ("GET", "/stream?fps=x", {}, 400),
        ("GET", "/nothing", {}, 404),
        ("DELETE", "/api/state", {}, 405),
        ("POST", "/api/heartbeat", {}, 403),
        ("GET", "/health", {"Host": "evil.example"}, 400),
    ],
)
def test_every_answer_carries_the_security_headers(
    standing_web: WebServer, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = ask(standing_web, path, method, **headers)
    assert answer[0] == status
    expect_security_headers(answer[1])
    if status >= 400:
        assert isinstance(json.loads(answer[2])["error"], str)


def test_a_request_that_is_no_http_is_refused_like_any_other(standing_web: WebServer) -> None:
    status, headers, body = raw(standing_web, b"BREW / HTTP/1.1\r\n\r\n")
    assert status == 400
    assert isinstance(json.loads(body)["error"], str)
    expect_security_headers(headers)


def expect_security_headers(headers: http.client.HTTPMessage) -> None:
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers
    assert "server" not in headers


def test_pages_of_the_named_sources_may_embed_the_page_and_no_others(serve: Callable[..., WebServer]) -> None:
    web = serve(environment={"HUD_FRAME_ANCESTORS": "self http://localhost:8888"})
    for path in ("/", "/api/state", "/nosuch"):
        _status, headers, _body = ask(web, path)
        assert "; frame-ancestors 'self' http://localhost:8888;" in headers["Content-Security-Policy"]
        assert "X-Frame-Options" not in headers  # browsers would apply it in addition to the policy


def test_a_path_prefix_lifts_no_check(serve: Callable[..., WebServer]) -> None:
    view = free_port()
    web = serve(environment={"HUD_VIEW_TOKEN": "view", "HUD_VIEW_PORT": str(view), "HUD_STREAMS_PER_ADDRESS": "1"})
    assert ask(web, "/x/api/state")[0] == 401
    assert ask(web, "/x/")[0] == 401
    status, headers, _body = ask(web, "/user/ada/?token=view&channel=a")
    assert (status, headers["Location"]) == (303, "./?channel=a")
    assert "Path=" not in headers["Set-Cookie"]  # the default path is the folder of the page's URL
    assert ask(web, "/x/api/state", Authorization="Bearer view")[0] == 200
    assert ask(web, "/x/metrics")[0] == 401
    assert ask(web, "/x/metrics", Authorization="Bearer view")[0] == 404
    for path in ("/x/api/reset_session", "/x/api/register_session", "/x/api/publish"):
        assert ask(web, path, "POST")[0] == 403
    assert ask(web, "/static/../app.py", Authorization="Bearer view")[0] == 404
    assert ask(web, "/x/static/../../app.py", Authorization="Bearer view")[0] == 404
    assert ask(web, "/x/static/%2e%2e/app.py", Authorization="Bearer view")[0] == 404
    connection = http.client.HTTPConnection("127.0.0.1", view, timeout=10)
    connection.request("POST", "/x/api/reporter", b"{}")
    assert connection.getresponse().status == 403
    connection.close()


def test_streams_below_a_path_prefix_are_counted(
    serve: Callable[..., WebServer], watch: Callable[..., SseClient]
) -> None:
    web = serve(environment={"HUD_STREAMS_PER_ADDRESS": "1"})
    watch(web)
    assert ask(web, "/x/stream")[0] == 429


def test_without_the_viewing_token_nobody_looks_and_the_link_lets_a_browser_in(serve: Callable[..., WebServer]) -> None:
    web = serve(environment={"HUD_VIEW_TOKEN": "old-view,new-view", "HUD_TOKEN": "write"})
    for path in ("/api/state", "/stream", "/api/sessions", "/api/history", "/static/js/shell/main.js", "/api/export"):
        assert ask(web, path)[0] == 401
        assert ask(web, f"{path}?token=new-view")[0] == 401  # only the page accepts the link
        assert ask(web, path, Cookie="hud_view=new-view")[0] == 401
    assert ask(web, "/?token=wrong")[0] == 401
    status, _headers, body = ask(web, "/")
    assert status == 401
    assert b"needs its link" in body
    for token in ("old-view", "new-view"):
        status, headers, _body = ask(web, f"/?token={token}&channel=team-a")
        assert (status, headers["Location"]) == (303, "./?channel=team-a")
        cookie = headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert token not in cookie
        pair = cookie.partition(";")[0]
        assert ask(web, "/api/state", Cookie=pair)[0] == 200
        assert ask(web, "/", Cookie=pair)[0] == 200
        assert ask(web, "/api/state", Authorization=f"Bearer {token}")[0] == 200
    assert ask(web, "/api/state", Authorization="Bearer write")[0] == 200
    assert ask(web, "/api/reset_session", "POST", Cookie=pair)[0] == 401  # the viewing token does not permit writes
    assert ask(web, "/api/reset_session", "POST", Authorization="Bearer new-view")[0] == 401
    assert ask(web, "/health")[0] == 200
    assert ask(web, "/ready")[0] == 200


def test_no_shared_cache_keeps_a_private_answer(serve: Callable[..., WebServer]) -> None:
    for environment, word in ({}, "public"), ({"HUD_VIEW_TOKEN": "view"}, "private"):
        web = serve(environment=environment)
        session_id = web.post("/api/register_session")[1]["session_id"]
        picture = {"session_id": session_id, "image_base64": base64.b64encode(JPEG).decode()}
        assert web.post("/api/update_vision", picture)[0] == 200
        frames = json.loads(ask(web, "/api/frames", Authorization="Bearer view")[2])["frames"]
        status, headers, _body = ask(web, f"/api/frames/{frames[0]['id']}", Authorization="Bearer view")
        assert (status, headers["Cache-Control"].partition(",")[0]) == (200, word)
        assert web.post("/api/release_session", {"session_id": session_id})[0] == 200


def test_the_cookie_is_for_tls_only_where_the_page_came_over_tls(serve: Callable[..., WebServer]) -> None:
    web = serve(environment={"HUD_VIEW_TOKEN": "view"})
    assert "Secure" not in ask(web, "/?token=view")[1]["Set-Cookie"]
    assert "Secure" in ask(web, "/?token=view", X_Forwarded_Proto="https")[1]["Set-Cookie"]


def test_only_named_hosts_are_answered(serve: Callable[..., WebServer]) -> None:
    assert ask(serve(), "/health", Host="evil.example")[0] == 400
    named = serve(environment={"HUD_ALLOWED_HOSTS": "hud.example,127.0.0.1"})
    assert ask(named, "/health", Host="hud.example")[0] == 200
    assert ask(named, "/health", Host="evil.example")[0] == 400


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8086", "localhost.", "127.0.0.1:80", "[::1]", "[::1]:8086"])
def test_loopback_answers_to_each_of_its_names_with_any_port(standing_web: WebServer, host: str) -> None:
    assert ask(standing_web, "/health", Host=host)[0] == 200


@pytest.mark.parametrize(
    "lines",
    [
        b"Host: localhost.evil.example\r\n",
        b"Host: localhost:evil\r\n",
        b"Host: localhost:80:80\r\n",
        b"Host: evil@localhost\r\n",
        b"Host: \r\n",
        b"Host: localhost\r\nHost: evil.example\r\n",
        b"",
    ],
)
def test_a_host_header_that_is_not_quite_right_is_refused(standing_web: WebServer, lines: bytes) -> None:
    status, _headers, body = raw(standing_web, b"GET /health HTTP/1.1\r\n" + lines + b"\r\n")
    assert (status, json.loads(body)["error"]) == (400, "Malformed request")


def test_other_origins_read_only_when_named_and_never_write(serve: Callable[..., WebServer]) -> None:
    web = serve(environment={"HUD_CORS_ORIGINS": "https://wiki.example"})
    assert (
        ask(web, "/api/state", Origin="https://wiki.example")[1]["Access-Control-Allow-Origin"]
        == "https://wiki.example"
    )
    assert "Access-Control-Allow-Origin" not in ask(web, "/api/state", Origin="https://evil.example")[1]
    preflight = ask(
        web, "/api/reset_session", "OPTIONS", Origin="https://wiki.example", Access_Control_Request_Method="POST"
    )
    assert preflight[0] == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # a program
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"}, 403),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Origin": "http://hub.example", "X-Forwarded-Host": "hub.example"}, 200),
        ({"Origin": "http://evil.example", "X-Forwarded-Host": "hub.example"}, 403),
        ({"Origin": "http://", "X-Forwarded-Host": ""}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://name.of.a.proxy"}, 200),
    ],
)
def test_a_page_of_another_origin_writes_nothing_though_its_browser_asks_nobody_first(
    standing_web: WebServer, headers: dict[str, str], status: int
) -> None:
    sent = {name: value.format(port=standing_web.port) for name, value in headers.items()}
    answer = ask(standing_web, "/api/reset_session?channel=of-another-page", "POST", Content_Type="text/plain", **sent)
    assert answer[0] == status
    assert ask(standing_web, "/api/sessions", **sent)[0] == 200  # without CORS the page cannot read the answer


def test_it_listens_beyond_loopback_only_with_a_token_or_when_told(serve: Callable[..., WebServer]) -> None:
    with pytest.raises(RuntimeError, match="HUD_TOKEN, or pass --insecure"):
        serve(environment={"HUD_HOST": "0.0.0.0"})
    assert serve(environment={"HUD_HOST": "0.0.0.0", "HUD_TOKEN": "t"}).get("/health")[0] == 200
    assert serve(environment={"HUD_HOST": "0.0.0.0", "HUD_INSECURE": "1"}).get("/health")[0] == 200


def test_an_address_that_registers_too_often_is_told_when_to_come_back(web: WebServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=10)
    statuses = []
    for _ in range(1_500):
        connection.request("POST", "/api/register_session")
        response = connection.getresponse()
        body = response.read()
        statuses.append(response.status)
        if response.status == 429:
            assert int(response.headers["Retry-After"]) >= 1
            assert "error" in json.loads(body)
            break
    connection.close()
    assert statuses[-1] == 429
    assert set(statuses[:-1]) == {200, 409}
    assert web.get("/api/state")[0] == 200


def test_an_address_may_hold_so_many_streams(serve: Callable[..., WebServer], watch: Callable[..., SseClient]) -> None:
    web = serve(environment={"HUD_STREAMS_PER_ADDRESS": "2"})
    first, _second = watch(web), watch(web)
    assert ask(web, "/stream")[0] == 429
    assert ask(web, "/api/state")[0] == 200
    first.close()
    poll(lambda: watch(web).status == 200, "room for another stream")


def test_addresses_behind_a_trusted_proxy_are_told_apart_and_others_cannot_lie(
    serve: Callable[..., WebServer], watch: Callable[..., SseClient]
) -> None:
    trusting = serve(environment={"HUD_STREAMS_PER_ADDRESS": "1"})
    assert watch(trusting).status == 200
    assert ask(trusting, "/stream")[0] == 429
    connection = http.client.HTTPConnection("127.0.0.1", trusting.port, timeout=10)
    connection.request("GET", "/stream", headers={"X-Forwarded-For": "203.0.113.7"})
    assert connection.getresponse().status == 200
    connection.close()
    wary = serve(environment={"HUD_STREAMS_PER_ADDRESS": "1", "HUD_TRUSTED_PROXIES": "192.0.2.1"})
    assert watch(wary).status == 200
    assert ask(wary, "/stream", X_Forwarded_For="203.0.113.7")[0] == 429


@pytest.mark.parametrize(
    "head",
    [
        b"GET /stream?channel=a%0d%0aevent:%20forged HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /api/state?session=1%0a2 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /stream HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: x\n\nevent: forged\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a\r\n b\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nXYZ",
    ],
)
def test_a_forged_request_forges_nothing_and_harms_nobody(standing_web: WebServer, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", standing_web.port), timeout=5) as link:
        link.sendall(head)
        link.settimeout(1.0)
        answer = b""
        try:
            while part := link.recv(65536):
                answer += part
        except TimeoutError:
            pass
    assert b"\nevent: forged" not in answer
    assert standing_web.get("/health")[0] == 200


def test_a_metric_name_with_line_breaks_forges_no_event(web: WebServer, watch: Callable[..., SseClient]) -> None:
    client = watch(web)
    client.wait(lambda c: c.named("snapshot"), "a snapshot")
    session_id = web.post("/api/register_session")[1]["session_id"]
    evil = "x\n\nevent: session\ndata: {}\n\n"
    data = {evil: evil, "\u2028event: reset": 1, "a\rb": 2}
    assert web.post("/api/update_training", {"session_id": session_id, "data": data})[0] == 200
    update = client.wait(lambda c: c.named("training_update"), "the update")[0]
    assert len(update) == 4
    assert evil in update.values()
    assert not client.named("reset")


def test_a_client_that_drips_its_head_is_cut_off_and_holds_up_nobody(web: WebServer) -> None:
    links = []
    for _ in range(100):
        link = socket.create_connection(("127.0.0.1", web.port))
        link.sendall(b"GET /api/state HTTP/1.1\r\nHost: localhost\r\nX-Drip: ")
        links.append(link)
    silent = socket.create_connection(("127.0.0.1", web.port))
    kept = http.client.HTTPConnection("127.0.0.1", web.port, timeout=10)
    kept.request("GET", "/health")
    assert kept.getresponse().read()
    assert web.get("/health")[0] == 200
    for link in [*links[:3], silent]:
        link.settimeout(20)
        assert link.recv(1_000) == b""  # closed by the server
    kept.request("GET", "/health")  # a connection may be idle between requests
    assert kept.getresponse().read()
    kept.close()
    for link in [*links, silent]:
        link.close()


def test_a_body_in_chunks_that_says_no_size_is_not_read_beyond_its_limit(standing_web: WebServer) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", standing_web.port), timeout=10) as link:
        link.sendall(b"POST /api/heartbeat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(9 * 16):  # 9 MB without an end
            link.sendall(chunk)
        response = http.client.HTTPResponse(link)
        response.begin()
        assert response.status == 413


def test_a_packed_body_counts_unpacked(standing_web: WebServer) -> None:
    body = gzip.compress(b"{%b}" % (b" " * 16_000_000))
    assert len(body) < 100_000
    assert standing_web.post("/api/update_training", body, {"Content-Encoding": "gzip"})[0] == 413


def test_one_slow_sender_holds_up_nobody(web: WebServer) -> None:
    links = []
    for _ in range(50):
        link = socket.create_connection(("127.0.0.1", web.port))
        link.sendall(b"POST /api/update_training HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
        links.append(link)
    began = time.monotonic()
    assert web.post("/api/register_session")[0] == 200
    assert time.monotonic() - began < 5
    answers = []
    for link in links[:3]:
        link.settimeout(20)
        answers.append(link.recv(65536))  # the answer comes after the timeout of a body
    for link in links:
        link.close()
    assert all(answer.startswith(b"HTTP/1.1 400") for answer in answers)


@pytest.fixture
def tls_redis(tmp_path: Path) -> Iterator[str]:
    """A TLS-only Redis with one user and a certificate of a private authority."""
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem"),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    with running(redis_binary(), tmp_path / "redis") as plain:
        port = free_port()
        import redis

        with redis.Redis.from_url(plain.url) as admin:
            admin.config_set("tls-cert-file", str(tmp_path / "cert.pem"))
            admin.config_set("tls-key-file", str(tmp_path / "key.pem"))
            admin.config_set("tls-ca-cert-file", str(tmp_path / "cert.pem"))
            admin.config_set("tls-auth-clients", "no")
            admin.config_set("tls-port", str(port))
            admin.execute_command("ACL", "SETUSER", "hud", "on", ">secret", "~hud:*", "+@all", "-@dangerous", "+info")
            admin.execute_command("ACL", "SETUSER", "default", "off")
        yield f"rediss://hud:secret@127.0.0.1:{port}/0?ssl_ca_certs={tmp_path / 'cert.pem'}"


def test_redis_over_tls_with_a_private_authority_and_a_user(serve: Callable[..., WebServer], tls_redis: str) -> None:
    web = serve(redis_url=tls_redis)
    assert web.get("/ready")[0] == 200
    session_id = web.post("/api/register_session")[1]["session_id"]
    assert web.post("/api/update_training", {"session_id": session_id, "data": {"n": 1}})[0] == 200
    assert web.get("/api/state")[1]["state"] == {"n": 1}
    stranger = serve(redis_url=tls_redis.partition("?")[0])
    assert stranger.get("/ready")[0] == 503
    wrong = serve(redis_url=tls_redis.replace("secret", "wrong"))
    assert wrong.get("/ready")[0] == 503


def test_many_streams_that_come_and_go_leave_no_thread_and_no_descriptor(web: WebServer) -> None:
    assert web.process is not None
    descriptors = Path(f"/proc/{web.process.pid}/fd")
    before = len(list(descriptors.iterdir()))

    def visit() -> None:
        for _ in range(10):
            client = SseClient(f"{web.url}/stream")
            client.wait(lambda c: c.named("snapshot"), "a snapshot")
            client.close()

    visitors = [threading.Thread(target=visit) for _ in range(5)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    poll(lambda: len(list(descriptors.iterdir())) <= before + 8, "the descriptors to be given back")
