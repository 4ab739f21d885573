"""The live runs as `/stream/runs` sends them, look by look, on a fake Redis. No sleeping."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest

from hud_publisher.protocol.errors import UnavailableError
from hud_publisher.protocol.keys import ChannelKeys
from hud_web.access.budget import Budget, Share
from hud_web.live.outlet import Payload
from hud_web.live.subscriber import STALL_S
from hud_web.runs import overview as module
from hud_web.runs import viewer as viewer_module
from hud_web.runs.overview import Overview
from hud_web.runs.viewer import Viewer
from tests.unit.runs.place import Place, jpeg


class Connection:
    """An outlet that keeps the bytes that were written."""

    takes_chunks = False
    put = None

    def __init__(self) -> None:
        self.data = b""
        self.backlog = 0
        self.is_aborted = self.is_ended = False

    async def start(self, headers: list[tuple[bytes, bytes]]) -> None: ...

    def write(self, payload: Payload) -> None:
        self.data += payload.plain

    def abort(self) -> None:
        self.is_aborted = True

    def end(self, last: Payload) -> None:
        self.is_ended = True

    async def stay(self) -> None: ...

    def take(self) -> list[tuple[str, Any]]:
        """The events since the last call."""
        blocks, self.data = self.data.decode().split("\n\n"), b""
        found = []
        for block in blocks:
            lines = dict(line.partition(": ")[::2] for line in block.splitlines())
            if "event" in lines:
                found.append((lines["event"], json.loads(lines["data"])))
        return found


class Watch:
    """An overview with viewers, looked at by hand."""

    def __init__(self, place: Place) -> None:
        self.overview = Overview(place.store())
        self.budget = Budget(10_000_000, 10_000_000)

    def enter(self, *, pictures: bool = True, curves: bool = False, live: bool = False) -> tuple[Viewer, Connection]:
        viewer = Viewer(
            (pictures, curves, live), ends_s=float("inf"), share=Share(self.budget, "a"), at_close=self.overview.leave
        )
        viewer.outlet = connection = Connection()
        self.overview.enter(viewer)
        viewer.start(b"retry: 1\n\n")
        return viewer, connection


@pytest.fixture
def watch(place: Place) -> Watch:
    return Watch(place)


def parts(events: list[tuple[str, Any]], name: str) -> list[Any]:
    return [item for event, data in events if event in ("runs", "changes") for item in data.get(name, [])]


async def test_a_new_viewer_gets_the_status_and_all_runs_then_only_what_changed(place: Place, watch: Watch) -> None:
    first = place.begin("a", name="first", info={"env": "Pong"})
    place.log(first, {"episode_return_mean": 2.0}, step=10)
    _viewer, connection = watch.enter()
    await watch.overview.look()
    (status, about), (name, data) = connection.take()
    assert (status, about["redis"], about["detail"], name) == ("status", "ok", None, "runs")
    [card] = data["runs"]
    assert (card["name"], card["status"], card["step"], card["info"]) == ("first", "live", 10, {"env": "Pong"})
    assert card["return"] == {"value": 2.0, "label": "Episode return (mean)", "path": "episode_return_mean"}
    assert "columns" not in card
    await watch.overview.look()
    assert connection.take() == []
    place.log(first, {"episode_return_mean": 3.0}, step=10)
    second = place.begin("b", name="second")
    await watch.overview.look()
    [(name, data)] = connection.take()
    changed, new = data["runs"]
    assert (name, data["gone"], data["pictures"]) == ("changes", [], [])
    assert changed.keys() == {"channel", "sid", "return", "last_ms"}
    assert (new["channel"], new["sid"], new["name"], new["return"]) == (*second, "second", None)


async def test_a_role_that_appears_later_and_a_nested_one_are_found(place: Place, watch: Watch) -> None:
    key = place.begin()
    _viewer, connection = watch.enter()
    await watch.overview.look()
    place.log(key, {"env_runners": {"episode_return_mean": 4.0, "num_env_steps_sampled_lifetime": 700}})
    await watch.overview.look()
    await watch.overview.look()
    cards = parts(connection.take(), "runs")
    assert cards[-1]["return"]["path"] == "env_runners/episode_return_mean"
    assert (cards[-1]["return"]["value"], cards[-1]["step"]) == (4.0, 700)
    place.log(key, {"env_runners": {"episode_return_mean": 5.0}})
    await watch.overview.look()
    assert parts(connection.take(), "runs")[-1]["return"]["value"] == 5.0


async def test_a_run_that_ends_is_shown_for_ten_minutes_more_and_then_gone(
    place: Place, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = place.begin()
    everything, only_live = watch.enter()[1], watch.enter(live=True)[1]
    await watch.overview.look()
    assert len(parts(only_live.take(), "runs")) == 1
    everything.take()
    place.end(key)
    await watch.overview.look()
    [card] = parts(everything.take(), "runs")
    assert (card["status"], card["ended_by"]) == ("ended", "released")
    assert only_live.take()[0][1]["gone"] == [":".join(key)]
    _viewer, late = watch.enter(live=True)
    await watch.overview.look()
    assert late.take()[1][1]["runs"] == []
    monkeypatch.setattr(module, "SHOWN_MS", -1)
    monkeypatch.setattr(module, "SLOWLY", 1)
    await watch.overview.look()
    assert everything.take()[0][1]["gone"] == [":".join(key)]
    assert not watch.overview.cards


async def test_a_lapsed_run_that_comes_back_is_whole_again_for_viewers_of_live_runs(place: Place, watch: Watch) -> None:
    key = place.begin(name="back")
    _viewer, connection = watch.enter(live=True)
    await watch.overview.look()
    connection.take()
    lock = ChannelKeys(key[0]).lock
    held = place.redis.get(lock)
    place.lapse(key)
    await watch.overview.look()
    assert connection.take()[0][1]["gone"] == [":".join(key)]
    place.redis.set(lock, held)
    await watch.overview.look()
    [card] = parts(connection.take(), "runs")
    assert (card["status"], card["name"]) == ("live", "back")


async def test_a_deleted_run_is_gone_and_new_labels_are_sent(place: Place, watch: Watch) -> None:
    key = place.begin()
    _viewer, connection = watch.enter()
    await watch.overview.look()
    connection.take()
    place.redis.hset(place.info(key), mapping={"labelled": "5", "tags": '["x"]', "note": "n", "pinned": "1"})
    await watch.overview.look()
    assert parts(connection.take(), "runs") == [
        {"channel": key[0], "sid": key[1], "tags": ["x"], "note": "n", "pinned": True}
    ]
    place.end(key)
    place.redis.delete(place.info(key))
    watch.overview.read_again(key)
    await watch.overview.look()
    assert connection.take()[0][1]["gone"] == [":".join(key)]


async def test_each_new_picture_is_sent_once_and_to_those_who_want_it(place: Place, watch: Watch) -> None:
    key = place.begin()
    place.log(key, image=jpeg("red"))
    (_one, seeing), (_two, blind) = watch.enter(), watch.enter(pictures=False)
    await watch.overview.look()
    [picture] = parts(seeing.take(), "pictures")
    assert picture["run"] == ":".join(key)
    assert (picture["mime"], picture["width"], picture["height"]) == ("image/jpeg", 64, 48)
    assert base64.b64decode(picture["image"]) == jpeg("red")
    await watch.overview.look()
    place.log(key, image=jpeg("green"))
    place.log(key, image=jpeg("blue"))
    await watch.overview.look()
    [picture] = parts(seeing.take(), "pictures")
    assert base64.b64decode(picture["image"]) == jpeg("blue")
    assert parts(blind.take(), "pictures") == []


async def test_large_pictures_are_scaled_down_and_broken_ones_are_left_out(place: Place, watch: Watch) -> None:
    noise = bytes(random.Random(1).randbytes(30_000))
    good, bad, cut = place.begin("good"), place.begin("bad"), place.begin("cut")
    large = jpeg("red", (1600, 1200), 95) + bytes(40_000)
    place.log(good, image=large)
    place.log(bad, image=b"\xff\xd8\xff" + noise)
    place.log(cut, image=jpeg()[:-200])
    _viewer, connection = watch.enter()
    await watch.overview.look()
    await watch.overview.look()
    [picture] = parts(connection.take(), "pictures")
    assert (picture["run"], picture["width"], picture["height"]) == (":".join(good), 320, 240)
    assert len(picture["image"]) < 8_000


async def test_pictures_of_many_runs_come_in_events_of_bounded_size(
    place: Place, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewer_module, "PICTURES_BYTES", 2 * len(jpeg()))
    for number in range(5):
        place.log(place.begin(f"c{number}"), image=jpeg())
    _viewer, connection = watch.enter()
    counts = []
    for _ in range(6):
        await watch.overview.look()
        counts.append(len(parts(connection.take(), "pictures")))
    assert sum(counts) == 5
    assert max(counts) <= 2


async def test_a_slow_viewer_is_skipped_and_then_gets_all_runs_and_the_newest_pictures(
    place: Place, watch: Watch
) -> None:
    key = place.begin()
    place.log(key, {"episode_return_mean": 1.0}, image=jpeg("red"))
    viewer, connection = watch.enter()
    await watch.overview.look()
    connection.take()
    viewer.on_full()
    for colour in ("green", "blue"):
        place.log(key, {"episode_return_mean": 2.0}, image=jpeg(colour))
        await watch.overview.look()
    assert connection.data == b""
    viewer.on_room()
    await watch.overview.look()
    (name, data), (_changes, pictures) = connection.take()
    assert (name, data["runs"][0]["return"]["value"]) == ("runs", 2.0)
    assert [base64.b64decode(one["image"]) for one in pictures["pictures"]] == [jpeg("blue")]


async def test_a_viewer_that_reads_nothing_is_cut_and_its_backlog_counts(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, connection = watch.enter()
    now_s = [1000.0]
    monkeypatch.setattr(viewer_module.time, "monotonic", lambda: now_s[0])
    viewer.on_full()
    connection.backlog = 500
    now_s[0] += 3
    await watch.overview.look()
    assert watch.budget.used == 500
    assert not connection.is_aborted
    now_s[0] += STALL_S
    await watch.overview.look()
    assert connection.is_aborted
    viewer.on_gone()
    assert watch.budget.used == 0
    assert not watch.overview.viewers


async def test_redis_that_is_away_is_told_and_all_runs_follow_once_it_is_back(
    place: Place, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.begin(name="there")
    _viewer, connection = watch.enter()
    await watch.overview.look()
    connection.take()
    with monkeypatch.context() as patch:

        async def refuse(*_arguments: object) -> Any:
            raise UnavailableError("gone fishing")

        patch.setattr(watch.overview._store, "pipelined", refuse)
        await watch.overview.look()
        await watch.overview.look()
    [(name, status)] = connection.take()
    assert (name, status["redis"], status["detail"]) == ("status", "away", "gone fishing")
    await watch.overview.look()
    (_status, about), (_runs, data) = connection.take()
    assert about["redis"] == "ok"
    assert [card["name"] for card in data["runs"]] == ["there"]


async def test_a_viewer_of_the_wall_is_no_viewer_of_a_channel(place: Place, watch: Watch) -> None:
    """So training renders as often as for nobody."""
    key = place.begin()
    place.log(key, {"x": 1}, image=jpeg())
    watch.enter(curves=True)
    before = {name: place.redis.dump(name) for name in place.redis.scan_iter("*")}
    for _ in range(3):
        await watch.overview.look()
    assert {name: place.redis.dump(name) for name in place.redis.scan_iter("*")} == before
    assert not place.redis.exists(ChannelKeys(key[0]).viewers)


async def test_a_curve_has_the_history_and_grows_with_each_look(place: Place, watch: Watch) -> None:
    key = place.begin()
    for step in range(35):
        place.log(key, {"episode_return_mean": float(step)}, step=step)
    _viewer, connection = watch.enter(curves=True)
    await watch.overview.look()
    place.log(key, {"episode_return_mean": 99.0}, step=99)
    await watch.overview.look()
    curves = [card["curve"] for card in parts(connection.take(), "runs") if "curve" in card]
    newest = curves[-1]
    assert newest["value"][-1] == 99.0
    assert newest["step"][-1] == 99
    assert newest["value"][0] < 10
    assert newest["time_ms"] == sorted(newest["time_ms"])
    assert 2 < len(newest["value"]) <= 60


async def test_values_that_hud_did_not_write_affect_no_other_run(place: Place, watch: Watch) -> None:
    good, bad, worse = place.begin("a"), place.begin("b"), place.begin("c")
    place.log(good, {"episode_return_mean": 1.5}, step=1)
    place.log(bad, {"episode_return_mean": 1.0}, step=1)
    _viewer, connection = watch.enter(curves=True)
    await watch.overview.look()
    keys, other = ChannelKeys(bad[0]).session(bad[1]), ChannelKeys(worse[0]).session(worse[1])
    place.redis.hset(keys.info, mapping={"labelled": b"\xff", "tags": "[" * 5000, "ended": "x"})
    place.redis.hset(keys.monitor, mapping={"version": b"\xff", "verdict": '{"level": [], "text": {}}'})
    place.redis.hset(keys.state, "episode_return_mean", b"\xff \xff")
    place.redis.xadd(keys.stream("frames"), {"image": b"no picture"})
    place.redis.xadd(keys.stream("iterations"), {"step": b"\xff", "data": "{"})
    for name in (other.state, other.monitor, other.stream("metrics"), other.stream("frames"), other.past("metrics")):
        place.redis.delete(name)
        place.redis.set(name, "of another type")
    place.log(good, {"episode_return_mean": 2.5}, step=2)
    watch.overview._channels.clear()
    await watch.overview.look()
    await watch.overview.look()
    cards = {card["channel"]: card for card in parts(connection.take(), "runs")}
    assert cards["a"]["return"]["value"] == 2.5
    assert set(watch.overview.cards) == {good, bad, worse}


async def test_steps_per_second_are_measured_for_a_run_that_does_not_log_them(
    place: Place, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = place.begin()
    now_s = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s[0])
    _viewer, connection = watch.enter()
    for step in (100, 200, 300, 400):
        place.log(key, {"x": 1}, step=step)
        await watch.overview.look()
        now_s[0] += 2.0
    assert [card["steps_per_s"] for card in parts(connection.take(), "runs") if card.get("steps_per_s")] == [50.0]
    place.log(key, {"sps": 70.0}, step=500)
    await watch.overview.look()
    now_s[0] += 10.0
    await watch.overview.look()
    assert parts(connection.take(), "runs")[-1]["steps_per_s"] == 70.0


async def test_a_draining_replica_ends_the_streams(place: Place) -> None:
    watch = Watch(place)
    watch.overview = Overview(place.store(), is_draining=lambda: True)
    _viewer, connection = watch.enter()
    await watch.overview.look()
    assert not watch.overview.viewers
    assert connection.data == b"retry: 1\n\n"


async def test_the_newest_runs_are_shown_if_there_are_more_than_a_wall_holds(
    place: Place, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CARDS", 3)
    keys = [place.begin(f"c{number}") for number in range(5)]
    for number, key in enumerate(keys):
        place.redis.hset(place.info(key), "started", str(number))
    _viewer, connection = watch.enter()
    await watch.overview.look()
    assert {card["channel"] for card in parts(connection.take(), "runs")} == {"c2", "c3", "c4"}
