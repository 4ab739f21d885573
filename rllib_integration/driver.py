"""The driver's part: it registers the run, lets the env runners join, publishes each iteration and ends the session.

Called by `callbacks` in the process of RLlib's Algorithm, on its thread; does no I/O there beyond the small file that
keeps the run id.
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import logging
import os
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import ray

from hud_publisher import Publisher
from hud_publisher.arguments import host_name, read_settings
from hud_publisher.deaths import mark_as_noted
from hud_publisher.protocol.errors import ConfigError
from rllib_integration.attachment import AttachableCallbacks, Attachment, attach_callbacks, our_callbacks
from rllib_integration.configuration import configuration_of
from rllib_integration.failures import of_lost_runner, of_restart, of_step, watch_group, watch_step
from rllib_integration.guard import quiet
from rllib_integration.handover import Claimant
from rllib_integration.results import flatten_result, steps_sampled
from rllib_integration.run import channel_of, describe, env_to_show, run_id_of, run_name, trial_name, why_no_frames

logger = logging.getLogger("hud.rllib")

#: Time for env runners to send their queued entries at the end of the run; one that hangs must not block RLlib.
DETACH_S = 3.0
#: How often env runners are given their attachments, in case ray has restarted one. That is a remote call to each,
#: which takes milliseconds and blocks RLlib meanwhile.
ATTACH_S = 5.0
#: Time for remote learners to name their processes while the algorithm is set up, in seconds.
LEARNERS_S = 3.0
#: Groups of env runners, and whether they evaluate.
Groups = list[tuple[Any, bool]]


class DriverHud:
    """The part of HUD in the Algorithm's process."""

    def __init__(self, algorithm: Any, slot: int, publisher: Publisher, attachment: Attachment) -> None:
        # The algorithm holds its callbacks, which hold this: a strong reference would keep a discarded algorithm alive.
        self._owner = weakref.ref(algorithm)
        self._slot = slot
        self._publisher = publisher
        self._attachment = attachment
        self._claimants = [self._claim(publisher)]
        self._evaluation: tuple[Publisher, Attachment] | None = None
        self._steps_before: int | None = None
        self._attach_at = 0.0
        self._at_exit: Callable[[], None] = lambda: None
        #: (is for evaluation, index) → the report of an env runner that is lost now.
        self._lost: dict[tuple[bool, int], dict[str, Any]] = {}
        self._failure: dict[str, Any] | None = None

    @classmethod
    def start(cls, callbacks: AttachableCallbacks, algorithm: Any) -> DriverHud | None:
        """Register the run; None if no HUD is configured."""
        try:
            settings = read_settings(None, dict(callbacks.overrides))
        except ConfigError as error:
            logger.error("HUD is off: %s", error)
            return None
        if not settings.redis_url and not settings.hud_url:
            logger.warning("HUD is off: start `hud up` on this machine, or set REDIS_URL or HUD_URL, to see this run")
            return None
        trial = trial_name(algorithm)
        settings = dataclasses.replace(
            settings,
            run_id=run_id_of(settings.run_id, algorithm, trial),
            channel=channel_of(trial or run_name(algorithm)) if callbacks.channel == "auto" else settings.channel,
        )
        info = quiet.attempt("describing the run", describe, algorithm) or {}
        name = callbacks.name or trial or " on ".join(info[part] for part in ("algorithm", "env") if part in info)
        publisher = Publisher(name=name, info=info, roles=dict(callbacks.roles), settings=settings, writer="driver")
        sections = quiet.attempt("the configuration", read_configuration, callbacks, algorithm) or {}
        for section, values in sections.items():
            publisher.configure(values, section=section)
        attachment = Attachment(
            settings=settings, name=name, info=info, roles=callbacks.roles,
            wanted=quiet.attempt("the env to show", env_to_show, settings, algorithm.config) or (0, 0),
            last_worker=quiet.attempt("num_env_runners", lambda: int(algorithm.config.num_env_runners or 0)) or 0,
        )  # fmt: skip
        slot = quiet.attempt("the place among the callbacks", our_callbacks(algorithm).index, callbacks) or 0
        hud = cls(algorithm, slot, publisher, attachment)
        try:
            if callbacks.evaluation_channel:
                hud._open_evaluation(callbacks.evaluation_channel)
            hud.attach_all()
            hud._end_with(algorithm)
            quiet.attempt("watching for failures", hud._watch, algorithm)
            publisher.processes.update(quiet.attempt("the learners", learners_beside, algorithm) or {})
            if reason := quiet.attempt("the env runners", why_no_frames, algorithm):
                publisher.log({"no_picture": reason})
        except BaseException:
            hud.close()  # a publisher without a run must not hold the display
            raise
        return hud

    def attach_all(self) -> None:
        """Send the attachments to all env runners; a runner that has its attachment ignores it."""
        self._attach_at = time.monotonic() + ATTACH_S
        for group, is_evaluation in _groups(self._owner()):
            self.attach(group, is_evaluation)

    def attach(self, group: Any, is_evaluation: bool, indices: list[int] | None = None) -> None:
        """Send the attachment to env runners: to those with these indices, or to all and the local one.

        Does not wait: an actor runs its calls in order, so the attachment arrives before the first sampling.
        """
        attachment = self._attachment
        if is_evaluation:
            if self._evaluation is None:
                return
            attachment = self._evaluation[1]
        group.foreach_env_runner(
            functools.partial(attach_callbacks, slot=self._slot, attachment=attachment),
            remote_worker_ids=indices,
            local_env_runner=indices is None,
            timeout_seconds=0.0,
        )

    def restart(self, group: Any, is_evaluation: bool, indices: list[int]) -> None:
        """Let env runners join that RLlib recreated, and report why it had to."""
        publisher = self._publisher_of(is_evaluation)
        for index in indices:
            cause = self._lost.pop((is_evaluation, index), None)
            if publisher is not None:
                publisher.report(of_restart(index, cause))
        self.attach(group, is_evaluation, indices)

    def _watch(self, algorithm: Any) -> None:
        """Note lost env runners and failed steps."""
        itself = weakref.ref(self)

        def lose(is_evaluation: bool, index: int, error: BaseException) -> None:
            if (driver := itself()) is not None:
                driver._lose(is_evaluation, index, error)

        def fail(error: BaseException) -> None:
            if (driver := itself()) is not None:
                driver._fail(error)

        def succeed() -> None:
            if (driver := itself()) is not None:
                driver._failure = None

        for group, is_evaluation in _groups(algorithm):
            watch_group(group, functools.partial(lose, is_evaluation))
        watch_step(algorithm, fail, succeed)

    def _publisher_of(self, is_evaluation: bool) -> Publisher | None:
        if not is_evaluation:
            return self._publisher
        return None if self._evaluation is None else self._evaluation[0]

    def _lose(self, is_evaluation: bool, index: int, error: BaseException) -> None:
        """Report an env runner that is lost, once until RLlib has recreated it."""
        publisher = self._publisher_of(is_evaluation)
        if (is_evaluation, index) not in self._lost and publisher is not None:
            self._lost[is_evaluation, index] = of_lost_runner(index, error)
            publisher.report(self._lost[is_evaluation, index])

    def _fail(self, error: BaseException) -> None:
        """Note a step that raised; it ends the run unless a later step succeeds. Tune ends the trial in any case."""
        self._failure = self._failure or of_step(error, self._publisher.processes)
        mark_as_noted(error)
        if trial_name(self._owner()) is not None:
            self._report_failure(wait_s=DETACH_S)

    def _report_failure(self, wait_s: float = 0.0) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            self._publisher.report(failure, wait_s=wait_s)

    def publish(self, result: Mapping[str, Any]) -> None:
        """Publish the result of one iteration."""
        took_over = [claimant.train() for claimant in self._claimants]
        if any(took_over):
            # Env runners that were refused register again at their next episode instead of after the lease.
            self._attachment = dataclasses.replace(self._attachment, turn=self._attachment.turn + 1)
            self._attach_at = 0.0
        step = quiet.attempt("the steps", steps_sampled, result)
        fields = quiet.attempt("the result", flatten_result, result) or {}
        if step is not None:
            fields["global_step"] = step
            fields["env_steps_per_s"] = quiet.attempt("time_this_iter_s", self._steps_per_s, step, result)
            self._steps_before = step
        self._publisher.log_iteration(fields, step=step)
        if self._evaluation is not None and isinstance(result.get("evaluation"), Mapping):
            evaluated = quiet.attempt("the evaluation's result", flatten_result, result["evaluation"])
            self._evaluation[0].log_iteration(evaluated or {}, step=step)
        if time.monotonic() >= self._attach_at:
            self.attach_all()  # ray may restart an actor between two calls, and RLlib does not report it then

    def _claim(self, publisher: Publisher) -> Claimant:
        itself = weakref.ref(self)

        def detach() -> None:
            if (driver := itself()) is not None:
                driver._detach_all()

        return Claimant(publisher, detach)

    def _steps_per_s(self, step: int, result: Mapping[str, Any]) -> float | None:
        took_s = result.get("time_this_iter_s")
        if not took_s or self._steps_before is None or step < self._steps_before:
            return None
        return float((step - self._steps_before) / took_s)

    def begin_evaluation(self) -> None:
        """Evaluation begins; without evaluation env runners it uses a training one, which shows nothing meanwhile."""
        if not self._evaluates_beside_training():
            self._publisher.log({"phase": "evaluating"}, step=self._steps_before)
        self._suspend_local(True)

    def end_evaluation(self) -> None:
        """Training continues."""
        self._suspend_local(False)
        if not self._evaluates_beside_training():
            samples = getattr(getattr(self._owner(), "config", None), "is_online", True)  # or learns from a record
            self._publisher.log({"phase": "sampling" if samples else "learning"}, step=self._steps_before)

    def close(self) -> None:
        """End the session; a second call does nothing."""
        self._report_failure()
        for claimant in self._claimants:
            claimant.leave()

    def _evaluates_beside_training(self) -> bool:
        return bool(getattr(getattr(self._owner(), "config", None), "evaluation_parallel_to_training", False))

    def _suspend_local(self, is_suspended: bool) -> None:
        algorithm = self._owner()
        if getattr(algorithm, "eval_env_runner_group", None) is not None:
            return
        local = getattr(getattr(algorithm, "env_runner_group", None), "local_env_runner", None)
        for callbacks in our_callbacks(local)[self._slot : self._slot + 1]:
            callbacks.suspend(is_suspended)

    def _open_evaluation(self, channel: str) -> None:
        run_id = f"{self._attachment.settings.run_id}/evaluation"
        training = self._attachment.settings
        channel = channel_of(f"{training.channel}-evaluation") if channel == "auto" else channel
        settings = dataclasses.replace(training, channel=channel, run_id=run_id)
        name = f"{self._attachment.name} (evaluation)"
        info = {**self._attachment.info, "shows": "evaluation"}
        remote = getattr(getattr(self._owner(), "config", None), "evaluation_num_env_runners", 0)
        attachment = dataclasses.replace(
            self._attachment, settings=settings, name=name, info=info, is_evaluation=True, wanted=(min(1, remote), 0),
            last_worker=remote,
        )  # fmt: skip
        publisher = Publisher(name=name, info=info, roles=self._attachment.roles, settings=settings, writer="driver")
        self._claimants.append(self._claim(publisher))
        self._evaluation = (publisher, attachment)

    def _end_with(self, algorithm: Any) -> None:
        """End the session when the algorithm stops or is garbage-collected, or when the program ends before that.

        RLlib has no callback for any of these, and `atexit` does not run in Tune's trials.
        """
        itself, owner = weakref.ref(self), self._owner
        wrapped = vars(algorithm).get("cleanup")  # set by another of our callbacks

        @functools.wraps(type(algorithm).cleanup)
        def cleanup() -> None:
            if (driver := itself()) is not None:
                driver._detach_all()
            try:
                if wrapped is not None:
                    wrapped()
                elif (stopping := owner()) is not None:
                    type(stopping).cleanup(stopping)
            finally:
                if driver is not None:
                    driver._finish()

        algorithm.cleanup = cleanup
        self._at_exit = functools.partial(_end_at_exit, itself)
        atexit.register(self._at_exit)
        leave = functools.partial(_leave_forgotten, self._claimants, _groups(algorithm), self._slot, self._at_exit)
        weakref.finalize(algorithm, leave).atexit = False

    @quiet.guarded
    def _detach_all(self) -> None:
        """Stop the env runners' publishing first: a runner that continued would open the session again."""
        for group, _is_evaluation in _groups(self._owner()):
            _detach(group, self._slot, timeout_s=DETACH_S)

    @quiet.guarded
    def _finish(self) -> None:
        atexit.unregister(self._at_exit)
        self.close()


def read_configuration(callbacks: AttachableCallbacks, algorithm: Any) -> dict[str, Any]:
    """Return the sections of RLlib's configuration; see configuration_of."""
    return configuration_of(algorithm.config, has_env_config=callbacks.env_config)


def learners_beside(algorithm: Any) -> dict[str, int]:
    """Return name → process id of the remote learners on this node, whose use of the machine the driver measures.

    Learners have no publisher. Those on other nodes, and those that RLlib starts later, are not measured.
    """
    group = getattr(algorithm, "learner_group", None)
    if group is None or not getattr(group, "is_remote", False):
        return {}
    found = group.foreach_learner(_whereabouts, timeout_seconds=LEARNERS_S)
    places = [place.get() for place in found if place.ok]
    return {f"learner {number}": pid for number, (host, pid) in enumerate(places) if host == host_name()}


def _whereabouts(_learner: Any) -> tuple[str, int]:
    """Return the node and the process id; runs in a learner's process."""
    return host_name(), os.getpid()


def _groups(algorithm: Any) -> Groups:
    """Return the groups of env runners that exist: for training, and for evaluation."""
    both = {"env_runner_group": False, "eval_env_runner_group": True}
    return [(group, both[name]) for name in both if (group := getattr(algorithm, name, None)) is not None]


def _detach(group: Any, slot: int, timeout_s: float = 0.0) -> None:
    """Let env runners leave the session, and wait at most this time for them."""
    leave = functools.partial(attach_callbacks, slot=slot, attachment=None)
    group.foreach_env_runner(leave, timeout_seconds=timeout_s)


def _end_at_exit(driver: weakref.ref[DriverHud]) -> None:
    """Detach the env runners at exit; ray ends its actors later, so they still exist."""
    hud = driver()
    if hud is not None and ray.is_initialized():
        hud._detach_all()
        hud._finish()


@quiet.guarded
def _leave_forgotten(claimants: list[Claimant], groups: Groups, slot: int, at_exit: Callable[[], None]) -> None:
    """End after the algorithm was garbage-collected: its env runners, which ray ends later, stop publishing first."""
    atexit.unregister(at_exit)
    for group, _is_evaluation in groups:
        quiet.attempt("detaching", _detach, group, slot)
    for claimant in claimants:
        claimant.leave(waits=False)
