"""The publisher's thread, turn by turn: its batches, its timing, and its behaviour when nothing answers."""

from __future__ import annotations

import itertools
from collections import deque

import pytest

from hud_publisher.intake.intake import Bounds
from hud_publisher.protocol.batch import FRAMES_TOGETHER, Batch, Claim, Published, Registered
from hud_publisher.protocol.entries import FrameEntry, MetricsEntry, VisionEntry, entry_bytes
from hud_publisher.protocol.errors import (
    Holder,
    MalformedError,
    SessionHeldError,
    SessionNotActiveError,
    StorageFullError,
    TooLargeError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
)
from hud_publisher.protocol.keys import SessionId
from hud_publisher.sender.delivery import BATCH_PICTURES
from hud_publisher.sender.loop import FIELDS_WAIT_S, FRAME_WAIT_S, FULL_FIELDS, LATE_S, MAX_SHARE
from tests.fixtures.publishing import JPEG, Bench, MemorySink, queued


def held(retry_after_ms: int = 20_000) -> SessionHeldError:
    return SessionHeldError(Holder("1", "the other run", 0, retry_after_ms))


def test_logged_entries_land_in_order() -> None:
    bench = Bench()
    bench.log(200)
    bench.turns(8)
    assert [entry.step for entry in bench.sink.landed] == list(range(200))
    assert bench.counters.sent["metrics"] == 200
    bench.assert_everything_is_accounted_for()


def test_batch_numbers_grow_from_one() -> None:
    bench = Bench()
    for _ in range(3):
        bench.log()
        bench.turns(2)
    assert [batch.number for batch in bench.sink.calls if batch.number] == [1, 2, 3]


def test_a_batch_of_unknown_outcome_goes_again_unchanged_and_lands_once() -> None:
    bench = Bench()
    bench.sink.is_deaf = True
    bench.log(3)
    bench.turns(4)
    bench.log(2)
    bench.sink.is_deaf = False
    bench.turns(4)
    first, second = bench.sink.calls[0], bench.sink.calls[1]
    assert first is second
    assert [entry.step for entry in bench.sink.landed] == [0, 1, 2, 0, 1]
    assert bench.counters.events["duplicates"] == 1
    assert bench.counters.events["retries"] >= 1
    bench.assert_everything_is_accounted_for()


def test_waits_grow_while_nothing_answers_and_stay_bounded() -> None:
    bench = Bench()
    bench.sink.publish_errors.extend(UnavailableError("away") for _ in range(50))
    bench.log()
    bench.turns(1)
    waits = []
    for _ in range(12):
        waits.append(bench.sender.turn())
        bench.clock.advance(waits[-1])
    assert waits == sorted(waits)
    assert waits[0] < 0.5
    assert waits[-1] <= 5.0
    assert bench.status == "connecting"


def test_after_an_outage_the_status_is_restored() -> None:
    bench = Bench()
    bench.sink.publish_errors.append(UnavailableError("away"))
    bench.log()
    bench.turns(2)
    assert bench.status == "connecting"
    bench.turns(2)
    assert bench.status == "registered"


def test_a_refused_run_that_waits_does_so_at_least_as_long_as_the_holder_has() -> None:
    bench = Bench(MemorySink(register_errors=deque([held(20_000)])), when_held="wait")
    assert bench.sender.turn() >= 20.0
    assert bench.status == "refused"
    assert bench.counters.events["refusals"] == 1


def test_a_refused_run_asks_ever_less_often() -> None:
    sink = MemorySink()
    sink.register_errors.extend(held(1_000) for _ in range(100))
    bench = Bench(sink, when_held="wait")
    bench.run(600)
    assert 6 <= bench.counters.events["refusals"] <= 20


def test_a_refused_run_keeps_a_bounded_outbox_and_nothing_is_rendered_for_it() -> None:
    sink = MemorySink()
    sink.register_errors.extend(held() for _ in range(100))
    bench = Bench(sink, bounds=Bounds(metrics=10))
    bench.turns(1)
    bench.log(25)
    bench.run(0.5)
    bench.run(0.5)
    assert not bench.intake.is_due("frames", None)
    assert queued(bench.intake)["metrics"] == 10
    assert bench.counters.dropped == {"metrics/overflow": 15}
    bench.assert_everything_is_accounted_for()


def test_the_run_that_waited_gets_the_display_and_frames_are_due_again() -> None:
    bench = Bench(MemorySink(register_errors=deque([held()])))
    bench.log()
    bench.turns(3)
    assert bench.status == "registered"
    assert bench.intake.is_due("frames", None)
    assert len(bench.sink.landed) == 1


def test_a_batch_that_the_lost_session_refused_lands_under_the_next_one() -> None:
    bench = Bench()
    bench.turns(2)
    bench.sink.end_session()
    bench.log(3)
    bench.turns(1)
    assert bench.status == "lost"
    assert bench.counters.events["losses"] == 1
    bench.turns(3)
    assert bench.status == "registered"
    assert [entry.step for entry in bench.sink.landed] == [0, 1, 2]
    bench.assert_everything_is_accounted_for()


def test_a_batch_refused_for_its_content_is_left_out_and_the_next_one_lands() -> None:
    bench = Bench()
    bench.sink.publish_errors.append(MalformedError("no"))
    bench.log(2)
    bench.turns(2)
    bench.log(1)
    bench.turns(2)
    assert len(bench.sink.landed) == 1
    assert bench.counters.dropped == {"metrics/rejected": 2}
    bench.assert_everything_is_accounted_for()


def test_an_unexpected_error_neither_ends_the_thread_nor_blocks_the_queue() -> None:
    bench = Bench()
    bench.sink.publish_errors.append(ZeroDivisionError())
    bench.log()
    bench.close(within_s=5)
    assert bench.counters.dropped == {"metrics/rejected": 1}
    bench.assert_everything_is_accounted_for()


def test_a_full_redis_costs_the_pictures_and_keeps_the_metrics() -> None:
    bench = Bench()
    bench.sink.publish_errors.append(StorageFullError("full"))
    bench.log(2)
    bench.frame()
    bench.vision()
    bench.turns(4)
    assert [type(entry) for entry in bench.sink.landed] == [MetricsEntry, MetricsEntry]
    assert bench.counters.dropped == {"frames/full": 1, "vision/full": 1}
    bench.assert_everything_is_accounted_for()


def test_a_redis_that_stays_full_keeps_the_oldest_metrics_waiting() -> None:
    bench = Bench()
    bench.sink.publish_errors.extend(StorageFullError("full") for _ in range(3))
    bench.log(2)
    bench.turns(3)
    assert bench.sink.landed == []
    bench.turns(2)
    assert len(bench.sink.landed) == 2


def test_a_batch_too_large_for_a_proxy_is_halved_until_it_passes() -> None:
    bench = Bench()
    bench.sink.publish_errors.extend([TooLargeError("413"), TooLargeError("413")])
    bench.log(8)
    bench.turns(8)
    assert [entry.step for entry in bench.sink.landed] == list(range(8))
    bench.assert_everything_is_accounted_for()


def test_one_entry_that_is_too_large_is_left_out() -> None:
    bench = Bench()
    bench.sink.publish_errors.append(TooLargeError("413"))
    bench.log(1)
    bench.turns(2)
    assert bench.counters.dropped == {"metrics/too large": 1}
    bench.assert_everything_is_accounted_for()


class Slow(MemorySink):
    """A network too slow for more than `most` bytes within the time-out; with `lands` they arrive all the same."""

    def __init__(self, most: int, *, lands: bool = False) -> None:
        super().__init__()
        self.most, self.lands = most, lands

    def publish(self, session_id: SessionId, batch: Batch) -> Published:
        is_slow = sum(entry_bytes(entry) for entry in batch.entries) > self.most
        if is_slow and not self.lands:
            self.calls.append(batch)
            raise UnavailableError("timed out")
        reply = super().publish(session_id, batch)
        if is_slow:
            raise UnavailableError("timed out")
        return reply


def test_a_batch_too_large_for_a_slow_network_does_not_block_smaller_ones() -> None:
    bench = Bench(Slow(20_000))
    bench.log(10)
    for env in range(3):
        bench.frame(JPEG + bytes(5_000), env=(1, env))
    bench.frame(JPEG + bytes(500_000), env=(1, 3))
    bench.run(120)
    assert bench.counters.sent["metrics"] == 10
    assert bench.counters.sent["frames"] == 3
    assert bench.counters.dropped == {"frames/too large": 1}
    bench.log(5)
    bench.run(5)
    assert [entry.step for entry in bench.sink.landed if isinstance(entry, MetricsEntry)] == [*range(10), *range(5)]
    bench.assert_everything_is_accounted_for()


def test_a_batch_that_landed_unseen_and_was_halved_still_lands_once() -> None:
    bench = Bench(Slow(1_000, lands=True))
    bench.log(40)
    bench.run(120)
    assert [entry.step for entry in bench.sink.landed] == list(range(40))
    assert bench.counters.sent["metrics"] == 40
    bench.assert_everything_is_accounted_for()


def test_an_outage_halves_no_batch() -> None:
    bench = Bench()
    bench.turns(2)
    bench.sink.publish_errors.extend(UnavailableError("away") for _ in range(30))
    bench.log(40)
    bench.run(200)
    batches = [batch for batch in bench.sink.calls if batch.number]
    assert {len(batch.entries) for batch in batches} == {40}
    assert bench.counters.sent["metrics"] == 40


def test_pictures_that_somebody_begins_to_offer_are_noticed_within_seconds() -> None:
    bench = Bench(MemorySink(ttl_ms=300_000))
    bench.run(30)
    before = len(bench.sink.calls)
    assert not bench.intake.is_due("thumbs", (1, 0))
    bench.run(2.5)
    assert len(bench.sink.calls) > before


def test_too_many_requests_waits_as_long_as_the_server_asks() -> None:
    bench = Bench()
    bench.turns(2)
    bench.sink.publish_errors.append(TooManyRequestsError("slow down", retry_after_s=7.0))
    bench.log()
    assert 7.0 <= bench.sender.turn() <= 10.5
    assert bench.status == "registered"


def test_a_server_that_asks_for_time_gets_it() -> None:
    bench = Bench()
    bench.sink.publish_errors.append(UnavailableError("draining", retry_after_s=9.0))
    bench.log()
    bench.turns(1)
    assert 9.0 <= bench.sender.turn() <= 13.5


def test_a_wrong_token_is_not_tried_again_at_once() -> None:
    bench = Bench(MemorySink(register_errors=deque([UnauthorizedError("no")])))
    assert bench.sender.turn() >= 30.0


def test_a_heartbeat_keeps_the_session_within_a_third_of_its_time() -> None:
    bench = Bench(MemorySink(ttl_ms=30_000, is_joining=True))
    bench.run(60)
    heartbeats = [batch for batch in bench.sink.calls if not batch.entries]
    assert 6 <= len(heartbeats) <= 8
    assert all(batch.number == 0 for batch in heartbeats)
    assert not any(batch.is_main for batch in heartbeats)


def test_the_main_process_of_a_run_shows_each_second_that_the_run_lives() -> None:
    bench = Bench(MemorySink(ttl_ms=30_000))
    bench.run(60)
    assert 58 <= len(bench.sink.calls) <= 62
    assert all(batch.is_main for batch in bench.sink.calls)


def test_no_heartbeat_while_entries_flow() -> None:
    bench = Bench()
    for _ in range(40):
        bench.log()
        bench.run(1)
    assert all(batch.entries for batch in bench.sink.calls[1:])


def test_frames_wait_for_viewers_and_rise_within_a_second_of_the_first() -> None:
    bench = Bench()
    bench.turns(2)

    def offer(seconds: float) -> int:
        """A training that steps 100 times a second."""
        taken, end = 0, bench.clock.now + seconds
        while bench.clock.now < end:
            if bench.intake.begin("frames", (1, 0)):
                bench.frame()
                taken += 1
            bench.sender.turn()
            bench.clock.advance(0.01)
        return taken

    assert 9 <= offer(10) <= 11
    bench.sink.viewers = 1
    offer(1)
    assert 18 <= offer(1) <= 21
    bench.sink.viewers = 0
    offer(1)
    assert 9 <= offer(10) <= 11


def test_thumbnails_are_due_only_while_somebody_watches() -> None:
    bench = Bench()
    bench.turns(2)
    assert not bench.intake.is_due("thumbs", (1, 0))
    bench.sink.viewers = 2
    bench.log()
    bench.turns(1)
    assert bench.intake.begin("thumbs", (1, 0))
    assert not bench.intake.is_due("thumbs", (1, 0))
    assert bench.intake.is_due("thumbs", (2, 0))


def test_thumbnails_of_several_envs_share_a_call_soon() -> None:
    bench = Bench(MemorySink(is_joining=True))
    bench.sink.viewers = 1
    bench.turns(2)
    bench.intake.begin("thumbs", (2, 0))
    assert bench.sender.turn() <= 0.5
    bench.frame(env=(2, 0), stream="thumbs")
    bench.frame(env=(2, 1), stream="thumbs")
    bench.sender.turn()
    assert [len(batch.entries) for batch in bench.sink.calls if batch.entries] == [2]
    bench.run(10)  # nobody asks any more
    calls = len(bench.sink.calls)
    bench.run(10)
    assert len(bench.sink.calls) <= calls + 2


def test_a_training_without_frames_asks_for_viewers_only_with_its_heartbeat() -> None:
    bench = Bench(MemorySink(ttl_ms=30_000, is_joining=True))
    bench.run(30)
    assert len(bench.sink.calls) <= 4


def test_a_claim_goes_with_every_batch_and_is_renewed_in_time() -> None:
    bench = Bench()
    bench.intake.claim = Claim((1, 0), is_preferred=True)
    bench.log()
    bench.run(10)
    assert all(batch.claim == Claim((1, 0), is_preferred=True) for batch in bench.sink.calls)
    assert len(bench.sink.calls) >= 5


def test_pictures_go_a_few_at_a_time_and_metrics_do_not_wait_for_them() -> None:
    bench = Bench()
    for env in range(10):
        bench.frame(env=(1, env))
    bench.log()
    bench.turns(1)
    bench.sender.turn()
    first = bench.sink.calls[0].entries
    assert sum(isinstance(entry, FrameEntry) for entry in first) == BATCH_PICTURES
    assert sum(isinstance(entry, MetricsEntry) for entry in first) == 1
    bench.turns(6)
    assert bench.counters.sent["frames"] == 10


def test_large_pictures_go_in_separate_calls() -> None:
    bench = Bench()
    large = b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x01\x00\x01\x01\x01\x11\x00" + bytes(3_000_000) + b"\xff\xd9"
    for env in range(3):
        bench.frame(large, env=(1, env))
    bench.turns(6)
    assert [len(batch.entries) for batch in bench.sink.calls if batch.number] == [1, 1, 1]
    bench.assert_everything_is_accounted_for()


def test_a_flood_leaves_training_most_of_the_interpreter() -> None:
    bench = Bench()
    worked = iter(range(1000))
    bench.sender._work_clock = lambda: next(worked) * 0.01
    bench.turns(1)
    bench.log(1000)
    slept = bench.sender.turn()
    assert slept >= 0.01 * (1 / MAX_SHARE - 1)
    bench.intake.close_by = bench.clock() + 2
    assert bench.sender.turn() == 0.0


def test_encoded_bytes_are_published_exactly_as_given() -> None:
    bench = Bench()
    bench.vision()
    bench.turns(2)
    (entry,) = bench.sink.landed
    assert isinstance(entry, VisionEntry)
    assert (entry.image, entry.mime, entry.prompt, entry.response) == (
        bytes.fromhex("ffd8ffc0000b080001000101011100ffd9"), "image/jpeg", "p", "r"
    )  # fmt: skip


@pytest.mark.parametrize("image", [b"not a picture", object(), None])
def test_an_invalid_picture_is_counted_and_the_rest_lands(image: object) -> None:
    bench = Bench()
    bench.frame(image)
    bench.log()
    bench.turns(2)
    assert [type(entry) for entry in bench.sink.landed] == [MetricsEntry]
    assert bench.counters.dropped == {"frames/unusable": 1}
    bench.assert_everything_is_accounted_for()


@pytest.mark.parametrize("env", [("a", "b"), (1, 2, 3), (-1, 0), (10**9, 0), (None, 0)])
def test_a_frame_of_no_env_costs_only_itself(env: object) -> None:
    bench = Bench()
    bench.frame(env=env)  # type: ignore[arg-type]
    bench.log()
    bench.turns(2)
    assert [type(entry) for entry in bench.sink.landed] == [MetricsEntry]
    assert bench.counters.dropped == {"frames/unusable": 1}


def test_closing_sends_the_queue_then_releases_an_unshared_session() -> None:
    bench = Bench()
    bench.log(500)
    bench.close()
    assert bench.counters.sent["metrics"] == 500
    assert len(bench.sink.released) == 1
    assert bench.sink.is_closed
    assert bench.status == "closed"


def test_closing_does_not_end_the_session_that_another_process_began() -> None:
    bench = Bench(MemorySink(is_joining=True))
    bench.log()
    bench.close()
    assert bench.sink.released == []
    assert len(bench.sink.landed) == 1


@pytest.mark.parametrize(("is_joining", "release", "count"), [(True, True, 1), (False, False, 0)])
def test_closing_releases_as_told(is_joining: bool, release: bool, count: int) -> None:
    bench = Bench(MemorySink(is_joining=is_joining))
    bench.log()
    bench.close(release=release)
    assert len(bench.sink.released) == count


def test_a_writer_that_joined_again_after_its_lease_ran_out_still_does_not_end_the_session() -> None:
    bench = Bench(MemorySink(is_joining=True))
    bench.turns(2)
    bench.sink.end_session()
    bench.sink.is_joining = False
    bench.log()
    bench.turns(5)
    assert bench.status == "registered"
    bench.close()
    assert bench.sink.released == []


def test_entries_not_sent_by_the_deadline_are_counted() -> None:
    bench = Bench()
    bench.turns(1)
    bench.log(100)
    bench.sink.publish_errors.append(UnavailableError("away"))
    bench.sender.turn()
    bench.close(within_s=0)
    assert bench.counters.dropped == {"metrics/closed": 100}
    bench.assert_everything_is_accounted_for()


def test_a_refused_run_closes_at_once() -> None:
    bench = Bench(MemorySink(register_errors=deque([held()])), when_held="wait")
    bench.log()
    bench.turns(1)
    bench.close(within_s=1000)
    assert bench.counters.dropped == {"metrics/closed": 1}


def test_a_session_lost_while_closing_does_not_hold_it_up() -> None:
    bench = Bench()
    bench.sink.publish_errors.append(SessionNotActiveError("gone"))
    bench.turns(1)
    bench.close(within_s=0)
    assert bench.status == "closed"


def test_closing_takes_no_longer_than_sending_the_queue() -> None:
    bench = Bench()
    bench.log()
    began = bench.clock()
    bench.close(within_s=1000)
    assert bench.counters.sent["metrics"] == 1
    assert bench.clock() - began < 0.1


def test_troubles_are_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.sink.publish_errors.extend(UnavailableError("away") for _ in range(20))
    bench.log()
    bench.turns(30)
    texts = [record.getMessage() for record in caplog.records]
    first, away, last = texts
    assert (first, last) == ("HUD: publishing to memory, channel default", "HUD: publishing again")
    assert away.startswith("HUD: away. Training goes on, and the publisher tries again")


@pytest.mark.parametrize(("gap_s", "wakes"), [(0.02, False), (0.05, True)], ids=["50 a second", "20 a second"])
def test_sparse_fields_wake_the_sender_and_dense_ones_wait_for_it(gap_s: float, wakes: bool) -> None:
    bench = Bench()
    bench.sink.viewers = 1
    bench.turns(2)
    woken = 0
    looks_at = bench.clock()
    for _ in range(50):
        bench.log()
        if bench.wakes_for_fields:
            woken += 1
            looks_at = bench.clock()
        until = bench.clock() + gap_s
        while looks_at < until:
            bench.clock.now = max(bench.clock.now, looks_at)
            looks_at = bench.clock() + bench.sender.turn()
        bench.clock.now = until
    assert woken >= 49 if wakes else woken <= 1
    assert len(bench.sink.landed) >= 48
    assert len([batch for batch in bench.sink.calls if batch.number]) <= 50 * gap_s / FIELDS_WAIT_S + 1


def test_a_full_batch_of_fields_wakes_the_sender_before_its_wait_ends() -> None:
    bench = Bench()
    bench.turns(2)
    bench.log()
    bench.turns(1)
    bench.log()
    bench.sender.turn()
    bench.log()
    assert 0.0 < bench.sender.turn() <= FIELDS_WAIT_S
    assert bench.intake.inbox("metrics").alert_above == FULL_FIELDS
    bench.log(FULL_FIELDS + 1)
    bench.intake.attend("metrics", 1)
    bench.intake.wait(0.0)  # returns at once, since the sender was woken
    assert bench.intake.inbox("metrics").alert_above > FULL_FIELDS


def test_while_frames_come_fields_go_with_the_next_one() -> None:
    bench = Bench()
    bench.sink.viewers = 1
    bench.frame()
    bench.intake.begin("frames", None)
    bench.turns(2)
    sent = len(bench.sink.calls)
    for _ in range(10):
        bench.intake.begin("frames", None)
        bench.frame()
        bench.sender.turn()
        assert bench.intake.is_wake_asked
        assert not bench.wakes_for_fields
        bench.log()
        bench.clock.advance(0.05)
    assert len(bench.sink.calls) == sent + 10
    # No frames come: logged fields wait at most FRAME_WAIT_S and the slack, and later fields wake the sender again.
    bench.intake.begin("frames", None)
    bench.frame()
    assert bench.sender.turn() <= FRAME_WAIT_S + LATE_S + 1e-6
    bench.log()
    bench.clock.advance(FRAME_WAIT_S + LATE_S)
    bench.sender.turn()
    assert bench.sink.landed[-1].stream == "metrics"
    bench.clock.advance(FIELDS_WAIT_S + 1e-6)
    bench.sender.turn()
    assert bench.wakes_for_fields


def test_many_fields_do_not_wait_for_a_frame() -> None:
    bench = Bench()
    bench.sink.viewers = 1
    bench.turns(2)
    bench.intake.begin("frames", None)
    bench.frame()
    bench.log(2 * FULL_FIELDS)
    bench.turns(3)
    assert bench.intake.is_empty()


def flowing() -> Bench:
    """A bench whose frames flow at 20 per second."""
    bench = Bench()
    bench.sink.viewers = 1
    bench.turns(2)
    return bench


def next_frame(bench: Bench) -> float:
    bench.intake.begin("frames", None)
    bench.frame()
    bench.clock.advance(0.05)
    return bench.sender.turn()


def test_a_frame_whose_answer_was_an_error_goes_again_and_lands_once() -> None:
    bench = flowing()
    bench.sink.publish_errors.append(UnavailableError("away"))
    bench.clock.advance(next_frame(bench))
    next_frame(bench)
    assert bench.counters.events["failures"] == 1
    bench.run(2.0)
    assert len(bench.sink.landed) == 2
    assert bench.sender.delivery.inflight is None


def test_a_session_that_was_lost_meanwhile_is_asked_for_again() -> None:
    bench = flowing()
    bench.sink.session = None
    next_frame(bench)
    assert bench.status == "lost"
    bench.run(2.0)
    assert bench.status == "registered"
    assert len(bench.sink.landed) == 1


def batching(fps: float = 20.0) -> Bench:
    """A bench whose sender batches frames, while frames flow."""
    bench = Bench(bounds=Bounds(frames=FRAMES_TOGETHER), batch_frames=True, fps=fps)
    bench.sink.viewers = 1
    bench.intake.pacers["frames"].asked_at = bench.clock.now
    bench.turns(2)
    bench.intake.is_wake_asked = False  # as waiting does
    return bench


def offer(bench: Bench) -> None:
    assert bench.intake.begin("frames", None)
    bench.frame()


@pytest.mark.parametrize(("fps", "together"), [(6, 1), (10, 2), (15, 3), (20, 4), (60, 4)])
def test_the_frames_of_a_fifth_of_a_second_go_with_one_call_and_wake_nobody(fps: int, together: int) -> None:
    bench = batching(fps)
    offer(bench)
    wakes_at, wakes = bench.clock.now + bench.sender.turn(), 0
    called = len(bench.sink.calls)
    for _ in range(5 * together):
        bench.clock.advance(1 / fps + 1e-6)
        offer(bench)
        bench.log()
        wakes += bench.intake.is_wake_asked
        if wakes_at <= bench.clock.now + LATE_S + 1e-3:
            bench.clock.now = wakes_at
            wakes_at += bench.sender.turn()
    assert wakes == 0
    calls = bench.sink.calls[called:]
    assert [sum(entry.stream == "frames" for entry in call.entries) for call in calls] == [together] * 5


def test_if_no_frame_follows_offers_wake_the_sender_again() -> None:
    bench = batching()
    offer(bench)
    sleep_s = bench.sender.turn()
    assert not bench.intake.is_wake_asked
    assert sleep_s == pytest.approx(4 * 0.05 + LATE_S)
    bench.clock.advance(sleep_s)
    bench.sender.turn()
    assert bench.intake.is_wake_asked
    bench.clock.advance(0.05)
    offer(bench)
    bench.sender.turn()
    assert bench.intake.is_empty()


def test_more_fields_than_may_wait_do_not_wait_for_frames() -> None:
    bench = batching()
    offer(bench)
    bench.turns()
    bench.log(10 * FULL_FIELDS)
    slept_s = [bench.sender.turn()]
    while bench.intake.has_more_than(FULL_FIELDS):
        bench.clock.advance(slept_s[-1])
        slept_s.append(bench.sender.turn())
    assert len(slept_s) > 3
    assert sum(slept_s[:-1]) < 0.05


def test_frames_are_counted_that_come_while_another_env_is_shown() -> None:
    bench = Bench()
    bench.intake.set_claim(Claim((1, 0)))
    bench.sink.shown = (2, 0)
    bench.frame()
    bench.log()
    bench.turns(4)
    assert bench.counters.dropped["frames/replaced"] == 1
    assert (bench.counters.sent["frames"], bench.counters.sent["metrics"]) == (0, 1)
    bench.sink.shown = (1, 0)
    bench.frame()
    bench.turns(2)
    assert bench.counters.sent["frames"] == 1


def test_queued_frames_are_dropped_when_the_claim_is_withdrawn() -> None:
    bench = batching()
    bench.intake.set_claim(Claim((1, 0)))
    offer(bench)
    bench.intake.set_claim(Claim((1, 1)))
    assert bench.intake.offered()["frames"] == 1
    bench.intake.set_claim(None)
    assert bench.intake.offered()["frames"] == 0
    bench.assert_everything_is_accounted_for()


def test_leaving_a_session_that_has_ended_does_not_open_it_again() -> None:
    bench = Bench()
    bench.log()
    bench.turns(3)
    assert bench.status == "registered"
    bench.sink.end_session()
    bench.log()
    bench.close(release=False)
    assert bench.sink.registrations == 1
    bench.assert_everything_is_accounted_for()


def test_a_session_that_its_owner_lost_is_opened_again_for_the_entries_that_wait_at_closing() -> None:
    bench = Bench()
    bench.log()
    bench.turns(3)
    bench.sink.end_session()
    bench.log()
    bench.close(within_s=5.0)
    assert bench.sink.registrations == 2


def test_the_wait_after_a_call_that_timed_out_begins_at_its_end() -> None:
    """A server that accepts and does not answer takes two seconds per call; without pauses it never recovers."""
    bench = Bench()
    calls: list[tuple[float, float]] = []

    def hang(**_options: object) -> Registered:
        began = bench.clock()
        bench.clock.advance(2.0)
        calls.append((began, bench.clock()))
        raise UnavailableError("no answer within 2 s")

    bench.sink.register = hang  # type: ignore[method-assign]
    bench.log(5)
    bench.run(60)
    pauses = [began - ended for (_, ended), (began, _) in itertools.pairwise(calls)]
    assert min(pauses) >= 0.15
    assert max(pauses) >= 1.0
    assert queued(bench.intake)["metrics"] == 5
