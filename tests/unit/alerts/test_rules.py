"""The alert rules of one session: the beginning, the repetition and the end of an alert."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hud_web.alerts.evaluator import MAX_OPEN, MAX_TOLD, Alert, Evaluator, Rules
from hud_web.alerts.rules import Condition, Rule
from hud_web.monitor.annotations import Annotation, Kind
from hud_web.monitor.detectors import Observation
from hud_web.store.roles import RoleMap

MINUTE_MS = 60_000


def evaluator(*rules: Rule, memory: object = None) -> Evaluator:
    found = Rules(rules, repeat_ms=10 * MINUTE_MS).evaluator("default", memory)
    assert found is not None
    return found


def seen(judge: Evaluator, at_ms: int, roles: RoleMap | None = None, **data: Any) -> list[str]:
    entry = Observation(f"{at_ms}-0", at_ms, at_ms // 1000, "w", data)
    return texts(judge.see(entry, (roles or RoleMap()).roles))


def noted(judge: Evaluator, kind: Kind, at_ms: int, text: str = "", **parts: Any) -> list[str]:
    return texts(judge.follow([Annotation(kind, at_ms, text or kind, 5, **parts)]))


def texts(alerts: list[Alert]) -> list[str]:
    return [alert.text for alert in alerts]


def about(*kinds: str) -> Rule:
    return Rule("rule", frozenset(kinds))


def test_a_condition_alerts_once_and_its_end_is_reported() -> None:
    judge = evaluator(Rule("rule", condition=Condition.parse("learner/kl > 0.1")))
    assert seen(judge, 0, **{"learner/kl": 0.1}) == []
    assert seen(judge, 1000, **{"learner/kl": 0.3}) == ["learner/kl is 0.3, above 0.1"]
    assert seen(judge, 2000, **{"learner/kl": 0.4}) == []
    assert seen(judge, 3000, other=1) == []
    assert seen(judge, 4000, **{"learner/kl": 0.05}) == ["Resolved after 3.0 s: learner/kl is 0.05"]
    assert seen(judge, 5000, **{"learner/kl": 0.05}) == []


def test_a_condition_alerts_after_its_duration_with_and_without_new_entries() -> None:
    rule = Rule("rule", condition=Condition.parse("return<5"), for_ms=2 * MINUTE_MS)
    roles = RoleMap()
    roles.add("episode_return_mean")
    judge = evaluator(rule)
    assert seen(judge, 0, roles, episode_return_mean=4) == []
    assert seen(judge, MINUTE_MS, roles, episode_return_mean=9) == []
    assert seen(judge, 2 * MINUTE_MS, roles, episode_return_mean=4) == []
    assert seen(judge, 4 * MINUTE_MS, roles, episode_return_mean=3) == ["episode_return_mean is 3, below 5 for 2 min"]
    silent = evaluator(rule)
    assert seen(silent, 0, roles, episode_return_mean=4) == []
    assert texts(silent.pass_time(2 * MINUTE_MS - 1)) == []
    assert texts(silent.pass_time(2 * MINUTE_MS)) == ["episode_return_mean is 4, below 5 for 2 min"]


@pytest.mark.parametrize(
    ("comparison", "true", "false"), [(">", 6, 5), (">=", 5, 4), ("<", 4, 5), ("<=", 5, 6), ("==", 5, 6), ("!=", 6, 5)]
)
def test_each_comparison(comparison: str, true: float, false: float) -> None:
    condition = Condition.parse(f"a b/c {comparison} 5e0")
    assert (condition.subject, condition.holds(true), condition.holds(false)) == ("a b/c", True, False)


@pytest.mark.parametrize("text", ["", "kl", "kl >", "> 5", "kl > high", "kl => 5", "kl > 5 for 2 min"])
def test_a_text_that_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a role or a field"):
        Condition.parse(text)


def test_a_lasting_event_alerts_once_until_it_ends() -> None:
    judge = evaluator(about("collapse"))
    assert noted(judge, "collapse", 0, "down") == ["down"]
    assert noted(judge, "collapse", 1000, "still down") == []
    assert noted(judge, "recovered", 2000, "up") == ["Resolved after 2.0 s: up"]
    assert noted(judge, "recovered", 3000, "up") == []
    assert noted(judge, "stall", 3000) == []


def test_an_event_that_begins_again_soon_alerts_only_if_it_lasts() -> None:
    judge = evaluator(about("collapse"))
    assert noted(judge, "collapse", 0, "first") == ["first"]
    assert len(noted(judge, "recovered", 1000)) == 1
    assert noted(judge, "collapse", 2000, "second") == []
    assert noted(judge, "recovered", 3000) == []  # neither its beginning nor its end
    assert noted(judge, "collapse", 4000, "third") == []
    assert texts(judge.pass_time(10 * MINUTE_MS - 1)) == []
    assert texts(judge.pass_time(10 * MINUTE_MS)) == ["third"]
    assert len(noted(judge, "recovered", 11 * MINUTE_MS)) == 1


def test_fields_that_are_not_finite_are_resolved_when_all_of_them_are_numbers() -> None:
    judge = evaluator(about("non_finite"))
    assert noted(judge, "non_finite", 0, "both", fields=("a", "b")) == ["both"]
    assert noted(judge, "non_finite", 0, "another", fields=("c",)) == ["another"]
    assert noted(judge, "finite_again", 1000, "a again", fields=("a",)) == []
    assert noted(judge, "finite_again", 2000, "b again", fields=("b",)) == ["Resolved after 2.0 s: b again"]
    assert noted(judge, "finite_again", 3000, "c again", fields=("c",)) == ["Resolved after 3.0 s: c again"]


def test_each_symptom_and_each_process_ends_by_itself() -> None:
    judge = evaluator(about("symptom", "process_died"))
    assert noted(judge, "symptom", 0, "entropy", pattern="entropy_collapse") == ["entropy"]
    assert noted(judge, "symptom", 0, "kl", pattern="kl_spike") == ["kl"]
    assert noted(judge, "process_died", 0, "w1 died", fields=("env runner 1",)) == ["w1 died"]
    assert noted(judge, "process_died", 1, "w1 died of memory", fields=("env runner 1",)) == ["w1 died of memory"]
    assert noted(judge, "process_died", 1, "w2 died", fields=("env runner 2",)) == ["w2 died"]
    assert len(noted(judge, "symptom_ended", 1000, pattern="kl_spike")) == 1
    assert len(noted(judge, "process_back", 1000, fields=("env runner 1",))) == 2
    assert len(noted(judge, "process_back", 1000, fields=("env runner 2",))) == 1


def test_a_rule_names_a_pattern_of_symptoms() -> None:
    judge = evaluator(about("kl_spike"))
    assert noted(judge, "symptom", 0, "entropy", pattern="entropy_collapse") == []
    assert noted(judge, "symptom", 0, "kl", pattern="kl_spike") == ["kl"]
    others = evaluator(Rule("rule", frozenset({"symptom"}), frozenset({"kl_spike"})))
    assert noted(others, "symptom", 0, "entropy", pattern="entropy_collapse") == ["entropy"]
    assert noted(others, "symptom", 0, "kl", pattern="kl_spike") == []


def test_an_event_without_an_end_alerts_again_with_another_text_or_later() -> None:
    judge = evaluator(about("alert"))
    assert noted(judge, "alert", 0, "door found") == ["door found"]
    assert noted(judge, "alert", 1, "key found") == ["key found"]
    assert noted(judge, "alert", MINUTE_MS, "door found") == []
    assert noted(judge, "alert", 11 * MINUTE_MS, "door found") == ["door found"]


def test_another_evaluator_continues_with_the_memory() -> None:
    rules = (Rule("kl", condition=Condition.parse("score > 1"), for_ms=MINUTE_MS), about("non_finite", "collapse"))
    judge = evaluator(*rules)
    found: list[str] = []
    for number in range(100):
        judge = evaluator(*rules, memory=json.loads(json.dumps(judge.memory())))
        found += seen(judge, number * 10_000, score=2 if number % 20 < 10 else 0)
        if number % 50 == 10:
            found += noted(judge, "non_finite", number * 10_000, "NaN", fields=("a", "b"))
        if number % 50 == 30:
            found += noted(judge, "finite_again", number * 10_000, "again", fields=("a", "b"))
    assert found.count("NaN") == 2
    assert [text for text in found if "score is 2" in text] == ["score is 2, above 1 for 60 s"] * 2
    assert len([text for text in found if text.startswith("Resolved")]) == 4


def test_a_rule_is_about_its_channels_only() -> None:
    rules = Rules((Rule("a", channels=("team-*", "x")), Rule("b", channels=("x",))))
    assert rules.evaluator("default") is None
    assert rules.evaluator("team-a") is not None


def test_the_memory_is_bounded() -> None:
    judge = evaluator(about("non_finite", "alert"))
    for number in range(2_000):
        noted(judge, "non_finite", number, "NaN", fields=tuple(f"{number}/{part}" for part in range(100)))
        noted(judge, "alert", number, f"alert {number}")
    assert 0 < len(judge.memory()["open"]) <= MAX_OPEN
    assert len(judge.memory()["told"]) == MAX_TOLD
    assert len(json.dumps(judge.memory())) < 200_000
