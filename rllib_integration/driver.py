"""The driver's part: it registers the run, lets the env runners join, publishes each iteration and ends the session.

Called by `callbacks` in the process of RLlib's Algorithm, on its thread; does no I/O there beyond a small file that
keeps the run id.
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import hashlib
import json
import logging
import os
import re
import secrets
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from hud_publisher import Publisher
from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.settings import Settings
from rllib_integration.attachment import Attach, Attachment, our_callbacks
from rllib_integration.guard import guarded
from rllib_integration.results import flatten_result, steps_sampled

if TYPE_CHECKING:
    from rllib_integration.callbacks import HudCallbacks

logger = logging.getLogger("hud.rllib")

RUN_ID_FILE = ".hud_run_id"
#: For env runners to send what they have at the end of the run; one that hangs must not keep RLlib from stopping.
DETACH_S = 3.0
#: How often env runners are given their attachments, in case ray has started one again: that is a remote call to each,
#: and RLlib waits meanwhile for the milliseconds that it takes.
ATTACH_S = 5.0
#: What a viewer wants to know of the configuration; never env_config, which may hold credentials.
_CONFIG = (
    "lr", "gamma", "train_batch_size_per_learner", "train_batch_size", "minibatch_size", "num_epochs", "lambda_",
    "clip_param", "entropy_coeff", "vf_loss_coeff", "grad_clip", "rollout_fragment_length", "batch_mode", "seed",
    "num_learners", "framework_str", "gym_env_vectorize_mode",
)  # fmt: skip


class DriverHud:
    """What the Algorithm's process shows."""

    def __init__(self, algorithm: Any, slot: int, publisher: Publisher, attachment: Attachment) -> None:
        self._algorithm = algorithm
        self._slot = slot
        self._publisher = publisher
        self._attachment = attachment
        self._evaluation: tuple[Publisher, Attachment] | None = None
        self._steps_before: int | None = None
        self._attach_at = 0.0
        self._at_exit: Callable[[], None] = lambda: None

    @classmethod
    def start(cls, callbacks: HudCallbacks, algorithm: Any) -> DriverHud | None:
        """Register the run; None where no HUD is configured."""
        try:
            settings = Settings.from_env(**callbacks.overrides)
        except ConfigError as error:
            logger.error("HUD is off: %s", error)
            return None
        if not settings.redis_url and not settings.hud_url:
            logger.info("HUD is off: set REDIS_URL or HUD_URL to see this run")
            return None
        trial = trial_name(algorithm)
        settings = dataclasses.replace(
            settings,
            run_id=_run_id(settings.run_id, algorithm, trial),
            channel=channel_of(trial or _run_name(algorithm)) if callbacks.channel == "auto" else settings.channel,
        )
        name = callbacks.name or trial or f"{_algorithm_name(algorithm)} on {_env_name(algorithm.config)}"
        info = describe(algorithm)
        publisher = Publisher(name=name, info=info, settings=settings, writer="driver")
        publisher.start()  # before any env runner: whoever begins the session also ends it at exit
        attachment = Attachment(
            settings=settings, name=name, info=info, wanted=_wanted(settings, algorithm.config),
            last_worker=algorithm.config.num_env_runners, slot=our_callbacks(algorithm).index(callbacks),
        )  # fmt: skip
        hud = cls(algorithm, attachment.slot, publisher, attachment)
        try:
            if callbacks.evaluation_channel:
                hud._open_evaluation(callbacks.evaluation_channel)
            hud.attach_all()
            hud._end_with(algorithm)
        except BaseException:
            hud.close()  # a display that shows nothing must not keep others from it
            raise
        return hud

    def attach_all(self) -> None:
        """Send the attachments to all env runners; to those that have theirs, it is nothing new."""
        self._attach_at = time.monotonic() + ATTACH_S
        self.attach(self._algorithm.env_runner_group, is_evaluation=False)
        self.attach(getattr(self._algorithm, "eval_env_runner_group", None), is_evaluation=True)

    def attach(self, group: Any, is_evaluation: bool, indices: list[int] | None = None) -> None:
        """Send the attachment to env runners: to those with these indices, or to all and the local one.

        Does not wait: an actor takes its calls in order, so it is there before the first sampling.
        """
        attachment = self._attachment
        if is_evaluation:
            if self._evaluation is None:
                return
            attachment = self._evaluation[1]
        if group is not None:
            group.foreach_env_runner(
                Attach(attachment, self._slot),
                remote_worker_ids=indices,
                local_env_runner=indices is None,
                timeout_seconds=0.0,
            )

    def publish(self, result: Mapping[str, Any]) -> None:
        """Publish the result of one iteration."""
        step = steps_sampled(result)
        fields = flatten_result(result)
        took_s = result.get("time_this_iter_s")
        if step is not None:
            fields["global_step"] = step
            if took_s and self._steps_before is not None and step >= self._steps_before:
                fields["env_steps_per_s"] = (step - self._steps_before) / took_s
            self._steps_before = step
        self._publisher.log_iteration(fields, step=step)
        if self._evaluation is not None and isinstance(result.get("evaluation"), Mapping):
            self._evaluation[0].log_iteration(flatten_result(result["evaluation"]), step=step)
        if time.monotonic() >= self._attach_at:
            self.attach_all()  # ray may restart an actor between two calls: then RLlib never tells

    def begin_evaluation(self) -> None:
        """Evaluation begins; without env runners of its own it uses a training one, which shows nothing meanwhile."""
        config = self._algorithm.config
        if not getattr(config, "evaluation_parallel_to_training", False):
            self._publisher.log({"phase": "evaluating"}, step=self._steps_before)
        self._suspend_local(True)

    def end_evaluation(self) -> None:
        """Training goes on."""
        self._suspend_local(False)
        if not getattr(self._algorithm.config, "evaluation_parallel_to_training", False):
            self._publisher.log({"phase": "sampling"}, step=self._steps_before)

    def close(self) -> None:
        """End the session; a second call does nothing."""
        self._publisher.close(release=True)
        if self._evaluation is not None:
            self._evaluation[0].close(release=True)

    def _suspend_local(self, is_suspended: bool) -> None:
        if getattr(self._algorithm, "eval_env_runner_group", None) is not None:
            return
        local = self._algorithm.env_runner_group.local_env_runner
        if local is not None:
            our_callbacks(local)[self._slot].suspend(is_suspended)

    def _open_evaluation(self, channel: str) -> None:
        run_id = f"{self._attachment.settings.run_id}/evaluation"
        training = self._attachment.settings
        channel = channel_of(f"{training.channel}-evaluation") if channel == "auto" else channel
        settings = dataclasses.replace(training, channel=channel, run_id=run_id)
        name = f"{self._attachment.name} (evaluation)"
        info = {**self._attachment.info, "shows": "evaluation"}
        remote = getattr(self._algorithm.config, "evaluation_num_env_runners", 0)
        attachment = dataclasses.replace(
            self._attachment, settings=settings, name=name, info=info, is_evaluation=True, wanted=(min(1, remote), 0),
            last_worker=remote,
        )  # fmt: skip
        publisher = Publisher(name=name, info=info, settings=settings, writer="driver")
        publisher.start()
        self._evaluation = (publisher, attachment)

    def _end_with(self, algorithm: Any) -> None:
        """End the session when the algorithm stops, or when the program ends without stopping it.

        RLlib has no callback for the first, and `atexit` does not run in Tune's trials.
        """
        stop = algorithm.cleanup

        @functools.wraps(stop)
        def cleanup() -> None:
            self._detach_all()
            try:
                stop()
            finally:
                self._finish()

        algorithm.cleanup = cleanup
        itself = weakref.ref(self)
        self._at_exit = functools.partial(_end_at_exit, itself)
        atexit.register(self._at_exit)

    @guarded
    def _detach_all(self) -> None:
        """Let the env runners stop publishing first: one that went on would open the session again."""
        for group in (self._algorithm.env_runner_group, getattr(self._algorithm, "eval_env_runner_group", None)):
            if group is not None:
                group.foreach_env_runner(Attach(None, self._slot), timeout_seconds=DETACH_S)

    @guarded
    def _finish(self) -> None:
        atexit.unregister(self._at_exit)
        self.close()


def _end_at_exit(driver: weakref.ref[DriverHud]) -> None:
    """Ray ends its actors later on, so env runners are there to be detached."""
    hud = driver()
    if hud is not None and ray.is_initialized():
        hud._detach_all()
        hud._finish()


def describe(algorithm: Any) -> dict[str, str]:
    """Return what the session says about the run, as text."""
    config = algorithm.config
    known = {key: getattr(config, key, None) for key in _CONFIG}
    plain = {key: value for key, value in known.items() if isinstance(value, (bool, int, float, str))}
    return {
        "env": _env_name(config),
        "algorithm": _algorithm_name(algorithm),
        "framework": f"ray {ray.__version__}",
        "env_runners": str(config.num_env_runners),
        "envs_per_env_runner": str(config.num_envs_per_env_runner),
        "config": json.dumps(plain),
    }


def trial_name(algorithm: Any) -> str | None:
    """Return the name of Tune's trial; None outside of Tune, where RLlib calls every trial "default"."""
    storage = getattr(algorithm, "_storage", None)
    name = getattr(storage, "trial_dir_name", None)
    return str(name) if name else None


def channel_of(name: str) -> str:
    """Return a channel name made of a trial's; a long one is cut, and stays unlike the others by a digest."""
    plain = re.sub(r"[^A-Za-z0-9_.\-]+", "-", name).lstrip("_.-") or "run"
    if len(plain) <= 64:
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{plain[:55]}-{digest}"


def _run_id(given: str | None, algorithm: Any, trial: str | None) -> str:
    """Return the run's secret: the one given, or the one kept with the run's files, so that a retry has it too."""
    if given:
        # Trials of one job share the environment; with one run id they would all write into one session.
        return f"{given}/{trial}" if trial else given
    path = Path(algorithm.logdir) / RUN_ID_FILE
    try:
        kept = path.read_text(encoding="ascii").strip()
        if kept:
            return kept
    except (OSError, ValueError):
        pass
    fresh = secrets.token_urlsafe(24)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(fresh)
    except OSError as error:
        logger.debug("HUD: cannot keep the run id in %s (%s): a retry of this run gets its own session", path, error)
    return fresh


def _wanted(settings: Settings, config: Any) -> tuple[int, int]:
    """Return the env to show first: the one that the settings name, or the nearest that exists."""
    workers, envs = config.num_env_runners, max(1, config.num_envs_per_env_runner)
    worker = min(max(1, settings.worker_index), workers) if workers else 0
    return worker, min(settings.env_id, envs - 1)


def _env_name(config: Any) -> str:
    env = config.env
    return env if isinstance(env, str) else getattr(env, "__name__", None) or type(env).__name__


def _algorithm_name(algorithm: Any) -> str:
    return type(algorithm).__name__


def _run_name(algorithm: Any) -> str:
    return f"{_algorithm_name(algorithm)}-{_env_name(algorithm.config)}-{Path(algorithm.logdir).name}"
