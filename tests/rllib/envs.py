"""Small environments that render with numpy alone, so a run needs neither a game nor pygame.

An episode's steps give rewards 1, 2, 3 …, so a return tells whether all of its steps were counted: 55 for ten steps.
Pictures differ from step to step and tell the env apart by colour.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy
from gymnasium.spaces import Box, Discrete
from ray.rllib.env.multi_agent_env import MultiAgentEnv

#: Rewards 1 to EPISODE_STEPS.
EPISODE_STEPS = 10
EPISODE_RETURN = 55.0
HEIGHT, WIDTH = 24, 32


def picture(step: int, colour: int = 200) -> numpy.ndarray:
    """A dark picture with a bright bar that moves with the step."""
    pixels = numpy.zeros((HEIGHT, WIDTH, 3), numpy.uint8)
    pixels[:, (3 * step) % WIDTH] = (colour, 255 - colour, 255)
    return pixels


class Counting(gymnasium.Env):
    """Counts its steps.

    Config: `step_s` (how long a step takes), `steps` of an episode, `render_mode`, `render` ("raise": it raises).
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012
    observation_space = Box(-1e6, 1e6, (2,), numpy.float32)
    action_space: Any = Discrete(2)

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        config = config or {}
        self.render_mode = config.get("render_mode", "rgb_array")
        self._step_s = config.get("step_s", 0.002)
        self._steps = config.get("steps", EPISODE_STEPS)
        self._render = config.get("render")
        self._count = 0

    def _observe(self) -> tuple[numpy.ndarray, dict[str, Any]]:
        info = {"health": {"current": 5 - self._count % 5, "max": 5}, "location": f"room {self._count}", "other": 1}
        return numpy.array([self._count, 1.0], numpy.float32), info

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[numpy.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._count = 0
        return self._observe()

    def step(self, action: Any) -> tuple[numpy.ndarray, float, bool, bool, dict[str, Any]]:
        time.sleep(self._step_s)
        self._count += 1
        observation, info = self._observe()
        return observation, float(self._count), self._count >= self._steps, False, info

    def render(self) -> Any:
        if self._render == "raise":
            raise RuntimeError("no display")
        return picture(self._count) if self.render_mode == "rgb_array" else None


class Steering(Counting):
    """The same with continuous actions."""

    action_space = Box(-1.0, 1.0, (2,), numpy.float32)


class Crashing(Counting):
    """The same, but one of its first episodes breaks off in its middle; RLlib then makes all envs anew."""

    episodes = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        Crashing.episodes += 1
        self._crashes = Crashing.episodes == 6
        return super().reset(seed=seed)

    def step(self, action: Any) -> Any:
        if self._crashes and self._count == EPISODE_STEPS // 2:
            raise RuntimeError("the simulator died")
        return super().step(action)


class FailingOnce(Counting):
    """The same, but in one env runner it raises once, with a password in the message."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._mark = Path(config["mark"]) if config.worker_index == config["fails_in"] else None

    def step(self, action: Any) -> Any:
        if self._mark is not None and self._count == EPISODE_STEPS // 2 and not self._mark.exists():
            self._mark.touch()
            raise ConnectionError("no answer from redis://:in-the-url@emulator:6379")
        return super().step(action)


class CountingVector(gymnasium.vector.VectorEnv):
    """Many of them as one environment without sub-environments, as vector entry points make them."""

    metadata = {"render_modes": ["rgb_array"], "autoreset_mode": gymnasium.vector.AutoresetMode.NEXT_STEP}  # noqa: RUF012
    render_mode = "rgb_array"

    def __init__(self, config: dict[str, Any]) -> None:
        self.num_envs = config["num_envs"]
        self._envs = [Counting(config) for _ in range(self.num_envs)]
        self.single_observation_space = Counting.observation_space
        self.single_action_space = Counting.action_space
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, self.num_envs)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, self.num_envs)
        self._done = [False] * self.num_envs

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[numpy.ndarray, dict[str, Any]]:
        self._done = [False] * self.num_envs
        return numpy.stack([env.reset()[0] for env in self._envs]), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        results = []
        for index, env in enumerate(self._envs):
            if self._done[index]:
                observation, info = env.reset()
                results.append((observation, 0.0, False, False, info))
            else:
                results.append(env.step(actions[index]))
            self._done[index] = results[-1][2]
        observations, rewards, terminated, truncated, _ = zip(*results, strict=True)
        infos: dict[str, Any] = {}
        for index, result in enumerate(results):
            infos = self._add_info(infos, result[4], index)
        return numpy.stack(observations), numpy.array(rewards), numpy.array(terminated), numpy.array(truncated), infos

    def render(self) -> tuple[Any, ...]:
        return tuple(env.render() for env in self._envs)


class Pair(MultiAgentEnv):
    """Two agents; "a" gets the rewards of Counting, "b" one tenth of them."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__()
        self._env = Counting(config)
        self.render_mode = self._env.render_mode
        self.agents = self.possible_agents = ["a", "b"]
        self.observation_spaces = dict.fromkeys(self.agents, Counting.observation_space)
        self.action_spaces = dict.fromkeys(self.agents, Counting.action_space)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        observation, info = self._env.reset()
        return dict.fromkeys(self.agents, observation), dict.fromkeys(self.agents, info)

    def step(self, actions: dict[str, Any]) -> tuple[Any, ...]:
        observation, reward, terminated, truncated, info = self._env.step(actions)
        return (
            dict.fromkeys(self.agents, observation),
            {"a": reward, "b": reward / 10},
            {"__all__": terminated},
            {"__all__": truncated},
            dict.fromkeys(self.agents, info),
        )

    def render(self) -> Any:
        return self._env.render()


try:
    from pettingzoo import ParallelEnv
except ImportError:  # env runners of most tests do without
    ParallelEnv = object


class Meadow(ParallelEnv):  # type: ignore[misc]
    """Two agents of PettingZoo in one Counting environment; each gets its rewards."""

    metadata = {"render_modes": ["rgb_array"], "name": "meadow"}  # noqa: RUF012
    possible_agents = ["a", "b"]  # noqa: RUF012

    def __init__(self, render_mode: str | None = None, **config: Any) -> None:
        self.render_mode = render_mode
        self._env = Counting(config)
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> Any:
        return Counting.observation_space

    def action_space(self, agent: str) -> Any:
        return Counting.action_space

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.agents = list(self.possible_agents)
        observation, info = self._env.reset(seed=seed)
        return dict.fromkeys(self.agents, observation), dict.fromkeys(self.agents, info)

    def step(self, actions: dict[str, Any]) -> tuple[Any, ...]:
        agents = self.agents
        observation, reward, terminated, truncated, info = self._env.step(0)
        self.agents = [] if terminated else agents
        values = (observation, reward, terminated, truncated, info)
        return tuple(dict.fromkeys(agents, value) for value in values)

    def render(self) -> Any:
        return self._env.render() if self.render_mode == "rgb_array" else None


def make_vector(config: dict[str, Any]) -> CountingVector:
    """The creator to register for `gym_env_vectorize_mode="vector_entry_point"`."""
    return CountingVector(config)
