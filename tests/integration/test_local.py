"""The only `hud up` of a user: scripts find it without a variable, and it explains its storage and its errors."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hud_publisher import Publisher
from hud_publisher.protocol.settings import Settings
from hud_publisher.protocol.transport import local_redis
from hud_publisher.protocol.transport.local_redis import find_local_redis, local_folder
from hud_web.cli import main
from hud_web.command.folder_lock import running_page
from hud_web.settings import WebSettings
from tests.fixtures.servers import Server, die_with_parent, free_port, redis_binary, running
from tests.fixtures.up import Up, start_up
from tests.fixtures.web import poll


@pytest.fixture
def no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "HUD_REDIS_URL", "HUD_URL"):
        monkeypatch.delenv(name, raising=False)


SCRIPT = """
from hud_publisher import Publisher
hud = Publisher(name="plain script")
hud.log({"reward": 1.5}, step=1)
hud.close()
print(hud.status, hud.stats.sent)
"""


def run_script(runtime: Path, **environment: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HUD_", "REDIS_"))}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=inherited | {"XDG_RUNTIME_DIR": str(runtime)} | environment,
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_a_script_without_a_variable_publishes_to_the_hud_up_next_door_and_says_so(up: Callable[..., Up]) -> None:
    process, web, _redis, _folder = start_up(up)
    said = run_script(process.runtime)
    assert web.get("/api/state")[1]["state"] == {"reward": 1.5}
    assert said.count("HUD: publishing to unix://") == 1
    assert "channel default" in said


def test_without_a_hud_up_one_line_says_how(up: Callable[..., Up], tmp_path: Path) -> None:
    said = run_script(tmp_path)
    assert said.count("HUD is disabled") == 1
    assert "Start `hud up` before this program, or set HUD_URL" in said


def test_the_line_names_the_choice_where_both_addresses_are_set(redis_server: Server, tmp_path: Path) -> None:
    said = run_script(tmp_path, REDIS_URL=redis_server.url, HUD_URL="http://user-of-hud:8086")
    assert f"HUD: publishing to {redis_server.url}, channel default (REDIS_URL takes precedence over HUD_URL" in said
    assert "HUD_REDIS_URL" in said
    said = run_script(tmp_path, HUD_REDIS_URL=redis_server.url, REDIS_URL="celery://x", HUD_URL="http://user-of-hud")
    assert f"HUD: publishing to {redis_server.url}, channel default\n" in said


@pytest.mark.usefixtures("no_address")
@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_folder_that_others_can_enter_is_not_trusted(tmp_path: Path, mode: int) -> None:
    folder = Path("/tmp") / f"hud-test-{os.getpid()}"
    (folder / "hud").mkdir(parents=True)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "hud/redis.sock"))
            listener.listen()
            settings = Settings(runtime_dir=str(folder))
            (folder / "hud").chmod(0o700)
            assert find_local_redis(settings) == f"unix://{folder}/hud/redis.sock"
            (folder / "hud").chmod(mode)
            assert find_local_redis(settings) is None
    finally:
        (folder / "hud/redis.sock").unlink()
        (folder / "hud").rmdir()
        folder.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
@pytest.mark.parametrize("part", ["hud", "hud/redis.sock"])
def test_a_folder_or_socket_of_another_user_is_not_trusted(part: str) -> None:
    folder = Path("/tmp") / f"hud-test-{os.getpid()}"
    (folder / "hud").mkdir(parents=True, mode=0o700)
    (folder / "hud").chmod(0o700)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "hud/redis.sock"))
            listener.listen()
            os.chown(folder / part, 65534, 65534)
            assert find_local_redis(Settings(runtime_dir=str(folder))) is None
    finally:
        (folder / "hud/redis.sock").unlink()
        (folder / "hud").rmdir()
        folder.rmdir()


def test_hud_up_refuses_a_folder_of_somebody_else_or_open_to_others(up: Callable[..., Up], tmp_path: Path) -> None:
    folder = Path("/tmp") / f"hud-test-{os.getpid()}"
    (folder / "hud").mkdir(parents=True)
    (folder / "hud").chmod(0o777)
    try:
        process = up("up", "--port", "0", XDG_RUNTIME_DIR=str(folder))
        said = process.finish()
    finally:
        (folder / "hud").rmdir()
        folder.rmdir()
    assert process.process.returncode == 2
    assert said.count("\n") == 1
    assert "chmod 700" in said


def test_a_path_too_long_for_a_socket_is_named(up: Callable[..., Up], tmp_path: Path) -> None:
    process = up("up", "--port", "0", XDG_RUNTIME_DIR=str(tmp_path / ("x" * 100)))
    assert "103 bytes" in process.finish()
    assert process.process.returncode == 2


def test_a_second_hud_up_names_the_running_one_and_the_remedy_in_one_line(up: Callable[..., Up]) -> None:
    first, web, _redis, _folder = start_up(up)
    second = up("up", "--port", "0", XDG_RUNTIME_DIR=str(first.runtime))
    said = second.finish()
    assert second.process.returncode == 2
    assert said.count("hud: another `hud up`") == 1
    assert f"process {first.process.pid}, page http://localhost:{web.port}, runs in {first.runtime}/data/hud" in said
    assert web.get("/ready")[0] == 200
    # The proposed remedy works.
    third = up("up", "--port", "0", XDG_RUNTIME_DIR=str(first.runtime), REDIS_URL=f"unix://{first.socket}")
    other = third.web
    poll(lambda: other.get("/ready")[0] == 200, "the second page to be ready")


def test_the_commands_ask_the_hud_up_of_this_user_on_any_port(
    up: Callable[..., Up], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, web, _redis, _folder = start_up(up)
    monkeypatch.delenv("HUD_URL", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(process.runtime))
    assert main(["channels"]) == 0
    assert f"no run has published to http://localhost:{web.port} recently" in capsys.readouterr().out
    process.process.kill()
    process.process.wait(10)
    assert running_page(WebSettings.from_env()) is None  # the default address is asked again


def test_without_a_variable_the_folder_of_the_login_session_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_redis, "_USUAL", str(tmp_path))
    assert local_folder(Settings()) == Path(tempfile.gettempdir()) / f"hud-{os.geteuid()}"
    usual = tmp_path / str(os.geteuid())
    usual.mkdir(mode=0o700)
    assert local_folder(Settings()) == usual / "hud"
    usual.chmod(0o755)  # another user could have made it
    assert local_folder(Settings()) == Path(tempfile.gettempdir()) / f"hud-{os.geteuid()}"
    assert local_folder(Settings(runtime_dir="/run/mine")) == Path("/run/mine/hud")


def test_the_end_of_hud_up_says_that_its_runs_are_gone(up: Callable[..., Up]) -> None:
    process, _web, _redis, _folder = start_up(up, "--memory")
    process.read_until("Runs are lost when this ends")
    process.process.send_signal(signal.SIGINT)
    process.read_until("the runs in it are gone")


def test_an_exported_address_stays_right_for_the_next_hud_up(up: Callable[..., Up]) -> None:
    first, _web, _redis, _folder = start_up(up)
    url = f"unix://{first.socket}"
    first.process.send_signal(signal.SIGINT)
    first.process.wait(30)
    # The same terminal, with REDIS_URL still exported.
    second = up("up", "--port", "0", XDG_RUNTIME_DIR=str(first.runtime), REDIS_URL=url)
    web = second.web
    poll(lambda: web.get("/ready")[0] == 200, "the page to be ready")
    assert "HUD: publishing to unix://" in run_script(first.runtime, REDIS_URL=url)
    assert web.get("/api/state")[1]["state"] == {"reward": 1.5}


def test_a_dead_redis_is_named_at_once_with_its_fix_and_again_when_it_works(
    up: Callable[..., Up], tmp_path: Path
) -> None:
    with running(redis_binary(), tmp_path / "redis") as redis:
        redis.kill()
        process = up("up", "--port", "0", REDIS_URL=redis.url)
        process.read_until(r"no program listens at redis://127\.0\.0\.1:\d+/0\. Fix: .*correct REDIS_URL")
        redis.start()
        process.read_until(r"redis://127\.0\.0\.1:\d+/0 works again")
        redis.kill()
        process.read_until(r"no program listens at")


def test_a_dead_socket_of_an_earlier_version_is_named_with_the_way_back(up: Callable[..., Up], tmp_path: Path) -> None:
    process = up("up", "--port", "0", REDIS_URL=f"unix://{tmp_path}/hud-redis-abc/redis.sock")
    process.read_until(r"no program listens at unix://.*without REDIS_URL `hud up` starts one")


@pytest.mark.parametrize(
    ("options", "url", "said"),
    [
        (
            ("--requirepass", "right"),
            "redis://:QXZVwrong@127.0.0.1:{port}/0",
            "refuses the default user with",
        ),
        (("--requirepass", "right"), "redis://127.0.0.1:{port}/0", "requires a password"),
        (("--replicaof", "127.0.0.1", "1"), "redis://127.0.0.1:{port}/0", "is a replica and refuses writes"),
        ((), "rediss://127.0.0.1:{port}/0", "does not speak TLS"),
        (("--maxmemory", "1"), "redis://127.0.0.1:{port}/0", "Redis is full"),
    ],
)
def test_hud_serve_says_why_redis_cannot_be_used(
    up: Callable[..., Up], tmp_path: Path, options: tuple[str, ...], url: str, said: str
) -> None:
    with running_without_a_check(tmp_path, options) as port:
        process = up("serve", "--port", "0", REDIS_URL=url.format(port=port))
        process.read_until(said)
        assert "QXZV" not in "".join(process.lines)


def is_listening(port: int | None) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def running_without_a_check(folder: Path, options: tuple[str, ...]) -> Iterator[int]:
    """A Redis that answers PING with an error, so that `running` would report a failed start."""
    port = free_port()
    command = [redis_binary(), "--port", str(port), "--dir", str(folder), "--save", "", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=die_with_parent)

    try:
        poll(lambda: is_listening(port), "Redis to listen")
        yield port
    finally:
        process.kill()
        process.wait()


def test_the_printed_link_opens_in_a_browser_although_viewing_needs_a_token(up: Callable[..., Up]) -> None:
    process = up("up", "--port", "0", HUD_VIEW_TOKEN="lo&ok,other")
    link = process.read_until(r"HUD  (http://\S+)")[1]
    assert link.endswith("/?token=lo%26ok")
    parts = urlsplit(link)
    process.read_until("export HUD_URL")
    poll(lambda: is_listening(parts.port), "the page")
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=10)
    connection.request("GET", f"{parts.path}?{parts.query}")
    response = connection.getresponse()
    response.read()
    assert response.status == 303
    connection.request("GET", "/", headers={"Cookie": (response.headers["Set-Cookie"] or "").split(";")[0]})
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize(
    "environment", [{"HUD_LOG_FORMAT": "json"}, {"HUD_HOST": "0.0.0.0", "HUD_TOKEN": "write-QXZV"}]
)
def test_a_viewing_token_stays_out_of_output_that_a_cluster_collects(
    up: Callable[..., Up], redis_server: Server, environment: dict[str, str]
) -> None:
    process = up("serve", "--port", "0", HUD_VIEW_TOKEN="look-QXZV", REDIS_URL=redis_server.url, **environment)
    process.read_until("HUD_VIEW_TOKEN")
    process.process.send_signal(signal.SIGTERM)
    assert "QXZV" not in "".join(process.lines) + process.finish()


@pytest.mark.usefixtures("no_address")
def test_a_publisher_whose_redis_is_dead_says_so_at_once_and_again_when_it_works(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(redis_binary(), tmp_path / "redis") as redis:
        redis.kill()
        hud = Publisher(redis_url=redis.url)
        hud.log({"n": 1})
        poll(lambda: "does not answer" in caplog.text, "the trouble to be logged", timeout_s=5)
        redis.start()
        poll(lambda: "HUD: publishing to redis://127.0.0.1" in caplog.text, "the recovery to be logged", timeout_s=15)
        hud.close()
    assert caplog.text.count("does not answer") == 1


@pytest.mark.usefixtures("no_address")
def test_a_publisher_names_each_kind_of_unusable_address_within_its_first_call_and_no_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        running_without_a_check(tmp_path, ("--requirepass", "right")) as port,
        socket.create_server(("127.0.0.1", free_port())) as mute,  # its connections are accepted and never answered
        other_program() as other,
        contextlib.ExitStack() as stack,
    ):
        quiet = mute.getsockname()[1]
        expected = {
            "redis://:QXZV@127.0.0.1:9/0": "Connection refused",
            "redis://:QXZV@no-such-host.invalid/0": "no-such-host.invalid:6379",
            f"redis://:QXZV@127.0.0.1:{quiet}/0": "TimeoutError",
            f"redis://:QXZV@127.0.0.1:{port}/0": "refused the user or password",
            f"rediss://:QXZV@127.0.0.1:{port}/0": "SSL",
            f"redis://:QXZV@127.0.0.1:{other}/0": "InvalidResponse",
            "http://127.0.0.1:9": "Connection refused",
            "http://no-such-host.invalid": "Name or service not known",
            f"http://127.0.0.1:{quiet}": "timed out",
            f"https://127.0.0.1:{other}": "SSL",
            f"http://127.0.0.1:{other}": "answered 501",
        }
        for url in expected:
            hud = Publisher(**{"redis_url" if url.startswith("redis") else "hud_url": url}, token="QXZV")
            stack.callback(hud.close, 0.1)
            assert hud.log({"n": 1}) is None
        poll(lambda: len(caplog.messages) >= len(expected), "each to be reported", timeout_s=15)
    assert "QXZV" not in caplog.text
    for words in expected.values():
        assert any(words in text and "hud doctor" in text for text in caplog.messages), (words, caplog.text)


@contextlib.contextmanager
def other_program() -> Iterator[int]:
    """A server that is neither Redis nor a HUD."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), http.server.SimpleHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_server_with_an_address_that_never_answers_says_so_before_it_knows_why(up: Callable[..., Up]) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as mute:
        url = f"redis://:QXZV@127.0.0.1:{mute.getsockname()[1]}/0"
        process = up("serve", "--port", "0", REDIS_URL=url)
        web = process.web
        process.read_until(r"redis://127\.0\.0\.1:\d+/0 has not answered for 1\.5 s\. Fix: .* The page starts")
        assert web.get("/ready")[1]["redis_trouble"]["cause"] == "redis-silent"
        assert web.get("/")[0] == 200
        assert "QXZV" not in "".join(process.lines)


def test_a_redis_that_repeats_the_password_in_its_error_does_not_bring_it_into_any_output(
    up: Callable[..., Up], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running_without_a_check(tmp_path, ("--rename-command", "AUTH", "")) as port:
        url = f"redis://user:QXZVWORDS@127.0.0.1:{port}/0"
        process = up("serve", "--port", "0", REDIS_URL=url)
        web = process.web
        process.read_until(r"redis://127\.0\.0\.1")
        told = [web.get("/ready"), web.get("/api/state"), web.get("/api/sessions")]
        doctor = up("doctor", "--json", REDIS_URL=url)
        said = doctor.finish()
        hud = Publisher(redis_url=url)
        hud.log({"n": 1})
        poll(lambda: "HUD: " in caplog.text, "the publisher to complain")
        hud.close(0.1)
        process.process.send_signal(signal.SIGTERM)
        said += "".join(process.lines) + process.finish() + caplog.text + str(told)
    assert "unknown command" in said
    assert "QXZV" not in said


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (("--host", "203.0.113.7", "--port", "0", "--insecure"), "--host"),
        (("--host", "no such host", "--port", "0", "--insecure"), "--host"),
        (("--port", "{taken}"), "--port"),
        (("--port", "0", "--view-port", "{taken}"), "--view-port"),
    ],
)
def test_an_address_that_cannot_be_listened_on_is_named_with_a_fix_that_helps(
    up: Callable[..., Up], arguments: tuple[str, ...], fix: str
) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = str(taken.getsockname()[1])
        process = up("serve", *(word.format(taken=port) for word in arguments), REDIS_URL="redis://127.0.0.1:9/0")
        said = process.finish().splitlines()[-1]
    assert process.process.returncode == 2
    assert f" {fix}" in said
    assert (port in said) == ("{taken}" in arguments)


@pytest.mark.parametrize(
    "environment",
    [{"HUD_HOST": "127.0.0.2"}, {"HUD_ALLOWED_HOSTS": "127.0.0.1"}, {"HUD_HOST": "::1"}, {"HUD_HOST": "localhost"}],
    ids=lambda environment: "-".join(environment.values()),
)
def test_the_printed_address_is_one_that_the_server_answers_to(
    up: Callable[..., Up], redis_server: Server, environment: dict[str, str]
) -> None:
    process = up("serve", "--port", "0", REDIS_URL=redis_server.url, **environment)
    parts = urlsplit(process.read_until(r"HUD  (http://\S+)")[1])

    def status() -> int:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    assert poll(status, "an answer") == 200
