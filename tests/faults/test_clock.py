"""The clock of Redis' machine jumps by an hour, forward and back: leases lapse or last, entries keep their order."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hud_publisher import Publisher
from hud_publisher.sinks.redis_client import connect
from tests.faults.ledger import read_sessions
from tests.fixtures.servers import Server, valkey_binary, wait_until
from tests.fixtures.web import SseClient, WebServer


class ClockServer(Server):
    """A server whose clock is off by the offset of the last `jump`."""

    def jump(self, offset: str) -> None:
        (self.folder.parent / "offset").write_text(offset)


@pytest.fixture
def clock_server(tmp_path: Path) -> Iterator[ClockServer]:
    """A Valkey under libfaketime; Redis' own allocator does not start under it."""
    assert shutil.which("faketime"), "expected faketime on PATH: apt-get install faketime"
    [library] = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    offset, binary = tmp_path / "offset", tmp_path / "valkey-server"
    offset.write_text("+0")
    binary.write_text(
        f"#!/bin/sh\nexport LD_PRELOAD={library} FAKETIME_TIMESTAMP_FILE={offset}\n"
        f'export FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1\nexec {valkey_binary()} "$@"\n'
    )
    binary.chmod(0o755)
    server = ClockServer(str(binary), tmp_path / "valkey")
    try:
        yield server
    finally:
        server.kill()


def numbers(client: SseClient) -> list[int]:
    return [data["w"] for data in client.named("training_update")]


@pytest.mark.parametrize(
    "jumps",
    [
        pytest.param(("+1h", "+0"), marks=pytest.mark.long),
        pytest.param(("-1h", "+0"), marks=pytest.mark.long),
        ("+1h", "-1h"),
    ],
    ids=" then ".join,
)
def test_a_clock_that_jumps_neither_loses_nor_doubles_nor_reorders_an_entry(
    clock_server: ClockServer, serve: Callable[..., WebServer], watch: Callable[..., SseClient], jumps: tuple[str, ...]
) -> None:
    client = watch(serve(redis_url=clock_server.url))
    client.wait(lambda c: c.named("snapshot"), "a snapshot")
    with Publisher(redis_url=clock_server.url, run_id="run") as hud:
        count = 0

        def log_until_seen(more: int) -> None:
            nonlocal count
            goal = count + more
            while count < goal:
                count += 1
                hud.log({"w": count}, step=count)
            client.wait(lambda c: numbers(c)[-1:] == [goal], "the newest number", timeout_s=30)

        log_until_seen(30)
        for offset in jumps:
            clock_server.jump(offset)
            log_until_seen(30)
        wait_until(lambda: hud.stats.sent.get("metrics") == count, "all to be acknowledged", deadline_s=30)
        assert hud.stats.dropped == {}
    assert numbers(client) == list(range(1, count + 1))
    link = connect(clock_server.url)
    stored = [number.n for session in read_sessions(link) for _id, number in session.entries["metrics"]]
    link.close()
    assert stored == list(range(1, count + 1))
