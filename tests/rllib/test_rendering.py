"""The envs of a runner are rendered in each way that RLlib vectorizes them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy
import pytest
from PIL import Image

from hud_publisher.integrations.rendering import RenderBudget
from hud_publisher.quiet import Quiet
from rllib_integration.rendering import render_env
from tests.rllib.envs import Counting, CountingVector, Pair, picture

PICTURE = numpy.zeros((2, 2, 3), numpy.uint8)


def rendered(env: Any, index: int = 0) -> tuple[dict[int, Any], str]:
    budget = RenderBudget(Quiet("hud.test"))
    pictures = budget.spend(lambda: render_env(env, index)) or {}
    return pictures, budget.trouble


def one(shot: Any) -> Any:
    return SimpleNamespace(render=lambda: shot, render_mode="rgb_array")


def test_one_env_of_a_synchronous_vector_is_rendered_alone() -> None:
    envs = SimpleNamespace(envs=[one(None), one(PICTURE)])
    assert rendered(envs, 1) == ({1: PICTURE}, "")
    pictures, trouble = rendered(envs, 0)
    assert pictures == {}
    assert trouble == 'render() returned None in render mode "rgb_array"'


def test_one_env_of_the_old_api_stack_is_rendered_alone() -> None:
    envs = SimpleNamespace(get_sub_environments=lambda: [one(None), one(PICTURE)])
    assert rendered(envs, 1) == ({1: PICTURE}, "")


@pytest.mark.parametrize("kind", [tuple, list, numpy.stack])
def test_a_vector_entry_point_gives_all_pictures_in_any_form(kind: Any) -> None:
    class Vector(CountingVector):
        def render(self) -> Any:
            return kind([picture(0), picture(1)])

    pictures, trouble = rendered(Vector({"num_envs": 2}), 1)
    assert trouble == ""
    assert [(pictures[index] == picture(index)).all() for index in (0, 1)] == [True, True]


def test_an_asynchronous_vector_gives_all_pictures() -> None:
    envs = gymnasium.vector.AsyncVectorEnv([Counting, Counting], context="fork")
    try:
        envs.reset()
        pictures, trouble = rendered(envs, 1)
    finally:
        envs.close()
    assert trouble == ""
    assert [(pictures[index] == picture(0)).all() for index in (0, 1)] == [True, True]


class Twice(Counting):
    """Plays with two render modes at once, which RLlib does not know."""

    metadata = {"render_modes": ["rgb_array", "rgb_array_list"]}  # noqa: RUF012


def collecting() -> Any:
    return gymnasium.wrappers.RenderCollection(Twice())


def test_frames_that_the_user_collects_are_left_where_they_are() -> None:
    envs = gymnasium.vector.SyncVectorEnv([collecting])
    envs.reset()
    for _ in range(5):
        envs.step(numpy.zeros(1, int))
        pictures, trouble = rendered(envs, 0)
        assert trouble == ""
    assert (pictures[0] == picture(5)).all()
    assert len(envs.render()[0]) == 6


def test_frames_that_the_user_collects_in_other_processes_are_left_there_with_the_reason() -> None:
    envs = gymnasium.vector.AsyncVectorEnv([collecting], context="fork")
    try:
        envs.reset()
        envs.step(numpy.zeros(1, int))
        pictures, trouble = rendered(envs, 0)
        assert pictures == {}
        assert 'render mode "rgb_array_list" hands out each frame once' in trouble
        assert len(envs.render()[0]) == 2
    finally:
        envs.close()


@pytest.mark.parametrize("error", [OSError("cannot open display"), SystemExit("cannot open display")])
@pytest.mark.parametrize("number", [0, 1])
def test_the_reason_for_a_missing_picture_names_the_raised_error(number: int, error: BaseException) -> None:
    class Failing(Counting):
        def render(self) -> Any:
            raise error

    together = SimpleNamespace(num_envs=1, render=Failing().render, render_mode="rgb_array")
    envs: Any = SimpleNamespace(envs=[Failing()]) if number else together
    assert rendered(envs) == ({}, f"render() raised {type(error).__name__}: cannot open display")


def test_a_multi_agent_env_whose_members_have_no_render_mode_gets_the_mode_as_advice() -> None:
    from ray.rllib.env.multi_agent_env import make_multi_agent

    members = make_multi_agent(lambda config: Counting({"render_mode": None}))
    pictures, trouble = rendered(SimpleNamespace(envs=[members({"num_agents": 2})]))
    assert pictures == {}
    assert trouble.startswith('the environment has no render mode: create the environment with render_mode="rgb_array"')
    assert "AttributeError" in trouble


@pytest.mark.parametrize("number", [0, 1])
def test_an_environment_that_does_not_draw_is_named(number: int) -> None:
    class Blind(gymnasium.Env):  # type: ignore[type-arg,misc]
        pass

    class Blinds(gymnasium.vector.VectorEnv):  # type: ignore[type-arg,misc]
        num_envs = 2

    envs: Any = SimpleNamespace(envs=[gymnasium.Wrapper(Blind())]) if number else Blinds()
    name = "Blind" if number else "Blinds"
    assert rendered(envs) == ({}, f"{name} has no render() of its own: let it return an RGB array")


def test_a_runner_without_an_env_is_a_reason() -> None:
    pictures, trouble = rendered(None)
    assert pictures == {}
    assert "'NoneType' object has no attribute 'render'" in trouble


def test_a_pil_image_is_a_picture_too() -> None:
    image = Image.new("RGB", (2, 2))
    assert rendered(SimpleNamespace(envs=[one(image)])) == ({0: image}, "")


@pytest.mark.parametrize("kind", ["ParallelPettingZooEnv", "PettingZooEnv"])
def test_rllibs_wrappers_for_pettingzoo_show_the_environment_inside(kind: str) -> None:
    from pettingzoo.utils.conversions import parallel_to_aec
    from ray.rllib.env.vector.sync_vector_multi_agent_env import SyncVectorMultiAgentEnv
    from ray.rllib.env.wrappers import pettingzoo_env

    from tests.rllib.envs import Meadow

    def make() -> Any:
        inside = Meadow("rgb_array")
        return getattr(pettingzoo_env, kind)(inside if kind.startswith("Parallel") else parallel_to_aec(inside))

    envs = SyncVectorMultiAgentEnv([make])
    pictures, trouble = rendered(envs)
    assert trouble == ""
    assert (pictures[0] == picture(0)).all()


def test_several_agents_are_shown_in_one_picture() -> None:
    assert (rendered(SimpleNamespace(envs=[Pair()]))[0][0] == picture(0)).all()
