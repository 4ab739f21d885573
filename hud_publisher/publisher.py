"""What training code talks to: `Publisher`.

Nothing here blocks, raises (except ConfigError from the constructor) or grows. Values are copied and put into a bounded
outbox; a daemon thread, started at first use, does all the rest. After a fork the child has a publisher of its own that
joins the same session; a pickled publisher does the same where it is unpickled.
"""

from __future__ import annotations

import logging
import pickle
import secrets
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from time import time_ns
from types import TracebackType
from typing import Any, Literal, Self

from hud_publisher import process
from hud_publisher.assembly import Options, SinkFactory, make_link, make_sink, make_worker, read_settings, warm_up
from hud_publisher.helper import Helper
from hud_publisher.link import Link, Status
from hud_publisher.outbox import MAX_INBOX, Env, Inbox, Picture, Vision
from hud_publisher.protocol.batch import Claim
from hud_publisher.protocol.entries import StreamName
from hud_publisher.protocol.keys import Sid
from hud_publisher.protocol.replies import Published
from hud_publisher.protocol.settings import Settings
from hud_publisher.protocol.values import clean_name, clean_text
from hud_publisher.snapshot import PLAIN, copy_env, copy_fields, copy_pixels, copy_step
from hud_publisher.stats import Stats, make_stats
from hud_publisher.worker import Worker

logger = logging.getLogger("hud_publisher")

#: How long closing may take, in seconds: one time-out of a server that does not answer.
CLOSE_S = process.CLOSE_S

PixelArray = Any


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
        takeover: bool = False,
        has_helper: bool = False,
        gathers: bool = False,
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
            takeover: end another run's session, once, instead of waiting; over HTTP that needs the token.
            has_helper: let a process of its own encode and send, unless HUD_HELPER forbids it: training waits for the
                interpreter less, for 30 MB.
            gathers: send the frames of a fifth of a second with one call: a viewer sees them so much later, in their
                rhythm, and the machine has half the work.
            **overrides: further attributes of Settings.

        Raises:
            ConfigError: a setting is wrong; it names all that are.
        """
        overrides |= {"run_id": run_id, "channel": channel, "redis_url": redis_url, "hud_url": hud_url, "fps": fps}
        self.settings = read_settings(settings, overrides)
        self.run_id = self.settings.run_id or secrets.token_urlsafe(18)
        self.name = clean_name(name or f"{Path(sys.argv[0]).stem or 'run'}@{socket.gethostname()}")
        self.info = {clean_name(field): clean_text(str(value)) for field, value in (info or {}).items()}
        self._options = Options(max_side, writer, takeover, has_helper, gathers)
        self._sink_factory: SinkFactory = make_sink
        self._claim: Claim | None = None
        self._reset()
        if not self._is_enabled:
            process.say_disabled()

    def _reset(self) -> None:
        """Forget the thread and what it shares with us: at first, and in the child of a fork."""
        # Re-entrant: a signal handler may close while its own thread starts.
        self._start_lock = threading.RLock()
        self._link: Link | None = None
        self._thread: threading.Thread | None = None
        # What `log` touches, at hand: a training thread finds everything else out of its cache, and that is what costs.
        self._metrics: Inbox | None = None
        self._iterations: Inbox | None = None
        self._is_closed = False
        self._is_enabled = bool(self.settings.redis_url or self.settings.hud_url)
        if self._is_enabled:
            warm_up(bool(self.settings.redis_url))
        process.publishers.add(self)

    def start_anew_in_child(self) -> None:
        """After a fork only the forking thread lives on: locks may be held for ever, sockets are the parent's."""
        was_closed = self._is_closed
        self._reset()
        self._is_closed = was_closed

    def __getstate__(self) -> dict[str, Any]:
        kept = ("settings", "run_id", "name", "info", "_options", "_sink_factory", "_claim")
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
        inbox = self._metrics
        if inbox is None:
            self._offer_late("metrics", data, step)
            return
        try:
            fields, weight = dict(data), 0
            for name in fields:
                kind = type(fields[name])
                if kind is not float and kind not in PLAIN:
                    fields, weight = copy_fields(fields)
                    break
            if step is not None and type(step) is not int:
                step = copy_step(step)
            inbox.append((time_ns(), step, fields, weight))
            if len(inbox) > inbox.easy_up_to:
                self._attend_to(inbox)
        except Exception as error:  # a foreign object's methods may raise anything
            self._refuse("metrics", error)

    def log_iteration(self, data: Mapping[Any, Any], step: int | None = None) -> None:
        """Publish the results of one training iteration; the same as `log`, kept apart and kept whole."""
        self._offer_fields("iterations", data, copy_step(step))

    def wants_frame(self, env: Env | None = None) -> bool:
        """Whether `frame` would take one now: ask before rendering. Costs one clock read."""
        link = self._link or self._start()
        return link is not None and link.frames.is_due(env)

    def frame(
        self,
        pixels: PixelArray,
        *,
        step: int | None = None,
        episode: int | None = None,
        env: Env | None = None,
        data: Mapping[Any, Any] | None = None,
    ) -> bool:
        """Offer the newest rendered frame; it replaces any frame of this env that was not sent yet.

        Never blocks and never raises. Costs one copy when a frame is due, and one clock read otherwise.

        Args:
            pixels: uint8 RGB of shape (height, width, 3); RGBA, grey, floats from 0 to 1, tensors, PIL images and
                encoded JPEG, PNG or WebP bytes are taken too.
            step: environment steps sampled so far in this run.
            episode: number of the episode.
            env: (worker index, env index).
            data: fields of the same moment, as for `log`: published with the frame, and also where it is not taken.

        Returns:
            Whether the frame was taken (False: not due yet, not wanted, or no picture).
        """
        link = self._link or self._start()
        if link is None or not link.frames.take(env):
            if data is not None:
                self.log(data, step)
            return False
        return self._offer_picture(link, Picture(pixels, time_ns() // 1_000_000, step, episode, env, "frames"), data)

    def wants_thumbnail(self, env: Env) -> bool:
        """Whether `thumbnail` would take one of this env now. Costs one clock read."""
        link = self._link or self._start()
        return link is not None and link.thumbs.is_due(env)

    def thumbnail(self, pixels: PixelArray, *, env: Env, step: int | None = None) -> bool:
        """Offer a picture of any env for the strip of all envs, once per second while somebody watches.

        It is sent with whatever is sent next, half a second later at the most.

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
        return self._offer_picture(link, Picture(pixels, time_ns() // 1_000_000, step, None, env, "thumbs"))

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
        if link is None or self._is_closing("vision"):
            return
        try:
            latency = None if response_time_ms is None else float(response_time_ms)
            if latency is not None and not 0 <= latency < 1e12:
                latency = None
            said = [None if part is None else str(part) for part in (prompt, response)]
            pixels, fields = copy_pixels(image), copy_fields(extra)[0]
            link.outbox.offer_vision(
                Vision(pixels, time_ns() // 1_000_000, copy_step(step), said[0], said[1], latency, fields)
            )
            self._wake()
        except Exception as error:  # a foreign object's methods may raise anything
            self._refuse("vision", error)

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
        link = self._refreshed_link()
        if link is None:
            return "closed" if self._is_closed else "connecting"
        return link.status

    @property
    def is_active(self) -> bool:
        """Whether this process holds the session just now."""
        return self.status in ("registered", "joined")

    @property
    def sid(self) -> Sid | None:
        """The session's public number; None while there is no session."""
        link = self._refreshed_link()
        return link.session.sid if link and link.session else None

    @property
    def session_id(self) -> str | None:
        """The session's secret: not for logs, pages or URLs. None while there is no session."""
        link = self._refreshed_link()
        return link.session.session_id if link and link.session else None

    @property
    def feedback(self) -> Published:
        """What the newest reply told: viewers, the wanted reporter, which env is shown and since when."""
        link = self._refreshed_link()
        return link.feedback if link else Published()

    @property
    def feedback_age_s(self) -> float:
        """How long ago that reply came, in seconds; infinite before the first one."""
        link = self._refreshed_link()
        return time.monotonic() - link.feedback_at if link else float("inf")

    @property
    def claim(self) -> Claim | None:
        """The wish to be the reporter, attached to every following batch and heartbeat; None: no wish."""
        return self._claim

    @claim.setter
    def claim(self, claim: Claim | None) -> None:
        changed = claim != self._claim
        self._claim = claim
        if self._link is not None:
            self._link.set_claim(claim)
            if changed:  # also that it is none: the helper has frames, too
                self._link.doorbell.ring()

    @property
    def stats(self) -> Stats:
        """Counters since this process began to publish."""
        link = self._refreshed_link()
        if link is None:
            return Stats()
        return make_stats(link.counters, link.refusals, link.outbox.offered(), link.remote)

    def _refreshed_link(self) -> Link | None:
        """What we share with the thread, a helper's newest word included."""
        link = self._link
        if link is not None:
            link.refresh()
        return link

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
        thread = self.ask_to_close(time.monotonic() + timeout_s, release)
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, timeout_s) + 0.1)

    def ask_to_close(self, close_by: float, release: bool | None = None) -> threading.Thread | None:
        """Tell the thread to end by then, on the monotonic clock; return it without waiting for it."""
        with self._start_lock:
            self._is_closed = True
            link = self._link
        if link is None:
            return None
        self._metrics = self._iterations = None
        link.close(close_by, release)
        return self._thread

    def _start(self) -> Link | None:
        """Start the thread; None if there is nothing to do, or nobody to do it any more."""
        if not self._is_enabled or self._is_closed:
            return None
        with self._start_lock:
            if self._link is None and not self._is_closed:
                try:
                    link = self.make_link()
                    work = self.make_worker(link).run
                    if self._options.has_helper and self.settings.helper == "auto":
                        work = Helper(link, pickle.dumps(self), work, gathers=self._options.gathers).run
                    self._thread = threading.Thread(target=work, name="hud-publisher", daemon=True)
                    self._thread.start()
                except Exception as error:  # no thread can be started while the interpreter ends, for one
                    self._is_closed = True
                    logger.warning("HUD: could not start publishing: %r", error)
                    return None
                process.close_when_forgotten(self, link)
                self._metrics, self._iterations = link.outbox.metrics_inbox, link.outbox.iterations_inbox
                self._link = link
            return self._link

    def make_link(self) -> Link:
        """Return what training shares with the thread, or in the helper's process, what the mailbox shares with it."""
        return make_link(self.settings, self._claim, gathers=self._options.gathers)

    def make_worker(self, link: Link) -> Worker:
        """Return what the thread, or the helper's process, is to run."""
        return make_worker(self.settings, link, self._sink_factory(self), self._options)

    # -- the way into the outbox --------------------------------------------------------------------------------------

    def _offer_late(self, stream: Literal["metrics", "iterations"], data: Mapping[Any, Any], step: Any) -> None:
        """The first entry starts the thread; one after closing is counted."""
        if self._is_closing(stream) or self._start() is None:
            return
        if stream == "metrics":
            self.log(data, step)
        else:
            self.log_iteration(data, step)

    def _offer_picture(self, link: Link, item: Picture, data: Mapping[Any, Any] | None = None) -> bool:
        try:
            item.pixels = copy_pixels(item.pixels)
            if type(item.step) is not int:
                item.step = copy_step(item.step)
            if type(item.env) is not tuple:
                item.env = copy_env(item.env)
            if data is not None:
                self._offer_fields("metrics", data, item.step)
                data = None
            link.outbox.offer_picture(item)
            if item.stream == "frames" and link.doorbell.is_armed:
                link.doorbell.ring_for_frame()
        except Exception as error:  # a foreign object's methods may raise anything
            self._refuse(item.stream, error)
            if data is not None:
                self.log(data, item.step)
            return False
        return True

    def _offer_fields(
        self, stream: Literal["metrics", "iterations"], data: Mapping[Any, Any], step: int | None
    ) -> None:
        """As `log`, without its haste; metrics go with a frame, which rings for both."""
        inbox = self._metrics if stream == "metrics" else self._iterations
        if inbox is None:
            self._offer_late(stream, data, step)
            return
        try:
            inbox.append((time_ns(), step, *copy_fields(data)))
            self._bound(stream, inbox)
            if stream == "iterations":
                self._wake()
        except Exception as error:  # a foreign object's methods may raise anything
            self._refuse(stream, error)

    def _attend_to(self, inbox: Inbox) -> None:
        """Metrics were appended while it was full, or while the thread slept."""
        self._bound("metrics", inbox)
        if self._link is not None and self._link.doorbell.is_armed_for_fields:
            self._link.doorbell.ring()

    def _bound(self, stream: Literal["metrics", "iterations"], inbox: Inbox) -> None:
        if len(inbox) > MAX_INBOX and self._link is not None:
            self._link.outbox.make_room(stream)

    def _wake(self) -> None:
        if self._link is not None and self._link.doorbell.is_armed:
            self._link.doorbell.ring()

    def _is_closing(self, stream: StreamName) -> bool:
        link = self._link
        if link is None or link.close_by is None:
            return False
        link.refusals.drop(stream, "closed")
        return True

    def _refuse(self, stream: StreamName, error: Exception) -> None:
        link = self._link
        if link is not None:
            link.refusals.leave_out(stream, "unusable", error)
