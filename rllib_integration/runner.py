"""One env runner's part of HUD: its reporter's frames, views and metrics, its envs' thumbnails, and its phase.

Runs on the thread that steps the envs, so an ordinary step costs two comparisons and a clock read, which `callbacks`
makes; all costlier work is rate-limited. Its methods may raise anything: `callbacks`, which makes one
RunnerHud per env runner, keeps them from RLlib.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hud_publisher import Publisher
from hud_publisher.integrations.rendering import RenderBudget
from hud_publisher.integrations.reward_parts import reward_parts_of
from rllib_integration.attachment import Attachment
from rllib_integration.episodes import EpisodeView, RunningEpisode, view_of
from rllib_integration.guard import quiet
from rllib_integration.mind import PolicyView
from rllib_integration.rendering import render_env, sub_env
from rllib_integration.reporter import Reporter
from rllib_integration.steps import StepCount

#: Time between two entries of step-level fields that are sent with their frame, which is the rate of sent frames.
METRICS_S = 0.2
#: After this time an entry is sent without a frame, even without viewers: enough for a viewer that comes later.
METRICS_ALONE_S = 0.25
#: Time between two questions whether a frame is due, which cost more than the rest of an ordinary step. The publisher
#: counts from the due time, so the rate is right on average; the next frame may be due after this share of a period.
ASK_S = 0.008
REST = 0.6
#: After this time without a frame a view of the policy is sent without one.
MIND_ALONE_S = 0.25
#: Steps that a due frame waits for the module's input of its step: one, or more if an episode ends meanwhile.
MOST_WAITS = 3
#: Time between two checks of the requests of viewers and other runners.
LOOK_S = 0.2
#: Time between two questions whether a thumbnail is wanted; the publisher accepts one per second.
THUMBNAIL_S = 0.25
#: The shortest pause between two samplings that counts as a learner phase.
PAUSE_S = 0.15
#: No episode: the next step of the env is processed, whichever episode it belongs to.
UNSEEN: Any = object()


@dataclass(slots=True)
class _Env:
    """One env of the runner: its current episode, and the number of episodes that it began."""

    running: RunningEpisode | None = None
    episodes: int = 0


class RunnerHud:
    """Publishes the frames, metrics and thumbnails of one env runner.

    Args:
        attachment: from the driver.
        publisher: made from it.
        worker_index: of the env runner; 0 for the driver's runner.
        num_envs: how many envs it steps.
        info_keys: fields of the envs' `info` to show.
        reward_keys: names of the parts of the reward in `info`; empty for the usual names.
        clock: seconds, monotonic.

    Attributes:
        seen: the episode object of each env's newest step.
        quiet_until: until this time, on the clock, a step into a seen episode is only counted.
        steps: counts the steps.
        clock: as above.
    """

    def __init__(
        self,
        attachment: Attachment,
        publisher: Publisher,
        worker_index: int,
        num_envs: int,
        *,
        info_keys: Sequence[str] = (),
        reward_keys: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publisher = publisher
        self._worker_index = worker_index
        self._info_keys, self._reward_keys = tuple(info_keys), tuple(reward_keys)
        self.clock = clock
        self._policy = PolicyView(clock)
        self._framed_at = float("-inf")
        self._waits = 0
        self._is_evaluation = attachment.is_evaluation
        self._envs = [_Env() for _ in range(num_envs)]
        self.seen: list[Any] = [UNSEEN] * num_envs
        self.quiet_until = 0.0
        self._thumbnails_at = 0.0
        self._reporter = Reporter(worker_index, attachment.wanted, (attachment.last_worker, num_envs - 1))
        self._budget = RenderBudget(quiet)
        self.steps = StepCount(max(1, attachment.last_worker), is_evaluation=attachment.is_evaluation)
        self._view: EpisodeView | None = None
        self._look_at = 0.0
        self._ask_at = 0.0
        # If frames are rare, the publisher is still asked often enough for the fields.
        self._rest_s = max(0.0, min(METRICS_S / 2, REST / attachment.settings.fps) - ASK_S)
        self._metrics_at = 0.0
        self._metrics_with_frame_at = 0.0
        self._is_sampling = False
        self._paused_at: float | None = None
        self._pause_s = PAUSE_S
        self._phase = ""
        self._action_names: Sequence[str] = ()

    def begin_episode(self, env_runner: Any, env: Any, env_index: int, episode: Any) -> None:
        """Process the reset of an env; the requested env reports from now on."""
        running = self._begin(self._envs[env_index], episode)
        self.seen[env_index] = UNSEEN
        self.steps.sync(env_runner)
        reported = self._reporter.env_index
        self._reporter.begin_episode(env_index, self._publisher.feedback)
        if self._reporter.env_index == env_index:
            where = {"worker_index": self._worker_index, "env_index": env_index}
            data = {**running.sums(), "episode_id": str(running.identity), **where}
            self._publisher.log(data, step=self.steps.now)
        self._take_role(reported, env)

    def step(self, env_runner: Any, env: Any, env_index: int, episode: Any) -> None:
        """Process one step of an env, which `episode` already contains."""
        now = self.clock()
        if not self._is_sampling:
            self._resume(now, env_runner)
        self.steps.own += 1
        slot = self._envs[env_index]
        running = slot.running
        if running is None or episode is not running.chunk:
            running = self._see(slot, episode)
        if now >= self._look_at:
            self._look(now, env)
        if now >= self._ask_at and env_index == self._reporter.env_index:
            self._ask_at = now + ASK_S
            self._report(now, env_runner, env, env_index, running, episode)
        if now >= self._thumbnails_at:
            self._thumbnails_at = now + THUMBNAIL_S
            self.seen = [UNSEEN] * len(self.seen)  # each env is checked at its next step
        is_asked, self.seen[env_index] = self.seen[env_index] is UNSEEN, episode
        is_wanted = is_asked and self._publisher.wants_thumbnail((self._worker_index, env_index))
        if is_wanted and self._budget.is_affordable():
            self._render(env, env_index)
        self.quiet_until = min(self._look_at, self._thumbnails_at)
        if self._reporter.env_index is not None:
            self.quiet_until = min(self.quiet_until, self._ask_at)

    def end_episode(self, env_index: int, episode: Any) -> None:
        """Process the end of an episode, after its last step."""
        slot = self._envs[env_index]
        self.seen[env_index] = UNSEEN
        running, slot.running = slot.running, None
        if running is None or env_index != self._reporter.env_index or not hasattr(episode, "is_terminated"):
            return  # the old API stack gives an exception in place of an episode that failed
        # With the fields of the last step: the newest entry may be a quarter of a second old.
        data = self._moment(running, episode)
        data["episode_return"] = data.get("episode_reward")
        is_terminated = quiet.attempt("is_terminated", running.view.is_terminated, episode)
        if is_terminated is not None:
            data["episode_end"] = "terminated" if is_terminated else "truncated"
        self._publisher.log(data, step=self.steps.now)

    def pause(self) -> None:
        """Record that sampling stops and the samples go to the learner."""
        self._is_sampling = False
        self.quiet_until = 0.0
        self._paused_at = self.clock()
        # An algorithm that learns while it samples pauses for milliseconds; announcing each would make the page
        # flicker.
        if self._reporter.env_index is not None and self._pause_s >= PAUSE_S:
            self._say_phase("learning")

    def report(self, fields: Mapping[str, Any] | None, *, wait_s: float = 0.0) -> None:
        """Publish a report of this env runner, such as its death."""
        if fields is not None:
            self._publisher.report(fields, wait_s=wait_s)

    def close(self) -> None:
        """Send the queued entries and stop; the driver ends the session."""
        self._publisher.close(timeout_s=1.0, release=False)

    def _begin(self, slot: _Env, episode: Any) -> RunningEpisode:
        view = self._view = self._view or view_of(episode)
        slot.episodes += 1
        slot.running = RunningEpisode(view, view.identity(episode), slot.episodes)
        return slot.running

    def _see(self, slot: _Env, episode: Any) -> RunningEpisode:
        """Return the episode of a step whose object differs from that of the previous step."""
        running = slot.running
        if running is None or running.identity != running.view.identity(episode):
            running = self._begin(slot, episode)
        running.see(episode)
        return running

    def _resume(self, now: float, env_runner: Any) -> None:
        self._is_sampling = True
        self.steps.sync(env_runner)  # the driver's count arrives between two samplings
        if self._paused_at is not None:
            self._pause_s = now - self._paused_at
        self._reporter.resume(now)
        if self._reporter.env_index is not None:
            self._say_phase("sampling")

    def _look(self, now: float, env: Any) -> None:
        self._look_at = now + LOOK_S
        age_s = self._publisher.feedback_age_s
        feedback = self._publisher.feedback if math.isfinite(age_s) else None
        reported = self._reporter.env_index
        self._reporter.look(now, feedback, age_s)
        self._take_role(reported, env)
        if reported is None and self._reporter.env_index is not None:
            where = {"worker_index": self._worker_index, "env_index": self._reporter.env_index}
            self._publisher.log(where, step=self.steps.now)

    def _take_role(self, reported: int | None, env: Any) -> None:
        self._publisher.claim = self._reporter.claim
        index = self._reporter.env_index
        if index is not None and index != reported:
            self._action_names = quiet.attempt("get_action_meanings", _action_names, env, index) or ()
            self._phase, self._ask_at = "", 0.0
            if self._is_sampling:
                self._say_phase("sampling")

    def _say_phase(self, phase: str) -> None:
        phase = "evaluating" if self._is_evaluation else phase
        if phase != self._phase:
            self._phase = phase
            self._publisher.log({"phase": phase}, step=self.steps.now)

    def _report(
        self, now: float, env_runner: Any, env: Any, env_index: int, running: RunningEpisode, episode: Any
    ) -> None:
        """Publish the reporter's frame, view and fields, if they are due."""
        name = (self._worker_index, env_index)
        has_frame = self._publisher.wants_frame(name) and self._budget.is_affordable()
        has_mind = (has_frame or now > self._framed_at + MIND_ALONE_S) and self._publisher.wants_mind(name)
        mind = None
        if has_mind and running.view.has_minds and self._policy.is_affordable():
            is_ready = self._policy.is_prepared(episode) or self._waits >= MOST_WAITS
            if not is_ready and self._policy.prepare(env_runner, episode):
                self._waits, self._ask_at = self._waits + 1, 0.0  # the next step has its frame and its view
                return
            mind = quiet.attempt("the policy's view", self._mind, env_runner, env_index, running, episode)
        self._waits = 0
        if running.view.has_minds:  # of a slow env, every step comes here, and no frame has to wait
            self._policy.prepare(env_runner, episode)
        fields = None
        if now >= (self._metrics_with_frame_at if has_frame else self._metrics_at):
            self._metrics_at = now + METRICS_ALONE_S
            self._metrics_with_frame_at = now + METRICS_S * 0.9  # tolerance, because frame times jitter
            fields = self._moment(running, episode)
        if has_frame:
            self._render(env, env_index, fields, mind)
        else:
            self._publish_without_frame(running.number, name, fields, mind)

    def _publish_without_frame(
        self, episode: int, name: tuple[int, int], fields: Mapping[str, Any] | None, mind: Mapping[str, Any] | None
    ) -> None:
        if fields is not None:
            self._publisher.log(fields, step=self.steps.now)
        if mind is not None:
            self._publisher.mind(**mind, step=self.steps.now, episode=episode, env=name)

    def _mind(self, env_runner: Any, env_index: int, running: RunningEpisode, episode: Any) -> dict[str, Any]:
        """Return the policy's view of the newest step, for `Publisher.mind`."""
        view = running.view
        action = quiet.attempt("the action", view.action, episode)
        parts = self._policy.read(env_runner, env_index, episode) | {"action": action}
        if self._action_names:
            parts |= {"action_names": self._action_names, "action_name": _name_of(action, self._action_names)}
        infos = quiet.attempt("the info", view.infos, episode)
        parts["reward_parts"] = quiet.attempt("the parts of the reward", reward_parts_of, infos, self._reward_keys)
        return parts

    def _render(
        self, env: Any, env_index: int, fields: Mapping[str, Any] | None = None, mind: Mapping[str, Any] | None = None
    ) -> None:
        """Render, and offer the pictures: one picture may serve as frame and as thumbnail.

        Args:
            env: the vector env.
            env_index: the env to render.
            fields: published with its frame.
            mind: the policy's view, published with its frame.
        """
        pictures = self._budget.spend(lambda: render_env(env, env_index)) or {}
        if env_index not in pictures:
            name = (self._worker_index, env_index)
            self._publish_without_frame(self._envs[env_index].episodes, name, fields, mind)
        for index, picture in pictures.items():
            name = (self._worker_index, index)
            if index == self._reporter.env_index:
                is_taken = self._publisher.frame(
                    picture, step=self.steps.now, episode=self._envs[index].episodes, env=name,
                    data=fields if index == env_index else None, mind=mind if index == env_index else None,
                )  # fmt: skip
                self._framed_at = self.clock()
                self._ask_at += self._rest_s if is_taken else 0.0
            if self._publisher.wants_thumbnail(name):
                self._publisher.thumbnail(picture, env=name, step=self.steps.now)
        if (trouble := self._budget.new_trouble()) is not None:
            self._publisher.log({"no_picture": trouble}, step=self.steps.now)

    def _moment(self, running: RunningEpisode, episode: Any) -> dict[str, Any]:
        """Return the current step-level fields; one that cannot be read does not affect the others."""
        view = running.view
        data = quiet.attempt("the episode's return", running.sums) or {"episode": running.number}
        data |= {"reward": quiet.attempt("the reward", view.reward, episode), "global_step": self.steps.now}
        action = data["action"] = quiet.attempt("the action", view.action, episode)
        if self._action_names and (name := _name_of(action, self._action_names)):
            data["action_name"] = name
        if self._info_keys:
            data |= quiet.attempt("the info", lambda: pick(view.infos(episode), self._info_keys)) or {}
        return data


def pick(infos: Any, keys: Sequence[str]) -> dict[str, Any]:
    """Return the wanted fields of an `info`; those of several agents under each agent's name.

    Mappings are copied, since an environment may later change the mapping that it returned.
    """
    found: dict[str, Any] = {}
    if not isinstance(infos, Mapping):
        return found
    for key in keys:
        if quiet.attempt("the info", infos.__contains__, key):
            value = quiet.attempt(f"info[{key!r}]", infos.__getitem__, key)
            found[key] = quiet.attempt(f"info[{key!r}]", dict, value) if isinstance(value, Mapping) else value
    if not found:
        for agent, info in infos.items():
            if isinstance(info, Mapping) and (fields := pick(info, keys)):
                found[str(agent)] = fields
    return found


def _name_of(action: Any, names: Sequence[str]) -> str | None:
    """Return the name of an action; None if it has none, such as the actions of several agents."""
    try:
        return names[int(action)]
    except (TypeError, ValueError, IndexError):
        return None


def _action_names(env: Any, index: int) -> Sequence[str]:
    """Return the names of the actions of an Atari game; none for most other environments."""
    one = sub_env(env, index)
    meanings = getattr(getattr(one, "unwrapped", None), "get_action_meanings", None)
    return [str(name) for name in meanings()] if callable(meanings) else ()
