"""A real replica's second port, and its metrics."""

from __future__ import annotations

import http.client
import json
import resource
from collections.abc import Callable
from typing import Any

from tests.fixtures.servers import free_port
from tests.fixtures.web import SseClient, WebServer


def ask(port: int, method: str, path: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_the_viewing_port_shows_everything_and_takes_nothing(serve: Callable[..., WebServer]) -> None:
    view = free_port()
    web = serve(environment={"HUD_VIEW_PORT": str(view)})
    session_id = web.post("/api/register_session")[1]["session_id"]
    web.post("/api/update_training", {"session_id": session_id, "data": {"reward": 1.5}})
    assert ask(view, "POST", "/api/reset_session")[0] == 403
    assert ask(view, "GET", "/metrics")[0] == 404
    status, body = ask(view, "GET", "/api/state")
    assert (status, json.loads(body)["state"]) == (200, {"reward": 1.5})
    client = SseClient(f"http://127.0.0.1:{view}/stream")
    client.wait(lambda seen: seen.named("snapshot"), "the snapshot")
    client.close()
    # nothing was reset
    assert web.get("/api/state")[1]["session"]["status"] == "live"


def test_a_replica_tells_prometheus_of_its_viewers_and_entries(web: WebServer, watch: Callable[..., SseClient]) -> None:
    session_id = web.post("/api/register_session")[1]["session_id"]
    client = watch(web)
    client.wait(lambda seen: seen.named("snapshot"), "the snapshot")
    web.post("/api/update_training", {"session_id": session_id, "data": {"reward": 1.5}})
    client.wait(lambda seen: seen.named("training_update"), "the update")
    text = web.get("/metrics")[1].decode()
    assert 'hud_viewers{channel="default"} 1.0' in text
    assert 'hud_session_live{channel="default"} 1.0' in text
    assert 'hud_entries_total{channel="default",stream="metrics"} 1.0' in text
    assert "hud_lag_seconds_count 1.0" in text
    assert 'hud_http_requests_total{method="POST",route="/api/update_training",status="200"} 1.0' in text


def test_a_replica_takes_as_many_viewers_as_the_system_lets_it_ask_for(serve: Callable[..., WebServer]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, hard))  # the default of most systems; the replica inherits it
    try:
        web = serve()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert web.process is not None
    most = resource.prlimit(web.process.pid, resource.RLIMIT_NOFILE)[0]
    assert most == (65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536))
