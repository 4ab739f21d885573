"""The index of runs on a real replica: `/stream/runs` and `/api/runs`, on one Redis and on a cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from hud_publisher import Publisher
from hud_publisher.protocol.keys import ChannelKeys
from tests.fixtures.redundant import running_cluster
from tests.fixtures.servers import free_port
from tests.fixtures.web import SseClient, WebServer, poll

#: From the first entry of a run until it is on the wall.
MOST_S = 2.0


@pytest.fixture
def wall() -> Iterator[Callable[..., SseClient]]:
    """Open streams of runs; all are closed with the test."""
    opened: list[SseClient] = []

    def open_stream(web: WebServer, query: str = "pictures=1&curves=1") -> SseClient:
        opened.append(SseClient(f"{web.url}/stream/runs?{query}"))
        return opened[-1]

    yield open_stream
    for client in opened:
        client.close()


def cards(client: SseClient) -> dict[str, dict[str, Any]]:
    """The runs as a page would show them, by channel, each with its last picture's time."""
    shown: dict[str, dict[str, Any]] = {}
    for event in list(client.events):
        for card in event.data.get("runs", ()):
            shown.setdefault(card["channel"], {}).update(card)
        for picture in event.data.get("pictures", ()):
            shown[picture["run"].partition(":")[0]]["picture"] = picture["time_ms"]
    return shown


def test_publishers_appear_within_two_seconds_of_their_first_entry_and_render_no_more_for_the_wall(
    web: WebServer, wall: Callable[..., SseClient]
) -> None:
    client = wall(web)
    client.wait(lambda one: one.named("runs"), "the stream to open")
    names = [f"wall-{number}" for number in range(3)]
    publishers = [Publisher(channel=name, name=name, redis_url=web.redis_url, fps=60) for name in names]
    frame, taken, over = np.zeros((84, 84, 3), np.uint8), dict.fromkeys(names, 0), threading.Event()
    gaps: list[float] = []  # of a thread that wants to run every 0.02 s: longer ones are other work of this machine

    def train() -> None:
        step, last_s = 0, time.monotonic()
        while not over.wait(0.02):
            step += 1
            gaps.append(time.monotonic() - last_s)
            last_s += gaps[-1]
            for name, publisher in zip(names, publishers, strict=True):
                publisher.log({"episode_return_mean": float(step)}, step=step)
                if publisher.wants_frame():
                    taken[name] += publisher.frame(frame, step=step)

    training = threading.Thread(target=train)
    began_s = time.monotonic()
    try:
        training.start()
        with redis.Redis.from_url(web.redis_url) as direct:
            first_s = poll(
                lambda: all(map(direct.exists, map(state_of(direct), names))) and time.monotonic(), "entries"
            )
            shown_s = client.wait(lambda one: set(names) <= {*cards(one)} and time.monotonic(), "the runs")
            assert shown_s - first_s < MOST_S + 4 * max(gaps)
            client.wait(lambda one: all("picture" in card for card in cards(one).values()), "their pictures")
            client.wait(lambda one: all(card["return"]["value"] > 100 for card in cards(one).values()), "values")
            assert [direct.hlen(ChannelKeys(name).viewers) for name in names] == [0, 0, 0]
        over.set()
        training.join()
        seconds = time.monotonic() - began_s
        assert max(taken.values()) <= seconds + 2  # one per second, as without a viewer
    finally:
        over.set()
        for publisher in publishers:
            publisher.close()
    client.wait(lambda one: {card["status"] for card in cards(one).values()} == {"ended"}, "the end of the runs")
    assert [len(card["curve"]["value"]) > 2 for card in cards(client).values()] == [True] * 3


def state_of(direct: Any) -> Callable[[str], str]:
    """Return a function from a channel to the key of its newest session's state."""

    def key(name: str) -> str:
        keys = ChannelKeys(name)
        return keys.session((direct.get(keys.fence) or b"0").decode()).state

    return key


def test_a_cluster_lists_streams_labels_and_deletes_runs_of_all_its_nodes(
    tmp_path: Path, serve: Callable[..., WebServer], wall: Callable[..., SseClient]
) -> None:
    with running_cluster(tmp_path) as cluster:
        web = serve(redis_url=cluster.url)
        names = ["a", "b", "c", "d", "e"]
        sessions = {name: web.post("/api/register_session", {"channel": name, "name": name})[1] for name in names}
        for session in sessions.values():
            data = {"session_id": session["session_id"], "data": {"episode_return_mean": 2.5}, "step": 7}
            assert web.post("/api/update_training", data)[0] == 200
        client = wall(web)
        client.wait(lambda one: [card["step"] for card in cards(one).values()] == [7] * 5, "the runs")
        body = web.get("/api/runs?sort=name&order=asc&column=result.episode_return_mean")[1]
        assert [(run["name"], run["columns"]) for run in body["runs"]] == [
            (name, {"result.episode_return_mean": 2.5}) for name in names
        ]
        sid = str(sessions["c"]["fence"])
        status, run = web.post("/api/runs/label", {"channel": "c", "session": sid, "tags": ["x"], "pinned": True})
        assert (status, run["tags"], run["pinned"]) == (200, ["x"], True)
        client.wait(lambda one: cards(one)["c"]["tags"] == ["x"], "the tag")
        assert web.get("/api/runs?tag=x")[1]["total"] == 1
        assert web.post("/api/runs/delete", {"channel": "c", "session": sid})[0] == 409
        assert web.post("/api/reset_session", {"channel": "c"})[0] == 200
        assert web.post("/api/runs/delete", {"channel": "c", "session": sid})[0] == 200
        assert web.get("/api/runs")[1]["total"] == 4
        client.wait(lambda one: any(f"c:{sid}" in data["gone"] for data in one.named("changes")), "the deletion")


def test_the_wall_obeys_the_limits_of_the_server(serve: Callable[..., WebServer]) -> None:
    view = free_port()
    environment = {
        "HUD_VIEW_TOKEN": "look", "HUD_TOKEN": "write", "HUD_VIEW_PORT": str(view), "HUD_STREAMS_PER_ADDRESS": "1"
    }  # fmt: skip
    web = serve(environment=environment)
    assert web.get("/api/runs")[0] == web.get("/stream/runs")[0] == 401
    look = {"Authorization": "Bearer look"}
    assert web.request("GET", "/some/prefix/api/runs", headers=look)[0] == 200
    body = {"channel": "a", "session": "1", "note": "x"}
    assert web.post("/api/runs/label", body, look)[0] == 401
    assert web.post("/some/prefix/api/runs/label", body, {"Authorization": "Bearer write"})[0] == 404
    open_stream = SseClient(f"{web.url}/stream/runs", look)
    try:
        assert open_stream.status == 200
        assert web.request("GET", "/stream", headers=look)[0] == 429
    finally:
        open_stream.close()
    web.port = view
    assert web.post("/api/runs/delete", body, {"Authorization": "Bearer write"})[0] == 403
