"""The view of an operator on a real server: metrics that change, lines that a log store reads, ids in both."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable

import pytest
import redis
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from hud_publisher import Publisher
from tests.fixtures.servers import Server
from tests.fixtures.web import SseClient, WebServer, poll

Figures = dict[str, float]


def figures(web: WebServer) -> Figures:
    """Each metric summed over its labels."""
    found: Figures = {}
    for family in text_string_to_metric_families(web.get("/metrics")[1].decode()):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def test_every_metric_changes_with_the_events_that_it_counts(
    web: WebServer, redis_server: Server, watch: Callable[..., SseClient]
) -> None:
    before = figures(web)
    assert (before["hud_viewers"], before["hud_session_live"], before["hud_redis_up"]) == (0, 0, 1)
    client = watch(web)
    poll(lambda: figures(web)["hud_viewers"] == 1, "the viewer")
    with Publisher(redis_url=redis_server.url, name="run", frames="always") as hud:
        hud.log({"reward": 1.0}, step=1)
        hud.frame(Image.new("RGB", (16, 12)), step=1)
        client.wait(lambda seen: seen.named("training_update") and seen.named("vision_update"), "both")
        poll(lambda: figures(web)["hud_session_live"] == 1, "the session")
        # Entries shown at the session's start were not read live, so another one is logged here.
        hud.log({"reward": 2.0}, step=2)
        counted = (
            "hud_entries_total", "hud_deliveries_total", "hud_delivered_bytes_total", "hud_lag_seconds_count",
            "hud_monitor_lag_seconds_count", "hud_http_requests_total",
        )  # fmt: skip
        poll(lambda: all(figures(web).get(name, 0) > before.get(name, 0) for name in counted), "all to be counted")
        now = figures(web)
        assert 0 <= now["hud_frame_age_seconds"] < 60
        poll(lambda: figures(web)["hud_frame_age_seconds"] > now["hud_frame_age_seconds"], "the frame to grow older")
    poll(lambda: figures(web)["hud_session_live"] == 0, "the session to end")
    redis_server.kill()
    poll(lambda: figures(web)["hud_redis_up"] == 0, "Redis to be missed")
    assert figures(web)["hud_redis_errors_total"] > before["hud_redis_errors_total"]
    client.close()
    poll(lambda: figures(web)["hud_viewers"] == 0, "the viewer to be gone")


def test_a_run_and_a_lost_redis_show_while_nobody_watches(web: WebServer, redis_server: Server) -> None:
    web.post("/api/register_session", {"name": "at night"})
    assert (figures(web)["hud_session_live"], figures(web)["hud_redis_up"]) == (1, 1)
    with redis.Redis.from_url(redis_server.url) as client:
        assert not client.exists("hud:{default}:viewers"), "looking at metrics is not watching"
    redis_server.kill()
    assert (figures(web)["hud_session_live"], figures(web)["hud_redis_up"]) == (0, 0)


def test_every_line_is_json_where_it_was_asked_for(serve: Callable[..., WebServer], redis_server: Server) -> None:
    web = serve(environment={"HUD_LOG_FORMAT": "json", "HUD_LOG_LEVEL": "debug", "HUD_VIEW_PORT": "0"})
    web.get("/health")
    web.request("GET", "/api/nothing", headers={"X-Request-Id": "from-the-router"})
    redis_server.kill()
    web.request("GET", "/ready", headers={"X-Request-Id": "not-ready"})
    assert web.terminate(timeout_s=20) == 0
    lines = [json.loads(line) for line in web.output]
    by_id = {line.get("request_id"): line for line in lines if line["logger"] == "hud.request"}
    assert (by_id["from-the-router"]["status"], by_id["from-the-router"]["level"]) == (404, "info")
    assert (by_id["not-ready"]["status"], by_id["not-ready"]["level"]) == (503, "warning")
    assert any(line["message"].startswith("http://localhost") for line in lines), "the viewing port's address"
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in lines)


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [("3f2a-01:b.c_d", True), ("x" * 128, True), ("x" * 129, False), ("two words", False), ('"quoted"', False),
     ("a{b}", False), ("", False)],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/health", "/api/nothing", "/static/js/shell/main.js"])
def test_an_id_that_came_is_kept_where_it_is_sane(
    standing_web: WebServer, path: str, given: str, is_kept: bool
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", standing_web.port, timeout=10)
    connection.request("GET", path, headers={"X-Request-Id": given})
    told = connection.getresponse().headers["X-Request-Id"]
    connection.close()
    assert (told == given) is is_kept
    assert re.fullmatch(r"[A-Za-z0-9_.:\-]{1,128}", told)
