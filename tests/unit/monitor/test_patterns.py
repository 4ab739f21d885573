"""The failure patterns on made-up runs of four frameworks: each failing run is named, no healthy one is accused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from hud_web.monitor.detectors import Observation
from hud_web.monitor.judge import Judge
from hud_web.monitor.symptoms.patterns import RULES
from hud_web.monitor.verdict import Verdict
from tests.unit.monitor.made_up import START_MS, STYLES, Curve, Plan, entries, flat, rises, turns

DOCS = Path(__file__).parents[3] / "docs" / "verdicts.md"
#: Seconds from the appearance of a failure in the data to the verdict that names it.
WITHIN_S = 60
#: When most failures begin.
AT_S = 40.0


def verdicts(plan: Plan, style: str, seed: int, lasts_s: float) -> list[Verdict]:
    """Return the verdict after each second of a run."""
    judge, found = Judge(), []
    judge.begin(START_MS)

    def pass_seconds(until_ms: int) -> None:
        while START_MS + (len(found) + 1) * 1000 <= until_ms:
            judge.pass_time(START_MS + (len(found) + 1) * 1000)
            found.append(judge.verdict())

    for entry in entries(plan, style, seed, lasts_s):
        pass_seconds(entry.time_ms)
        judge.see(entry)
    pass_seconds(START_MS + int(lasts_s * 1000))
    return found


def _later(before: float, after: Curve) -> Curve:
    return turns(AT_S, flat(before), after)


_LOW = Plan(level=flat(22))
#: A run that goes on for 70 s and is hardly better than at its beginning, and the second at which its failure appears.
FAILING: Mapping[str, tuple[Plan, float]] = {
    "learning_rate_high": (Plan(rate=flat(10.0), level=flat(9.3), kl=flat(8.0), favourite=flat(1.0)), 2),
    "entropy_collapse": (replace(_LOW, entropy=_later(0.69, rises(0.69, 0, 4)), favourite=_later(0, flat(0.95))), 56),
    "single_action": (replace(_LOW, favourite=_later(0, flat(1.0))), AT_S),
    "kl_spike": (replace(_LOW, kl=_later(0.012, flat(0.8))), AT_S),
    "clip_fraction_high": (replace(_LOW, clip=_later(0.1, flat(0.6))), AT_S),
    "explained_variance_low": (replace(_LOW, explained=flat(-0.3)), 95),
    "value_loss_explosion": (replace(_LOW, value_loss=_later(20, lambda s: 20 * 2 ** (s / 2))), 54),
    "gradient_zero": (replace(_LOW, gradient=_later(0.8, flat(0))), AT_S),
    "gradient_explosion": (replace(_LOW, gradient=_later(0.8, lambda s: 0.8 * 2 ** (s / 2))), 54),
    "learning_rate_zero": (replace(_LOW, rate=_later(3e-4, flat(0))), AT_S),
    "nan": (Plan(broken=(AT_S, "policy_loss")), AT_S),
    "collapse": (Plan(level=turns(60, rises(22, 300, 20), rises(260, 10, 4))), 60),
    "hung_phase": (Plan(ends_s=AT_S), AT_S),
    "picture_frozen": (Plan(level=rises(22, 60), picture=_later(0, lambda s: s)), AT_S + 10),
    "episodes_short": (replace(_LOW, level=flat(2)), 5),
    "returns_constant": (Plan(level=flat(-200), length=flat(200), is_exact=True, truncated=flat(1)), 5),
    "episodes_truncated": (Plan(level=flat(-150), length=flat(200), truncated=flat(1), spread=0.2), 60),
    "success_falls": (Plan(level=rises(5, 60, 60), length=flat(60), success=lambda s: max(0, 0.7 - s / 150)), 40),
    "survival_bonus": (Plan(level=rises(22, 200, 60), success=flat(0)), 30),
    "early_end": (Plan(level=rises(24, 9.3, 10), per_step=-1.0), 15),
    "return_falls": (Plan(level=rises(-150, -900, 40), length=flat(200), spread=0.1), 15),
}
#: Frameworks that do not log the field.
UNLOGGED = {
    "clip_fraction_high": ("rllib",), "gradient_zero": ("sb3", "cleanrl"), "gradient_explosion": ("sb3", "cleanrl"),
}  # fmt: skip
HEALTHY: Mapping[str, Plan] = {
    "learns": Plan(),
    "is solved": Plan(
        level=turns(40, rises(22, 500, 8), flat(560)), entropy=rises(0.69, 0.02, 15),
        truncated=turns(40, flat(0), flat(1)), explained=turns(50, rises(0, 0.8), flat(-0.1)),
    ),
    "is noisy": Plan(level=rises(0.05, 0.6, 60), spread=1.5, length=flat(60), entropy=rises(1.38, 1.0), actions=4),
    "has continuous actions and a time limit": Plan(
        level=rises(-1300, -180, 40), spread=0.3, length=flat(200), truncated=flat(1), is_continuous=True,
        entropy=rises(1.42, -1, 60), explained=rises(0, 0.7),
    ),
    "has costs for each step": Plan(
        level=rises(-60, -8, 30), length=rises(60, 8, 30), spread=0.3, entropy=rises(1.38, 0.1), actions=4,
        truncated=lambda s: 0.5 * 2 ** (-s / 20),
    ),
    "has a success rate": Plan(level=rises(-40, 5, 40), length=rises(50, 15, 40), success=rises(0, 0.9, 40)),
    "dips before it learns": Plan(level=turns(6, flat(22), turns(25, rises(22, 9.5, 8), rises(9.5, 300, 20)))),
}  # fmt: skip


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("failure", FAILING)
def test_a_failing_run_is_named_within_a_minute(failure: str, style: str) -> None:
    if style in UNLOGGED.get(failure, ()):
        return
    plan, appears_s = FAILING[failure]
    for seed in range(2):
        found = verdicts(plan, style, seed, appears_s + WITHIN_S)
        names = [names_in(verdict) for verdict in found]
        assert any(failure in name for name in names), found[-1]["text"]
        if appears_s >= AT_S:
            assert all(verdict["level"] not in ("bad", "warning") for verdict in found[:20])


def names_in(verdict: Verdict) -> set[str | None]:
    """Return the patterns that a verdict names, and the kind of a first clause that has none."""
    first = verdict["text"].split()[0]
    by_word = {"Collapsing:": "collapse", "Hung": "hung_phase"}
    return {clause["pattern"] for clause in verdict["clauses"]} | {by_word.get(first)}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_accused_of_nothing(name: str, style: str) -> None:
    for seed in range(2):
        found = verdicts(HEALTHY[name], style, seed, 150)
        assert [one["text"] for one in found if one["level"] in ("bad", "warning")] == []


def test_a_symptom_ends_when_its_cause_does() -> None:
    judge = Judge()
    plan = replace(_LOW, kl=turns(20, flat(0.01), turns(20, flat(0.8), flat(0.01))))
    found = [one for entry in entries(plan, "plain", 1, 90) for one in judge.see(entry) if one.pattern]
    assert [(one.kind, one.pattern) for one in found] == [
        ("symptom", "kl_spike"), ("symptom_ended", "kl_spike"),
    ]  # fmt: skip
    assert found[-1].fields == ("approx_kl",)


def test_another_replica_continues_with_the_stored_memory_which_stays_small() -> None:
    plan, _appears = FAILING["kl_spike"]
    one, other = Judge(), Judge()
    for entry in entries(plan, "sb3", 1, 900):
        one.see(entry)
        other = Judge(json.loads(json.dumps(other.memory()))) if entry.step and entry.step % 7 == 0 else other
        other.see(entry)
    assert one.verdict() == other.verdict()
    assert one.memory() == other.memory()
    assert len(json.dumps(one.memory())) < 16_000


def test_the_documentation_lists_every_rule_with_its_threshold() -> None:
    text = DOCS.read_text().split("\n## Failure patterns")[1].split("\n## ")[0]
    rows = [
        f"| `{rule.name}` | {rule.title} | {rule.reading} | {rule.statistic} | {rule.threshold} | {rule.source} |"
        for rule in RULES
    ]
    assert [row for row in rows if row not in text] == []
    assert text.count("\n| `") == len(rows)


def hand_written(plan: Callable[[float], Mapping[str, object]], lasts_s: float) -> list[Verdict]:
    """Return the verdict at each episode of a loop that logs a return, a length and an action once per episode."""
    judge, luck, step, found = Judge(), random.Random(3), 0, []
    judge.begin(START_MS)
    for count in range(int(lasts_s * 10)):
        at = count / 10
        fields = {"episode_length": luck.randint(40, 90), "action": luck.randrange(4)} | dict(plan(at))
        step += int(str(fields["episode_length"]))
        time_ms = START_MS + int(at * 1000)
        judge.see(Observation(f"{time_ms}-{count}", time_ms, step, "w/metrics", fields))
        found.append(judge.verdict())
    return found


def test_equal_returns_of_a_loop_that_logs_its_actions_are_episodes() -> None:
    lines = hand_written(lambda _at: {"episode_return": 0.0}, 50)
    assert lines[-1]["text"].startswith("Returns constant")


def test_a_sparse_reward_that_rarely_comes_is_accused_of_nothing() -> None:
    for seed in range(8):
        luck = random.Random(seed)
        lines = hand_written(lambda at, luck=luck: {"episode_return": float(luck.random() < 0.05 + at / 500)}, 100)  # type: ignore[misc]
        assert {line["level"] for line in lines} <= {"early", "flat", "good"}


def test_episodes_of_one_step_are_too_short() -> None:
    luck = random.Random(5)
    lines = hand_written(lambda _at: {"episode_return": float(luck.choice([-1, 0])), "episode_length": 1}, 30)
    assert lines[-1]["text"].startswith("Episodes too short")


@pytest.mark.parametrize(("field", "usual", "broken", "text"), [
    ("approx_kl", 0.01, 0.9, "KL spikes"), ("value_loss", 40.0, 4e9, "Value loss explodes"),
])  # fmt: skip
def test_a_huge_value_counts_although_the_return_is_near_its_best(
    field: str, usual: float, broken: float, text: str
) -> None:
    luck = random.Random(5)

    def plan(at: float) -> Mapping[str, object]:
        earned = 20 + 4 * min(at, 30) + luck.gauss(0, 10)
        return {"episode_return": earned, field: (broken if at > 30 else usual) * luck.lognormvariate(0, 0.2)}

    lines = hand_written(plan, 60)
    assert {line["level"] for line in lines[:290]} <= {"early", "good"}
    assert lines[-1]["text"].startswith(text)
