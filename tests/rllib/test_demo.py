"""The demo's training as `hud demo` starts it: a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rllib.conftest import ROOT, Display


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_the_demo_shows_a_moving_game_and_ends_on_a_signal_with_nothing_left(
    display: Display, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    import psutil
    import ray  # noqa: F401  it brings psutil along

    environment = os.environ | {
        "REDIS_URL": display.hud.redis.url,
        "HUD_CHANNEL": display.channel,
        "HUD_RUN_ID": "of-the-demo",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
    }
    demo = subprocess.Popen(
        [sys.executable, "-m", "rllib_integration.demo", "--env-runners", "1"],
        env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        display.wait(lambda shown: len({f["image"] for f in shown.frames()}) > 5, "a moving picture", 200)
        processes = psutil.Process(demo.pid).children(recursive=True)
        assert processes
        demo.send_signal(number)
        said, _ = demo.communicate(timeout=60)
    finally:
        demo.kill()
        demo.communicate()
    assert demo.returncode == code, said
    assert "Traceback" not in said
    assert "training PPO on Breakout" in said
    assert "stopped" in said.splitlines()[-1]
    display.wait_for_end()
    assert display.updates("lives", "action_name")
    _gone, alive = psutil.wait_procs(processes, timeout=10)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
    assert [path.name for path in tmp_path.iterdir() if path.name != "redis"] == []  # nothing in the home folder
