"""The rules of a session on every server that runs our scripts: the holder, the lease and the stored data."""

from __future__ import annotations

from typing import Any

import pytest

from hud_publisher.protocol import replies, scripts
from hud_publisher.protocol.batch import Batch, Claim, Published, Registered
from hud_publisher.protocol.batch_body import check_metrics
from hud_publisher.protocol.entries import Entry, FrameEntry, Limits, MetricsEntry, VisionEntry, bounds
from hud_publisher.protocol.errors import SessionHeldError, SessionNotActiveError
from hud_publisher.protocol.keys import ChannelKeys, SessionId
from hud_publisher.protocol.stored import decode_state
from tests.contract.conftest import Place
from tests.fixtures.publishing import JPEG
from tests.fixtures.servers import wait_until

KEYS = ChannelKeys("default")
LIMITS = Limits()


def register(store: Place, run_id: str | None = "run", *, name: str = "", **options: Any) -> Registered:
    call = scripts.register("default", run_id=run_id, name=name, **({"limits": LIMITS} | options))
    return replies.parse_register(store.run(call))


def publish(
    store: Place, session_id: str, *entries: Entry, number: int = 0, writer: str = "w", **rest: Any
) -> Published:
    limits = rest.pop("limits", LIMITS)
    batch = Batch(writer, number, entries, rest.pop("claim", None))
    return replies.parse_publish(store.run(scripts.publish(SessionId(session_id), batch, limits)))


def fields(**data: Any) -> MetricsEntry:
    return check_metrics(data, 1, 1)


def expire(store: Place) -> None:
    """The lease runs out."""
    assert store.redis.delete(KEYS.lock)


def state(store: Place, sid: str) -> dict[str, Any]:
    return decode_state(store.redis.hgetall(KEYS.session(sid).state))


def length(store: Place, sid: str, stream: str = "metrics") -> int:
    return int(store.redis.xlen(KEYS.session(sid).stream(stream)))


def milliseconds(store: Place) -> int:
    seconds, micros = store.redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


def events(store: Place) -> list[tuple[str, str]]:
    return [(entry[b"kind"].decode(), entry[b"sid"].decode()) for _id, entry in store.redis.xrange(KEYS.events)]


def info(store: Place, sid: str) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in store.redis.hgetall(KEYS.session(sid).info).items()}


def test_a_session_holds_its_channel_for_its_ttl(store: Place) -> None:
    session = register(store)
    assert 29_000 < store.redis.pttl(KEYS.lock) <= 30_000
    assert events(store) == [("started", session.sid)]


def test_driver_and_runners_of_one_run_share_a_session_in_any_order(store: Place) -> None:
    sessions = [register(store) for _ in range(5)]
    assert len({session.session_id for session in sessions}) == 1
    assert [session.joined for session in sessions] == [False, True, True, True, True]


def test_joining_renews_the_lease(store: Place) -> None:
    register(store)
    store.redis.pexpire(KEYS.lock, 1_000)
    register(store)
    assert store.redis.pttl(KEYS.lock) > 20_000


def test_a_run_without_an_id_shares_with_nobody(store: Place) -> None:
    register(store, None)
    with pytest.raises(SessionHeldError):
        register(store, None)


def test_another_run_is_refused_and_changes_nothing(store: Place) -> None:
    session = register(store, "one", name="the first")
    store.redis.pexpire(KEYS.lock, 5_000)
    with pytest.raises(SessionHeldError) as refusal:
        register(store, "two")
    assert refusal.value.holder.sid == session.sid
    assert refusal.value.holder.name == "the first"
    assert 0 < refusal.value.holder.retry_after_ms <= 5_000
    assert store.redis.pttl(KEYS.lock) <= 5_000
    assert events(store) == [("started", session.sid)]


def test_after_the_ttl_another_run_gets_the_channel(store: Place) -> None:
    first = register(store, "one")
    expire(store)
    second = register(store, "two")
    assert int(second.sid) > int(first.sid)
    assert info(store, first.sid)["ended_by"] == "expired"
    assert events(store) == [("started", first.sid), ("ended", first.sid), ("started", second.sid)]


def test_late_holder_cannot_append_after_its_lock_expired(store: Place) -> None:
    session = register(store)
    expire(store)
    with pytest.raises(SessionNotActiveError):
        publish(store, session.session_id, fields(a=1), number=1)
    assert length(store, session.sid) == 0
    assert state(store, session.sid) == {}


def test_late_holder_cannot_append_once_another_run_has_the_channel(store: Place) -> None:
    first = register(store, "one")
    expire(store)
    second = register(store, "two")
    with pytest.raises(SessionNotActiveError):
        publish(store, first.session_id, fields(a=1), number=1)
    assert (length(store, first.sid), length(store, second.sid)) == (0, 0)


def test_a_late_holder_does_not_renew_the_lease_of_the_next(store: Place) -> None:
    first = register(store, "one")
    expire(store)
    register(store, "two")
    store.redis.pexpire(KEYS.lock, 1_000)
    with pytest.raises(SessionNotActiveError):
        publish(store, first.session_id)
    assert store.redis.pttl(KEYS.lock) <= 1_000


def test_a_run_whose_lease_ran_out_goes_on_in_its_session_under_a_new_secret(store: Place) -> None:
    first = register(store)
    publish(store, first.session_id, fields(a=1), number=1)
    expire(store)
    again = register(store)
    assert (again.sid, again.joined) == (first.sid, False)
    assert again.session_id != first.session_id
    with pytest.raises(SessionNotActiveError):
        publish(store, first.session_id, fields(a=9), number=2)
    assert publish(store, again.session_id, fields(a=1), number=1).is_duplicate
    publish(store, again.session_id, fields(a=2), number=2)
    assert length(store, first.sid) == 2


def test_a_released_session_is_over_even_for_its_run(store: Place) -> None:
    first = register(store)
    replies.parse_release(store.run(scripts.release(first.session_id)))
    second = register(store)
    assert second.sid != first.sid
    assert not second.joined


def test_a_takeover_ends_the_holder_at_once(store: Place) -> None:
    first = register(store, "one")
    second = register(store, "two", takeover=True)
    with pytest.raises(SessionNotActiveError):
        publish(store, first.session_id, fields(a=1), number=1)
    publish(store, second.session_id, fields(a=1), number=1)
    assert info(store, first.sid)["ended_by"] == "taken over"
    assert events(store) == [("started", first.sid), ("taken over", first.sid), ("started", second.sid)]


def test_a_takeover_by_the_run_itself_is_a_join(store: Place) -> None:
    first = register(store)
    again = register(store, takeover=True)
    assert (again.session_id, again.joined) == (first.session_id, True)


def test_the_fence_grows_even_if_the_clock_is_behind_it(store: Place) -> None:
    future = milliseconds(store) + 3_600_000
    store.redis.set(KEYS.fence, future)
    assert int(register(store).sid) == future + 1


def test_the_fence_grows_past_a_failover_that_forgot_it(store: Place) -> None:
    first = register(store, "one")
    store.redis.delete(KEYS.fence, KEYS.lock)
    wait_until(lambda: milliseconds(store) > int(first.sid), "the next millisecond")
    assert int(register(store, "two").sid) > int(first.sid)


def test_a_release_frees_the_channel_at_once(store: Place) -> None:
    first = register(store, "one")
    assert replies.parse_release(store.run(scripts.release(first.session_id))) == ("released", first.sid)
    assert info(store, first.sid)["ended_by"] == "released"
    assert not register(store, "two").joined


def test_a_release_is_idempotent(store: Place) -> None:
    session = register(store)
    store.run(scripts.release(session.session_id))
    assert replies.parse_release(store.run(scripts.release(session.session_id))) == ("not held", None)
    assert events(store) == [("started", session.sid), ("ended", session.sid)]


def test_only_the_holder_releases(store: Place) -> None:
    first = register(store, "one")
    expire(store)
    second = register(store, "two")
    assert replies.parse_release(store.run(scripts.release(first.session_id))) == ("not held", None)
    publish(store, second.session_id, fields(a=1), number=1)


def test_a_reset_ends_the_holder_of_a_channel_if_there_is_one(store: Place) -> None:
    assert replies.parse_release(store.run(scripts.reset("default"))) == ("not held", None)
    session = register(store)
    assert replies.parse_release(store.run(scripts.reset("default"))) == ("released", session.sid)
    assert info(store, session.sid)["ended_by"] == "reset"
    with pytest.raises(SessionNotActiveError):
        publish(store, session.session_id)


def test_each_writer_has_separate_numbers(store: Place) -> None:
    session = register(store)
    for writer in ("driver", "w1", "w2"):
        assert not publish(store, session.session_id, fields(a=1), number=1, writer=writer).is_duplicate
    assert length(store, session.sid) == 3


def test_a_number_that_is_not_above_the_last_is_a_repetition(store: Place) -> None:
    session = register(store)
    for number in (1, 2, 7):
        publish(store, session.session_id, fields(a=number), number=number)
    for number in (1, 2, 6, 7):
        assert publish(store, session.session_id, fields(a=0), number=number).is_duplicate
    assert not publish(store, session.session_id, fields(a=8), number=8).is_duplicate
    assert state(store, session.sid) == {"a": 8}


def test_numbers_beyond_32_bits_are_distinguished(store: Place) -> None:
    session = register(store)
    for number in (2**40, 2**40 + 1, 2**53 - 1):
        assert not publish(store, session.session_id, fields(a=1), number=number).is_duplicate
        assert publish(store, session.session_id, fields(a=1), number=number).is_duplicate


def test_entries_without_a_number_are_never_repetitions(store: Place) -> None:
    session = register(store)
    publish(store, session.session_id, fields(a=1))
    publish(store, session.session_id, fields(a=1))
    assert length(store, session.sid) == 2


def test_a_missing_null_or_infinite_value_never_overwrites_a_real_one(store: Place) -> None:
    session = register(store)
    publish(store, session.session_id, fields(reward=1.5, health={"current": 3, "max": 5}), number=1)
    publish(
        store, session.session_id,
        fields(reward=None, loss=float("nan"), health={"current": float("inf"), "max": None}), number=1, writer="other",
    )  # fmt: skip
    publish(store, session.session_id, fields(health={}), number=2, writer="other")
    assert state(store, session.sid) == {"reward": 1.5, "health": {"current": 3, "max": 5}}


def test_of_two_writers_of_a_field_the_newer_entry_wins(store: Place) -> None:
    session = register(store)
    publish(store, session.session_id, fields(a=1, b=1), number=1, writer="one")
    publish(store, session.session_id, fields(a=2), number=1, writer="two")
    publish(store, session.session_id, fields(b=3), number=2, writer="one")
    assert state(store, session.sid) == {"a": 2, "b": 3}


def test_a_field_that_was_a_mapping_may_become_a_number_and_back(store: Place) -> None:
    session = register(store)
    publish(store, session.session_id, fields(a={"b": 1}), number=1)
    publish(store, session.session_id, fields(a=5), number=2)
    assert state(store, session.sid) == {"a": 5}
    publish(store, session.session_id, fields(a={"c": 2}), number=3)
    assert state(store, session.sid)["a"]["c"] == 2


def test_the_reporter_stays_while_it_claims_and_is_replaced_once_silent(store: Place) -> None:
    session = register(store)
    assert publish(store, session.session_id, claim=Claim((1, 0))).shown == (1, 0)
    assert publish(store, session.session_id, claim=Claim((2, 0))).shown == (1, 0)
    past = int(store.redis.hget(KEYS.session(session.sid).info, "shown_ms")) - 10_001
    store.redis.hset(KEYS.session(session.sid).info, "shown_ms", past)
    told = publish(store, session.session_id)
    assert told.shown == (1, 0)
    assert told.shown_age_ms is not None
    assert told.shown_age_ms > 10_000
    assert publish(store, session.session_id, claim=Claim((2, 0))).shown == (2, 0)


def test_frames_of_an_env_that_is_not_shown_any_more_are_skipped(store: Place) -> None:
    session = register(store)
    both = (fields(a=1), FrameEntry(JPEG, 1, env=(1, 0)))
    assert publish(store, session.session_id, *both, number=1, claim=Claim((1, 0))).shown == (1, 0)
    publish(store, session.session_id, writer="w2", claim=Claim((2, 0), is_preferred=True))
    assert publish(store, session.session_id, *both, number=2, claim=Claim((1, 0))).shown == (2, 0)
    assert length(store, session.sid, "frames") == 1
    assert length(store, session.sid) == 2
    publish(store, session.session_id, FrameEntry(JPEG, 1, env=(1, 0)), number=3)  # nobody's claim: any publisher
    assert length(store, session.sid, "frames") == 2


def test_the_env_that_was_asked_for_takes_the_place_of_any_other(store: Place) -> None:
    session = register(store)
    publish(store, session.session_id, claim=Claim((1, 0)))
    assert publish(store, session.session_id, claim=Claim((2, 1), is_preferred=True)).shown == (2, 1)
    assert publish(store, session.session_id, claim=Claim((1, 0))).shown == (2, 1)


def test_streams_stay_within_their_bounds(store: Place) -> None:
    session = register(store)
    small = {**bounds(300.0)}
    limits = Limits(streams={**small, "thumbs": small["thumbs"]})
    picture = JPEG + bytes(200_000)
    for number in range(1, 41):
        frame = FrameEntry(picture, number, stream="thumbs")
        publish(store, session.session_id, frame, number=number, limits=limits)
    kept = length(store, session.sid, "thumbs") * len(picture)
    # Redis trims whole nodes of up to 4 KB or 100 entries: a few pictures above the bound may remain.
    assert kept <= small["thumbs"].stream_bytes * 1.5


def test_everything_of_a_session_ends_with_its_retention(store: Place) -> None:
    session = register(store, limits=Limits(retention_ms=60_000))
    publish(store, session.session_id, fields(a=1), FrameEntry(JPEG, 1), number=1, limits=Limits(retention_ms=60_000))
    ours = [key for key in store.redis.scan_iter("*") if f"s:{session.sid}".encode() in key]
    assert len(ours) >= 5
    assert all(0 < store.redis.pttl(key) <= 60_000 for key in ours)


def test_a_session_stays_for_its_retention_after_its_last_entry(store: Place) -> None:
    limits = Limits(retention_ms=60_000)
    session = register(store, limits=limits)
    for number in range(1, 41):  # enough for pieces of the history
        publish(store, session.session_id, fields(a=number), FrameEntry(JPEG, 1), number=number, limits=limits)
    ours = [key for key in store.redis.scan_iter("*") if f"s:{session.sid}".encode() in key]
    assert any(key.endswith(b":metrics:past") for key in ours)
    for key in ours:
        store.redis.pexpire(key, 58_000)
    publish(store, session.session_id, fields(a=41), number=41, limits=limits)
    assert {key: store.redis.pttl(key) for key in ours if store.redis.pttl(key) < 59_000} == {}


def test_new_keys_of_a_session_end_with_it(store: Place) -> None:
    limits = Limits(retention_ms=60_000)
    session = register(store, limits=limits)
    publish(store, session.session_id, fields(a=1), number=1, limits=limits)
    publish(store, session.session_id, FrameEntry(JPEG, 1), number=2, limits=limits)
    publish(store, session.session_id, check_metrics({"b": 1}, 1, 1, "iterations"), number=3, limits=limits)
    publish(store, session.session_id, VisionEntry(JPEG, 1), number=4, limits=limits)
    ours = [key for key in store.redis.scan_iter("*") if f"s:{session.sid}".encode() in key]
    assert {key: store.redis.pttl(key) for key in ours if not 0 < store.redis.pttl(key) <= 60_000} == {}


def test_no_key_or_value_shows_the_run_id_and_only_the_lock_holds_the_secret(store: Place) -> None:
    session = register(store, "secret-run-id")
    publish(store, session.session_id, fields(a=1), FrameEntry(JPEG, 1), number=1, claim=Claim((1, 0)))
    secret = session.session_id.rpartition(".")[2]
    dump = {key: store.redis.dump(key) if store.name != "fakeredis" else b"" for key in store.redis.scan_iter("*")}
    holding = [key for key, value in dump.items() if secret.encode() in key + value]
    assert not [key for key, value in dump.items() if b"secret-run-id" in key + value]
    assert holding == ([KEYS.lock.encode()] if store.name != "fakeredis" else [])


def test_a_channels_events_stay_bounded(real_store: Place) -> None:
    for _ in range(scripts.MAX_EVENTS // 2 + 300):
        session = register(real_store)
        real_store.run(scripts.release(session.session_id))
    assert real_store.redis.xlen(KEYS.events) <= scripts.MAX_EVENTS + 100
