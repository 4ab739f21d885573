"""`hud doctor` names the right cause for set-ups that are really broken in one way each."""

from __future__ import annotations

import argparse
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, get_args

import pytest
import redis

from hud_web.cli import main
from hud_web.command import doctor
from hud_web.doctor.findings import Cause, Finding
from tests.fixtures.servers import Server, free_port, redis_binary, running, wait_until
from tests.fixtures.web import WebServer

Examine = Callable[..., list[Finding]]


@pytest.fixture
def examine(monkeypatch: pytest.MonkeyPatch) -> Examine:
    """The doctor's findings with this environment and no other setting of HUD."""
    for name in [name for name in os.environ if name.startswith(("HUD_", "REDIS_"))]:
        monkeypatch.delenv(name)

    def run(listen_s: float = 0.2, **environment: str) -> list[Finding]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        options = argparse.Namespace(url=None, redis_url=None, channel=None, json=False, listen=listen_s)
        return list(doctor.examine(options))

    return run


def problems(found: list[Finding]) -> list[str]:
    return [finding.cause for finding in found if finding.level == "problem"]


def notes(found: list[Finding]) -> list[str]:
    return [finding.cause for finding in found if finding.level == "note" and finding.cause]


def the(found: list[Finding], cause: str) -> Finding:
    (finding,) = [finding for finding in found if finding.cause == cause]
    assert finding.fix
    return finding


# ---------------------------------------------------------------- well


def test_a_set_up_that_works_has_no_problem(examine: Examine, web: WebServer, redis_server: Server) -> None:
    found = examine(HUD_URL=web.url, REDIS_URL=redis_server.url)
    assert problems(found) == []
    assert {finding.check for finding in found if finding.level == "ok"} >= {
        "settings", "redis", "server", "version", "token", "stream",
    }  # fmt: skip


def test_it_changes_nothing(examine: Examine, web: WebServer, redis_server: Server) -> None:
    examine(HUD_URL=web.url, REDIS_URL=redis_server.url)
    assert web.get("/api/sessions")[1]["sessions"] == []


# ---------------------------------------------------------------- 1 wrong URL


def test_wrong_url_that_leads_to_another_program(examine: Examine) -> None:
    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    with serving(Other) as port:
        assert problems(examine(HUD_URL=f"http://127.0.0.1:{port}")) == ["not-a-hud"]


def test_wrong_url_whose_host_nobody_knows(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_arguments: object, **_options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # a real look-up would leave this machine
    assert problems(examine(HUD_URL="http://zelda-hub-service:8086")) == ["unknown-host"]


def test_wrong_url_that_asks_for_tls_where_there_is_none(examine: Examine, web: WebServer) -> None:
    assert problems(examine(HUD_URL=web.url.replace("http:", "https:"))) == ["tls"]


def test_wrong_url_that_is_no_url(examine: Examine) -> None:
    found = examine(HUD_URL="zelda-hud-service:8086")
    assert problems(found) == ["settings"]
    assert "HUD_URL" in found[0].text


def test_the_address_for_looking_is_not_one_for_training(examine: Examine, serve: Callable[..., WebServer]) -> None:
    view = free_port()
    serve(environment={"HUD_VIEW_PORT": str(view)})
    found = examine(HUD_URL=f"http://127.0.0.1:{view}")
    assert problems(found) == []
    assert "view-only" in notes(found)


# ---------------------------------------------------------------- 2 wrong port


def test_wrong_port(examine: Examine) -> None:
    port = free_port()
    found = examine(HUD_URL=f"http://127.0.0.1:{port}")
    assert problems(found) == ["wrong-port"]
    assert str(port) in the(found, "wrong-port").text


# ---------------------------------------------------------------- 3 no Redis


def test_no_redis_where_training_looks_for_it(examine: Examine) -> None:
    assert problems(examine(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")) == ["no-redis"]


def test_no_redis_socket(examine: Examine, tmp_path: Path) -> None:
    assert problems(examine(REDIS_URL=f"unix://{tmp_path}/redis.sock")) == ["no-redis"]


def test_no_redis_behind_the_server(examine: Examine, web: WebServer, redis_server: Server) -> None:
    redis_server.kill()
    knows(web, "no-redis")
    assert problems(examine(HUD_URL=web.url)) == ["no-redis"]


def knows(web: WebServer, cause: str) -> None:
    """Wait until the server reports the problem of its Redis."""

    def is_known() -> bool:
        body = web.get("/ready")[1]
        return bool((body.get("redis_trouble") or {}).get("cause") == cause)

    wait_until(is_known, f"the server to know {cause}")


def test_a_frozen_redis_is_distinguished_from_a_missing_one(
    examine: Examine, redis_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hud_web.doctor.redis.TIMEOUT_S", 0.5)
    redis_server.stop()
    assert problems(examine(REDIS_URL=redis_server.url)) == ["redis-silent"]


# ---------------------------------------------------------------- 4 wrong password


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[str]:
    """A Redis with a password; its URL with `{}` in the password's place."""
    with running(redis_binary(), tmp_path / "locked") as server:
        with socket.create_connection(("127.0.0.1", server.port)) as link:
            link.sendall(b"CONFIG SET requirepass right\r\n")
            assert link.recv(16) == b"+OK\r\n"
        yield f"redis://{{}}127.0.0.1:{server.port}/0"


@pytest.mark.parametrize("given", ["", ":wrong@", "somebody:right@"])
def test_wrong_password(examine: Examine, locked: str, given: str) -> None:
    found = examine(REDIS_URL=locked.format(given))
    assert problems(found) == ["redis-password"]
    assert "wrong@" not in the(found, "redis-password").text


def test_right_password(examine: Examine, locked: str) -> None:
    assert problems(examine(REDIS_URL=locked.format(":right@"))) == []


def test_wrong_password_of_the_server(examine: Examine, locked: str, serve: Callable[..., WebServer]) -> None:
    web = serve(redis_url=locked.format(":wrong@"))
    knows(web, "redis-password")
    assert problems(examine(HUD_URL=web.url)) == ["redis-password"]


def test_a_user_without_the_rights_that_are_needed(examine: Examine, redis_server: Server) -> None:
    with socket.create_connection(("127.0.0.1", redis_server.port)) as link:
        link.sendall(b"ACL SETUSER reader on >pw ~other:* +@all\r\n")
        assert link.recv(16) == b"+OK\r\n"
    url = redis_server.url.replace("redis://", "redis://reader:pw@")
    assert problems(examine(REDIS_URL=url)) == ["redis-rights"]


def break_disk(client: redis.Redis, server: Server) -> None:
    shutil.rmtree(server.folder)
    client.config_set("save", "3600 1")
    client.bgsave()


#: The change that an operator or a full disk makes to Redis → the cause, and words of the fix.
REFUSALS: dict[str, tuple[Callable[[redis.Redis, Server], object], str, str]] = {
    "full": (lambda client, _server: client.config_set("maxmemory", "1mb"), "redis-full", "maxmemory"),
    "replica": (lambda client, _server: client.replicaof("127.0.0.1", "1"), "redis-replica", "primary"),
    "alone": (lambda client, _server: client.config_set("min-replicas-to-write", 1), "redis-refuses", "replication"),
    "disk": (break_disk, "redis-refuses", "bgsave"),
    "clients": (lambda client, _server: client.config_set("maxclients", 1), "redis-clients", "client list"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_redis_that_refuses_is_named_from_both_ends(
    examine: Examine, web: WebServer, redis_server: Server, name: str
) -> None:
    refuse, cause, fix = REFUSALS[name]
    with redis.Redis.from_url(redis_server.url) as client:
        refuse(client, redis_server)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        knows(web, cause)
        for found in (examine(HUD_URL=web.url), examine(HUD_URL="", REDIS_URL=redis_server.url)):
            assert problems(found) == [cause]
            assert fix in the(found, cause).fix


# ---------------------------------------------------------------- 5 evicting policy


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_evicting_policy(examine: Examine, tmp_path: Path, policy: str) -> None:
    options = ("--maxmemory", "64mb", "--maxmemory-policy", policy)
    with running(redis_binary(), tmp_path / "evicting", *options) as server:
        found = examine(REDIS_URL=server.url)
    assert problems(found) == ["redis-evicts"]
    assert policy in the(found, "redis-evicts").text


def test_a_redis_that_is_full(examine: Examine, tmp_path: Path) -> None:
    with running(redis_binary(), tmp_path / "full", "--maxmemory", "3mb") as server:
        with redis.Redis.from_url(server.url) as client:
            while client.info("memory")["used_memory"] < 2.8 * 2**20:
                client.rpush("filler", b"x" * 10_000)
        assert problems(examine(REDIS_URL=server.url)) == ["redis-full"]


# ---------------------------------------------------------------- 6 proxies


@contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def buffering_proxy(target: int, *, buffer_bytes: int = 16_384) -> Iterator[int]:
    """Forwards an answer once it has 16 KB or ends, as nginx does by default."""
    listener = socket.create_server(("127.0.0.1", 0))
    links: list[socket.socket] = [listener]

    def ask(client: socket.socket, upstream: socket.socket) -> None:
        with suppress(OSError):  # a body may come apart from its head
            while data := client.recv(65_536):
                upstream.sendall(data)

    def pass_on(client: socket.socket) -> None:
        upstream = socket.create_connection(("127.0.0.1", target))
        links.append(upstream)
        try:
            upstream.sendall(client.recv(65_536).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            threading.Thread(target=ask, args=(client, upstream), daemon=True).start()
            held = b""
            while data := upstream.recv(65_536):
                held += data
                if len(held) > buffer_bytes:
                    client.sendall(held)
                    held = b""
            client.sendall(held)
        except OSError:
            pass
        finally:
            upstream.close()
            client.close()

    def accept() -> None:
        while True:
            try:
                client, _address = listener.accept()
            except OSError:
                return
            links.append(client)
            threading.Thread(target=pass_on, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        for link in links:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()


def test_buffering_proxy(examine: Examine, web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hud_web.doctor.stream.BUFFERED_S", 1.0)
    with buffering_proxy(web.port) as port:
        found = examine(HUD_URL=f"http://127.0.0.1:{port}")
    assert problems(found) == ["buffered"]


def test_proxy_that_cuts_quiet_streams(examine: Examine, web: WebServer, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "haproxy.cfg").write_text(
        f"defaults\n mode http\n option http-no-delay\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
        f"listen hud\n bind 127.0.0.1:{port}\n server web 127.0.0.1:{web.port}\n"
    )
    proxy = subprocess.Popen(["haproxy", "-db", "-f", str(tmp_path / "haproxy.cfg")], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port), "haproxy")
        assert problems(examine(listen_s=6, HUD_URL=f"http://127.0.0.1:{port}")) == ["stream-cut"]
    finally:
        proxy.kill()
        proxy.wait()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_proxy_without_anything_behind_it(examine: Examine) -> None:
    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    with serving(Proxy) as port:
        assert problems(examine(HUD_URL=f"http://127.0.0.1:{port}")) == ["no-backend"]


# ---------------------------------------------------------------- 7 other holder


def test_other_holder(examine: Examine, web: WebServer) -> None:
    web.post("/api/register_session", {"run_id": "theirs", "name": "the other run"})
    found = examine(HUD_URL=web.url)
    assert problems(found) == []
    assert notes(found) == ["held"]
    assert "'the other run'" in the(found, "held").text
    # on another channel there is room
    assert notes(examine(HUD_URL=web.url, HUD_CHANNEL="mine")) == ["no-run"]


def test_a_run_that_stopped_renewing_its_session(examine: Examine, serve: Callable[..., WebServer]) -> None:
    web = serve(environment={"HUD_SESSION_TTL": "1"})
    web.post("/api/register_session", {"name": "dead run"})
    wait_until(lambda: web.get("/api/state")[1]["session"]["status"] == "lapsed", "the lease to run out")
    assert notes(examine(HUD_URL=web.url)) == ["lapsed"]


# ---------------------------------------------------------------- 8 expired token


def test_expired_token(examine: Examine, serve: Callable[..., WebServer]) -> None:
    web = serve(environment={"HUD_TOKEN": "new-token"})
    assert problems(examine(HUD_URL=web.url, HUD_TOKEN="old-token")) == ["token-refused"]
    assert problems(examine(HUD_URL=web.url, HUD_TOKEN="new-token")) == []


def test_no_token_where_one_is_wanted(examine: Examine, serve: Callable[..., WebServer]) -> None:
    web = serve(environment={"HUD_TOKEN": "new-token"})
    assert problems(examine(HUD_URL=web.url)) == ["token-missing"]


def test_a_token_for_looking_where_one_for_writing_is_wanted(examine: Examine, serve: Callable[..., WebServer]) -> None:
    web = serve(environment={"HUD_TOKEN": "write", "HUD_VIEW_TOKEN": "look"})
    assert problems(examine(HUD_URL=web.url, HUD_TOKEN="look")) == ["token-views"]
    assert problems(examine(HUD_URL=web.url, HUD_TOKEN="neither")) == ["token-refused", "view-token"]
    assert problems(examine(HUD_URL=web.url, HUD_TOKEN="write")) == []


def test_both_tokens_of_a_rotation_are_taken(examine: Examine, serve: Callable[..., WebServer]) -> None:
    web = serve(environment={"HUD_TOKEN": "old-token,new-token"})
    for token in ("old-token", "new-token"):
        assert problems(examine(HUD_URL=web.url, HUD_TOKEN=token)) == []


def test_no_viewing_token_where_one_is_wanted(examine: Examine, serve: Callable[..., WebServer]) -> None:
    web = serve(environment={"HUD_VIEW_TOKEN": "see"})
    assert "view-token" in problems(examine(HUD_URL=web.url))
    assert problems(examine(HUD_URL=web.url, HUD_VIEW_TOKEN="see")) == []


def test_a_wrong_viewing_token_beside_the_right_one_for_writing(
    examine: Examine, serve: Callable[..., WebServer]
) -> None:
    web = serve(environment={"HUD_TOKEN": "write", "HUD_VIEW_TOKEN": "look"})
    assert problems(examine(HUD_URL=web.url, HUD_TOKEN="write", HUD_VIEW_TOKEN="old")) == ["view-token"]
    assert problems(examine(HUD_URL=web.url, HUD_TOKEN="write", HUD_VIEW_TOKEN="look")) == []


# ---------------------------------------------------------------- 9 clock skew


@pytest.fixture
def patched(tmp_path: Path, serve: Callable[..., WebServer]) -> Callable[[str], WebServer]:
    """A server process that ran these lines first."""

    def start(lines: str) -> WebServer:
        (tmp_path / "sitecustomize.py").write_text(lines)
        return serve(environment={"PYTHONPATH": str(tmp_path)})

    return start


@pytest.mark.parametrize(("offset_s", "words"), [(90, "90 s ahead of"), (-3600, "3600 s behind")])
def test_clock_skew(examine: Examine, patched: Callable[[str], WebServer], offset_s: int, words: str) -> None:
    web = patched(f"import time\nreal = time.time\ntime.time = lambda: real() + {offset_s}\n")
    found = examine(HUD_URL=web.url)
    assert problems(found) == ["clock-skew"]
    assert words in the(found, "clock-skew").text


# ---------------------------------------------------------------- 10 old server


def test_old_server_of_the_flask_kind(examine: Examine) -> None:
    class Old(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 404)
            self.end_headers()
            if self.path == "/health":
                self.wfile.write(b'{"status": "healthy"}')

        def log_message(self, *_arguments: object) -> None:
            pass

    with serving(Old) as port:
        assert problems(examine(HUD_URL=f"http://127.0.0.1:{port}")) == ["old-server"]


def test_old_server_of_an_earlier_version(examine: Examine, patched: Callable[[str], WebServer]) -> None:
    web = patched("import importlib.metadata as m\nm.version = lambda _name: '0.0.9'\n")
    found = examine(HUD_URL=web.url)
    assert problems(found) == ["old-server"]
    assert "0.0.9" in the(found, "old-server").text


# ---------------------------------------------------------------- the command


def test_the_command_prints_the_cause_and_the_fix_and_fails() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HUD_", "REDIS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "hud_web", "doctor", "--url", f"http://127.0.0.1:{free_port()}", "--listen", "0.1"],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "!! server    no program listens at 127.0.0.1" in done.stdout
    assert "fix: correct the port in HUD_URL" in done.stdout


def test_machines_get_json(examine: Examine, web: WebServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert examine
    assert main(["doctor", "--url", web.url, "--json", "--listen", "0.1"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert {"level", "check", "text", "cause", "fix"} == told["findings"][0].keys()


def test_every_cause_has_its_place_in_the_troubleshooting_page() -> None:
    page = (Path(__file__).parents[2] / "docs/troubleshooting.md").read_text()
    listed = re.findall(r"^\| `([a-z-]+)` \|", page, re.M)
    assert sorted(listed) == sorted(set(get_args(Cause)) - {""})
