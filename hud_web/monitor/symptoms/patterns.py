"""The known failure patterns of reinforcement learning: one table of rules, and the readings that they judge.

Each rule opens with a `symptom` annotation and ends with `symptom_ended`; docs/verdicts.md lists them. A rule reads
fields by their role (hud_web.store.roles), so the names of every framework work; a field of an unknown name is judged
for NaN only. Most statistics are unusual, not wrong: a run whose return rises, or that is near the best of a real gain,
is accused of nothing (`Learning.thrives`). The attributes are the whole memory, bounded, as JSON values. No I/O and no
clock. Called by `judge`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hud_web.monitor.detectors import Finding, Observation, figure, is_number, span
from hud_web.monitor.memory import restored
from hud_web.monitor.symptoms.learning import Learning
from hud_web.monitor.symptoms.readings import Actions, Endings, Series, Speed
from hud_web.monitor.symptoms.trend import correlation, trend_of
from hud_web.store.roles import RoleMap

#: Fields of one role that are judged: one for each policy.
MAX_POLICIES = 4
#: A symptom lasts at least this long, in milliseconds, and ends when its rule was false this many times in a row.
LEAST_SYMPTOM_MS = 15_000
ENDS_AFTER = 3
#: Time between two judgements of the return's course, in milliseconds: its statistics take 0.3 ms.
JUDGED_MS = 5_000
#: Roles whose values are kept.
ROLES = (
    "entropy", "kl", "clip_fraction", "explained_variance", "value_loss", "grad_norm", "learning_rate", "q_value",
)  # fmt: skip
PICTURE = "picture_unchanged_s"
PICTURE_STEPS = "picture_unchanged_steps"

USUAL_KL, HIGH_KL = 0.1, 0.5
SPIKE = 5.0
HUGE_SPIKE = 20.0
LOW_ENTROPY = 0.05
HIGH_CLIP = 0.35
EXPLOSION = 100.0
HIGH_RATE = 1.0
ONE_ACTION = 0.97
LEAST_ACTIONS = 60
#: The greedy policy of DQN prefers one action for seconds before it learns.
ONE_ACTION_MS = 15_000
EPISODES = 20
MANY_EPISODES = 50
SHORT = 3.0
#: A sparse reward may be 0 in each of the first episodes of a healthy run.
EQUAL = 30
EQUAL_MS = 30_000
SLOW = 0.7
#: Many healthy runs of DQN dip below their random beginning before they learn.
FALL_MS = 45_000
#: z of the fall since the beginning; the size of the fall, in its noise, is the stronger condition.
FALLS = 1.64


@dataclass(slots=True)
class Patterns:
    """The readings of a run and its open symptoms.

    Attributes:
        series: path → the newest and the earlier values of the fields that the rules judge.
        actions: counts of the shown env's actions.
        endings: counts of the shown env's terminated and truncated episodes.
        speed: marks of time and step.
        lengths: lengths and returns of the newest episodes, in turn.
        picture: seconds and steps for which the picture has not changed.
        open: pattern → since_ms, misses (times in a row that its rule was false), and its newest text.
        judged_ms: when the course of the return was judged.
    """

    series: dict[str, Series] = field(default_factory=dict)
    actions: Actions = field(default_factory=Actions)
    endings: Endings = field(default_factory=Endings)
    speed: Speed = field(default_factory=Speed)
    lengths: list[list[float]] = field(default_factory=list)
    picture: list[float] = field(default_factory=lambda: [0.0, 0.0])
    open: dict[str, dict[str, Any]] = field(default_factory=dict)
    judged_ms: int = 0

    def __post_init__(self) -> None:
        self.series = {path: restored(Series, one) for path, one in self.series.items()}
        self.actions = restored(Actions, self.actions)
        self.endings = restored(Endings, self.endings)
        self.speed = restored(Speed, self.speed)

    def look(self, seen: Observation, roles: RoleMap, learning: Learning, has_return: bool) -> Iterator[Finding]:
        """Judge an entry; `learning` has learned from it already, and says whether it has a new return."""
        touched = set(self._learn(seen, roles, learning, has_return))
        if not touched:
            return
        facts = Facts(self, learning, roles, seen.time_ms)
        for rule in RULES:
            if touched.isdisjoint(rule.watches):
                continue
            facts.is_open = rule.name in self.open
            found = rule.judge(facts)
            yield from self._follow(rule, found, facts)

    def _learn(self, seen: Observation, roles: RoleMap, learning: Learning, has_return: bool) -> Iterator[str]:
        """Read an entry; yield the roles and other sources that it has new values of."""
        by_path = roles.by_path
        for path, value in seen.data.items():
            role = by_path.get(path)
            if role in ROLES and is_number(value):
                known = self.series.get(path)
                if known is None:
                    if sum(roles.by_path.get(other) == role for other in self.series) >= MAX_POLICIES:
                        continue
                    known = self.series[path] = Series()
                if known.add(value, seen.time_ms):
                    yield role
        if "action" in seen.data and self.actions.add(seen.data["action"]):
            yield "action"
        self.endings.add(seen)
        if has_return:
            self._pair(seen, roles, learning)
            if seen.time_ms - self.judged_ms >= JUDGED_MS:
                self.judged_ms = seen.time_ms
                yield "return"
        if seen.step is not None and self.speed.add(seen.time_ms, seen.step, seen.writer):
            yield "step"
        if is_number(unchanged := seen.data.get(PICTURE)):
            steps = seen.data.get(PICTURE_STEPS)
            self.picture = [unchanged, steps if is_number(steps) else 0.0]
            yield "picture"

    def _pair(self, seen: Observation, roles: RoleMap, learning: Learning) -> None:
        """Remember the length and the return of an episode, or their means over the same episodes."""
        for one in roles.roles.get("length", ()):
            length = seen.data.get(one["path"])
            if is_number(length) and length > 0:
                self.lengths = [*self.lengths[-(MANY_EPISODES - 1) :], [round(length, 3), round(learning.last, 4)]]
                return

    def _follow(self, rule: Rule, found: str | None, facts: Facts) -> Iterator[Finding]:
        known = self.open.get(rule.name)
        if found is not None and known is None:
            text = f"{rule.title}: {found}"
            self.open[rule.name] = {"since_ms": facts.now_ms, "misses": 0, "text": text}
            yield Finding("symptom", text, facts.evidence(rule), None, rule.name)
        elif known is not None:
            if found is not None:
                known |= {"misses": 0, "text": f"{rule.title}: {found}"}
                return
            known["misses"] += 1
            if known["misses"] >= ENDS_AFTER and facts.now_ms - known["since_ms"] >= LEAST_SYMPTOM_MS:
                del self.open[rule.name]
                text = f"{rule.title} has ended after {span(facts.now_ms - known['since_ms'])}"
                yield Finding("symptom_ended", text, facts.evidence(rule), None, rule.name)


class Facts:
    """What the rules know at one entry.

    Attributes:
        patterns: the readings.
        learning: the course of the return.
        now_ms: time of the entry.
        is_open: whether the rule in turn has an open symptom.
    """

    def __init__(self, patterns: Patterns, learning: Learning, roles: RoleMap, now_ms: int) -> None:
        self.patterns, self.learning, self.now_ms = patterns, learning, now_ms
        self._roles = roles
        self.is_open = False
        self._thrives: bool | None = None

    def series(self, role: str) -> list[Series]:
        """Return the readings of a role, one for each policy."""
        fields = self._roles.roles.get(role, ())  # type: ignore[call-overload]
        return [self.patterns.series[one["path"]] for one in fields if one["path"] in self.patterns.series]

    @property
    def thrives(self) -> bool:
        """Whether the run learns, so that an unusual statistic is no failure; worked out once."""
        if self._thrives is None:
            self._thrives = self.learning.thrives()
        return self._thrives

    @property
    def sign(self) -> float:
        """-1 if the entropy is logged as a loss, else 1."""
        fields = self._roles.roles.get("entropy", ())
        return -1.0 if fields and "loss" in fields[0]["label"] else 1.0

    def evidence(self, rule: Rule) -> tuple[str, ...]:
        """Return the paths of the fields that a rule judges."""
        paths: list[str] = []
        for source in rule.watches:
            if source in _FIELDS:
                paths += _FIELDS[source]
            paths += [one["path"] for one in self._roles.roles.get(source, ())]  # type: ignore[call-overload]
        return tuple(paths)


_FIELDS: Mapping[str, tuple[str, ...]] = {
    "action": ("action",), "episode_end": ("episode_end",), "picture": (PICTURE, PICTURE_STEPS),
}  # fmt: skip


class Rule(NamedTuple):
    """One failure pattern.

    Attributes:
        name: in the annotation's `pattern`.
        title: in the text of the symptom.
        reading: what the pattern usually means.
        statistic: what is measured.
        threshold: when it counts.
        source: where the threshold comes from.
        watches: roles and other fields whose new values are judged; they are the evidence.
        judge: returns the measured values as text if the pattern holds, else None.
    """

    name: str
    title: str
    reading: str
    statistic: str
    threshold: str
    source: str
    watches: tuple[str, ...]
    judge: Callable[[Facts], str | None]


def _learning_rate_high(facts: Facts) -> str | None:
    # Tabular methods may use a rate of 1; those that log an entropy or a value loss train networks.
    limit = HIGH_RATE / 2 if facts.series("entropy") or facts.series("value_loss") else HIGH_RATE
    for one in facts.series("learning_rate"):
        if one.newest > limit:
            return f"{figure(one.newest)}, usual are 1e-5 to 1e-2"
    return None


def _learning_rate_zero(facts: Facts) -> str | None:
    for one in facts.series("learning_rate"):
        if one.ends_with(3, lambda value: value == 0):
            return "0, the policy no longer changes"
    return None


def _gradient_zero(facts: Facts) -> str | None:
    for one in facts.series("grad_norm"):
        if one.ends_with(3, lambda value: value == 0):
            return "0 in 3 updates, the network no longer changes"
    return None


def _explosion(facts: Facts, role: str, least: float) -> str | None:
    for one in facts.series(role):
        usual = one.usual()
        if usual is None:
            continue
        limit = max(EXPLOSION * usual, least) * (EXPLOSION if facts.thrives else 1)
        if one.ends_with(2, lambda value, limit=limit: abs(value) > limit):  # type: ignore[misc]
            return f"{figure(one.newest)}, usually {figure(usual)}"
    return None


def _value_loss_explosion(facts: Facts) -> str | None:
    # The loss is a squared return: a run that learns to earn 20 times more has 400 times the loss.
    return _explosion(facts, "value_loss", max(10.0, facts.learning.scale**2))


def _gradient_explosion(facts: Facts) -> str | None:
    return _explosion(facts, "grad_norm", 100.0)


def _q_explosion(facts: Facts) -> str | None:
    return _explosion(facts, "q_value", 20 * (facts.learning.scale + 1))


def _kl_spike(facts: Facts) -> str | None:
    for one in facts.series("kl"):
        usual = one.usual()
        spike = HIGH_KL if usual is None else max(USUAL_KL, SPIKE * usual)
        spikes = sum(value > spike for value in one.last[-3:])
        is_huge = usual is not None and max(one.last[-3:]) > max(HIGH_KL, HUGE_SPIKE * usual)
        is_high = spikes >= 2 or one.ends_with(3, lambda value: value > HIGH_KL)
        if is_high and (is_huge or not facts.thrives):
            known = "" if usual is None else f", usually {figure(usual)}"
            return f"{figure(max(one.last[-3:]))} per update{known}: the updates are too large"
    return None


def _entropy_collapse(facts: Facts) -> str | None:
    actions = facts.patterns.actions
    if actions.is_continuous:
        return None
    for one in facts.series("entropy"):
        values = [facts.sign * value for value in one.last]
        highest = max(one.high, -one.low) if facts.sign < 0 else one.high
        reference = max(highest, math.log(max(2, len(actions.names))))
        limit = (2 if facts.is_open else 1) * LOW_ENTROPY * reference
        if len(values) >= 2 and all(-1e-6 <= value < limit for value in values[-2:]) and not facts.thrives:
            return f"{figure(max(0.0, values[-1]))} of {figure(reference)} nats"
    return None


def _clip_fraction_high(facts: Facts) -> str | None:
    for one in facts.series("clip_fraction"):
        if one.ends_with(5, lambda value: value > HIGH_CLIP) and not facts.thrives:
            return f"{figure(one.newest)} in 5 updates: the steps are too large"
    return None


def _explained_variance_low(facts: Facts) -> str | None:
    for one in facts.series("explained_variance"):
        if one.count > 30 and one.ends_with(20, lambda value: value <= 0) and not facts.thrives:
            return f"{figure(one.newest)} for 20 updates: the value function predicts nothing"
    return None


def _single_action(facts: Facts) -> str | None:
    actions = facts.patterns.actions
    name, share, count = actions.most_frequent()
    if count < LEAST_ACTIONS or share < (ONE_ACTION - 0.07 if facts.is_open else ONE_ACTION):
        actions.since_ms = facts.now_ms
        return None
    if facts.thrives or facts.now_ms - actions.since_ms < ONE_ACTION_MS:
        return None
    return f"{name} in {share * 100:.0f} % of the last {count}"


def _episodes_short(facts: Facts) -> str | None:
    number = facts.learning.values_of(EPISODES)
    lengths = [length for length, _return in facts.patterns.lengths[-number:]]
    if len(lengths) < number or max(lengths) > SHORT or facts.thrives:
        return None
    return (
        f"{figure(min(lengths))} to {figure(max(lengths))} steps"
        if min(lengths) < max(lengths)
        else f"{figure(lengths[0])} steps"
    )


def _returns_constant(facts: Facts) -> str | None:
    learning = facts.learning
    lasts_ms = facts.now_ms - learning.equal_since_ms
    if learning.equal < learning.values_of(EQUAL) or lasts_ms < EQUAL_MS or facts.thrives:
        return None
    lengths = {length for length, _return in facts.patterns.lengths[-EPISODES:]}
    endings = facts.patterns.endings
    if learning.last == learning.scale and len(lengths) == 1 and endings.truncated and not endings.terminated:
        return None  # every episode reaches its limit and earns the most: a solved task
    return f"every episode returned {figure(learning.last)} for {span(lasts_ms)}"


def _success_falls(facts: Facts) -> str | None:
    if not facts.learning.success.blocks or not facts.learning.recent.blocks:
        return None
    success, returns = facts.learning.success.since(0), facts.learning.recent.since(0)
    start = max(success[0].time_ms, returns[0].time_ms)
    fall = trend_of([block for block in success if block.time_ms >= start])
    if fall.falls and fall.change < -0.05:
        rise = trend_of([block for block in returns if block.time_ms >= start])
        if rise.rises:
            return f"return {rise.change:+.3g}, success {fall.change:+.2f}: the reward is not the task"
    return None


def _early_end(facts: Facts) -> str | None:
    pairs, endings = facts.patterns.lengths, facts.patterns.endings
    if (
        len(pairs) < facts.learning.values_of(EPISODES)
        or endings.truncated
        or endings.terminated < EPISODES
        or facts.learning.scale == 0
    ):
        return None
    ratios = [earned / length for length, earned in pairs]
    if max(ratios) >= 0 or max(ratios) - min(ratios) > 0.02 * abs(min(ratios)):
        return None
    blocks = facts.learning.lengths.since(0)
    if len(blocks) < 8:
        return None
    first, now = blocks[0].mean, sum(block.mean for block in blocks[-3:]) / 3
    if now < 0.7 * first and trend_of(blocks).falls:
        change = f"{figure(first)} to {figure(now)} steps"
        return f"{figure(ratios[-1])} per step, and episodes shorten from {change}: check the reward's sign"
    return None


def _return_falls(facts: Facts) -> str | None:
    learning = facts.learning
    blocks = learning.whole.blocks
    if not blocks or blocks[-1][2] > blocks[0][2] + abs(blocks[0][2]) / 4:  # most runs
        return None
    progress = learning.progress()
    if (
        progress is None
        or learning.count < learning.values_of(EPISODES)
        or progress.has_gained
        or not progress.has_lost
    ):
        return None
    if facts.now_ms - learning.first_ms < FALL_MS or learning.trend().rises:
        return None
    whole = learning.whole_trend()
    if whole.z < (0 if facts.is_open else -FALLS):
        lasted = span(facts.now_ms - learning.first_ms)
        return f"{figure(progress.first)} to {figure(progress.now)} in {lasted}: check the reward's sign"
    return None


def _survival_bonus(facts: Facts) -> str | None:
    if not facts.learning.success.blocks:
        return None
    pairs = facts.patterns.lengths
    success = facts.learning.success.since(0)
    if len(pairs) < facts.learning.values_of(MANY_EPISODES) or len(success) < 8:
        return None
    if correlation([length for length, _earned in pairs], [earned for _length, earned in pairs]) < 0.98:
        return None
    now = sum(block.mean for block in success[-8:]) / 8
    if now < 0.05 or trend_of(success).falls:
        return f"the return follows the episode length, and success is {now:.2f}"
    return None


def _episodes_truncated(facts: Facts) -> str | None:
    endings, learning = facts.patterns.endings, facts.learning
    if endings.terminated or endings.truncated < MANY_EPISODES or facts.now_ms - endings.first_ms < 60_000:
        return None
    if facts.thrives or learning.whole_trend().z > 2:
        return None
    return f"all {endings.truncated} ended at the time limit, none by itself, and the return does not rise"


def _throughput_low(facts: Facts) -> str | None:
    rates = facts.patterns.speed.rates()
    if rates is None:
        return None
    now, usual = rates
    limit = 0.8 if facts.is_open else SLOW
    return f"{figure(now)} steps/s for 2 min, usually {figure(usual)}" if now < limit * usual else None


def _picture_frozen(facts: Facts) -> str | None:
    seconds, steps = facts.patterns.picture
    if seconds < 10 or steps < 100:
        return None
    return f"{span(seconds * 1000)} and {steps:,.0f} steps: the emulator or the renderer is stuck"


_JONES = "A. Jones, Debugging RL, 2021"
_SCHULMAN = "J. Schulman, Nuts and Bolts of Deep RL, 2016"
_OWN = "failing and healthy runs of tests/unit/monitor/test_patterns.py"

#: The rules, the most severe first: a verdict names them in this order.
RULES: tuple[Rule, ...] = (
    Rule("learning_rate_high", "Learning rate too high", "the updates destroy the policy", "learning rate",
         "above 0.5 beside an entropy or a value loss, else above 1", _OWN, ("learning_rate",), _learning_rate_high),
    Rule("picture_frozen", "Picture unchanged", "a frozen emulator or a stuck renderer",
         "seconds and steps with identical pixels", "10 s and 100 steps", _OWN, ("picture",), _picture_frozen),
    Rule("gradient_zero", "Gradient norm", "a dead network, or a loss without gradients", "gradient norm",
         "0 in 3 updates", _JONES, ("grad_norm",), _gradient_zero),
    Rule("learning_rate_zero", "Learning rate", "a schedule has ended", "learning rate", "0 in 3 updates", _OWN,
         ("learning_rate",), _learning_rate_zero),
    Rule("episodes_short", "Episodes too short", "the environment is broken, or ends at once", "episode length",
         "at most 3 steps in 20 episodes, unless the run thrives", _OWN, ("return",), _episodes_short),
    Rule("value_loss_explosion", "Value loss explodes", "reward scale, or targets that run away", "value loss",
         "twice above 100 times its median and above the squared return, or 10,000 times if the run thrives", _SCHULMAN,
         ("value_loss",), _value_loss_explosion),
    Rule("q_explosion", "Q values explode", "targets that run away", "mean Q value",
         "twice above 100 times its median and 20 times the largest return, or 10,000 times if the run thrives", _JONES,
         ("q_value",), _q_explosion),
    Rule("gradient_explosion", "Gradients explode", "reward scale, learning rate, or missing clipping",
         "gradient norm", "twice above 100 times its median and above 100, or 10,000 times if the run thrives", _JONES,
         ("grad_norm",), _gradient_explosion),
    Rule("kl_spike", "KL spikes", "the steps are too large, or the data stale", "KL per update",
         "2 of 3 above 0.1 and 5 times the median, or 3 above 0.5; if the run thrives, also one above 0.5 and "
         "20 times the median", _SCHULMAN, ("kl",),
         _kl_spike),
    Rule("single_action", "One action only", "the policy has collapsed", "share of the most frequent action",
         "97 % of the last 60 actions for 15 s, unless the run thrives", _JONES, ("action",), _single_action),
    Rule("entropy_collapse", "Entropy collapse", "exploration has ended too early",
         "entropy relative to the run's highest, and to log(number of actions)",
         "twice below 5 %, unless the run thrives or the actions are continuous", _SCHULMAN, ("entropy",),
         _entropy_collapse),
    Rule("success_falls", "Return rises while success falls", "reward hacking",
         "Mann-Kendall test of both over the last 24 minutes", "both with |z| above 2.58, and success by 0.05", _OWN,
         ("return", "success_rate"), _success_falls),
    Rule("survival_bonus", "Reward for survival only", "the reward per step outweighs the task",
         "correlation of return and length over 50 episodes", "above 0.98, while success is below 0.05 or falls", _OWN,
         ("return", "length", "success_rate"), _survival_bonus),
    Rule("early_end", "Reward for an early end", "the reward has the wrong sign",
         "return / length, and the Mann-Kendall test of the length",
         "constant and negative, the length falls by 30 %, and no episode was ever truncated", _OWN,
         ("return", "length"), _early_end),
    Rule("return_falls", "Return falls", "the reward has the wrong sign, or learning destroys the policy",
         "Mann-Kendall test of the whole run",
         "after 45 s: z below -1.64, and a fall of a third and 5 deviations since the start", _OWN, ("return",),
         _return_falls),
    Rule("returns_constant", "Returns constant", "a constant reward, or an environment that ignores its actions",
         "equal returns in a row", "30 over 30 s, unless the run thrives or reaches its limit with the most", _JONES,
         ("return",), _returns_constant),
    Rule("episodes_truncated", "Only truncated episodes", "the time limit hides success", "how episodes end",
         "all of 50 truncated in 60 s, and the return does not rise (z at most 2)", _OWN,
         ("return", "episode_end"), _episodes_truncated),
    Rule("clip_fraction_high", "Clip fraction high", "the steps are too large", "clip fraction",
         "above 0.35 in 5 updates, unless the run thrives", _SCHULMAN, ("clip_fraction",), _clip_fraction_high),
    Rule("explained_variance_low", "Explained variance low", "the value function learns nothing",
         "explained variance", "at most 0 in 20 updates after the first 10, unless the run thrives", _SCHULMAN,
         ("explained_variance",), _explained_variance_low),
    Rule("throughput_low", "Slow", "contention, memory, or swapping", "env steps per second over 2 minutes",
         "below 0.7 times its median", _OWN, ("step",), _throughput_low),
)  # fmt: skip
RANKS = {rule.name: rank for rank, rule in enumerate(RULES)}
