"""The commands that ask a running server: what scripts get, and what is said when something is in the way."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hud_web.cli import main
from tests.deploy.test_doctor import serving
from tests.fixtures.servers import free_port
from tests.fixtures.web import WebServer

ASKING = ("status", "sessions", "reset", "export")


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str


Hud = Callable[..., Done]


@pytest.fixture
def hud(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hud:
    """The command, with this environment and nothing else of ours in it."""
    for name in [name for name in os.environ if name.startswith(("HUD_", "REDIS_"))]:
        monkeypatch.delenv(name)

    def run(*arguments: str, **environment: str) -> Done:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            code = main(arguments)
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def held(web: WebServer) -> WebServer:
    """A server whose channel a run holds, with three numbers."""
    session = web.post("/api/register_session", {"name": "ppo"})[1]["session_id"]
    for reward in range(3):
        web.post("/api/update_training", {"session_id": session, "data": {"reward": reward, "global_step": reward}})
    return web


def test_scripts_get_json(held: WebServer, hud: Hud) -> None:
    def asked(*arguments: str) -> Any:
        done = hud(*arguments, "--json", HUD_URL=held.url)
        assert done.err == ""
        return json.loads(done.out)

    status = asked("status")
    assert (status["session"]["name"], status["session"]["status"]) == ("ppo", "live")
    listed = asked("sessions")
    assert [session["sid"] for session in listed["sessions"]] == [status["session"]["sid"]]
    assert asked("reset")["previous_session"] == status["session"]["sid"]
    assert asked("reset")["previous_session"] is None
    after = hud("status", "--json", HUD_URL=held.url)
    assert (after.code, json.loads(after.out)["session"]["status"]) == (1, "ended")


def test_no_command_shows_the_secret_of_a_session(web: WebServer, hud: Hud) -> None:
    session = web.post("/api/register_session", {"name": "ppo", "run_id": "the-run-id"})[1]["session_id"]
    for command in ("status", "sessions", "doctor", "reset"):
        more = ("--listen", "0.1") if command == "doctor" else ()
        told = hud(command, "--json", *more, HUD_URL=web.url).out
        assert session not in told
        assert "the-run-id" not in told


def test_export_writes_csv_and_json(held: WebServer, hud: Hud, tmp_path: Path) -> None:
    csv = hud("export", HUD_URL=held.url).out
    assert "reward" in csv
    file = tmp_path / "run.json"
    assert hud("export", "--format", "json", "--output", str(file), HUD_URL=held.url).code == 0
    assert "reward" in json.dumps(json.loads(file.read_text()))


@pytest.mark.parametrize("command", ASKING)
def test_nobody_there_is_said_in_one_line(hud: Hud, command: str) -> None:
    done = hud(command, "--url", f"http://127.0.0.1:{free_port()}")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "hud up" in done.err


@pytest.mark.parametrize("command", ["status", "sessions", "reset"])
@pytest.mark.parametrize("body", [b"{}", b"[]", b"<html>", b""])
def test_another_program_is_said_in_one_line(hud: Hud, command: str, body: bytes) -> None:
    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_arguments: object) -> None:
            pass

    with serving(Other) as port:
        done = hud(command, "--url", f"http://127.0.0.1:{port}")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "expected a HUD server" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("export", "--session", "123"), 1, "404"),
        (("export", "--session", "../x"), 1, "400"),
        (("status", "--channel", "no spaces"), 2, "HUD_CHANNEL"),
        (("status", "--url", "localhost:8086"), 2, "HUD_URL"),
    ],
)
def test_what_was_asked_wrongly_is_said_in_one_line(
    standing_web: WebServer, hud: Hud, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = hud(*arguments, HUD_URL=standing_web.url)
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert words in done.err


def test_a_file_that_cannot_be_written_is_said(held: WebServer, hud: Hud) -> None:
    done = hud("export", "--output", "/no/such/folder/x.csv", HUD_URL=held.url)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "expected to write /no/such/folder/x.csv" in done.err


def test_reset_wants_the_token_where_there_is_one(serve: Any, hud: Hud) -> None:
    web = serve(environment={"HUD_TOKEN": "right"})
    for token in ({}, {"HUD_TOKEN": "wrong"}):
        done = hud("reset", HUD_URL=web.url, **token)
        assert (done.code, done.out) == (1, "")
        assert "401" in done.err
    assert hud("reset", HUD_URL=web.url, HUD_TOKEN="right").code == 0


def test_a_reader_that_has_had_enough_is_no_error(held: WebServer) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HUD_", "REDIS_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "hud_web", "export", "--url", held.url], env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(20) == 0
