"""When a picture is due."""

from __future__ import annotations

import numpy as np
import pytest

from hud_publisher import pacer as pacer_module
from hud_publisher.pacer import Pacer
from tests.fixtures.publishing import Clock


def taken(pacer: Pacer, clock: Clock, *, seconds: float, step_s: float, env: object = None) -> int:
    count, end = 0, clock.now + seconds
    while clock.now < end:
        count += pacer.take(env)
        clock.advance(step_s)
    return count


@pytest.mark.parametrize("step_s", [1 / 60, 0.001, 0.013])
def test_the_rate_is_right_on_average_whatever_the_steps_take(step_s: float) -> None:
    clock = Clock()
    assert 195 <= taken(Pacer(0.05, clock), clock, seconds=10, step_s=step_s) <= 202


def test_a_slower_training_gives_every_frame() -> None:
    clock = Clock()
    assert taken(Pacer(0.05, clock), clock, seconds=10, step_s=0.5) == 20


def test_a_pause_is_not_made_up_for_by_a_burst() -> None:
    clock = Clock()
    pacer = Pacer(0.05, clock)
    pacer.take()
    clock.advance(60)
    assert sum(pacer.take() for _ in range(10)) <= 2


def test_asking_does_not_use_the_turn_up() -> None:
    pacer = Pacer(1.0, Clock())
    assert all(pacer.is_due() for _ in range(3))
    assert pacer.take()
    assert not pacer.is_due()


def test_each_env_has_its_own_turn() -> None:
    pacer = Pacer(1.0, Clock())
    assert pacer.take((1, 0))
    assert pacer.take((1, 1))
    assert not pacer.take((1, 0))


def test_a_higher_rate_is_due_at_once_and_a_lower_one_is_not() -> None:
    clock = Clock()
    pacer = Pacer(1.0, clock)
    pacer.take()
    pacer.set_period(0.05)
    assert pacer.take()
    pacer.set_period(1.0)
    assert not pacer.take()


def test_nothing_is_due_while_closed() -> None:
    pacer = Pacer(1.0, Clock())
    pacer.is_open = False
    assert not pacer.is_due()
    assert not pacer.take()


@pytest.mark.parametrize("env", [[1, 0], np.array([1, 0]), {"a": 1}, ([1], 2)])
def test_an_env_of_any_type_raises_nothing(env: object) -> None:
    pacer = Pacer(1.0, Clock())
    assert pacer.take(env)
    assert not pacer.take(env)


def test_envs_that_are_made_up_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacer_module, "MAX_ENVS", 10)
    pacer = Pacer(1.0, Clock())
    assert sum(pacer.take((number, 0)) for number in range(1000)) == 1000
    assert len(pacer._due_at) <= 10
