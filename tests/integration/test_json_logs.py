"""With HUD_LOG_FORMAT=json every line of the server, on both outputs, is a JSON object."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest

from tests.fixtures.servers import Server, free_port
from tests.fixtures.web import poll

ERRORS = """
import asyncio, gc, sys, threading, warnings
from hud_web import cli
from hud_web.command import server

async def misbehave():
    warnings.warn("a warning of Python\\nwith two lines")
    context = {"message": "asyncio complains", "exception": ValueError("x\\ny")}
    asyncio.get_running_loop().call_exception_handler(context)
    threading.Thread(target=lambda: 1 / 0).start()
    class Bad:
        def __del__(self):
            raise RuntimeError("in a finalizer")
    Bad()
    await asyncio.sleep(3600)

serve = server.serve
server.serve = lambda settings, listener, companions=(), **rest: serve(settings, listener, [misbehave], **rest)
sys.exit(cli.main(["serve", "--port", sys.argv[1]]))
"""


def parse(output: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in output.splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    return lines


def environment(**more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HUD_", "REDIS_"))}
    return inherited | {"HUD_LOG_FORMAT": "json"} | more


@pytest.mark.parametrize("level", ["info", "debug"])
def test_garbage_on_the_port_and_errors_of_every_kind_are_json(redis_server: Server, level: str) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", ERRORS, str(port)],
        env=environment(REDIS_URL=redis_server.url, HUD_LOG_LEVEL=level),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip

    def talk(data: bytes) -> bool:
        with socket.socket() as link:
            if link.connect_ex(("127.0.0.1", port)):
                return False
            link.settimeout(2)
            with contextlib.suppress(OSError):  # the server may close the connection at once
                link.sendall(data)
                link.recv(4096)
            return True

    try:
        poll(lambda: talk(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"), "the server")
        for garbage in (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
            assert talk(garbage)
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=60)[0]
    finally:
        process.kill()
        process.communicate()
    messages = " ".join(f"{line['message']} {line.get('error', '')}" for line in parse(output))
    for words in ("a warning of Python", "asyncio complains", "ZeroDivisionError", "in a finalizer", "HUD  http://"):
        assert words in messages
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "more", "words"),
    [
        (["serve"], {}, "REDIS_URL"),
        (["serve", "--port", "no"], {"REDIS_URL": "redis://x"}, "HUD_PORT"),
        (["serve", "--no-such-option"], {}, "no-such-option"),
        (["serve"], {"REDIS_URL": "redis://x", "HUD_HOST": "0.0.0.0"}, "HUD_TOKEN"),
        (["serve", "--port", "1"], {"REDIS_URL": "redis://x", "HUD_HOST": "203.0.113.1", "HUD_TOKEN": "t"}, "HUD_HOST"),
    ],
)
def test_an_error_at_the_start_is_json(arguments: list[str], more: dict[str, str], words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hud_web", *arguments],
        env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = parse(done.stdout)
    assert words in line["message"]
    assert line["level"] == "error"
