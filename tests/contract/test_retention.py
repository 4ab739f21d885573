"""Retention on every server: the pieces kept of trimmed entries, and the past runs kept when new ones begin."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest

from hud_publisher.protocol import replies, scripts
from hud_publisher.protocol.batch import Batch, Registered
from hud_publisher.protocol.entries import Bound, FrameEntry, Limits, MetricsEntry, VisionEntry, bounds
from hud_publisher.protocol.keys import ChannelKeys, SessionId
from hud_publisher.protocol.settings import Settings
from tests.contract.conftest import Place
from tests.fixtures.publishing import JPEG

KEYS = ChannelKeys("default")
#: Bytes of a full state: one batch beyond the limit is stored whole.
MOST = scripts.MAX_STATE_BYTES + 1024 * 1024


def register(store: Place, limits: Limits | None = None) -> Registered:
    call = scripts.register("default", run_id=None, name="n", limits=limits or Limits(), takeover=True)
    return replies.parse_register(store.run(call))


def publish(store: Place, session: Registered, entries: list[Any], number: int, limits: Limits | None = None) -> None:
    call = scripts.publish(SessionId(session.session_id), Batch("w", number, tuple(entries)), limits or Limits())
    assert not replies.parse_publish(store.run(call)).is_duplicate


def pieces(store: Place, session: Registered, stream: str = "metrics") -> list[dict[str, Any]]:
    found = []
    for entry_id, raw in store.redis.xrange(KEYS.session(session.sid).past(stream)):
        fields = {name.decode(): value.decode() for name, value in raw.items()}
        low, high = json.loads(fields["low"]), json.loads(fields["high"])
        found.append({**fields, "low": low or {}, "high": high or {}, "n": int(fields["n"]), "id": entry_id.decode()})
    return found


def logged(count: int, *, stream: str = "metrics") -> list[MetricsEntry]:
    return [
        MetricsEntry({"v": -777.0 if n == 1_234 else n % 50, "at": {"x": n}}, 1_000 + n, n, stream)  # type: ignore[arg-type]
        for n in range(count)
    ]


@pytest.mark.parametrize("batch", [1, 7, 300])
@pytest.mark.parametrize("stream", ["metrics", "iterations"])
def test_every_number_is_within_the_piece_that_took_its_place(store: Place, batch: int, stream: str) -> None:
    session = register(store)
    entries = logged(1_500 if batch > 1 else 300, stream=stream)
    for number, start in enumerate(range(0, len(entries), batch), 1):
        publish(store, session, entries[start : start + batch], number)
    ids = [entry_id.decode() for entry_id, _ in store.redis.xrange(KEYS.session(session.sid).stream(stream))]
    arrived = [int(entry_id.partition("-")[0]) for entry_id in ids]  # the time of Redis: a writer's clock may be wrong
    assert len(arrived) == len(entries)
    at = 0
    for piece in pieces(store, session, stream):
        end = at + piece["n"]
        inside = entries[at:end]
        values = [entry.data["v"] for entry in inside]
        assert (piece["low"], piece["high"]) == (
            {"v": min(values), "at/x": inside[0].data["at"]["x"]},
            {"v": max(values), "at/x": inside[-1].data["at"]["x"]},
        )
        assert (int(piece["time"]), int(piece["step"])) == (arrived[at], inside[0].step)
        assert (int(piece["until_time"]), int(piece["until_step"])) == (arrived[end - 1], inside[-1].step)
        at = end
    assert len(entries) - at < 20  # in an unfinished piece
    waiting = store.redis.hgetall(KEYS.session(session.sid).piece(stream))
    assert int(waiting[b"total"]) + int(waiting[b"count"]) == len(entries)
    assert b"error" not in waiting
    assert {piece["id"] for piece in pieces(store, session, stream)} <= set(ids)


def test_annotations_about_many_fields_stay_within_their_memory(
    real_store: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "MAX_ANNOTATIONS_BYTES", 100_000)
    session = register(real_store)
    key = KEYS.session(session.sid).annotations
    real_store.run(scripts.lease("default", "me", 60_000))
    fields = ["kind", "non_finite", "fields", json.dumps([f"layer{n}" for n in range(500)])]
    for version in range(100):
        call = scripts.annotate(
            "default", session.sid, token="me", version=version, memory="{}", rhythm="{}", not_finite="{}",
            verdict="null", annotations=[fields, ["kind", "stall", "number", str(version)]],
        )  # fmt: skip
        assert real_store.run(call) == [b"saved"]
    kept = [raw[b"number"] for _id, raw in real_store.redis.xrange(key) if b"number" in raw]
    assert kept == [str(number).encode() for number in range(100)][-len(kept) :]
    assert 5 < len(kept) < 100
    assert real_store.redis.memory_usage(key) < 2 * scripts.MAX_ANNOTATIONS_BYTES


def test_pieces_grow_with_the_run_so_that_their_number_hardly_does(real_store: Place) -> None:
    session = register(real_store)
    entries = logged(20_000)
    for number, start in enumerate(range(0, len(entries), 500), 1):
        publish(real_store, session, entries[start : start + 500], number)
    found = pieces(real_store, session)
    assert 500 < len(found) < 1.02 * (500 + 500 * math.log(20_000 / 5_000))
    assert found[0]["n"] == 10
    assert max(piece["n"] for piece in found) <= 20_000 / 500
    assert min(piece["low"]["v"] for piece in found) == -777


def test_other_values_than_numbers_are_left_out_and_invalid_json_costs_only_itself(store: Place) -> None:
    session = register(store)
    odd = {"t": "text", "b": True, "list": [1, 2], "deep": {"list": [{"x": 1}], "n": 3}, "none": None}
    if store.name != "fakeredis":  # its JSON decoder refuses such a number
        odd["huge"] = 2**1000
    publish(store, session, [MetricsEntry(odd, 1)] * 5, 1)
    broken = scripts.publish(SessionId(session.session_id), Batch("w", 2, (MetricsEntry({"n": 1}, 2),)), Limits())
    args = tuple("{not json" if arg == '{"n":1}' else arg for arg in broken.args)
    store.run(scripts.ScriptCall(broken.script, broken.keys, args))
    publish(store, session, [MetricsEntry({"n": 2.5}, 2)] * 20, 3)
    first = pieces(store, session)[0]
    assert first["low"] == {"deep/n": 3, "n": 2.5}
    assert first["high"] == {"deep/n": 3, "n": 2.5}


def test_large_metrics_stay_within_their_bytes_and_one_large_entry_pushes_no_other_out(real_store: Place) -> None:
    session = register(real_store)
    limits = Limits(streams={**bounds(300.0), "metrics": Bound(entries=20_000, stream_bytes=2_000_000)})
    key = KEYS.session(session.sid).stream("metrics")

    def append(*entries: MetricsEntry) -> None:
        call = scripts.publish(SessionId(session.session_id), Batch("w", 0, entries), limits)
        assert not replies.parse_publish(real_store.run(call)).is_duplicate

    append(*logged(500))
    append(MetricsEntry({"text": "x" * 16_000}, 1))
    assert real_store.redis.xlen(key) == 501
    for _ in range(200):
        append(*[MetricsEntry({"text": "x" * 16_000}, 1)] * 5)
    assert real_store.redis.memory_usage(key) < 2_000_000 * 1.2
    assert real_store.redis.xlen(key) > 80


def test_names_that_change_with_every_step_fill_no_memory(store: Place) -> None:
    session = register(store)
    entries = [MetricsEntry({f"m{n}_{m}": 1.0 for m in range(100)}, n) for n in range(30)]
    publish(store, session, entries, 1)
    assert max(len(piece["low"]) for piece in pieces(store, session)) == 500


def test_a_stream_stays_within_its_setting_and_its_course_is_kept(store: Place) -> None:
    session = register(store)
    limits = Settings.from_env({"HUD_RETENTION": "metrics:200entries,vision:2entries"}).limits
    for number, start in enumerate(range(0, 1_000, 100), 1):
        pictures = [VisionEntry(JPEG, 1_000 + start, prompt="p" * 5_000)] if number < 9 else []
        publish(store, session, [*logged(1_000)[start : start + 100], *pictures], number, limits)
    keys = KEYS.session(session.sid)
    assert 200 <= store.redis.xlen(keys.stream("metrics")) < 400  # Redis trims whole nodes, of 100 entries
    assert store.redis.xlen(keys.stream("vision")) <= 4
    assert sum(piece["n"] for piece in pieces(store, session)) > 950


def test_past_sessions_beyond_the_number_that_is_kept_are_forgotten(store: Place) -> None:
    limits = Limits(past_sessions=2)
    sessions = []
    for _ in range(5):
        sessions.append(register(store, limits))
        publish(store, sessions[-1], [*logged(30), FrameEntry(JPEG, 1)], 1)
    assert [sid.decode() for sid in store.redis.zrange(KEYS.sessions, 0, -1)] == [one.sid for one in sessions[-3:]]
    left = b" ".join(store.redis.scan_iter("*")).decode()
    assert [one.sid in left for one in sessions] == [False, False, True, True, True]


def test_past_sessions_that_take_too_much_memory_lose_their_pictures_first(real_store: Place) -> None:
    limits = Limits(past_bytes=1_000_000)
    picture = JPEG + random.Random(1).randbytes(300_000)
    sessions = []
    for _ in range(6):
        sessions.append(register(real_store, limits))
        publish(real_store, sessions[-1], [*logged(30), *[FrameEntry(picture, n) for n in range(2)]], 1)
    names = [KEYS.session(one.sid) for one in sessions]
    assert [real_store.redis.exists(one.stream("frames")) for one in names] == [0, 0, 0, 0, 1, 1]
    assert [real_store.redis.exists(one.stream("metrics")) for one in names] == [1, 1, 1, 1, 1, 1]
    for _ in range(2):
        sessions.append(register(real_store, Limits(past_bytes=30_000)))
    kept = [real_store.redis.exists(one.stream("metrics")) for one in names]
    assert 0 < sum(kept) < len(kept)
    assert kept == sorted(kept)  # the oldest went first


def test_no_number_and_no_size_keep_everything(store: Place) -> None:
    limits = Limits(past_sessions=0, past_bytes=0)
    sessions = [register(store, limits) for _ in range(120)]
    assert store.redis.zcard(KEYS.sessions) == len(sessions)


def test_a_state_of_long_texts_stops_growing_and_its_numbers_go_on(real_store: Place) -> None:
    store = real_store
    session = register(store)
    for number in range(1, 31):
        data = {f"text {number}/{part}": "x" * 16_000 for part in range(16)} | {"n": number}
        publish(store, session, [MetricsEntry(data, 1_000, number)], number)
    key = KEYS.session(session.sid).state
    stored = store.redis.hgetall(key)
    assert sum(len(name) + len(value) for name, value in stored.items()) < MOST
    assert stored[b"n"].endswith(b" 30")
    assert any(name.startswith(b"text 1/") for name in stored)
    assert store.redis.xlen(KEYS.session(session.sid).stream("metrics")) == 30


def test_a_state_of_long_names_stops_growing(real_store: Place) -> None:
    store = real_store
    session = register(store)
    for number in range(1, 71):
        data: dict[str, Any] = {}
        for part in range(100):
            data[f"{number}/{part}/" + "n" * 240] = {"m" * 250: {"o" * 250: {"p" * 250: 1}}}
        publish(store, session, [MetricsEntry(data, 1_000, number)], number)
    stored = store.redis.hgetall(KEYS.session(session.sid).state)
    assert sum(len(name) + len(value) for name, value in stored.items()) < MOST


def test_a_session_that_never_wrote_is_soon_forgotten_and_one_that_wrote_is_kept(store: Place) -> None:
    limits = Limits()
    session = register(store, limits)
    keys = KEYS.session(session.sid)
    for _ in range(3):
        publish(store, session, [], 0)
        for key in (keys.info, KEYS.sessions, KEYS.events):
            assert 0 < store.redis.pttl(key) <= 600_000
    publish(store, session, logged(1), 1)
    for _ in range(2):
        for key in (keys.info, keys.state, keys.seq, keys.stream("metrics"), KEYS.sessions, KEYS.events):
            assert store.redis.pttl(key) > 0.98 * limits.retention_ms
        publish(store, session, [], 0)
    newer = register(store, limits)
    assert store.redis.pttl(KEYS.session(newer.sid).info) <= 600_000
    for key in (keys.info, KEYS.sessions, KEYS.events):
        assert store.redis.pttl(key) > 0.98 * limits.retention_ms


def test_a_session_that_only_has_a_short_retention_keeps_it(store: Place) -> None:
    limits = Limits(retention_ms=60_000)
    session = register(store, limits)
    publish(store, session, [], 0, limits)
    assert 0 < store.redis.pttl(KEYS.session(session.sid).info) <= 60_000


def test_a_lease_longer_than_ten_minutes_does_not_outlive_its_session(store: Place) -> None:
    limits = Limits(ttl_ms=86_400_000)
    session = register(store, limits)
    assert store.redis.pttl(KEYS.session(session.sid).info) > limits.ttl_ms
