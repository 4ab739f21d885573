"""Scripts on keys of another type, on texts that HUD did not write, and on a full Redis: nothing blocks the channel."""

from __future__ import annotations

import pytest
import redis

from hud_publisher.protocol import replies, scripts
from hud_publisher.protocol.batch import Batch, Claim, Published, Registered
from hud_publisher.protocol.entries import STREAMS, Entry, FrameEntry, Limits, MetricsEntry, MindEntry, VisionEntry
from hud_publisher.protocol.errors import MalformedError
from hud_publisher.protocol.keys import ChannelKeys, SessionId
from tests.contract.conftest import Place
from tests.fixtures.publishing import JPEG

KEYS = ChannelKeys("default")
CHANNEL_KEYS = ("lock", "fence", "events", "sessions", "viewers", "reporter")
SESSION_KEYS = ("", ":state", ":seq", *(f":{name}" for name in STREAMS), ":metrics:past", ":metrics:piece",
                ":iterations:past", ":iterations:piece", ":config")  # fmt: skip


def register(store: Place, run_id: str = "run", *, takeover: bool = False) -> Registered:
    call = scripts.register("default", run_id=run_id, name="n", limits=Limits(), takeover=takeover)
    return replies.parse_register(store.run(call))


def publish(store: Place, session: Registered, number: int, entries: tuple[Entry, ...] | None = None) -> Published:
    entries = entries or (
        MetricsEntry({"a": number}, 5), MetricsEntry({"b": number}, 5, stream="iterations"), FrameEntry(JPEG, 5),
        FrameEntry(JPEG, 5, stream="thumbs"), VisionEntry(JPEG, 5), MindEntry({"value": 1.5}, 5),
        MetricsEntry({"c": number}, 5, stream="machine"), MetricsEntry({"d": number}, 5, stream="reports"),
    )  # fmt: skip
    batch = Batch("w", number, entries, Claim((1, 0)))
    replies.parse_describe(store.run(scripts.describe(session.session_id, {"config": "{}"}, Limits())))
    return replies.parse_publish(store.run(scripts.publish(SessionId(session.session_id), batch, Limits())))


def plant(store: Place, key: str) -> None:
    """Store a value at this key that HUD did not write."""
    kind = store.redis.type(key)
    store.redis.delete(key)
    if kind == b"hash":
        store.redis.rpush(key, "not ours")
    else:
        store.redis.hset(key, "not", "ours")


@pytest.mark.parametrize("name", SESSION_KEYS)
def test_a_session_key_of_another_type_costs_only_its_content(store: Place, name: str) -> None:
    session = register(store)
    publish(store, session, 1)
    plant(store, KEYS.session_prefix + session.sid + name)
    for number in range(2, 30):  # enough for a piece of the history
        assert publish(store, session, number).last_id
    keys = KEYS.session(session.sid)
    for stream in STREAMS:
        assert store.redis.xlen(keys.stream(stream)) >= 28
    assert set(store.redis.hkeys(keys.state)) >= {b"a", b"b"}
    assert store.redis.hget(keys.info, "started") == session.sid.encode()
    assert publish(store, session, 29).is_duplicate
    assert store.redis.pttl(KEYS.session_prefix + session.sid + name) > 0
    store.run(scripts.release(session.session_id))
    assert register(store, "next").sid != session.sid


@pytest.mark.parametrize("name", CHANNEL_KEYS)
def test_a_channel_key_of_another_type_does_not_block_the_channel(store: Place, name: str) -> None:
    session = register(store)
    store.run(scripts.watch("default", replica="r", viewers=3, lasts_ms=60_000))
    plant(store, f"hud:{{default}}:{name}")
    if name == "lock":
        with pytest.raises(replies.SessionNotActiveError):
            publish(store, session, 1)
        session = register(store)
    assert publish(store, session, 1).last_id
    assert register(store).joined
    assert store.run(scripts.watch("default", replica="r", viewers=3, lasts_ms=60_000)) == 3
    plant(store, f"hud:{{default}}:{name}")
    store.run(scripts.reset("default"))
    plant(store, f"hud:{{default}}:{name}")
    newer = register(store, "another run")
    assert int(newer.sid) > int(session.sid)
    assert publish(store, newer, 1).last_id


@pytest.mark.parametrize("text", [b"", b"foreign", b"-1", b"1e300", b"9" * 16, b"9" * 40, b"\xff\xfe", b"12 34"])
@pytest.mark.parametrize("name", ["lock", "fence"])
def test_a_text_that_hud_did_not_write_does_not_hold_the_channel(store: Place, name: str, text: bytes) -> None:
    store.redis.set(f"hud:{{default}}:{name}", text)
    session = register(store)
    assert publish(store, session, 1).last_id
    assert register(store).joined
    assert len(session.sid) == 13
    store.redis.set(f"hud:{{default}}:{name}", text)
    newer = register(store, "another run", takeover=True)
    assert int(newer.sid) > int(session.sid)
    assert publish(store, newer, 1).last_id


def test_a_deleted_fence_neither_frees_nor_splits_a_held_session(store: Place) -> None:
    session = register(store)
    store.redis.delete(KEYS.fence)
    assert register(store).session_id == session.session_id
    with pytest.raises(replies.SessionHeldError):
        register(store, "another run")
    store.run(scripts.release(session.session_id))
    assert store.redis.hget(KEYS.session(session.sid).info, "ended_by") == b"released"


def test_the_hash_of_a_live_session_that_was_deleted_comes_back_with_its_lifetime(store: Place) -> None:
    session = register(store)
    store.redis.delete(KEYS.session(session.sid).info)
    publish(store, session, 1)
    assert store.redis.hget(KEYS.session(session.sid).info, "started") == session.sid.encode()
    assert store.redis.pttl(KEYS.session(session.sid).info) > 0


def test_only_the_fence_outlives_the_retention(store: Place) -> None:
    session = register(store)
    publish(store, session, 1)
    store.run(scripts.release(session.session_id))
    lasting = {key for key in store.redis.scan_iter("hud:{default}:*") if store.redis.pttl(key) < 0}
    assert lasting == {KEYS.fence.encode()}


@pytest.mark.parametrize("count", [2_000, 3_500])
def test_a_writer_over_the_bound_is_refused_until_idle_ones_are_forgotten(real_store: Place, count: int) -> None:
    session = register(real_store)
    seq = KEYS.session(session.sid).seq
    metrics = (MetricsEntry({"a": 1}, 5),)
    publish(real_store, session, 1)
    real_store.redis.hset(seq, mapping={f"active{n}": "7 9999999999999" for n in range(count)})
    active = Batch("active0", 8, metrics)
    call = scripts.publish(SessionId(session.session_id), Batch("newcomer", 1, metrics), Limits())
    before = real_store.redis.xlen(KEYS.session(session.sid).stream("metrics"))
    with pytest.raises(MalformedError, match="already has 2,000 writers"):
        replies.parse_publish(real_store.run(call))
    assert real_store.redis.xlen(KEYS.session(session.sid).stream("metrics")) == before
    assert real_store.redis.hlen(seq) == count + 1
    known = scripts.publish(SessionId(session.session_id), active, Limits())
    assert not replies.parse_publish(real_store.run(known)).is_duplicate
    assert replies.parse_publish(real_store.run(known)).is_duplicate
    real_store.redis.hset(seq, mapping={"idle": "7 1000", "of an older version": "7"})
    assert not replies.parse_publish(real_store.run(call)).is_duplicate
    assert replies.parse_publish(real_store.run(call)).is_duplicate
    assert not real_store.redis.hexists(seq, "idle")
    assert not real_store.redis.hexists(seq, "of an older version")
    assert real_store.redis.hexists(seq, "active1")


def test_a_number_that_an_older_version_stored_still_drops_a_repeated_batch(store: Place) -> None:
    session = register(store)
    store.redis.hset(KEYS.session(session.sid).seq, "w", "41")
    assert publish(store, session, 41).is_duplicate
    assert not publish(store, session, 42).is_duplicate


def test_a_full_redis_refuses_a_registration_and_leaves_the_channel_free(real_store: Place) -> None:
    held = register(real_store)
    publish(real_store, held, 1)
    direct = real_store.redis
    limit = direct.config_get("maxmemory")["maxmemory"]
    direct.config_set("maxmemory", "1")
    try:
        assert register(real_store).session_id == held.session_id  # joining needs no room
        assert replies.parse_release(real_store.run(scripts.release(held.session_id)))[0] == "released"
        with pytest.raises(redis.exceptions.ResponseError, match=r"OOM|maxmemory"):
            register(real_store, "another run")
        assert direct.get(KEYS.lock) is None
        with pytest.raises(redis.exceptions.ResponseError, match=r"OOM|maxmemory"):
            real_store.run(scripts.touch("default", Limits()))
    finally:
        direct.config_set("maxmemory", limit)
    assert publish(real_store, register(real_store, "another run"), 1).last_id
