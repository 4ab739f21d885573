"""The verdict itself: it finds each kind of broken promise, and does not accuse a run that broke none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hud_publisher.protocol.entries import EntryId
from hud_publisher.protocol.keys import Sid
from hud_web.store.sse import Position
from tests.faults import plan
from tests.faults.history import History, Number, Session
from tests.faults.viewer import Seen

RUN, OTHER = "run", "other run"


def number(n: int, writer: str = "w") -> Number:
    return Number(writer, "metrics", n)


def session(*numbers: Number, sid: str = "1000", run: str = RUN) -> Session:
    """Entry n of a session has the id `sid`-n."""
    entries = [(f"{sid}-{place}", found) for place, found in enumerate(numbers, start=1)]
    return Session(sid, run, int(sid), {"metrics": entries, "iterations": []})


def at(place: int, sid: str = "1000") -> Position:
    return Position(Sid(sid), metrics=EntryId(f"{sid}-{place}" if place else "0-0"))


def snapshot(place: int = 0, state: dict[str, int] | None = None, sid: str = "1000") -> Seen:
    return Seen("snapshot", {"state": state or {}, "frame": None}, at(place, sid))


def update(place: int, n: int, writer: str = "w", sid: str = "1000") -> Seen:
    return Seen("training_update", {writer: n, "_hud": {"id": f"{sid}-{place}", "stream": "metrics"}}, at(place, sid))


def frame(frame_id: str) -> Seen:
    return Seen("vision_update", {"id": frame_id, "image": "", "source": "env"})


RESET = Seen("reset", {"reason": "this viewer fell behind"})
#: Three entries, all acknowledged, and seen as they came.
GOOD = History(
    [session(number(1), number(2), number(3))],
    [("1000", number(n)) for n in (1, 2, 3)],
    {"w": RUN, "v": OTHER},
    [[snapshot(), update(1, 1), update(2, 2), update(3, 3)]],
)
#: The same, and then another run.
TWO = replace(
    GOOD,
    sessions=[*GOOD.sessions, session(number(1, "v"), sid="2000", run=OTHER)],
    acknowledged=[*GOOD.acknowledged, ("2000", number(1, "v"))],
    viewers=[[*GOOD.viewers[0], snapshot(sid="2000"), update(1, 1, "v", "2000")]],
)


def test_a_run_without_loss_is_not_accused() -> None:
    assert GOOD.violations() == []
    assert TWO.violations() == []


def test_a_viewer_that_came_late_or_fell_behind_is_not_accused() -> None:
    late = [snapshot(2, {"w": 2}), update(3, 3)]
    behind = [snapshot(), update(1, 1), RESET, snapshot(3, {"w": 3})]
    frames = [snapshot(3, {"w": 3}), frame("1000-1"), frame("1000-1"), frame("1001-0"), Seen("connect", None)]
    assert replace(GOOD, viewers=[late, behind, [*frames, frame("1000-1")]]).violations() == []


def test_an_unacknowledged_entry_may_be_stored_again_in_the_next_session() -> None:
    again = session(number(3), number(4), sid="2000")
    seen = [*GOOD.viewers[0], snapshot(sid="2000"), update(1, 3, sid="2000"), update(2, 4, sid="2000")]
    told = [("1000", number(1)), ("1000", number(2)), ("2000", number(3)), ("2000", number(4))]
    assert replace(GOOD, sessions=[*GOOD.sessions, again], acknowledged=told, viewers=[seen]).violations() == []


def broken_histories() -> dict[str, History]:
    lost = replace(GOOD, sessions=[session(number(1), number(3))], viewers=[])
    whole = GOOD.sessions[0]
    stale = replace(whole, entries={"metrics": [*whole.entries["metrics"], ("2001-0", number(4))]})
    return {
        "lost": lost,
        "doubled": replace(GOOD, sessions=[session(number(1), number(2), number(2), number(3))], viewers=[]),
        "out of order": replace(GOOD, sessions=[session(number(2), number(1), number(3))], viewers=[]),
        "doubled in a later session": replace(
            GOOD, sessions=[whole, session(number(3), sid="2000")], viewers=[]
        ),
        "acknowledged twice": replace(GOOD, acknowledged=[*GOOD.acknowledged, ("1000", number(1))]),
        "another run's entry": replace(GOOD, runs={"w": OTHER}),
        "written after the takeover": replace(TWO, sessions=[stale, TWO.sessions[1]], viewers=[]),
        "grown after the takeover": replace(TWO, at_takeover={"1000": 2}),
        **{name: replace(GOOD, viewers=[seen]) for name, seen in broken_views().items()},
        **{name: replace(TWO, viewers=[seen]) for name, seen in broken_views_of_two().items()},
    }  # fmt: skip


def broken_views() -> dict[str, list[Seen]]:
    first, second, third = GOOD.viewers[0][1:]
    wrong = replace(second, data={"w": 7, "_hud": second.data["_hud"]})
    return {
        "seen twice": [snapshot(), first, second, second, third],
        "seen out of order": [snapshot(), second, first, third],
        "missed in the middle": [snapshot(), first, third],
        "missed at the end": [snapshot(), first, second],
        "missed at the beginning": [snapshot(), second, third],
        "seen with another value": [snapshot(), first, wrong, third],
        "seen though it is nowhere": [snapshot(), first, second, third, update(4, 4)],
        "seen again after a reset": [snapshot(), first, second, third, RESET, snapshot(2, {"w": 2}), second, third],
        "old state in a snapshot": [snapshot(3, {"w": 2})],
        "new state in a snapshot": [snapshot(2, {"w": 3}), third],
        "reset for another reason": [
            snapshot(), first, Seen("reset", {"reason": "Redis lost its data"}), snapshot(3, {"w": 3}),
        ],
        "an older frame": [snapshot(3, {"w": 3}), frame("1001-0"), frame("1000-0")],
    }  # fmt: skip


def broken_views_of_two() -> dict[str, list[Seen]]:
    first = GOOD.viewers[0]
    after: list[Any] = [snapshot(sid="2000"), update(1, 1, "v", "2000")]
    return {
        "the last session not seen": first,
        "a session not seen to its end": [*first[:3], *after],
        "back to the session before": [*first, *after, first[3]],
        "the first session missed": [snapshot(sid="500"), *after],
    }


@pytest.mark.parametrize("name", list(broken_histories()))
def test_a_broken_promise_is_seen(name: str) -> None:
    assert broken_histories()[name].violations() != []


LOST_DATA = Seen("reset", {"reason": "Redis lost its data"})


def test_a_viewer_that_was_told_of_a_flush_is_not_accused() -> None:
    first = GOOD.viewers[0]
    after = [LOST_DATA, snapshot(sid="2000"), update(1, 1, "v", "2000")]
    seen = [[*first, *after], [*first[:2], *after], [*first, LOST_DATA, *after], [snapshot(sid="2000"), after[2]]]
    assert replace(TWO, viewers=seen, wiped={"1000"}).violations() == []


@pytest.mark.parametrize("wiped", [set(), {"1000"}], ids=["nothing was flushed", "the viewer was not told"])
def test_a_reset_must_come_with_a_flush_and_only_then(wiped: set[str]) -> None:
    after = [snapshot(sid="2000"), update(1, 1, "v", "2000")]
    seen = [*GOOD.viewers[0], *([] if wiped else [LOST_DATA]), *after]
    assert len(replace(TWO, viewers=[seen], wiped=wiped).violations()) == 1


def test_a_plan_is_the_same_for_the_same_seed_and_each_fault_is_drawn() -> None:
    assert plan.draw(7) == plan.draw(7)
    assert plan.draw(7) != plan.draw(8)
    drawn = {fault for seed in range(200) for fault in plan.draw(seed).faults}
    assert drawn == set(plan.FAULTS)
