"""Mutated valid requests against a real server on a real Redis.

`make fuzz` sends 100,000 of a random seed, which is printed; `make test` a few thousand, the same ones each time.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import random
import re
import time
from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import redis

from hud_publisher.protocol.batch import Batch, Claim
from hud_publisher.protocol.batch_body import MEDIA_TYPE, encode_batch
from hud_publisher.protocol.cleaning import clean_metrics
from hud_publisher.protocol.entries import STREAMS, FrameEntry, MetricsEntry, VisionEntry
from hud_publisher.protocol.images import inspect_image
from hud_publisher.protocol.stored import decode_entry, decode_state
from tests.fixtures.publishing import JPEG
from tests.fixtures.web import WebServer

REQUESTS = int(os.environ.get("HUD_FUZZ_REQUESTS", "3000"))
SEED = int(os.environ.get("HUD_FUZZ_SEED", "1"))
#: Statuses that a server may return to any of these requests while Redis is healthy.
EXPECTED = {200, 303, 400, 401, 403, 404, 405, 409, 411, 413, 415, 429, 431}

NASTY: list[Any] = [
    None, True, 0, -1, 2**63, 10**400, 1e308, "", "x" * 70_000, "\x00", "\ud800", "../../etc", "{}", "🎮", [], {},
    [[[]]],
    {"a": {"b": {"c": {}}}}, "NaN", "default.1.aaaaaaaaaaaaaaaa", "'; FLUSHALL", "\r\nevent: x", "%s%n", "=1+1",
]  # fmt: skip


class Fuzzer:
    """Makes requests by mutating valid ones."""

    def __init__(self, seed: int, session_id: str) -> None:
        self.random = random.Random(seed)
        self.session_id = session_id
        self.number = 0

    def request(self) -> tuple[str, str, bytes, dict[str, str]]:
        method, path, body = self.random.choice((self._json, self._json, self._batch, self._get))()
        headers: dict[str, str] = {"Content-Type": self.random.choice(["application/json", MEDIA_TYPE, "", "text/xml"])}
        if self.random.random() < 0.05:
            headers["Content-Encoding"] = self.random.choice(["gzip", "br", "identity"])
        if self.random.random() < 0.05:
            headers[
                self.random.choice(["X-Request-Id", "Last-Event-ID", "X-Forwarded-For", "Cookie", "Authorization"])
            ] = "".join(chr(self.random.randrange(32, 127)) for _ in range(self.random.randrange(200)))
        if body and self.random.random() < 0.4:
            body = self._mutate(body)
        return method, path, body, headers

    def _json(self) -> tuple[str, str, bytes]:
        pick = self.random.choice
        picture = base64.b64encode(self._mutate(JPEG) if self.random.random() < 0.5 else JPEG).decode()
        bodies: dict[str, dict[str, Any]] = {
            "register_session": {"run_id": "r", "name": "n", "channel": "fuzz", "info": {"a": "b"}},
            "update_training": {"session_id": self.session_id, "data": {"n": 1, "health": {"current": 1}}},
            "update_vision": {
                "session_id": self.session_id,
                "image_base64": picture,
                "response_time": 5.0,
                "prompt": "p",
            },
            "heartbeat": {"session_id": self.session_id},
            "reporter": {"worker_index": 1, "env_index": 0, "channel": "fuzz"},
        }
        name = pick(list(bodies))
        body = bodies[name]
        for _ in range(self.random.randrange(3)):
            body[pick([*body, "extra", *map(str, NASTY[7:10])])] = deepcopy(pick(NASTY))
        if "data" in body and isinstance(body["data"], dict) and self.random.random() < 0.5:
            body["data"][str(pick(NASTY))] = deepcopy(pick(NASTY))
        return "POST", f"/api/{name}", json.dumps(body).encode("utf-8", "replace")

    def _batch(self) -> tuple[str, str, bytes]:
        self.number += 1
        entries = (
            MetricsEntry({"n": self.number}, 1),
            FrameEntry(JPEG, 2, env=(1, 0)),
            VisionEntry(JPEG, 3, response="r"),
        )
        claim = Claim((1, 0)) if self.random.random() < 0.5 else None
        body = encode_batch(self.session_id, Batch("fuzz", self.number, entries, claim))  # type: ignore[arg-type]
        return "POST", "/api/publish", body

    def _get(self) -> tuple[str, str, bytes]:
        value = re.sub(r"[^!-~]", "%00", str(self.random.choice(NASTY)))[:2_000]
        name = self.random.choice(["channel", "session", "fields", "points", "from_ms", "limit", "format", "token"])
        path = self.random.choice(
            ["state", "sessions", "history", "frames", "vision", "mind", "export", "frames/1-1", "vision/x", "mind/1-1"]
        )
        return "GET", f"/api/{path}?{name}={value}", b""

    def _mutate(self, body: bytes) -> bytes:
        data = bytearray(body)
        for _ in range(self.random.randrange(1, 6)):
            at = self.random.randrange(len(data)) if data else 0
            action = self.random.randrange(4)
            if action == 0 and data:
                data[at] = self.random.randrange(256)
            elif action == 1:
                del data[at : at + self.random.randrange(1, 20)]
            elif action == 2:
                data[at:at] = bytes(self.random.randrange(256) for _ in range(self.random.randrange(1, 20)))
            elif data:
                del data[at:]
        return bytes(data)


def resident_kb(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1])


@pytest.mark.timeout(3_000)
def test_broken_requests_are_refused_without_a_crash_growth_or_garbage(standing_web: WebServer) -> None:
    print(f"HUD_FUZZ_SEED={SEED} HUD_FUZZ_REQUESTS={REQUESTS}")
    web = standing_web
    session_id = web.post("/api/register_session", {"channel": "target"})[1]["session_id"]
    fuzzer = Fuzzer(SEED, session_id)
    assert web.process is not None
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=20)
    statuses: Counter[int] = Counter()
    settled_kb = 0
    for number in range(REQUESTS):
        method, path, body, headers = fuzzer.request()
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = response.read()
        except TimeoutError:
            pytest.fail(f"no answer within 20 s: {(SEED, number, method, path, headers, body[:300])}")
        except (http.client.HTTPException, ConnectionError, ValueError):
            connection.close()  # refused below HTTP, or not sendable at all
            continue
        statuses[response.status] += 1
        assert response.status in EXPECTED, (SEED, number, method, path, body[:300], answer[:500])
        if response.status >= 400:
            assert isinstance(json.loads(answer)["error"], str), (SEED, number, answer[:300])
        if response.status == 429:
            time.sleep(0.05)
        if number == REQUESTS // 2:
            settled_kb = resident_kb(web.process.pid)
    connection.close()
    assert web.get("/health") == (200, {"status": "healthy"})
    assert statuses[200] > REQUESTS / 20, statuses  # the valid ones among them do arrive
    assert statuses[400] > REQUESTS / 20, statuses
    # Half of the requests come after the first look; 32 MB is the room of caches that fill once.
    assert resident_kb(web.process.pid) < settled_kb + 32 * 1024
    expect_no_garbage(web.redis_url)


def expect_no_garbage(redis_url: str) -> None:
    """All that is stored can be read back and is within the limits."""
    with redis.Redis.from_url(redis_url) as direct:
        keys = [key.decode() for key in direct.scan_iter("*")]
        for key in keys:
            names = r"hud:changes|hud:channels|hud:page|hud:\{[A-Za-z0-9_.-]{1,64}(~[0-9]+)?\}:[a-z0-9:]+"
            assert re.fullmatch(names, key), key
            name = key.rpartition(":")[2]
            if name in STREAMS:
                for _entry_id, fields in direct.xrange(key, count=1_000):
                    entry = decode_entry(name, fields)
                    if isinstance(entry, MetricsEntry):
                        assert clean_metrics(entry.data) == entry.data
                    else:
                        inspect_image(entry.image)
            elif name == "state":
                state = decode_state(direct.hgetall(key))
                assert clean_metrics(state) == state
