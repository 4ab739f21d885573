"""The truth test: 16 recorded runs are replayed, and every text of the page is compared with an oracle.

`tests.truth` has the recordings, the replay, the oracle and the timetable. Groups of runs are replayed one after the
other, the runs of a group at the same time; each test reports one run and one state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fixtures.servers import redis_binary, running
from tests.fixtures.web import WebServer
from tests.truth.recording import load, names
from tests.truth.replay import Replay
from tests.truth.watching import LASTS_S, STATES, Visit, Watcher

#: Two cores show this number of runs, each on an early and a late page, without falling behind.
TOGETHER = 6

#: Each of three groups takes a minute on two cores; a busy machine takes several.
pytestmark = pytest.mark.timeout(1500)


@pytest.fixture(scope="module")
def watchers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Watcher]]:
    """The groups of runs, looked at in all states."""
    with running(redis_binary(), tmp_path_factory.mktemp("truth") / "redis") as redis:
        web = WebServer(redis.url)
        try:
            found = []
            for first in range(0, len(names()), TOGETHER):
                group = [load(name) for name in names()[first : first + TOGETHER]]
                replay = Replay(group, redis.url, lasts_s=LASTS_S)
                found.append(Watcher(replay, web.url, redis.url))
                # Other browser tests keep an event loop in the main thread.
                with ThreadPoolExecutor(1) as thread:
                    thread.submit(asyncio.run, found[-1].watch()).result()
                replay.join()
            yield found
        finally:
            web.close()


@pytest.fixture
def visits(watchers: list[Watcher]) -> dict[str, Visit]:
    return {name: visit for watcher in watchers for name, visit in watcher.visits.items()}


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("state", STATES)
def test_every_text_is_true(visits: dict[str, Visit], name: str, state: str) -> None:
    assert visits[name].wrong[state] == []


@pytest.mark.parametrize("name", names())
def test_the_title_of_a_hidden_page_shows_the_runs_state(visits: dict[str, Visit], name: str) -> None:
    assert visits[name].titles
    assert not [title for title in visits[name].titles if title.startswith(("STALLED", "CONNECTING"))]


def test_nothing_goes_wrong_in_the_console(watchers: list[Watcher]) -> None:
    assert [problem for watcher in watchers for problem in watcher.problems] == []
