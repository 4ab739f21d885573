"""The demo's training as `hud demo` starts it: a separate process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.web import poll
from tests.rllib.conftest import ROOT, Display


def processes_of(session: int) -> list[str]:
    """The living processes of a session, as `ps` has them; ray's keep the one that they were started in."""
    listed = subprocess.run(["ps", "-eo", "sid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    return [row[-1] for row in rows if row[0] == str(session) and not row[1].startswith("Z")]


def test_the_demo_shows_a_moving_game_and_ends_on_a_signal_with_nothing_left(display: Display, tmp_path: Path) -> None:
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
        start_new_session=True,
    )  # fmt: skip
    try:
        display.wait(
            lambda shown: demo.poll() is not None or len({f["image"] for f in shown.frames()}) > 5, "a moving game", 300
        )
        assert len(processes_of(demo.pid)) > 3
        demo.send_signal(signal.SIGTERM)
        said, _ = demo.communicate(timeout=120)
    finally:
        demo.kill()
        demo.communicate()
    assert demo.returncode == 0, said
    assert "Traceback" not in said
    assert "training PPO on Breakout" in said
    assert "stopped" in said.splitlines()[-1]
    display.wait_for_end()
    assert display.updates("lives", "action_name")
    poll(lambda: not processes_of(demo.pid), "the end of every process of the demo", 60)
    assert [path.name for path in tmp_path.iterdir() if path.name != "redis"] == []  # nothing in the home folder


def test_the_demo_continues_after_the_reader_of_its_output_is_gone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    program = "from rllib_integration.demo import _say; _say('a'); _say('b'); import sys; sys.stderr.write('end')"
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, check=True)
    os.close(writing)
    assert said.stderr == b"end"


@pytest.mark.usefixtures("cluster")
def test_the_demo_runs_as_a_job_on_a_cluster_that_is_there(display: Display, tmp_path: Path) -> None:
    """As the RayJob of k8s/components/kuberay and a submitted job run it: RAY_ADDRESS names the cluster."""
    import ray

    environment = os.environ | {
        "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
        "REDIS_URL": display.hud.redis.url,
        "HUD_CHANNEL": display.channel,
        "PYTHONPATH": str(ROOT),
    }
    demo = subprocess.run(
        [sys.executable, "-m", "rllib_integration.demo", "--env-runners", "1", "--iterations", "1"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert display.frames()
    assert display.updates("lives", "action_name")
    assert ray.is_initialized(), "the job ends, and the cluster goes on"
