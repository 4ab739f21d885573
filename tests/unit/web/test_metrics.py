"""What /metrics says."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import cast

from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request

from hud_web.hub import Hub
from hud_web.metrics import MetricsEndpoint
from hud_web.rooms import Rooms
from hud_web.tally import Histogram, Tally


async def samples(tally: Tally, *hubs: Hub, is_draining: bool = False) -> dict[tuple[str, ...], float]:
    rooms = cast("Rooms", SimpleNamespace(tally=tally, hubs=list(hubs), is_draining=is_draining))
    request = Request({"type": "http", "headers": [], "method": "GET", "path": "/metrics"})
    body = bytes((await MetricsEndpoint(rooms).answer(request)).body).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


async def test_viewers_sessions_and_frame_ages_are_told_by_channel() -> None:
    hub = Hub("team-a")
    hub.enter(0.0, ends_s=60.0)
    hub.put_frame(b"{}", int(time.time() * 1000) - 3_000)
    hub.redis_trouble = None
    found = await samples(Tally(), hub, Hub("quiet"))
    assert found["hud_viewers", "team-a"] == 1
    assert found["hud_viewers", "quiet"] == 0
    assert 2.9 < found["hud_frame_age_seconds", "team-a"] < 60
    assert ("hud_frame_age_seconds", "quiet") not in found
    assert (found["hud_redis_up", "team-a"], found["hud_redis_up", "quiet"]) == (1, 0)
    assert found["hud_session_live", "team-a"] == 0


async def test_what_was_counted_is_told() -> None:
    tally = Tally(deliveries=7, delivered_bytes=900)
    tally.entries["default", "metrics"] += 5
    tally.drops["frame skipped"] += 4
    tally.redis_errors["TimeoutError"] += 3
    tally.requests["GET", "/stream", 200] += 2
    found = await samples(tally, is_draining=True)
    assert found["hud_deliveries_total",] == 7
    assert found["hud_delivered_bytes_total",] == 900
    assert found["hud_entries_total", "default", "metrics"] == 5
    assert found["hud_drops_total", "frame skipped"] == 4
    assert found["hud_redis_errors_total", "TimeoutError"] == 3
    assert found["hud_http_requests_total", "GET", "/stream", "200"] == 2
    assert found["hud_draining",] == 1
    assert found["hud_tasks",] >= 1
    assert found["process_open_fds",] > 0


async def test_the_lag_is_a_histogram_that_adds_up() -> None:
    tally = Tally()
    for seconds in (0.0005, 0.004, 0.004, 60.0):
        tally.lag.add(seconds)
    found = await samples(tally)
    assert found["hud_lag_seconds_bucket", "0.001"] == 1
    assert found["hud_lag_seconds_bucket", "0.005"] == 3
    assert found["hud_lag_seconds_bucket", "10.0"] == 3
    assert found["hud_lag_seconds_bucket", "+Inf"] == found["hud_lag_seconds_count",] == 4
    assert found["hud_lag_seconds_sum",] > 60


def test_a_value_on_a_bound_counts_below_it() -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.add(1.0)
    assert histogram.counts == [1, 0, 0]
