"""Reads RLlib's episode objects: of one agent or many, of the new API stack or the old.

Owns the sums of each running episode. RLlib cuts an episode into chunks, one object each, and `get_return()` covers one
chunk. So the return is that of the earlier chunks plus that of the current one, which is also how RLlib counts it.
It uses only methods of the objects and imports no part of ray. Called by `runner`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rllib_integration.guard import quiet


class EpisodeView:
    """Reads an episode's chunk: a `SingleAgentEpisode` of the new API stack; the subclasses read the other kinds.

    Attributes:
        has_minds: PolicyView can read the policy's view of such an episode.
    """

    has_minds = True

    def identity(self, chunk: Any) -> object:
        """A value that all chunks of an episode share, and no other episode has."""
        return chunk.id_

    def chunk_return(self, chunk: Any) -> float:
        """Sum of this chunk's rewards, over all agents."""
        return float(chunk.get_return())

    def length(self, chunk: Any) -> int:
        """Environment steps of the whole episode until now."""
        return int(chunk.t)

    def reward(self, chunk: Any) -> Any:
        """The newest reward, over all agents; None if the chunk does not hold it."""
        return chunk.get_rewards(-1)

    def action(self, chunk: Any) -> Any:
        """The newest action, by agent if there are several; None if the chunk does not hold it."""
        return chunk.get_actions(-1)

    def infos(self, chunk: Any) -> Mapping[Any, Any]:
        """The newest `info` of the environment, by agent if there are several."""
        return chunk.get_infos(-1) or {}

    def is_terminated(self, chunk: Any) -> bool:
        """Whether a finished episode ended by itself, not by a limit."""
        return bool(chunk.is_terminated)


class MultiAgentView(EpisodeView):
    """`MultiAgentEpisode` of the new API stack."""

    has_minds = False

    def length(self, chunk: Any) -> int:
        return int(chunk.env_t)

    def reward(self, chunk: Any) -> Any:
        return sum(_newest(chunk, "get_rewards").values())

    def action(self, chunk: Any) -> Any:
        return {str(agent): action for agent, action in _newest(chunk, "get_actions").items()}


def _newest(chunk: Any, what: str) -> dict[Any, Any]:
    """Return the newest values by agent, of the agents that acted in the newest step.

    In a chunk that is not the episode's first, RLlib finds nothing, finds older values of agents that have ended, or
    raises an IndexError.
    """
    acted = {agent: steps for agent, steps in chunk.agent_episodes.items() if _acted(chunk, agent, steps)}
    with suppress(IndexError):
        if found := getattr(chunk, what)(-1):
            return {agent: value for agent, value in found.items() if agent in acted}
    return {agent: getattr(steps, what)(-1) for agent, steps in acted.items() if len(steps)}


def _acted(chunk: Any, agent: Any, steps: Any) -> bool:
    """Whether an agent acted in the newest step: it observed before that, and after it too if it has ended by now."""
    observed = chunk.env_t_to_agent_t[agent]
    after = chunk.env_t - chunk.env_t_started + observed.lookback
    needed = observed.data[after - 1 : after + 1] if steps.is_done else observed.data[after - 1 : after]
    return len(needed) == 1 + steps.is_done and chunk.SKIP_ENV_TS_TAG not in needed


class OldStackView(EpisodeView):
    """`EpisodeV2` of the old API stack: one object for the whole episode, which stores no actions."""

    has_minds = False

    def identity(self, chunk: Any) -> object:
        return chunk.episode_id

    def chunk_return(self, chunk: Any) -> float:
        return float(chunk.total_reward)

    def length(self, chunk: Any) -> int:
        return int(chunk.length)

    def reward(self, chunk: Any) -> Any:
        return None

    def action(self, chunk: Any) -> Any:
        return None

    def infos(self, chunk: Any) -> Mapping[Any, Any]:
        agents = list(chunk.get_agents())
        if len(agents) == 1:
            return chunk.last_info_for(agents[0]) or {}
        return {agent: chunk.last_info_for(agent) or {} for agent in agents}

    def is_terminated(self, chunk: Any) -> bool:
        return any(chunk.is_terminated(agent) for agent in chunk.get_agents())


def view_of(chunk: Any) -> EpisodeView:
    """Return the view for this kind of episode."""
    if not hasattr(chunk, "id_"):
        return OldStackView()
    return MultiAgentView() if hasattr(chunk, "env_t") else EpisodeView()


@dataclass(slots=True)
class RunningEpisode:
    """The current episode of one env.

    Attributes:
        view: reads its chunks.
        identity: RLlib's identity of the episode.
        number: how many episodes this env has begun in this process, from 1.
        chunk: the chunk of the newest step; None before the first.
    """

    view: EpisodeView
    identity: object
    number: int
    chunk: Any = None
    _settled: float | None = 0.0

    def see(self, chunk: Any) -> None:
        """Store the chunk of the newest step. Costs one comparison unless the chunk is new."""
        if chunk is not self.chunk:
            self._settled = self._total()
            self.chunk = chunk

    def sums(self) -> dict[str, Any]:
        """Return the episode's number, current return and length, without those that cannot be read."""
        length = 0 if self.chunk is None else quiet.attempt("the episode's length", self.view.length, self.chunk)
        found = {"episode": self.number, "episode_reward": self._total(), "episode_length": length}
        return {name: value for name, value in found.items() if value is not None}

    def _total(self) -> float | None:
        """The return of all chunks until now; None if one of them has none, because its rewards are not numbers."""
        if self.chunk is None or self._settled is None:
            return self._settled
        newest = quiet.attempt("the episode's return", self.view.chunk_return, self.chunk)
        return None if newest is None else self._settled + newest
