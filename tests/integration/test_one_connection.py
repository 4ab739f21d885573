"""The publisher's one connection does the work of a connection pool."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest
import redis
from redis.exceptions import ResponseError

from hud_publisher.protocol.transport.redis_clients import CLIENT_ERRORS
from hud_publisher.sinks.redis_client import IDLE_S, OneConnection, connect_one
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


def test_the_reply_of_an_interrupted_command_is_not_the_next_command_s(
    redis_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect_one(redis_server.url)
    assert isinstance(client, OneConnection)
    assert client.execute_command("ECHO", "old") == b"old"

    def interrupt(_sock: socket.socket) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(client, "_receive", interrupt)
        with pytest.raises(KeyboardInterrupt):
            client.execute_command("ECHO", "nobody's")
    assert client.execute_command("ECHO", "new") == b"new"
    client.close()


@pytest.mark.parametrize("size", [100, 64 * 1024, 5_000_000], ids=lambda size: f"{size:,} bytes")
def test_commands_and_replies_of_any_size_go_through(redis_server: Server, size: int) -> None:
    client = connect_one(redis_server.url)
    text = b"x" * size
    assert client.execute_command("SET", "large", text) == b"OK"
    assert client.execute_command("GET", "large") == text
    client.close()


def test_a_server_that_drips_its_reply_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            link, _address = listener.accept()
            with link, contextlib.suppress(OSError):
                while data := link.recv(65536):
                    if b"ECHO" not in data:  # the commands of redis-py at connection
                        link.sendall(b"+OK\r\n" * data.count(b"*"))
                        continue
                    link.sendall(b"$1000000\r\n")
                    while True:
                        link.sendall(b"x")
                        time.sleep(0.05)

        threading.Thread(target=drip, daemon=True).start()
        client = connect_one(f"redis://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.4)
        began = time.monotonic()
        with pytest.raises(CLIENT_ERRORS):
            client.execute_command("ECHO", "x")
        assert time.monotonic() - began < 3
        client.close()
