"""Stored content that HUD did not write costs only itself: every endpoint answers, and streams go on."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from hud_publisher.protocol.entries import STREAMS
from hud_publisher.protocol.keys import ChannelKeys
from tests.fixtures.publishing import JPEG
from tests.fixtures.web import SseClient, WebServer

READING = ("/api/state", "/api/sessions", "/api/history", "/api/history?fields=reward", "/api/frames", "/api/vision",
           "/api/mind", "/api/export", "/api/export?format=json", "/api/annotations", "/api/reports", "/api/channels",
           "/metrics", "/ready")  # fmt: skip
HASHES = {"": "info", ":state": "state", ":seq": "seq", ":metrics:piece": "piece"}
GARBAGE: list[dict[str, Any]] = [
    {"x": "y"},
    {"data": "[1,2]", "time": "5"},
    {"data": "{", "time": "5"},
    {"data": '{"a": 1}', "time": "soon", "step": "1.5", "writer": b"\xff"},
    {"data": '{"a": NaN, "b": [1, Infinity], "c": 1e999}', "time": "9" * 40, "step": "nan"},
    {"data": b'{"a": "\xff"}', "time": "5"},
    {"data": '{"a": 1}', "time": "5", "not_finite": "{"},
    {"data": '{"a":' * 500 + "1" + "}" * 500, "time": "5"},
    {"data": '{"a": ' + "9" * 400 + "}", "time": "5", "from a newer version": "1"},
    {"image": JPEG, "time": "NaN", "env": "x", "episode": "y", "step": "z", "latency_ms": "inf", "extra": "[1"},
    {"image": b"\x00\x01", "mime": "text/html", "time": "5"},
    {"kind": "stall", "fields": "[" * 60_000, "time": "9" * 400, "step": "x"},
    {"kind": "stall", "fields": '["\\ud800"]', "time": "\u0663", "text": b"\xed\xa0\x80"},
    {"low": "[", "high": "{}", "n": "x", "time": "", "step": "", "until_time": "", "until_step": ""},
    {"low": '{"reward": "x"}', "high": '{"reward": NaN}', "n": "-1", "time": "1", "step": "1"},
]  # fmt: skip


@pytest.fixture
def web(standing_web: WebServer) -> WebServer:
    """One server for all tests that keep to their channel."""
    return standing_web


@pytest.fixture(scope="module")
def late_web(standing_web: WebServer) -> Iterator[WebServer]:
    """Another replica, which has not read a test's channel before that test asks it to."""
    with contextlib.closing(WebServer(standing_web.redis_url)) as server:
        yield server


@pytest.fixture
def direct(standing_web: WebServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(standing_web.redis_url, protocol=2) as client:
        yield client


@pytest.fixture
def channel() -> str:
    """A channel that no other test uses, of 128 bits in hexadecimal digits."""
    return uuid.uuid4().hex


class Run:
    """A live session, written to through the server."""

    def __init__(self, web: WebServer, channel: str) -> None:
        self._web, self.channel = web, channel
        answer = web.post("/api/register_session", {"channel": channel, "name": "garbage test", "run_id": "r"})[1]
        self.session_id, self.sid = answer["session_id"], str(answer["fence"])
        self.count = 0

    def log(self) -> int:
        self.count += 1
        data = {"reward": self.count, "nested": {"x": self.count}}
        status, answer = self._web.post("/api/update_training", {"session_id": self.session_id, "data": data})
        assert status == 200, answer
        return self.count

    def key(self, suffix: str) -> str:
        return ChannelKeys(self.channel).session(self.sid).info + suffix


def assert_every_endpoint_answers(web: WebServer, channel: str, sid: str) -> None:
    address = str(ipaddress.IPv6Address(int(channel, 16)))  # each address may read 50 times a second
    for path in READING:
        for query in (f"channel={channel}", f"channel={channel}&session={sid}"):
            url = f"{path}{'&' if '?' in path else '?'}{query}"
            status, answer = web.request("GET", url, headers={"X-Forwarded-For": address})
            assert status == 200 or (status == 404 and isinstance(answer, dict)), (path, query, status, answer)
    connection_log = "\n".join(web.output)
    assert "Traceback" not in connection_log, connection_log[-3_000:]


def sees(count: int) -> Callable[[SseClient], bool]:
    def has_seen(client: SseClient) -> bool:
        states = [data["state"] for data in client.named("snapshot")] + client.named("training_update")
        return any(state.get("reward") == count for state in states)

    return has_seen


def test_garbage_in_the_streams_is_passed_over_by_every_reader(
    serve: Callable[..., WebServer], watch: Callable[..., SseClient], channel: str
) -> None:
    web = serve()  # its log and metrics are about this test alone
    run = Run(web, channel)
    run.log()
    early = watch(web, f"channel={channel}")
    early.wait(lambda client: client.named("snapshot"), "a snapshot")
    with redis.Redis.from_url(web.redis_url, protocol=2) as direct:
        for stream in (*STREAMS, "metrics:past", "iterations:past", "annotations"):
            for fields in GARBAGE:
                direct.xadd(run.key(f":{stream}"), fields)
    early.wait(sees(run.log()), "the entry after the garbage")
    assert early.named("reset") == []
    for server in (web, serve()):  # also a replica that reads the channel for the first time
        late = watch(server, f"channel={channel}")
        late.wait(lambda client: client.named("snapshot"), "a snapshot of a channel whose newest entries are garbage")
        back = watch(server, f"channel={channel}", last_id=early.events[1].id)
        late.wait(sees(run.log()), "the next entry")
        back.wait(sees(run.count), "what came since")
        assert_every_endpoint_answers(server, channel, run.sid)
        state = server.get(f"/api/state?channel={channel}")[1]["state"]
        assert (state["reward"], state["nested"]) == (run.count, {"x": run.count})
        assert 'hud_unreadable_total{kind="metrics"}' in server.get("/metrics")[1].decode()
        passed = [line for line in server.output if "cannot be read" in line and " of metrics " in line]
        assert len(passed) == 1, passed  # one line per cause, not per entry
    rows = web.get(f"/api/export?format=json&channel={channel}")[1]
    assert [row["data"]["reward"] for row in rows if "reward" in row["data"]][-1] == run.count


def test_every_event_of_a_stream_is_json_that_a_browser_reads(
    web: WebServer, watch: Callable[..., SseClient], direct: redis.Redis, channel: str
) -> None:
    run = Run(web, channel)
    run.log()
    client = watch(web, f"channel={channel}")
    client.wait(lambda seen: seen.named("snapshot"), "a snapshot")
    direct.xadd(run.key(":metrics"), {"data": '{"loss": NaN, "good": 5}', "time": "5"})
    client.wait(lambda seen: any(data.get("good") == 5 for data in seen.named("training_update")), "the good field")
    shown = next(data for data in client.named("training_update") if data.get("good") == 5)
    assert "loss" not in shown
    assert all("NaN" not in json.dumps(event.data) for event in client.events)


@pytest.mark.parametrize(
    ("suffix", "fields"),
    [
        ("", {"shown": "x", "shown_ms": "y", "started": "soon", "ended": "never", "name": b"\xff", "info": "{"}),
        ("", {"info": '{"a": NaN, "b": [1], "c": "text"}', "run": ""}),
        ("", {"info": '{"a": "\\ud800", "\\udfff": "b"}', "name": b"\xed\xa0\x80", "roles": '{"reward": "\\ud800"}'}),
        (":state", {"no id": "5", "no json": "5-0 {", "nan": "5-0 NaN", "a\x1fb\x1f" + "c\x1f" * 300: "5-0 1",
                    b"\xff": "5-0 1", "huge": "9" * 99 + "-0 1", "big": "5-0 " + "9" * 400, "list": "5-0 [1,NaN]"}),
        (":seq", {"http": "x", "w": "-1 -1"}),
        (":metrics:piece", {"waiting": b"\xff\xfe", "count": "many", "total": "all", "low": "{", "n": "x"}),
    ],
)  # fmt: skip
def test_garbage_in_a_hash_costs_only_its_field(
    web: WebServer,
    late_web: WebServer,
    watch: Callable[..., SseClient],
    direct: redis.Redis,
    channel: str,
    suffix: str,
    fields: dict[Any, Any],
) -> None:
    run = Run(web, channel)
    run.log()
    direct.hset(run.key(suffix), mapping=fields)
    for server in (web, late_web):
        client = watch(server, f"channel={channel}")
        client.wait(lambda seen: seen.named("snapshot"), "a snapshot")
        client.wait(sees(run.log()), "the next entry")
        assert_every_endpoint_answers(server, channel, run.sid)
        assert server.get(f"/api/state?channel={channel}")[1]["state"]["reward"] == run.count
    assert web.get(f"/api/sessions?channel={channel}")[1]["sessions"][0]["status"] == "live"


@pytest.mark.parametrize(
    "name",
    ["lock", "fence", "events", "sessions", "viewers", "reporter", "channels", *(f"S{s}" for s in HASHES),
     *(f"S:{s}" for s in STREAMS), "S:metrics:past"],
)  # fmt: skip
def test_a_key_of_another_type_costs_only_its_content(
    web: WebServer, late_web: WebServer, watch: Callable[..., SseClient], direct: redis.Redis, channel: str, name: str
) -> None:
    run = Run(web, channel)
    run.log()
    client = watch(web, f"channel={channel}")
    client.wait(lambda seen: seen.named("snapshot"), "a snapshot")
    key = "hud:channels" if name == "channels" else f"hud:{{{channel}}}:{name}"
    if name.startswith("S"):
        key = run.key(name[1:])
    with direct.pipeline(transaction=True) as pipe:  # a replica may write the key between two commands
        pipe.delete(key).rpush(key, "not ours").execute()
    late = watch(late_web, f"channel={channel}")
    late.wait(lambda seen: seen.named("session"), "the channel on a replica that opens it now")
    for server in (web, late_web):
        assert_every_endpoint_answers(server, channel, run.sid)
    if name == "lock":
        assert web.post("/api/update_training", {"session_id": run.session_id, "data": {"a": 1}})[0] == 403
        run = Run(web, channel)
    run.log()
    for server, viewer in ((web, client), (late_web, late)):
        viewer.wait(sees(run.count), "the next entry")
        assert_every_endpoint_answers(server, channel, run.sid)
        assert server.get("/ready")[0] == 200


def test_garbage_in_every_stream_does_not_keep_a_replica_from_following(
    web: WebServer, watch: Callable[..., SseClient], direct: redis.Redis, channel: str
) -> None:
    run = Run(web, channel)
    run.log()
    for stream in STREAMS:
        direct.delete(run.key(f":{stream}"))
        direct.set(run.key(f":{stream}"), "not ours")
    direct.delete(ChannelKeys(channel).events)
    direct.set(ChannelKeys(channel).events, "not ours")
    client = watch(web, f"channel={channel}")
    client.wait(lambda seen: seen.named("snapshot"), "a snapshot")
    client.wait(sees(run.log()), "the next entry")  # writing takes the keys back
    assert client.named("status")[-1]["redis"] == "ok"


@pytest.mark.parametrize("value", [b"", b"foreign", b"9" * 40, b"\xff\xfe", b"-5"])
@pytest.mark.parametrize("name", ["lock", "fence", "reporter"])
def test_a_text_of_another_program_in_a_channels_key_is_nobodys(
    web: WebServer, name: str, value: bytes, direct: redis.Redis, channel: str
) -> None:
    direct.set(f"hud:{{{channel}}}:{name}", value)
    assert_every_endpoint_answers(web, channel, "1")
    run = Run(web, channel)
    run.log()
    direct.set(f"hud:{{{channel}}}:{name}", value)
    assert_every_endpoint_answers(web, channel, run.sid)
    if name != "lock":
        run.log()


@pytest.mark.parametrize("name", ["events", *(f"S:{stream}" for stream in STREAMS), "S:metrics:past"])
def test_a_stream_with_the_greatest_id_is_replaced_by_the_next_write(
    web: WebServer, watch: Callable[..., SseClient], direct: redis.Redis, channel: str, name: str
) -> None:
    run = Run(web, channel)
    run.log()
    client = watch(web, f"channel={channel}")
    client.wait(lambda seen: seen.named("snapshot"), "a snapshot")
    key = run.key(name[1:]) if name.startswith("S") else f"hud:{{{channel}}}:{name}"
    direct.xadd(key, {"data": '{"reward": -1}', "time": "5"}, id=f"{2**64 - 1}-{2**64 - 1}")
    assert_every_endpoint_answers(web, channel, run.sid)
    assert web.post("/api/reporter", {"channel": channel, "worker_index": 0, "env_index": 0})[0] == 200
    assert_every_endpoint_answers(web, channel, run.sid)
    client.wait(sees(run.log()), "the next entry")
    run.log()
    client.wait(sees(run.count), "the entry after it")
    assert_every_endpoint_answers(web, channel, run.sid)


def test_channels_with_impossible_names_are_left_out_of_the_index(serve: Callable[..., WebServer]) -> None:
    web = serve()
    infinite = float("inf")
    with redis.Redis.from_url(web.redis_url) as direct:
        direct.zadd(
            "hud:channels", {"a b": 5, b"\xff": 6, "x" * 900: 7, "fine": 8, "late": infinite, "early": -infinite}
        )
    answer = web.get("/api/channels")[1]
    assert sorted(channel["name"] for channel in answer["channels"]) == ["early", "fine", "late"]
