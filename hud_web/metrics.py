"""`GET /metrics`: what this replica counts, in Prometheus' text form.

Reads the tally and the rooms when asked, so nothing is measured while nobody looks. Refuses to guess at sums over
replicas: Prometheus adds them up. Called by the app.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, GCCollector, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from hud_web.rooms import Rooms
from hud_web.tally import Histogram
from hud_web.version import distribution_version


class MetricsEndpoint:
    """Answers with everything that the registry collects."""

    def __init__(self, rooms: Rooms) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(ReplicaCollector(rooms))
        # The process's memory, CPU and file descriptors, under the names that every Prometheus user knows.
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    async def answer(self, request: Request) -> Response:
        """Answer in the form that the scraper accepts."""
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        headers = {"Content-Type": media_type, "Cache-Control": "no-store"}
        return Response(encode(self._registry), headers=headers)


class ReplicaCollector(Collector):
    """The replica's tally and its channels."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def collect(self) -> Iterator[Metric]:
        """Yield each metric once."""
        yield _gauge("hud_build_info", "1, with the version.", [((distribution_version(),), 1)], ("version",))
        yield _gauge("hud_draining", "1 while this replica is going away.", [((), int(self._rooms.is_draining))])
        yield _gauge("hud_tasks", "Tasks of the event loop.", [((), len(asyncio.all_tasks()))])
        yield from self._channels()
        yield from self._counts()

    def _channels(self) -> Iterator[Metric]:
        hubs = self._rooms.hubs
        now_ms = time.time() * 1000
        label = ("channel",)
        yield _gauge(
            "hud_viewers", "Streams that this replica serves.",
            [((hub.channel,), len(hub.subscribers)) for hub in hubs], label,
        )  # fmt: skip
        yield _gauge(
            "hud_session_live", "1 while a run holds the channel.",
            [((hub.channel,), int(hub.session.status == "live")) for hub in hubs], label,
        )  # fmt: skip
        yield _gauge(
            "hud_redis_up", "1 while the channel's reader has Redis.",
            [((hub.channel,), int(hub.redis_trouble is None)) for hub in hubs], label,
        )  # fmt: skip
        yield _gauge(
            "hud_frame_age_seconds", "Time since the newest frame came to Redis.",
            [((hub.channel,), max(0.0, now_ms - hub.frame_at_ms) / 1000) for hub in hubs if hub.frame_at_ms], label,
        )  # fmt: skip

    def _counts(self) -> Iterator[Metric]:
        tally = self._rooms.tally
        yield _counter("hud_deliveries", "Writes to viewers; one may carry many events.", [((), tally.deliveries)])
        yield _counter("hud_delivered_bytes", "Bytes of those writes.", [((), tally.delivered_bytes)])
        yield _counter(
            "hud_entries", "Entries read from Redis; their rate is what is published.",
            tally.entries.items(), ("channel", "stream"),
        )  # fmt: skip
        yield _counter(
            "hud_drops", "Frames, events or viewers that were let go, by reason.",
            [((reason,), count) for reason, count in tally.drops.items()], ("reason",),
        )  # fmt: skip
        yield _counter(
            "hud_redis_errors", "Calls to Redis that failed, by kind.",
            [((kind,), count) for kind, count in tally.redis_errors.items()], ("kind",),
        )  # fmt: skip
        yield _counter(
            "hud_http_requests", "Requests answered; a stream counts when it begins.",
            [((method, route, str(status)), count) for (method, route, status), count in tally.requests.items()],
            ("method", "route", "status"),
        )  # fmt: skip
        yield _histogram("hud_lag_seconds", "From an entry's arrival in Redis to this replica having it.", tally.lag)


Samples = Iterable[tuple[tuple[str, ...], float]]


def _gauge(name: str, text: str, samples: Samples, labels: tuple[str, ...] = ()) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _counter(name: str, text: str, samples: Samples, labels: tuple[str, ...] = ()) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    buckets: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        below += count
        buckets.append(("+Inf" if bound == float("inf") else str(bound), below))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.total)
