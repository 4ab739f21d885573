"""Puts a publisher together: its settings, its sink, its thread's worker. Called by hud_publisher.publisher."""

from __future__ import annotations

import functools
import os
import re
import secrets
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from hud_publisher.breath import Breath
from hud_publisher.composer import Composer
from hud_publisher.encoder import Encoder, prepare
from hud_publisher.http_sink import HttpSink, parse_hud_url
from hud_publisher.link import Link
from hud_publisher.outbox import Outbox, Room
from hud_publisher.pacer import SLOW_S, Pacer
from hud_publisher.protocol.batch import FRAMES_TOGETHER, Claim
from hud_publisher.protocol.redis_url import parse_redis_url
from hud_publisher.protocol.scripts import load_script
from hud_publisher.protocol.settings import Settings
from hud_publisher.redis_client import connect
from hud_publisher.redis_sink import RedisSink
from hud_publisher.sink import Sink
from hud_publisher.stats import Counters
from hud_publisher.worker import Worker

if TYPE_CHECKING:
    from hud_publisher.publisher import Publisher


@dataclass(frozen=True, slots=True)
class Options:
    """What only the constructor of a publisher says, no setting; its docstring explains them."""

    max_side: int | None = None
    writer: str | None = None
    takeover: bool = False
    has_helper: bool = False
    gathers: bool = False


class SinkFactory(Protocol):
    """Makes the sink of a publisher."""

    def __call__(self, publisher: Publisher) -> Sink:
        """Return it; connects to nothing yet."""
        ...


def read_settings(settings: Settings | None, overrides: dict[str, Any]) -> Settings:
    """Return the settings of the environment, or those given, with what the caller names before both.

    Raises:
        ConfigError: one is wrong, or no address of ours.
    """
    given = {field: value for field, value in overrides.items() if value is not None}
    if settings is not None:
        # Read again, so that arguments are checked as the environment is.
        kept = {field: getattr(settings, field) for field in Settings.__slots__}
        settings = Settings.from_env({}, **(kept | given))
    else:
        settings = Settings.from_env(**given)
    if "hud_url" in given and "redis_url" not in given:
        settings = replace(settings, redis_url=None)
    if settings.redis_url:
        parse_redis_url(settings.redis_url)
    elif settings.hud_url:
        parse_hud_url(settings.hud_url)
    return settings


@functools.cache
def warm_up(has_redis: bool) -> None:
    """Do what libraries do once, milliseconds each, before training begins; after that it would be felt there."""
    prepare()
    for script in ("register", "publish", "release"):
        load_script(script)
    if has_redis:
        connect("redis://localhost").close()  # asks nobody; redis-py looks up its own version at first


def make_sink(publisher: Publisher) -> Sink:
    """Return the sink that the settings ask for: Redis where it can be reached, else the HUD server."""
    settings = publisher.settings
    who: dict[str, Any] = {
        "channel": publisher.channel, "run_id": publisher.run_id, "name": publisher.name, "info": publisher.info
    }  # fmt: skip
    if settings.redis_url:
        return RedisSink(settings.redis_url, limits=settings.limits, **who)
    return HttpSink(settings.hud_url or "", token=settings.token, **who)


def make_link(settings: Settings, claim: Claim | None, *, gathers: bool = False) -> Link:
    """Return what a publisher and its thread share."""
    counters, refusals = Counters(), Counters()
    frames, thumbs = Pacer(max(SLOW_S, 1.0 / settings.fps)), Pacer(SLOW_S)
    if settings.frames == "always":
        frames.set_period(1.0 / settings.fps)
    breath = Breath()
    room = Room(frames=FRAMES_TOGETHER if gathers else 1)
    outbox = Outbox(counters, refusals, room, breathe=breath)
    link = Link(
        outbox, frames, thumbs, counters, refusals, settings.frames != "off", claim=claim, breath=breath
    )  # fmt: skip
    frames.is_open, thumbs.is_open = link.wants_frames, False
    return link


def make_worker(settings: Settings, link: Link, sink: Sink, options: Options) -> Worker:
    """Return what the thread runs."""
    encoder = Encoder(
        quality=settings.jpeg_quality,
        image_format=settings.frame_format,
        max_side=options.max_side,
        has_breathed=link.breath.begin,
    )
    return Worker(
        link,
        sink,
        Composer(encoder, link.counters, link.breath),
        writer=_writer_name(options.writer),
        fast_period_s=1.0 / settings.fps,
        is_watched_only=settings.frames == "watched",
        takeover=options.takeover,
        gathers=options.gathers,
    )


def _writer_name(hint: str | None) -> str:
    """Unique per process, and readable: what it is, where it runs, which process, and which of its publishers."""
    parts = [hint, socket.gethostname()[:40], str(os.getpid()), secrets.token_hex(3)]
    return re.sub(r"[^A-Za-z0-9_.:/\-]", "_", "-".join(part for part in parts if part))[-80:]
