"""`GET /api/channels` and `hud channels` on a real replica and a real Redis."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import redis

from hud_publisher.protocol.keys import CHANNELS
from hud_web.cli import main
from hud_web.command import admin
from tests.fixtures.redundant import running_cluster
from tests.fixtures.web import WebServer, poll


def test_the_channels_in_use_are_listed_with_their_newest_sessions(web: WebServer) -> None:
    assert web.get("/api/channels") == (200, {"channels": [], "total": 0, "next_offset": None})
    first = web.post("/api/register_session", {"channel": "team-a", "name": "PPO on Breakout"})[1]
    web.post("/api/register_session", {"channel": "team-b", "name": "DQN on Pong"})
    assert web.post("/api/release_session", {"session_id": first["session_id"]})[0] == 200
    answer = web.get("/api/channels")[1]
    found = {channel["name"]: channel for channel in answer["channels"]}
    assert answer["total"] == 2
    assert (found["team-b"]["active"], found["team-b"]["session"]["status"]) == (True, "live")
    assert (found["team-a"]["active"], found["team-a"]["session"]["status"]) == (False, "ended")
    assert found["team-a"]["session"]["name"] == "PPO on Breakout"
    assert found["team-a"]["session"]["sid"] == str(first["fence"])
    assert found["team-a"]["last_activity_ms"] >= found["team-a"]["session"]["started_ms"]
    assert first["session_id"] not in json.dumps(answer)


def test_channels_come_in_pages_newest_activity_first(web: WebServer, redis_server: object) -> None:
    with redis.Redis.from_url(web.redis_url) as direct:
        direct.zadd(CHANNELS, {f"c{n}": 1_000_000 + n for n in range(25)})
    first = web.get("/api/channels?limit=10")[1]
    last = web.get("/api/channels?limit=10&offset=20")[1]
    assert [channel["name"] for channel in first["channels"]] == [f"c{n}" for n in range(24, 14, -1)]
    assert (first["total"], first["next_offset"]) == (25, 10)
    assert [channel["name"] for channel in last["channels"]] == [f"c{n}" for n in range(4, -1, -1)]
    assert last["next_offset"] is None
    about = {"active": False, "last_activity_ms": 1_000_004, "session": None, "verdict": None}
    assert last["channels"][0] == {"name": "c4"} | about


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "offset=-1", "offset=100000"])
def test_a_page_that_cannot_be_is_refused(standing_web: WebServer, query: str) -> None:
    assert standing_web.get(f"/api/channels?{query}")[0] == 400


def test_the_command_prints_a_table_of_the_channels(web: WebServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["channels", "--url", web.url]) == 0
    assert "no run has published" in capsys.readouterr().out
    web.post("/api/register_session", {"channel": "team-a", "name": "PPO on Breakout"})
    with redis.Redis.from_url(web.redis_url) as direct:
        direct.zadd(CHANNELS, {"an-older-channel": 1_000_000})
    assert main(["channels", "--url", web.url]) == 0
    names, newest, older, link = capsys.readouterr().out.splitlines()
    assert names.split() == ["CHANNEL", "STATE", "RUN", "SINCE", "ACTIVE", "VERDICT"]
    assert newest[: names.index("RUN")].split() == ["team-a", "live"]
    assert newest[names.index("RUN") :].startswith("PPO on Breakout")
    assert older.split()[:2] == ["an-older-channel", "no"]
    assert link.endswith(f"{web.url}/?channel=team-a")
    assert main(["channels", "--url", web.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"] == 2


def test_the_command_prints_the_sessions_of_all_channels_newest_first(
    web: WebServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "_RUNS_AT_ONCE", 2)
    assert main(["sessions", "--all", "--url", web.url]) == 0
    assert "no run has published" in capsys.readouterr().out
    for channel in ("team-a", "team-b", "team-c"):
        web.post("/api/register_session", {"channel": channel, "name": f"run of {channel}"})
        time.sleep(0.002)  # sessions are ordered by the millisecond of their start
    web.post("/api/reset_session", {"channel": "team-b"})
    assert poll(lambda: len(web.get("/api/runs")[1]["runs"]) == 3, "the index of runs")
    assert main(["sessions", "--all", "--url", web.url]) == 0
    names, *lines = capsys.readouterr().out.splitlines()
    assert names.split() == ["CHANNEL", "SESSION", "STATE", "RUN", "SINCE", "VERDICT"]
    assert [line.split()[0] for line in lines] == ["team-c", "team-b", "team-a"]
    assert [line.split()[2] for line in lines] == ["live", "ended", "live"]
    assert main(["sessions", "--all", "--url", web.url, "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [run["name"] for run in runs] == ["run of team-c", "run of team-b", "run of team-a"]


def test_a_cluster_lists_channels_and_sessions_of_all_its_nodes(
    tmp_path: Path, serve: object, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_cluster(tmp_path) as cluster:
        web = serve(redis_url=cluster.url)  # type: ignore[operator]
        for name in ("a", "b", "c", "d", "e"):
            assert web.post("/api/register_session", {"channel": name, "name": f"run {name}"})[0] == 200
        channels = web.get("/api/channels")[1]["channels"]
        assert {channel["name"]: channel["session"]["name"] for channel in channels} == {
            name: f"run {name}" for name in ("a", "b", "c", "d", "e")
        }
        for command in (["channels"], ["sessions", "--all"]):
            assert main([*command, "--url", web.url]) == 0
            told = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
            assert {"a", "b", "c", "d", "e"} <= told
