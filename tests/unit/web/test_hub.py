"""A hub serves viewers that keep up, that lag, that come late and that stop reading. No sleeping."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from hud_publisher.protocol.entries import EntryId
from hud_publisher.protocol.keys import Sid
from hud_web.access.budget import LEAST_BYTES_PER_S, Budget, Share
from hud_web.live.channels import MAX_KNOWN, MAX_UNKNOWN
from hud_web.live.hub import CHANNEL_BYTES, CHANNELS_BYTES, HEARTBEAT_S, MAX_STATE_BYTES, Hub
from hud_web.live.outlet import FULL_BYTES, Payload
from hud_web.live.subscriber import SLOW_S, STALL_S, Subscriber
from hud_web.store.sse import Position
from hud_web.store.views import SessionView


class Clock:
    """A fake clock that only `advance` moves, with its timers."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def __call__(self) -> float:
        return self.now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Any:
        self.timers.append((self.now + delay_s, callback))

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer[0] <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for _at, callback in due:
            callback()


class FakeOutlet:
    """A viewer that takes everything at once while `is_reading`."""

    def __init__(self, subscriber: Subscriber, *, takes_chunks: bool = False) -> None:
        self.subscriber = subscriber
        self.takes_chunks = takes_chunks
        self.payloads: list[bytes] = []
        self.is_reading = True
        self.is_aborted = False
        self.backlog = 0

    def write(self, payload: Payload) -> None:
        self.put(payload.chunk if self.takes_chunks else payload.plain)

    def put(self, data: bytes) -> None:
        self.payloads.append(data)
        if not self.is_reading:
            was_full = self.backlog > FULL_BYTES
            self.backlog += len(data)
            if self.backlog > FULL_BYTES and not was_full:
                self.subscriber.on_full()

    def read(self) -> None:
        """Take all and go on reading."""
        self.is_reading = True
        was_full, self.backlog = self.backlog > FULL_BYTES, 0
        if was_full:
            self.subscriber.on_room()

    def abort(self) -> None:
        self.is_aborted = True
        self.subscriber.on_gone()

    @property
    def text(self) -> str:
        return b"".join(self.payloads).decode()

    @property
    def numbers(self) -> list[int]:
        return [int(number) for number in re.findall(r'"n":(\d+)', self.text)]

    @property
    def frames(self) -> list[int]:
        return [int(number) for number in re.findall(r'vision_update\ndata: {"frame":(\d+)', self.text)]

    @property
    def snapshots(self) -> list[Any]:
        return [json.loads(data) for data in re.findall(r"event: snapshot\ndata: (.*)\n", self.text)]


class Hall:
    """A hub, its clock, and the actions of a test."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.hub = Hub("default", clock=self.clock, call_later=self.clock.call_later)
        self.hub.switch(SessionView("default", Sid("7")), Position(Sid("7")), {})
        self.hub.preload(self.hub.position, [])
        self.number = 0

    def enter(self, interval_s: float | None = 0.0, *, ends_s: float = 1e9, takes_chunks: bool = False) -> FakeOutlet:
        """A viewer that has its snapshot and follows."""
        viewer = self.hub.enter(interval_s, ends_s=ends_s)
        outlet = FakeOutlet(viewer, takes_chunks=takes_chunks)
        viewer.outlet = outlet  # type: ignore[assignment]
        picture, cursor = self.hub.whole_picture()
        outlet.write(Payload(picture))
        viewer.follow(cursor, has_frame=True)
        return outlet

    def log(self, count: int = 1, *, padding: int = 0) -> None:
        for _ in range(count):
            self.number += 1
            data = {"n": self.number, "pad": "x" * padding}
            encoded = json.dumps(data, separators=(",", ":")).encode()
            self.hub.merge_fields(data, (), len(encoded))
            self.hub.put_entry("metrics", EntryId(f"{self.number}-0"), "training_update", encoded)

    def frame(self, number: int) -> None:
        self.hub.pictures.put_frame(b'{"frame":%d}' % number)


@pytest.fixture
async def hall() -> Hall:
    return Hall()


async def test_events_of_one_read_are_framed_once_and_written_once_to_each(hall: Hall) -> None:
    outlets = [hall.enter() for _ in range(3)]
    chunked = hall.enter(takes_chunks=True)
    before = [len(outlet.payloads) for outlet in outlets]
    hall.log(5)
    hall.frame(1)
    hall.hub.wake()
    pieces = {id(outlet.payloads[-1]) for outlet in outlets}
    assert len(pieces) == 1
    assert [len(outlet.payloads) for outlet in outlets] == [count + 1 for count in before]
    assert [outlet.numbers for outlet in outlets] == [[1, 2, 3, 4, 5]] * 3
    assert [outlet.frames for outlet in outlets] == [[1]] * 3
    plain = outlets[0].payloads[-1]
    assert chunked.payloads[-1] == b"%x\r\n" % len(plain) + plain + b"\r\n"


async def test_a_newcomer_gets_each_number_once_in_its_snapshot_or_live(hall: Hall) -> None:
    early = hall.enter()
    hall.log(2)
    late = hall.enter()  # the event above is not delivered yet
    hall.log()
    hall.hub.wake()
    assert late.snapshots[0]["state"]["n"] == 2
    assert [number for number in late.numbers if number > 2] == [3]
    assert late.text.count("event: training_update\n") == 1
    assert early.numbers == [1, 2, 3]


async def test_a_newcomer_gets_the_newest_pictures_although_no_event_came_since_the_last_snapshot(hall: Hall) -> None:
    pictures, shown = hall.hub.pictures, []
    for change in (lambda: hall.frame(1), lambda: pictures.put_vision(b'{"call":2}'), lambda: hall.frame(3)):
        change()
        (snapshot,) = hall.enter().snapshots
        shown.append((snapshot["frame"], snapshot["vision"]))
    assert shown == [({"frame": 1}, None), ({"frame": 1}, {"call": 2}), ({"frame": 3}, {"call": 2})]


async def test_a_viewer_that_is_full_is_left_alone_and_then_gets_all_metrics_and_the_newest_frame(hall: Hall) -> None:
    slow, quick = hall.enter(), hall.enter()
    slow.is_reading = False
    hall.log(1, padding=FULL_BYTES)
    hall.frame(1)
    hall.hub.wake()
    taken = len(slow.payloads)
    for number in range(2, 9):
        hall.log()
        hall.frame(number)
        hall.hub.wake()
    assert len(slow.payloads) == taken
    assert quick.numbers == list(range(1, 9))
    slow.read()
    assert slow.numbers == list(range(1, 9))
    assert slow.frames == [1, 8]
    assert quick.frames == list(range(1, 9))
    assert hall.hub.tally.drops["frame skipped"] == 6
    hall.log()
    hall.hub.wake()
    assert slow.numbers == list(range(1, 10))
    assert not slow.snapshots[1:]


async def test_a_viewer_that_catches_up_gets_at_most_a_full_buffer_at_once(hall: Hall) -> None:
    slow = hall.enter()
    slow.is_reading = False
    hall.log(2, padding=FULL_BYTES)
    hall.hub.wake()
    hall.log(40, padding=FULL_BYTES)
    hall.hub.wake()
    before = len(slow.payloads)
    slow.backlog, slow.is_reading = 0, False
    slow.subscriber.on_room()
    assert len(slow.payloads) == before + 1
    for _ in range(60):
        slow.is_reading = False
        slow.backlog = 0
        slow.subscriber.on_room()
    assert slow.numbers == list(range(1, 43))


async def test_a_viewer_that_fell_off_the_ring_is_reset_and_gets_a_snapshot(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hud_web.live.ring.RING_EVENTS", 4)
    slow = hall.enter()
    slow.is_reading = False
    hall.log(1, padding=FULL_BYTES)
    hall.hub.wake()
    hall.log(9)
    hall.hub.wake()
    slow.read()
    assert slow.text.index("event: reset") < slow.text.rindex("event: snapshot")
    assert slow.snapshots[-1]["state"]["n"] == 10
    assert hall.hub.tally.drops["viewer fell behind"] == 1
    hall.log()
    hall.hub.wake()
    assert slow.numbers[-1] == 11
    assert slow.text.count('event: training_update\ndata: {"n":10,') == 0


async def test_frames_come_at_most_as_often_as_asked_and_the_newest_is_never_kept_back(hall: Hall) -> None:
    few, none = hall.enter(2.0), hall.enter(None)
    for number in range(1, 6):
        hall.frame(number)
        hall.hub.wake()
        hall.clock.advance(0.1)
    assert few.frames == [1]
    hall.clock.advance(2.0)
    assert few.frames == [1, 5]
    assert none.frames == []
    hall.clock.advance(10.0)
    assert few.frames == [1, 5]
    assert hall.hub.tally.drops["frame skipped"] == 0  # the viewer requested this rate


async def test_thumbnails_come_once_and_to_newcomers_at_once(hall: Hall) -> None:
    early = hall.enter()
    hall.hub.pictures.put_thumb((1, 0), b'"a"')
    hall.hub.pictures.put_thumb((1, 1), b'"b"')
    hall.hub.wake()
    hall.hub.pictures.put_thumb((1, 0), b'"c"')
    hall.hub.wake()
    late, none = hall.enter(), hall.enter(None)
    assert re.findall(r"thumbnail\ndata: (.*)", early.text) == ['"a"', '"b"', '"c"']
    assert sorted(re.findall(r"thumbnail\ndata: (.*)", late.text)) == ['"b"', '"c"']
    assert "thumbnail" not in none.text


async def test_a_viewer_that_takes_nothing_or_only_trickles_is_cut_and_one_that_takes_its_time_is_not(
    hall: Hall,
) -> None:
    dead, trickling, slow = hall.enter(), hall.enter(), hall.enter()
    dead.is_reading = trickling.is_reading = slow.is_reading = False
    size = 100 * LEAST_BYTES_PER_S
    hall.log(1, padding=size)
    hall.hub.wake()
    for _ in range(int(STALL_S + 100) + 5):
        hall.clock.advance(1.0)
        trickling.backlog -= 1
        slow.backlog -= LEAST_BYTES_PER_S
        if 0 < slow.backlog < FULL_BYTES // 4:
            slow.backlog = FULL_BYTES + 1
            slow.read()
        hall.hub.tick()
    assert dead.is_aborted
    assert dead.subscriber.is_closed
    assert trickling.is_aborted
    assert not slow.is_aborted
    assert hall.hub.tally.drops["viewer stalled"] == 2


async def test_unread_bytes_of_slow_viewers_count_against_their_address(hall: Hall) -> None:
    budget = Budget(100 * FULL_BYTES, 10 * FULL_BYTES)
    outlets = []
    for number in range(10):
        viewer = hall.hub.enter(0.0, ends_s=1e9, share=Share(budget, "a" if number else "b"))
        outlet = FakeOutlet(viewer)
        viewer.outlet = outlet  # type: ignore[assignment]
        viewer.follow(hall.hub.wake(), has_frame=True)
        outlet.is_reading = False
        outlets.append(outlet)
    hall.log(1, padding=2 * FULL_BYTES)
    hall.hub.wake()
    hall.hub.tick()
    assert budget.used == 0  # for a moment every viewer of a large event has no room
    hall.clock.advance(SLOW_S)
    hall.hub.tick()
    assert sum(outlet.is_aborted for outlet in outlets[1:]) == 5
    assert not outlets[0].is_aborted
    assert budget.used == sum(outlet.backlog for outlet in outlets if not outlet.is_aborted)
    for outlet in outlets:
        if not outlet.is_aborted:
            outlet.read()
    assert budget.used == 0
    assert outlets[0].numbers == [1]


async def test_a_viewer_of_a_small_backlog_is_cut_soon(hall: Hall) -> None:
    dead = hall.enter()
    dead.is_reading = False
    hall.log(1, padding=2 * FULL_BYTES)
    hall.hub.wake()
    for _ in range(int(STALL_S) + 6):
        hall.clock.advance(1.0)
        hall.hub.tick()
    assert dead.is_aborted


def minds(outlet: FakeOutlet) -> list[Any]:
    """The data of the events `mind` that a viewer got."""
    return [json.loads(data) for data in re.findall(rb"event: mind\ndata: (.*)\n", b"".join(outlet.payloads))]


async def test_the_newest_view_of_the_policy_wins_and_comes_without_its_picture_to_who_wants_none(hall: Hall) -> None:
    slow, plain = hall.enter(1.0), hall.enter(None)
    hall.hub.wake()
    for number in range(6):
        hall.hub.pictures.put_mind(b'{"image":"AAAA","n":%d}' % number, b'{"image":null,"n":%d}' % number)
        hall.hub.wake()
        hall.clock.advance(0.2)
    assert [mind["n"] for mind in minds(slow)] == [0, 4]  # one per second; the others were replaced
    assert minds(slow)[-1]["image"] == "AAAA"
    assert [(mind["n"], mind["image"]) for mind in minds(plain)] == [(number, None) for number in range(6)]


async def test_a_viewer_that_was_full_gets_the_newest_view_of_the_policy_once(hall: Hall) -> None:
    viewer = hall.enter()
    viewer.is_reading = False
    hall.log(1, padding=2 * FULL_BYTES)
    hall.hub.wake()
    for number in range(3):
        hall.hub.pictures.put_mind(b'{"n":%d}' % number, b"{}")
        hall.hub.wake()
    viewer.read()
    hall.hub.wake()
    assert [mind["n"] for mind in minds(viewer)] == [2]
    late = hall.enter()
    assert minds(late) == []  # it is in the snapshot
    assert b'"mind":{"n":2}' in hall.hub.snapshot_event()


async def test_a_view_with_a_large_picture_is_kept_without_it(hall: Hall) -> None:
    hall.hub.pictures.put_mind(b'{"image":"%b"}' % (b"A" * CHANNEL_BYTES), b'{"image":null}')
    assert hall.hub.pictures.mind == b'{"image":null}'


def held_bytes(hub: Hub) -> int:
    """The bytes of events and pictures that a hub keeps."""
    pictures = hub.pictures
    frames = sum(len(frame) for _taken_ms, frame in pictures._frames)
    thumbs = sum(len(thumb) for _number, thumb in pictures._thumbs.values())
    newest = pictures.vision, pictures.mind
    return hub.ring._bytes + frames + thumbs + sum(len(one or b"") for one in newest)


@pytest.mark.parametrize("share", [CHANNEL_BYTES, CHANNELS_BYTES // 100, CHANNELS_BYTES // (MAX_KNOWN + MAX_UNKNOWN)])
async def test_the_memory_of_a_channel_stays_within_its_share(hall: Hall, share: int) -> None:
    hub = hall.hub
    hub.limit(share)
    large = b'"%b"' % (b"x" * (5 * 1024 * 1024))
    for number in range(300):
        hub.pictures.put_thumb((number, 0), large if number % 3 else b'"small"')
        hub.pictures.put_frame(b'"%b"' % (b"y" * (share // 10)), number)
        hub.pictures.put_frame(large, number)
        hub.pictures.put_vision(large)
        hub.pictures.put_mind(large, b"{}")
        hub.put_entry("vision", EntryId(f"{number}-0"), "vision_update", large[: share // 7])
        hub.wake()
    assert share // 4 < held_bytes(hub) < 1.1 * share
    assert hub.pictures.frame is not None
    hub.limit(share // 4)
    hub.pictures.put_frame(b'"z"', 301)
    assert held_bytes(hub) < 0.5 * share


async def test_a_small_frame_is_shown_however_many_channels_there_are(hall: Hall) -> None:
    hall.hub.limit(CHANNELS_BYTES // (MAX_KNOWN + MAX_UNKNOWN))
    viewer = hall.enter()
    hall.hub.pictures.put_frame(b'{"frame":1,"image":"%b"}' % (b"x" * 100_000), 1)
    hall.hub.wake()
    assert viewer.frames == [1]


async def test_a_state_of_long_texts_stops_growing_and_its_numbers_go_on(hall: Hall) -> None:
    for number in range(600):
        data = {f"text {number}": "x" * 16_000, "n": number}
        hall.hub.merge_fields(data, (), 16_100)
    size = len(json.dumps(hall.hub.state))
    assert size < 2.1 * MAX_STATE_BYTES
    assert hall.hub.state["n"] == 599
    assert "text 599" not in hall.hub.state


async def test_a_stream_ends_when_it_has_lasted_long_enough(hall: Hall) -> None:
    old, young = hall.enter(ends_s=hall.clock.now + 10), hall.enter(ends_s=hall.clock.now + 100)
    hall.clock.advance(11.0)
    hall.hub.tick()
    assert old.subscriber.is_closed
    assert not young.subscriber.is_closed
    hall.log()
    hall.hub.wake()
    assert old.numbers == []
    assert young.numbers == [1]


async def test_who_is_silent_gets_heartbeats_and_those_of_a_past_session_too(hall: Hall) -> None:
    quiet = hall.enter()
    past = hall.hub.enter(0.0, ends_s=1e9)
    past.outlet = outlet = FakeOutlet(past)  # type: ignore[assignment]
    hall.hub.watch_past(past)
    for _ in range(20):
        hall.clock.advance(1.0)
        hall.hub.tick()
    assert quiet.text.count(": heartbeat\n\n") == outlet.text.count(": heartbeat\n\n") == int(20 / HEARTBEAT_S)
    for _ in range(20):
        hall.log()
        hall.hub.wake()
        hall.clock.advance(1.0)
        hall.hub.tick()
    assert quiet.text.count(": heartbeat\n\n") == 2
    assert outlet.text.count(": heartbeat\n\n") == int(40 / HEARTBEAT_S)


async def test_at_a_turn_the_viewers_who_named_one_of_the_two_sessions_reconnect(hall: Hall) -> None:
    def enter(sid: str | None, *, is_past: bool = False) -> Subscriber:
        viewer = hall.hub.enter(0.0, ends_s=1e9, sid=None if sid is None else Sid(sid))
        viewer.outlet = FakeOutlet(viewer)  # type: ignore[assignment]
        if is_past:
            hall.hub.watch_past(viewer)
        return viewer

    def turn(sid: str) -> None:
        hall.hub.switch(SessionView("default", sid=Sid(sid)), Position(Sid(sid)), {})

    turn("1")
    of_the_channel, of_the_first, early_for_the_second = enter(None), enter("1"), enter("2", is_past=True)
    of_an_older_one, waits_for_the_second = enter("0", is_past=True), enter("2")
    turn("1")
    viewers = [of_the_channel, of_the_first, early_for_the_second, of_an_older_one, waits_for_the_second]
    assert not any(viewer.is_closed for viewer in viewers)
    turn("2")
    assert [viewer.is_closed for viewer in viewers] == [False, True, True, False, False]
    assert enter("2", is_past=True).is_closed, "the session became the current one while it was opened as a past one"
    gone = enter("0")
    gone.close()
    hall.hub.watch_past(gone)
    assert gone not in hall.hub._past, "a viewer that left while its session was opened is not kept"


async def test_frames_of_one_call_are_all_given_and_of_several_calls_those_of_the_newest(hall: Hall) -> None:
    outlet, few = hall.enter(), hall.enter(0.05)
    for number, at_ms in ((1, 1000), (2, 1000), (3, 1001)):
        hall.hub.pictures.put_frame(b'{"frame":%d}' % number, at_ms)
    hall.hub.wake()
    assert outlet.frames == [1, 2, 3]
    assert few.frames == [3]
    assert hall.hub.tally.drops["frame skipped"] == 0
    for number, at_ms in ((4, 1100), (5, 1100), (6, 1200), (7, 1200)):
        hall.hub.pictures.put_frame(b'{"frame":%d}' % number, at_ms)
    hall.hub.wake()
    assert outlet.frames == [1, 2, 3, 6, 7]
    assert hall.hub.tally.drops["frame skipped"] == 2
    hall.hub.pictures.put_frame(b'{"frame":8}', 1201)
    hall.hub.wake()
    assert outlet.frames[-2:] == [7, 8]


async def test_frames_of_one_call_are_given_as_far_apart_as_asked_by_when_they_were_taken(hall: Hall) -> None:
    wishes = {fps: hall.enter(1.0 / fps) for fps in (5.0, 10.0, 20.0, 60.0)}
    every, number = hall.enter(), 0
    for call in range(20):  # of four frames each, 20 per second
        for _ in range(4):
            number += 1
            hall.hub.pictures.put_frame(b'{"frame":%d}' % number, 1000 + 200 * call, 50 * number + number % 3)
        hall.hub.wake()
        hall.clock.advance(0.2)
    assert every.frames == list(range(1, 81))
    assert wishes[60.0].frames == wishes[20.0].frames == every.frames
    assert wishes[10.0].frames == list(range(2, 81, 2))
    assert wishes[5.0].frames == list(range(4, 81, 4))
    assert hall.hub.tally.drops["frame skipped"] == 0


async def test_frames_of_one_call_are_given_though_their_writers_clock_was_set_back(hall: Hall) -> None:
    outlet, few = hall.enter(), hall.enter(0.1)
    for number, taken_ms in ((1, 9000), (2, 9050), (3, 100), (4, 150)):
        hall.hub.pictures.put_frame(b'{"frame":%d}' % number, 1000, taken_ms)
    hall.hub.wake()
    assert outlet.frames == [1, 2, 3, 4]
    assert few.frames == [2, 4]


async def test_a_viewer_that_resumes_follows_from_its_position_and_gets_the_newest_frame(hall: Hall) -> None:
    hall.log(5)
    hall.frame(1)
    hall.hub.wake()
    viewer = hall.hub.enter(0.0, ends_s=1e9)
    viewer.outlet = outlet = FakeOutlet(viewer)  # type: ignore[assignment]
    missed = hall.hub.missed(Position(Sid("7"), metrics=EntryId("3-0")))
    assert missed is not None
    viewer.follow(missed[1], has_frame=False)
    hall.log()
    hall.hub.wake()
    assert outlet.numbers == [4, 5, 6]
    assert outlet.frames == [1]


async def test_events_before_a_viewer_follows_wait_for_room(hall: Hall) -> None:
    viewer = hall.hub.enter(0.0, ends_s=1e9)
    viewer.outlet = outlet = FakeOutlet(viewer)  # type: ignore[assignment]
    outlet.is_reading = False
    writing = asyncio.ensure_future(viewer.write(b"x" * (FULL_BYTES + 1)))
    await asyncio.sleep(0)
    assert not writing.done()
    outlet.read()
    await writing
    outlet.is_reading = False
    writing = asyncio.ensure_future(viewer.write(b"x" * (FULL_BYTES + 1)))
    await asyncio.sleep(0)
    viewer.on_gone()
    await writing
    await viewer.write(b"")
    await viewer.write(b"x")
    assert len(outlet.payloads) == 2


async def test_groups_without_viewers_are_forgotten(hall: Hall) -> None:
    for fps in range(1, 50):
        viewer = hall.enter(1 / fps).subscriber
        viewer.close()
        hall.hub.leave(viewer)
    kept = hall.enter(0.5)
    hall.hub.tick()
    assert len(hall.hub._cohorts) == 1
    hall.frame(1)
    hall.hub.wake()
    assert kept.frames == [1]


def test_a_client_that_got_no_snapshot_yet_has_no_position_to_resume_from() -> None:
    """Cut off between the two first events, it would resume without the state."""
    hub = Hub("default")
    hub.switch(SessionView("default", Sid("7")), Position(Sid("7"), metrics=EntryId("5-0")), {"loss": 1.0})
    picture, _cursor = hub.whole_picture()
    session, snapshot = picture.strip().split(b"\n\n")
    assert session.startswith(b"event: session\n")
    assert snapshot.startswith(b"id: 7_5-0_")


def test_the_status_has_the_verdict_of_the_current_session_only() -> None:
    hub, told = Hub("c"), {"level": "good", "text": "Learning: return +1 in 10 min", "clauses": [], "time_ms": 1}
    hub.switch(SessionView("c", Sid("7"), "live", verdict=told), Position(Sid("7")), {})

    def verdict(event: bytes) -> Any:
        return json.loads(event.partition(b"data: ")[2].partition(b"\n")[0])["verdict"]

    assert verdict(hub.status_event()) == verdict(hub.status_event(Sid("7"))) == told
    assert verdict(hub.status_event(Sid("3"))) is None
    assert verdict(hub.snapshot_event()) == told
