"""Reads RLlib's episode objects: of one agent or many, of the new API stack or the old.

Owns the sums of each running episode. RLlib cuts an episode into chunks, one object each, and `get_return()` covers one
chunk; so the return is that of the chunks seen before plus that of the current one, as RLlib itself counts it. Knows
the objects by their methods alone, so it loads no part of ray. Called by `runner`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


class EpisodeView(Protocol):
    """What is asked of an episode's chunk, whichever API stack it comes from."""

    def identity(self, chunk: Any) -> object:
        """What stays the same over the chunks of an episode, and differs from every other's."""

    def chunk_return(self, chunk: Any) -> float:
        """Sum of this chunk's rewards, over all agents."""

    def length(self, chunk: Any) -> int:
        """Environment steps of the whole episode so far."""

    def last(self, chunk: Any) -> dict[str, Any]:
        """The newest reward and action, as far as the chunk tells."""

    def infos(self, chunk: Any) -> Mapping[Any, Any]:
        """The newest `info` of the environment; by agent where there are several."""

    def is_terminated(self, chunk: Any) -> bool:
        """Whether a finished episode ended by itself, not by a limit."""


class SingleAgentView:
    """`SingleAgentEpisode` of the new API stack."""

    def identity(self, chunk: Any) -> object:  # noqa: D102
        return chunk.id_

    def chunk_return(self, chunk: Any) -> float:  # noqa: D102
        return float(chunk.get_return())

    def length(self, chunk: Any) -> int:  # noqa: D102
        return int(chunk.t)

    def last(self, chunk: Any) -> dict[str, Any]:  # noqa: D102
        return {"reward": chunk.get_rewards(-1), "action": chunk.get_actions(-1)}

    def infos(self, chunk: Any) -> Mapping[Any, Any]:  # noqa: D102
        return chunk.get_infos(-1) or {}

    def is_terminated(self, chunk: Any) -> bool:  # noqa: D102
        return bool(chunk.is_terminated)


class MultiAgentView(SingleAgentView):
    """`MultiAgentEpisode` of the new API stack."""

    def length(self, chunk: Any) -> int:  # noqa: D102
        return int(chunk.env_t)

    def last(self, chunk: Any) -> dict[str, Any]:  # noqa: D102
        rewards = chunk.get_rewards(-1)
        actions = {str(agent): action for agent, action in chunk.get_actions(-1).items()}
        return {"reward": sum(rewards.values()), "action": actions}


class OldStackView:
    """`EpisodeV2` of the old API stack: one object for the whole episode, which stores no actions."""

    def identity(self, chunk: Any) -> object:  # noqa: D102
        return chunk.episode_id

    def chunk_return(self, chunk: Any) -> float:  # noqa: D102
        return float(chunk.total_reward)

    def length(self, chunk: Any) -> int:  # noqa: D102
        return int(chunk.length)

    def last(self, chunk: Any) -> dict[str, Any]:  # noqa: D102
        return {}

    def infos(self, chunk: Any) -> Mapping[Any, Any]:  # noqa: D102
        agents = list(chunk.get_agents())
        if len(agents) == 1:
            return chunk.last_info_for(agents[0]) or {}
        return {agent: chunk.last_info_for(agent) or {} for agent in agents}

    def is_terminated(self, chunk: Any) -> bool:  # noqa: D102
        return any(chunk.is_terminated(agent) for agent in chunk.get_agents())


def view_of(chunk: Any) -> EpisodeView:
    """Return how to read this kind of episode."""
    if not hasattr(chunk, "id_"):
        return OldStackView()
    return MultiAgentView() if hasattr(chunk, "env_t") else SingleAgentView()


@dataclass(slots=True)
class RunningEpisode:
    """The episode that one env is in.

    Attributes:
        view: how to read it.
        identity: its own, from RLlib.
        number: how many episodes this env has begun in this process, from 1.
        chunk: the one that the newest step went into; None before the first.
    """

    view: EpisodeView
    identity: object
    number: int
    chunk: Any = None
    _settled: float = 0.0

    def see(self, chunk: Any) -> None:
        """Take note of the chunk that the newest step went into. Costs one comparison unless it is a new one."""
        if chunk is not self.chunk:
            if self.chunk is not None:
                self._settled += self.view.chunk_return(self.chunk)
            self.chunk = chunk

    def sums(self) -> dict[str, Any]:
        """Return the episode's number, return and length so far."""
        chunk = self.chunk
        if chunk is None:
            return {"episode": self.number, "episode_reward": 0.0, "episode_length": 0}
        total = self._settled + self.view.chunk_return(chunk)
        return {"episode": self.number, "episode_reward": total, "episode_length": self.view.length(chunk)}
