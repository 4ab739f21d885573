"""`hud up` and its Redis are killed at random moments: each acknowledged entry exists once after the restart."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable

import pytest
import redis

from hud_publisher import Publisher
from hud_publisher.protocol.keys import ChannelKeys
from tests.fixtures.servers import wait_until
from tests.fixtures.up import Up, children

KEYS = ChannelKeys("default")
#: Entries per second; fifty kills take minutes, and a session keeps 20,000 entries.
RATE_HZ = 60


class Run:
    """A training run that logs 1, 2, 3 … and never notices the kills."""

    def __init__(self, url: str) -> None:
        self.hud = Publisher(redis_url=url, run_id="kills")
        self.logged = 0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._log, daemon=True)
        self._thread.start()

    def _log(self) -> None:
        while not self._ends.wait(1 / RATE_HZ):
            self.logged += 1
            self.hud.log({"n": self.logged}, step=self.logged)

    @property
    def acknowledged(self) -> int:
        return dict(self.hud.stats.sent).get("metrics", 0)

    def end(self) -> None:
        self._ends.set()
        self._thread.join()
        self.hud.close(20)


def stored(client: redis.Redis) -> list[int]:
    """The numbers in all sessions of the channel, in their order."""
    found: list[int] = []
    for sid in client.zrange(KEYS.sessions, 0, -1):
        entries = client.xrange(KEYS.session(sid.decode()).stream("metrics"))
        found += [json.loads(fields[b"data"])["n"] for _id, fields in entries]
    return found


def is_back(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.RedisError):
        return bool(client.ping())
    return False


def survive(up: Callable[..., Up], kills: int, seed: int) -> None:
    """Kill `hud up` or its Redis, half of the times while the append-only file is rewritten, and compare each time."""
    draw = random.Random(seed)
    process = up("up", "--port", "0")
    process.read_until("Runs are kept in")
    url, runtime = f"unix://{process.socket}", process.runtime
    with contextlib.ExitStack() as stack:
        run = Run(url)
        stack.callback(run.end)
        client = stack.enter_context(contextlib.closing(redis.Redis(unix_socket_path=str(process.socket))))
        for kill in range(kills):
            before = run.acknowledged
            wait_until(lambda more=before + 2: run.acknowledged > more, "the run to be stored")  # type: ignore[misc]
            time.sleep(draw.uniform(0, 0.5))
            if draw.random() < 0.5:
                client.bgrewriteaof()
                time.sleep(draw.uniform(0, 0.05))
            (server,) = children(process.process.pid)
            acknowledged = run.acknowledged
            if kill % 2:
                os.kill(server, signal.SIGKILL)
            else:
                process.process.kill()
                process = up("up", "--port", "0", XDG_RUNTIME_DIR=str(runtime), XDG_DATA_HOME=str(runtime / "data"))
                process.read_until("Runs are kept in")
            wait_until(lambda: is_back(client), "Redis to be back")
            found = stored(client)
            assert found == list(range(1, len(found) + 1)), f"seed {seed}, kill {kill}"
            assert len(found) >= acknowledged, f"seed {seed}, kill {kill}: {acknowledged} were acknowledged"
        run.end()
        assert run.hud.stats.dropped == {}
        assert stored(client) == list(range(1, run.logged + 1))


@pytest.mark.timeout(180)
def test_every_acknowledged_entry_exists_once_after_hud_up_or_its_redis_was_killed(up: Callable[..., Up]) -> None:
    survive(up, kills=4, seed=random.randrange(10**6))


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_every_acknowledged_entry_exists_once_after_fifty_kills_at_random_moments(up: Callable[..., Up]) -> None:
    survive(up, kills=50, seed=random.randrange(10**6))
