"""Memory and watched channels of a real replica while strangers take all that they can get."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.batch_body import encode_batch
from hud_publisher.protocol.entries import FrameEntry
from hud_publisher.protocol.info import MAX_INFO_BYTES
from hud_publisher.protocol.keys import SessionId
from hud_web.access.budget import ADDRESS_ANSWER_BYTES, PIECE_BYTES
from hud_web.live.channels import ADDRESS_UNKNOWN
from hud_web.live.hub import CHANNEL_BYTES
from tests.fixtures.web import SseClient, WebServer, poll

MB = 1024 * 1024
#: Memory that a process keeps after freeing it, and the memory of each request besides its answer.
SLACK_BYTES = 48 * MB


def picture(size: int) -> bytes:
    """A PNG of 4×4 pixels with this many bytes that do not compress."""
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (4).to_bytes(4, "big") * 2 + b"\x08\x02"
    end = b"IEND\xaeB`\x82"
    return head + os.urandom(size - len(head) - len(end)) + end


def peak_bytes(web: WebServer) -> int:
    """The peak resident memory of the replica."""
    assert web.process is not None
    status = Path(f"/proc/{web.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


def register(web: WebServer, channel: str = "default") -> SessionId:
    status, answer = web.post("/api/register_session", {"name": "run", "channel": channel})
    assert status == 200, answer
    return SessionId(answer["session_id"])


def publish(web: WebServer, session_id: SessionId, number: int, *entries: FrameEntry) -> None:
    status, answer = web.post("/api/publish", encode_batch(session_id, Batch("w", number, entries)))
    assert status == 200, answer


@pytest.fixture
def connect() -> Iterator[Callable[..., socket.socket]]:
    """Send requests whose answers nobody reads."""
    opened: list[socket.socket] = []

    def send(web: WebServer, path: str, address: str, port: int | None = None) -> socket.socket:
        link = socket.socket()
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        link.connect(("127.0.0.1", port or web.port))
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {address}\r\n\r\n"
        link.sendall(head.encode())
        opened.append(link)
        return link

    yield send
    for link in opened:
        link.close()


def answer(web: WebServer, path: str, address: str) -> tuple[int, float]:
    """Return the status of an answer to another address, and its duration in seconds."""
    began_s = time.monotonic()
    status = web.request("GET", path, None, {"X-Forwarded-For": address})[0]
    return status, time.monotonic() - began_s


def test_answers_that_nobody_reads_are_bounded_and_keep_nobody_else_waiting(
    web: WebServer, connect: Callable[..., socket.socket]
) -> None:
    session_id = register(web)
    publish(web, session_id, 1, FrameEntry(picture(3 * MB), 1_000, "image/png"))
    frame_id = web.get("/api/frames")[1]["frames"][0]["id"]
    path = f"/api/frames/{frame_id}"
    assert web.get(path)[0] == 200
    before = peak_bytes(web)
    for _ in range(300):
        connect(web, path, "203.0.113.7")
    assert answer(web, "/health", "198.51.100.1")[0] == 200
    for number in range(3):
        status, took_s = answer(web, path, f"198.51.100.{number}")
        assert status == 200
        assert took_s < 2.0
    time.sleep(1.0)
    # Each connection may buffer one piece more than its share.
    assert peak_bytes(web) - before < ADDRESS_ANSWER_BYTES + 300 * PIECE_BYTES + SLACK_BYTES


def test_streams_that_nobody_reads_are_bounded_and_keep_nobody_else_waiting(
    web: WebServer, connect: Callable[..., socket.socket]
) -> None:
    session_id = register(web)
    publish(web, session_id, 1, FrameEntry(picture(3 * MB), 1_000, "image/png"))
    SseClient(f"{web.url}/stream").close()
    before = peak_bytes(web)
    for _ in range(100):
        connect(web, "/stream", "203.0.113.7")
    client = SseClient(f"{web.url}/stream", {"X-Forwarded-For": "198.51.100.1"})
    client.wait(lambda seen: seen.named("snapshot"), "the snapshot of another address", 5.0)
    for number in range(2, 10):
        publish(web, session_id, number, FrameEntry(picture(3 * MB), 1_000 + number, "image/png"))
    client.wait(lambda seen: seen.named("vision_update"), "a frame", 5.0)
    client.close()
    assert peak_bytes(web) - before < ADDRESS_ANSWER_BYTES + CHANNEL_BYTES + 100 * 2 * PIECE_BYTES + SLACK_BYTES


def test_thumbnails_of_many_envs_are_bounded(web: WebServer, watch: Callable[..., SseClient]) -> None:
    client = watch(web)
    session_id = register(web)
    before = peak_bytes(web)
    image = picture(800_000)
    for number in range(128):
        entry = FrameEntry(image, 1_000, "image/png", env=(number, 0), stream="thumbs")
        publish(web, session_id, number + 1, entry)
        assert answer(web, "/health", "198.51.100.1")[1] < 1.0
    assert not client.ended
    assert peak_bytes(web) - before < CHANNEL_BYTES + SLACK_BYTES


def test_invented_channels_displace_no_others(web: WebServer, connect: Callable[..., socket.socket]) -> None:
    for channel in ("default", "team-a", "team-b"):
        register(web, channel)
    links = [connect(web, f"/stream?channel=x{number}", "203.0.113.7") for number in range(256)]
    statuses = [link.recv(12) for link in links]
    assert statuses.count(b"HTTP/1.1 200") == ADDRESS_UNKNOWN
    assert statuses.count(b"HTTP/1.1 429") == 256 - ADDRESS_UNKNOWN
    for channel in ("default", "team-a", "team-b", "not-yet"):
        client = SseClient(f"{web.url}/stream?channel={channel}", {"X-Forwarded-For": "198.51.100.1"})
        assert client.status == 200
        client.close()
    for link in links:
        with contextlib.suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)
    again = [connect(web, "/stream?channel=y", "203.0.113.7")]
    assert again[0].recv(12) == b"HTTP/1.1 200"
    poll(lambda: web.get("/metrics")[1].count(b"hud_viewers{channel") <= 5, "the empty channels to close", 5.0)


def test_a_replay_that_nobody_reads_keeps_no_other_viewer_waiting(
    web: WebServer, watch: Callable[..., SseClient], connect: Callable[..., socket.socket]
) -> None:
    session_id = register(web)
    first = watch(web)
    first.wait(lambda seen: seen.last_id, "an id")
    last_id = first.last_id
    first.close()
    for number in range(2_000):
        update = {"session_id": session_id, "data": {"text": "x" * 1_000}, "step": number}
        assert web.post("/api/update_training", update)[0] == 200
    web.kill()
    web.start()  # whose ring begins later
    for _ in range(8):
        connect(web, f"/stream?last_event_id={last_id}", "203.0.113.7")
    client = SseClient(f"{web.url}/stream", {"X-Forwarded-For": "198.51.100.1", "Last-Event-ID": str(last_id)})
    client.wait(lambda seen: len(seen.named("training_update")) == 2_000, "all that was missed", 10.0)
    client.close()


def test_information_on_sessions_is_bounded_in_bytes(web: WebServer) -> None:
    with redis.Redis.from_url(web.redis_url) as direct:
        before = direct.info("memory")["used_memory"]
        for number in range(20):
            info = {f"text {part}": "\U0001f600" * 10_000 for part in range(24)}
            body = json.dumps({"name": "\U0001f600" * 5_000, "channel": f"c{number}", "info": info})
            assert web.post("/api/register_session", body.encode())[0] == 413
            body = json.dumps({"channel": f"c{number}", "info": {"a": "\U0001f600" * 50_000}}, ensure_ascii=False)
            assert web.post("/api/register_session", body.encode())[0] == 200
            wish = {"channel": f"nobody{number}", "worker_index": 1, "env_index": 0}
            assert web.post("/api/reporter", wish)[0] == 200
        assert direct.info("memory")["used_memory"] - before < 20 * 2 * MAX_INFO_BYTES
        lasting = {key.rpartition(b":")[2] for key in direct.scan_iter("hud:{*") if direct.ttl(key) < 0}
    assert lasting == {b"fence"}  # a number that must never go back
