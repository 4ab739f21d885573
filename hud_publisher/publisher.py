"""`Publisher`, the interface of training code.

No call blocks, raises (except ConfigError from the constructor) or needs unbounded memory. Values are copied into the
intake; a daemon thread, started at first use, runs the sender. A forked or unpickled publisher joins the session of its
run; a copy made by `copy.copy` or `copy.deepcopy` is silent.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from time import time_ns
from typing import TYPE_CHECKING, Any

from hud_publisher import deaths, log_lines
from hud_publisher.arguments import (
    describes_run,
    host_name,
    is_env_runner,
    process_name,
    read_config,
    read_flag,
    read_info,
    read_settings,
    run_name,
    writer_name,
)
from hud_publisher.description import Description
from hud_publisher.intake.copying import (
    PLAIN,
    check_fields,
    copy_duration,
    copy_env,
    copy_fields,
    copy_pictures,
    copy_pixels,
    copy_step,
)
from hud_publisher.intake.fields import WIDE
from hud_publisher.intake.intake import Bounds, Intake
from hud_publisher.intake.items import Env, FieldsStream, Mind, Picture, Vision
from hud_publisher.intake.mind import copy_mind
from hud_publisher.intake.report import Report, Stats, Status
from hud_publisher.lifecycle import Lifecycle, ask_for_session, wait_for_writers
from hud_publisher.notebook import Part, View, view_of
from hud_publisher.once import log_once
from hud_publisher.protocol.batch import FRAMES_TOGETHER, Claim, Published
from hud_publisher.protocol.entries import StreamName
from hud_publisher.protocol.keys import Sid
from hud_publisher.protocol.names import MAX_TEXT_CHARS, text_of
from hud_publisher.protocol.roles import read_roles
from hud_publisher.protocol.settings import Settings
from hud_publisher.redaction import redactor_of
from hud_publisher.sender.advice import newest_advice
from hud_publisher.sender.compose import composer
from hud_publisher.sender.describer import Describer
from hud_publisher.sender.loop import Sender
from hud_publisher.sender.pauses import GilYield
from hud_publisher.sender.warm_up import warm_up
from hud_publisher.sinks.http_sink import HttpSink
from hud_publisher.sinks.redis_sink import RedisSink
from hud_publisher.sinks.sink import Sink

if TYPE_CHECKING:
    from hud_publisher.machine.sampler import Machine

_DISABLED = (
    "HUD is disabled: neither REDIS_URL nor HUD_URL is set, and no `hud up` of this user runs on this machine. Start "
    "`hud up` before this program, or set HUD_URL=http://HOST:8086 to publish to a HUD elsewhere"
)
_CHOICE = (
    " (REDIS_URL takes precedence over HUD_URL: set REDIS_URL= to nothing to publish to HUD_URL, or HUD_REDIS_URL to "
    "publish to another Redis)"
)

#: Deaths that one publisher reports: of the env runners that its process lost, for example.
MAX_DEATHS = 1_000
#: How long `show` waits for the session, which names the page and the channel.
PAGE_WAIT_S = 1.0
#: The longest alert and title, in characters.
MAX_ALERT_CHARS = 500
MAX_TITLE_CHARS = 120

PixelArray = Any
SinkFactory = Callable[["Publisher"], Sink]


def make_sink(publisher: Publisher) -> Sink:
    """Return the sink that the settings name: Redis if an address is set, else the HUD server."""
    settings = publisher.settings
    run: dict[str, Any] = {
        "channel": publisher.channel, "run_id": publisher.run_id, "name": publisher.name, "info": publisher.info,
        "roles": publisher.roles,
    }  # fmt: skip
    if settings.redis_url:
        is_shared = settings.hud_url and settings.redis_url_variable == "REDIS_URL"
        return RedisSink(settings.redis_url, limits=settings.limits, note=_CHOICE if is_shared else "", **run)
    return HttpSink(settings.hud_url or "", token=settings.token, **run)


class Publisher(Lifecycle):
    """Publishes one process's metrics, frames, vision calls and views of its policy.

    Attributes:
        settings: the settings, from the environment and the arguments.
        name: the run's name for people.
        info: text fields of the session (env, algorithm …), shown on the page.
        roles: role → path of the field that plays it, as the user decided.
        processes: name → process id of further processes of the run on this node whose use of the machine is published,
            such as {"learner 0": 4711}; may be changed at any time.
    """

    def __init__(
        self,
        run_id: str | None = None,
        channel: str | None = None,
        *,
        name: str | None = None,
        info: Mapping[str, str] | None = None,
        roles: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        settings: Settings | None = None,
        redis_url: str | None = None,
        hud_url: str | None = None,
        takeover: bool = False,
        **overrides: Any,
    ) -> None:
        """Read the settings; connects to nothing yet.

        Args:
            run_id: instead of HUD_RUN_ID. The default is random: the run consists of this process, its forks and the
                processes that unpickle this publisher.
            channel: instead of HUD_CHANNEL.
            name: the run's name for people. The default is made of the program's and the host's name.
            info: text fields of the session, shown on the page; at most 64.
            roles: which field plays a role on the page, such as {"return": "my/score"}.
            config: hyperparameters and other options of the run, nested as they are; `configure` adds more.
            settings: instead of reading the environment.
            redis_url: instead of REDIS_URL.
            hud_url: instead of HUD_URL. If only this one is given, it takes precedence over REDIS_URL.
            takeover: end another run's session, once, instead of waiting. Over HTTP this needs the token.
            **overrides: any other attribute of Settings, such as fps=30 or frames="always".

        Raises:
            ConfigError: a setting is wrong; it names all that are.
        """
        overrides |= {"run_id": run_id, "channel": channel, "redis_url": redis_url, "hud_url": hud_url}
        self.settings = read_settings(settings, overrides)
        self.name = run_name(name)
        self.info = read_info(info)
        self.roles = read_roles(roles)
        self._takeover = read_flag("takeover", takeover)
        self._sink_factory: SinkFactory = make_sink
        self._claim: Claim | None = None
        self.processes: dict[str, int] = {}
        self._description = read_config(config)
        self._writer, self._deaths = "", set()
        self._begin(self.settings.run_id)
        if not self._is_enabled:
            log_once("disabled", _DISABLED)

    _writer = ""
    _deaths: set[tuple[str, ...]]
    _kept = ("settings", "name", "info", "roles", "_sink_factory", "_claim", "_is_silent")

    def _state_of_copy(self) -> dict[str, Any]:
        # A takeover happens once in a run, not once more in each later process of it.
        takeover = self._takeover and self._intake is None
        changed = {"info": dict(self.info), "_takeover": takeover, "processes": {}, "_description": Description()}
        return super()._state_of_copy() | changed

    def _load_modules(self) -> None:
        warm_up(has_redis=bool(self.settings.redis_url))

    def _make_sender(self) -> tuple[Intake, Callable[[], None]]:
        settings = self.settings
        deaths.watch_process()
        self._writer, self._deaths = writer_name(settings.writer), set()
        intake = Intake(Bounds(frames=FRAMES_TOGETHER if settings.batch_frames else 1), claim=self._claim)
        yield_gil, sink = GilYield(), self._sink_factory(self)
        # A run id that this publisher made up is a run that it began, even if a forked child registered first.
        begins = False if self._is_joining else settings.run_id is None or None
        intake.may_yield = begins is True
        process = process_name(settings.writer, self._writer)
        if settings.logs:
            log_lines.follow(intake, process)
        is_main = describes_run(settings.writer, begins)
        describer = Describer(
            self._description, sink, functools.partial(redactor_of, settings), host_name(), is_first=is_main
        )
        sender = Sender(
            intake, sink, settings, composer(settings, intake.counters, yield_gil), yield_gil,
            writer=self._writer, takeover=self._takeover, machine=self._make_machine(process), describer=describer,
            is_main=is_main, follows=is_env_runner(settings.writer), begins=begins,
            ask_for=ask_for_session, before_release=wait_for_writers,
        )  # fmt: skip
        return intake, sender.run

    def _make_machine(self, process: str) -> Machine | None:
        if self.settings.machine:
            with contextlib.suppress(Exception):  # psutil refuses systems that it does not know
                from hud_publisher.machine.sampler import Machine

                return Machine(process, host_name(), self.processes)
        return None

    def __repr__(self) -> str:
        return f"Publisher(channel={self.channel!r}, status={self.status!r}, sid={self.sid!r})"

    # -- methods for training -----------------------------------------------------------------------------------------

    def log(self, data: Mapping[Any, Any], step: int | None = None) -> None:
        """Publish the fields of one moment; fields that are left out keep their last value.

        Never blocks and never raises. Costs a copy of the mapping; nested containers and arrays are copied too.

        Args:
            data: names to values: numbers, bools, text, arrays and tensors of few values, nested mappings, lists,
                dataclasses. None and non-finite numbers are left out.
            step: environment steps sampled in this run until now.
        """
        inbox = self._inbox
        if inbox is None:
            if self._start_for("metrics") is not None:
                self.log(data, step)
            return
        try:
            if type(data) is not dict:
                check_fields(data, "log")
            fields, weight = dict(data), 0
            for name in fields:
                kind = type(fields[name])
                if kind is not float and kind not in PLAIN:
                    fields, weight = copy_fields(fields)
                    break
            if step is not None and type(step) is not int:
                step = copy_step(step)
            inbox.append((time_ns(), step, fields, weight))
            if (len(inbox) > inbox.alert_above or weight > WIDE or len(fields) > WIDE) and self._intake is not None:
                self._intake.attend("metrics", weight or len(fields))
        except Exception as error:  # a foreign object's methods may raise anything
            self._refuse("metrics", error)

    def log_iteration(self, data: Mapping[Any, Any], step: int | None = None) -> None:
        """Publish the results of one training iteration, as `log` does; a separate stream keeps all of them."""
        self._offer_fields("iterations", data, copy_step(step))

    def wants_frame(self, env: Env | None = None) -> bool:
        """Whether `frame` would take one now: ask before rendering. Costs one clock read."""
        intake = self._intake or self._start()
        return intake is not None and intake.is_due("frames", env)

    def frame(
        self,
        pixels: PixelArray,
        *,
        step: int | None = None,
        episode: int | None = None,
        env: Env | None = None,
        data: Mapping[Any, Any] | None = None,
        mind: Mapping[str, Any] | None = None,
    ) -> bool:
        """Offer the newest rendered frame; it replaces any frame of this env that was not sent yet.

        Never blocks and never raises. Costs one copy when a frame is due, and one clock read otherwise.

        Args:
            pixels: uint8 RGB of shape (height, width, 3); RGBA, grey, floats from 0 to 1, tensors, PIL images and
                encoded JPEG, PNG or WebP bytes are taken too.
            step: environment steps sampled in this run until now.
            episode: number of the episode.
            env: (worker index, env index).
            data: fields of the same moment, as for `log`: published with the frame, and also if it is not taken.
            mind: the policy's view of the same moment, the first arguments of `mind`; published at the frame's time.

        Returns:
            Whether the frame was taken (False: not due yet, not wanted, or no picture).
        """
        intake = self._intake or self._start()
        time_ms = time_ns() // 1_000_000
        if intake is not None and mind is not None and intake.begin("mind", env):
            self._offer_mind(intake, mind, time_ms, step, episode, env)
        if intake is None or not intake.begin("frames", env):
            if data is not None:
                self.log(data, step)
            return False
        return self._offer_picture(intake, Picture(pixels, time_ms, step, episode, env, "frames"), data)

    def wants_thumbnail(self, env: Env) -> bool:
        """Whether `thumbnail` would take one of this env now. Costs one clock read."""
        intake = self._intake or self._start()
        return intake is not None and intake.is_due("thumbs", env)

    def thumbnail(self, pixels: PixelArray, *, env: Env, step: int | None = None) -> bool:
        """Offer a picture of any env for the strip of all envs, once per second while there is a viewer.

        The next call sends it, at most half a second later.

        Args:
            pixels: as for `frame`; it is scaled down in the thread.
            env: (worker index, env index).
            step: environment steps sampled in this run until now.

        Returns:
            Whether it was taken.
        """
        intake = self._intake or self._start()
        if intake is None or not intake.begin("thumbs", env):
            return False
        return self._offer_picture(intake, Picture(pixels, time_ns() // 1_000_000, step, None, env, "thumbs"))

    def wants_mind(self, env: Env | None = None) -> bool:
        """Whether `mind` would take a view now: ask before computing one. Costs one clock read."""
        intake = self._intake or self._start()
        return intake is not None and intake.is_due("mind", env)

    def mind(
        self,
        *,
        probabilities: Any = None,
        value: Any = None,
        q_values: Any = None,
        observation: Any = None,
        reward_parts: Mapping[Any, Any] | None = None,
        action: Any = None,
        action_name: str | None = None,
        action_names: Sequence[Any] | None = None,
        mean: Any = None,
        deviation: Any = None,
        squashed: bool | None = None,
        entropy: float | None = None,
        advice: Any = None,
        observation_names: Sequence[str] | None = None,
        step: int | None = None,
        episode: int | None = None,
        env: Env | None = None,
    ) -> bool:
        """Offer the policy's view of the newest step; it replaces any view of this env that was not sent yet.

        Never blocks and never raises. Taken at most five times a second, and only while there is a viewer (or always,
        if HUD_FRAMES is "always"); costs one clock read otherwise. Each argument is optional.

        Args:
            probabilities: of the discrete actions, or a list of them for each of several choices.
            value: the estimate of the return from the observation.
            q_values: of the discrete actions.
            observation: as the policy receives it: a vector, a picture (H, W), (H, W, C) or (C, H, W) of any number of
                channels, or a mapping or tuple of such parts.
            reward_parts: name → part of this step's reward.
            action: the action that was taken.
            action_name: its name.
            action_names: of all discrete actions.
            mean: of each component of a continuous action.
            deviation: standard deviation of each component.
            squashed: mean and deviation are those before the action is squashed, as by tanh.
            entropy: of the choice, in nats. The default is computed from the probabilities or the deviations.
            advice: the action that another model advised, by name or number. The default is the newest advice of a
                vision LLM in this process.
            observation_names: of the numbers of the observation.
            step: environment steps sampled in this run until now.
            episode: number of the episode.
            env: (worker index, env index).

        Returns:
            Whether the view was taken.
        """
        intake = self._intake or self._start()
        if intake is None or not intake.begin("mind", env):
            return False
        parts = {
            "probabilities": probabilities, "value": value, "q_values": q_values, "observation": observation,
            "reward_parts": reward_parts, "action": action, "action_name": action_name, "action_names": action_names,
            "mean": mean, "deviation": deviation, "squashed": squashed, "entropy": entropy, "advice": advice,
            "observation_names": observation_names,
        }  # fmt: skip
        return self._offer_mind(intake, parts, time_ns() // 1_000_000, step, episode, env)

    def vision(
        self,
        image: PixelArray | bytes | str | Sequence[PixelArray | bytes | str] | None,
        *,
        prompt: str | None = None,
        response: str | None = None,
        response_time_ms: float | None = None,
        step: int | None = None,
        **extra: Any,
    ) -> None:
        """Publish one call of the vision LLM. Never blocks and never raises.

        Args:
            image: the picture that the model was given: encoded bytes, pixels as for `frame`, a `data:` URL or base64;
                or a list of them, which is shown as one sheet. JPEG, PNG and WebP bytes of up to 4 MB are kept exactly
                as they are, other formats are converted. If there is no picture to show, the page gives the reason.
            prompt: the text that went with the picture.
            response: the model's answer.
            response_time_ms: how long the model took, in milliseconds.
            step: environment steps sampled in this run until now.
            **extra: further fields, shown by their names (model, action, tokens, error …). If several envs of this
                process ask, env=(worker index, env index) keeps the advice of one from the views of another.
        """
        intake = self._start_for("vision")
        if intake is None:
            return
        try:
            said = [None if part is None else text_of(part)[:MAX_TEXT_CHARS] for part in (prompt, response)]
            pictures, fields = copy_pictures(image), copy_fields(extra)[0]
            latency = copy_duration(response_time_ms)
            newest_advice.note(fields, said[1])
            intake.offer_vision(
                Vision(pictures, time_ns() // 1_000_000, copy_step(step), said[0], said[1], latency, fields)
            )
        except Exception as error:  # a foreign object's methods may raise anything
            self._refuse("vision", error)

    def alert(self, text: str, title: str | None = None) -> bool:
        """Send a message to the people who watch this run: an annotation, and an alert to the targets of HUD_ALERTS.

        Never blocks and never raises. At most 10 at once and one more per second; further ones are dropped and counted.
        Secrets are replaced (hud_publisher.redaction).

        Args:
            text: one sentence, at most 500 characters.
            title: a few words before it, at most 120 characters.

        Returns:
            Whether it was taken.
        """
        intake = self._start_for("reports")
        if intake is None:
            return False
        if not intake.alerts.take():
            intake.early.taken["reports"] += 1
            intake.early.drop("reports", "overflow")
            log_once("alerts", "HUD: dropped an alert, because this process sent more than 10 at once")
            return False
        fields = {"kind": "alert", "text": text_of(text)[:MAX_ALERT_CHARS]}
        if title is not None:
            fields["title"] = text_of(title)[:MAX_TITLE_CHARS]
        self.report(fields)
        return True

    def report(self, fields: Mapping[str, Any], *, wait_s: float = 0.0) -> None:
        """Publish a report of a process of this run: its death, a restart, a log line; for integrations.

        Never raises. Secrets are replaced (hud_publisher.redaction). A second report of one death is left out: several
        hooks see the same exception.

        Args:
            fields: `kind` and the fields of that kind (docs/protocol.md); `process` is this process by default.
            wait_s: wait at most this long, in seconds, until it is sent, because the process ends soon.
        """
        intake = self._start_for("reports")
        if intake is None:
            return
        try:
            fields = {"process": process_name(self.settings.writer, self._writer), **fields}
            if fields.get("kind") == "death":
                death = tuple(str(fields.get(part)) for part in ("process", "exception", "message", "signal", "thread"))
                if death in self._deaths or len(self._deaths) >= MAX_DEATHS:
                    return
                self._deaths.add(death)
            elif fields.get("kind") == "restart":
                self._deaths = {death for death in self._deaths if death[0] != str(fields["process"])}
            self._offer_fields("reports", fields, None)
            deadline = time.monotonic() + wait_s
            while intake.stats().pending.get("reports") and time.monotonic() < deadline:
                time.sleep(0.005)
        except Exception as error:  # a foreign object's methods may raise anything
            self._refuse("reports", error)

    def _note_end(self, error: BaseException | None) -> None:
        fields = deaths.of_exception(error)
        if fields is not None:
            self.report(fields)

    def configure(self, config: Mapping[str, Any], *, section: str = "config") -> None:
        """Add options of the run to its configuration, such as hyperparameters that are known only now.

        Never blocks and never raises. Costs a copy of the mapping. Secrets are removed by name and shape before it is
        sent. In a run of several processes, those after the first add sections that the run does not have yet.

        Args:
            config: names to values of any type, nested; classes and functions are shown by their names.
            section: the heading under which the page shows them.
        """
        try:
            self._description.configure(config, text_of(section))
        except Exception as error:  # a foreign object's methods may raise anything
            log_once("configure", "HUD: hud.configure() left out a configuration: %s", text_of(error))

    # -- in a notebook ------------------------------------------------------------------------------------------------

    def show(
        self, part: Part = "page", *, chart: str | None = None, url: str | None = None, height: int | None = None
    ) -> View:
        """Return this run's page, or one part of it, for the output of a notebook's cell.

        Args:
            part: "page" for all of it, or "stage" (the picture), "card" (picture, verdict and key figures), or "chart".
            chart: the path of the field that "chart" shows, such as "train/loss".
            url: of the page, if it differs from the one that the server tells, for which this waits at most a second.
            height: in CSS pixels.

        Raises:
            ConfigError: there is no such part, or a chart without its field.
        """
        page = url or self._wait_for_page()
        return view_of(page, self.channel, part, chart=chart, height=height, environ=os.environ)

    def _wait_for_page(self) -> str | None:
        """Return the address of the page that the server told, or HUD_URL; waits at most PAGE_WAIT_S for the answer."""
        if self._is_enabled and not self._is_closed:
            self._start()
            deadline = time.monotonic() + PAGE_WAIT_S
            while self._report.session is None and time.monotonic() < deadline:
                time.sleep(0.02)
        session = self._report.session
        return (session.page if session else None) or self.settings.hud_url

    def _repr_html_(self) -> str:
        """Return the run's card, which a notebook shows for a cell that ends with the publisher."""
        return self.show("card")._repr_html_()

    # -- state --------------------------------------------------------------------------------------------------------

    @property
    def channel(self) -> str:
        """The name of the display: that of the settings, or the run's own one if another run held it."""
        return self._report.channel or self.settings.channel

    @property
    def status(self) -> Status:
        """The state of the session; see report.Status. It is "connecting" until the first use, too."""
        if not self._is_enabled:
            return "disabled"
        return "closed" if self._intake is None and self._is_closed else self._report.status

    @property
    def is_active(self) -> bool:
        """Whether this process holds the session now."""
        return self.status in ("registered", "joined")

    @property
    def sid(self) -> Sid | None:
        """The session's public number; None while there is no session."""
        session = self._report.session
        return session.sid if session else None

    @property
    def session_id(self) -> str | None:
        """The session's secret: not for logs, pages or URLs. None while there is no session."""
        session = self._report.session
        return session.session_id if session else None

    @property
    def feedback(self) -> Published:
        """The newest reply: viewers, the wanted reporter, the env that is shown and since when."""
        return self._report.feedback

    @property
    def feedback_age_s(self) -> float:
        """How long ago that reply came, in seconds; infinite before the first one."""
        return time.monotonic() - self._report.feedback_at

    @property
    def _report(self) -> Report:
        return self._intake.report if self._intake is not None else Report()

    @property
    def claim(self) -> Claim | None:
        """The request to be the reporter, attached to every following batch and heartbeat; None: no request."""
        return self._claim

    @claim.setter
    def claim(self, claim: Claim | None) -> None:
        try:
            if claim is not None:
                claim = Claim(copy_env(claim.env) or (0, 0), bool(claim.is_preferred))
        except Exception as error:  # a foreign object's methods may raise anything
            log_once("claim", "HUD: hud.claim expected a Claim or None, left as it was: %s", text_of(error))
            return
        self._claim = claim
        if self._intake is not None:
            self._intake.set_claim(claim)

    @property
    def stats(self) -> Stats:
        """Counters since this process began to publish."""
        return self._intake.stats() if self._intake is not None else Stats()

    # -- the way into the intake --------------------------------------------------------------------------------------

    def _start_for(self, stream: StreamName) -> Intake | None:
        """Return the intake for an entry, which starts the thread if it is the first; count one after closing."""
        intake = self._intake
        if intake is None or (self._inbox is None and intake.close_by is None):
            return self._start()
        if intake.close_by is not None:
            intake.early.drop(stream, "closed")
            return None
        return intake

    def _offer_picture(self, intake: Intake, item: Picture, data: Mapping[Any, Any] | None = None) -> bool:
        try:
            item.pixels = copy_pixels(item.pixels)
            if type(item.step) is not int:
                item.step = copy_step(item.step)
            if type(item.env) is not tuple:
                item.env = copy_env(item.env)
            if data is not None:
                self._offer_fields("metrics", data, item.step)
                data = None
            intake.offer_picture(item)
        except Exception as error:  # a foreign object's methods may raise anything
            self._refuse(item.stream, error)
            if data is not None:
                self.log(data, item.step)
            return False
        return True

    def _offer_mind(
        self, intake: Intake, parts: Mapping[str, Any], time_ms: int, step: Any, episode: Any, env: Any
    ) -> bool:
        try:
            copied, size = copy_mind(parts)
            env = copy_env(env)
            item = Mind(copied, time_ms, copy_step(step), copy_step(episode), env, newest_advice.current(env))
            intake.offer_mind(item, size)
        except Exception as error:  # a foreign object's methods may raise anything
            self._refuse("mind", error)
            return False
        return True

    def _offer_fields(self, stream: FieldsStream, data: Mapping[Any, Any], step: int | None) -> None:
        """Publish fields for `log_iteration` and `frame`; metrics of a frame wake nobody, because the frame does."""
        intake = self._start_for(stream)
        if intake is None:
            return
        try:
            check_fields(data, "log" if stream == "metrics" else "log_iteration")
            fields, weight = copy_fields(data)
            intake.inbox(stream).append((time_ns(), step, fields, weight))
            intake.attend(stream, weight, wakes=stream in ("iterations", "reports"))
        except Exception as error:  # a foreign object's methods may raise anything
            self._refuse(stream, error)

    def _refuse(self, stream: StreamName, error: Exception) -> None:
        if self._intake is not None:
            self._intake.early.leave_out(stream, "unusable", error)
