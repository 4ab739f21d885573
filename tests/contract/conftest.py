"""The destinations that a publisher can write to, each with a client of the Redis behind it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import fakeredis
import pytest
import redis

from hud_publisher.protocol import scripts
from hud_publisher.protocol.entries import Limits
from hud_publisher.protocol.scripts import ScriptCall
from hud_publisher.sinks.http_sink import HttpSink
from hud_publisher.sinks.redis_client import execute
from hud_publisher.sinks.redis_sink import RedisSink
from hud_publisher.sinks.sink import Sink
from tests.fixtures.servers import Server, redis_binary, running, valkey_binary
from tests.fixtures.web import WebServer

LIMITS = Limits()


@dataclass
class Place:
    """A destination for a run's data.

    Attributes:
        name: fakeredis, redis, valkey or http.
        redis: a client of the Redis behind it.
        make_sink: makes a sink of a run.
        server: the server process, if the test may kill it.
        options: arguments of a Publisher that writes here.
    """

    name: str
    redis: Any
    make_sink: Callable[..., Sink]
    server: Server | None = None
    options: dict[str, Any] = field(default_factory=dict)
    opened: list[Sink] = field(default_factory=list)

    def sink(self, run_id: str | None = "run", *, name: str = "a run", channel: str = "default", **info: str) -> Sink:
        self.opened.append(self.make_sink(run_id=run_id, name=name, channel=channel, info=info))
        return self.opened[-1]

    def close(self) -> None:
        """Close every sink that the test opened."""
        while self.opened:
            self.opened.pop().close()

    def run(self, call: ScriptCall) -> Any:
        return execute(self.redis, call)

    def set_viewers(self, count: int) -> None:
        self.run(scripts.watch("default", replica="r1", viewers=count, lasts_ms=60_000))


def fake_place() -> Place:
    client = fakeredis.FakeRedis()

    def make(**who: Any) -> Sink:
        return RedisSink("redis://fake", limits=LIMITS, connect=lambda _target: client, **who)

    return Place("fakeredis", client, make)


def redis_place(server: Server, name: str) -> Place:
    def make(**who: Any) -> Sink:
        return RedisSink(server.url, limits=LIMITS, **who)

    return Place(name, redis.Redis.from_url(server.url), make, server, {"redis_url": server.url})


def http_place(server: Server, web: WebServer) -> Place:
    def make(**who: Any) -> Sink:
        return HttpSink(web.url, **who)

    return Place("http", redis.Redis.from_url(server.url), make, server, {"hud_url": web.url})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Place]]:
    """Start each place once per module, when a test first requests it."""
    with contextlib.ExitStack() as stack:
        places: dict[str, Place] = {}

        def start(name: str) -> Place:
            if name == "fakeredis":
                return fake_place()
            if name not in places:
                binary = valkey_binary() if name == "valkey" else redis_binary()
                server = stack.enter_context(running(binary, tmp_path_factory.mktemp(name)))
                if name == "http":
                    web = stack.enter_context(contextlib.closing(WebServer(server.url)))
                    places[name] = http_place(server, web)
                else:
                    places[name] = redis_place(server, name)
                stack.callback(places[name].redis.close)
            places[name].redis.flushall()
            places[name].redis.script_flush()
            return places[name]

        yield start


@pytest.fixture(params=["fakeredis", "redis", "http"])
def place(request: pytest.FixtureRequest, shared: Callable[[str], Place]) -> Iterator[Place]:
    """Each sink in turn, empty."""
    with contextlib.closing(shared(request.param)) as found:
        yield found


@pytest.fixture(params=["redis", "http"])
def real_place(request: pytest.FixtureRequest, shared: Callable[[str], Place]) -> Iterator[Place]:
    """Each sink with a process behind it, empty."""
    with contextlib.closing(shared(request.param)) as found:
        yield found


@pytest.fixture(params=["fakeredis", "redis", "valkey"])
def store(request: pytest.FixtureRequest, shared: Callable[[str], Place]) -> Iterator[Place]:
    """Each server that runs our scripts, empty."""
    with contextlib.closing(shared(request.param)) as found:
        yield found


@pytest.fixture(params=["redis", "valkey"])
def real_store(request: pytest.FixtureRequest, shared: Callable[[str], Place]) -> Iterator[Place]:
    """Each real server, empty: fakeredis does not report the memory of a key, and is ten times slower."""
    with contextlib.closing(shared(request.param)) as found:
        yield found
