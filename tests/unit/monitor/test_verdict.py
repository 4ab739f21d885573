"""The verdict on a run: its level, its clauses and their evidence."""

from __future__ import annotations

import pytest

from hud_web.monitor.annotations import Annotation
from hud_web.monitor.detectors import HEALTHY, Observation
from hud_web.monitor.judge import Judge
from hud_web.monitor.problems import LINGER_MS, MAX_OPEN, Problems
from hud_web.monitor.symptoms.learning import Learning
from hud_web.monitor.verdict import Earlier, not_finite_problem, outlook, rank, steps
from hud_web.store.roles import RoleMap

NOW_MS = 1_760_000_000_000


def test_the_most_severe_problem_comes_first_and_keeps_its_evidence() -> None:
    problems = Problems()
    problems.follow(Annotation("vision_failing", NOW_MS, "The vision LLM failed"))
    problems.follow(Annotation("collapse", NOW_MS, "The return collapsed", 7, None, "5-0", ("ret",)))
    broken = {"loss": {"value": "NaN", "time_ms": NOW_MS, "step": 9}}
    level, clauses = rank([*problems.open.values(), not_finite_problem(broken)])
    assert level == "bad"
    assert [one["text"] for one in clauses] == [
        "NaN: loss since step 9", "the return collapsed", "the vision LLM failed",
    ]  # fmt: skip
    assert clauses[1] == {
        "text": "the return collapsed", "pattern": None, "fields": ["ret"], "time_ms": NOW_MS, "step": 7,
        "entry_id": "5-0",
    }  # fmt: skip


def test_a_problem_ends_with_its_own_annotation() -> None:
    problems = Problems()
    for pattern in ("a", "b"):
        problems.follow(Annotation("symptom", NOW_MS, pattern, pattern=pattern))
    problems.follow(Annotation("symptom_ended", NOW_MS, "", pattern="a"))
    assert [one["text"] for one in problems.of("symptom")] == ["b"]


def test_a_lost_env_runner_is_named_for_a_while_after_its_return() -> None:
    problems = Problems()
    problems.follow(Annotation("env_runner_lost", NOW_MS, "lost"))
    problems.follow(Annotation("env_runner_back", NOW_MS, "back"))
    problems.forget(NOW_MS + LINGER_MS)
    assert rank(problems.open.values())[1]
    problems.forget(NOW_MS + LINGER_MS + 1)
    assert rank(problems.open.values()) == (None, [])


def test_the_number_of_open_problems_is_bounded() -> None:
    problems = Problems()
    for number in range(3 * MAX_OPEN):
        problems.follow(Annotation("process_died", NOW_MS, "died", fields=(f"machine/{number}",)))
    assert len(problems.open) == MAX_OPEN


def test_a_run_is_compared_with_the_previous_one_at_equal_steps() -> None:
    before, now = Learning(), Learning()
    for learning, gain in ((before, 1.0), (now, 1.2)):
        roles = RoleMap()
        roles.add("episode_return")
        for number in range(60 if learning is before else 30):
            data = {"episode_return": 10 + gain * number + number % 3}
            learning.look(Observation("1-0", NOW_MS + number * 2000, number * 100, "w", data), roles)
    level, clauses = outlook(now, NOW_MS + 60_000, Earlier("run-a", before))
    assert (level, [one["text"] for one in clauses]) == (
        "good",
        ["Learning: return +33.6 in 60 s", "best 46.8 at step 2,900", "13 % above run-a at equal steps"],
    )
    assert clauses[1]["entry_id"] == "1-0"
    level, clauses = outlook(before, NOW_MS + 120_000, Earlier("run-b", now))
    assert len(clauses) == 2  # the previous run has not come that far


def test_the_mean_return_is_nan_before_the_first_episode_and_that_is_no_problem() -> None:
    judge = Judge()
    judge.see(Observation("1-0", NOW_MS, 1, "w", {"loss": 1.0}, {"ep_rew_mean": "NaN"}))
    assert judge.verdict()["text"] == "Too early to tell: no return yet"
    judge.see(Observation("2-0", NOW_MS, 2, "w", {"ep_rew_mean": 1.0}, {"loss": "NaN"}))
    assert judge.verdict()["text"] == "NaN: loss since step 2"


def test_counts_that_rllib_reports_as_nan_are_no_problem() -> None:
    judge = Judge()
    judge.see(Observation("1-0", NOW_MS, 1, "w", {}, {"learners/red/num_trainable_parameters": "NaN"}))
    assert judge.verdict()["level"] == "early"


def test_a_process_that_was_lost_explains_the_lapse_of_the_session() -> None:
    judge = Judge()
    for kind, text in (
        ("session_lapsed", "The lease lapsed"),
        ("process_lost", "The driver was last heard at 13:17:45"),
    ):
        judge.problems.follow(Annotation(kind, NOW_MS, text, fields=("x",)))  # type: ignore[arg-type]
    assert judge.verdict()["text"] == "The driver was last heard at 13:17:45"
    assert judge.verdict()["level"] == "bad"


def test_a_hang_is_told_with_its_present_duration() -> None:
    judge = Judge()
    for number in range(4):
        judge.see(Observation("1-0", NOW_MS + number * 10_000, 1, "w", {"phase": ("sampling", "learning")[number % 2]}))
    judge.pass_time(NOW_MS + 90_000)
    assert judge.verdict()["text"] == "Hung in learning for 60 s (usually 10 s)"
    judge.pass_time(NOW_MS + 270_000)
    assert judge.verdict()["text"] == "Hung in learning for 4 min (usually 10 s)"


def test_lost_env_runners_are_counted_against_the_most_that_were_healthy() -> None:
    judge = Judge()
    for healthy in (4, 4, 1):
        judge.see(Observation("1-0", NOW_MS, 1, "w", {HEALTHY: healthy}))
    assert judge.verdict()["text"] == "3 of 4 env runners are restarting"


@pytest.mark.parametrize(("value", "text"), [(950, "950"), (9_999, "9,999"), (140_200, "140k"), (1_234_000, "1.23M")])
def test_steps_are_short(value: int, text: str) -> None:
    assert steps(value) == text
