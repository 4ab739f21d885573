"""`/api/runs`, labels and deletion on a fake Redis."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from hud_publisher.protocol.entries import Limits
from hud_publisher.protocol.errors import HudError
from hud_publisher.protocol.keys import ChannelKeys
from hud_web.http.errors import answer_hud_error
from hud_web.runs import catalogue as catalogue_module
from hud_web.runs import search
from hud_web.runs.endpoints import RunsEndpoints
from hud_web.runs.overview import Overview
from tests.unit.runs.place import Place


class Replica:
    """The endpoints of one replica."""

    def __init__(self, place: Place, tokens: tuple[str, ...] = ()) -> None:
        self.store = place.store()
        self.overview = Overview(self.store)
        endpoints = RunsEndpoints(self.store, self.overview, Limits(), tokens)
        self.app = Starlette(
            routes=[
                Route("/api/runs", endpoints.runs),
                Route("/api/runs/label", endpoints.label, methods=["POST"]),
                Route("/api/runs/delete", endpoints.delete, methods=["POST"]),
            ],
            exception_handlers={HudError: answer_hud_error},
        )

    async def ask(self, *query: tuple[str, object], **more: object) -> Any:
        text = urlencode([*query, *more.items()])
        return await self._call("GET", "/api/runs", text, b"")

    async def runs(self, *query: tuple[str, object], **more: object) -> list[Any]:
        status, body = await self.ask(*query, **more)
        assert status == 200, body
        found: list[Any] = body["runs"]
        return found

    async def post(self, path: str, **body: object) -> Any:
        return await self._call("POST", f"/api/runs/{path}", "", json.dumps(body).encode())

    async def _call(self, method: str, path: str, query: str, body: bytes) -> Any:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(),
            "headers": [], "scheme": "http", "server": ("10.0.0.1", 80), "client": ("10.0.0.2", 1),
            "http_version": "1.1",
        }  # fmt: skip
        await self.app(scope, receive, send)
        return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request looks at Redis."""
    monkeypatch.setattr(catalogue_module, "FRESH_S", 0.0)
    monkeypatch.setattr(catalogue_module, "BUSY_SHARE", 0)


def names(runs: list[Any]) -> list[str]:
    return [run["name"] for run in runs]


async def test_sessions_of_all_channels_are_listed_newest_first(place: Place) -> None:
    replica = Replica(place)
    status, nothing = await replica.ask()
    now_ms = pytest.approx(time.time() * 1000, abs=1e5)
    empty = {"runs": [], "total": 0, "next_offset": None, "columns": None}
    assert (status, nothing) == (200, empty | {"server_time_ms": now_ms})
    old = place.begin("a", name="first", info={"env": "Pong"})
    place.log(old, {"episode_return_mean": 2.5, "loss": {"total": 1}}, step=70)
    place.end(old)
    place.begin("a", name="second")
    place.begin("b~2", name="third", config={"lr": 0.1})
    first, *_rest = reversed(await replica.runs())
    assert names(await replica.runs())[-1] == "first"
    assert (first["channel"], first["sid"], first["status"], first["ended_by"]) == ("a", old[1], "ended", "released")
    assert (first["step"], first["info"], first["columns"]) == (70, {"env": "Pong"}, {})
    assert first["return"] == {"value": 2.5, "label": "Episode return (mean)", "path": "episode_return_mean"}
    assert first["last_ms"] >= first["started_ms"]
    assert {run["status"] for run in await replica.runs(channel="b~2")} == {"live"}


async def test_runs_come_in_pages_with_the_offset_of_the_next_one(place: Place) -> None:
    for number in range(5):
        place.begin(f"c{number}", name=f"run {number}")
    replica = Replica(place)
    _status, first = await replica.ask(limit=2, sort="name", order="asc")
    _status, last = await replica.ask(limit=2, offset=4, sort="name", order="asc")
    assert (names(first["runs"]), first["total"], first["next_offset"]) == (["run 0", "run 1"], 5, 2)
    assert (names(last["runs"]), last["next_offset"]) == (["run 4"], None)


async def test_what_a_live_run_logs_is_in_the_next_answer_and_so_is_its_end(place: Place) -> None:
    replica, key = Replica(place), place.begin()
    assert (await replica.runs())[0]["return"] is None
    place.log(key, {"episode_return_mean": 1.0, "num_env_steps_sampled_lifetime": 500})
    [run] = await replica.runs(column="result.episode_return_mean")
    assert (run["return"]["value"], run["step"], run["columns"]) == (1.0, 500, {"result.episode_return_mean": 1.0})
    place.log(key, {"episode_return_mean": 9.0})
    assert (await replica.runs())[0]["return"]["value"] == 9.0
    place.lapse(key)
    assert (await replica.runs())[0]["status"] == "lapsed"


async def test_columns_have_nested_paths_and_are_counted(place: Place) -> None:
    place.begin("a", name="x", config={"lr": 0.5, "model": {"sizes": [64, 64], "act": "relu"}, "none": None})
    key = place.begin("b", name="y", config={"lr": 0.25, "train": True})
    place.log(key, {"learner": {"loss": 0.125}, "phase": "learning"})
    replica = Replica(place)
    _status, body = await replica.ask(
        ("column", "config.lr"), ("column", "config.model/sizes"), ("column", "result.learner/loss"), columns=1,
        sort="name", order="asc",
    )  # fmt: skip
    assert [run["columns"] for run in body["runs"]] == [
        {"config.lr": 0.5, "config.model/sizes": "64, 64"}, {"config.lr": 0.25, "result.learner/loss": 0.125}
    ]  # fmt: skip
    assert body["columns"][0] == {"name": "config.lr", "runs": 2}
    assert {column["name"] for column in body["columns"]} == {
        "config.lr", "config.model/act", "config.model/sizes", "config.train", "result.learner/loss", "result.phase"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sort", "order", "expected"),
    [
        ("config.lr", "desc", ["high", "low", "none"]),
        ("config.lr", "asc", ["low", "high", "none"]),
        ("return", "desc", ["low", "high", "none"]),
        ("return", "asc", ["high", "low", "none"]),
        ("step", "asc", ["high", "low", "none"]),
        ("name", "asc", ["high", "low", "none"]),
        ("channel", "asc", ["low", "high", "none"]),
        ("result.text", "asc", ["high", "low", "none"]),
        ("started", "asc", ["low", "high", "none"]),
        ("duration", "asc", ["none", "high", "low"]),
        ("ended", "asc", ["low", "high", "none"]),
    ],
)
async def test_runs_are_sorted_and_those_without_a_value_come_last(
    place: Place, sort: str, order: str, expected: list[str]
) -> None:
    low = place.begin("a", name="low", config={"lr": 0.1})
    high = place.begin("b", name="high", config={"lr": 0.2})
    place.log(low, {"episode_return_mean": 5.0, "num_env_steps_sampled_lifetime": 20, "text": "b"})
    place.log(high, {"episode_return_mean": 3.0, "num_env_steps_sampled_lifetime": 10, "text": 7})
    place.begin("c", name="none")
    for number, key in enumerate((low, high)):
        place.end(key)
        place.redis.hset(place.info(key), mapping={"started": f"{number + 1}000", "ended": f"{number + 5}000"})
    place.redis.hset(place.info(high), "ended", "5500")
    assert names(await Replica(place).runs(sort=sort, order=order)) == expected


async def test_the_filter_finds_each_text_of_a_run_in_any_case(place: Place) -> None:
    first = place.begin("team-a", name="PPO on Breakout", info={"env": "ALE/Breakout-v5", "algorithm": "PPO"})
    place.begin("team-b", name="DQN", config={"lr": 0.01})
    replica = Replica(place)
    await replica.post("label", channel=first[0], session=first[1], tags=["baseline"], note="seems good")
    for pattern in ("ppo", "^PPO on", "breakout-v5$", "team-a", "baseline", "seems.good", "P{2}O|nothing"):
        assert names(await replica.runs(filter=pattern)) == ["PPO on Breakout"], pattern
    assert names(await replica.runs(filter="lr=0.01", column="config.lr")) == ["DQN"]
    assert await replica.runs(filter="lr=0.01") == []
    assert len(await replica.runs(filter="")) == 2


@pytest.mark.parametrize("pattern", ["(a+)+$", r"(?:(?:a|aa)+|x)+\d$", "(a|a)*b*a*b*a*b*c", "(?:a?){90}a{90}$"])
async def test_a_filter_that_would_backtrack_for_ever_takes_no_time(place: Place, pattern: str) -> None:
    key = place.begin(name="a" * 200 + "b")
    replica = Replica(place)
    await replica.post("label", channel=key[0], session=key[1], note="a" * 4000 + "b")
    async with asyncio.timeout(5):
        assert (await replica.ask(filter=pattern))[0] == 200


async def test_a_filter_over_too_many_runs_is_refused_after_its_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "FILTER_S", -1.0)
    place.begin()
    status, body = await Replica(place).ask(filter="x")
    assert (status, "shorten it" in body["detail"]) == (400, True)


@pytest.mark.parametrize(
    "query",
    [
        "filter=(", "filter=" + "a" * 401, "status=dead", "sort=x", "order=up", "limit=0", "limit=501", "offset=-1",
        "column=lr", "run=a", "run=a:x", "channel=a%20b", "pinned_first=2", "columns=x", "limit=1&limit=2",
        "filter=(((a{9}){99}){99}){99}", "filter=(?=a)",
    ],
)  # fmt: skip
async def test_a_malformed_query_is_refused_with_the_fix(place: Place, query: str) -> None:
    status, body = await Replica(place)._call("GET", "/api/runs", query, b"")
    assert status == 400
    assert body["detail"]


async def test_conditions_choose_runs(place: Place) -> None:
    first, second, third = place.begin("a", name="1"), place.begin("b", name="2"), place.begin("c", name="3")
    place.end(third)
    replica = Replica(place)
    await replica.post("label", channel=first[0], session=first[1], tags=["x", "y"])
    await replica.post("label", channel=second[0], session=second[1], tags=["x"])
    assert set(names(await replica.runs(("status", "live"), ("status", "ended")))) == {"1", "2", "3"}
    assert names(await replica.runs(status="ended")) == ["3"]
    assert set(names(await replica.runs(tag="x"))) == {"1", "2"}
    assert names(await replica.runs(("tag", "x"), ("tag", "y"))) == ["1"]
    assert set(names(await replica.runs(("run", ":".join(first)), ("run", ":".join(third)), ("run", "d:5")))) == {
        "1",
        "3",
    }
    assert set(names(await replica.runs(("channel", "a"), ("channel", "b")))) == {"1", "2"}


async def test_labels_are_stored_once_and_answered_and_pinned_runs_come_first(place: Place) -> None:
    key = place.begin("a", name="old")
    place.end(key)
    place.begin("b", name="new")
    replica, other = Replica(place), Replica(place)
    assert names(await other.runs()) == ["new", "old"]
    status, run = await replica.post(
        "label", channel="a", session=key[1], tags=["best ", "best", " ", "péng"], note="<b>\ud800", pinned=True
    )
    assert (status, run["tags"], run["note"], run["pinned"]) == (200, ["best", "péng"], "<b>?", True)
    for each in (replica, other):  # another replica learns of it
        assert names(await each.runs()) == ["old", "new"]
        assert names(await each.runs(pinned_first=0)) == ["new", "old"]
    await replica.post("label", channel="a", session=key[1], note="")
    [old] = await other.runs(channel="a")
    assert (old["tags"], old["note"], old["pinned"]) == (["best", "péng"], "", True)
    await replica.post("label", channel="a", session=key[1], pinned=False, tags=[])
    [old] = await replica.runs(channel="a")
    assert (old["tags"], old["pinned"]) == ([], False)


async def test_a_pinned_run_that_ended_stays_until_it_is_unpinned(place: Place) -> None:
    key = place.begin()
    place.log(key, {"x": 1})
    place.end(key)
    replica, keys = Replica(place), ChannelKeys(key[0]).session(key[1])
    assert place.redis.pttl(keys.info) > 0
    await replica.post("label", channel=key[0], session=key[1], pinned=True)
    assert [place.redis.pttl(name) for name in (keys.info, keys.state, keys.stream("metrics"))] == [-1, -1, -1]
    await replica.post("label", channel=key[0], session=key[1], note="x")
    assert place.redis.pttl(keys.info) == -1
    await replica.post("label", channel=key[0], session=key[1], pinned=False)
    assert all(place.redis.pttl(name) > 0 for name in (keys.info, keys.state, keys.stream("metrics")))


async def test_a_run_that_was_pinned_while_it_was_live_stays_after_its_end(place: Place) -> None:
    released, followed = place.begin("a"), place.begin("b")
    replica = Replica(place)
    for key in (released, followed):
        place.log(key, {"x": 1})
        await replica.post("label", channel=key[0], session=key[1], pinned=True)
        assert place.redis.pttl(place.info(key)) > 0
    place.end(released)
    place.lapse(followed)
    place.begin("b")
    for key in (released, followed):
        keys = ChannelKeys(key[0]).session(key[1])
        assert [place.redis.pttl(name) for name in (keys.info, keys.state, keys.stream("metrics"))] == [-1, -1, -1]


@pytest.mark.parametrize(
    "body",
    [
        {"tags": "x"}, {"tags": [1]}, {"tags": ["x" * 65]}, {"tags": ["x"] * 21}, {"note": 1},
        {"note": "x" * 4001}, {"pinned": "yes"}, {"channel": None, "note": ""}, {"session": 5, "note": ""},
        {"session": "x", "note": ""}, {"channel": "a b", "note": ""},
    ],
)  # fmt: skip
async def test_labels_that_cannot_be_are_refused_and_change_nothing(place: Place, body: dict[str, Any]) -> None:
    key = place.begin()
    replica = Replica(place)
    status, _answer = await replica.post("label", **{"channel": key[0], "session": key[1]} | body)
    assert status == 400
    assert place.redis.hget(place.info(key), "labelled") is None


async def test_an_ended_run_is_deleted_with_all_its_keys_and_a_live_one_is_not(place: Place) -> None:
    key = place.begin()
    place.log(key, {"x": 1}, image=b"")
    replica, other = Replica(place), Replica(place)
    await other.runs()
    status, body = await replica.post("delete", channel=key[0], session=key[1])
    assert (status, "end it first" in body["detail"]) == (409, True)
    place.end(key)
    assert await replica.post("delete", channel=key[0], session=key[1]) == (200, {"status": "deleted"})
    assert await replica.runs() == await other.runs() == []
    assert [name for name in place.redis.scan_iter("*") if f":s:{key[1]}".encode() in name] == []
    assert (await replica.post("delete", channel=key[0], session=key[1]))[0] == 404
    assert (await replica.post("label", channel=key[0], session=key[1], note=""))[0] == 404
    newer = place.begin()
    assert int(newer[1]) > int(key[1])


async def test_writes_need_the_token(place: Place) -> None:
    key = place.begin()
    replica = Replica(place, ("secret",))
    for path in ("label", "delete"):
        assert (await replica.post(path, channel=key[0], session=key[1], note="x"))[0] == 401
    assert place.redis.hget(place.info(key), "note") is None


async def test_values_that_hud_did_not_write_affect_no_other_run(place: Place) -> None:
    good, bad, worse = place.begin("a", name="good"), place.begin("b", name="bad"), place.begin("c", name="worse")
    keys = ChannelKeys(bad[0]).session(bad[1])
    place.redis.hset(keys.info, mapping={"tags": "{", "note": b"\xff", "info": "[", "started": "x", "roles": "5"})
    place.redis.hset(
        keys.state, mapping={"episode_return_mean": "1e999 9", b"\xff": b"\xff", "a": "5-0 NaN", "b": "5-0 1e999"}
    )
    place.redis.hset(keys.config, mapping={"config": '{"a": [[[', "other": "[1]"})
    place.redis.set(ChannelKeys("c").session(worse[1]).state, "no hash")
    place.redis.set(ChannelKeys("d").sessions, "no index")
    place.redis.zadd("hud:channels", {"d": 1e300, b"\xff": 5, "a b": 6})
    place.log(good, {"episode_return_mean": 1.5})
    runs = {run["name"]: run for run in await Replica(place).runs(columns=1)}
    assert set(runs) == {"good", "bad", "worse"}
    assert runs["good"]["return"]["value"] == 1.5
    assert (runs["bad"]["tags"], runs["bad"]["started_ms"]) == ([], None)


async def test_a_session_whose_retention_ended_leaves_the_list(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    key = place.begin()
    place.end(key)
    replica = Replica(place)
    assert len(await replica.runs()) == 1
    place.redis.delete(place.info(key))
    monkeypatch.setattr(catalogue_module, "SWEEP_S", 0.0)
    assert await replica.runs() == []


async def test_many_sessions_are_read_once(place: Place) -> None:
    place.many(20, 25, int(time.time() * 1000))
    replica = Replica(place)
    _status, body = await replica.ask(sort="config.lr", columns=1, limit=500)
    assert body["total"] == 500
    assert {column["name"]: column["runs"] for column in body["columns"]} == {
        "config.lr": 500, "config.seed": 500, "result.episode_return_mean": 500, "result.learner/loss": 500
    }  # fmt: skip
    calls = []
    pipelined = replica.store.pipelined

    async def counted(commands: Any) -> Any:
        calls.extend(commands)
        return await pipelined(commands)

    replica.store.pipelined = counted  # type: ignore[method-assign]
    assert len(await replica.runs(sort="config.lr", columns=1, limit=500, filter="run 3/")) == 25
    assert len(calls) < 10  # the indexes only
