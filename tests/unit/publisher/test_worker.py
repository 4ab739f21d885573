"""The publisher's thread, turn by turn: what it sends, when, and what it does when nothing answers."""

from __future__ import annotations

from collections import deque

import pytest

from hud_publisher import worker as worker_module
from hud_publisher.delivery import BATCH_PICTURES
from hud_publisher.outbox import Room
from hud_publisher.protocol.batch import FRAMES_TOGETHER, Batch, Claim
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
from hud_publisher.protocol.replies import Published
from hud_publisher.worker import LATE_S, RIDE_ENTRIES, RIDE_S
from tests.fixtures.publishing import JPEG, Bench, MemorySink


def held(retry_after_ms: int = 20_000) -> SessionHeldError:
    return SessionHeldError(Holder("1", "the other run", 0, retry_after_ms))


def test_what_was_logged_lands_in_order() -> None:
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
    assert bench.counters.duplicates == 1
    assert bench.counters.retries >= 1
    bench.assert_everything_is_accounted_for()


def test_waits_grow_while_nothing_answers_and_stay_bounded() -> None:
    bench = Bench()
    bench.sink.publish_errors.extend(UnavailableError("away") for _ in range(50))
    bench.log()
    bench.turns(1)
    waits = []
    for _ in range(12):
        waits.append(bench.worker.turn())
        bench.clock.advance(waits[-1])
    assert waits == sorted(waits)
    assert waits[0] < 0.5
    assert waits[-1] <= 5.0
    assert bench.status == "connecting"


def test_after_an_outage_the_status_is_what_it_was() -> None:
    bench = Bench()
    bench.sink.publish_errors.append(UnavailableError("away"))
    bench.log()
    bench.turns(2)
    assert bench.status == "connecting"
    bench.turns(2)
    assert bench.status == "registered"


def test_a_refused_run_waits_at_least_as_long_as_the_holder_has() -> None:
    bench = Bench(MemorySink(register_errors=deque([held(20_000)])))
    assert bench.worker.turn() >= 20.0
    assert bench.status == "refused"
    assert bench.counters.refusals == 1


def test_a_refused_run_asks_ever_less_often() -> None:
    sink = MemorySink()
    sink.register_errors.extend(held(1_000) for _ in range(100))
    bench = Bench(sink)
    bench.run(600)
    assert 6 <= bench.counters.refusals <= 20


def test_a_refused_run_keeps_a_bounded_outbox_and_nothing_is_rendered_for_it() -> None:
    sink = MemorySink()
    sink.register_errors.extend(held() for _ in range(100))
    bench = Bench(sink, room=Room(metrics=10))
    bench.turns(1)
    bench.log(25)
    bench.run(0.5)
    bench.run(0.5)
    assert not bench.link.frames.is_due()
    assert bench.link.outbox.waiting()["metrics"] == 10
    assert bench.counters.dropped == {"metrics/overflow": 15}
    bench.assert_everything_is_accounted_for()


def test_the_run_that_waited_gets_the_display_and_frames_are_due_again() -> None:
    bench = Bench(MemorySink(register_errors=deque([held()])))
    bench.log()
    bench.turns(3)
    assert bench.status == "registered"
    assert bench.link.frames.is_due()
    assert len(bench.sink.landed) == 1


def test_a_batch_that_the_lost_session_refused_lands_under_the_next_one() -> None:
    bench = Bench()
    bench.turns(2)
    bench.sink.end_session()
    bench.log(3)
    bench.turns(1)
    assert bench.status == "lost"
    assert bench.counters.losses == 1
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


def test_a_batch_too_large_for_a_slow_network_does_not_block_what_would_pass() -> None:
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
    assert not bench.link.thumbs.is_due((1, 0))
    bench.run(2.5)
    assert len(bench.sink.calls) > before


def test_too_many_requests_waits_as_long_as_the_server_asks() -> None:
    bench = Bench()
    bench.turns(2)
    bench.sink.publish_errors.append(TooManyRequestsError("slow down", retry_after_s=7.0))
    bench.log()
    assert 7.0 <= bench.worker.turn() <= 10.5
    assert bench.status == "registered"


def test_a_server_that_asks_for_time_gets_it() -> None:
    bench = Bench()
    bench.sink.publish_errors.append(UnavailableError("draining", retry_after_s=9.0))
    bench.log()
    bench.turns(1)
    assert 9.0 <= bench.worker.turn() <= 13.5


def test_a_wrong_token_is_not_tried_again_at_once() -> None:
    bench = Bench(MemorySink(register_errors=deque([UnauthorizedError("no")])))
    assert bench.worker.turn() >= 30.0


def test_a_heartbeat_keeps_the_session_within_a_third_of_its_time() -> None:
    bench = Bench(MemorySink(ttl_ms=30_000))
    bench.run(60)
    heartbeats = [batch for batch in bench.sink.calls if not batch.entries]
    assert 6 <= len(heartbeats) <= 8
    assert all(batch.number == 0 for batch in heartbeats)


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
            if bench.link.frames.take((1, 0)):
                bench.frame()
                taken += 1
            bench.worker.turn()
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
    assert not bench.link.thumbs.is_due((1, 0))
    bench.sink.viewers = 2
    bench.log()
    bench.turns(1)
    assert bench.link.thumbs.take((1, 0))
    assert not bench.link.thumbs.is_due((1, 0))
    assert bench.link.thumbs.is_due((2, 0))


def test_thumbnails_of_several_envs_share_a_call_soon() -> None:
    bench = Bench()
    bench.sink.viewers = 1
    bench.turns(2)
    bench.link.thumbs.take((2, 0))
    assert bench.worker.turn() <= 0.5
    bench.frame(env=(2, 0), stream="thumbs")
    bench.frame(env=(2, 1), stream="thumbs")
    bench.worker.turn()
    assert [len(batch.entries) for batch in bench.sink.calls if batch.entries] == [2]
    bench.run(10)  # nobody asks any more
    assert bench.worker.turn() > 0.5


def test_who_offers_nothing_asks_for_viewers_only_with_its_heartbeat() -> None:
    bench = Bench(MemorySink(ttl_ms=30_000))
    bench.run(30)
    assert len(bench.sink.calls) <= 4


def test_a_claim_goes_with_every_batch_and_is_renewed_in_time() -> None:
    bench = Bench()
    bench.link.claim = Claim((1, 0), is_preferred=True)
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
    bench.worker.turn()
    first = bench.sink.calls[0].entries
    assert sum(isinstance(entry, FrameEntry) for entry in first) == BATCH_PICTURES
    assert sum(isinstance(entry, MetricsEntry) for entry in first) == 1
    bench.turns(6)
    assert bench.counters.sent["frames"] == 10


def test_large_pictures_go_in_calls_of_their_own() -> None:
    bench = Bench()
    large = b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x01\x00\x01\x01\x01\x11\x00" + bytes(3_000_000)
    for env in range(3):
        bench.frame(large, env=(1, env))
    bench.turns(6)
    assert [len(batch.entries) for batch in bench.sink.calls if batch.number] == [1, 1, 1]
    bench.assert_everything_is_accounted_for()


def test_a_flood_leaves_training_most_of_the_interpreter() -> None:
    bench = Bench()
    worked = iter(range(1000))
    bench.worker._work_clock = lambda: next(worked) * 0.01
    bench.turns(1)
    bench.log(1000)
    slept = bench.worker.turn()
    assert slept >= 0.01 * (1 / worker_module.MAX_SHARE - 1)
    bench.link.close_by = bench.clock() + 2
    assert bench.worker.turn() == 0.0


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
def test_what_is_no_picture_is_counted_and_the_rest_lands(image: object) -> None:
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


def test_closing_sends_what_waits_then_releases_a_session_of_its_own() -> None:
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


def test_who_joined_again_after_its_lease_ran_out_still_does_not_end_the_session() -> None:
    bench = Bench(MemorySink(is_joining=True))
    bench.turns(2)
    bench.sink.end_session()
    bench.sink.is_joining = False
    bench.log()
    bench.turns(5)
    assert bench.status == "registered"
    bench.close()
    assert bench.sink.released == []


def test_what_cannot_be_sent_by_the_deadline_is_counted() -> None:
    bench = Bench()
    bench.turns(1)
    bench.log(100)
    bench.sink.publish_errors.append(UnavailableError("away"))
    bench.worker.turn()
    bench.close(within_s=0)
    assert bench.counters.dropped == {"metrics/closed": 100}
    bench.assert_everything_is_accounted_for()


def test_a_refused_run_closes_at_once() -> None:
    bench = Bench(MemorySink(register_errors=deque([held()])))
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


def test_closing_takes_no_longer_than_sending_what_waits() -> None:
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
    assert texts == ["HUD: away", "HUD: publishing again"]


@pytest.mark.parametrize(("gap_s", "rings"), [(0.02, False), (0.05, True)], ids=["50 a second", "20 a second"])
def test_sparse_traffic_rings_and_dense_traffic_is_looked_for(gap_s: float, rings: bool) -> None:
    bench = Bench()
    bench.sink.viewers = 1
    bench.turns(2)
    asked_for = 0
    for _ in range(20):
        bench.log()
        until = bench.clock() + gap_s
        while bench.clock() < until:
            sleep_s = bench.worker.turn()
            asked_for += bench.link.doorbell.is_armed
            bench.link.doorbell.is_armed = False  # as waiting does
            bench.clock.advance(min(max(sleep_s, 0.001), until - bench.clock() + 1e-6))
    assert asked_for >= 20 if rings else asked_for <= 1


def test_while_frames_come_fields_go_with_the_next_one() -> None:
    bench = Bench()
    bench.sink.viewers = 1
    bench.frame()
    bench.link.frames.take()
    bench.turns(2)
    bench.link.frames.set_period(0.05)
    sent = len(bench.sink.calls)
    for _ in range(10):
        bench.link.frames.take()
        bench.frame()
        bench.worker.turn()
        assert bench.link.doorbell.is_armed
        assert not bench.link.doorbell.is_armed_for_fields
        bench.log()
        bench.clock.advance(0.05)
    assert len(bench.sink.calls) == sent + 10
    # The frames stop: what was logged waits no longer than that, and then fields ring again.
    bench.link.frames.take()
    bench.frame()
    assert bench.worker.turn() <= RIDE_S + 1e-6
    bench.log()
    bench.clock.advance(RIDE_S)
    bench.worker.turn()
    assert bench.sink.landed[-1].stream == "metrics"
    assert bench.link.doorbell.is_armed_for_fields


def test_many_fields_do_not_wait_for_a_frame() -> None:
    bench = Bench()
    bench.sink.viewers = 1
    bench.turns(2)
    bench.link.frames.set_period(0.05)
    bench.link.frames.take()
    bench.frame()
    bench.log(2 * RIDE_ENTRIES)
    bench.turns(3)
    assert bench.link.outbox.is_empty()


def ahead() -> Bench:
    """A bench whose frames flow at 20 per second, with a sink that need not wait for its answers."""
    bench = Bench()
    bench.sink.viewers, bench.sink.sends_ahead = 1, True
    bench.turns(2)
    bench.link.frames.set_period(0.05)
    return bench


def next_frame(bench: Bench) -> float:
    bench.link.frames.take()
    bench.frame()
    bench.clock.advance(0.05)
    return bench.worker.turn()


def test_the_answer_to_a_frame_is_taken_with_the_next_one() -> None:
    bench = ahead()
    heartbeats = len(bench.sink.calls)
    for sent in range(5):
        assert 0 < next_frame(bench) <= RIDE_S
        assert len(bench.sink.calls) == heartbeats + sent, "an answer was waited for"
        assert bench.worker.inflight is not None
    bench.clock.advance(RIDE_S)
    bench.worker.turn()
    assert bench.worker.inflight is None
    assert len(bench.sink.landed) == 5
    assert bench.counters.sent["frames"] == 5


def test_a_frame_whose_answer_was_an_error_goes_again_and_lands_once() -> None:
    bench = ahead()
    bench.sink.publish_errors.append(UnavailableError("away"))
    next_frame(bench)
    wait_s = next_frame(bench)
    assert bench.counters.failures == 1
    bench.clock.advance(wait_s)
    bench.run(2.0)
    assert len(bench.sink.landed) == 2
    assert bench.worker.inflight is None


def test_a_session_that_was_lost_meanwhile_is_asked_for_again() -> None:
    bench = ahead()
    bench.sink.session = None
    next_frame(bench)
    bench.clock.advance(0.05)
    bench.turns(1)
    assert bench.status == "lost"
    bench.run(2.0)
    assert bench.status == "registered"
    assert len(bench.sink.landed) == 1


def test_closing_takes_the_answer_that_was_not_waited_for() -> None:
    bench = ahead()
    next_frame(bench)
    bench.close(within_s=1)
    assert len(bench.sink.landed) == 1
    assert not bench.counters.dropped
    assert bench.sink.released


def gathering(fps: float = 20.0) -> Bench:
    """A bench whose worker gathers, while frames flow."""
    bench = Bench(room=Room(frames=FRAMES_TOGETHER), gathers=True, fps=fps)
    bench.sink.viewers = 1
    bench.link.frames.asked_at = bench.clock.now
    bench.turns(2)
    bench.link.doorbell.is_armed = False  # as waiting does
    return bench


def offer(bench: Bench) -> None:
    assert bench.link.frames.take()
    bench.frame()


@pytest.mark.parametrize(("fps", "together"), [(6, 1), (10, 2), (15, 3), (20, 4), (60, 4)])
def test_the_frames_of_a_fifth_of_a_second_go_with_one_call_and_nobody_rings(fps: int, together: int) -> None:
    bench = gathering(fps)
    offer(bench)
    wakes_at, rings = bench.clock.now + bench.worker.turn(), 0
    called = len(bench.sink.calls)
    for _ in range(5 * together):
        bench.clock.advance(1 / fps + 1e-6)
        offer(bench)
        bench.log()
        rings += bench.link.doorbell.is_armed
        if wakes_at <= bench.clock.now + LATE_S + 1e-3:
            bench.clock.now = wakes_at
            wakes_at += bench.worker.turn()
    assert rings == 0
    calls = bench.sink.calls[called:]
    assert [sum(entry.stream == "frames" for entry in call.entries) for call in calls] == [together] * 5


def test_where_no_frame_follows_offers_ring_again() -> None:
    bench = gathering()
    offer(bench)
    sleep_s = bench.worker.turn()
    assert not bench.link.doorbell.is_armed
    assert sleep_s == pytest.approx(4 * 0.05 + LATE_S)
    bench.clock.advance(sleep_s)
    bench.worker.turn()
    assert bench.link.doorbell.is_armed
    bench.clock.advance(0.05)
    offer(bench)
    bench.worker.turn()
    assert bench.link.outbox.is_empty()


def test_more_fields_than_may_wait_do_not_wait_for_frames() -> None:
    bench = gathering()
    offer(bench)
    bench.turns()
    bench.log(10 * RIDE_ENTRIES)
    slept_s = [bench.worker.turn()]
    while bench.link.outbox.has_more_than(RIDE_ENTRIES):
        bench.clock.advance(slept_s[-1])
        slept_s.append(bench.worker.turn())
    assert len(slept_s) > 3
    assert sum(slept_s[:-1]) < 0.05


def test_frames_are_counted_that_come_while_another_env_is_shown() -> None:
    bench = Bench()
    bench.link.set_claim(Claim((1, 0)))
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


def test_frames_that_wait_are_forgotten_with_the_wish_to_be_shown() -> None:
    bench = gathering()
    bench.link.set_claim(Claim((1, 0)))
    offer(bench)
    bench.link.set_claim(Claim((1, 1)))
    assert bench.link.outbox.offered()["frames"] == 1
    bench.link.set_claim(None)
    assert bench.link.outbox.offered()["frames"] == 0
    bench.assert_everything_is_accounted_for()
