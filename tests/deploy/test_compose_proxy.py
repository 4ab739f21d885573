"""haproxy as docker-compose.yml configures it, before a real replica."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fixtures.servers import free_port
from tests.fixtures.web import SseClient, WebServer, poll

_CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "compose" / "haproxy.cfg"
ENVIRONMENT = {
    "HUD_TRUSTED_PROXIES": "*", "HUD_ALLOWED_HOSTS": "*", "HUD_STREAMS_PER_ADDRESS": "2",
    "HUD_LOG_FORMAT": "json", "HUD_LOG_LEVEL": "info",
}  # fmt: skip


@contextmanager
def proxy(web: WebServer, view_port: int, folder: Path) -> Iterator[tuple[int, int]]:
    """Run haproxy with the configuration's own lines, but for addresses; yield its two ports."""
    ports = free_port(), free_port()
    text = _CONFIG.read_text()
    for number, port in zip((8086, 8087), ports, strict=True):
        text = text.replace(f"bind :{number}\n", f"bind 127.0.0.1:{port}\n")
    text = text.replace("server-template web 10 hud-web:8086", f"server web 127.0.0.1:{web.port}")
    text = text.replace("server-template web 10 hud-web:8087", f"server web 127.0.0.1:{view_port}")
    text = text.replace(" resolvers docker init-addr none", "")
    text = re.sub(r"resolvers docker\n(?: .*\n)+", "", text)
    (folder / "haproxy.cfg").write_text(text)
    process = subprocess.Popen(["haproxy", "-db", "-f", str(folder / "haproxy.cfg")])
    try:
        poll(lambda: process.poll() is not None or answer(ports[0], "/health")[0] == 200, "haproxy")
        assert process.poll() is None
        yield ports
    finally:
        process.kill()
        process.wait()


def answer(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


@pytest.mark.parametrize("which", [0, 1], ids=["writing port", "viewing port"])
def test_a_made_up_address_counts_for_nothing_behind_the_proxy_of_compose(
    serve: Callable[..., WebServer], tmp_path: Path, which: int
) -> None:
    view_port = free_port()
    web = serve(environment=ENVIRONMENT | {"HUD_VIEW_PORT": str(view_port)})
    with proxy(web, view_port, tmp_path) as ports:
        clients = [
            SseClient(f"http://127.0.0.1:{ports[which]}/stream", {"X-Forwarded-For": f"203.0.113.{number}"})
            for number in range(3)
        ]
        try:
            assert [client.status for client in clients] == [200, 200, 429]
        finally:
            for client in clients:
                client.close()
        assert answer(ports[which], "/nothing", {"X-Forwarded-For": "203.0.113.7"})[0] == 404
        lines = poll(lambda: [line for line in list(web.output) if "/nothing" in line], "the line of the log")
    assert json.loads(lines[0])["client"] == "127.0.0.1"


def test_the_entry_of_the_nearest_proxy_counts_where_a_proxy_appends(serve: Callable[..., WebServer]) -> None:
    web = serve(environment=ENVIRONMENT)
    clients = [
        SseClient(f"{web.url}/stream", {"X-Forwarded-For": f"203.0.113.{number}, 198.51.100.7"}) for number in range(3)
    ]
    statuses = [client.status for client in clients]
    for client in clients:
        client.close()
    assert statuses == [200, 200, 429]
    assert answer(web.port, "/nothing", {"X-Forwarded-For": "203.0.113.7, 198.51.100.8"})[0] == 404
    lines = poll(lambda: [line for line in list(web.output) if "/nothing" in line], "the line of the log")
    assert json.loads(lines[0])["client"] == "198.51.100.8"
