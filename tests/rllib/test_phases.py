"""When an env runner reports that the learner is at work: it measures its pauses, here on a fake clock."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hud_publisher.protocol.settings import Settings
from rllib_integration.runner import PAUSE_S, RunnerHud


class Recorder:
    """A publisher that keeps the published phases."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.claim: Any = None

    def log(self, data: dict[str, Any], step: int | None = None) -> None:
        self.phases += [data["phase"]] if "phase" in data else []


@pytest.mark.parametrize(
    ("pause_s", "expected"),
    [
        (PAUSE_S * 4, ["sampling", "learning", "sampling", "learning", "sampling", "learning", "sampling"]),
        (PAUSE_S / 4, ["sampling", "learning", "sampling"]),  # only the first, before its length is known
    ],
)
def test_only_pauses_worth_the_name_are_called_learning(pause_s: float, expected: list[str]) -> None:
    now = 100.0
    publisher = Recorder()
    attachment: Any = SimpleNamespace(is_evaluation=False, wanted=(1, 0), last_worker=1, settings=Settings())
    runner = RunnerHud(attachment, publisher, 1, 1, clock=lambda: now)  # type: ignore[arg-type]
    runner._reporter = SimpleNamespace(env_index=0, resume=lambda _now: None)  # type: ignore[assignment]
    env_runner = SimpleNamespace(num_env_steps_sampled_lifetime=0)
    runner._resume(now, env_runner)
    for _ in range(3):
        now += 1.0
        runner.pause()
        now += pause_s
        runner._resume(now, env_runner)
    assert publisher.phases == expected
