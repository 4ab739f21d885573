"""Every sink does the same: straight into Redis, and through a HUD server over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hud_publisher.protocol import replies, scripts
from hud_publisher.protocol.batch import MAX_BATCH_ENTRIES, Batch, Claim, Reporter
from hud_publisher.protocol.configuration import encode_sections
from hud_publisher.protocol.entries import Entry, FrameEntry, Limits, MetricsEntry, VisionEntry
from hud_publisher.protocol.errors import (
    HudError,
    SessionHeldError,
    SessionNotActiveError,
    StorageFullError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
)
from hud_publisher.protocol.keys import ChannelKeys, SessionId
from hud_publisher.protocol.stored import decode_entry, decode_state
from tests.contract.conftest import Place
from tests.fixtures.publishing import JPEG
from tests.fixtures.servers import wait_until

KEYS = ChannelKeys("default")


def entry(number: int = 1, **fields: Any) -> MetricsEntry:
    return MetricsEntry(fields or {"n": number}, 1_700_000_000_000 + number, number)


def stored(place: Place, sid: str, stream: str) -> list[Entry]:
    return [decode_entry(stream, fields) for _id, fields in place.redis.xrange(KEYS.session(sid).stream(stream))]  # type: ignore[arg-type]


def test_a_free_channel_is_taken(place: Place) -> None:
    session = place.sink(name="ppo", env="Breakout").register()
    assert not session.joined
    assert 29_000 <= session.ttl_ms <= 30_000
    info = place.redis.hgetall(KEYS.session(session.sid).info)
    assert (info[b"name"], json.loads(info[b"info"])) == (b"ppo", {"env": "Breakout"})
    assert place.redis.get(KEYS.lock) == session.session_id.encode()


def test_the_same_run_joins_its_session(place: Place) -> None:
    driver, runner = place.sink("run").register(), place.sink("run").register()
    assert (runner.session_id, runner.sid, runner.joined) == (driver.session_id, driver.sid, True)


def test_another_run_gets_the_name_of_the_holder_and_the_remaining_time(place: Place) -> None:
    holder = place.sink("one", name="the first").register()
    with pytest.raises(SessionHeldError) as refusal:
        place.sink("two").register()
    told = refusal.value.holder
    assert (told.name, told.sid) == ("the first", holder.sid)
    assert told.started_ms > 1_600_000_000_000
    assert 20_000 < told.retry_after_ms <= 30_000


def test_a_takeover_ends_the_holder(place: Place) -> None:
    first = place.sink("one")
    held = first.register()
    if place.name == "http":  # the test's server has no token, so nobody may take over through it
        with pytest.raises(UnauthorizedError):
            place.sink("two").register(takeover=True)
        return
    assert not place.sink("two").register(takeover=True).joined
    with pytest.raises(SessionNotActiveError):
        first.publish(held.session_id, Batch("w"))


def test_channels_are_independent(place: Place) -> None:
    place.sink("one").register()
    assert not place.sink("two", channel="team-a").register().joined


def test_every_kind_of_entry_lands_as_it_was(place: Place) -> None:
    sink = place.sink()
    session = sink.register()
    entries: tuple[Entry, ...] = (
        MetricsEntry({"a": 1, "b": {"c": [1, None, "ü\u2028"]}, "d": 1e300, "e": True}, 1, 7),
        MetricsEntry({"loss": 0.5}, 2, None, "iterations", {"kl": "NaN", "a/b": "Infinity", "c": "-Infinity"}),
        FrameEntry(JPEG, 3, "image/jpeg", 7, 2, (1, 0)),
        FrameEntry(JPEG, 4, "image/jpeg", None, None, (2, 1), "thumbs"),
        VisionEntry(JPEG, 5, "image/jpeg", 412.5, 7, "what?", "left\n“now”", {"action": "LEFT"}),
        VisionEntry(JPEG, 6),
    )
    reply = sink.publish(session.session_id, Batch("w", 1, entries))
    assert not reply.is_duplicate
    assert reply.last_id
    landed = [
        found
        for stream in ("metrics", "iterations", "frames", "thumbs", "vision")
        for found in stored(place, session.sid, stream)
    ]
    assert landed == list(entries)


def test_a_batch_of_large_pictures_lands(place: Place) -> None:
    sink = place.sink()
    session = sink.register()
    picture = JPEG + bytes(900_000)
    sink.publish(session.session_id, Batch("w", 1, tuple(FrameEntry(picture, number) for number in range(4))))
    assert [found.image for found in stored(place, session.sid, "frames")] == [picture] * 4  # type: ignore[union-attr]


def test_a_batch_of_many_entries_lands_in_order(place: Place) -> None:
    sink = place.sink()
    session = sink.register()
    sink.publish(session.session_id, Batch("w", 1, tuple(entry(number) for number in range(MAX_BATCH_ENTRIES))))
    assert [found.step for found in stored(place, session.sid, "metrics")] == list(range(MAX_BATCH_ENTRIES))


def sections(place: Place, sid: str) -> dict[str, Any]:
    stored = place.redis.hgetall(KEYS.session(sid).config)
    return {name.decode(): json.loads(tree) for name, tree in stored.items()}


def test_sections_of_the_configuration_land_and_are_replaced(place: Place) -> None:
    sink = place.sink()
    session = sink.register()
    tree = {"lr": 3e-4, "seed": None, "model": {"fcnet": [64, 64], "ü": "NaN"}, "empty": {}}
    sink.describe(session.session_id, encode_sections({"config": tree, "git": {"commit": "abc"}}))
    assert sections(place, session.sid) == {"config": tree, "git": {"commit": "abc"}}
    sink.describe(session.session_id, encode_sections({"config": {"lr": 1}}))
    assert sections(place, session.sid) == {"config": {"lr": 1}, "git": {"commit": "abc"}}
    assert 0 < place.redis.pttl(KEYS.session(session.sid).config) <= Limits().retention_ms


def test_a_process_that_joined_replaces_no_section(place: Place) -> None:
    sink = place.sink()
    session = sink.register()
    sink.describe(session.session_id, encode_sections({"config": {"a": 1}}))
    sink.describe(session.session_id, encode_sections({"config": {"a": 2}, "more": {"b": 3}}), replaces=False)
    assert sections(place, session.sid) == {"config": {"a": 1}, "more": {"b": 3}}


def test_a_lost_session_stores_no_configuration(place: Place) -> None:
    sink = place.sink()
    session = sink.register()
    sink.release(session.session_id)
    with pytest.raises(SessionNotActiveError):
        sink.describe(session.session_id, encode_sections({"config": {"a": 1}}))
    assert sections(place, session.sid) == {}


def test_the_configuration_of_a_session_is_bounded(place: Place) -> None:
    sink = place.sink()
    session = sink.register()
    large = {f"n{number}": "x" * 3_000 for number in range(50)}
    sink.describe(session.session_id, encode_sections({"one": large}))
    with pytest.raises(TooLargeError):
        sink.describe(session.session_id, encode_sections({"two": large}))
    assert sections(place, session.sid) == {"one": large}
    with pytest.raises(TooLargeError):
        sink.describe(session.session_id, encode_sections({f"s{number}": 1 for number in range(16)}))


def test_a_batch_sent_again_lands_once(place: Place) -> None:
    sink = place.sink()
    session = sink.register()
    batch = Batch("w", 1, (entry(),))
    assert not sink.publish(session.session_id, batch).is_duplicate
    assert sink.publish(session.session_id, batch).is_duplicate
    assert len(stored(place, session.sid, "metrics")) == 1


def test_a_reply_tells_viewers_and_the_wanted_reporter(place: Place) -> None:
    sink = place.sink()
    session = sink.register()
    quiet = sink.publish(session.session_id, Batch("w"))
    assert (quiet.viewers, quiet.reporter, quiet.shown, quiet.shown_age_ms) == (0, None, None, None)
    place.set_viewers(3)
    place.redis.set(KEYS.reporter, replies.encode_reporter(Reporter(2, 1)))
    told = sink.publish(session.session_id, Batch("w"))
    assert (told.viewers, told.reporter) == (3, Reporter(2, 1))


def test_a_claim_is_granted_and_told(place: Place) -> None:
    sink = place.sink()
    session = sink.register()
    first = sink.publish(session.session_id, Batch("w1", claim=Claim((1, 0))))
    assert (first.shown, first.shown_age_ms) == ((1, 0), 0)
    second = sink.publish(session.session_id, Batch("w2", 1, (entry(),), Claim((2, 0))))
    assert second.shown == (1, 0)
    wanted = sink.publish(session.session_id, Batch("w2", claim=Claim((2, 0), is_preferred=True)))
    assert wanted.shown == (2, 0)


def test_a_heartbeat_keeps_the_session(place: Place) -> None:
    sink = place.sink()
    session = sink.register()
    place.redis.pexpire(KEYS.lock, 5_000)
    sink.publish(session.session_id, Batch("w"))
    assert place.redis.pttl(KEYS.lock) > 20_000


def test_a_lost_session_writes_nothing(place: Place) -> None:
    sink = place.sink()
    session = sink.register()
    place.redis.delete(KEYS.lock)
    for batch in (Batch("w", 1, (entry(),)), Batch("w")):
        with pytest.raises(SessionNotActiveError):
            sink.publish(session.session_id, batch)
    assert stored(place, session.sid, "metrics") == []


@pytest.mark.parametrize(
    "session_id", ["", "nonsense", "default.1.aaaaaaaaaaaaaaaaaaaaaaaa", "other.1.aaaaaaaaaaaaaaaaaaaaaaaa"]
)
def test_a_made_up_session_writes_nothing(place: Place, session_id: str) -> None:
    sink = place.sink()
    session = sink.register()
    with pytest.raises(SessionNotActiveError):
        sink.publish(SessionId(session_id), Batch("w", 1, (entry(),)))
    assert stored(place, session.sid, "metrics") == []


def test_a_release_frees_the_channel_and_repeating_it_changes_nothing(place: Place) -> None:
    sink = place.sink("one")
    session = sink.register()
    sink.release(session.session_id)
    sink.release(session.session_id)
    other = place.sink("two").register()
    sink.release(session.session_id)
    assert place.redis.get(KEYS.lock) == other.session_id.encode()
    with pytest.raises(SessionNotActiveError):
        sink.publish(session.session_id, Batch("w", 1, (entry(),)))


def test_the_state_has_the_newest_value_of_every_field(place: Place) -> None:
    sink = place.sink()
    session = sink.register()
    sink.publish(session.session_id, Batch("w", 1, (entry(a=1, b={"c": 1, "d": 2}), entry(b={"c": 3}))))
    sink.publish(session.session_id, Batch("w", 2, (entry(a=4),)))
    assert decode_state(place.redis.hgetall(KEYS.session(session.sid).state)) == {"a": 4, "b": {"c": 3, "d": 2}}


def test_scripts_that_the_server_forgot_are_sent_again(place: Place) -> None:
    sink = place.sink()
    session = sink.register()
    sink.publish(session.session_id, Batch("w"))
    place.redis.script_flush()
    sink.publish(session.session_id, Batch("w", 1, (entry(),)))
    assert len(stored(place, session.sid, "metrics")) == 1


def test_a_closed_sink_opens_again(place: Place) -> None:
    sink = place.sink()
    session = sink.register()
    sink.close()
    sink.close()
    sink.publish(session.session_id, Batch("w", 1, (entry(),)))
    sink.close()
    assert len(stored(place, session.sid, "metrics")) == 1


def test_a_full_redis_takes_no_entries_but_keeps_the_session(real_place: Place) -> None:
    sink = real_place.sink()
    session = sink.register()
    sink.publish(session.session_id, Batch("w", 1, (entry(1),)))
    real_place.redis.config_set("maxmemory", "1")
    try:
        real_place.redis.pexpire(KEYS.lock, 5_000)
        with pytest.raises(StorageFullError):
            sink.publish(session.session_id, Batch("w", 2, (entry(2),)))
        assert sink.publish(session.session_id, Batch("w", 1, (entry(1),))).is_duplicate
        sink.publish(session.session_id, Batch("w"))
        assert real_place.redis.pttl(KEYS.lock) > 20_000
    finally:
        real_place.redis.config_set("maxmemory", "0")
    sink.publish(session.session_id, Batch("w", 2, (entry(2),)))
    assert [found.step for found in stored(real_place, session.sid, "metrics")] == [1, 2]


def test_a_killed_redis_is_unavailable_and_after_its_return_all_goes_on(real_place: Place) -> None:
    assert real_place.server is not None
    sink = real_place.sink()
    session = sink.register()
    sink.publish(session.session_id, Batch("w", 1, (entry(1),)))
    real_place.server.kill()
    with pytest.raises(UnavailableError):
        sink.publish(session.session_id, Batch("w", 2, (entry(2),)))
    with pytest.raises(UnavailableError):
        sink.register()
    real_place.server.restart()

    def answers() -> bool:
        try:
            return not sink.publish(session.session_id, Batch("w", 2, (entry(2),))).is_duplicate
        except UnavailableError:
            return False

    wait_until(answers, "an answer after the restart")
    assert [found.step for found in stored(real_place, session.sid, "metrics")] == [1, 2]


def test_a_stopped_redis_is_unavailable_and_the_write_on_the_way_lands_once(real_place: Place) -> None:
    assert real_place.server is not None
    sink = real_place.sink()
    session = sink.register()
    batch = Batch("w", 1, (entry(1),))
    real_place.server.stop()
    try:
        with pytest.raises(UnavailableError):
            sink.publish(session.session_id, batch)
    finally:
        real_place.server.cont()

    def answers() -> bool:
        try:
            sink.publish(session.session_id, batch)
        except UnavailableError:
            return False
        return True

    wait_until(answers, "an answer after going on")
    assert len(stored(real_place, session.sid, "metrics")) == 1


def test_a_wrong_batch_is_refused_whole(place: Place) -> None:
    sink = place.sink()
    session = sink.register()
    wrong = Batch("w", 1, (entry(1), MetricsEntry({"a": 1}, 1, None, "nonsense")))  # type: ignore[arg-type]
    with pytest.raises((HudError, KeyError)):
        sink.publish(session.session_id, wrong)
    assert stored(place, session.sid, "metrics") == []


def test_scripts_name_every_key_that_they_touch_in_one_slot() -> None:
    session_id = SessionId("team-a.7." + "s" * 20)
    calls = [
        scripts.register("team-a", run_id="r", name="n", limits=Limits()),
        scripts.publish(session_id, Batch("w", 1, (entry(),)), Limits()),
        scripts.release(session_id),
        scripts.reset("team-a"),
    ]
    for call in calls:
        assert all(key.startswith("hud:{team-a}:") for key in call.keys), call.script.name
