"""Registering and re-registering: the rate at which a refused or disconnected process retries."""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable

import pytest

from hud_publisher.protocol.batch import Published, Registered
from hud_publisher.protocol.errors import (
    ConfigError,
    Holder,
    HudError,
    MalformedError,
    SessionHeldError,
    StorageFullError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
)
from hud_publisher.sender.pauses import Backoff
from hud_publisher.sender.session import Session
from tests.fixtures.publishing import Bench, MemorySink


def session_of(bench: Bench, draw: Callable[[], float] = random.random, *, takeover: bool = False) -> Session:
    return Session(bench.intake, bench.sink, bench.settings, draw, takeover=takeover)


class Refusing(MemorySink):
    """Another run holds the channel and renews its lease all the time."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng

    def register(self, *, takeover: bool = False, aside: bool = False) -> Registered:
        raise SessionHeldError(Holder("1", "other", 0, self._rng.randint(20_000, 30_000)))


def test_a_thousand_refused_workers_cost_the_server_a_few_requests_a_second() -> None:
    rng = random.Random(1)
    sessions = [session_of(Bench(Refusing(rng), when_held="wait"), rng.random) for _ in range(1000)]
    asks = [(0.0, number) for number in range(1000)]
    heapq.heapify(asks)
    per_second: Counter[int] = Counter()
    while asks[0][0] < 1200:
        at, number = heapq.heappop(asks)
        per_second[int(at)] += 1
        heapq.heappush(asks, (at + sessions[number].open(), number))
    later = [per_second[second] for second in range(60, 1200)]
    assert sum(later) / len(later) < 20
    # All began at the same moment, but they do not retry at the same time.
    assert max(later[120:]) < 60


def test_a_run_takes_over_once_and_then_waits_like_any_other() -> None:
    bench = Bench(MemorySink(register_errors=deque([UnavailableError("away")])))
    session = session_of(bench, takeover=True)
    session.open()
    session.open()
    session.lose()
    session.open()
    assert bench.sink.takeovers == [True, True, False]


def test_after_a_lost_session_the_writers_of_a_run_do_not_come_back_in_the_same_moment() -> None:
    rng = random.Random(1)
    waits = [session_of(Bench(MemorySink()), rng.random).lose() for _ in range(60)]
    assert min(waits) < 0.2
    assert 0.8 < max(waits) <= 1.0


@pytest.mark.parametrize(
    ("error", "least", "most"),
    [
        (UnavailableError("away"), 0.1, 0.3),
        (UnavailableError("later", retry_after_s=8.0), 8.0, 12.0),
        (StorageFullError("full"), 0.1, 0.3),
        (MalformedError("no such channel"), 1.0, 2.0),
        (ConfigError("wrong"), 1.0, 2.0),
    ],
)
def test_the_first_wait_fits_the_trouble(error: HudError, least: float, most: float) -> None:
    bench = Bench(MemorySink(register_errors=deque([error])))
    assert least <= session_of(bench, lambda: 0.5).open() <= most
    assert bench.status == "connecting"


@pytest.mark.parametrize("error", [TooManyRequestsError("slow down", retry_after_s=1.0), UnavailableError("away")])
def test_a_server_that_refuses_for_ever_costs_one_log_line_and_ever_fewer_calls(
    error: HudError, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(MemorySink(register_errors=deque([error] * 50)))
    session = session_of(bench, lambda: 0.5)
    waits = [session.open() for _ in range(50)]
    assert len(caplog.records) == 1
    assert str(error) in caplog.text
    assert bench.counters.events["failures"] == 50
    assert waits[-1] > 4 * waits[0]


def test_trouble_that_comes_and_goes_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    session = session_of(bench, lambda: 0.5)
    session.open()
    caplog.clear()
    for _ in range(100):
        session.wait_after(TooManyRequestsError("slow down", retry_after_s=1.0))
        session.acknowledge(Published(0, None, False), is_heartbeat=False)
        bench.clock.advance(1.0)
    texts = [record.getMessage() for record in caplog.records]
    assert texts == ["HUD: slow down", "HUD: publishing again"] * 2


def test_the_process_that_begins_a_session_says_where_it_publishes_and_those_that_join_do_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for is_joining in (False, True, True):
        bench = Bench(MemorySink(is_joining=is_joining))
        session = session_of(bench)
        session.open()
        session.lose()
        session.open()
    texts = [record.getMessage() for record in caplog.records]
    assert texts.count("HUD: publishing to memory, channel default") == 1


def test_a_run_that_may_not_take_over_waits_for_the_channel_like_any_other(caplog: pytest.LogCaptureFixture) -> None:
    refused = UnauthorizedError("this needs a token, and the server has none")
    bench = Bench(MemorySink(register_errors=deque([refused])))
    session = session_of(bench, takeover=True)
    assert session.open() <= 1.0
    assert session.open() == 0.0
    assert bench.sink.takeovers == [True, False]
    assert "cannot be taken over: this needs a token" in caplog.text


def test_a_held_channel_is_explained_with_remedies_that_need_no_token(caplog: pytest.LogCaptureFixture) -> None:
    held = SessionHeldError(Holder("17", "ppo\nforged", 0, 20_000))
    bench = Bench(MemorySink(register_errors=deque([held, held])), when_held="wait")
    session = session_of(bench)
    session.open()
    session.open()
    (record,) = caplog.records
    text = record.getMessage()
    assert "channel default at memory is held by run 'ppo\\nforged' (session 17)" in text
    for remedy in ("HUD_CHANNEL", "stop the other run", "`hud reset --channel default`"):
        assert remedy in text
    assert "token" not in text
    assert text.isprintable()


def test_entries_that_a_refused_run_could_not_send_are_counted_in_one_line_at_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    held = SessionHeldError(Holder("17", "other", 0, 20_000))
    bench = Bench(MemorySink(register_errors=deque([held] * 100)), when_held="wait")
    bench.log(5)
    bench.turns(1)
    bench.close()
    assert bench.counters.dropped["metrics/closed"] == 5
    assert caplog.messages[-1] == "HUD: 5 entries were dropped when the publisher closed: another run held the channel"


def test_a_wait_grows_to_its_bound_and_begins_anew_after_a_success() -> None:
    backoff = Backoff(1.0, 8.0, lambda: 1.0)
    assert [backoff.next_s() for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    backoff.reset()
    assert backoff.next_s() == 1.0


def test_a_wait_is_never_shorter_than_the_server_asked_for() -> None:
    rng = random.Random(1)
    backoff = Backoff(1.0, 8.0, rng.random)
    assert all(20.0 <= backoff.next_s(at_least_s=20.0) <= 30.0 for _ in range(100))
