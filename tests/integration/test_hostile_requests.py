"""Requests that are made to be expensive: the server refuses them before the work, and no other request waits."""

from __future__ import annotations

import base64
import gzip
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.batch_body import encode_batch
from hud_publisher.protocol.entries import MetricsEntry
from hud_publisher.protocol.keys import SessionId
from tests.fixtures.web import WebServer

#: A quiet server answers /health within 5 ms; the requests below held its event loop for 0.35 to 4.5 s. The caches of a
#: busy machine slow it down by chance, so each is tried three times and the best counts.
MOST_WAIT_S = 0.3
TRIES = 3


class HealthWatch:
    """Requests /health continuously and keeps the longest wait for an answer in which the server computed.

    The computing time of the server's main thread bounds a wait: other programs of the machine may delay it, too.
    """

    def __init__(self, web: WebServer) -> None:
        self._web = web
        self.longest_s = 0.0
        self.count = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> HealthWatch:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._is_over.set()
        self._thread.join(15)

    def _ask(self) -> None:
        while not self._is_over.is_set():
            began_s, computed_s = time.monotonic(), self._computed_s()
            assert self._web.get("/health")[0] == 200
            waited_s = min(time.monotonic() - began_s, self._computed_s() - computed_s)
            self.longest_s = max(self.longest_s, waited_s)
            self.count += 1
            time.sleep(0.005)

    def _computed_s(self) -> float:
        """The processor time of the server's main thread until now."""
        assert self._web.process is not None
        return int(Path(f"/proc/{self._web.process.pid}/schedstat").read_text().split()[0]) / 1e9


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def many_names(count: int) -> dict[str, int]:
    return {f"n{number}": 1 for number in range(count)}


def jpeg_of(filling: bytes) -> bytes:
    return b"\xff\xd8" + filling


HOSTILE: dict[str, Callable[[str], tuple[str, bytes, int]]] = {
    "600,000 names": lambda sid: (
        "/api/update_training", json.dumps({"session_id": sid, "data": many_names(600_000)}).encode(), 413
    ),
    "600,000 names for nobody": lambda _sid: (
        "/api/update_training", json.dumps({"session_id": "x", "data": many_names(600_000)}).encode(), 413
    ),
    "names beside a picture": lambda sid: (
        "/api/update_vision", json.dumps({"session_id": sid, "image_base64": "x"} | many_names(500_000)).encode(), 413
    ),
    "99,000 names": lambda sid: (
        "/api/update_training",
        json.dumps({"session_id": sid, "data": {f"{number:x}": 1 for number in range(90_000)}}).encode(),
        413,
    ),
    "as many names as are taken": lambda sid: (
        "/api/update_training", json.dumps({"session_id": sid, "data": many_names(40_000)}).encode(), 200
    ),
    "512 entries of 1,000 fields": lambda sid: (
        "/api/publish",
        encode_batch(SessionId(sid), Batch("w", 1, (MetricsEntry(many_names(1_000), 1),) * 512)),
        413,
    ),
    "a picture of fill bytes": lambda sid: (
        "/api/update_vision",
        json.dumps({"session_id": sid, "image_base64": base64_of(jpeg_of(b"\xff" * 4_000_000))}).encode(),
        415,
    ),
    "a picture of empty segments": lambda sid: (
        "/api/update_vision",
        json.dumps({"session_id": sid, "image_base64": base64_of(jpeg_of(b"\xff\xe0\0\2" * 1_000_000))}).encode(),
        415,
    ),
    "base64 letter by letter": lambda sid: (
        "/api/update_vision", json.dumps({"session_id": sid, "image_base64": "A " * 3_900_000}).encode(), 415
    ),
    "nested without end": lambda sid: (
        "/api/update_training", b'{"session_id":"' + sid.encode() + b'","data":' + b"[" * 1_000_000, 413
    ),
    "a registration of 8 MB": lambda _sid: ("/api/register_session", b'{"name":"' + b"x" * 8_000_000 + b'"}', 413),
    "a heartbeat of 1 MB": lambda _sid: ("/api/heartbeat", b'{"session_id":"' + b"x" * 1_000_000 + b'"}', 413),
}  # fmt: skip


def least_wait_s(web: WebServer, work: Callable[[], object]) -> float:
    """Return the longest wait for /health while the work is done, of the best of three tries."""
    waits: list[float] = []
    while len(waits) < TRIES and min(waits, default=1.0) > MOST_WAIT_S:
        with HealthWatch(web) as watch:
            work()
        assert watch.count
        waits.append(watch.longest_s)
    return min(waits)


@pytest.mark.parametrize("name", HOSTILE)
def test_nobody_waits_for_a_request_that_is_made_to_cost(standing_web: WebServer, name: str) -> None:
    web = standing_web
    web.post("/api/reset_session")
    session_id = web.post("/api/register_session", {"name": "run"})[1]["session_id"]
    path, body, status = HOSTILE[name](session_id)

    def send() -> None:
        got, answer = web.post(path, body)
        assert got == status, answer

    assert least_wait_s(web, send) < MOST_WAIT_S


def test_a_gzip_body_is_bounded_as_it_is_once_decompressed(standing_web: WebServer) -> None:
    zipped = {"Content-Encoding": "gzip"}
    for path, size in (("/api/update_training", 2_000_000), ("/api/heartbeat", 20_000), ("/api/publish", 9_000_000)):
        status, answer = standing_web.post(path, gzip.compress(b" " * size), zipped)
        assert status == 413, (path, answer)


def test_an_export_of_large_entries_goes_out_in_slices(web: WebServer) -> None:
    session_id = web.post("/api/register_session", {"name": "run"})[1]["session_id"]
    wide = {f"field {number}": number / 7 for number in range(12_000)}
    for number in range(12):
        body = encode_batch(SessionId(session_id), Batch("w", number + 1, (MetricsEntry(wide, 1_000, number),)))
        assert web.post("/api/publish", body)[0] == 200
    for path in ("/api/export", "/api/export?format=json", "/api/history", "/api/state"):
        assert least_wait_s(web, lambda path=path: web.get(path)) < MOST_WAIT_S, path  # type: ignore[misc]
    assert web.get("/api/export")[1].count(b"\nmetrics,") == 12 * 12_000


ODD_NUMBERS = [
    "0" * 20 + "2" + "0" * 5_000,
    "9" * 5_000,
    "10%0a9",
    "1e3",
    "%2B5",
    "-5",
    "5_0",
    "%D9%A2",
    "%C2%B2",
    "",
    "nan",
]
PARAMETERS = [
    "/api/history?points=", "/api/vision?limit=", "/api/frames?from_ms=", "/api/frames?to_ms=",
    "/api/export?from_ms=", "/api/export?to_ms=", "/api/state?session=", "/api/frames/", "/api/vision/",
    "/api/mind?from_ms=", "/api/mind?to_ms=", "/api/mind/",
]  # fmt: skip


@pytest.mark.parametrize("path", PARAMETERS)
def test_an_odd_number_is_400_wherever_a_number_is_asked_for(standing_web: WebServer, path: str) -> None:
    standing_web.post("/api/register_session", {"name": "run"})
    for text in ODD_NUMBERS:
        if text or path.endswith(("points=", "limit=", "_ms=")):  # no session is named, or another path
            status, answer = standing_web.get(path + text)
            assert status == 400, (path, text[:30], answer)
            assert answer["error"] == "Malformed request"


BODIES: list[Any] = [
    b'{"worker_index":' + b"9" * 4_000 + b',"env_index":0}',
    b'{"worker_index":' + b"9" * 5_000 + b',"env_index":0}',
    b'{"worker_index":1e999,"env_index":0}',
    b'{"worker_index":NaN,"env_index":0}',
    b'{"worker_index":' + b"[" * 900 + b"]" * 900 + b',"env_index":0}',
    b'{"worker_index":' + b'{"a":' * 900 + b"1" + b"}" * 900 + b',"env_index":0}',
    b'{"worker_index":"\\ud800","env_index":0}',
    b'{"worker_index":0,"env_index":0,"channel":"\\ud800"}',
    '{"worker_index":true,"env_index":0}'.encode("utf-16"),
    b"\xef\xbb\xbf" + b'{"worker_index":-0.5}',
    b'{"worker_index":1,"worker_index":-1,"env_index":0}',
    b"\xff\xfe\xff",
    b"\x00" * 100,
]


@pytest.mark.parametrize("number", range(len(BODIES)))
def test_an_odd_json_body_is_400(standing_web: WebServer, number: int) -> None:
    status, answer = standing_web.post("/api/reporter", BODIES[number])
    assert status == 400, answer
    assert answer["error"] == "Malformed request"


@pytest.mark.parametrize("name", ["step", "response_time", "prompt", "response", "extra", "image_base64", "session_id"])
@pytest.mark.parametrize(
    "text", ["9" * 4_000, "9" * 5_000, "1e999", "NaN", "[" * 900 + "]" * 900, '"\\ud800"', '""', "-1"]
)
def test_an_odd_value_of_any_field_is_refused_or_taken_and_never_a_defect(
    standing_web: WebServer, name: str, text: str
) -> None:
    web = standing_web
    web.post("/api/reset_session")
    session_id = web.post("/api/register_session", {"name": "run"})[1]["session_id"]
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (4).to_bytes(4, "big") * 2 + b"\x08\x02"
    picture = base64_of(head + b"\0" * 99 + b"IEND\xaeB`\x82")
    fields = {
        "session_id": json.dumps(session_id),
        "image_base64": json.dumps(picture),
        "response_time": "5",
        name: text,
    }
    body = "{" + ",".join(f'"{key}":{value}' for key, value in fields.items()) + "}"
    assert web.post("/api/update_vision", body.encode())[0] in (200, 400, 403, 413, 415)
    for path in ("/api/state", "/api/vision", "/api/export"):
        assert web.get(path)[0] == 200


@pytest.mark.parametrize("value", ["9" * 4_000, "[" * 900 + "]" * 900, "NaN", "1e999", '"\\ud800"', "null", "true"])
def test_odd_information_on_a_session_costs_only_itself(web: WebServer, value: str) -> None:
    status, answer = web.post("/api/register_session", f'{{"name":"run","info":{{"odd":{value}}}}}'.encode())
    assert status in (200, 400), answer
    assert web.get("/api/sessions")[0] == 200
    with redis.Redis.from_url(web.redis_url) as direct:
        assert all(direct.ttl(key) >= 0 for key in direct.scan_iter("*:s:*"))
