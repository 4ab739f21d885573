"""Alerts against a real Redis and a real receiver: each arrives once, whatever replicas and receivers do."""

from __future__ import annotations

import base64
import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from hud_publisher import Publisher
from hud_web.alerts.target import Picture, make_target
from tests.fixtures.publishing import JPEG
from tests.fixtures.receiver import Mode, Receiver
from tests.fixtures.servers import Server, wait_until
from tests.fixtures.web import WebServer

SECRET = "planted-secret-4711"


def write_config(folder: Path, receiver: Receiver) -> str:
    path = folder / "alerts.toml"
    path.write_text(f"""
targets = ["{receiver.url(SECRET).replace('://', f'://user:{SECRET}@')}?+X-Token={SECRET}"]
link = "https://hud.example.org"
group_s = 0
[[rule]]
pattern = ["nan", "alert"]
""")  # fmt: skip
    return str(path)


def test_an_alert_of_a_run_reaches_the_receiver_and_no_secret_reaches_anything_else(
    redis_server: Server, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.choose = lambda: "accept" if receiver.attempts > 1 else "refuse"
    environment = {"HUD_ALERTS": write_config(tmp_path, receiver), "HUD_LOG_LEVEL": "debug"}
    web = WebServer(redis_server.url, environment=environment)
    with contextlib.closing(web), Publisher(redis_url=redis_server.url, frames="always", name="my @here run") as hud:
        hud.frame(JPEG, step=1, data={"loss": 1.0})
        wait_until(lambda: hud.sid, "the session")
        hud.log({"loss": float("nan")}, step=2)
        wait_until(lambda: receiver.accepted, "the alert")
        message = receiver.accepted[0][1]
        assert message["title"] == "HUD default: loss is NaN"
        run, at, link = message["message"].splitlines()
        assert run == "Run my @\u200bhere run, channel default"
        assert at.endswith("UTC, step 2: loss is NaN")
        assert link.startswith(f"https://hud.example.org/?channel=default&session={hud.sid}&t=17")
        hud.alert(f"Found @all with password={SECRET}", title="Sword")
        wait_until(lambda: "Sword" in receiver.texts()[-1], "the alert of training")
        assert "Sword: Found @\u200ball with" in receiver.texts()[-1]
        figures = web.get("/metrics")[1].decode()
        assert 'hud_alerts_total{result="failed"} ' in figures
        with redis.Redis(port=redis_server.port) as client:
            client.config_set("rdbcompression", "no")
            stored = b"".join(client.dump(key) or b"" for key in client.scan_iter("*"))
        shown = figures + str([web.get(path) for path in ("/", "/api/state", "/api/annotations", "/api/sessions")])
    log = "\n".join(web.output)
    assert "target 1 (JSON) did not take an alert" in log
    assert SECRET not in log + shown + str(receiver.accepted)
    assert SECRET.encode() not in stored


def test_the_command_tries_every_target_and_shows_no_secret(receiver: Receiver) -> None:
    gone = Receiver()
    gone.close()
    urls = f"{receiver.url(SECRET)} {gone.url(SECRET)}"
    ran = subprocess.run(
        [sys.executable, "-m", "hud_web", "alert", "test", "--channel", "team-a"],
        env={"HUD_ALERTS": urls}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.stdout.splitlines() == [
        "target 1 (JSON): delivered",
        "target 2 (JSON): failed, it refused the connection: check the host and the port, and that the receiver runs",
    ]
    assert (ran.returncode, ran.stderr) == (1, "")
    assert "team-a" in receiver.texts()[0]


def test_a_server_names_the_mistakes_of_its_alerts_and_does_not_start() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "hud_web", "serve", "--port", "0"],
        env={"HUD_ALERTS": f"nosuch://{SECRET}", "REDIS_URL": "redis://127.0.0.1:1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 2
    assert "hud: HUD_ALERTS: target 1: expected a URL of Apprise" in ran.stderr
    assert SECRET not in ran.stderr


@pytest.mark.parametrize(
    ("mode", "failure"),
    [
        ("refuse", "it answered 500: check the receiver"),
        ("redirect", "it answered 307: it redirects, which is not followed"),
        ("drop", "it closed the connection without an answer"),
    ],
)
def test_a_failure_is_named_and_a_redirect_is_not_followed(receiver: Receiver, mode: Mode, failure: str) -> None:
    inside = Receiver()
    with contextlib.closing(inside):
        receiver.choose, receiver.elsewhere = lambda: mode, inside.url(scheme="http")
        told = make_target(receiver.url(SECRET), 1).send("title", "text")
    assert told is not None
    assert told.startswith(failure)
    assert (inside.attempts, receiver.attempts) == (0, 1)


def test_a_picture_is_attached_and_a_slow_answer_is_awaited(receiver: Receiver) -> None:
    receiver.choose, receiver.slow_s = lambda: "slow", 4.5  # Apprise gives up after 4 s by default
    assert make_target(receiver.url(), 1).send("title", "text", Picture(b"frame", "image/png")) is None
    [(_mode, message)] = receiver.accepted
    [picture] = message["attachments"]
    assert (picture["filename"], picture["mimetype"]) == ("frame.png", "image/png")
    assert base64.b64decode(picture["base64"]) == b"frame"
