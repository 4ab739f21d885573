"""Plain training loops: REINFORCE on CartPole in numpy, published by a `Publisher` in the way that each name says."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy

from hud_publisher import Publisher
from tests.truth.envs import Cart, drawing

#: Between two entries of step-level fields.
_LOG_S = 0.1
_GAMMA = 0.99


class Learner:
    """A linear softmax policy and its environment; the seed makes its runs repeatable.

    Attributes:
        steps: environment steps of this run.
        episodes: finished episodes of this run.
        weights: of the policy.
    """

    def __init__(self, *, step_s: float = 0.02, seed: int = 1) -> None:
        self.env = Cart({"step_s": step_s})
        self._random = numpy.random.default_rng(seed)
        self._seed: int | None = seed
        self.weights = numpy.zeros((4, 2))
        self.baseline = 0.0
        self.steps = self.episodes = 0
        self._episodes: list[tuple[list[Any], list[int], list[float]]] = []

    def episode(self) -> Iterator[tuple[int, float, bool]]:
        """Play one episode; yields (length, return until now, whether it is over) after each step."""
        state, _ = self.env.reset(seed=self._seed)
        self._seed = None
        states, actions, rewards = [], [], []
        is_over = False
        while not is_over:
            action = int(self._random.random() < self._chances(state)[1])
            states.append(state)
            actions.append(action)
            state, reward, terminated, truncated, _ = self.env.step(action)
            rewards.append(float(reward))
            self.steps += 1
            is_over = terminated or truncated
            self.episodes += is_over
            yield len(rewards), sum(rewards), is_over
        self._episodes.append((states, actions, rewards))

    def learn(self, rate: float = 0.02) -> dict[str, float]:
        """Update the policy from the episodes since the last call; returns losses and means."""
        policy_loss = value_loss = entropy = 0.0
        gradient = numpy.zeros_like(self.weights)
        count = 0
        for states, actions, rewards in self._episodes:
            later = 0.0
            for state, action, reward in zip(reversed(states), reversed(actions), reversed(rewards), strict=True):
                later = reward + _GAMMA * later
                gain = later - self.baseline
                self.baseline += 0.002 * gain
                chances = self._chances(state)
                policy_loss -= math.log(chances[action]) * gain
                value_loss += gain * gain
                entropy -= float(numpy.sum(chances * numpy.log(chances)))
                gradient += numpy.outer(state, numpy.eye(2)[action] - chances) * gain
                count += 1
        self.weights += rate * gradient / max(1.0, float(numpy.linalg.norm(gradient)) / 10)
        returns = [sum(rewards) for _, _, rewards in self._episodes]
        self._episodes.clear()
        return {
            "policy_loss": policy_loss / count,
            "value_loss": value_loss / count,
            "entropy": entropy / count,
            "learning_rate": rate,
            "episode_return_mean": sum(returns) / len(returns),
            "episode_len_mean": count / len(returns),
        }

    def _chances(self, state: Any) -> Any:
        odds = numpy.exp(numpy.clip(state @ self.weights, -20, 20))
        return odds / odds.sum()


def play(
    hud: Publisher,
    learner: Learner,
    *,
    has_frames: bool = True,
    has_metrics: bool = True,
    change: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> None:
    """Play one episode and publish it.

    Args:
        hud: where to.
        learner: the policy.
        has_frames: publish frames.
        has_metrics: publish fields.
        change: returns the fields to publish for those of the run.
    """
    log_at = 0.0
    number = learner.episodes + 1
    for length, total, is_over in learner.episode():
        if has_frames and hud.wants_frame():
            hud.frame(learner.env.render(), step=learner.steps, episode=number)
        now = time.monotonic()
        if has_metrics and (now >= log_at or is_over):
            log_at = now + _LOG_S
            data = {"episode": number, "episode_reward": total, "episode_length": length}
            hud.log(change({**data, "episode_return": total} if is_over else data), step=learner.steps)


def iterate(hud: Publisher, learner: Learner, iteration: int, *, episodes: int = 3, **options: Any) -> None:
    """Sample episodes, learn, and publish the iteration."""
    hud.log({"phase": "sampling"}, step=learner.steps)
    for _ in range(episodes):
        play(hud, learner, **options)
    hud.log({"phase": "learning"}, step=learner.steps)
    result = {"iteration": iteration, "episodes_total": learner.episodes, **learner.learn()}
    hud.log_iteration(options.get("change", dict)(result), step=learner.steps)


def frames_only(hud: Publisher) -> None:
    """Frames, and nothing else."""
    learner = Learner()
    end = time.monotonic() + 25
    while time.monotonic() < end:
        play(hud, learner, has_metrics=False)


def metrics_only(hud: Publisher) -> None:
    """Fields without frames."""
    learner = Learner()
    end, iteration = time.monotonic() + 30, 0
    while time.monotonic() < end or iteration < 8:
        iterate(hud, learner, iteration := iteration + 1, has_frames=False)


def many_metrics(hud: Publisher) -> None:
    """3,000 fields in each iteration: a norm and a share of each of 1,500 units, two digits each."""
    learner = Learner()
    for iteration in range(1, 7):
        iterate(hud, learner, iteration, episodes=5)
        random = numpy.random.default_rng(iteration)
        units = {
            f"layer{unit // 50}/unit{unit % 50}/{kind}": float(f"{value:.1e}")
            for kind in ("norm", "share")
            for unit, value in enumerate(random.gamma(2.0, 1.0 if kind == "norm" else 0.01, 1500))
        }
        hud.log_iteration({"iteration": iteration, **units}, step=learner.steps)


def slow(hud: Publisher) -> None:
    """One iteration in 12 s; a call of a vision LLM in each."""
    learner = Learner()
    begun = time.monotonic()
    for iteration in range(1, 6):
        iterate(hud, learner, iteration)
        hud.vision(
            learner.env.render(),
            prompt="Which way does the pole fall?",
            response=f"answer {iteration}",
            response_time_ms=400.0 + iteration,
            step=learner.steps,
            model="recorded-vlm",
        )
        time.sleep(max(0.0, begun + 12 * iteration - time.monotonic()))


def restarting(hud: Publisher) -> None:
    """Three passes over the same steps, each from the first checkpoint: counters begin anew."""
    for seed in (1, 2, 3):
        learner = Learner(seed=seed)
        for iteration in range(1, 6):
            iterate(hud, learner, iteration, episodes=4)


def turning_nan(hud: Publisher) -> None:
    """Values turn into NaN and Infinity.

    `policy_loss` is NaN from iteration 4 to the end. The returns are NaN in iterations 5 to 7 and finite again later.
    `value_loss` is infinite from iteration 9 to the end.
    """
    learner = Learner()
    for iteration in range(1, 13):
        wrong = {"policy_loss": math.nan} if iteration >= 4 else {}
        if 5 <= iteration <= 7:
            wrong |= dict.fromkeys(("episode_return", "episode_return_mean"), math.nan)
        if iteration >= 9:
            wrong["value_loss"] = math.inf

        def change(data: dict[str, Any], wrong: dict[str, float] = wrong) -> dict[str, Any]:
            return data | {name: value for name, value in wrong.items() if name in data}

        iterate(hud, learner, iteration, episodes=4, change=change)


def two_envs(hud: Publisher) -> None:
    """Two envs in turn with the same episode numbers; env 0 always returns 16 and env 1 always returns 1000."""
    steps = 0
    for episode in range(1, 21):
        for length in range(1, 17):
            time.sleep(0.06)
            for index, total in ((0, 16.0), (1, 1000.0)):
                steps += 1
                place = {"worker_index": 0, "env_index": index, "episode": episode}
                data = {**place, "episode_length": length, "episode_reward": total * length / 16}
                if length == 16:
                    data["episode_return"] = total
                if length % 4 == 0:
                    hud.log(data, step=steps)
                env = (0, index)
                if hud.wants_frame(env):
                    hud.frame(drawing(length / 16, index - 0.5), step=steps, episode=episode, env=env)
        if episode % 3 == 0:
            hud.log_iteration({"iteration": episode // 3, "episode_return_mean": 508.0}, step=steps)


LOOPS = (frames_only, metrics_only, many_metrics, slow, restarting, turning_nan, two_envs)
