"""One env runner's part: its reporter's frames and metrics, its envs' thumbnails, and the phase that it is in.

Runs on the thread that steps the envs, so an ordinary step costs two comparisons and a clock read, which `callbacks`
makes; everything dearer is rate-limited before it is computed. Raises whatever goes wrong: `callbacks` keeps that from
RLlib and makes one of these per env runner.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hud_publisher import Publisher
from rllib_integration.attachment import Attachment
from rllib_integration.episodes import EpisodeView, RunningEpisode, view_of
from rllib_integration.guard import attempt
from rllib_integration.rendering import Renderer, sub_env
from rllib_integration.reporter import Reporter
from rllib_integration.steps import StepCount

#: Between two entries of step-level fields that go out with the frame that they belong to: so often do frames go out.
METRICS_S = 0.2
#: The same where no frame comes for so much longer, and with nobody watching: enough for whoever comes later.
METRICS_ALONE_S = 0.25
#: Between two questions whether a frame is due, which cost more than all else in an ordinary step. The publisher counts
#: from when a frame was due, so the rate is right on average; the next one may be due after this much of a period.
ASK_S = 0.008
REST = 0.6
#: Between two looks at what viewers and other runners want.
LOOK_S = 0.2
#: Between two questions whether a thumbnail is wanted; the publisher lets one per second pass.
THUMBNAIL_S = 0.25
#: The shortest pause between two samplings that is worth the name of a learner phase.
PAUSE_S = 0.15
#: No episode: the next step of the env is looked at, whatever its episode is.
UNSEEN: Any = object()


@dataclass(slots=True)
class _Env:
    """One env of the runner: its running episode, and how many it began."""

    running: RunningEpisode | None = None
    episodes: int = 0


class RunnerHud:
    """What one env runner shows.

    Args:
        attachment: from the driver.
        publisher: made from it.
        worker_index: of the env runner; 0 for the driver's own.
        num_envs: how many envs it steps.
        info_keys: fields of the envs' `info` to show.
        clock: seconds, monotonic.

    Attributes:
        seen: the episode that each env's newest step went into.
        quiet_until: until then, on the clock, a step into a seen episode need only be counted.
        steps: counts them.
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publisher = publisher
        self._worker_index = worker_index
        self._info_keys = tuple(info_keys)
        self.clock = clock
        self._is_evaluation = attachment.is_evaluation
        self._envs = [_Env() for _ in range(num_envs)]
        self.seen: list[Any] = [UNSEEN] * num_envs
        self.quiet_until = 0.0
        self._thumbnails_at = 0.0
        self._reporter = Reporter(worker_index, attachment.wanted, (attachment.last_worker, num_envs - 1))
        self._renderer = Renderer()
        self.steps = StepCount(max(1, attachment.last_worker), is_evaluation=attachment.is_evaluation)
        self._view: EpisodeView | None = None
        self._look_at = 0.0
        self._ask_at = 0.0
        # Where frames are seldom, fields are still asked for.
        self._rest_s = max(0.0, min(METRICS_S / 2, REST / attachment.settings.fps) - ASK_S)
        self._metrics_at = 0.0
        self._metrics_with_frame_at = 0.0
        self._is_sampling = False
        self._paused_at: float | None = None
        self._pause_s = PAUSE_S
        self._phase = ""
        self._trouble = ""
        self._action_names: Sequence[str] = ()

    def begin_episode(self, env_runner: Any, env: Any, env_index: int, episode: Any) -> None:
        """An env was reset; if it is the wanted one, it reports from here on."""
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
        """An env made one step; `episode` holds it already."""
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
            self._report(now, env, env_index, running, episode)
        if now >= self._thumbnails_at:
            self._thumbnails_at = now + THUMBNAIL_S
            self.seen = [UNSEEN] * len(self.seen)  # each env is asked with its next step
        is_asked, self.seen[env_index] = self.seen[env_index] is UNSEEN, episode
        is_wanted = is_asked and self._publisher.wants_thumbnail((self._worker_index, env_index))
        if is_wanted and self._renderer.is_affordable():
            self._render(env, env_index)
        self.quiet_until = min(self._look_at, self._thumbnails_at)
        if self._reporter.env_index is not None:
            self.quiet_until = min(self.quiet_until, self._ask_at)

    def end_episode(self, env_index: int, episode: Any) -> None:
        """An episode is over; its last step was seen before."""
        slot = self._envs[env_index]
        self.seen[env_index] = UNSEEN
        running, slot.running = slot.running, None
        if running is None or env_index != self._reporter.env_index or not hasattr(episode, "is_terminated"):
            return  # the old API stack gives an exception in place of an episode that broke
        # With the last step's own fields: the newest entry may be a quarter of a second old.
        data = attempt("the last step", self._moment, running, episode) or running.sums()
        how = "terminated" if running.view.is_terminated(episode) else "truncated"
        self._publisher.log({**data, "episode_return": data["episode_reward"], "episode_end": how}, step=self.steps.now)

    def pause(self) -> None:
        """Sampling stops for now: the samples go to the learner."""
        self._is_sampling = False
        self.quiet_until = 0.0
        self._paused_at = self.clock()
        # An algorithm that learns while it samples pauses for milliseconds; to announce each would only flicker.
        if self._reporter.env_index is not None and self._pause_s >= PAUSE_S:
            self._say_phase("learning")

    def close(self) -> None:
        """Send what is left and stop; ending the session is the driver's part."""
        self._publisher.close(timeout_s=1.0, release=False)

    def _begin(self, slot: _Env, episode: Any) -> RunningEpisode:
        view = self._view = self._view or view_of(episode)
        slot.episodes += 1
        slot.running = RunningEpisode(view, view.identity(episode), slot.episodes)
        return slot.running

    def _see(self, slot: _Env, episode: Any) -> RunningEpisode:
        """A step went into another object than the one before; return the episode that it belongs to."""
        running = slot.running
        if running is None or running.identity != running.view.identity(episode):
            running = self._begin(slot, episode)
        running.see(episode)
        return running

    def _resume(self, now: float, env_runner: Any) -> None:
        self._is_sampling = True
        self.steps.sync(env_runner)  # the driver's count comes between two samplings
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
            self._action_names = attempt("get_action_meanings", _action_names, env, index) or ()
            self._phase, self._ask_at = "", 0.0
            if self._is_sampling:
                self._say_phase("sampling")

    def _say_phase(self, phase: str) -> None:
        phase = "evaluating" if self._is_evaluation else phase
        if phase != self._phase:
            self._phase = phase
            self._publisher.log({"phase": phase}, step=self.steps.now)

    def _report(self, now: float, env: Any, env_index: int, running: RunningEpisode, episode: Any) -> None:
        """The reporter's frame and fields, where they are due."""
        has_frame = self._publisher.wants_frame((self._worker_index, env_index)) and self._renderer.is_affordable()
        fields = None
        if now >= (self._metrics_with_frame_at if has_frame else self._metrics_at):
            self._metrics_at = now + METRICS_ALONE_S
            self._metrics_with_frame_at = now + METRICS_S * 0.9  # frames come in a rhythm that wavers
            fields = attempt("the last step", self._moment, running, episode)
        if has_frame:
            self._render(env, env_index, fields)
        elif fields is not None:
            self._publisher.log(fields, step=self.steps.now)

    def _render(self, env: Any, env_index: int, fields: Mapping[str, Any] | None = None) -> None:
        """Render, and offer what came of it wherever it is wanted: one picture may serve as frame and thumbnail.

        Args:
            env: that holds the env.
            env_index: which to render.
            fields: that go with its frame.
        """
        pictures = self._renderer.render(env, env_index)
        if fields is not None and env_index not in pictures:
            self._publisher.log(fields, step=self.steps.now)
        for index, picture in pictures.items():
            name = (self._worker_index, index)
            if index == self._reporter.env_index:
                is_taken = self._publisher.frame(
                    picture, step=self.steps.now, episode=self._envs[index].episodes, env=name,
                    data=fields if index == env_index else None,
                )  # fmt: skip
                self._ask_at += self._rest_s if is_taken else 0.0
            if self._publisher.wants_thumbnail(name):
                self._publisher.thumbnail(picture, env=name, step=self.steps.now)
        if self._renderer.trouble != self._trouble:
            self._trouble = self._renderer.trouble
            self._publisher.log({"no_picture": self._trouble}, step=self.steps.now)

    def _moment(self, running: RunningEpisode, episode: Any) -> dict[str, Any]:
        """The step-level fields as they are now."""
        data = running.sums()
        data |= running.view.last(episode)
        data["global_step"] = self.steps.now
        if self._action_names and (name := _name_of(data.get("action"), self._action_names)):
            data["action_name"] = name
        if self._info_keys:
            data |= pick(running.view.infos(episode), self._info_keys)
        return data


def pick(infos: Mapping[Any, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return the wanted fields of an `info`; those of several agents under each agent's name.

    Mappings are copied, since an environment may go on writing into the one that it gave.
    """
    found: dict[str, Any] = {}
    for key in keys:
        if key in infos:
            value = infos[key]
            found[key] = dict(value) if isinstance(value, Mapping) else value
    if not found:
        for agent, info in infos.items():
            if isinstance(info, Mapping) and (fields := pick(info, keys)):
                found[str(agent)] = fields
    return found


def _name_of(action: Any, names: Sequence[str]) -> str | None:
    """What an action is called; None where it is no number of one, such as those of several agents."""
    try:
        return names[int(action)]
    except (TypeError, ValueError, IndexError):
        return None


def _action_names(env: Any, index: int) -> Sequence[str]:
    """What the actions of an Atari game are called; none for most other environments."""
    one = sub_env(env, index)
    meanings = getattr(getattr(one, "unwrapped", None), "get_action_meanings", None)
    return [str(name) for name in meanings()] if callable(meanings) else ()
