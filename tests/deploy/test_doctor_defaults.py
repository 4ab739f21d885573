"""`hud doctor` as users type it, with nothing but an address: right on healthy and on broken set-ups.

The doctor reads the stream for the default 12 s, from a server with the default interval of heartbeats, so the slow
cases run in parallel.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.fixtures.servers import Server, free_port
from tests.fixtures.web import WebServer, poll


def start_doctor(url: str, **environment: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HUD_", "REDIS_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "hud_web", "doctor", "--url", url],
        env=inherited | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    output = process.communicate(timeout=90)[0]
    return process.returncode, output


@contextlib.contextmanager
def tampering_proxy(target: int, *, forward_s: float, is_cutting: bool = False) -> Iterator[int]:
    """Forwards everything for `forward_s` seconds of each connection; then it holds the answer back, or closes."""
    listener = socket.create_server(("127.0.0.1", free_port()))

    def serve_one(client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", target)) as server:
            client.settimeout(30)
            server.settimeout(0.2)
            server.sendall(client.recv(65536))
            end = time.monotonic() + forward_s
            while True:
                try:
                    data = server.recv(65536)
                except TimeoutError:
                    data = None
                if time.monotonic() > end and is_cutting:
                    return
                if data == b"":
                    return
                if data and time.monotonic() <= end:
                    client.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = listener.accept()
                threading.Thread(target=guarded, args=(client,), daemon=True).start()

    def guarded(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            serve_one(client)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


def test_with_defaults_it_is_right_on_healthy_and_on_broken_servers(serve: Callable[..., WebServer]) -> None:
    web = serve()
    locked = serve(environment={"HUD_VIEW_TOKEN": "look", "HUD_TOKEN": "write"})
    with (
        tampering_proxy(web.port, forward_s=4.0) as collecting,
        tampering_proxy(web.port, forward_s=6.0, is_cutting=True) as cutting,
    ):
        healthy = start_doctor(web.url)
        by_name = start_doctor(f"http://localhost:{web.port}/")
        allowed = start_doctor(locked.url, HUD_TOKEN="write")
        refused = start_doctor(locked.url)
        collected = start_doctor(f"http://127.0.0.1:{collecting}")
        cut = start_doctor(f"http://127.0.0.1:{cutting}")
        for process in (healthy, by_name, allowed):
            code, output = ended(process)
            assert code == 0, output
            assert "!!" not in output
            assert "the stream stayed open for 12 s with 1 heartbeats" in output
        code, output = ended(refused)
        assert code == 1
        assert "HUD_TOKEN is not set" in output
        assert "buffering" not in output
        code, output = ended(collected)
        assert (code, "no heartbeat came within 12 s" in output) == (1, True), output
        code, output = ended(cut)
        assert (code, "the stream ended after" in output) == (1, True), output


def test_with_defaults_a_dead_port_a_wrong_server_and_a_dead_redis_are_distinguished(
    serve: Callable[..., WebServer], redis_server: Server
) -> None:
    web = serve()
    redis_server.kill()
    poll(lambda: web.get("/ready")[1].get("redis_trouble"), "the server to notice")
    with socket.create_server(("127.0.0.1", free_port())) as silent:
        dead = start_doctor(f"http://127.0.0.1:{free_port()}")
        wrong = start_doctor(f"http://127.0.0.1:{silent.getsockname()[1]}")
        without_redis = start_doctor(web.url)
        for process, words in (
            (dead, "no program listens"),
            (wrong, "another program"),
            (without_redis, "the server reports: no program listens at Redis"),
        ):
            code, output = ended(process)
            assert (code, words in output) == (1, True), output


@pytest.mark.parametrize("command", ["status", "sessions", "reset", "export", "doctor", "channels"])
def test_no_client_uses_a_proxy_of_the_environment(command: str, standing_web: WebServer) -> None:
    proxies = dict.fromkeys(
        ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"), "http://127.0.0.1:9"
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HUD_", "REDIS_"))}
    inherited.pop("NO_PROXY", None)
    inherited.pop("no_proxy", None)
    extra = ["--listen", "0.2"] if command == "doctor" else []
    done = subprocess.run(
        [sys.executable, "-m", "hud_web", command, "--url", standing_web.url, *extra],
        env=inherited | proxies, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "127.0.0.1:9 " not in done.stdout + done.stderr
    # A channel without a session is no failure of the way to the server.
    assert done.returncode == {"status": 1, "export": 1}.get(command, 0), done.stderr
    assert "no HUD server" not in done.stderr
