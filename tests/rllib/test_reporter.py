"""Which env is shown: the decisions of one env runner, with a clock and replies that the test controls."""

from __future__ import annotations

import pytest

from hud_publisher.protocol.batch import Claim, Published
from hud_publisher.protocol.batch import Reporter as Wish
from rllib_integration.reporter import Reporter


def reply(shown: tuple[int, int] | None = None, age_s: float = 0.0, wish: tuple[int, int] | None = None) -> Published:
    return Published(shown=shown, shown_age_ms=int(age_s * 1000), reporter=Wish(*wish) if wish else None)


def sample(reporter: Reporter, start: float, end: float, feedback: Published | None) -> float:
    """Look five times per second, with a fresh reply each time, as a sampling runner does."""
    now = start
    while now < end:
        reporter.look(now, feedback, 0.0)
        now += 0.2
    return now


def test_the_wanted_env_reports_from_its_first_episode_on_without_waiting_for_a_reply() -> None:
    reporter = Reporter(1, wanted=(1, 0), last=(2, 1))
    reporter.begin_episode(1, None)
    assert reporter.env_index is None
    reporter.begin_episode(0, None)
    assert reporter.env_index == 0
    assert reporter.claim == Claim((1, 0), is_preferred=True)


def test_a_changed_wish_takes_effect_with_the_next_episode_of_that_env() -> None:
    reporter = Reporter(2, wanted=(1, 0), last=(2, 1))
    reporter.look(100.0, reply(shown=(1, 0), wish=(2, 1)), 0.0)
    assert reporter.claim is None
    reporter.begin_episode(0, reply(shown=(1, 0), wish=(2, 1)))
    assert reporter.claim is None
    reporter.begin_episode(1, reply(shown=(1, 0), wish=(2, 1)))
    assert (reporter.env_index, reporter.claim) == (1, Claim((2, 1), is_preferred=True))


def test_the_reporter_goes_on_without_preference_until_the_env_asked_for_takes_over() -> None:
    reporter = Reporter(1, wanted=(1, 0), last=(2, 1))
    reporter.begin_episode(0, None)
    reporter.look(100.0, reply(shown=(1, 0), wish=(2, 1)), 0.0)
    assert (reporter.env_index, reporter.claim) == (0, Claim((1, 0)))
    reporter.look(100.2, reply(shown=(2, 1), wish=(2, 1)), 0.0)
    assert (reporter.env_index, reporter.claim) == (None, None)


def test_a_wish_for_another_env_of_the_same_runner_moves_the_role_within_it() -> None:
    reporter = Reporter(1, wanted=(1, 0), last=(2, 1))
    reporter.begin_episode(0, None)
    wish = reply(shown=(1, 0), wish=(1, 1))
    reporter.look(100.0, wish, 0.0)
    assert reporter.env_index == 0
    reporter.begin_episode(1, wish)
    assert (reporter.env_index, reporter.claim) == (1, Claim((1, 1), is_preferred=True))


def test_another_runner_offers_itself_after_ten_silent_seconds_and_reports_once_it_is_granted() -> None:
    reporter = Reporter(2, wanted=(1, 0), last=(2, 1))
    now = sample(reporter, 100.0, 105.0, reply(shown=(1, 0), age_s=0.0))
    alive_until = now
    while now < alive_until + 9.5:
        reporter.look(now, reply(shown=(1, 0), age_s=now - alive_until), 0.0)
        now += 0.2
    assert reporter.claim is None
    now = alive_until + 10.5
    reporter.look(now, reply(shown=(1, 0), age_s=10.5), 0.0)
    assert (reporter.claim, reporter.env_index) == (Claim((2, 0)), None)
    reporter.look(now + 0.2, reply(shown=(2, 0), age_s=0.0), 0.0)
    assert (reporter.claim, reporter.env_index) == (Claim((2, 0)), 0)


def test_it_steps_down_when_the_wanted_env_comes_back() -> None:
    reporter = Reporter(2, wanted=(1, 0), last=(2, 1))
    sample(reporter, 100.0, 111.0, reply())
    reporter.look(111.0, reply(shown=(2, 0)), 0.0)
    assert reporter.env_index == 0
    reporter.look(111.2, reply(shown=(1, 0)), 0.0)
    assert (reporter.env_index, reporter.claim) == (None, None)


def test_nobody_offers_itself_after_a_learner_phase_however_long() -> None:
    reporter = Reporter(2, wanted=(1, 0), last=(2, 1))
    sample(reporter, 100.0, 103.0, reply(shown=(1, 0)))
    reporter.resume(180.0)
    reporter.look(180.0, reply(shown=(1, 0), age_s=77.0), 0.0)
    assert reporter.claim is None
    reporter.look(180.2, reply(shown=(1, 0), age_s=0.1), 0.0)
    sample(reporter, 180.4, 185.0, reply(shown=(1, 0)))
    assert reporter.claim is None


def test_short_samplings_between_learner_phases_add_up_to_a_take_over() -> None:
    reporter = Reporter(2, wanted=(1, 0), last=(2, 1))
    reporter.look(100.0, reply(shown=(1, 0)), 0.0)
    for start in (120.0, 140.0, 160.0):
        reporter.resume(start)
        sample(reporter, start, start + 1.0, reply(shown=(1, 0), age_s=start - 100))
    assert reporter.claim == Claim((2, 0))


def test_a_first_reporter_that_never_comes_is_replaced_after_ten_seconds_but_not_before() -> None:
    reporter = Reporter(2, wanted=(1, 0), last=(2, 1))
    sample(reporter, 100.0, 109.0, reply())
    assert reporter.claim is None
    sample(reporter, 109.0, 111.0, reply())
    assert reporter.claim == Claim((2, 0))


def test_an_old_reply_counts_with_its_age() -> None:
    reporter = Reporter(2, wanted=(1, 0), last=(2, 1))
    old = reply(shown=(1, 0), age_s=1.0)
    for tick in range(60):
        reporter.look(100.0 + tick * 0.2, old, tick * 0.2)
    assert reporter.claim == Claim((2, 0))


def test_without_any_reply_nothing_is_claimed() -> None:
    reporter = Reporter(2, wanted=(1, 0), last=(2, 1))
    sample(reporter, 100.0, 200.0, None)
    assert reporter.claim is None


@pytest.mark.parametrize("wish", [(3, 0), (1, 2), (0, 0)])
def test_no_runner_takes_a_wish_for_an_env_that_this_run_does_not_have(wish: tuple[int, int]) -> None:
    reporter = Reporter(1, wanted=(1, 0), last=(2, 1))
    reporter.begin_episode(0, reply(wish=wish))
    assert reporter.claim == Claim((1, 0), is_preferred=True)


def test_a_run_without_remote_runners_is_asked_for_worker_zero() -> None:
    reporter = Reporter(0, wanted=(0, 0), last=(0, 1))
    reporter.begin_episode(1, reply(wish=(0, 1)))
    assert reporter.claim == Claim((0, 1), is_preferred=True)
