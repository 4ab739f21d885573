"""`GET /metrics`: what this replica counts, in Prometheus' text form.

Reads the tally and the rooms when asked, so nothing is measured while nobody looks; of the process's own channel also
what Redis says while nobody watches it here, or an alert would see nothing at night. Refuses to guess at sums over
replicas: Prometheus adds them up. Called by the app.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import get_args

from prometheus_client import CollectorRegistry, GCCollector, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from hud_publisher.protocol.errors import HudError
from hud_web.rooms import Rooms
from hud_web.store import Store
from hud_web.tally import DropReason, Histogram
from hud_web.version import distribution_version

#: A scrape must not wait for a Redis that is stuck.
ASK_TIMEOUT_S = 0.5


@dataclass(frozen=True, slots=True)
class ChannelFigures:
    """How one channel stands; `frame_at_ms` is when its newest frame came to Redis."""

    channel: str
    viewers: int
    is_live: bool
    has_redis: bool
    frame_at_ms: int | None


class MetricsEndpoint:
    """Answers with everything that the registry collects."""

    def __init__(self, rooms: Rooms, store: Store, channel: str) -> None:
        """Make the registry.

        Args:
            rooms: of this process.
            store: asked for `channel` while nobody watches it here.
            channel: the process's own, HUD_CHANNEL.
        """
        self._rooms, self._store, self._channel = rooms, store, channel
        self._registry = CollectorRegistry()
        self._collector = ReplicaCollector(rooms)
        self._registry.register(self._collector)
        # The process's memory, CPU and file descriptors, under the names that every Prometheus user knows.
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    async def answer(self, request: Request) -> Response:
        """Answer in the form that the scraper accepts."""
        watched = [
            ChannelFigures(
                hub.channel, len(hub.subscribers), hub.session.status == "live", hub.redis_trouble is None,
                hub.frame_at_ms,
            )
            for hub in self._rooms.hubs
        ]  # fmt: skip
        if self._channel not in {figures.channel for figures in watched}:
            watched.append(await self._ask())
        self._collector.channels = watched
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        headers = {"Content-Type": media_type, "Cache-Control": "no-store"}
        return Response(encode(self._registry), headers=headers)

    async def _ask(self) -> ChannelFigures:
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                opening = await self._store.open_current(self._channel)
        except (HudError, TimeoutError):
            return ChannelFigures(self._channel, 0, is_live=False, has_redis=False, frame_at_ms=None)
        frame = opening.newest.get("frames")
        at_ms = int(frame[0].partition("-")[0]) if frame else None
        return ChannelFigures(self._channel, 0, opening.session.status == "live", has_redis=True, frame_at_ms=at_ms)


class ReplicaCollector(Collector):
    """The replica's tally and its channels."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self.channels: list[ChannelFigures] = []

    def collect(self) -> Iterator[Metric]:
        """Yield each metric once."""
        yield _gauge("hud_build_info", "1, with the version.", [((distribution_version(),), 1)], ("version",))
        yield _gauge("hud_draining", "1 while this replica is going away.", [((), int(self._rooms.is_draining))])
        yield _gauge("hud_tasks", "Tasks of the event loop.", [((), len(asyncio.all_tasks()))])
        yield from self._channels()
        yield from self._counts()

    def _channels(self) -> Iterator[Metric]:
        now_ms = time.time() * 1000
        label = ("channel",)
        yield _gauge(
            "hud_viewers", "Streams that this replica serves.",
            [((one.channel,), one.viewers) for one in self.channels], label,
        )  # fmt: skip
        yield _gauge(
            "hud_session_live", "1 while a run holds the channel.",
            [((one.channel,), int(one.is_live)) for one in self.channels], label,
        )  # fmt: skip
        yield _gauge(
            "hud_redis_up", "1 while the channel's reader has Redis.",
            [((one.channel,), int(one.has_redis)) for one in self.channels], label,
        )  # fmt: skip
        yield _gauge(
            "hud_frame_age_seconds", "Time since the newest frame came to Redis.",
            [((one.channel,), max(0.0, now_ms - one.frame_at_ms) / 1000) for one in self.channels if one.frame_at_ms],
            label,
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
            [((reason,), tally.drops[reason]) for reason in get_args(DropReason)], ("reason",),
        )  # fmt: skip
        yield _counter(
            "hud_redis_errors", "Calls to Redis that failed, by kind.",
            # A counter that begins with its first error has no rate of it.
            [((kind,), tally.redis_errors[kind]) for kind in {"ConnectionError", "TimeoutError", *tally.redis_errors}],
            ("kind",),
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
