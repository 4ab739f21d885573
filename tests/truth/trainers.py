"""Training runs of RLlib and Stable-Baselines3, published in the way that the documentation says.

Environments are slowed down and networks are as small as possible, so a run lasts about 25 s and leaves most of the
processor to others.
"""

from __future__ import annotations

import functools
import os
import tempfile
import time
from typing import Any

from hud_publisher import Publisher
from tests.rllib.conftest import QUIET, ROOT, running_algorithm, small, start_ray
from tests.truth.envs import Cart, Swing

#: The minimum number of iterations of a run, and its minimum duration.
ITERATIONS, DURATION_S = 6, 25.0
STEP_S = 0.01


def _train(config: Any, url: str, fps: float) -> None:
    """Run an algorithm with HudCallbacks."""
    import ray
    import torch
    from ray.tune.trainable import trainable

    from rllib_integration import HudCallbacks

    torch.set_num_threads(1)
    os.environ |= QUIET | {"PYTHONPATH": str(ROOT)}  # env runners are separate processes
    trainable.DEFAULT_STORAGE_PATH = tempfile.mkdtemp()
    if not ray.is_initialized():
        start_ray(num_cpus=8)
    config = config.callbacks(functools.partial(HudCallbacks, hud_url=url, fps=fps))
    with running_algorithm(config) as algorithm:
        end, iterations = time.monotonic() + DURATION_S, 0
        while iterations < ITERATIONS or time.monotonic() < end:
            algorithm.train()
            iterations += 1


def _on_policy(config: Any, env: Any = Cart) -> Any:
    return small(
        config.environment(env, env_config={"step_s": STEP_S})
        .env_runners(num_env_runners=0, num_envs_per_env_runner=2, rollout_fragment_length=128)
        .training(train_batch_size_per_learner=256, minibatch_size=64, num_epochs=4, lr=0.002)
    )


def ppo(url: str, *, fps: float) -> None:
    """PPO with two env runners."""
    from ray.rllib.algorithms.ppo import PPOConfig

    config = _on_policy(PPOConfig()).env_runners(num_env_runners=2).training(train_batch_size_per_learner=512)
    _train(config, url, fps)


def old_stack(url: str, *, fps: float) -> None:
    """PPO on RLlib's old API stack."""
    from ray.rllib.algorithms.ppo import PPOConfig

    config = _on_policy(PPOConfig())
    config = config.api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False)
    _train(config.training(train_batch_size=256, minibatch_size=64), url, fps)


def two_policies(url: str, *, fps: float) -> None:
    """PPO for two carts in one environment, each with a separate policy."""
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.env.multi_agent_env import make_multi_agent

    config = _on_policy(PPOConfig(), make_multi_agent(Cart))
    config = config.environment(env_config={"num_agents": 2, "step_s": STEP_S / 2})
    config = config.env_runners(num_envs_per_env_runner=1).multi_agent(
        policies={"red", "blue_long_name"}, policy_mapping_fn=lambda agent, *_, **__: ("red", "blue_long_name")[agent]
    )
    _train(config, url, fps)


def _always_sampling(config: Any) -> Any:
    config = (
        config.environment(Cart, env_config={"step_s": STEP_S})
        .env_runners(num_env_runners=1, num_envs_per_env_runner=2, rollout_fragment_length=20)
        .training(train_batch_size_per_learner=80)
        .learners(num_learners=0, num_aggregator_actors_per_learner=0)
        .reporting(min_time_s_per_iteration=2)
    )
    return small(config)


def appo(url: str, *, fps: float) -> None:
    """APPO, which learns while it samples."""
    from ray.rllib.algorithms.appo import APPOConfig

    _train(_always_sampling(APPOConfig()), url, fps)


def impala(url: str, *, fps: float) -> None:
    """IMPALA, which learns while it samples."""
    from ray.rllib.algorithms.impala import IMPALAConfig

    _train(_always_sampling(IMPALAConfig()), url, fps)


def _replaying(config: Any, env: Any) -> Any:
    config = (
        config.environment(env, env_config={"step_s": STEP_S})
        .env_runners(num_env_runners=0, num_envs_per_env_runner=2)
        .training(
            replay_buffer_config={"type": "PrioritizedEpisodeReplayBuffer", "capacity": 5000},
            train_batch_size_per_learner=16,
            num_steps_sampled_before_learning_starts=64,
        )
        .reporting(min_sample_timesteps_per_iteration=100, min_time_s_per_iteration=2)
    )
    return small(config)


def dqn(url: str, *, fps: float) -> None:
    """DQN on CartPole."""
    from ray.rllib.algorithms.dqn import DQNConfig

    _train(_replaying(DQNConfig(), Cart), url, fps)


def sac(url: str, *, fps: float) -> None:
    """SAC on Pendulum."""
    from ray.rllib.algorithms.sac import SACConfig

    _train(_replaying(SACConfig(), Swing), url, fps)


def dreamerv3(url: str, *, fps: float) -> None:
    """DreamerV3 of the smallest size on CartPole."""
    from ray.rllib.algorithms.dreamerv3 import DreamerV3Config

    config = (
        DreamerV3Config()
        .environment(Cart, env_config={"step_s": STEP_S})
        .training(model_size="nano", batch_size_B=2, batch_length_T=8, horizon_H=3, training_ratio=1.0)
        .reporting(min_sample_timesteps_per_iteration=64, min_time_s_per_iteration=2)
        .debugging(log_level="ERROR", seed=1)
    )
    _train(config, url, fps)


def sb3_4_envs(url: str, *, fps: float) -> None:
    """PPO of Stable-Baselines3 with four envs."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    from hud_publisher.integrations.sb3 import SB3HudCallback

    info = {"env": "CartPole", "algorithm": "PPO", "framework": "stable-baselines3"}
    with Publisher(hud_url=url, name="PPO of Stable-Baselines3", info=info, fps=fps) as hud:
        env = make_vec_env(lambda: Cart({"step_s": STEP_S / 2}), n_envs=4, seed=1)
        model = PPO("MlpPolicy", env, n_steps=64, batch_size=64, policy_kwargs={"net_arch": [8]}, seed=1, device="cpu")
        model.learn(4 * 64 * 16, callback=SB3HudCallback(hud))


TRAINERS = (ppo, appo, impala, dqn, sac, dreamerv3, two_policies, old_stack, sb3_4_envs)
