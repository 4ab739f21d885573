"""The ten lines of plain PyTorch in examples/ publish a training run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import redis

from hud_publisher.protocol.keys import ChannelKeys
from tests.fixtures.servers import Server

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "pytorch.py"


def test_a_network_in_training_is_shown(redis_server: Server) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HUD_", "REDIS_"))}
    # Threads of torch that wait for each other spin, which multiplies the time on a machine under load.
    environment |= {"REDIS_URL": redis_server.url, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, str(EXAMPLE)], env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    told = f"HUD: publishing to {redis_server.url}, channel default\n"
    assert (ended.returncode, ended.stderr) == (0, told)
    with redis.Redis.from_url(redis_server.url) as link:
        sid = link.get(ChannelKeys("default").fence)
        assert isinstance(sid, bytes)
        session = ChannelKeys("default").session(sid.decode())
        assert link.xlen(session.stream("metrics")) == 500
        frames = link.xlen(session.stream("frames"))
        assert isinstance(frames, int)
        assert frames >= 1
        assert link.hget(session.info, "name") == b"a first network"
