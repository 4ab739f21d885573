"""`HudCallbacks`: the methods that RLlib calls.

RLlib makes one instance per env runner and several in the driver, and deep-copies and pickles the given one. So the
class holds its configuration and makes everything else once the driver has attached it. No method that RLlib calls
raises. Does nothing if neither Redis nor a HUD server is configured.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback

from hud_publisher import Publisher
from hud_publisher.deaths import of_exception
from hud_publisher.failure import describe
from hud_publisher.protocol.roles import read_roles
from hud_publisher.protocol.settings import Settings
from rllib_integration.attachment import AttachableCallbacks, Attachment, note
from rllib_integration.driver import DriverHud
from rllib_integration.guard import quiet
from rllib_integration.runner import RunnerHud

logger = logging.getLogger("hud.rllib")

#: Time for the report of an env runner that raised, in seconds; RLlib ends its process afterwards.
REPORT_S = 1.0


class HudCallbacks(AttachableCallbacks, RLlibCallback):  # type: ignore[misc]
    """Shows a training run on the HUD while it runs.

    Pass the class, or a partial of it, to RLlib: `config.callbacks(HudCallbacks)`,
    `config.callbacks(functools.partial(HudCallbacks, channel="team-a", fps=30))`, or one of a list of callbacks.

    Args:
        channel: the display; "auto" gives each run (each trial of a tuning job) a separate display, named after it.
        name: the run's name for people; by default made of the algorithm and the environment, or of Tune's trial.
        run_id: processes with the same run id share a session. By default a secret that is stored with the run's files.
        fps: greatest number of frames per second.
        info_keys: fields of the environment's `info` to show, such as ("health", "location").
        reward_keys: names in `info` of the parts of the reward, or of mappings of parts; by default the usual names.
        roles: role on the page → field, such as {"return": "env_runners/score"}.
        evaluation_channel: a second display for the evaluation env runners, "auto" to name it after the first; by
            default they are not shown.
        env_config: whether the shown configuration has the options of the environments, which may hold anything.
        **settings: any further setting by its name in `Settings`, such as `redis_url` or `worker_index`.

    Raises:
        ConfigError: an argument is wrong; the message names the argument and the expected form.
    """

    _driver: DriverHud | None = None
    _attachment: Attachment | None = None
    _runner: RunnerHud | None = None
    _is_suspended = False

    def __init__(
        self,
        *,
        channel: str | None = None,
        name: str | None = None,
        run_id: str | None = None,
        fps: float | None = None,
        info_keys: Sequence[str] = (),
        reward_keys: Sequence[str] = (),
        roles: Mapping[str, str] | None = None,
        evaluation_channel: str | None = None,
        env_config: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__()
        overrides = {"channel": None if channel == "auto" else channel, "run_id": run_id, "fps": fps, **settings}
        Settings.from_env({}, **overrides)  # reports a wrong argument when the algorithm is built
        Settings.from_env({}, channel=evaluation_channel)
        self.channel = channel
        self.name = name
        self.roles = dict(read_roles(roles))
        self.info_keys = (info_keys,) if isinstance(info_keys, str) else tuple(info_keys)
        self.reward_keys = (reward_keys,) if isinstance(reward_keys, str) else tuple(reward_keys)
        self.evaluation_channel = evaluation_channel
        self.env_config = bool(env_config)
        self.overrides = overrides

    def __getstate__(self) -> dict[str, Any]:
        """Copies and checkpoints carry the configuration only."""
        return {**self.__dict__, "_driver": None, "_attachment": None, "_runner": None, "_is_suspended": False}

    # The driver.

    @quiet.guarded
    def on_algorithm_init(self, *, algorithm: Any, **kwargs: Any) -> None:
        """Register the run and let its env runners join."""
        note(algorithm, self)
        self._driver = DriverHud.start(self, algorithm)

    @quiet.guarded
    def on_train_result(self, *, algorithm: Any, result: dict[str, Any], **kwargs: Any) -> None:
        """Publish one iteration."""
        if self._driver is not None:
            self._driver.publish(result)

    @quiet.guarded
    def on_evaluate_start(self, *, algorithm: Any, **kwargs: Any) -> None:
        """Publish that evaluation has begun, and keep its episodes apart from those of training."""
        if self._driver is not None:
            self._driver.begin_evaluation()

    @quiet.guarded
    def on_evaluate_end(self, *, algorithm: Any, **kwargs: Any) -> None:
        """Publish that training continues."""
        if self._driver is not None:
            self._driver.end_evaluation()

    @quiet.guarded
    def on_env_runners_recreated(
        self,
        *,
        algorithm: Any,
        env_runner_group: Any,
        env_runner_indices: list[int],
        is_evaluation: bool,
        **kwargs: Any,
    ) -> None:
        """Let recreated env runners join again."""
        if self._driver is not None:
            self._driver.restart(env_runner_group, is_evaluation, env_runner_indices)

    @quiet.guarded
    def on_workers_recreated(
        self, *, algorithm: Any, worker_set: Any, worker_ids: list[int], is_evaluation: bool, **kwargs: Any
    ) -> None:
        """Let recreated env runners join: among several callbacks, the old API stack calls only this method."""
        if self._driver is not None and not algorithm.config.enable_env_runner_and_connector_v2:
            self._driver.restart(worker_set, is_evaluation, worker_ids)

    # The env runners.

    @quiet.guarded
    def on_environment_created(self, *, env_runner: Any, **kwargs: Any) -> None:
        """Note the env runner, so that the driver's attachment finds this object.

        RLlib makes the environment again while it handles the exception of a failed one.
        """
        note(env_runner, self)
        error = sys.exc_info()[1]
        if error is not None and self._runner is not None:
            self._runner.report({"kind": "restart", "part": "environment", **describe(error)})

    @quiet.guarded
    def on_sub_environment_created(self, *, worker: Any, **kwargs: Any) -> None:
        """Do the same on the old API stack."""
        note(worker, self)

    def attach(self, attachment: Attachment) -> None:
        """Join the driver's session from the next episode on; called in the env runner's process, more than once."""
        if attachment == self._attachment:
            return
        self.detach()
        self._attachment = attachment

    def detach(self) -> None:
        """Leave the session; called in the env runner's process."""
        runner, self._runner, self._attachment = self._runner, None, None
        if runner is not None:
            runner.close()

    def report_death(self, env_runner: Any, error: BaseException) -> None:
        """Report an exception that ends the env runner, and leave the session; called in its process."""
        if self._attachment is not None and not self._is_suspended:
            runner = self._runner or self._join(env_runner, env_runner.env)
            runner.report(of_exception(error), wait_s=REPORT_S)
            self.detach()

    def suspend(self, is_suspended: bool) -> None:
        """Publish nothing of this env runner: the driver evaluates on a training env runner."""
        self._is_suspended = is_suspended
        if self._runner is not None:
            self._runner.quiet_until = 0.0

    @quiet.guarded
    def on_episode_start(
        self, *, episode: Any, env_index: int, env_runner: Any = None, env: Any = None, worker: Any = None,
        base_env: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Begin an episode of one env."""
        if self._attachment is not None and not self._is_suspended:
            runner = self._runner or self._join(env_runner or worker, env or base_env)
            runner.begin_episode(env_runner or worker, env or base_env, env_index, episode)

    def on_episode_step(
        self, *, episode: Any, env_index: int, env_runner: Any = None, env: Any = None, worker: Any = None,
        base_env: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Process one step of one env."""
        try:  # as `quiet.guarded`, without its cost at each step
            runner = self._runner
            # While training runs, our code and data are not in the CPU caches: an ordinary step touches only this.
            if runner is not None and episode is runner.seen[env_index] and runner.clock() < runner.quiet_until:
                runner.steps.own += 1
            elif self._attachment is not None and not self._is_suspended:
                runner = runner or self._join(env_runner or worker, env or base_env)
                runner.step(env_runner or worker, env or base_env, env_index, episode)
        except Exception as error:  # no error may reach RLlib
            quiet.note("on_episode_step", error)

    @quiet.guarded
    def on_episode_end(self, *, episode: Any, env_index: int, **kwargs: Any) -> None:
        """End an episode of one env."""
        if self._runner is not None and not self._is_suspended:
            self._runner.end_episode(env_index, episode)

    @quiet.guarded
    def on_sample_end(self, **kwargs: Any) -> None:
        """Record that the samples go to the learner."""
        if self._runner is not None and not self._is_suspended:
            self._runner.pause()

    def _join(self, env_runner: Any, env: Any) -> RunnerHud:
        attachment = self._attachment
        assert attachment is not None
        index = int(env_runner.worker_index or 0)
        settings = attachment.settings
        if index == 0:  # the driver's publisher sends the log lines of this process
            settings = replace(settings, logs=False)
        publisher = Publisher(
            name=attachment.name, info=attachment.info, roles=attachment.roles, settings=settings,
            writer=f"w{index}", batch_frames=True,
        )  # fmt: skip
        num_envs = getattr(env, "num_envs", None) or len(env.get_sub_environments())
        self._runner = RunnerHud(
            attachment, publisher, index, int(num_envs), info_keys=self.info_keys, reward_keys=self.reward_keys
        )
        return self._runner
