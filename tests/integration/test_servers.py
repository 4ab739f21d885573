"""The server fixtures of other tests behave as their names say."""

from __future__ import annotations

import pytest
import redis

from tests.fixtures.servers import Server


def client(server: Server) -> redis.Redis:
    return redis.Redis.from_url(server.url, socket_timeout=2, retry=None)


def test_a_restarted_server_has_every_acknowledged_write(any_server: Server) -> None:
    with client(any_server) as link:
        link.set("k", "v")
        any_server.kill()
        with pytest.raises(redis.ConnectionError):
            link.get("k")
        any_server.restart()
        assert link.get("k") == b"v"


def test_a_stopped_server_answers_nothing_until_it_goes_on(any_server: Server) -> None:
    with client(any_server) as link:
        any_server.stop()
        with pytest.raises(redis.TimeoutError):
            link.ping()
        any_server.cont()
        assert link.ping()
