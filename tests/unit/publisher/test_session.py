"""Getting the session and getting it back: how often a refused or cut-off process asks."""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque

import pytest

from hud_publisher.backoff import Backoff
from hud_publisher.protocol.errors import (
    ConfigError,
    Holder,
    HudError,
    MalformedError,
    SessionHeldError,
    StorageFullError,
    UnavailableError,
)
from hud_publisher.protocol.replies import Registered
from hud_publisher.session import Session
from tests.fixtures.publishing import Bench, MemorySink


class Refusing(MemorySink):
    """Another run holds the channel and renews its lease all the time."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng

    def register(self, *, takeover: bool = False) -> Registered:
        raise SessionHeldError(Holder("1", "other", 0, self._rng.randint(20_000, 30_000)))


def test_a_thousand_refused_workers_cost_the_server_a_few_requests_a_second() -> None:
    rng = random.Random(1)
    sessions = [Session(Bench().link, Refusing(rng), rng.random) for _ in range(1000)]
    asks = [(0.0, number) for number in range(1000)]
    heapq.heapify(asks)
    per_second: Counter[int] = Counter()
    while asks[0][0] < 1200:
        at, number = heapq.heappop(asks)
        per_second[int(at)] += 1
        heapq.heappush(asks, (at + sessions[number].open(), number))
    later = [per_second[second] for second in range(60, 1200)]
    assert sum(later) / len(later) < 20
    # Although all began in the same moment, they do not come back together.
    assert max(later[120:]) < 60


def test_a_run_takes_over_once_and_then_waits_like_any_other() -> None:
    bench = Bench(MemorySink(register_errors=deque([UnavailableError("away")])))
    session = Session(bench.link, bench.sink, takeover=True)
    session.open()
    session.open()
    session.lose()
    session.open()
    assert bench.sink.takeovers == [True, True, False]


def test_after_a_lost_session_the_writers_of_a_run_do_not_come_back_in_the_same_moment() -> None:
    rng = random.Random(1)
    waits = [Session(Bench().link, MemorySink(), rng.random).lose() for _ in range(60)]
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
    assert least <= Session(bench.link, bench.sink, lambda: 0.5).open() <= most
    assert bench.status == "connecting"


def test_a_wait_grows_to_its_bound_and_begins_anew_after_a_success() -> None:
    backoff = Backoff(1.0, 8.0, lambda: 1.0)
    assert [backoff.next_s() for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    backoff.reset()
    assert backoff.next_s() == 1.0


def test_a_wait_is_never_shorter_than_what_the_server_asked_for() -> None:
    rng = random.Random(1)
    backoff = Backoff(1.0, 8.0, rng.random)
    assert all(20.0 <= backoff.next_s(at_least_s=20.0) <= 30.0 for _ in range(100))
