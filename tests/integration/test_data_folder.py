"""The folder in which `hud up` keeps its runs: failures that it survives, files that it refuses, and its messages."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from hud_publisher import Publisher
from hud_publisher.protocol.errors import ConfigError, UnavailableError
from hud_web.cli import main
from hud_web.command import embedded
from hud_web.command.data_folder import default_folder
from hud_web.command.embedded import EmbeddedRedis
from hud_web.settings import WebSettings
from tests.fixtures.servers import redis_binary, valkey_binary
from tests.fixtures.up import Up, start_up
from tests.fixtures.web import poll


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a path that is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="hud-data-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def kept(place: Path) -> Callable[..., EmbeddedRedis]:
    """Make the Redis of a `hud up`; `runtime` names the folder of its socket."""

    def make(runtime: str = "run") -> EmbeddedRedis:
        return EmbeddedRedis(WebSettings(runtime_dir=str(place / runtime)), place / "data")

    return make


def client(one: EmbeddedRedis) -> redis.Redis:
    return redis.Redis.from_url(one.url)


def fill(make: Callable[..., EmbeddedRedis], count: int = 100) -> None:
    with make() as one, client(one) as direct:
        for n in range(count):
            direct.xadd("s", {"n": n})


def newest_part(folder: Path) -> Path:
    return max((folder / "data/appendonlydir").glob("*.incr.aof"))


def test_it_keeps_everything_in_a_folder_that_only_this_user_can_read(
    kept: Callable[..., EmbeddedRedis], place: Path
) -> None:
    fill(kept)
    assert (place / "data").stat().st_mode & 0o777 == 0o700
    assert not [path for path in (place / "data").rglob("*") if path.stat().st_mode & 0o077]
    with kept() as one, client(one) as direct:
        assert direct.xlen("s") == 100


def test_an_entry_that_was_being_written_is_left_out_and_the_others_stay(
    kept: Callable[..., EmbeddedRedis], place: Path
) -> None:
    fill(kept)
    part = newest_part(place)
    os.truncate(part, part.stat().st_size - 5)
    with kept() as one, client(one) as direct:
        assert direct.xlen("s") == 99


def test_files_that_cannot_be_read_are_named_with_the_repair_and_not_touched(
    kept: Callable[..., EmbeddedRedis], place: Path
) -> None:
    fill(kept)
    part = newest_part(place)
    data = bytearray(part.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    part.write_bytes(data)
    with pytest.raises(UnavailableError, match="nothing was deleted") as raised, kept():
        pass
    assert f"redis-check-aof --fix {place}/data/appendonlydir/hud.aof.manifest" in str(raised.value)
    assert "--data" in str(raised.value)
    assert "Bad file format" in str(raised.value)
    assert part.read_bytes() == data


def test_runs_that_a_newer_server_wrote_are_read_by_the_next_server_of_the_machine(
    kept: Callable[..., EmbeddedRedis], monkeypatch: pytest.MonkeyPatch
) -> None:
    newer, older = Path(valkey_binary()), Path(redis_binary())
    monkeypatch.setattr(embedded, "find_servers", lambda: [newer])
    fill(kept)
    monkeypatch.setattr(embedded, "find_servers", lambda: [older, newer])
    with kept() as one, client(one) as direct:
        assert direct.xlen("s") == 100
    monkeypatch.setattr(embedded, "find_servers", lambda: [older])
    with pytest.raises(UnavailableError, match="use the server that wrote them"), kept():
        pass


def test_a_redis_that_would_start_without_the_runs_is_not_used(
    kept: Callable[..., EmbeddedRedis], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(kept)
    old = place / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.2.7 sha=00000000:0 malloc=jemalloc-5.1.0 bits=64'\n")
    old.chmod(0o755)
    monkeypatch.setattr(embedded, "find_servers", lambda: [old])
    with pytest.raises(UnavailableError, match="older than Redis 7"), kept():
        pass


def test_files_of_another_redis_in_the_folder_stay_untouched(kept: Callable[..., EmbeddedRedis], place: Path) -> None:
    other = place / "data/appendonlydir/appendonly.aof.1.incr.aof"
    other.parent.mkdir(parents=True)
    other.write_text("*2\r\n$3\r\nDEL\r\n$1\r\ns\r\n")
    (place / "data").chmod(0o700)
    fill(kept)
    with kept() as one, client(one) as direct:
        assert direct.keys() == [b"s"]
    assert other.exists()


def test_leftovers_of_a_rewrite_that_was_killed_are_removed(kept: Callable[..., EmbeddedRedis], place: Path) -> None:
    fill(kept)
    (place / "data/temp-rewriteaof-bg-4242.aof").write_bytes(bytes(1000))
    fill(kept)
    assert not list((place / "data").glob("temp-*"))


def test_two_cannot_use_one_folder_even_with_different_sockets(kept: Callable[..., EmbeddedRedis], place: Path) -> None:
    with kept() as one:
        one.tell("http://localhost:4242")
        with pytest.raises(ConfigError) as raised, kept("another"):
            pass
    for words in (str(os.getpid()), "http://localhost:4242", f"{place}/data", f"REDIS_URL={one.url} hud up --port 0"):
        assert words in str(raised.value)


@pytest.mark.parametrize(
    ("mode", "words"), [(0o777, "other users can write into"), (0o720, "other users can write into")]
)
def test_a_folder_that_others_can_write_into_is_refused(
    kept: Callable[..., EmbeddedRedis], place: Path, mode: int, words: str
) -> None:
    (place / "data").mkdir()
    (place / "data").chmod(mode)
    with pytest.raises(ConfigError, match=words), kept():
        pass


def test_a_folder_that_cannot_be_made_is_named_with_the_other_choices(place: Path) -> None:
    (place / "file").write_text("")
    with (
        pytest.raises(ConfigError, match=r"cannot be made \(Not a directory\).*--data.*--memory"),
        EmbeddedRedis(WebSettings(runtime_dir=str(place)), place / "file/data"),
    ):
        pass


def test_the_default_folder_is_the_one_of_the_xdg_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_folder(WebSettings(data_home="/data")) == Path("/data/hud")
    assert default_folder(WebSettings(data_home="relative")) == Path("/home/someone/.local/share/hud")
    assert default_folder(WebSettings()) == Path("/home/someone/.local/share/hud")


def test_a_folder_and_the_address_of_a_redis_contradict_each_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    for options in (["--data", str(tmp_path)], ["--memory"]):
        assert main(["up", "--port", "0", *options]) == 2
        assert "REDIS_URL names another" in capsys.readouterr().err


def test_a_program_that_outlives_hud_up_goes_on_in_its_session_with_the_next_one(up: Callable[..., Up]) -> None:
    first, web, _redis, folder = start_up(up)
    hud = Publisher(redis_url=f"unix://{first.socket}", run_id="lives-on")
    gone = Publisher(redis_url=f"unix://{first.socket}", run_id="gone", channel="gone")
    for one in (hud, gone):
        one.log({"n": 1})
        poll(lambda one=one: one.stats.sent.get("metrics"), "the first entry")
    sid = web.get("/api/state")[1]["session"]["sid"]
    first.process.kill()
    first.process.wait(10)
    gone.close(0.1)
    hud.log({"n": 2})
    second, web, _redis, same = start_up(
        up, XDG_RUNTIME_DIR=str(first.runtime), XDG_DATA_HOME=str(first.runtime / "data"), HUD_SESSION_TTL="1"
    )
    assert same == folder
    poll(lambda: web.get("/api/state")[1]["state"] == {"n": 2}, "the entry after the restart")
    assert web.get("/api/state")[1]["session"]["sid"] == sid
    assert web.get("/api/history")[1]["series"]["n"]["value"] == [1, 2]
    with redis.Redis(unix_socket_path=str(first.socket)) as direct:
        direct.delete("hud:{gone}:lock")  # its lease ends 30 s after its last write
    lost = web.get("/api/state?channel=gone")[1]
    assert (lost["session"]["status"], lost["state"]) == ("lapsed", {"n": 1})
    hud.close()
    second.process.terminate()
    assert f"The runs are kept in {folder}: the next `hud up` shows them." in second.finish()
