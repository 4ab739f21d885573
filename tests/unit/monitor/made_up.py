"""Made-up runs for the monitor: healthy ones and ones that fail, with the field names of several frameworks and noise.

`Plan` says how the quantities of a run develop; `entries` logs them as the framework does.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hud_publisher.protocol.values import NotFinite
from hud_web.monitor.detectors import Observation

START_MS = 1_760_000_000_000
#: Seconds of a run between two updates of the policy, by framework.
UPDATE_S = {"rllib": 3.0, "sb3": 2.0, "cleanrl": 1.5, "plain": 1.0}
#: Seconds between two entries of steps.
STEP_S = {"rllib": 0.25, "sb3": 0.1, "cleanrl": 0.5, "plain": 0.5}
STYLES = tuple(UPDATE_S)

Curve = Callable[[float], float]


def flat(value: float) -> Curve:
    """Return a quantity that stays the same."""
    return lambda _s: value


def rises(first: float, last: float, half_s: float = 30.0) -> Curve:
    """Return a quantity that approaches its last value and is half-way after `half_s`."""
    return lambda s: last + (first - last) * 0.5 ** (s / half_s)


def turns(at_s: float, before: Curve, after: Curve) -> Curve:
    """Return a quantity that changes its course at a time."""
    return lambda s: before(s) if s < at_s else after(s - at_s)


@dataclass
class Plan:
    """How the quantities of a run develop over its seconds; a CartPole run that learns, by default."""

    level: Curve = field(default_factory=lambda: rises(22, 450))
    spread: float = 0.25  # of the returns, relative to their level
    length: Curve | None = None  # the level itself, as in CartPole
    per_step: float = 1.0
    entropy: Curve = field(default_factory=lambda: rises(0.69, 0.45))
    kl: Curve = field(default_factory=lambda: flat(0.012))
    clip: Curve = field(default_factory=lambda: flat(0.12))
    explained: Curve = field(default_factory=lambda: rises(0.0, 0.8))
    value_loss: Curve = field(default_factory=lambda: rises(8, 60))
    gradient: Curve = field(default_factory=lambda: flat(0.8))
    rate: Curve = field(default_factory=lambda: flat(3e-4))
    actions: int = 2
    favourite: Curve = field(default_factory=lambda: flat(0.0))  # share of the first action beyond chance
    truncated: Curve = field(default_factory=lambda: flat(0.0))
    success: Curve | None = None
    speed: Curve = field(default_factory=lambda: flat(900.0))
    broken: tuple[float, str] = (math.inf, "")  # second and field from which a value is NaN
    picture: Curve = field(default_factory=lambda: flat(0.0))
    is_continuous: bool = False
    is_exact: bool = False  # returns without noise
    ends_s: float = math.inf  # no entry after it, in the phase "learning"


def entries(plan: Plan, style: str, seed: int, lasts_s: float = 180.0) -> Iterator[Observation]:
    """Log a plan as a framework does."""
    luck = random.Random(f"{style} {seed}")
    step, at, next_update, next_episode, count = 0.0, 0.0, UPDATE_S[style], 0.3, 0
    returns: deque[float] = deque(maxlen=100)
    lengths: deque[float] = deque(maxlen=100)
    episodes = updates = 0
    while at < min(lasts_s, plan.ends_s):
        at += STEP_S[style]
        step += plan.speed(at) * STEP_S[style] * luck.uniform(0.9, 1.1)
        data: dict[str, Any] = {"global_step": int(step), "reward": luck.gauss(0, 1)}
        if plan.is_continuous:
            data["action"] = luck.gauss(0, 1)
        elif luck.random() < plan.favourite(at):
            data["action"] = 0
        else:
            data["action"] = luck.randrange(plan.actions)
        if plan.picture(at) > 0:
            data |= {"picture_unchanged_s": plan.picture(at), "picture_unchanged_steps": plan.picture(at) * 100}
        if at >= next_episode:
            next_episode += 0.5
            for _ in range(4):
                earned, lasted = _episode(plan, at, luck)
                returns.append(earned)
                lengths.append(lasted)
                episodes += 1
            data["episode_end"] = "truncated" if luck.random() < plan.truncated(at) else "terminated"
            if style == "cleanrl":
                data |= {"charts/episodic_return": returns[-1], "charts/episodic_length": lengths[-1]}
            else:
                data |= {"episode_return": returns[-1], "episode_length": lengths[-1]}
        if style != "plain" or "episode_end" in data:
            count += 1
            yield _seen(count, at, step, "metrics", data)
        if at >= next_update and returns:
            next_update += UPDATE_S[style] * luck.uniform(0.9, 1.1)
            updates += 1
            count += 1
            fields = _update(plan, at, luck, style) | _means(plan, style, list(returns), list(lengths), episodes, step)
            fields["training_iteration"] = updates
            if plan.success is not None:
                shown = min(1.0, max(0.0, plan.success(at) + luck.gauss(0, 0.04)))
                fields["success_rate"] = shown
            broken: dict[str, NotFinite] = {}
            if at >= plan.broken[0]:
                name = plan.broken[1]
                fields.pop(name, None)
                broken = {name: "NaN"}
            yield _seen(count, at, step, "iterations", fields, broken)
    if plan.ends_s < lasts_s:
        yield _seen(count + 1, at + 0.1, step, "metrics", {"phase": "learning"})


def _episode(plan: Plan, at: float, luck: random.Random) -> tuple[float, float]:
    noise = 0.0 if plan.is_exact else luck.gauss(0, plan.spread)
    if plan.length is None:
        lasted = max(1.0, round(plan.level(at) * max(0.1, 1 + noise)))
        return plan.per_step * min(500.0, lasted), min(500.0, lasted)
    level = plan.level(at)
    return level + noise * max(abs(level), 0.1), max(1.0, round(plan.length(at)))


def _update(plan: Plan, at: float, luck: random.Random, style: str) -> dict[str, Any]:
    def noisy(curve: Curve, share: float = 0.15) -> float:
        value = curve(at)
        return value * luck.lognormvariate(0, share) if value else 0.0

    explained = max(-1.0, min(1.0, plan.explained(at) + luck.gauss(0, 0.1)))
    if plan.explained(at) < 0:
        explained = min(0.0, explained)
    entropy = plan.entropy(at) + (luck.gauss(0, 0.01) if plan.entropy(at) > 0.05 else 0.0)
    values = {
        "entropy": entropy, "kl": noisy(plan.kl, 0.3), "clip": noisy(plan.clip),
        "explained": explained, "value_loss": noisy(plan.value_loss, 0.4), "gradient": noisy(plan.gradient, 0.4),
        "rate": plan.rate(at), "policy_loss": luck.gauss(-0.01, 0.02),
    }  # fmt: skip
    return {_NAMES[style][name]: value for name, value in values.items() if name in _NAMES[style]}


def _means(
    plan: Plan, style: str, returns: list[float], lengths: list[float], episodes: int, step: float
) -> dict[str, Any]:
    mean, long = sum(returns) / len(returns), sum(lengths) / len(lengths)
    if style == "cleanrl":
        return {}
    if style == "plain":
        return {"loss": 1.0}
    found = {"episode_return_mean": mean, "episode_len_mean": long, "time/total_timesteps": int(step)}
    if style == "rllib":
        found |= {"episodes_total": episodes, "episode_return_max": max(returns), "episode_return_min": min(returns)}
    return found


_NAMES = {
    "rllib": {
        "entropy": "entropy", "kl": "kl", "explained": "vf_explained_var", "value_loss": "vf_loss",
        "gradient": "learners/default_policy/gradients_default_optimizer_global_norm", "rate": "learning_rate",
        "policy_loss": "policy_loss",
    },
    "sb3": {
        "entropy": "entropy", "kl": "train/approx_kl", "clip": "train/clip_fraction",
        "explained": "train/explained_variance", "value_loss": "vf_loss", "rate": "learning_rate",
        "policy_loss": "policy_loss",
    },
    "cleanrl": {
        "entropy": "losses/entropy", "kl": "losses/approx_kl", "clip": "losses/clipfrac",
        "explained": "losses/explained_variance", "value_loss": "losses/value_loss", "rate": "charts/learning_rate",
        "policy_loss": "losses/policy_loss",
    },
    "plain": {
        "entropy": "entropy", "kl": "approx_kl", "clip": "clip_fraction", "explained": "explained_variance",
        "value_loss": "value_loss", "gradient": "grad_norm", "rate": "lr", "policy_loss": "policy_loss",
    },
}  # fmt: skip


def _seen(
    count: int, at: float, step: float, stream: str, data: dict[str, Any], broken: dict[str, NotFinite] | None = None
) -> Observation:
    time_ms = START_MS + int(at * 1000)
    return Observation(f"{time_ms}-{count}", time_ms, int(step), f"w/{stream}", data, broken or {})
