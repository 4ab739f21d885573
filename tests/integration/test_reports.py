"""The cause of death on its whole way: a program that ends, Redis, the monitor, the endpoints; and no secret on it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.fixtures.web import SseClient, WebServer

PASSWORDS = {
    "MY_SERVICE_TOKEN": "planted-in-the-environment", "DATABASE_URL": "postgres://app:planted-in-a-url@db/runs",
}  # fmt: skip
FAILING = """
    import logging, os
    from hud_publisher import Publisher

    hud = Publisher(name="failing")
    hud.log({"episode_return": 1.0}, step=1)
    logging.getLogger("game").warning("retrying with api_key=planted-in-a-log-line")
    logging.getLogger("game").error("still no answer of %s", os.environ["MY_SERVICE_TOKEN"])

    def load(url):
        token = os.environ["MY_SERVICE_TOKEN"]
        raise ConnectionError(f"{url} refused {token}, Authorization: Bearer planted-in-a-header-1")

    hud.alert("no level with password=planted-in-an-alert")
    load("redis://:planted-in-the-message@cache:6379/0")
"""
KILLED = """
    import os, time
    from hud_publisher import Publisher

    hud = Publisher(name="killed")
    hud.log({"episode_return": 1.0}, step=1)
    while not hud.stats.sent.get("machine"):
        time.sleep(0.01)
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def web(standing_web: WebServer) -> WebServer:
    return standing_web


def run(web: WebServer, tmp_path: Path, program: str, channel: str, **environ: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "program.py"
    file.write_text(textwrap.dedent(program))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HUD_", "REDIS_"))}
    return subprocess.run(
        [sys.executable, str(file)], capture_output=True, text=True, timeout=60,
        env=clean | PASSWORDS | {"REDIS_URL": web.redis_url, "HUD_CHANNEL": channel} | environ,
    )  # fmt: skip


def everything_in(url: str) -> str:
    """All keys and values of a Redis as text."""
    found: list[Any] = []
    with redis.Redis.from_url(url, protocol=2) as client:
        for key in client.scan_iter():
            kind = client.type(key)
            found.append(key)
            if kind == b"stream":
                found.append(client.xrange(key))
            elif kind == b"hash":
                found.append(client.hgetall(key))
            elif kind == b"zset":
                found.append(client.zrange(key, 0, -1))
            elif kind == b"string":
                found.append(client.get(key))
    return str(found)


def wait_for(web: WebServer, channel: str, kind: str) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = web.get(f"/api/annotations?channel={channel}")[1]["annotations"]
        if hits := [one for one in found if one["kind"] == kind]:
            return hits[0]
        time.sleep(0.1)
    raise AssertionError(f"no annotation {kind} among {found}")


def test_an_exception_is_shown_with_its_cause_and_without_a_secret(web: WebServer, tmp_path: Path) -> None:
    channel = "failing"
    with contextlib.closing(SseClient(f"{web.url}/stream?channel={channel}")) as stream:
        ended = run(web, tmp_path, FAILING, channel, HUD_LOGS="on")
        assert ended.returncode == 1
        assert "planted-in-the-message" in ended.stderr  # the program's own output is not changed
        died = wait_for(web, channel, "process_died")
        stream.wait(lambda one: one.named("report") and one.named("annotation"), "the reports on the stream")
        live = str(stream.named("report"))
    assert (
        "ConnectionError: redis://[redacted]@cache:6379/0 refused [redacted], Authorization: [redacted]" in died["text"]
    )
    answer = web.get(f"/api/reports?channel={channel}")[1]
    kinds = [report["data"]["kind"] for report in answer["reports"]]
    assert kinds == ["log", "log", "alert", "death"]
    assert [one["data"]["text"] for one in answer["reports"][:3]] == [
        "retrying with api_key=[redacted]", "still no answer of [redacted]", "no level with password=[redacted]",
    ]  # fmt: skip
    [death] = web.get(f"/api/reports?channel={channel}&kind=death&limit=1")[1]["reports"]
    assert death["data"]["traceback"][-1].startswith(f"{tmp_path}/program.py:")
    assert death["data"]["exit_code"] == 1
    assert web.get(f"/api/reports?channel={channel}&kind=x")[0] == 400
    verdict = web.get(f"/api/state?channel={channel}")[1]["verdict"]
    assert "ConnectionError" in verdict["text"]
    paths = ("/api/reports", "/api/annotations", "/api/state", "/api/export", "/api/export?format=json", "/api/config")
    shown = [live, *(str(web.get(path + ("&" if "?" in path else "?") + f"channel={channel}")[1]) for path in paths)]
    assert "still no answer of" in shown[4]
    assert "still no answer of" in shown[5]
    assert "planted-in" not in str(shown)
    assert "planted-in" not in everything_in(web.redis_url)


def test_a_killed_process_is_named_with_the_time_and_its_memory(web: WebServer, tmp_path: Path) -> None:
    channel = "killed"
    ended = run(web, tmp_path, KILLED, channel, HUD_SESSION_TTL="2")
    assert ended.returncode == -9
    lost = wait_for(web, channel, "process_lost")
    assert lost["text"].startswith("The process was last heard at ")
    assert " MB of " in lost["text"] or " GB of " in lost["text"]
    assert "killed, or out of memory?" in lost["text"]
    assert "last heard" in web.get(f"/api/state?channel={channel}")[1]["verdict"]["text"]
