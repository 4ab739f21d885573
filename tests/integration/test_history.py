"""The data for charts of a run that is longer than the retention of its entries in Redis."""

from __future__ import annotations

import gzip
import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from hud_publisher.protocol import scripts
from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.entries import Limits, MetricsEntry
from hud_publisher.protocol.keys import SessionId
from hud_publisher.sinks.redis_client import execute
from tests.fixtures.web import WebServer, poll

EPISODES = 30_000
SPIKES = {3: 900.0, 4_321: -800.0, 15_000: 950.0, 29_990: 990.0}


def register(web: WebServer) -> str:
    return str(web.post("/api/register_session", {})[1]["session_id"])


@pytest.fixture
def fill(redis_server: Any) -> Iterator[Callable[..., None]]:
    """Publish episodes as a training process does, far faster than it would."""
    client = redis.Redis.from_url(redis_server.url, protocol=2)

    def publish(session_id: str, first: int, count: int, stream: Any = "metrics") -> None:
        for start in range(first, first + count, 500):
            entries = tuple(
                MetricsEntry({"episode": n, "reward": SPIKES.get(n, n % 7 / 7)}, 1_000 * n, 10 * n, stream)
                for n in range(start, min(start + 500, first + count))
            )
            batch = Batch(f"w{stream}", start + 1, entries)
            execute(client, scripts.publish(SessionId(session_id), batch, Limits()))

    yield publish
    client.close()


def history(web: WebServer, query: str = "") -> tuple[dict[str, Any], int]:
    """The answer and its size in bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
    connection.request("GET", f"/api/history?{query}")
    response = connection.getresponse()
    assert response.status == 200
    body = response.read()
    connection.close()
    return json.loads(body), len(body)


def test_the_whole_run_is_there_from_its_beginning_with_its_spikes_and_within_100_kilobytes(
    serve: Callable[..., WebServer], fill: Callable[..., None], redis_server: Any
) -> None:
    web = serve()
    session_id = register(web)
    fill(session_id, 0, EPISODES)
    with redis.Redis.from_url(redis_server.url) as direct:
        kept = direct.xlen(f"hud:{{default}}:s:{session_id.split('.')[1]}:metrics")
    assert kept < EPISODES * 0.8  # otherwise the test proves nothing
    for server in (web, serve()):
        answer, size = history(server)
        assert size < 100_000
        assert answer["fields"] == ["episode", "reward"]
        reward, episode = answer["series"]["reward"], answer["series"]["episode"]
        assert set(SPIKES.values()) <= set(reward["value"])
        for n, value in SPIKES.items():
            near = reward["step"][reward["value"].index(value)] / 10
            assert abs(near - n) <= EPISODES / 500
        assert episode["value"][0] <= 20
        assert episode["value"][-1] == EPISODES - 1
        assert episode["time_ms"] == sorted(episode["time_ms"])
        early = sum(value < EPISODES / 2 for value in episode["value"])
        assert 0.3 < early / len(episode["value"]) < 0.8


def test_later_entries_are_added_and_both_streams_of_a_field_are_one_series_in_the_time_of_redis(
    serve: Callable[..., WebServer], fill: Callable[..., None], redis_server: Any
) -> None:
    web = serve()
    session_id = register(web)
    fill(session_id, 0, 100)
    assert len(history(web)[0]["series"]["episode"]["value"]) == 100
    fill(session_id, 100, 50)
    fill(session_id, 150, 50, "iterations")
    series = poll(lambda: history(web, "fields=episode,unknown&points=1000")[0]["series"], "an answer")
    assert list(series) == ["episode"]
    assert series["episode"]["value"] == list(range(200))
    key = f"hud:{{default}}:s:{session_id.split('.')[1]}"
    with redis.Redis.from_url(redis_server.url) as direct:
        ids = [entry_id for name in ("metrics", "iterations") for entry_id, _ in direct.xrange(f"{key}:{name}")]
    assert series["episode"]["time_ms"] == [int(entry_id.split(b"-")[0]) for entry_id in ids]


def test_the_more_fields_there_are_the_fewer_points_each_has(
    serve: Callable[..., WebServer], fill: Callable[..., None], redis_server: Any
) -> None:
    web = serve()
    session_id = register(web)
    with redis.Redis.from_url(redis_server.url, protocol=2) as client:
        for start in range(0, 1_000, 100):
            entries = tuple(
                MetricsEntry({f"m{m}": n * 1.5 for m in range(90)}, n, n) for n in range(start, start + 100)
            )
            execute(client, scripts.publish(SessionId(session_id), Batch("w", start + 1, entries), Limits()))
    answer, size = history(web)
    assert size < 110_000
    assert len(answer["fields"]) == 90
    assert 50 <= len(answer["series"]) < 90
    one, _size = history(web, "fields=m89")
    assert len(one["series"]["m89"]["value"]) == 1_000
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
    connection.request("GET", "/api/history", headers={"Accept-Encoding": "gzip"})
    response = connection.getresponse()
    assert response.headers["Content-Encoding"] == "gzip"
    packed = response.read()
    connection.close()
    assert len(packed) < 100_000
    assert len(json.loads(gzip.decompress(packed))["series"]) == 90


def test_entries_that_another_program_appended_are_in_the_series_too(
    serve: Callable[..., WebServer], fill: Callable[..., None], redis_server: Any
) -> None:
    web = serve()
    session_id = register(web)
    fill(session_id, 0, 7_000)
    odd = ['{"episode": 8000, "reward": NaN}', '{"reward": Infinity}', "no JSON", "[1]", f'{{"reward": {10**400}}}']
    with redis.Redis.from_url(redis_server.url) as client:
        key = f"hud:{{default}}:s:{session_id.split('.')[1]}:metrics"
        for n, data in enumerate([*odd, '{"reward": -77.5}']):
            client.xadd(key, {"data": data, "step": 70_000 + n, "time": 7_000_000 + n})
    series = history(web)[0]["series"]
    assert (series["episode"]["value"][-1], series["reward"]["value"][-1]) == (8_000, -77.5)
    assert len(series["episode"]["value"]) > 900


def test_a_field_logged_once_as_a_whole_number_is_charted_by_a_replica_that_starts_later(
    serve: Callable[..., WebServer], redis_server: Any
) -> None:
    with redis.Redis.from_url(redis_server.url, protocol=2) as client:
        session_id = SessionId(register(serve()))
        for start in range(0, 7_000, 500):
            entries = [MetricsEntry({"reward": n} | ({} if n else {"seed": 42}), 1_000 * n, n) for n in
                       range(start, start + 500)]  # fmt: skip
            execute(client, scripts.publish(session_id, Batch("w", start + 1, tuple(entries)), Limits()))
    answer, _size = history(serve())
    assert set(answer["series"]["seed"]["value"]) == {42}  # at the beginning and at the end of its piece
    assert answer["series"]["reward"]["value"][0] == 0
    assert answer["series"]["reward"]["value"][-1] == 6_999
