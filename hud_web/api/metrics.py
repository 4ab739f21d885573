"""`GET /metrics`: the counters of this replica, in Prometheus' text form.

Reads the counters only when it is called, so it costs nothing between scrapes. For the channel of the process it also
queries Redis while the channel has no viewers here, so that alerts work without viewers. Prometheus sums over the
replicas. Called by the app.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import get_args

from prometheus_client import CollectorRegistry, GCCollector, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from hud_publisher.protocol.entries import STREAMS
from hud_publisher.protocol.errors import HudError
from hud_web import distribution_version
from hud_web.live.channels import Channels
from hud_web.store.sse import time_ms_of
from hud_web.store.store import Store
from hud_web.store.tally import AlertResult, DropReason, Histogram

#: A scrape must not wait for a Redis that does not answer.
ASK_TIMEOUT_S = 0.5


@dataclass(frozen=True, slots=True)
class ChannelFigures:
    """The status of one channel; `frame_at_ms` is the time at which Redis received its newest frame."""

    channel: str
    viewers: int
    is_live: bool
    has_redis: bool
    frame_at_ms: int | None


class MetricsEndpoint:
    """Answers with all metrics of the registry."""

    def __init__(self, channels: Channels, store: Store, channel: str) -> None:
        """Make the registry.

        Args:
            channels: of this process.
            store: for the figures of `channel` while it has no viewers here.
            channel: the channel of the process, HUD_CHANNEL.
        """
        self._channels, self._store, self._channel = channels, store, channel
        self._registry = CollectorRegistry()
        self._collector = ReplicaCollector(channels)
        self._registry.register(self._collector)
        # The process's memory, CPU and file descriptors, under the names that every Prometheus user knows.
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    async def answer(self, request: Request) -> Response:
        """Answer in the format that the scraper accepts."""
        watched = [
            ChannelFigures(
                hub.channel, len(hub.subscribers), hub.session.status == "live", hub.redis_trouble is None,
                hub.pictures.frame_at_ms,
            )
            for hub in self._channels.hubs
        ]  # fmt: skip
        if self._channel not in {figures.channel for figures in watched}:
            watched.append(await self._ask())
        self._collector.figures = watched
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
        at_ms = time_ms_of(frame[0]) if frame else None
        return ChannelFigures(self._channel, 0, opening.session.status == "live", has_redis=True, frame_at_ms=at_ms)


class ReplicaCollector(Collector):
    """The replica's tally and its channels."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels
        self.figures: list[ChannelFigures] = []

    def collect(self) -> Iterator[Metric]:
        """Yield each metric once."""
        yield _gauge("hud_build_info", "1, with the version.", [((distribution_version(),), 1)], ("version",))
        yield _gauge("hud_draining", "1 while this replica is going away.", [((), int(self._channels.is_draining))])
        yield _gauge("hud_tasks", "Tasks of the event loop.", [((), len(asyncio.all_tasks()))])
        yield from self._of_channels()
        yield from self._counts()

    def _of_channels(self) -> Iterator[Metric]:
        now_ms = time.time() * 1000
        label = ("channel",)
        yield _gauge(
            "hud_viewers", "Streams that this replica serves.",
            [((one.channel,), one.viewers) for one in self.figures], label,
        )  # fmt: skip
        yield _gauge(
            "hud_session_live", "1 while a run holds the channel.",
            [((one.channel,), int(one.is_live)) for one in self.figures], label,
        )  # fmt: skip
        yield _gauge(
            "hud_redis_up", "1 while the channel's reader has Redis.",
            [((one.channel,), int(one.has_redis)) for one in self.figures], label,
        )  # fmt: skip
        yield _gauge(
            "hud_frame_age_seconds", "Time since the newest frame came to Redis.",
            [((one.channel,), max(0.0, now_ms - one.frame_at_ms) / 1000) for one in self.figures if one.frame_at_ms],
            label,
        )  # fmt: skip

    def _counts(self) -> Iterator[Metric]:
        tally = self._channels.tally
        yield _counter("hud_deliveries", "Writes to viewers; one may carry many events.", [((), tally.deliveries)])
        yield _counter("hud_delivered_bytes", "Bytes of those writes.", [((), tally.delivered_bytes)])
        yield _counter(
            "hud_entries", "Entries read from Redis; their rate is the rate of publishing.",
            tally.entries.items(), ("channel", "stream"),
        )  # fmt: skip
        yield _counter(
            "hud_drops", "Frames, events or viewers that were let go, by reason.",
            [((reason,), tally.drops[reason]) for reason in get_args(DropReason)], ("reason",),
        )  # fmt: skip
        yield _counter(
            "hud_redis_errors", "Calls to Redis that failed, by kind.",
            # A counter that begins with its first error has no rate for that error.
            [((kind,), tally.redis_errors[kind]) for kind in {"ConnectionError", "TimeoutError", *tally.redis_errors}],
            ("kind",),
        )  # fmt: skip
        yield _counter(
            "hud_unreadable", "Stored items that were passed over since they cannot be read, by kind.",
            [((kind,), tally.unreadable[kind]) for kind in {*STREAMS, *tally.unreadable}], ("kind",),
        )  # fmt: skip
        yield _counter(
            "hud_alerts", "Alerts sent, attempts that failed, and alerts that became too old, by result.",
            [((result,), tally.alerts[result]) for result in get_args(AlertResult)], ("result",),
        )  # fmt: skip
        yield _gauge("hud_alerts_pending", "Alerts that this replica has to deliver.", [((), tally.alerts_pending)])
        yield _counter(
            "hud_http_requests", "Requests answered; a stream counts when it begins.",
            [((method, route, str(status)), count) for (method, route, status), count in tally.requests.items()],
            ("method", "route", "status"),
        )  # fmt: skip
        yield _histogram("hud_lag_seconds", "From an entry's arrival in Redis to this replica having it.", tally.lag)
        yield _histogram(
            "hud_monitor_lag_seconds", "From an entry's arrival in Redis to the monitor here having judged it.",
            tally.monitor_lag,
        )  # fmt: skip


Samples = Iterable[tuple[tuple[str, ...], float]]


def _family(
    kind: type[CounterMetricFamily | GaugeMetricFamily], name: str, text: str, samples: Samples,
    labels: tuple[str, ...] = (),
) -> Metric:  # fmt: skip
    family = kind(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


_gauge, _counter = partial(_family, GaugeMetricFamily), partial(_family, CounterMetricFamily)


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    buckets: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        below += count
        buckets.append(("+Inf" if bound == float("inf") else str(bound), below))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.total)
