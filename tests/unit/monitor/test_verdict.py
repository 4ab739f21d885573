"""The verdict on a run: its level, its clauses and their evidence."""

from __future__ import annotations

from hud_web.monitor.annotations import Annotation
from hud_web.monitor.problems import LINGER_MS, MAX_OPEN, Problems
from hud_web.monitor.verdict import not_finite_problem, rank

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
