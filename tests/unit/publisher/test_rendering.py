"""Other people's environments are rendered without notice, within a share of the time, or with a reason."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hud_publisher.integrations.rendering import RenderBudget, render, render_all
from hud_publisher.protocol.errors import UnsupportedImageError
from hud_publisher.quiet import Quiet

PICTURE = np.full((4, 6, 3), 9, np.uint8)


class Env:
    """An environment with a scripted `render`."""

    def __init__(self, shot: Any = PICTURE, mode: str | None = "rgb_array", error: BaseException | None = None) -> None:
        self.render_mode = mode
        self.calls = 0
        self._shot, self._error = shot, error

    def render(self) -> Any:
        self.calls += 1
        if self._error:
            raise self._error
        return self._shot


class Around:
    """A wrapper that passes attributes through."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["env"], name)

    def render(self) -> Any:
        return self.env.render()


class Collecting(Around):
    """Returns each frame once, like Gymnasium's RenderCollection."""

    def __init__(self, env: Any, mode: str = "rgb_array_list") -> None:
        super().__init__(env)
        self.render_mode = mode
        self.frame_list: list[Any] = []

    def render(self) -> Any:
        frames, self.frame_list = self.frame_list, []
        return frames


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_newest_of_the_frames_that_are_kept_for_the_user_is_shown_and_stays() -> None:
    newest = PICTURE + 1
    env = Collecting(Env())
    env.frame_list = [PICTURE, newest]
    assert render(Around(env)) is newest
    assert len(env.render()) == 2
    assert env.env.calls == 0


def test_with_the_kept_frames_just_taken_the_environment_inside_is_rendered() -> None:
    env = Collecting(Env())
    assert render(env) is PICTURE
    assert env.frame_list == []


def test_frames_that_a_recorder_took_over_are_read_in_place() -> None:
    inside = Collecting(Env())
    recorder = Around(inside)
    recorder.render_history = [PICTURE, PICTURE + 1]
    assert render(recorder) is recorder.render_history[-1]
    inside.frame_list.append(PICTURE + 2)
    assert render(recorder) is inside.frame_list[-1]


def test_a_window_is_never_drawn_for_the_hud_but_the_picture_below_it_is() -> None:
    window = Around(Env())
    window.render_mode = "human"
    window.render = lambda: pytest.fail("drew a window")
    assert render(window) is PICTURE


def test_ctrl_c_during_a_picture_reaches_the_program() -> None:
    with pytest.raises(KeyboardInterrupt):
        RenderBudget(Quiet("hud.test")).spend(lambda: render(Env(error=KeyboardInterrupt())))


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        (Env(None, None), 'the environment has no render mode: create the environment with render_mode="rgb_array"'),
        (Env(None), 'render() returned None in render mode "rgb_array"'),
        (Env(None, "human"), 'render mode "human" draws a window'),
        (Env([PICTURE], "rgb_array_list"), 'render mode "rgb_array_list" hands out each frame once'),
        (Env("a line", "ansi"), 'render() returned text in render mode "ansi": create the environment with'),
        (Env([], None), "render() returned an empty list: create the environment with"),
        (Env(np.zeros(3)), 'render() returned an array of shape (3,) of float64 in render mode "rgb_array"'),
        (Env(error=RuntimeError("no\n display")), "render() raised RuntimeError: no display"),
        (Env(error=TypeError("takes 1 argument")), "render() raised TypeError: takes 1 argument"),
        (Env(error=KeyError()), "render() raised KeyError"),
        (Env(error=SystemExit(1)), "render() raised SystemExit: 1"),
    ],
)
def test_the_reason_for_no_picture_is_the_real_one(env: Env, reason: str) -> None:
    budget = RenderBudget(Quiet("hud.test"))
    assert budget.spend(lambda: render(env)) is None
    assert budget.trouble.startswith(reason)
    if env.render_mode in ("human", "rgb_array_list"):
        assert env.calls == 0


def test_an_environment_without_a_render_method_is_a_reason() -> None:
    budget = RenderBudget(Quiet("hud.test"))
    assert budget.spend(lambda: render(object())) is None
    assert "'object' object has no attribute 'render'" in budget.trouble


def test_an_error_that_cannot_be_printed_is_a_reason() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    budget = RenderBudget(Quiet("hud.test"))
    assert budget.spend(lambda: render(Env(error=Mute()))) is None
    assert budget.trouble == "render() raised Mute"


def test_a_wrapper_that_calls_the_environment_inside_in_a_wrong_way_is_passed_by() -> None:
    class Misfit(Around):
        def render(self) -> Any:
            return self.env.render("rgb_array")

    class Parallel:
        render_mode = None

        def __init__(self) -> None:
            self.par_env = Env()

        def render(self) -> Any:
            return self.par_env.render(self.render_mode)

    assert render(Misfit(Env())) is PICTURE
    assert render(Around(Misfit(Env()))) is PICTURE
    assert render(Parallel()) is PICTURE
    broken = Misfit(Env(error=TypeError("within")))
    budget = RenderBudget(Quiet("hud.test"))
    budget.spend(lambda: render(broken))
    assert budget.trouble == "render() raised TypeError: within"


def test_an_environment_of_the_time_before_gymnasium_is_asked_for_pixels() -> None:
    class Old:
        def render(self, mode: str = "human") -> Any:
            return PICTURE if mode == "rgb_array" else None

    assert render(Old()) is PICTURE


def test_a_chain_of_wrappers_that_is_a_circle_ends() -> None:
    one, other = Env(), Around(None)
    other.env, other.render_mode = other, "rgb_array"
    other.render = one.render
    assert render(other) is PICTURE


def test_training_draws_the_same_random_numbers_as_without_rendering() -> None:
    class Noisy(Env):
        def __init__(self) -> None:
            super().__init__()
            self._np_random = np.random.default_rng(3)

        def render(self) -> Any:
            random.random()
            np.random.rand()
            return self._np_random.integers(0, 255, (4, 6, 3), dtype=np.uint8)

    env = Noisy()
    expected = (random.Random(5).random(), np.random.RandomState(5).rand(), np.random.default_rng(3).random())
    random.seed(5)
    np.random.seed(5)
    assert render(Around(env)).shape == (4, 6, 3)
    assert render_all(env, 0)
    assert (random.random(), np.random.rand(), env._np_random.random()) == expected


def test_a_cheap_picture_is_affordable_again_almost_at_once_and_a_dear_one_later() -> None:
    clock = Clock()
    budget = RenderBudget(Quiet("hud.test"), clock)

    def spend(seconds: float) -> None:
        def take() -> Any:
            clock.now += seconds
            return PICTURE

        assert budget.is_affordable()
        assert budget.spend(take) is PICTURE

    spend(0.1)
    clock.now += 1.1
    assert not budget.is_affordable()
    clock.now += 0.1
    assert budget.is_affordable()
    spend(5.0)  # a busy machine: the next is expected to take as long as the one before
    clock.now += 1.2
    assert budget.is_affordable()


def test_an_environment_that_gave_no_picture_is_asked_again_after_a_while() -> None:
    clock = Clock()
    budget = RenderBudget(Quiet("hud.test"), clock)
    assert budget.spend(lambda: render(Env(error=RuntimeError("no display")))) is None
    clock.now += 9.9
    assert not budget.is_affordable()
    clock.now += 0.2
    assert budget.is_affordable()
    assert budget.spend(lambda: render(Env())) is PICTURE
    assert budget.trouble == ""


def test_a_vector_of_many_is_rendered_as_a_whole() -> None:
    env = Env(np.stack([PICTURE, PICTURE]))
    env.num_envs = 2
    assert render_all(env, 1).keys() == {0, 1}
    assert render_all(Env([PICTURE, PICTURE]), 1).keys() == {0, 1}
    for mode in ("human", "rgb_array_list"):
        env = Env([PICTURE], mode)
        with pytest.raises(UnsupportedImageError, match=mode):
            render_all(env, 0)
        assert env.calls == 0
    assert render_all(SimpleNamespace(render=lambda: PICTURE, num_envs=3), 2) == {2: PICTURE}
