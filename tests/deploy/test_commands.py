"""The commands that ask a running server: their output for scripts, and their messages for each failure."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
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
    """The result of a command."""

    code: int
    out: str
    err: str


Hud = Callable[..., Done]


@pytest.fixture
def hud(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hud:
    """The command, with this environment and no other setting of HUD."""
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
def held(standing_web: WebServer) -> WebServer:
    """A server whose channel a run holds, with three numbers; other tests left sessions there."""
    standing_web.post("/api/reset_session")
    return hold(standing_web)


def hold(web: WebServer) -> WebServer:
    session = web.post("/api/register_session", {"name": "ppo"})[1]["session_id"]
    for reward in range(3):
        web.post("/api/update_training", {"session_id": session, "data": {"reward": reward, "global_step": reward}})
    return web


def test_scripts_get_json(web: WebServer, hud: Hud) -> None:
    hold(web)

    def asked(*arguments: str) -> Any:
        done = hud(*arguments, "--json", HUD_URL=web.url)
        assert done.err == ""
        return json.loads(done.out)

    status = asked("status")
    assert (status["session"]["name"], status["session"]["status"]) == ("ppo", "live")
    assert status["figures"] == {"Env steps": 2}
    listed = asked("sessions")
    assert [session["sid"] for session in listed["sessions"]] == [status["session"]["sid"]]
    assert asked("reset")["previous_session"] == status["session"]["sid"]
    assert asked("reset")["previous_session"] is None
    after = hud("status", "--json", HUD_URL=web.url)
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
def test_a_missing_server_is_reported_in_one_line(hud: Hud, command: str) -> None:
    done = hud(command, "--url", f"http://127.0.0.1:{free_port()}")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "hud up" in done.err


@pytest.mark.parametrize("command", ["status", "sessions", "reset"])
@pytest.mark.parametrize("body", [b"{}", b"[]", b"<html>", b""])
def test_another_program_is_reported_in_one_line(hud: Hud, command: str, body: bytes) -> None:
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
    assert "no HUD server" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("export", "--session", "123"), 1, "404"),
        (("export", "--session", "../x"), 1, "400"),
        (("status", "--channel", "no spaces"), 2, "HUD_CHANNEL"),
        (("status", "--url", "localhost:8086"), 2, "HUD_URL"),
    ],
)
def test_a_wrong_argument_is_reported_in_one_line(
    standing_web: WebServer, hud: Hud, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = hud(*arguments, HUD_URL=standing_web.url)
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert words in done.err


def test_a_file_that_cannot_be_written_is_reported(held: WebServer, hud: Hud) -> None:
    done = hud("export", "--output", "/no/such/folder/x.csv", HUD_URL=held.url)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "/no/such/folder/x.csv cannot be written" in done.err


def test_reset_wants_the_token_where_there_is_one(serve: Any, hud: Hud) -> None:
    web = serve(environment={"HUD_TOKEN": "right"})
    for token in ({}, {"HUD_TOKEN": "wrong"}):
        done = hud("reset", HUD_URL=web.url, **token)
        assert (done.code, done.out) == (1, "")
        assert "401" in done.err
    assert hud("reset", HUD_URL=web.url, HUD_TOKEN="right").code == 0


def test_a_reader_that_closes_early_ends_the_export_quietly(held: WebServer) -> None:
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
    assert process.wait(20) == 141  # 128 and SIGPIPE


def command_line(*arguments: str) -> tuple[list[str], dict[str, str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HUD_", "REDIS_"))}
    return [sys.executable, "-m", "hud_web", *arguments], environment


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("status", "--json"),
        ("sessions",),
        ("channels",),
        ("reset", "--channel", "unused"),
        ("export",),
        ("doctor", "--listen", "0"),
        ("doctor", "--listen", "0", "--json"),
        ("--help",),
        ("--version",),
    ],
)
def test_a_command_whose_reader_has_gone_ends_quietly_like_one_that_the_pipe_ended(
    held: WebServer, arguments: tuple[str, ...]
) -> None:
    where = () if arguments[0].startswith("--") else ("--url", held.url)
    command, environment = command_line(*arguments, *where)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            command, env=environment, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False
        )  # fmt: skip
    finally:
        os.close(writer)
    # argparse itself ignores a closed reader of its help, if the interpreter buffers nothing (PYTHONUNBUFFERED).
    assert done.returncode == 141 or (not where and done.returncode == 0)
    assert done.stderr == b""


def test_a_full_disk_is_named_and_a_closed_output_is_no_error(held: WebServer) -> None:
    command, environment = command_line("sessions", "--url", held.url)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == b"hud: the output cannot be written: No space left on device\n"
    line = " ".join(command)
    done = subprocess.run(
        ["sh", "-c", f"exec {line} >&-"], env=environment, stderr=subprocess.PIPE, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_names_from_anybody_are_printed_as_one_printable_line_also_where_only_ascii_is_known(web: WebServer) -> None:
    evil = "\x1b]0;owned\x07\x1b[31mred\nforged \u202eline ö"
    info = {"env\x1b[2J": "Zelda\x1b[2J\u2028x"}
    assert web.post("/api/register_session", {"name": evil, "info": info, "channel": "c"})[0] == 200
    for arguments in (("status",), ("sessions",), ("doctor", "--listen", "0")):
        command, environment = command_line(*arguments, "--url", web.url, "--channel", "c")
        done = subprocess.run(
            command, env=environment | {"PYTHONIOENCODING": "ascii"}, capture_output=True, timeout=60, check=False
        )
        assert done.stderr == b""
        assert b"forged" in done.stdout
        lines = done.stdout.decode("ascii").splitlines()
        assert all(line.isprintable() for line in lines)
        assert not any(line.startswith("forged") for line in lines)


def test_an_argument_that_looks_like_an_address_is_not_repeated() -> None:
    for arguments in (("doctor", "redis://:QXZV WORD@host"), ("status", "--urk", "http://me:QXZV@host")):
        command, environment = command_line(*arguments)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert "QXZV" not in done.stderr
        assert "WORD" not in done.stderr


def test_a_server_that_drips_holds_a_command_no_longer_than_its_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            client, _address = listener.accept()
            with client, contextlib.suppress(OSError):
                client.recv(65536)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while True:
                    client.sendall(b" ")
                    time.sleep(0.1)

        threading.Thread(target=drip, daemon=True).start()
        command, environment = command_line("status", "--url", f"http://127.0.0.1:{listener.getsockname()[1]}")
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "timed out" in done.stderr


def test_a_redirect_is_not_followed_so_the_token_goes_to_no_other_server(held: WebServer) -> None:
    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"{held.url}/api/state")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        command, environment = command_line("status", "--url", f"http://127.0.0.1:{server.server_port}")
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
        server.shutdown()
    assert done.returncode == 1
    assert "answered 302" in done.stderr
