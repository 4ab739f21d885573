"""What training code talks to: `Publisher`.

Nothing here blocks, raises (except ConfigError from the constructor) or grows. Values are copied and put into a bounded
outbox; a daemon thread, started at first use, does all the rest. After a fork the child has a publisher of its own that
joins the same session; a pickled publisher does the same where it is unpickled.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import secrets
import socket
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from hud_publisher.composer import Composer
from hud_publisher.encoder import Encoder
from hud_publisher.http_sink import HttpSink, parse_hud_url
from hud_publisher.link import Link, Status
from hud_publisher.outbox import Env, Fields, Outbox, Picture, Vision
from hud_publisher.pacer import SLOW_S, Pacer
from hud_publisher.protocol.batch import Claim
from hud_publisher.protocol.keys import Sid
from hud_publisher.protocol.redis_url import parse_redis_url
from hud_publisher.protocol.replies import Published
from hud_publisher.protocol.settings import Settings
from hud_publisher.redis_sink import RedisSink
from hud_publisher.sink import Sink
from hud_publisher.snapshot import copy_env, copy_fields, copy_pixels, copy_step
from hud_publisher.stats import Counters, Stats
from hud_publisher.worker import Worker

logger = logging.getLogger("hud_publisher")

#: How long closing may take, in seconds: one time-out of a server that does not answer.
CLOSE_S = 2.0

PixelArray = Any


class _SinkFactory(Protocol):
    def __call__(self, publisher: Publisher) -> Sink: ...


class Publisher:
    """Publishes one process's metrics, frames and vision calls.

    Attributes:
        settings: what the environment and the arguments decided.
        run_id: processes with the same one share a session; a secret of the run.
        name: the run's name for people.
        info: text fields of the session (env, algorithm …), shown on the page.
    """

    def __init__(
        self,
        run_id: str | None = None,
        channel: str | None = None,
        *,
        name: str | None = None,
        info: Mapping[str, str] | None = None,
        settings: Settings | None = None,
        redis_url: str | None = None,
        hud_url: str | None = None,
        fps: float | None = None,
        max_side: int | None = None,
        writer: str | None = None,
        **overrides: Any,
    ) -> None:
        """Read the settings; connects to nothing yet.

        Args:
            run_id: instead of HUD_RUN_ID; without either a random one, so that the run is this process and its forks.
            channel: instead of HUD_CHANNEL.
            name: the run's name for people; the program's and host's names without it.
            info: text fields of the session, shown on the page.
            settings: instead of reading the environment.
            redis_url: instead of REDIS_URL.
            hud_url: instead of HUD_URL; where only this one is given, it goes before REDIS_URL.
            fps: instead of HUD_FPS.
            max_side: scale frames down so that no side is longer, in pixels.
            writer: what this process is in the run, such as "w1"; part of its writer name.
            **overrides: further attributes of Settings.

        Raises:
            ConfigError: a setting is wrong; it names all that are.
        """
        overrides |= {"run_id": run_id, "channel": channel, "redis_url": redis_url, "hud_url": hud_url, "fps": fps}
        self.settings = _settings(settings, overrides)
        if self.settings.redis_url:
            parse_redis_url(self.settings.redis_url)
        elif self.settings.hud_url:
            parse_hud_url(self.settings.hud_url)
        self.run_id = self.settings.run_id or secrets.token_urlsafe(18)
        self.name = name or f"{Path(sys.argv[0]).stem or 'run'}@{socket.gethostname()}"
        self.info = {str(field): str(value) for field, value in (info or {}).items()}
        self._max_side, self._writer_hint = max_side, writer
        self._sink_factory: _SinkFactory = _make_sink
        self._claim: Claim | None = None
        self._reset()
        if not self._is_enabled:
            _say_disabled()

    def _reset(self) -> None:
        """Forget the thread and what it shares with us: at first, and in the child of a fork."""
        # Re-entrant: a signal handler may close while its own thread starts.
        self._start_lock = threading.RLock()
        self._link: Link | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._is_enabled = bool(self.settings.redis_url or self.settings.hud_url)
        _publishers.add(self)

    def __getstate__(self) -> dict[str, Any]:
        kept = ("settings", "run_id", "name", "info", "_max_side", "_writer_hint", "_sink_factory", "_claim")
        return {field: self.__dict__[field] for field in kept}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def __repr__(self) -> str:
        return f"Publisher(channel={self.channel!r}, status={self.status!r}, sid={self.sid!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- what training calls ------------------------------------------------------------------------------------------

    def log(self, data: Mapping[Any, Any], step: int | None = None) -> None:
        """Publish the fields of one moment; fields that are left out keep their last value.

        Never blocks and never raises. Costs a copy of the mapping; nested containers and arrays are copied too.

        Args:
            data: names to values: numbers, bools, text, arrays and tensors of few values, nested mappings, lists,
                dataclasses. None and non-finite numbers are left out.
            step: environment steps sampled so far in this run.
        """
        self._offer_fields(data, step, "metrics")

    def log_iteration(self, data: Mapping[Any, Any], step: int | None = None) -> None:
        """Publish the results of one training iteration; the same as `log`, kept apart and kept whole."""
        self._offer_fields(data, step, "iterations")

    def wants_frame(self, env: Env | None = None) -> bool:
        """Whether `frame` would take one now: ask before rendering. Costs one clock read."""
        link = self._link or self._start()
        return link is not None and link.frames.is_due(env)

    def frame(
        self, pixels: PixelArray, *, step: int | None = None, episode: int | None = None, env: Env | None = None
    ) -> bool:
        """Offer the newest rendered frame; it replaces any frame of this env that was not sent yet.

        Never blocks and never raises. Costs one copy when a frame is due, and one clock read otherwise.

        Args:
            pixels: uint8 RGB of shape (height, width, 3); RGBA, grey, floats from 0 to 1, tensors, PIL images and
                encoded JPEG, PNG or WebP bytes are taken too.
            step: environment steps sampled so far in this run.
            episode: number of the episode.
            env: (worker index, env index).

        Returns:
            Whether the frame was taken (False: not due yet, not wanted, or no picture).
        """
        link = self._link or self._start()
        if link is None or not link.frames.take(env):
            return False
        return self._offer_picture(link, Picture(pixels, _now_ms(), step, episode, env, "frames"))

    def wants_thumbnail(self, env: Env) -> bool:
        """Whether `thumbnail` would take one of this env now. Costs one clock read."""
        link = self._link or self._start()
        return link is not None and link.thumbs.is_due(env)

    def thumbnail(self, pixels: PixelArray, *, env: Env, step: int | None = None) -> bool:
        """Offer a picture of any env for the strip of all envs, once per second while somebody watches.

        Args:
            pixels: as for `frame`; it is scaled down in the thread.
            env: (worker index, env index).
            step: environment steps sampled so far in this run.

        Returns:
            Whether it was taken.
        """
        link = self._link or self._start()
        if link is None or not link.thumbs.take(env):
            return False
        return self._offer_picture(link, Picture(pixels, _now_ms(), step, None, env, "thumbs"))

    def vision(
        self,
        image: PixelArray | bytes,
        *,
        prompt: str | None = None,
        response: str | None = None,
        response_time_ms: float | None = None,
        step: int | None = None,
        **extra: Any,
    ) -> None:
        """Publish one call of the vision LLM. Never blocks and never raises.

        Args:
            image: what the model saw: encoded bytes, which are kept exactly as they are, or pixels as for `frame`.
            prompt: the text that went with the picture.
            response: the model's answer.
            response_time_ms: how long the model took, in milliseconds.
            step: environment steps sampled so far in this run.
            **extra: further fields, shown by their names (model, action, tokens, error …).
        """
        link = self._link or self._start()
        if link is None or self._is_closing(link, "vision"):
            return
        try:
            latency = None if response_time_ms is None else float(response_time_ms)
            if latency is not None and not 0 <= latency < 1e12:
                latency = None
            text = [None if part is None else str(part) for part in (prompt, response)]
            item = Vision(
                copy_pixels(image), _now_ms(), copy_step(step), text[0], text[1], latency, copy_fields(extra)[0]
            )
        except Exception as error:  # a foreign object's methods may raise anything
            self._refuse(link, "vision", error)
            return
        link.outbox.offer_vision(item)
        self._wake(link)

    # -- state --------------------------------------------------------------------------------------------------------

    @property
    def channel(self) -> str:
        """Which display."""
        return self.settings.channel

    @property
    def status(self) -> Status:
        """How it stands; see link.Status. "connecting" until the first use, too."""
        if not self._is_enabled:
            return "disabled"
        if self._link is None:
            return "closed" if self._is_closed else "connecting"
        return self._link.status

    @property
    def is_active(self) -> bool:
        """Whether this process holds the session just now."""
        return self.status in ("registered", "joined")

    @property
    def sid(self) -> Sid | None:
        """The session's public number; None while there is no session."""
        session = self._link.session if self._link else None
        return session.sid if session else None

    @property
    def session_id(self) -> str | None:
        """The session's secret: not for logs, pages or URLs. None while there is no session."""
        session = self._link.session if self._link else None
        return session.session_id if session else None

    @property
    def feedback(self) -> Published:
        """What the newest reply told: viewers, the wanted reporter, which env is shown and since when."""
        return self._link.feedback if self._link else Published()

    @property
    def feedback_age_s(self) -> float:
        """How long ago that reply came, in seconds; infinite before the first one."""
        return time.monotonic() - self._link.feedback_at if self._link else float("inf")

    @property
    def claim(self) -> Claim | None:
        """The wish to be the reporter, attached to every following batch and heartbeat; None: no wish."""
        return self._claim

    @claim.setter
    def claim(self, claim: Claim | None) -> None:
        changed = claim != self._claim
        self._claim = claim
        if self._link is not None:
            self._link.claim = claim
            if changed and claim is not None:
                self._link.doorbell.ring()

    @property
    def stats(self) -> Stats:
        """Counters since this process began to publish."""
        link = self._link
        if link is None:
            return Stats()
        counted = link.counters.freeze({})
        waiting = {
            stream: taken
            - counted.sent.get(stream, 0)
            - sum(count for name, count in counted.dropped.items() if name.startswith(f"{stream}/"))
            for stream, taken in counted.taken.items()
        }
        return replace(counted, pending=waiting)

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Ask for the session now instead of at first use. Returns at once."""
        if self._link is None:
            self._start()

    def close(self, timeout_s: float = CLOSE_S, *, release: bool | None = None) -> None:
        """Send what waits, end the session if this process began it, stop the thread. Idempotent, never raises.

        Args:
            timeout_s: how long it may take at most, in seconds; what is not sent by then is dropped and counted.
            release: whether to end the session for the whole run; None: if this process began it.
        """
        thread = self._ask_to_close(time.monotonic() + timeout_s, release)
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, timeout_s) + 0.1)

    def _ask_to_close(self, close_by: float, release: bool | None = None) -> threading.Thread | None:
        with self._start_lock:
            self._is_closed = True
            link = self._link
        if link is None:
            return None
        if link.close_by is None:
            link.release = release
            link.close_by = close_by
        link.frames.is_open = link.thumbs.is_open = link.wants_frames = False
        link.doorbell.ring()
        return self._thread

    def _start(self) -> Link | None:
        """Start the thread; None if there is nothing to do, or nobody to do it any more."""
        if not self._is_enabled or self._is_closed:
            return None
        with self._start_lock:
            if self._link is None and not self._is_closed:
                try:
                    self._thread, self._link = self._make_thread()
                    self._thread.start()
                except Exception as error:  # no thread can be started while the interpreter ends, for one
                    self._link, self._is_closed = None, True
                    logger.warning("HUD: could not start publishing: %r", error)
            return self._link

    def _make_thread(self) -> tuple[threading.Thread, Link]:
        settings = self.settings
        counters = Counters()
        frames, thumbs = Pacer(max(SLOW_S, 1.0 / settings.fps)), Pacer(SLOW_S)
        if settings.frames == "always":
            frames.set_period(1.0 / settings.fps)
        link = Link(Outbox(counters), frames, thumbs, counters, wants_frames=settings.frames != "off")
        link.claim = self._claim
        frames.is_open, thumbs.is_open = link.wants_frames, False
        encoder = Encoder(quality=settings.jpeg_quality, image_format=settings.frame_format, max_side=self._max_side)
        worker = Worker(
            link,
            self._sink_factory(self),
            Composer(encoder, counters),
            writer=_writer_name(self._writer_hint),
            fast_period_s=1.0 / settings.fps,
            is_watched_only=settings.frames == "watched",
        )
        weakref.finalize(self, _close_orphan, link).atexit = False
        return threading.Thread(target=worker.run, name="hud-publisher", daemon=True), link

    # -- the way into the outbox --------------------------------------------------------------------------------------

    def _offer_fields(self, data: Mapping[Any, Any], step: Any, stream: Any) -> None:
        link = self._link or self._start()
        if link is None or self._is_closing(link, stream):
            return
        try:
            fields, weight = copy_fields(data)
            if step is not None:
                step = copy_step(step)
        except Exception as error:  # a foreign object's methods may raise anything
            self._refuse(link, stream, error)
            return
        link.outbox.offer_fields(Fields(fields, _now_ms(), step, stream, weight))
        if link.doorbell.is_armed:
            link.doorbell.ring()

    def _offer_picture(self, link: Link, item: Picture) -> bool:
        try:
            item.pixels = copy_pixels(item.pixels)
            item.step, item.episode, item.env = copy_step(item.step), copy_step(item.episode), copy_env(item.env)
        except Exception as error:  # a foreign object's methods may raise anything
            self._refuse(link, item.stream, error)
            return False
        link.outbox.offer_picture(item)
        self._wake(link)
        return True

    def _is_closing(self, link: Link, stream: Any) -> bool:
        if link.close_by is None:
            return False
        link.counters.taken[stream] += 1
        link.counters.drop(stream, "closed")
        return True

    def _wake(self, link: Link) -> None:
        if link.doorbell.is_armed:
            link.doorbell.ring()

    def _refuse(self, link: Link, stream: Any, error: Exception) -> None:
        link.counters.taken[stream] += 1
        link.counters.drop(stream, "unusable")
        if link.counters.note_unusable(stream):
            logger.warning("HUD left out an entry of %s: %s", stream, error)


def _settings(settings: Settings | None, overrides: dict[str, Any]) -> Settings:
    given = {field: value for field, value in overrides.items() if value is not None}
    if settings is not None:
        # Read again, so that arguments are checked as the environment is.
        kept = {field: getattr(settings, field) for field in Settings.__slots__}
        settings = Settings.from_env({}, **(kept | given))
    else:
        settings = Settings.from_env(**given)
    if "hud_url" in given and "redis_url" not in given:
        settings = replace(settings, redis_url=None)
    return settings


def _make_sink(publisher: Publisher) -> Sink:
    settings = publisher.settings
    who: dict[str, Any] = {
        "channel": publisher.channel, "run_id": publisher.run_id, "name": publisher.name, "info": publisher.info
    }  # fmt: skip
    if settings.redis_url:
        return RedisSink(settings.redis_url, limits=settings.limits, **who)
    return HttpSink(settings.hud_url or "", token=settings.token, **who)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _writer_name(hint: str | None) -> str:
    """Unique per process, and readable: what it is, where it runs, which process, and which of its publishers."""
    parts = [hint, socket.gethostname()[:40], str(os.getpid()), secrets.token_hex(3)]
    return re.sub(r"[^A-Za-z0-9_.:/\-]", "_", "-".join(part for part in parts if part))[-80:]


def _say_disabled() -> None:
    global _has_said_disabled
    if not _has_said_disabled:
        _has_said_disabled = True
        logger.warning("HUD is disabled: set REDIS_URL or HUD_URL to publish (`hud up` starts both and prints them)")


_has_said_disabled = False
_publishers: weakref.WeakSet[Publisher] = weakref.WeakSet()


def _close_orphan(link: Link) -> None:
    """The publisher was forgotten without `close`: its thread sends what waits and ends, nobody waits for it."""
    link.close_by = link.close_by or time.monotonic() + CLOSE_S
    link.doorbell.ring()


def _close_all() -> None:
    """At exit: all publishers together get CLOSE_S seconds."""
    close_by = time.monotonic() + CLOSE_S
    threads = [publisher._ask_to_close(close_by) for publisher in list(_publishers)]
    for thread in threads:
        if thread is not None:
            thread.join(max(0.0, close_by - time.monotonic()) + 0.1)


def _start_anew_in_child() -> None:
    """After a fork only the forking thread lives on: locks may be held for ever and sockets belong to the parent."""
    for publisher in list(_publishers):
        was_closed = publisher._is_closed
        publisher._reset()
        publisher._is_closed = was_closed


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew_in_child)
