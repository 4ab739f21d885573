"""Counts one environment's episodes for the wrappers that see its steps one by one.

Environments return rewards and flags of many types: numbers, arrays of one number, vectors, mappings, None. A reward
that is not one number makes the episode's return unknown; all other fields continue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Episode:
    """The current episode of an environment.

    Attributes:
        number: number of episodes that began, this one included.
        length: number of its steps until now.
        total: the sum of its rewards; None after a reward that is not one number.
    """

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.length = 0
        self.total: float | None = 0.0

    def begin(self) -> None:
        """Begin the next episode."""
        self.number += 1
        self.length, self.total = 0, 0.0

    def add(self, reward: Any) -> bool:
        """Count one step. Returns whether its reward was a number."""
        number = number_of(reward)
        self.length += 1
        self.total = None if number is None or self.total is None else self.total + number
        return number is not None

    def sums(self) -> dict[str, Any]:
        """Return the fields of the current episode; the return is left out if it is unknown."""
        fields: dict[str, Any] = {"episode": self.number, "episode_length": self.length}
        return fields if self.total is None else fields | {"episode_reward": self.total}


def number_of(value: Any) -> float | None:
    """Return a number, or the only number in an array or tensor; None for anything else."""
    if isinstance(value, (str, bytes, bytearray)):
        return None
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except Exception:  # a foreign object's methods may raise anything
        return None


def is_true(flag: Any) -> bool:
    """Return whether a flag is set: of one environment, or of any of several agents, whose `__all__` goes first."""
    try:
        if isinstance(flag, Mapping):
            return bool(flag["__all__"] if "__all__" in flag else any(flag.values()))
        return bool(flag.any() if hasattr(flag, "any") else flag)
    except Exception:  # a foreign object's methods may raise anything
        return False
