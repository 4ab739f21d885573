"""A view of a Stable-Baselines3 policy equals what the policy itself received and returned for that very step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from hud_publisher import Publisher, SB3HudCallback
from hud_publisher.protocol.entries import FrameEntry, MindEntry
from tests.fixtures.publishing import MemorySink
from tests.rllib.test_environments import Corridor


class Rewarding(Corridor):
    """Names the parts of its reward, and its actions."""

    def step(self, action: Any) -> Any:
        *results, info = super().step(action)
        return *results, info | {"reward_alive": 1.0, "reward_progress": float(self.at)}

    def get_action_meanings(self) -> list[str]:
        return ["LEFT", "RIGHT"]


class Steering(Corridor):
    """Has continuous actions."""

    action_space = gymnasium.spaces.Box(-2, 2, (2,), np.float32)  # type: ignore[assignment]


class Recorder(BaseCallback):  # type: ignore[misc]
    """Records, for each step, what the policy received and returned; `describe` makes the truth of an observation."""

    def __init__(self, method: str, describe: Any) -> None:
        super().__init__()
        self.truths: dict[int, dict[str, Any]] = {}
        self._method, self._describe = method, describe
        self._newest: dict[str, Any] = {}

    def _on_training_start(self) -> None:
        policy = self.model.policy
        inner = getattr(policy, self._method)

        def recorded(observation: Any, *more: Any, **options: Any) -> Any:
            with torch.no_grad():
                found = {"observation": observation, **self._describe(policy, observation)}
            self._newest = {name: np.array(value) for name, value in found.items()}
            return inner(observation, *more, **options)

        setattr(policy, self._method, recorded)

    def _on_step(self) -> bool:
        self.truths[self.num_timesteps] = dict(self._newest)
        return True


def of_ppo(policy: Any, observation: Any) -> dict[str, Any]:
    made = policy.get_distribution(observation).distribution
    found = {"value": policy.predict_values(observation)}
    if isinstance(made, torch.distributions.Normal):
        return found | {"mean": made.mean, "deviation": made.stddev}
    return found | {"probabilities": torch.softmax(made.logits, -1)}


def of_dqn(policy: Any, observation: Any) -> dict[str, Any]:
    return {"q_values": policy.q_net(observation)}


def of_sac(policy: Any, observation: Any) -> dict[str, Any]:
    mean, log_deviation, _more = policy.actor.get_action_dist_params(observation)
    return {"mean": mean, "deviation": log_deviation.exp()}


def envs(kind: type[Corridor]) -> Any:
    return VecNormalize(DummyVecEnv([kind, kind]), norm_reward=False)


def ppo(kind: type[Corridor]) -> Any:
    return sb3.PPO("MlpPolicy", envs(kind), n_steps=64, batch_size=32, n_epochs=1, seed=1, device="cpu")


def off_policy(algorithm: Any, kind: type[Corridor]) -> Any:
    options: dict[str, Any] = {"learning_starts": 0, "train_freq": 64, "batch_size": 8, "buffer_size": 1_000}
    if algorithm is sb3.DQN:
        options |= {"exploration_initial_eps": 0.0, "exploration_final_eps": 0.0}
    return algorithm("MlpPolicy", envs(kind), seed=1, device="cpu", **options)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads of torch that wait for each other spin, which takes long on a machine under load."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink(viewers=1)


@pytest.fixture
def hud(sink: MemorySink) -> Iterator[Publisher]:
    publisher = Publisher(redis_url="redis://nowhere.invalid", frames="always", fps=20)
    publisher._sink_factory = lambda _publisher: sink
    yield publisher
    publisher.close(1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "method", "describe", "parts"),
    [
        (lambda: ppo(Rewarding), "forward", of_ppo, {"probabilities", "value"}),
        (lambda: ppo(Steering), "forward", of_ppo, {"mean", "deviation", "value"}),
        (lambda: off_policy(sb3.DQN, Rewarding), "_predict", of_dqn, {"q_values"}),
        (lambda: off_policy(sb3.SAC, Steering), "_predict", of_sac, {"mean", "deviation"}),
    ],
    ids=["ppo", "ppo-continuous", "dqn", "sac"],
)
def test_a_view_equals_the_record_of_its_step(
    hud: Publisher, sink: MemorySink, make: Any, method: str, describe: Any, parts: set[str]
) -> None:
    recorder, model = Recorder(method, describe), make()
    for _ in range(100):
        model.learn(256, callback=[recorder, SB3HudCallback(hud)], reset_num_timesteps=False)
        if sum(isinstance(entry, MindEntry) for entry in sink.landed) >= 3:
            break
    hud.close(10)
    views = [entry for entry in sink.landed if isinstance(entry, MindEntry)]
    assert len(views) >= 3
    for view in views:
        data, truth = view.data, recorder.truths[view.step or 0]
        assert parts == data.keys() & {"probabilities", "value", "q_values", "mean", "deviation"}
        for name in parts | {"observation"}:
            expected = truth[name][0, 0] if name == "value" else truth[name][0].tolist()
            assert data[name] == pytest.approx(expected, abs=1e-6), name
        if "mean" not in parts:
            assert set(data["reward_parts"]) == {"alive", "progress"}  # type: ignore[arg-type]
            assert data["action_name"] == ["LEFT", "RIGHT"][int(data["action"])]  # type: ignore[arg-type]
        assert data.get("squashed", False) == (describe is of_sac)
        assert view.env == (0, 0)
    frames = {(entry.time_ms, entry.step) for entry in sink.landed if isinstance(entry, FrameEntry)}
    assert {(view.time_ms, view.step) for view in views} & frames


def test_the_views_of_a_model_change_nothing_that_it_learns(hud: Publisher, sink: MemorySink) -> None:
    def learn(callback: Any) -> Any:
        model = sb3.PPO("MlpPolicy", Rewarding(), n_steps=64, batch_size=32, n_epochs=1, seed=1, device="cpu")
        return model.learn(640, callback=callback).policy.state_dict()

    plain, shown = learn(None), learn(SB3HudCallback(hud))
    hud.close(10)
    assert any(isinstance(entry, MindEntry) for entry in sink.landed)
    assert all((plain[name] == shown[name]).all() for name in plain)
