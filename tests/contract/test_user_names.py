"""Names that users choose and that could be taken for HUD's own keep their meaning, through every sink."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hud_publisher.protocol import replies, scripts
from hud_publisher.protocol.batch import Batch, Claim
from hud_publisher.protocol.entries import FrameEntry, Limits, MetricsEntry, VisionEntry
from hud_publisher.protocol.info import MAX_INFO_BYTES, MAX_INFO_FIELDS, RESERVED, decode_info
from hud_publisher.protocol.keys import ChannelKeys, SessionId
from hud_publisher.protocol.stored import decode_entry, decode_state
from tests.contract.conftest import Place
from tests.fixtures.publishing import JPEG

KEYS = ChannelKeys("default")
#: Names of fields in the session hash, in entries, in events and in the state hash, and those that JavaScript reserves.
OURS = sorted({
    *RESERVED, "data", "time", "step", "writer", "not_finite", "image", "mime", "episode", "env", "latency_ms",
    "prompt", "response", "extra", "kind", "sid", "reporter", "id", "type", "stream", "time_ms", "session",
    "session_id", "source", "error", "total", "waiting", "count", "__proto__", "constructor", "toString",
    "hasOwnProperty", "", " ", "…",
})  # fmt: skip


def plain(stored: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in stored.items()}


def test_a_describing_field_of_any_name_is_a_text_and_nothing_else(place: Place) -> None:
    info = {name: f"user's {name}" for name in OURS}
    sink = place.make_sink(run_id="run", name="a run", channel="default", info=info)
    session = sink.register()
    # Claims, batches and joining read the session hash.
    published = sink.publish(session.session_id, Batch("w", 1, (MetricsEntry({"a": 1}, 5),), Claim((3, 1))))
    assert published.shown == (3, 1)
    assert published.shown_age_ms == 0
    assert place.sink().register().joined
    stored = plain(place.redis.hgetall(KEYS.session(session.sid).info))
    assert decode_info(stored) == info
    assert stored["name"] == "a run"
    assert stored["started"] == session.sid
    assert stored["shown"] == "3/1"
    sink.release(session.session_id)
    sink.close()
    assert plain(place.redis.hgetall(KEYS.session(session.sid).info))["ended_by"] == "released"


def test_a_logged_field_of_any_name_keeps_its_value(place: Place) -> None:
    data: Any = {name: number for number, name in enumerate(OURS)}
    sink = place.sink()
    session = sink.register()
    nested = MetricsEntry({"_hud/": 1, "in": data}, 5, 7)
    sink.publish(session.session_id, Batch("w", 1, (MetricsEntry(data, 5, 7), nested)))
    keys = KEYS.session(session.sid)
    first, second = [decode_entry("metrics", fields) for _id, fields in place.redis.xrange(keys.stream("metrics"))]
    assert first == MetricsEntry(data, 5, 7)
    assert second == nested
    assert decode_state(place.redis.hgetall(keys.state)) == data | {"_hud/": 1, "in": data}


def test_a_vision_field_of_any_name_stays_apart_from_prompt_and_picture(place: Place) -> None:
    extra: Any = {name: f"user's {name}" for name in OURS}
    sink = place.sink()
    session = sink.register()
    entry = VisionEntry(JPEG, 5, prompt="what?", response="left", response_time_ms=4.5, step=7, extra=extra)
    sink.publish(session.session_id, Batch("w", 1, (entry,)))
    ((_id, stored),) = place.redis.xrange(KEYS.session(session.sid).stream("vision"))
    assert decode_entry("vision", stored) == entry


@pytest.mark.parametrize("writer", ["lock", "number", "0", "http", "__proto__", "w" * 80])
def test_a_writer_of_any_name_lands_each_batch_once(place: Place, writer: str) -> None:
    sink = place.sink()
    session = sink.register()
    batch = Batch(writer, 1, (MetricsEntry({"a": 1}, 5),))
    assert not sink.publish(session.session_id, batch).is_duplicate
    assert sink.publish(session.session_id, batch).is_duplicate
    assert place.redis.xlen(KEYS.session(session.sid).stream("metrics")) == 1


@pytest.mark.parametrize("count", [MAX_INFO_FIELDS + 1, 4_500])
def test_more_describing_fields_than_are_kept_are_cut_and_counted(place: Place, count: int) -> None:
    sink = place.sink(**{f"field {n}": "x" for n in range(count)})
    session = sink.register()
    sink.publish(session.session_id, Batch("w", 1, (MetricsEntry({"a": 1}, 5),)))
    info = decode_info(plain(place.redis.hgetall(KEYS.session(session.sid).info)))
    assert len(info) == MAX_INFO_FIELDS
    assert info["…"] == f"{count - MAX_INFO_FIELDS + 1} more fields are not kept"


def test_describing_fields_are_bounded_in_bytes_not_in_characters(place: Place) -> None:
    sink = place.sink(**{f"field {n}": "é🙂" * 8_000 for n in range(24)})
    session = sink.register()
    stored = place.redis.hget(KEYS.session(session.sid).info, "info")
    assert len(stored) < MAX_INFO_BYTES + 100
    assert "…" in json.loads(stored)


def test_sessions_of_older_versions_keep_their_describing_fields() -> None:
    flat = {"run": "digest", "name": "n", "started": "17", "shown": "x", "shown_ms": "y", "env": "Pong", "info": "text"}
    assert decode_info(flat) == {"env": "Pong", "info": "text"}
    assert decode_info(flat | {"info": '{"env": 5, "a": "b"}'}) == {"a": "b"}
    assert decode_info({}) == {}


def test_a_session_whose_hash_a_users_fields_overwrote_publishes_and_claims(store: Place) -> None:
    session = replies.parse_register(
        store.run(scripts.register("default", run_id="r", name="n", limits=Limits(), info={}))
    )
    info = KEYS.session(session.sid).info
    store.redis.hset(info, mapping={"shown": "x", "shown_ms": "y", "started": "z", "env": "Pong"})
    for number, claim in enumerate((None, Claim((1, 0)), Claim((1, 0))), 1):
        batch = Batch("w", number, (MetricsEntry({"a": number}, 5), FrameEntry(JPEG, 5)), claim)
        reply = replies.parse_publish(store.run(scripts.publish(SessionId(session.session_id), batch, Limits())))
        assert reply.last_id
        assert reply.shown == (claim.env if claim else None)
    joined = replies.parse_register(store.run(scripts.register("default", run_id="r", name="n", limits=Limits())))
    assert joined.session_id == session.session_id
    with pytest.raises(replies.SessionHeldError) as caught:
        replies.parse_register(store.run(scripts.register("default", run_id="other", name="n", limits=Limits())))
    assert caught.value.holder.started_ms == 0
