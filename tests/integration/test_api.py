"""The endpoints besides /stream, on a real replica and a real Redis: their refusals and their stored data."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from PIL import Image

from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.batch_body import MEDIA_TYPE, encode_batch
from hud_publisher.protocol.entries import FrameEntry, MetricsEntry, MindEntry, VisionEntry
from hud_publisher.protocol.scripts import run_digest
from hud_publisher.protocol.values import MAX_STATE_FIELDS
from tests.fixtures.web import SseClient, WebServer, poll


def picture(kind: str = "JPEG", size: tuple[int, int] = (16, 12)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 60)).save(buffer, kind)
    return buffer.getvalue()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def register(web: WebServer, **body: Any) -> str:
    status, answer = web.post("/api/register_session", body or None)
    assert status == 200, answer
    return str(answer["session_id"])


def stored(redis_url: str) -> dict[bytes, Any]:
    """The stored data of all sessions; the other keys change by themselves, and the monitor annotates at any time."""
    with redis.Redis.from_url(redis_url) as direct:
        keys = [key for key in direct.scan_iter("*:s:*") if not key.endswith((b":annotations", b":monitor"))]
        return {key: direct.dump(key) for key in sorted(keys)}


NOT_AN_IMAGE = base64_of(b"GIF89a not one of ours")
TRUNCATED = base64_of(picture()[:20])
HUGE_PIXELS = base64_of(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
    + (13_000).to_bytes(4, "big") * 2
    + b"\x08\x02"
    + b"\0" * 99
    + b"IEND\xaeB`\x82"
)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/update_training", b'{"session_id": ', 400),
        ("/api/update_training", b"[1, 2]", 400),
        ("/api/update_training", b'"text"', 400),
        ("/api/update_training", b"\xff\xfe\x00", 400),
        ("/api/update_training", b"[" * 100_000, 400),
        ("/api/update_training", {"session_id": "SESSION", "data": [1]}, 400),
        ("/api/update_training", {"session_id": "SESSION", "data": "text"}, 400),
        ("/api/update_training", {"session_id": "SESSION"}, 400),
        ("/api/update_training", {"session_id": 7, "data": {}}, 400),
        ("/api/update_training", {"data": {"a": 1}}, 403),
        ("/api/update_training", {"session_id": "unknown", "data": {"a": 1}}, 403),
        ("/api/update_training", {"session_id": "default.1.aaaaaaaaaaaaaaaaaaaaaaaa", "data": {"a": 1}}, 403),
        ("/api/update_training", {"session_id": "SESSION", "data": {"a": "x" * 9_000_000}}, 413),
        ("/api/update_training", {"session_id": "SESSION", "data": {f"f{i}": "x" * 9_000 for i in range(99)}}, 413),
        ("/api/update_vision", {"session_id": "SESSION"}, 400),
        ("/api/update_vision", {"session_id": "SESSION", "image_base64": 5}, 400),
        ("/api/update_vision", {"session_id": "SESSION", "image_base64": ""}, 400),
        ("/api/update_vision", {"session_id": "SESSION", "image_base64": "not base64!"}, 415),
        ("/api/update_vision", {"session_id": "SESSION", "image_base64": NOT_AN_IMAGE}, 415),
        ("/api/update_vision", {"session_id": "SESSION", "image_base64": TRUNCATED}, 415),
        ("/api/update_vision", {"session_id": "SESSION", "image_base64": HUGE_PIXELS}, 413),
        ("/api/update_vision", {"session_id": "unknown", "image_base64": base64_of(picture())}, 403),
        ("/api/update_training", {"session_id": "unknown"}, 403),
        ("/api/update_vision", {"session_id": "unknown", "image_base64": "anything"}, 403),
        ("/api/update_vision", {"session_id": "default.1.aaaaaaaaaaaaaaaaaaaaaaaa", "image_base64": NOT_AN_IMAGE}, 403),
        (
            "/api/update_vision",
            {"session_id": "SESSION", "image_base64": base64_of(picture()), "response_time": "x"},
            400,
        ),
        ("/api/register_session", {"channel": "no spaces allowed"}, 400),
        ("/api/register_session", {"channel": 5}, 400),
        ("/api/register_session", {"run_id": {}}, 400),
        ("/api/register_session", {"info": []}, 400),
        ("/api/reset_session?channel=a%20b", {"channel": "fine"}, 400),
        ("/api/register_session", {"takeover": True}, 401),
        ("/api/heartbeat", {}, 403),
        ("/api/release_session", {"session_id": "unknown"}, 403),
        ("/api/reporter", {"worker_index": -1, "env_index": 0}, 400),
        ("/api/reporter", {"worker_index": 1}, 400),
        ("/api/publish", b"HUD0....", 400),
        ("/api/publish", b"HUD1\x00\x00\xff\xff{}", 400),
        ("/api/publish", b"HUD1\x00\x00\x00\x02{}", 400),
        ("/api/publish", b"HUD1\x00\x00\x00\x02{}" * 1_000_000, 413),
        ("/no/such/path", {}, 404),
    ],
)
def test_unusable_input_is_refused_with_its_status_and_stores_nothing(
    standing_web: WebServer, path: str, body: Any, status: int
) -> None:
    web = standing_web
    web.post("/api/reset_session")
    session_id = register(web)
    before = stored(web.redis_url)
    if isinstance(body, dict) and body.get("session_id") == "SESSION":
        body = body | {"session_id": session_id}
    got, answer = web.post(path, body)
    assert got == status, answer
    assert isinstance(answer["error"], str)
    assert answer["error"]
    assert stored(web.redis_url) == before
    assert web.get("/health") == (200, {"status": "healthy"})
    assert web.post("/api/update_training", {"session_id": session_id, "data": {"fine": 1}})[0] == 200


def test_wrong_methods_and_paths_are_answered_in_json(web: WebServer) -> None:
    assert web.get("/api/register_session") == (405, {"error": "Method Not Allowed"})
    assert web.post("/stream", {})[0] == 405
    assert web.get("/nothing")[1] == {"error": "Not Found"}
    assert web.get("/api/frames/1-1")[0] == 404
    assert web.get("/api/history")[0] == 404
    assert web.get("/stream?channel=a%20b")[0] == 400
    assert web.get("/stream?fps=fast")[0] == 400
    assert web.get("/api/state?session=abc")[0] == 400
    assert web.get("/api/state?session=123")[0] == 404


def test_a_second_run_is_refused_with_the_holder_and_the_wait_and_the_same_run_joins(web: WebServer) -> None:
    first = register(web, run_id="the-secret-of-run-one", name="ppo-breakout")
    status, answer = web.post("/api/register_session", {"run_id": "the-secret-of-run-two"})
    assert status == 409
    assert answer["holder"]["name"] == "ppo-breakout"
    assert 0 < answer["retry_after_s"] <= 30
    assert "the-secret-of-run-one" not in json.dumps(answer)
    assert first not in json.dumps(answer)
    status, answer = web.post("/api/register_session", {"run_id": "the-secret-of-run-one"})
    assert (status, answer["status"], answer["session_id"]) == (200, "joined", first)


def test_the_step_beside_the_fields_goes_before_one_among_them_also_where_it_is_0(web: WebServer) -> None:
    session_id = register(web)
    web.post("/api/update_training", {"session_id": session_id, "data": {"n": 1, "step": 7}, "step": 0})
    web.post("/api/update_training", {"session_id": session_id, "data": {"n": 2, "step": 7}})
    assert [entry["step"] for entry in web.exported()] == [0, 7]


def test_null_and_non_finite_values_never_replace_real_ones(web: WebServer) -> None:
    session_id = register(web)
    for body in (
        b'{"session_id": "%s", "data": {"loss": 0.5, "health": {"current": 3, "max": 5}, "zero": 0}}',
        b'{"session_id": "%s", "data": {"loss": NaN, "health": {"current": null}, "zero": Infinity, "new": -Infinity}}',
    ):
        assert web.post("/api/update_training", body % session_id.encode())[0] == 200
    assert web.get("/api/state")[1]["state"] == {"loss": 0.5, "health": {"current": 3, "max": 5}, "zero": 0}


@pytest.mark.parametrize("head", ["", "data:image/jpeg;base64,", "\n DATA:image/jpeg;base64, "])
def test_base64_in_lines_is_base64(web: WebServer, head: str) -> None:
    session_id, image = register(web), picture()
    body = {"session_id": session_id, "image_base64": head + base64.encodebytes(image).decode()}
    assert web.post("/api/update_vision", body) == (200, {"status": "updated"})
    assert web.get("/api/state")[1]["frame"]["image"] == base64_of(image)


def test_a_batch_is_stored_once_however_often_it_is_sent(web: WebServer) -> None:
    session_id = register(web)
    frame, seen, shown = picture("PNG"), picture("WEBP"), picture("PNG", (8, 8))
    entries = (
        MetricsEntry({"n": 1}, 1_000, step=5),
        FrameEntry(frame, 1_001, "image/png", step=5, episode=2, env=(1, 0)),
        VisionEntry(seen, 1_002, "image/webp", 412.0, 5, "What?", "A tree.", {"action": "RIGHT"}),
        MetricsEntry({"loss": 0.5}, 1_003, step=6, stream="iterations"),
        MindEntry({"value": 1.5, "id": "none"}, 1_001, 5, 2, (1, 0), shown),
        MindEntry({"probabilities": [0.25, 0.75]}, 1_004, 7, 2, (1, 0)),
    )
    body = encode_batch(session_id, Batch("w1", 1, entries))  # type: ignore[arg-type]
    headers = {"Content-Type": MEDIA_TYPE}
    assert web.post("/api/publish", body, headers)[1]["status"] == "ok"
    assert web.post("/api/publish", body, headers)[1]["status"] == "duplicate"
    snapshot = web.get("/api/state")[1]
    assert snapshot["state"] == {"n": 1, "loss": 0.5}
    assert snapshot["frame"] | {"id": ""} == {
        "image": base64_of(frame), "source": "env", "mime": "image/png", "id": "", "step": 5, "time_ms": 1_001,
        "episode": 2, "env": [1, 0],
    }  # fmt: skip
    assert snapshot["vision"]["response"] == "A tree."
    frames = web.get("/api/frames")[1]["frames"]
    assert [(f["step"], f["episode"], f["env"], f["bytes"]) for f in frames] == [(5, 2, [1, 0], len(frame))]
    assert web.get(f"/api/frames/{frames[0]['id']}") == (200, frame)
    calls = web.get("/api/vision")[1]["calls"]
    assert [call["prompt"] for call in calls] == ["What?"]
    assert web.get(f"/api/vision/{calls[0]['id']}") == (200, seen)
    assert web.get("/api/frames?from_ms=1002")[1]["frames"] == []
    first, second = web.get("/api/mind")[1]["mind"]
    about = {"step": 5, "time_ms": 1_001, "episode": 2, "env": [1, 0], "has_image": True, "value": 1.5}
    assert first == about | {"id": first["id"]}
    assert second["probabilities"] == [0.25, 0.75]
    assert not second["has_image"]
    assert snapshot["mind"] == second | {"image": None}
    assert web.get("/api/mind?from_ms=1002")[1]["mind"] == [second]
    assert web.get(f"/api/mind/{first['id']}") == (200, shown)
    assert web.get(f"/api/mind/{second['id']}")[0] == 404


def test_views_of_the_policy_come_live_and_without_pictures_to_who_wants_none(
    web: WebServer, watch: Callable[..., SseClient]
) -> None:
    session_id, shown = register(web), picture("PNG")
    whole, numbers = watch(web), watch(web, "frames=0")
    for client in (whole, numbers):
        client.wait(lambda one: one.named("snapshot"), "the snapshot")
        assert client.named("snapshot")[0]["mind"] is None
    entries = (FrameEntry(picture(), 1_000, env=(1, 0)), MindEntry({"value": 1.5}, 1_000, 5, 2, (1, 0), shown))
    assert web.post("/api/publish", encode_batch(session_id, Batch("w1", 1, entries)))[0] == 200  # type: ignore[arg-type]
    [mind] = whole.wait(lambda one: one.named("mind"), "the view")
    about = {"step": 5, "time_ms": 1_000, "episode": 2, "env": [1, 0], "value": 1.5, "has_image": True}
    assert mind == about | {"id": mind["id"], "image": base64_of(shown)}
    assert numbers.wait(lambda one: one.named("mind"), "the view without picture") == [mind | {"image": None}]


def test_history_has_the_whole_run_with_its_spikes(web: WebServer) -> None:
    session_id = register(web)
    for start in range(0, 5_000, 500):
        entries = tuple(
            MetricsEntry({"v": 100.0 if n == 1_234 else 1.0, "pos": {"x": n}, "name": "text", "flag": True}, n, step=n)
            for n in range(start, start + 500)
        )
        batch = encode_batch(session_id, Batch("w1", start + 1, entries))  # type: ignore[arg-type]
        assert web.post("/api/publish", batch)[0] == 200
    answer = web.get("/api/history?points=200")[1]
    assert answer["fields"] == ["pos/x", "v"]
    series = answer["series"]["v"]
    assert len(series["value"]) <= 202
    assert series["value"].count(100) == 1
    assert series["step"][series["value"].index(100)] == 1_234
    assert answer["series"]["pos/x"]["step"][0] == 0
    assert answer["series"]["pos/x"]["value"][-1] == 4_999
    web.post("/api/update_training", {"session_id": session_id, "data": {"v": 7.0, "step": 5_000}})
    again = web.get("/api/history?fields=v&points=2000")[1]
    assert list(again["series"]) == ["v"]
    assert again["series"]["v"]["value"][-1] == 7


def test_the_export_has_every_entry_and_no_formula(web: WebServer) -> None:
    session_id = register(web)
    for n in range(3):
        data = {"n": n, "=cmd()": "=HYPERLINK(0)", "global_step": n, "pos": {"x": -n}}
        web.post("/api/update_training", {"session_id": session_id, "data": data})
    rows = list(csv.DictReader(io.StringIO(web.get("/api/export")[1].decode())))
    assert [row["value"] for row in rows if row["field"] == "n"] == ["0", "1", "2"]
    assert [row["value"] for row in rows if row["field"] == "pos/x"] == ["0", "-1", "-2"]
    assert {row["value"] for row in rows if row["field"] == "'=cmd()"} == {"'=HYPERLINK(0)"}
    entries = web.exported()
    assert [(entry["step"], entry["data"]["n"]) for entry in entries] == [(0, 0), (1, 1), (2, 2)]
    assert session_id not in json.dumps(entries)


HOSTILE = "caf\udce9\x00\u202e.png"


def test_the_configuration_is_read_by_pages_and_is_in_the_export(web: WebServer) -> None:
    session_id = register(web, run_id="r")
    sections = {"versions": {"python": "3"}, "config": {"lr": 0.1, "seed": None, "net": {"layers": [64, "\ud800"]}}}
    assert web.post("/api/config", {"session_id": session_id, "sections": sections})[1] == {"status": "stored"}
    found = web.get("/api/config")[1]
    assert found == {"config": {"lr": 0.1, "seed": None, "net": {"layers": [64, "?"]}}, "versions": {"python": "3"}}
    assert list(found) == ["config", "versions"]
    assert web.get("/api/export?format=json")[1][0]["data"]["config"] == found
    for wrong in ({}, {"sections": []}, {"sections": {str(n): 1 for n in range(17)}}, {"sections": {}, "replaces": 1}):
        assert web.post("/api/config", {"session_id": session_id, **wrong})[0] == 400
    assert web.post("/api/config", {"session_id": f"{session_id}x", "sections": {}})[0] == 403
    assert web.get("/api/config?session=1")[0] == 404


def test_the_use_of_the_machine_is_in_the_state_and_the_export_and_no_sign_of_training(web: WebServer) -> None:
    session_id = register(web)
    entries = (MetricsEntry({"machine": {"env runner 2": {"memory_bytes": 7}}}, 1_000, stream="machine"),)
    assert web.post("/api/publish", encode_batch(session_id, Batch("w2", 1, entries)))[0] == 200
    assert web.get("/api/state")[1]["state"]["machine"] == {"env runner 2": {"memory_bytes": 7}}
    [item] = [item for item in web.get("/api/export?format=json")[1] if item["stream"] == "machine"]
    assert (item["writer"], item["data"]) == ("w2", {"machine": {"env runner 2": {"memory_bytes": 7}}})
    [row] = csv.DictReader(io.StringIO(web.get("/api/export")[1].decode()))
    assert (row["stream"], row["field"], row["value"]) == ("machine", "machine/env runner 2/memory_bytes", "7")


def test_text_that_is_not_unicode_is_cleaned_wherever_it_comes_in(web: WebServer) -> None:
    session_id = register(web, name=HOSTILE, info={HOSTILE: HOSTILE, "env": HOSTILE})
    data = {HOSTILE: HOSTILE, "list": [HOSTILE], "nested": {HOSTILE: {HOSTILE: 1}}}
    assert web.post("/api/update_training", {"session_id": session_id, "data": data})[0] == 200
    call = {"image_base64": base64_of(picture()), "response_time": 1, "prompt": HOSTILE, "response": HOSTILE}
    assert web.post("/api/update_vision", {"session_id": session_id, **call, "action": HOSTILE})[0] == 200
    for path in ("/api/state", "/api/sessions", "/api/history", "/api/vision", "/api/export?format=json"):
        status, answer = web.get(path)
        assert status == 200, path
        assert "\udce9" not in str(answer), path
    assert b"caf?" in web.get("/api/export")[1]


def test_text_that_is_not_unicode_and_was_stored_already_costs_no_answer(web: WebServer, redis_server: Any) -> None:
    session_id = register(web)
    key = f"hud:{{default}}:s:{session_id.split('.')[1]}"
    text = json.dumps({HOSTILE: HOSTILE, "list": [HOSTILE], "n": 1})
    with redis.Redis.from_url(redis_server.url) as direct:
        direct.xadd(f"{key}:metrics", {"data": text, "time": 1, "writer": b"w\xff"})
        direct.xadd(f"{key}:vision", {"image": picture(), "time": 1, "prompt": b"caf\xe9", "extra": text})
        direct.hset(f"{key}:state", mapping={b"caf\xe9": b"1-0 " + json.dumps(HOSTILE).encode()})
        direct.hset(key, mapping={b"name": b"caf\xe9", b"caf\xe9": b"caf\xe9"})
    for path in ("/api/state", "/api/sessions", "/api/history", "/api/vision", "/api/export?format=json"):
        assert web.get(path)[0] == 200, path
    status, table = web.get("/api/export")
    assert status == 200
    rows = [row for row in csv.DictReader(io.StringIO(table.decode())) if row["stream"] == "metrics"]
    assert [(row["field"], row["value"]) for row in rows][-1] == ("n", "1")
    assert rows[0]["value"].startswith("caf?")


def test_the_export_of_some_minutes_has_the_entries_appended_in_them(web: WebServer) -> None:
    session_id = register(web)
    for n in range(3):
        web.post("/api/update_training", {"session_id": session_id, "data": {"n": n}})
        time.sleep(0.002)  # so that no two entries share a millisecond
    appended = [int(entry["id"].split("-")[0]) for entry in web.exported()]
    later = web.exported(f"from_ms={appended[1]}")
    assert [entry["data"]["n"] for entry in later] == [1, 2]
    between = web.exported(f"from_ms={appended[1]}&to_ms={appended[1]}")
    assert [entry["data"]["n"] for entry in between] == [1]
    assert web.exported(f"from_ms={appended[2] + 1}") == []


def test_no_answer_and_no_log_shows_a_session_id_or_run_id(web: WebServer, watch: Callable[..., SseClient]) -> None:
    client = watch(web)
    session_id = register(web, run_id="the-secret-of-the-run", info={"env": "Breakout"})
    web.post("/api/update_training", {"session_id": session_id, "data": {"n": 1}})
    client.wait(lambda c: c.named("training_update"), "the update")
    shown = [web.get(path)[1] for path in ("/api/state", "/api/sessions", "/api/history", "/api/export?format=json")]
    web.terminate()
    assert web.process is not None
    for text in (json.dumps(shown), str(client.events), "".join(web.output)):
        assert session_id.split(".")[2] not in text
        assert "the-secret-of-the-run" not in text
        assert run_digest("the-secret-of-the-run") not in text
    assert "Breakout" in json.dumps(shown)


def test_with_a_token_set_nobody_writes_without_it_and_all_may_watch(serve: Callable[..., WebServer]) -> None:
    web = serve(environment={"HUD_TOKEN": "old-token,new-token"})
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "old-token"},
        {"Authorization": "Bearer "},
    ):
        for path in ("register_session", "update_training", "publish", "reset_session", "reporter", "heartbeat"):
            status, answer = web.post(f"/api/{path}", {}, headers)
            assert (status, answer["error"]) == (401, "Unauthorized")
    for token in ("old-token", "new-token"):
        headers = {"Authorization": f"Bearer {token}"}
        assert web.post("/api/register_session", {"run_id": "r" * 20}, headers)[0] == 200
    assert web.post("/api/register_session", {"takeover": True}, headers)[0] == 200
    assert web.get("/api/state")[0] == 200
    assert web.get("/")[0] == 200


def test_a_page_of_another_name_cannot_reach_a_server_on_loopback(web: WebServer) -> None:
    with socket.create_connection(("127.0.0.1", web.port)) as link:
        link.sendall(b"GET /api/state HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        assert re.match(rb"HTTP/1.1 400", link.recv(100))


def test_ready_says_when_redis_is_away_and_health_does_not_care(web: WebServer, redis_server: Any) -> None:
    poll(lambda: web.get("/ready")[0] == 200, "the replica to be ready")
    redis_server.kill()
    status, answer = web.get("/ready")
    assert (status, answer["error"]) == (503, "Redis is not available")
    assert web.get("/health") == (200, {"status": "healthy"})
    assert web.post("/api/register_session")[0] == 503
    assert web.get("/api/state")[0] == 503
    redis_server.restart()
    poll(lambda: web.get("/ready")[0] == 200, "the replica to be ready again")


def test_a_session_has_room_for_twenty_thousand_fields_and_known_ones_go_on(
    web: WebServer, watch: Callable[..., SseClient]
) -> None:
    session_id = register(web)
    client = watch(web, "frames=0")
    client.wait(lambda c: c.named("snapshot"), "a snapshot")
    for start in range(0, 24_000, 4_000):
        data = {f"field {number}": 1 for number in range(start, start + 4_000)}
        assert web.post("/api/update_training", {"session_id": session_id, "data": data})[0] == 200
    assert web.post("/api/update_training", {"session_id": session_id, "data": {"field 0": 2, "late": 1}})[0] == 200
    client.wait(lambda c: len(c.named("training_update")) == 7, "all updates")
    live = watch(web, "frames=0").wait(lambda c: c.named("snapshot"), "a snapshot")[0]["state"]
    for state in (web.get("/api/state")[1]["state"], live):
        assert len(state) == MAX_STATE_FIELDS
        assert state["field 0"] == 2
        assert "late" not in state
