"""The content of /metrics."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import cast, get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request

from hud_publisher.protocol.entries import EntryId
from hud_publisher.protocol.errors import UnavailableError
from hud_publisher.protocol.keys import Sid
from hud_web.api.metrics import MetricsEndpoint
from hud_web.live.channels import Channels
from hud_web.live.hub import Hub
from hud_web.store.store import Store
from hud_web.store.tally import DropReason, Histogram, Tally
from hud_web.store.views import Opening, SessionView


class NoRedis:
    async def open_current(self, _channel: str) -> Opening:
        raise UnavailableError("nobody there")


class Frozen:
    async def open_current(self, _channel: str) -> Opening:
        await asyncio.Event().wait()
        raise AssertionError


@dataclass
class Kept:
    opening: Opening

    async def open_current(self, _channel: str) -> Opening:
        return self.opening


async def samples(
    tally: Tally, *hubs: Hub, is_draining: bool = False, store: object = None
) -> dict[tuple[str, ...], float]:
    channels = cast("Channels", SimpleNamespace(tally=tally, hubs=list(hubs), is_draining=is_draining))
    request = Request({"type": "http", "headers": [], "method": "GET", "path": "/metrics"})
    endpoint = MetricsEndpoint(channels, cast("Store", store or NoRedis()), "default")
    body = bytes((await endpoint.answer(request)).body).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


async def test_viewers_sessions_and_frame_ages_are_reported_by_channel() -> None:
    hub = Hub("team-a")
    hub.enter(0.0, ends_s=60.0)
    hub.pictures.put_frame(b"{}", int(time.time() * 1000) - 3_000)
    hub.set_trouble(None)
    found = await samples(Tally(), hub, Hub("quiet"))
    assert found["hud_viewers", "team-a"] == 1
    assert found["hud_viewers", "quiet"] == 0
    assert 2.9 < found["hud_frame_age_seconds", "team-a"] < 60
    assert ("hud_frame_age_seconds", "quiet") not in found
    assert (found["hud_redis_up", "team-a"], found["hud_redis_up", "quiet"]) == (1, 0)
    assert found["hud_session_live", "team-a"] == 0


async def test_counters_are_reported() -> None:
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


async def test_the_channel_of_the_process_is_reported_without_viewers() -> None:
    at_ms = int(time.time() * 1000) - 5_000
    session = SessionView("default", Sid("1"), "live", "run")
    opening = Opening(session, {}, {"frames": (EntryId(f"{at_ms}-0"), {})}, EntryId("0-0"))
    found = await samples(Tally(), store=Kept(opening))
    assert (found["hud_viewers", "default"], found["hud_session_live", "default"]) == (0, 1)
    assert found["hud_redis_up", "default"] == 1
    assert 4.9 < found["hud_frame_age_seconds", "default"] < 60


@pytest.mark.parametrize("store", [NoRedis(), Frozen()])
async def test_an_unavailable_redis_is_reported_without_viewers(store: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hud_web.api.metrics.ASK_TIMEOUT_S", 0.01)
    found = await samples(Tally(), store=store)
    assert (found["hud_redis_up", "default"], found["hud_session_live", "default"]) == (0, 0)


async def test_counters_of_drops_and_failures_begin_at_zero() -> None:
    found = await samples(Tally())
    for reason in get_args(DropReason):
        assert found["hud_drops_total", reason] == 0
    assert found["hud_redis_errors_total", "ConnectionError"] == 0


async def test_the_lag_is_a_histogram_that_adds_up() -> None:
    tally = Tally()
    for seconds in (0.0005, 0.004, 0.004, 60.0):
        tally.lag.add(seconds)
    tally.monitor_lag.add(0.7)
    found = await samples(tally)
    assert found["hud_lag_seconds_bucket", "0.001"] == 1
    assert found["hud_lag_seconds_bucket", "0.005"] == 3
    assert found["hud_lag_seconds_bucket", "10.0"] == 3
    assert found["hud_lag_seconds_bucket", "+Inf"] == found["hud_lag_seconds_count",] == 4
    assert found["hud_lag_seconds_sum",] > 60
    assert (found["hud_monitor_lag_seconds_count",], found["hud_monitor_lag_seconds_sum",]) == (1, 0.7)


def test_a_value_on_a_bound_counts_below_it() -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.add(1.0)
    assert histogram.counts == [1, 0, 0]
