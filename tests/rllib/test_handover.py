"""Which of several runs of one process is shown, without real runs: the publishers only record their calls."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rllib_integration import handover
from rllib_integration.handover import Claimant


class Told:
    """A publisher that records its calls."""

    def __init__(self, run_id: str, channel: str = "default", redis_url: str | None = "redis://a") -> None:
        self.run_id, self.name, self.channel = run_id, run_id, channel
        self.settings = SimpleNamespace(redis_url=redis_url, hud_url=None)
        self.notes: list[Any] = []

    def start(self) -> None:
        self.notes.append("start")

    def close(self, *, release: bool, wait: bool) -> None:
        self.notes.append("end" if release else "leave")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_claimants", [])


def claim(publisher: Any) -> Claimant:
    return Claimant(publisher, lambda: publisher.notes.append("detach"))


def test_a_run_waits_for_its_predecessor_and_follows_when_that_leaves() -> None:
    first, second, third = Told("1"), Told("2"), Told("3")
    predecessor, _, newest = claim(first), claim(second), claim(third)
    assert (first.notes, second.notes, third.notes) == (["start"], [], [])
    predecessor.leave()
    predecessor.leave()
    assert (first.notes, second.notes, third.notes) == (["start", "end"], [], ["start"])
    newest.leave()
    assert second.notes == ["start"]


def test_a_run_that_trains_ends_an_older_one_that_has_not_trained_since() -> None:
    first, second = Told("1"), Told("2")
    older, newer = claim(first), claim(second)
    assert newer.train()
    assert first.notes == ["start", "detach", "end"]
    assert second.notes[0] == "start"
    older.train()
    assert not newer.train()


def test_a_run_that_trains_leaves_an_older_one_that_trains_too() -> None:
    first, second = Told("1"), Told("2")
    older, newer = claim(first), claim(second)
    for _ in range(3):
        assert not older.train()
        assert not newer.train()
    assert "end" not in first.notes + second.notes


@pytest.mark.parametrize("other", [Told("2", channel="other"), Told("2", redis_url="redis://b"), Told("1")])
def test_runs_of_other_displays_and_of_the_same_session_do_not_wait(other: Told) -> None:
    first = Told("1")
    older, newer = claim(first), claim(other)
    assert other.notes == ["start"]
    assert not newer.train()
    older.leave()
    assert first.notes == ["start", "leave" if other.run_id == "1" else "end"]
