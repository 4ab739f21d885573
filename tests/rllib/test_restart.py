"""An RLlib run whose driver is killed and started again at once: its env runners live on for a moment meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from hud_publisher.protocol.keys import ChannelKeys
from tests.rllib.conftest import ROOT, Display, Hud

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.long]

#: With a lease of 90 s the second driver finds the channel held even if RLlib takes a minute to start.
PROGRAM = """
import functools, sys
import ray
from rllib_integration import HudCallbacks
from tests.rllib.test_local_runs import ppo

address, redis_url, channel, name = sys.argv[1:]
ray.init(address=address, log_to_driver=False)
config = ppo(step_s=0.005).env_runners(num_env_runners=1)
config.callbacks(functools.partial(HudCallbacks, channel=channel, redis_url=redis_url, name=name, session_ttl_s=90))
algorithm = config.build_algo()
while True:
    algorithm.train()
"""


@pytest.fixture
def start(display: Display, hud: Hud) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start a driver in a process of its own, on the tests' cluster."""
    import ray

    address = ray.get_runtime_context().gcs_address
    started: list[subprocess.Popen[bytes]] = []

    def start_driver(name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", PROGRAM, address, hud.redis.url, display.channel, name]
        started.append(subprocess.Popen(command, cwd=ROOT, env=dict(os.environ)))
        return started[-1]

    yield start_driver
    for program in started:
        program.kill()
        program.wait()


def test_a_run_restarted_after_its_driver_was_killed_has_its_display_back(
    display: Display, hud: Hud, start: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    first = start("first")
    display.wait(lambda shown: shown.frames([1, 0]), "frames of the first run", 120.0)
    display.wait(lambda shown: shown.updates("iteration", stream="iterations"), "its first iteration", 60.0)
    first.kill()
    first.wait()
    start("second")

    def iterations(shown: Display) -> list[Any]:
        """Of the second run."""
        found = [update["iteration"] for update in shown.updates("iteration", stream="iterations")]
        return found[found.index(1, 1) :] if found.count(1) > 1 else []

    display.wait(lambda shown: len(iterations(shown)) >= 3, "iterations of the second run", 240.0)
    assert iterations(display)[:3] == [1, 2, 3]
    assert display.sessions()[-1]["name"] == "second"
    display.wait(lambda shown: shown.frames([1, 0]), "frames of the second run", 60.0)
    with redis.Redis.from_url(hud.redis.url) as link:
        assert not link.exists(ChannelKeys(f"{display.channel}~2").fence)
