"""How the envs of a runner are rendered, and how often."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy
import pytest
from PIL import Image

from rllib_integration.rendering import Renderer

PICTURE = numpy.zeros((2, 2, 3), numpy.uint8)


class Clock:
    """Time that passes only while something renders."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def env(clock: Clock, *durations: float, shot: Any = PICTURE, mode: str | None = "rgb_array") -> Any:
    left = list(durations)

    def render() -> Any:
        clock.now += left.pop(0) if left else 0.0
        return shot

    return SimpleNamespace(envs=[SimpleNamespace(render=render, render_mode=mode)])


def test_a_cheap_picture_is_affordable_again_almost_at_once_and_a_dear_one_later() -> None:
    clock = Clock()
    renderer = Renderer(clock)
    assert renderer.is_affordable()
    renderer.render(env(clock, 0.1), 0)
    assert not renderer.is_affordable()
    clock.now += 1.1
    assert not renderer.is_affordable()
    clock.now += 0.1
    assert renderer.is_affordable()


def test_one_slow_picture_on_a_busy_machine_does_not_count() -> None:
    clock = Clock()
    renderer = Renderer(clock)
    slow = env(clock, 0.001, 0.5, 0.5)
    for expected in (True, True, False):
        renderer.render(slow, 0)
        clock.now += 0.05
        assert renderer.is_affordable() is expected


def test_envs_that_render_together_give_all_their_pictures() -> None:
    together = SimpleNamespace(render=lambda: (PICTURE, PICTURE, PICTURE))
    assert set(Renderer().render(together, 1)) == {0, 1, 2}


@pytest.mark.parametrize("shot", [[PICTURE, PICTURE + 1], (PICTURE + 1,)])
def test_the_newest_of_several_pictures_is_taken(shot: Any) -> None:
    assert (Renderer().render(env(Clock(), shot=shot), 0)[0] == PICTURE + 1).all()


def test_a_pil_image_is_a_picture() -> None:
    image = Image.new("RGB", (2, 2))
    assert Renderer().render(env(Clock(), shot=image), 0) == {0: image}


@pytest.mark.parametrize(
    ("shot", "mode", "trouble"),
    [
        (None, None, "no render mode"),
        (None, "human", '"human"'),
        ("a line of text", "ansi", '"ansi"'),
        ([], "rgb", '"rgb"'),
    ],
)
def test_an_env_without_a_picture_says_why_and_is_asked_again_after_a_while(
    shot: Any, mode: str | None, trouble: str
) -> None:
    clock = Clock()
    renderer = Renderer(clock)
    assert renderer.render(env(clock, shot=shot, mode=mode), 0) == {}
    assert trouble in renderer.trouble
    assert not renderer.is_affordable()
    clock.now += 10
    assert renderer.is_affordable()
    assert renderer.render(env(clock), 0)
    assert renderer.trouble == ""
