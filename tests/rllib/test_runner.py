"""One env runner's part, with a publisher and a clock that the test controls."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from hud_publisher import Claim, Settings
from hud_publisher.protocol.batch import Published
from hud_publisher.protocol.batch import Reporter as Wish
from rllib_integration import HudCallbacks
from rllib_integration.attachment import Attachment
from rllib_integration.runner import RunnerHud


class Recorder:
    """A publisher that wants pictures only when the test says so."""

    def __init__(self) -> None:
        self.logged: list[dict[str, Any]] = []
        self.frames: list[tuple[int, int]] = []
        self.thumbnails: list[tuple[int, int]] = []
        self.minds: list[dict[str, Any]] = []
        self.wanted_frames = self.wanted_minds = False
        self.wanted_thumbnails: set[tuple[int, int]] = set()
        self.claim: Claim | None = None
        self.feedback = Published()
        self.feedback_age_s = float("inf")

    def log(self, data: Mapping[str, Any], step: int | None = None) -> None:
        self.logged.append(dict(data))

    def wants_frame(self, env: tuple[int, int]) -> bool:
        return self.wanted_frames

    def frame(
        self, pixels: Any, *, step: int, episode: int, env: tuple[int, int], data: Mapping[str, Any] | None,
        mind: Mapping[str, Any] | None,
    ) -> bool:  # fmt: skip
        self.frames.append(env)
        if mind is not None:
            self.mind(**mind, step=step, episode=episode, env=env)
        if data is not None:
            self.log(data, step)
        return True

    def wants_mind(self, env: tuple[int, int]) -> bool:
        return self.wanted_minds

    def mind(self, **parts: Any) -> bool:
        self.minds.append(parts)
        self.wanted_minds = False
        return True

    def wants_thumbnail(self, env: tuple[int, int]) -> bool:
        return env in self.wanted_thumbnails

    def thumbnail(self, pixels: Any, *, env: tuple[int, int], step: int) -> bool:
        self.thumbnails.append(env)
        self.wanted_thumbnails.discard(env)
        return True

    def having(self, field: str) -> list[Any]:
        return [entry[field] for entry in self.logged if field in entry]


class Bench:
    """A runner of two envs, its clock and its episodes."""

    def __init__(self, *, envs: Any = None, worker_index: int = 1, info_keys: tuple[str, ...] = ()) -> None:
        self.now = 100.0
        self.publisher = Recorder()
        self.renders: list[int] = []
        self.picture: Any = numpy.zeros((2, 2, 3), numpy.uint8)
        self.env = envs or SimpleNamespace(envs=[self._env(0), self._env(1)])
        self.env_runner = SimpleNamespace(num_env_steps_sampled_lifetime=0)
        attachment = Attachment(settings=Settings(), name="x", info={}, wanted=(1, 0), last_worker=2)
        self.hud = RunnerHud(
            attachment,
            self.publisher,
            worker_index,
            2,
            info_keys=info_keys,
            clock=lambda: self.now,  # type: ignore[arg-type]
        )
        self.callbacks = HudCallbacks()
        self.callbacks._attachment, self.callbacks._runner = attachment, self.hud
        self.episodes = [SingleAgentEpisode(), SingleAgentEpisode()]

    def _env(self, index: int) -> Any:
        def render() -> Any:
            self.renders.append(index)
            return self.picture

        unwrapped = SimpleNamespace(get_action_meanings=lambda: ["NOOP", "FIRE"])
        return SimpleNamespace(render=render, render_mode="rgb_array", unwrapped=unwrapped)

    def begin(self, index: int = 0) -> None:
        self.episodes[index] = SingleAgentEpisode()
        self.episodes[index].add_env_reset(0, infos={})
        self.hud.begin_episode(self.env_runner, self.env, index, self.episodes[index])

    def step(self, index: int = 0, *, after_s: float = 0.001, action: Any = 1) -> None:
        self.now += after_s
        self.episodes[index].add_env_step(0, action, 1.0, infos={"health": 3})
        self.callbacks.on_episode_step(
            episode=self.episodes[index], env_index=index, env_runner=self.env_runner, env=self.env
        )


@pytest.mark.parametrize(("worker_index", "most"), [(1, 140), (2, 25)], ids=["the shown", "another"])
def test_an_ordinary_step_is_counted_and_no_more(worker_index: int, most: int) -> None:
    bench = Bench(worker_index=worker_index)
    looks, step = [], bench.hud.step
    bench.hud.step = lambda *args: (looks.append(bench.now), step(*args))  # type: ignore[method-assign,assignment,func-returns-value]
    bench.begin(0)
    bench.begin(1)
    for _ in range(500):
        bench.step(0)
        bench.step(1)
    assert bench.hud.steps.own == 1000
    assert 8 <= len(looks) <= most, "one second passed"


class Lively:
    """A module that counts how often its values are asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def get_exploration_action_dist_cls(self) -> Any:
        return None

    def modules(self) -> list[Any]:
        return []

    def compute_values(self, batch: Any) -> Any:
        self.asked += 1
        return batch["obs"].sum(-1)


def test_a_view_is_read_only_when_wanted_and_goes_with_the_frame_of_its_step() -> None:
    bench = Bench()
    module = bench.env_runner.module = Lively()
    bench.env_runner.config, bench.env_runner.num_envs = SimpleNamespace(explore=True), 2
    bench.begin(0)
    bench.publisher.wanted_frames = True

    def step() -> None:
        bench.hud._budget._share._resume_at = 0.0  # pictures are cheap
        # When the callbacks of a step run, RLlib has the input for the decision of the next one.
        bench.env_runner._cached_to_module = {"obs": torch.full((2, 3), float(bench.hud.steps.own + 2))}
        bench.step(0)

    for _ in range(100):
        step()
    assert (module.asked, bench.publisher.minds) == (0, [])
    bench.publisher.wanted_minds = True
    before = len(bench.publisher.frames)
    while not bench.publisher.minds:
        step()
    [view] = bench.publisher.minds
    assert module.asked == 1
    assert len(bench.publisher.frames) == before + 1
    own = float(bench.hud.steps.own)
    assert view["observation"].tolist() == [own] * 3
    assert (view["value"], view["action"], view["action_name"]) == (3 * own, 1, "FIRE")
    assert (view["step"], view["episode"], view["env"]) == (bench.hud.steps.now, 1, (1, 0))


def test_a_module_without_its_value_head_is_asked_once() -> None:
    bench = Bench()
    bench.env_runner.module = module = Lively()
    module.compute_values = lambda batch: bench.renders.append(-1) or batch.vf  # type: ignore[assignment,func-returns-value]
    bench.env_runner.config, bench.env_runner.num_envs = SimpleNamespace(explore=True), 2
    bench.env_runner._cached_to_module = {"obs": torch.zeros(2, 3)}
    bench.begin(0)
    bench.publisher.wanted_frames = True
    for _ in range(5):
        bench.publisher.wanted_minds = True
        for _ in range(300):
            bench.step(0)
    assert len(bench.publisher.minds) == 5
    assert bench.renders.count(-1) == 1
    assert all("value" not in view for view in bench.publisher.minds)


def test_a_chunk_that_begins_between_two_looks_is_seen() -> None:
    bench = Bench()
    bench.begin()
    for _ in range(3):
        bench.step()
    bench.episodes[0] = bench.episodes[0].cut()
    for _ in range(2):
        bench.step()
    bench.episodes[0].is_terminated = True
    bench.hud.end_episode(0, bench.episodes[0])
    assert bench.publisher.having("episode_return") == [5.0]


def test_nothing_is_done_while_it_is_suspended_and_all_afterwards() -> None:
    bench = Bench()
    bench.begin()
    bench.step()
    bench.callbacks.suspend(True)
    logged = len(bench.publisher.logged)
    for _ in range(10):
        bench.step(after_s=0.1)
    assert (bench.hud.steps.own, len(bench.publisher.logged)) == (1, logged)
    bench.callbacks.suspend(False)
    bench.step(after_s=0.1)
    assert bench.hud.steps.own == 2
    assert len(bench.publisher.logged) > logged


@pytest.mark.parametrize(("frames", "entries"), [(True, 5), (False, 4)])
def test_step_level_fields_go_out_at_a_rate_for_eyes_however_fast_the_env_is(frames: bool, entries: int) -> None:
    bench = Bench()
    bench.begin()
    for number in range(1000):
        bench.publisher.wanted_frames = frames and len(bench.publisher.frames) <= number // 50
        bench.hud._budget._share._resume_at = 0.0
        bench.step(after_s=0.001)
    assert len(bench.publisher.having("reward")) == pytest.approx(entries, abs=1)
    assert len(bench.publisher.frames) == (20 if frames else 0)
    assert bench.publisher.having("episode_reward")[-1] == pytest.approx(1000, abs=260)


def test_nothing_is_rendered_that_nobody_wants() -> None:
    bench = Bench()
    bench.begin()
    for _ in range(100):
        bench.step(after_s=0.1)
    assert bench.renders == []


def test_one_picture_serves_as_frame_and_as_thumbnail() -> None:
    bench = Bench()
    bench.begin()
    bench.publisher.wanted_frames = True
    bench.publisher.wanted_thumbnails = {(1, 0)}
    bench.step()
    assert (bench.renders, bench.publisher.frames, bench.publisher.thumbnails) == ([0], [(1, 0)], [(1, 0)])


def test_envs_that_render_together_serve_all_thumbnails_at_once() -> None:
    together = SimpleNamespace(render=lambda: [numpy.zeros((2, 2, 3), numpy.uint8)] * 2)
    bench = Bench(envs=together)
    bench.begin()
    bench.publisher.wanted_frames = True
    bench.publisher.wanted_thumbnails = {(1, 0), (1, 1)}
    bench.step()
    assert bench.publisher.frames == [(1, 0)]
    assert bench.publisher.thumbnails == [(1, 0), (1, 1)]


def test_an_env_that_is_not_shown_sends_thumbnails_only() -> None:
    bench = Bench(worker_index=2)
    bench.begin(1)
    bench.publisher.wanted_frames = True
    bench.publisher.wanted_thumbnails = {(2, 1)}
    for _ in range(50):
        bench.step(1, after_s=0.1)
    assert (bench.publisher.frames, bench.publisher.thumbnails) == ([], [(2, 1)])
    assert bench.publisher.logged == []
    assert bench.publisher.claim is None


def test_a_long_pause_is_a_learner_phase_and_short_ones_are_none() -> None:
    bench = Bench()
    bench.begin()
    bench.step()
    bench.hud.pause()
    bench.step(after_s=2.0)
    assert bench.publisher.having("phase") == ["sampling", "learning", "sampling"]
    bench.hud.pause()
    bench.step(after_s=0.002)  # from here on it is known to learn while it samples
    bench.publisher.logged.clear()
    for _ in range(10):
        bench.hud.pause()
        bench.step(after_s=0.002)
    assert bench.publisher.having("phase") == []


def test_a_missing_picture_is_explained_once_and_the_explanation_withdrawn_when_it_comes() -> None:
    bench = Bench()
    bench.begin()
    bench.publisher.wanted_frames = True
    bench.picture = None
    bench.step()
    bench.step()
    assert len(bench.publisher.having("no_picture")) == 1
    bench.picture = numpy.zeros((2, 2, 3), numpy.uint8)
    bench.hud._budget._share._resume_at = 0.0
    bench.step(after_s=0.01)
    assert bench.publisher.having("no_picture")[-1] == ""


def test_actions_have_names_where_the_game_names_them() -> None:
    bench = Bench(info_keys=("health",))
    bench.begin()
    bench.step(action=numpy.int64(1), after_s=0.1)
    entry = bench.publisher.logged[-1]
    assert (entry["action"], entry["action_name"], entry["health"]) == (1, "FIRE", 3)


def test_an_action_without_a_name_hides_nothing_else() -> None:
    bench = Bench()
    bench.begin()
    for action in (7, numpy.array([0.5, 1.0]), {"a": 1}):
        bench.step(action=action, after_s=1.0)
        assert bench.publisher.logged[-1]["episode_length"] == len(bench.episodes[0])
        assert "action_name" not in bench.publisher.logged[-1]


def test_an_episodes_end_shows_its_last_step() -> None:
    bench = Bench(info_keys=("health",))
    bench.begin()
    for _ in range(9):
        bench.step(after_s=0.001)
    bench.now += 0.001
    bench.episodes[0].add_env_step(0, 0, 5.0, infos={"health": 0}, terminated=True)
    bench.hud.step(bench.env_runner, bench.env, 0, bench.episodes[0])
    bench.hud.end_episode(0, bench.episodes[0])
    last = bench.publisher.logged[-1]
    assert (last["episode_end"], last["episode_return"], last["episode_length"]) == ("terminated", 14.0, 10)
    assert (last["reward"], last["action_name"], last["health"]) == (5.0, "NOOP", 0)


def test_a_wish_for_the_other_env_moves_the_picture_with_its_next_episode() -> None:
    bench = Bench()
    bench.begin(0)
    bench.begin(1)
    bench.publisher.feedback = Published(reporter=Wish(1, 1), shown=(1, 0), shown_age_ms=10)
    bench.publisher.feedback_age_s = 0.0
    bench.publisher.wanted_frames = True
    bench.step(0, after_s=0.3)
    bench.step(1)
    assert bench.publisher.frames == [(1, 0)]
    assert bench.publisher.claim == Claim((1, 0))
    bench.begin(1)
    bench.hud._budget._share._resume_at = 0.0
    bench.step(1, after_s=0.01)
    assert bench.publisher.frames == [(1, 0), (1, 1)]
    assert bench.publisher.claim == Claim((1, 1), is_preferred=True)
    assert bench.publisher.having("env_index")[-1] == 1


def test_an_episode_that_broke_in_the_old_stack_ends_quietly() -> None:
    bench = Bench()
    bench.begin()
    bench.step()
    bench.hud.end_episode(0, RuntimeError("the environment died"))
    assert bench.publisher.having("episode_return") == []
