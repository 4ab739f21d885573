"""A run that finds its channel held: how soon it knows whether the holder lives, and where it continues."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from hud_publisher.protocol.batch import Registered
from hud_publisher.protocol.errors import Holder, SessionHeldError
from hud_publisher.protocol.keys import SessionId, Sid
from hud_publisher.sender.contention import Contention
from tests.fixtures.publishing import Bench, Clock, MemorySink

TTL_S = 30.0


@dataclass
class OtherRun:
    """A run that holds the channel, on the clock of the test.

    Attributes:
        main_wrote: when its main process wrote last; None: it never tells.
        renewed: when any of its processes wrote last.
        life: called at each look at the run: changes the two.
    """

    clock: Clock
    main_wrote: float | None = 1000.0
    renewed: float = 1000.0
    life: Callable[[OtherRun], None] = lambda _run: None
    sid: str = "17"

    def holder(self) -> Holder | None:
        """The content of a refusal; None once the lease has run out."""
        self.life(self)
        left_s = self.renewed + TTL_S - self.clock.now
        silent_ms = None if self.main_wrote is None else int((self.clock.now - self.main_wrote) * 1000)
        return Holder(self.sid, "other", 0, int(left_s * 1000), silent_ms) if left_s > 0 else None


def wait_for(run: OtherRun, *, travel_s: float = 0.0) -> tuple[float, bool]:
    """Return after how many seconds the wait ends, and whether the lease had run out by then."""
    contention, began = Contention(TTL_S, lambda: 0.5), run.clock.now
    while run.clock.now < began + 120:
        sent_at = run.clock.now
        run.clock.advance(travel_s * ((run.clock.now * 7) % 1))  # requests and replies take differently long
        holder = run.holder()
        run.clock.advance(travel_s * ((run.clock.now * 13) % 1))
        if holder is None:
            return run.clock.now - began, True
        wait_s = contention.refuse(holder, sent_at, run.clock.now)
        if contention.is_over:
            return run.clock.now - began, False
        run.clock.advance(wait_s)
    raise AssertionError("the wait has no end")


def beat(every_s: float) -> Callable[[OtherRun], None]:
    """The main process writes at this interval."""

    def live(run: OtherRun) -> None:
        assert run.main_wrote is not None
        run.main_wrote += (run.clock.now - run.main_wrote) // every_s * every_s
        run.renewed = run.main_wrote

    return live


@pytest.mark.parametrize("every_s", [0.04, 0.3, 1.0])
@pytest.mark.parametrize("travel_s", [0.0, 0.4])
def test_a_live_holder_is_known_within_a_second_and_a_half(every_s: float, travel_s: float) -> None:
    took_s, has_lapsed = wait_for(OtherRun(Clock(), life=beat(every_s)), travel_s=travel_s)
    assert not has_lapsed
    assert took_s <= 1.5 + 2 * travel_s


@pytest.mark.parametrize("travel_s", [0.0, 0.1, 1.5])
@pytest.mark.parametrize("age_s", [0.0, 12.0, 29.0])
def test_a_killed_holder_is_waited_for_until_its_lease_has_run_out(age_s: float, travel_s: float) -> None:
    run = OtherRun(Clock())
    run.clock.advance(age_s)
    took_s, has_lapsed = wait_for(run, travel_s=travel_s)
    assert has_lapsed
    assert took_s <= TTL_S - age_s + 0.3 + 2 * travel_s


def test_env_runners_that_outlive_their_driver_for_seconds_do_not_make_the_run_live() -> None:
    clock = Clock()

    def orphans(run: OtherRun) -> None:
        run.renewed = min(clock.now, 1008.0)

    clock.advance(4.0)
    took_s, has_lapsed = wait_for(OtherRun(clock, life=orphans))
    assert has_lapsed
    assert took_s <= 8 - 4 + TTL_S + 0.3


def test_a_run_whose_main_process_left_lives_by_its_other_processes() -> None:
    run = OtherRun(Clock(), life=lambda run: setattr(run, "renewed", run.clock.now))
    took_s, has_lapsed = wait_for(run)
    assert not has_lapsed
    assert took_s <= 16


def test_a_holder_that_never_tells_its_main_process_lives_if_its_lease_is_renewed() -> None:
    run = OtherRun(Clock(), main_wrote=None, life=lambda run: setattr(run, "renewed", run.clock.now))
    took_s, has_lapsed = wait_for(run)
    assert not has_lapsed
    assert took_s <= 2.0


def test_a_lease_longer_than_this_runs_own_is_not_waited_for() -> None:
    contention, clock = Contention(TTL_S, lambda: 0.5), Clock()
    while not contention.is_over:
        silent_ms = int((clock.now - 1000) * 1000)
        holder = Holder("17", "other", 0, 3_600_000 - silent_ms, silent_ms)
        clock.advance(contention.refuse(holder, clock.now, clock.now))
    assert TTL_S <= clock.now - 1000 <= TTL_S + 2


def test_a_channel_that_a_third_run_took_first_is_not_waited_for() -> None:
    contention = Contention(TTL_S)
    contention.refuse(Holder("17", "other", 0, 100, 29_900), 0.0, 0.0)
    assert not contention.is_over
    contention.refuse(Holder("18", "third", 0, 30_000, 0), 0.1, 0.1)
    assert contention.is_over


@dataclass
class HeldSink(MemorySink):
    """A sink whose channel another run holds, with room beside it."""

    other: OtherRun = field(default_factory=lambda: OtherRun(Clock()))
    #: No channel beside it is given.
    is_old: bool = False

    def register(self, *, takeover: bool = False, aside: bool = False) -> Registered:
        holder = self.other.holder()
        if holder is None or (aside and not self.is_old):
            registered = super().register(takeover=takeover, aside=aside)
            if holder is None:
                return registered
            self.session = SessionId(f"default~2.{self.registrations}.{'s' * 16}")
            return Registered(self.session, Sid("1"), self.is_joining, self.ttl_ms, "http://hud:8086")
        self.asides.append(aside)
        raise SessionHeldError(holder)


def bench_beside(
    *, life: Callable[[OtherRun], None] = lambda _run: None, is_old: bool = False, **options: str
) -> Bench:
    bench = Bench(HeldSink(is_old=is_old), **options)
    assert isinstance(bench.sink, HeldSink)
    bench.sink.other = OtherRun(bench.clock, life=life)
    return bench


def test_a_run_beside_a_live_one_delivers_everything_in_its_own_channel(caplog: pytest.LogCaptureFixture) -> None:
    bench = bench_beside(life=beat(1.0))
    bench.log(5)
    bench.run(1.6)
    assert [entry.step for entry in bench.sink.landed] == [0, 1, 2, 3, 4]
    assert bench.status == "registered"
    assert bench.intake.report.channel == "default~2"
    bench.assert_everything_is_accounted_for()
    assert caplog.messages == [
        "HUD: channel default at memory is held by run 'other' (session 17): this run continues in channel default~2: "
        "http://hud:8086/?channel=default~2",
        "HUD: publishing to memory, channel default~2",
        "HUD: http://hud:8086/?channel=default~2",
    ]


def test_a_run_that_restarts_after_a_crash_gets_its_display_back(caplog: pytest.LogCaptureFixture) -> None:
    bench = bench_beside()
    bench.log(5)
    bench.run(TTL_S - 0.5)
    assert bench.status == "refused"
    (line,) = caplog.messages
    assert "which may have crashed. This run waits at most 30 s" in line
    bench.run(1.0)
    assert bench.intake.report.channel == "default"
    assert [entry.step for entry in bench.sink.landed] == [0, 1, 2, 3, 4]


def test_a_run_that_loses_its_channel_to_a_live_one_continues_in_its_own() -> None:
    bench = bench_beside()
    assert isinstance(bench.sink, HeldSink)
    bench.sink.other.renewed = 0.0
    bench.run(5)
    assert bench.intake.report.channel == "default"
    bench.sink.other.renewed, bench.sink.other.life = bench.clock.now, beat(1.0)
    bench.sink.end_session()
    bench.log(3)
    bench.run(3)
    assert bench.intake.report.channel == "default~2"
    assert len(bench.sink.landed) == 3


def test_a_short_run_beside_another_delivers_its_entries_when_it_closes() -> None:
    bench = bench_beside()
    bench.log(3)
    bench.close()
    assert len(bench.sink.landed) == 3
    assert bench.status == "closed"
    assert bench.counters.dropped == {}


def test_a_server_without_channels_beside_a_held_one_lets_the_run_wait(caplog: pytest.LogCaptureFixture) -> None:
    bench = bench_beside(life=beat(1.0), is_old=True)
    bench.log(3)
    bench.run(600)
    assert bench.status == "refused"
    assert sum(bench.sink.asides) == 1
    assert len(caplog.messages) == 1
    assert bench.counters.events["refusals"] < 30
    bench.close()
    assert bench.counters.dropped == {"metrics/closed": 3}


def test_a_run_that_is_off_when_its_channel_is_held_gives_up_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    bench = bench_beside(life=beat(1.0), when_held="off")
    bench.log(3)
    bench.run(60)
    bench.log(3)
    bench.run(60)
    bench.close()
    assert bench.sink.landed == []
    assert bench.counters.events["refusals"] <= 6
    assert bench.counters.dropped == {"metrics/closed": 6}
    (line,) = caplog.messages
    assert line.endswith("this run is not shown, because HUD_WHEN_HELD is off")


def test_a_run_that_waits_asks_for_no_other_channel() -> None:
    bench = bench_beside(life=beat(1.0), when_held="wait")
    bench.run(600)
    assert bench.status == "refused"
    assert not any(bench.sink.asides)


def test_an_env_runner_follows_its_driver_and_never_chooses_a_channel() -> None:
    bench = Bench(HeldSink(), writer="w1")
    assert isinstance(bench.sink, HeldSink)
    bench.sink.other = OtherRun(bench.clock, life=beat(1.0))
    bench.log(3)
    bench.run(600)
    assert not any(bench.sink.asides)
    assert bench.counters.events["refusals"] < 40
    bench.close()
    assert len(bench.sink.landed) == 3


def test_a_run_that_is_asked_for_its_session_ends_it_and_registers_again_with_its_next_entry() -> None:
    bench = Bench()
    bench.log(3)
    bench.run(1)
    session = bench.sink.session
    bench.intake.ask_to_yield()
    bench.run(5)
    assert bench.sink.released == [session]
    assert bench.sink.registrations == 1
    bench.sink.end_session()
    bench.log(2)
    bench.run(1)
    assert bench.sink.registrations == 2
    assert len(bench.sink.landed) == 5
    bench.assert_everything_is_accounted_for()


def test_a_run_that_is_used_when_it_is_asked_for_its_session_keeps_it() -> None:
    bench = Bench()
    bench.run(1)
    bench.intake.ask_to_yield()
    bench.log()
    bench.run(5)
    assert bench.sink.released == []
    assert len(bench.sink.landed) == 1


def test_a_run_that_yielded_closes_without_a_session() -> None:
    bench = Bench()
    bench.log()
    bench.run(1)
    bench.intake.ask_to_yield()
    bench.run(1)
    bench.close()
    assert len(bench.sink.released) == 1
    assert bench.status == "closed"


@pytest.mark.parametrize(("yields", "channel"), [(True, "default"), (False, "default~2")])
def test_a_run_waits_for_one_of_its_process_only_if_that_yields(yields: bool, channel: str) -> None:
    bench = bench_beside(life=beat(0.5))
    sink = bench.sink
    assert isinstance(sink, HeldSink)
    asked: list[tuple[str, str]] = []

    def ask_for(held: str, sid: str) -> bool:
        asked.append((held, sid))
        if yields and len(asked) == 8:
            sink.other.renewed, sink.other.life = 0.0, lambda _run: None
        return yields

    bench.sender._session._ask_for = ask_for
    bench.log()
    bench.run(2.0)
    assert set(asked) == {("default", "17")}
    assert bench.intake.report.channel == channel
