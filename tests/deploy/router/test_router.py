"""Three replicas behind haproxy as OpenShift's router: streams outlive its timeouts, a drain loses no viewer."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections.abc import Iterator

import pytest

from hud_publisher import Publisher
from tests.deploy.follower import Follower
from tests.deploy.router.router import Replica, Router, routed
from tests.fixtures.servers import redis_binary, running
from tests.fixtures.web import poll

#: How long a stream must live: above the router's 30 s. `make test-deploy` asks for more than five minutes.
LIVES_S = float(os.environ.get("HUD_ROUTER_S", "40"))
VIEWERS = 45


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Router, list[Replica], str]]:
    folder = tmp_path_factory.mktemp("router")
    with running(redis_binary(), folder / "redis") as redis, routed(folder, redis.url) as (router, replicas):
        yield router, replicas, redis.url


@pytest.fixture(scope="module", autouse=True)
def quiet(stack: tuple[Router, list[Replica], str]) -> Iterator[list[Follower]]:
    """Streams of an idle channel, one at each replica, open since before the other tests."""
    router, replicas, _redis = stack
    followers = [Follower(router.url, context=router.context, query="channel=quiet") for _ in replicas]
    poll(lambda: all(follower.opened == 1 for follower in followers), "the quiet streams")
    yield followers
    for follower in followers:
        follower.close()


class Run:
    """Logs a number 50 times a second."""

    def __init__(self, redis_url: str, channel: str) -> None:
        self.hud = Publisher(redis_url=redis_url, channel=channel, name="router test")
        self.count = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.hud.log({"n": self.count}, step=self.count)
            self.count += 1
            time.sleep(0.02)

    def end(self) -> int:
        self._stop.set()
        self._thread.join()
        return self.count


@pytest.mark.timeout(120)
def test_viewers_of_a_drained_replica_go_on_at_another_with_nothing_lost_and_nothing_twice(
    stack: tuple[Router, list[Replica], str],
) -> None:
    router, replicas, redis_url = stack
    viewers = [Follower(router.url, context=router.context, query="channel=drain&frames=0") for _ in range(VIEWERS)]
    run = None
    try:
        poll(lambda: all("ok" in viewer.statuses for viewer in viewers), "all viewers", 60)
        served = [replica.get("/ready")[1]["viewers"] for replica in replicas]
        assert min(served) >= VIEWERS // 5, "leastconn spreads streams"
        run = Run(redis_url, "drain")
        poll(lambda: all(len(viewer.numbers) > 50 for viewer in viewers), "50 numbers", 60)
        assert replicas[0].terminate(timeout_s=20) == 0
        moved = [viewer for viewer in viewers if viewer.opened > 1 or viewer.ages_s]
        poll(lambda: all(len(viewer.numbers) > run.count - 25 for viewer in viewers), "viewers to catch up", 60)
        count = run.end()
        poll(lambda: all(viewer.numbers[-1:] == [count - 1] for viewer in viewers), "the last number", 30)
        assert all(viewer.numbers == list(range(count)) for viewer in viewers)
        assert not any(viewer.resets for viewer in viewers)
        assert moved, "nobody was on the drained replica"
    finally:
        if run is not None:
            run.end()
            run.hud.close()
        for viewer in viewers:
            viewer.close()
        replicas[0].start()


def test_a_client_of_the_route_can_read_and_never_write(stack: tuple[Router, list[Replica], str]) -> None:
    router, _replicas, _redis = stack
    poll(lambda: ask(router, "GET", "/ready")[0] == 200, "the router")
    assert ask(router, "GET", "/api/state")[0] == 200
    status, body = ask(router, "POST", "/api/register_session")
    assert (status, json.loads(body)["error"]) == (403, "View only")


def test_plain_http_is_redirected_to_https(stack: tuple[Router, list[Replica], str]) -> None:
    router, _replicas, _redis = stack
    connection = http.client.HTTPConnection("localhost", router.http_port, timeout=10)
    connection.request("GET", "/")
    response = connection.getresponse()
    assert (response.status, response.headers["location"][:8]) == (302, "https://")
    connection.close()


def ask(router: Router, method: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPSConnection("localhost", router.port, timeout=10, context=router.context)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.timeout(LIVES_S + 60)
def test_streams_on_which_nothing_happens_outlive_the_routers_time_outs(quiet: list[Follower]) -> None:
    """Last, so that the time of the other tests counts. The stream of the drained replica has moved."""
    stayed = [follower for follower in quiet if follower.opened == 1]
    assert len(stayed) >= len(quiet) - 1
    poll(lambda: all(time.monotonic() - one.opened_at_s > LIVES_S or one.ages_s for one in stayed), "it", LIVES_S + 30)
    assert [follower.ages_s for follower in stayed] == [[] for _ in stayed]
