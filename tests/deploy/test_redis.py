"""The Redis of k8s/, started with its script and configuration: each user has the rights it needs and no others."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from PIL import Image

from hud_publisher import Publisher
from hud_publisher.protocol.scripts import PUBLISHER_SCRIPTS, load_script
from hud_publisher.protocol.settings import Settings
from hud_web.doctor.redis import examine_redis
from tests.deploy.manifests import render
from tests.fixtures.servers import free_port, redis_binary, wait_until
from tests.fixtures.web import SseClient, WebServer, poll

PASSWORDS = {"web": "web-secret", "publisher": "publisher-secret", "admin": "admin-secret"}


@dataclass
class Locked:
    port: int

    def url(self, user: str, password: str | None = None) -> str:
        return f"redis://{user}:{PASSWORDS.get(user) if password is None else password}@127.0.0.1:{self.port}/0"


@contextmanager
def redis_of_the_pod(folder: Path, port: int | None = None) -> Iterator[Locked]:
    """redis-server as the pod starts it, except for port and folders."""
    data = next(c["data"] for c in render("k8s/base").of_kind("ConfigMap") if "redis.conf" in c["data"])
    for name in ("redis.conf", "start.sh"):
        (folder / name).write_text(data[name])
    server = Locked(port or free_port())
    environment = os.environ | {f"{name.upper()}_PASSWORD": value for name, value in PASSWORDS.items()}
    environment |= {"RUN_FOLDER": str(folder), "DATA_FOLDER": str(folder), "CONFIG": str(folder / "redis.conf")}
    assert redis_binary()
    command = ["sh", str(folder / "start.sh"), "--port", str(server.port), "--bind", "127.0.0.1"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: process.poll() is not None or ping(server.port), "Redis to start as in the pod")
        assert process.poll() is None, "Redis did not start: its words stand in the captured output"
        yield server
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Locked]:
    with redis_of_the_pod(tmp_path) as server:
        yield server


def ping(port: int) -> bool:
    """As the pod's probe asks."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as link:
            link.sendall(b"AUTH probe any\r\nPING\r\n")
            return link.makefile("rb").read(12).endswith(b"+PONG\r\n")
    except OSError:
        return False


def test_replicas_and_publishers_can_do_all_their_work_with_the_rights_they_have(
    locked: Locked, serve: Callable[..., WebServer], watch: Callable[..., SseClient]
) -> None:
    web = serve(redis_url=locked.url("web"))
    client = watch(web)
    client.wait(lambda seen: seen.named("snapshot"), "a snapshot")
    picture = Image.new("RGB", (16, 12), (200, 30, 60))
    with Publisher(redis_url=locked.url("publisher"), name="acl test", frames="always") as hud:
        hud.log({"reward": 1.5}, step=1)
        hud.log_iteration({"loss": 0.5}, step=1)
        hud.vision(picture, step=1, response="left", response_time_ms=200)
        client.wait(lambda seen: any("reward" in data for data in seen.named("training_update")), "the metrics")
        hud.frame(picture, step=1)
        client.wait(lambda seen: any(data["source"] == "env" for data in seen.named("vision_update")), "the frame")
        client.wait(lambda seen: any(data["source"] == "vlm" for data in seen.named("vision_update")), "the call")
        client.wait(lambda seen: seen.named("annotation"), "the annotation of its start")
        assert web.post("/api/reporter", {"worker_index": 2, "env_index": 1})[0] == 200
        for path in ("/ready", "/api/state", "/api/sessions", "/api/history", "/api/frames", "/api/vision",
                     "/api/export"):  # fmt: skip
            assert web.get(path)[0] == 200, path
        assert [channel["name"] for channel in web.get("/api/channels")[1]["channels"]] == ["default"]
        assert client.named("status")[-1]["redis"] == "ok"
    resumed = watch(web, last_id=client.events[2].id or client.last_id)
    resumed.wait(lambda seen: seen.named("session"), "the resumed stream")

    # clients of the old HUD write through the web tier
    assert web.post("/api/reset_session")[0] == 200
    session_id = web.post("/api/register_session", {"run_id": "r", "name": "by http"})[1]["session_id"]
    for path in ("/api/update_training", "/api/heartbeat", "/api/release_session"):
        status, answer = web.post(path, {"session_id": session_id, "data": {"x": 1}})
        assert status == 200, (path, answer)


@pytest.mark.parametrize("user", ["web", "publisher"])
def test_the_doctor_finds_nothing_wrong_with_the_rights_they_have(
    locked: Locked, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("HUD_", "REDIS_"))]:
        monkeypatch.delenv(name)
    found = asyncio.run(examine_redis(Settings(redis_url=locked.url(user))))
    assert [finding.level for finding in found] == ["ok"] * len(found), found


def test_every_command_of_the_scripts_is_among_the_rights_of_their_users() -> None:
    """A missing right causes an error only when a script reaches that command."""
    root = Path(__file__).parents[2]
    lists = dict(
        re.findall(r'^(writes|reads)="(?:\$writes )?(\+.*)"$', (root / "k8s/base/redis/start.sh").read_text(), re.M)
    )
    rights = {
        name: {right.partition("|")[0] for right in text.replace("+", "").split()} for name, text in lists.items()
    }
    files = (root / "hud_publisher/protocol/lua").glob("*.lua")
    every = {path.stem for path in files} - {"prelude", "downsample", "forget"}
    for name in every:
        found = re.findall(r"(?:redis\.p?call|safe_call)\('(\w+)'", load_script(name).source)
        used = {command.lower() for command in found}
        assert used <= rights["writes"] | (set() if name in PUBLISHER_SCRIPTS else rights["reads"]), name


@pytest.mark.parametrize("user", ["web", "publisher"])
@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL", "KEYS *", "CONFIG GET *", "GET other:key", "SET other:key 1", "SHUTDOWN", "ACL LIST",
        "SCRIPT FLUSH", "CLIENT LIST", "CLIENT KILL TYPE normal", "MONITOR", "REPLICAOF NO ONE",
        "MODULE LIST",
        "EVAL return\\ redis.call('GET','other:key') 0",
    ],
)  # fmt: skip
def test_nobody_can_do_more_than_the_work_of_the_hud(locked: Locked, user: str, command: str) -> None:
    words = [word.replace("\0", " ") for word in command.replace("\\ ", "\0").split(" ")]
    with redis.Redis.from_url(locked.url(user)) as client, pytest.raises(redis.exceptions.ResponseError) as caught:
        client.execute_command(*words)
    assert "permission" in str(caught.value) or "can't access" in str(caught.value)


@pytest.mark.parametrize("command", [("EVAL", "while true do end", "0"), ("SCRIPT", "LOAD", "while true do end")])
def test_a_publisher_cannot_run_or_load_a_new_script(locked: Locked, command: tuple[str, ...]) -> None:
    with (
        redis.Redis.from_url(locked.url("publisher"), socket_timeout=5) as client,
        pytest.raises(redis.exceptions.NoPermissionError),
    ):
        client.execute_command(*command)


def test_a_publisher_waits_for_the_server_that_loads_its_scripts_also_after_redis_forgot_them(
    locked: Locked, serve: Callable[..., WebServer], watch: Callable[..., SseClient], caplog: pytest.LogCaptureFixture
) -> None:
    with Publisher(redis_url=locked.url("publisher"), name="early", frames="off") as hud:
        hud.log({"early": 1})
        poll(lambda: "does not have the scripts of this version yet" in caplog.text, "the reason in the log")
        client = watch(serve(redis_url=locked.url("web")))
        client.wait(lambda seen: any(shows(data, "early") for data in seen.events), "the entry that waited", 10)
        with redis.Redis.from_url(locked.url("admin")) as admin:
            admin.script_flush()
        hud.log({"later": 1})
        client.wait(lambda seen: any(shows(data, "later") for data in seen.events), "the entry after the loss", 10)


def shows(event: Any, field: str) -> bool:
    """Whether an event has a field, by itself or in a snapshot's state."""
    return isinstance(event.data, dict) and (field in event.data or field in event.data.get("state", {}))


def test_a_publisher_cannot_read_streams(locked: Locked) -> None:
    with (
        redis.Redis.from_url(locked.url("publisher")) as client,
        pytest.raises(redis.exceptions.NoPermissionError),
    ):
        client.xrange("hud:{default}:s:1:metrics")


@pytest.mark.parametrize("url_user", ["", "default", "web"])
def test_without_the_right_password_nobody_gets_in(locked: Locked, url_user: str) -> None:
    with (
        redis.Redis.from_url(locked.url(url_user, password="wrong")) as client,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        client.ping()


def test_without_any_password_nobody_gets_in(locked: Locked) -> None:
    with socket.create_connection(("127.0.0.1", locked.port)) as link:
        link.sendall(b"GET hud:{default}:lock\r\n")
        assert link.recv(7) == b"-NOAUTH"


def test_the_probe_can_do_nothing_but_ping(locked: Locked) -> None:
    with (
        redis.Redis.from_url(locked.url("probe", password="any")) as client,
        pytest.raises(redis.exceptions.NoPermissionError),
    ):
        client.get("hud:{default}:lock")


def test_a_password_that_would_break_the_list_of_users_is_refused(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "k8s/base/redis/start.sh"
    for bad in ("", "two words", "a\nuser evil on nopass +@all"):
        environment = os.environ | {"RUN_FOLDER": str(tmp_path), "PUBLISHER_PASSWORD": "p", "ADMIN_PASSWORD": "a"}
        environment["WEB_PASSWORD"] = bad
        done = subprocess.run(["sh", str(script)], env=environment, capture_output=True, text=True, timeout=20)
        assert done.returncode == 1
        assert "expected WEB_PASSWORD" in done.stderr
