"""The publisher's one connection: what a pool would have looked after."""

from __future__ import annotations

import time

import pytest
import redis
from redis.exceptions import ResponseError

from hud_publisher.redis_client import CLIENT_ERRORS, IDLE_S, OneConnection, connect_one
from tests.fixtures.servers import Server


def test_a_connection_that_the_server_closed_while_it_was_idle_costs_no_command(redis_server: Server) -> None:
    client = connect_one(redis_server.url)
    assert isinstance(client, OneConnection)
    assert client.execute_command("SET", "k", 1) == b"OK"
    with redis.Redis.from_url(redis_server.url) as other:
        other.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    time.sleep(IDLE_S + 0.1)
    assert client.execute_command("GET", "k") == b"1"
    client.close()


def test_a_server_that_stops_is_given_up_in_time_and_its_late_answer_is_nobodys(redis_server: Server) -> None:
    client = connect_one(redis_server.url, timeout_s=0.5)
    client.execute_command("SET", "k", "old")
    redis_server.stop()
    began = time.monotonic()
    with pytest.raises(CLIENT_ERRORS):
        client.execute_command("GET", "k")
    assert 0.4 < time.monotonic() - began < 5
    redis_server.cont()
    assert client.execute_command("ECHO", "new") == b"new"
    client.close()


def test_an_error_that_is_an_answer_keeps_the_connection(redis_server: Server) -> None:
    client = connect_one(redis_server.url)
    number = client.execute_command("CLIENT", "ID")
    client.execute_command("SET", "k", "text")
    with pytest.raises(ResponseError):
        client.execute_command("INCR", "k")
    assert client.execute_command("CLIENT", "ID") == number
    client.close()


def test_a_reply_that_nobody_came_for_is_not_the_next_command_s(redis_server: Server) -> None:
    client = connect_one(redis_server.url)
    assert isinstance(client, OneConnection)
    client.send("ECHO", "old")
    assert client.receive() == b"old"
    client.send("ECHO", "nobody's")
    assert client.execute_command("ECHO", "new") == b"new"
    client.close()


@pytest.mark.parametrize("size", [100, 64 * 1024, 5_000_000], ids=lambda size: f"{size:,} bytes")
def test_commands_and_replies_of_any_size_go_through(redis_server: Server, size: int) -> None:
    client = connect_one(redis_server.url)
    text = b"x" * size
    assert client.execute_command("SET", "large", text) == b"OK"
    assert client.execute_command("GET", "large") == text
    client.close()
