"""The times at which a picture is due."""

from __future__ import annotations

import numpy as np
import pytest

from hud_publisher.intake import pacer as pacer_module
from hud_publisher.intake.pacer import Pacer
from tests.fixtures.publishing import Clock


def taken(pacer: Pacer, clock: Clock, *, seconds: float, step_s: float, period_s: float = 0.05) -> int:
    count, end = 0, clock.now + seconds
    while clock.now < end:
        count += pacer.take(None, period_s)
        clock.advance(step_s)
    return count


@pytest.mark.parametrize("step_s", [1 / 60, 0.001, 0.013])
def test_the_rate_is_right_on_average_for_any_step_duration(step_s: float) -> None:
    clock = Clock()
    assert 195 <= taken(Pacer(clock), clock, seconds=10, step_s=step_s) <= 202


def test_a_slower_training_gives_every_frame() -> None:
    clock = Clock()
    assert taken(Pacer(clock), clock, seconds=10, step_s=0.5) == 20


def test_a_pause_is_not_made_up_for_by_a_burst() -> None:
    clock = Clock()
    pacer = Pacer(clock)
    pacer.take(None, 0.05)
    clock.advance(60)
    assert sum(pacer.take(None, 0.05) for _ in range(10)) <= 2


def test_asking_does_not_use_the_turn_up() -> None:
    pacer = Pacer(Clock())
    assert all(pacer.is_due(None, 1.0) for _ in range(3))
    assert pacer.take(None, 1.0)
    assert not pacer.is_due(None, 1.0)


def test_each_env_has_a_separate_turn() -> None:
    pacer = Pacer(Clock())
    assert pacer.take((1, 0), 1.0)
    assert pacer.take((1, 1), 1.0)
    assert not pacer.take((1, 0), 1.0)


def test_a_higher_rate_counts_from_the_last_frame_and_a_lower_one_too() -> None:
    clock = Clock()
    pacer = Pacer(clock)
    pacer.take(None, 1.0)
    assert not pacer.take(None, 0.05)
    clock.advance(0.05)
    assert not pacer.is_due(None, 1.0)
    assert pacer.take(None, 0.05)
    assert not pacer.take(None, 1.0)


def test_nothing_is_due_without_a_period() -> None:
    pacer = Pacer(Clock())
    assert not pacer.is_due(None, None)
    assert not pacer.take(None, None)
    assert pacer.asked_at == 1000.0


@pytest.mark.parametrize("env", [[1, 0], np.array([1, 0]), {"a": 1}, ([1], 2)])
def test_an_env_of_any_type_raises_nothing(env: object) -> None:
    pacer = Pacer(Clock())
    assert pacer.take(env, 1.0)
    assert not pacer.take(env, 1.0)


def test_envs_that_are_made_up_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacer_module, "MAX_ENVS", 10)
    pacer = Pacer(Clock())
    assert sum(pacer.take((number, 0), 1.0) for number in range(1000)) == 1000
    assert len(pacer._began_at) <= 10
