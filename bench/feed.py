"""Publishes events or frames at a steady rate to one of the servers under test; each carries its time of sending.

    python bench/feed.py KIND ADDRESS --rate 20 --seconds 10

KIND is hud (ADDRESS a Redis URL), typical (a Redis URL), nchan or bare (host:port). Events due within 5 ms are sent
together, as by the publisher; every event keeps its time.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import socket
import struct
import time
from collections.abc import Callable

import redis

from hud_publisher.protocol import replies, scripts
from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.entries import FrameEntry, Limits, MetricsEntry
from hud_publisher.protocol.keys import SessionId

CHANNEL = "bench"
TICK_S = 0.005
#: The lease must outlast the pauses between measurements.
LIMITS = Limits(ttl_ms=24 * 3600 * 1000)

Send = Callable[[list[int]], None]


def metrics_text(number: int, size: int) -> str:
    """An event of about this many bytes, stamped now."""
    head = f'{{"n":{number},"t":{time.monotonic_ns()},"pad":"'
    return f'{head}{"x" * max(0, size - len(head) - 2)}"}}'


def frame_text(image: str) -> str:
    """A frame as an event's data, stamped now."""
    return json.dumps(
        {"image": image, "source": "env", "mime": "image/jpeg", "step": time.monotonic_ns(), "env": [1, 0]}
    )


def register(redis_url: str) -> SessionId:
    """Take the channel; feeds that follow join the session."""
    with redis.Redis.from_url(redis_url, protocol=2) as client:
        call = scripts.register(CHANNEL, run_id="the bench's own", name="bench", limits=LIMITS)
        reply = client.eval(call.script.source, len(call.keys), *call.keys, *call.args)
        return replies.parse_register(reply).session_id  # type: ignore[arg-type]


def to_hud(address: str, size: int, is_frames: bool) -> Send:
    """Into Redis by the protocol's own script, one batch per tick."""
    session_id = register(address)
    client = redis.Redis.from_url(address, protocol=2)
    writer = f"feed-{os.getpid()}"
    image = b"\xff\xd8" + os.urandom(size)
    sent = 0

    def send(numbers: list[int]) -> None:
        nonlocal sent
        sent += 1
        now_ms = time.time_ns() // 1_000_000
        entries = tuple(
            FrameEntry(image, now_ms, step=time.monotonic_ns(), env=(1, 0))
            if is_frames
            else MetricsEntry(json.loads(metrics_text(number, size)), now_ms)
            for number in numbers
        )
        call = scripts.publish(session_id, Batch(writer, sent, entries), LIMITS)
        try:
            reply = client.evalsha(call.script.sha, len(call.keys), *call.keys, *call.args)
        except redis.exceptions.NoScriptError:
            reply = client.eval(call.script.source, len(call.keys), *call.keys, *call.args)
        replies.parse_publish(reply)  # type: ignore[arg-type]

    return send


def texts(size: int, is_frames: bool) -> Callable[[int], str]:
    """The texts for the other servers, by number."""
    image = base64.b64encode(os.urandom(size)).decode()
    return lambda number: frame_text(image) if is_frames else metrics_text(number, size)


def to_typical(address: str, size: int, is_frames: bool) -> Send:
    """By Redis PUBLISH."""
    client = redis.Redis.from_url(address)
    text = texts(size, is_frames)

    def send(numbers: list[int]) -> None:
        pipe = client.pipeline(transaction=False)
        for number in numbers:
            pipe.publish(CHANNEL, text(number))
        pipe.execute()

    return send


def to_nchan(address: str, size: int, is_frames: bool) -> Send:
    """By POST, pipelined on one connection."""
    host, _, port = address.partition(":")
    link = socket.create_connection((host, int(port)))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    text = texts(size, is_frames)

    def send(numbers: list[int]) -> None:
        for number in numbers:
            body = text(number).encode()
            link.sendall(b"POST /pub HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        link.setblocking(False)
        try:
            while link.recv(1 << 16):
                pass
        except BlockingIOError:
            pass
        link.setblocking(True)

    return send


def to_bare(address: str, size: int, is_frames: bool) -> Send:
    """Length and event."""
    host, _, port = address.partition(":")
    link = socket.create_connection((host, int(port)))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    text = texts(size, is_frames)

    def send(numbers: list[int]) -> None:
        events = [b"data: %b\n\n" % text(number).encode() for number in numbers]
        link.sendall(b"".join(struct.pack(">I", len(event)) + event for event in events))

    return send


SINKS: dict[str, Callable[[str, int, bool], Send]] = {
    "hud": to_hud, "typical": to_typical, "nchan": to_nchan, "bare": to_bare,
}  # fmt: skip


def main() -> None:
    """Publish, then print the number of events and the duration."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("kind", choices=SINKS)
    options.add_argument("address")
    options.add_argument("--rate", type=float, default=20.0, help="events per second")
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument("--bytes", type=int, default=300, help="of an event, or of a frame before base64")
    options.add_argument("--frames", action="store_true")
    options.add_argument("--first", type=int, default=0, help="number of the first event")
    arguments = options.parse_args()
    send = SINKS[arguments.kind](arguments.address, arguments.bytes, arguments.frames)
    total = round(arguments.rate * arguments.seconds)
    began, sent = time.monotonic(), 0
    while sent < total:
        due = min(total, int((time.monotonic() - began) * arguments.rate) + 1)
        if due > sent:
            send(list(range(arguments.first + sent, arguments.first + due)))
            sent = due
        next_s = began + sent / arguments.rate
        time.sleep(max(0.0, next_s - time.monotonic(), TICK_S if arguments.rate * TICK_S > 1 else 0.0))
    print(json.dumps({"sent": sent, "seconds": time.monotonic() - began}))


if __name__ == "__main__":
    main()
