"""Redis with a spare: its primary dies or freezes, another takes over, and pages live again within seconds.

What was acknowledged in the last moments before may be lost with the primary, since Redis replicates after it has
answered: the tests bound it. Nothing is doubled, and nobody sees an entry twice or out of order, but after a `reset`.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from hud_publisher import Publisher
from hud_publisher.redis_client import connect
from tests.faults.history import Number
from tests.faults.ledger import read_sessions
from tests.faults.viewer import Viewer
from tests.faults.writer import Assignment, Work, acknowledged, publisher_of
from tests.fixtures.redundant import Cluster, Sentinels, running_cluster, running_sentinels
from tests.fixtures.servers import Server, wait_until
from tests.fixtures.web import WebServer

#: From the new primary's first moment to the first new entry on a page.
ALIVE_WITHIN_S = 5.0
PER_S = 300
#: How long before the primary's end an acknowledged entry may be that did not reach its replica.
REPLICATION_LAG_S = 1.0

Spare = Sentinels | Cluster


@dataclass
class Running:
    """A run that logs without end, and a viewer that watches it through a web replica of its own."""

    spare: Spare
    hud: Publisher
    work: Work
    assignment: Assignment
    viewer: Viewer

    def seen(self) -> list[int]:
        """The numbers that the viewer has seen, in that order."""
        events = [event for event in self.viewer.seen() if event.name == "training_update"]
        return [event.data["w"] for event in events if "w" in event.data]

    def spans(self) -> list[list[int]]:
        """The same in spans that begin with what a snapshot showed; a snapshot follows a `reset`, or is the first."""
        spans: list[list[int]] = []
        for event in self.viewer.seen():
            if event.name == "snapshot":
                spans.append([event.data["state"].get("w", 0)])
            elif event.name == "training_update" and "w" in event.data:
                spans[-1].append(event.data["w"])
        return spans

    def told(self) -> list[int]:
        """The numbers that were acknowledged."""
        return [number.n for _sid, number in acknowledged(self.assignment) if number.stream == "metrics"]


def start_run(spare: Spare, folder: Path, stack: contextlib.ExitStack) -> Running:
    web = WebServer(spare.url)
    stack.callback(web.close)
    environment = {"REDIS_URL": spare.url, "HUD_RUN_ID": "the-run"}
    assignment = Assignment("w", environment, str(folder / "notes"), PER_S, total=10**9)
    viewer = Viewer([web.port], random.Random(1))
    stack.callback(viewer.close)
    hud = publisher_of(assignment)
    work = Work(hud, assignment)
    running = Running(spare, hud, work, assignment, viewer)
    stack.callback(hud.close)
    stack.callback(work.stop)
    wait_until(lambda: len(running.seen()) > 50, "the page to live", deadline_s=60)
    return running


@pytest.fixture(params=[running_sentinels, running_cluster], ids=["sentinels", "cluster"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    start: Callable[[Path], contextlib.AbstractContextManager[Spare]] = request.param
    with start(tmp_path) as spare, contextlib.ExitStack() as stack:
        yield start_run(spare, tmp_path, stack)


def primary_of(spare: Spare) -> Server:
    return spare.primary if isinstance(spare, Sentinels) else spare.owner_of("hud:{default}:lock")


def expect_life_after(run: Running, old: Server) -> None:
    """Something that was logged under the new primary is on the page in time."""
    _new, since_s = run.spare.wait_for_new_primary(old)
    count = len(run.told())
    wait_until(
        lambda: len(run.told()) > count and run.seen()[-1] >= run.told()[count],
        "the page to live again",
        deadline_s=since_s + ALIVE_WITHIN_S - time.monotonic(),
    )
    print(f"the page lived again {time.monotonic() - since_s:.2f} s after the new primary")


def expect_order_and_little_loss(run: Running, told_before: list[int]) -> None:
    """All that can be promised of a primary that died: its successor has everything but the last moments."""
    run.work.stop()
    wait_until(lambda: not run.hud.stats.pending.get("metrics"), "all to be acknowledged", deadline_s=60)
    last = run.told()[-1]
    wait_until(lambda: run.seen()[-1] == last, "the page to have it", deadline_s=60)
    with contextlib.closing(connect(run.spare.url)) as client:
        [session] = read_sessions(client)
    stored = [number.n for _id, number in session.entries["metrics"]]
    assert all(before < after for before, after in pairwise(stored))
    shown, last_shown = set(), 0
    for span in run.spans():
        assert all(before < after for before, after in pairwise(span))
        shown |= {*range(last_shown + 1, span[0] + 1), *span[1:]}
        last_shown = span[-1]
    lost = set(run.told()) - set(stored)
    print(f"{len(lost)} of {len(run.told())} acknowledged entries were lost with the primary")
    assert lost <= set(told_before[-int(PER_S * REPLICATION_LAG_S) :])
    assert set(stored) <= shown
    assert Number("w", "metrics", last).n in stored


@pytest.mark.timeout(240)
def test_a_page_lives_again_within_five_seconds_of_the_new_primary(run: Running) -> None:
    old = primary_of(run.spare)
    told = run.told()
    old.kill()
    told += run.told()[len(told) :]
    expect_life_after(run, old)
    expect_order_and_little_loss(run, told)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_frozen_primary_is_replaced_and_changes_nothing_when_it_wakes(run: Running) -> None:
    old = primary_of(run.spare)
    old.stop()
    told = run.told()
    try:
        expect_life_after(run, old)
    finally:
        old.cont()
    count = len(run.told())
    wait_until(lambda: len(run.told()) > count + 2 * PER_S, "two more seconds of entries", deadline_s=60)
    expect_order_and_little_loss(run, told)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_cluster_that_comes_only_later_gets_everything(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as cluster, contextlib.ExitStack() as stack:
        for server in cluster.servers:
            server.kill()
        web = stack.enter_context(contextlib.closing(WebServer(cluster.url)))
        hud = stack.enter_context(Publisher(redis_url=cluster.url))
        for n in range(1, 51):
            hud.log({"w": n}, step=n)
        wait_until(lambda: hud.stats.failures, "the outage to be noticed", deadline_s=60)
        assert web.get("/ready")[0] == 503
        for server in cluster.servers:
            server.start()
        wait_until(lambda: hud.stats.sent.get("metrics") == 50, "all to be acknowledged", deadline_s=60)
        assert hud.stats.dropped == {}
        wait_until(lambda: web.get("/api/state")[1].get("state") == {"w": 50}, "the page to have it", deadline_s=60)
        with contextlib.closing(connect(cluster.url)) as client:
            [session] = read_sessions(client)
        assert [number.n for _id, number in session.entries["metrics"]] == list(range(1, 51))
