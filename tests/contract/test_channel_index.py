"""The index of channels: every way to write notes its channel, and the index stays bounded."""

from __future__ import annotations

import dataclasses

import pytest

from hud_publisher.protocol import scripts
from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.entries import Limits
from hud_publisher.protocol.keys import CHANNELS
from hud_publisher.protocol.scripts import MAX_CHANNELS
from tests.contract.conftest import Place


def indexed(place: Place) -> list[str]:
    return [name.decode() for name in place.redis.zrevrange(CHANNELS, 0, -1)]


def test_a_registration_notes_its_channel(place: Place) -> None:
    place.sink(channel="team-a").register()
    place.sink(channel="team-b").register()
    assert set(indexed(place)) == {"team-a", "team-b"}
    assert 0 < place.redis.pttl(CHANNELS) <= Limits().retention_ms


def test_a_new_session_notes_its_channel_at_once_in_a_redis_that_lost_everything(place: Place) -> None:
    sink = place.sink(channel="team-a")
    sink.register()
    place.redis.flushall()
    assert not sink.register().joined
    assert indexed(place) == ["team-a"]


def test_a_heartbeat_notes_its_channel_again_after_a_while(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = place.sink(channel="long-run")
    session = sink.register()
    place.redis.delete(CHANNELS)
    sink.publish(session.session_id, Batch("w"))
    assert indexed(place) == []  # it was noted a moment ago
    if place.name == "http":  # the patch does not reach the server's process
        return
    monkeypatch.setattr(scripts, "TOUCH_S", 0.0)
    sink.publish(session.session_id, Batch("w"))
    assert indexed(place) == ["long-run"]


def test_an_index_of_another_type_ends_no_session(place: Place) -> None:
    place.redis.set(CHANNELS, "not a sorted set")
    sink = place.sink(channel="team-a")
    session = sink.register()
    assert sink.publish(session.session_id, Batch("w")).viewers == 0


def test_the_index_keeps_the_newest_channels_within_number_and_age(store: Place) -> None:
    store.redis.zadd(CHANNELS, {"ancient": 1_000.0})
    store.redis.zadd(CHANNELS, {f"c{n}": 4e12 - n for n in range(MAX_CHANNELS)})
    store.run(scripts.touch("newcomer", Limits()))
    assert store.redis.zcard(CHANNELS) == MAX_CHANNELS
    assert store.redis.zscore(CHANNELS, "ancient") is None
    store.redis.delete(CHANNELS)
    store.redis.zadd(CHANNELS, {"ancient": 1_000.0})
    store.run(scripts.touch("newcomer", dataclasses.replace(Limits(), retention_ms=60_000)))
    assert indexed(store) == ["newcomer"]
