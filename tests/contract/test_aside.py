"""A run that finds its channel held gets one of its own, where all of its processes find it, through every sink."""

from __future__ import annotations

import pytest

from hud_publisher.protocol import scripts
from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.entries import MetricsEntry
from hud_publisher.protocol.errors import SessionHeldError, SessionNotActiveError
from hud_publisher.protocol.keys import PAGE, ChannelKeys
from tests.contract.conftest import Place

FIELDS = MetricsEntry({"a": 1}, 1_700_000_000_000, 1)


def test_a_run_beside_another_gets_the_smallest_free_number(place: Place) -> None:
    assert place.sink("one").register().channel == "default"
    own = [place.sink(name).register(aside=True) for name in ("two", "three", "four")]
    assert [session.channel for session in own] == ["default~2", "default~3", "default~4"]
    assert not any(session.joined for session in own)
    place.sink("three").release(own[1].session_id)
    assert place.sink("five").register(aside=True).channel == "default~3"


def test_a_free_channel_is_taken_even_if_the_run_would_go_aside(place: Place) -> None:
    assert place.sink("one").register(aside=True).channel == "default"


def test_all_processes_of_a_run_find_its_own_channel_in_any_order(place: Place) -> None:
    place.sink("one").register()
    with pytest.raises(SessionHeldError):
        place.sink("two").register()
    driver = place.sink("two").register(aside=True)
    for runner in (place.sink("two").register(), place.sink("two").register(aside=True)):
        assert (runner.session_id, runner.joined) == (driver.session_id, True)


def test_a_process_that_starts_after_the_holder_ended_finds_the_runs_own_channel(place: Place) -> None:
    holder = place.sink("one")
    held = holder.register()
    driver = place.sink("two").register(aside=True)
    holder.release(held.session_id)
    assert place.sink("two").register().session_id == driver.session_id
    assert place.sink("three").register().channel == "default"


def test_a_run_that_restarts_with_its_run_id_continues_in_its_own_channel(place: Place) -> None:
    place.sink("one").register()
    before = place.sink("two").register(aside=True)
    place.redis.delete(ChannelKeys("default~2").lock)
    again = place.sink("two").register()
    assert (again.channel, again.sid, again.joined) == ("default~2", before.sid, False)


def test_a_run_that_ended_in_its_own_channel_begins_in_the_one_that_it_asks_for(place: Place) -> None:
    holder = place.sink("one")
    held = holder.register()
    own = place.sink("two")
    own.release(own.register(aside=True).session_id)
    with pytest.raises(SessionHeldError):
        place.sink("two").register()
    holder.release(held.session_id)
    assert place.sink("two").register().channel == "default"


def test_a_run_whose_own_channel_went_to_another_gets_the_next_one(place: Place) -> None:
    place.sink("one").register()
    mine = place.sink("two")
    before = mine.register(aside=True)
    place.redis.delete(ChannelKeys("default~2").lock)
    assert place.sink("three").register(aside=True).channel == "default~2"
    with pytest.raises(SessionNotActiveError):
        mine.publish(before.session_id, Batch("w", 1, (FIELDS,)))
    again = mine.register(aside=True)
    assert again.channel == "default~3"
    assert place.sink("two").register().session_id == again.session_id


def test_the_run_of_a_channel_with_a_number_goes_aside_under_the_same_name(place: Place) -> None:
    place.sink("one", channel="team~2").register()
    assert place.sink("two", channel="team~2").register(aside=True).channel == "team~3"


def test_a_name_of_64_letters_has_room_for_its_number(place: Place) -> None:
    name = "a" * 64
    place.sink("one", channel=name).register()
    assert place.sink("two", channel=name).register(aside=True).channel == f"{name}~2"


def test_two_processes_of_a_run_that_choose_at_once_end_in_the_same_channel(place: Place) -> None:
    place.sink("one").register()
    faster = place.sink("two").register(aside=True)
    place.run(scripts.note_aside("default", run_id="two", ended=2))  # the slower process asks before the note
    blocker = place.sink("blocker", channel="default~3")
    blocked = blocker.register()
    place.run(scripts.note_aside("default", run_id="slow", number=2))
    slower = place.sink("two").register(aside=True)
    assert slower.session_id == faster.session_id
    blocker.release(blocked.session_id)


def test_the_index_lists_a_runs_own_channel(place: Place) -> None:
    place.sink("one").register()
    place.sink("two").register(aside=True)
    assert {name.decode() for name in place.redis.zrange("hud:channels", 0, -1)} == {"default", "default~2"}


def test_a_refusal_tells_for_how_long_the_main_process_was_silent(place: Place) -> None:
    sink = place.sink("one")
    session = sink.register()

    def silent_ms() -> int | None:
        with pytest.raises(SessionHeldError) as refusal:
            place.sink("two").register()
        return refusal.value.holder.silent_ms

    assert silent_ms() is None
    sink.publish(session.session_id, Batch("w1", 1, (FIELDS,)))
    assert silent_ms() is None
    sink.publish(session.session_id, Batch("driver", is_main=True))
    first = silent_ms()
    assert first is not None
    assert first < 5_000
    place.redis.hincrby(ChannelKeys("default").session(session.sid).info, "main_ms", -20_000)
    sink.publish(session.session_id, Batch("w1"))
    later = silent_ms()
    assert later is not None
    assert later >= 20_000
    sink.publish(session.session_id, Batch("driver", is_main=True))
    assert (silent_ms() or 0) < 5_000


def test_no_key_or_value_of_a_runs_own_channel_shows_the_run_id(place: Place) -> None:
    place.sink("one").register()
    place.sink("secret-run-id").register(aside=True)
    keys = list(place.redis.scan_iter("*"))
    assert not [key for key in keys if b"secret-run-id" in key]
    notes = [key for key in keys if b":aside:" in key]
    assert len(notes) == 1
    assert place.redis.get(notes[0]) == b"2"
    assert place.redis.pttl(notes[0]) > 7 * 24 * 3600 * 1000


@pytest.mark.parametrize("garbage", ["", "0", "1e9", "-2", "99999", "x"])
def test_garbage_under_the_key_of_a_note_is_ignored(place: Place, garbage: str) -> None:
    place.sink("one").register()
    key = ChannelKeys("default").aside(scripts.run_digest("two"))
    place.redis.set(key, garbage)
    assert place.sink("two").register(aside=True).channel == "default~2"
    assert place.redis.get(key) == b"2"


def test_a_registration_tells_the_address_of_the_page(place: Place) -> None:
    if place.name == "http":
        assert place.sink("one").register().page == place.options["hud_url"]
        return
    assert place.sink("one").register().page is None
    for stored, page in (("https://hud.example/team", "https://hud.example/team"), ("javascript:x", None)):
        place.redis.set(PAGE, stored)
        assert place.sink("one").register().page == page
