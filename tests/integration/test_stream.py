"""Events on /stream, over real sockets from real replicas on a real Redis.

Every test runs twice: on our server, where streams are written to the transport, and on a server without that access.
"""

from __future__ import annotations

import base64
import io
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from PIL import Image

from tests.fixtures.web import SseClient, WebServer, poll


@pytest.fixture(params=["hud_web", "tests.fixtures.plain_server"], ids=["transport", "asgi"])
def program(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def jpeg(color: tuple[int, int, int] = (200, 30, 60), size: tuple[int, int] = (16, 12)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "JPEG")
    return buffer.getvalue()


def register(web: WebServer, **body: Any) -> str:
    status, answer = web.post("/api/register_session", body or None)
    assert status == 200, answer
    return str(answer["session_id"])


def log(web: WebServer, session_id: str, **fields: Any) -> None:
    assert web.post("/api/update_training", {"session_id": session_id, "data": fields}) == (200, {"status": "updated"})


def numbers(client: SseClient, field: str = "n") -> list[int]:
    return [data[field] for data in client.named("training_update") if field in data]


def test_every_viewer_sees_every_event_and_a_late_one_is_filled_at_once(
    web: WebServer, watch: Callable[..., SseClient]
) -> None:
    session_id = register(web)
    early = [watch(web) for _ in range(3)]
    for client in early:
        client.wait(lambda c: c.named("snapshot"), "a snapshot")
    for n in range(50):
        log(web, session_id, n=n, total=100 + n)
    web.post("/api/update_vision", {"session_id": session_id, "image_base64": base64.b64encode(jpeg()).decode()})
    for client in early:
        client.wait(lambda c: len(numbers(c)) == 50 and c.named("vision_update"), "50 updates and a frame")
        assert numbers(client) == list(range(50))
    late = watch(web)
    snapshot = late.wait(lambda c: c.named("snapshot"), "a snapshot")[0]
    assert snapshot["state"] == {"n": 49, "total": 149}
    assert base64.b64decode(snapshot["frame"]["image"]) == jpeg()
    log(web, session_id, n=50)
    late.wait(lambda c: numbers(c) == [50], "the live update")


def test_a_client_that_has_the_response_head_gets_every_later_entry_as_an_event(
    web: WebServer, watch: Callable[..., SseClient]
) -> None:
    for channel in (f"c{number}" for number in range(20)):  # nobody has watched it, so it is read for the first time
        client = watch(web, f"channel={channel}")
        log(web, register(web, channel=channel), n=1)
        client.wait(lambda c: numbers(c) == [1], "the update")
        assert client.named("snapshot")[0]["state"] == {}


def test_events_of_the_old_protocol_have_their_old_form(web: WebServer, watch: Callable[..., SseClient]) -> None:
    client = watch(web)
    client.wait(lambda c: c.named("snapshot"), "a snapshot")
    status, answer = web.post("/api/register_session", b"")
    assert (status, answer["status"]) == (200, "registered")
    session_id = answer["session_id"]
    log(web, session_id, global_step=7, position={"x": 1, "y": 2}, health={"current": 3, "max": 5})
    image = base64.b64encode(jpeg()).decode()
    body = {"session_id": session_id, "image_base64": image}
    assert web.post("/api/update_vision", body) == (200, {"status": "updated"})
    assert web.post("/api/update_vision", body | {"response_time": 412}) == (200, {"status": "updated"})
    update = client.wait(lambda c: c.named("training_update"), "an update")[0]
    assert update.pop("_hud")["step"] == 7
    assert update == {"global_step": 7, "position": {"x": 1, "y": 2}, "health": {"current": 3, "max": 5}}
    client.wait(lambda c: len(c.named("vision_update")) == 2, "both pictures")
    by_source = {data["source"]: data for data in client.named("vision_update")}
    assert by_source["env"]["image"] == image
    assert "response_time" not in by_source["env"]
    assert by_source["vlm"]["image"] == image
    assert by_source["vlm"]["response_time"] == 412
    assert web.post("/api/register_session", b"")[0] == 409
    assert web.post("/api/update_training", {"session_id": "no-such", "data": {}})[0] == 403
    status, answer = web.post("/api/reset_session")
    assert (status, answer["status"]) == (200, "reset")
    assert web.post("/api/update_training", {"session_id": session_id, "data": {"a": 1}})[0] == 403
    assert session_id not in str([event.data for event in client.events])


def test_a_client_resumes_on_another_replica_without_loss_or_repetition(
    serve: Callable[..., WebServer], watch: Callable[..., SseClient]
) -> None:
    first, second = serve(), serve()
    session_id = register(second)
    client = watch(first)
    client.wait(lambda c: c.named("snapshot"), "a snapshot")
    stop = threading.Event()
    sent = 0

    def write() -> None:
        nonlocal sent
        while not stop.is_set():
            log(second, session_id, n=sent)
            sent += 1
            time.sleep(0.002)

    writer = threading.Thread(target=write)
    writer.start()
    client.wait(lambda c: len(numbers(c)) > 50, "50 updates")
    first.kill()
    client.wait(lambda c: c.ended, "the end of the stream")
    seen = numbers(client)
    resumed = watch(second, last_id=client.last_id)
    resumed.wait(lambda c: len(numbers(c)) > 50, "more updates")
    stop.set()
    writer.join()
    resumed.wait(lambda c: numbers(c) and numbers(c)[-1] == sent - 1, "the last update")
    assert seen + numbers(resumed) == list(range(sent))
    assert not resumed.named("snapshot")
    assert not resumed.named("reset")


def test_a_client_that_missed_a_whole_session_gets_both_to_their_ends(
    web: WebServer, watch: Callable[..., SseClient]
) -> None:
    first = register(web, run_id="run-one-secret", name="one")
    client = watch(web)
    client.wait(lambda c: c.named("snapshot"), "a snapshot")
    log(web, first, n=0)
    client.wait(lambda c: numbers(c) == [0], "the first update")
    client.close()
    log(web, first, n=1)
    web.post("/api/release_session", {"session_id": first})
    second = register(web, run_id="run-two-secret", name="two")
    log(web, second, n=2)
    resumed = watch(web, last_id=client.last_id)
    resumed.wait(lambda c: numbers(c) == [1, 2], "both sessions' updates")
    assert [data["name"] for data in resumed.named("session")][-1] == "two"


def test_a_client_whose_history_is_gone_is_told_so_and_gets_a_snapshot(
    serve: Callable[..., WebServer], watch: Callable[..., SseClient], redis_server: Any
) -> None:
    web = serve()
    session_id = register(web)
    client = watch(web)
    client.wait(lambda c: c.named("snapshot"), "a snapshot")
    log(web, session_id, n=1)
    client.wait(lambda c: numbers(c) == [1], "the update")
    client.close()
    log(web, session_id, n=2)
    key = f"hud:{{default}}:s:{session_id.split('.')[1]}:metrics"
    with redis.Redis.from_url(redis_server.url) as direct:
        direct.xtrim(key, maxlen=1, approximate=False)
    at_home = watch(web, last_id=client.last_id)
    at_home.wait(lambda c: numbers(c) == [2], "the replica's own memory of it")
    assert not at_home.named("reset")
    elsewhere = serve()
    resumed = watch(elsewhere, last_id=client.last_id)
    resumed.wait(lambda c: c.named("snapshot"), "a snapshot")
    names = [event.name for event in resumed.events]
    assert names.index("reset") < names.index("snapshot")
    assert resumed.named("snapshot")[0]["state"] == {"n": 2}
    unknown = watch(web, last_id="123_0-0_0-0_0-0_0-0")
    unknown.wait(lambda c: c.named("reset") and c.named("snapshot"), "reset and snapshot")
    garbage = watch(web, last_id="nonsense")
    garbage.wait(lambda c: c.named("snapshot"), "a snapshot")


def test_a_session_that_follows_another_is_announced_and_starts_empty(
    web: WebServer, watch: Callable[..., SseClient]
) -> None:
    client = watch(web)
    client.wait(lambda c: c.named("snapshot"), "a snapshot")
    first = register(web, name="one")
    log(web, first, n=1, only_in_one=True)
    web.post("/api/reset_session")
    second = register(web, name="two")
    log(web, second, n=2)
    client.wait(lambda c: numbers(c) == [1, 2], "both updates")
    assert [data["name"] for data in client.named("session") if data["status"] == "live"][-1] == "two"
    assert {data["status"] for data in client.named("session")} >= {"live", "ended"}
    assert client.named("snapshot")[-1]["state"] == {}
    client.wait(lambda _: watch(web).wait(lambda c: c.named("snapshot"), "it")[0]["state"] == {"n": 2}, "a snapshot")


def test_a_past_session_can_be_watched_while_another_runs(web: WebServer, watch: Callable[..., SseClient]) -> None:
    first = register(web, name="one")
    log(web, first, n=1)
    web.post("/api/reset_session")
    second = register(web, name="two")
    log(web, second, n=2)
    client = watch(web, f"session={first.split('.')[1]}")
    snapshot = client.wait(lambda c: c.named("snapshot"), "a snapshot")[0]
    assert snapshot["state"] == {"n": 1}
    assert snapshot["session"]["status"] == "ended"
    log(web, second, n=3)
    live = watch(web)
    live.wait(lambda c: c.named("snapshot"), "a snapshot")
    assert numbers(client) == []


def test_frames_can_be_left_out_or_thinned(web: WebServer, watch: Callable[..., SseClient]) -> None:
    session_id = register(web)
    none, few, all_of_them = watch(web, "frames=0"), watch(web, "fps=0.5"), watch(web)
    for client in (none, few, all_of_them):
        client.wait(lambda c: c.named("snapshot"), "a snapshot")
    for n in range(8):
        body = {"session_id": session_id, "image_base64": base64.b64encode(jpeg((n, 0, 0))).decode()}
        web.post("/api/update_vision", body)
        all_of_them.wait(lambda c, n=n: len(c.named("vision_update")) == n + 1, "each frame")
    log(web, session_id, n=1)
    none.wait(lambda c: numbers(c) == [1], "the update")
    assert not none.named("vision_update")
    newest = base64.b64encode(jpeg((7, 0, 0))).decode()
    few.wait(lambda c: c.named("vision_update") and c.named("vision_update")[-1]["image"] == newest, "the newest frame")
    assert len(few.named("vision_update")) < 8


def test_a_stream_ends_at_once_on_sigterm_and_new_ones_are_refused(
    web: WebServer, watch: Callable[..., SseClient]
) -> None:
    client = watch(web)
    client.wait(lambda c: c.named("snapshot"), "a snapshot")
    assert web.terminate() == 0
    assert client.ended
    assert "timeout graceful shutdown exceeded" not in "".join(web.output)  # uvicorn alone waits for that


def test_a_quiet_stream_has_a_heartbeat(web: WebServer, watch: Callable[..., SseClient]) -> None:
    client = watch(web)
    client.wait(lambda c: c.named("snapshot"), "a snapshot")
    client.wait(lambda c: c.comments >= 1, "a heartbeat")


def test_a_lapsed_lease_is_shown_and_the_same_run_goes_on_in_its_session(
    serve: Callable[..., WebServer], watch: Callable[..., SseClient]
) -> None:
    web = serve(environment={"HUD_SESSION_TTL": "3"})
    client = watch(web)
    client.wait(lambda c: c.named("snapshot"), "a snapshot")
    first = register(web, run_id="the-run-secret")
    log(web, first, n=1)
    client.wait(lambda c: any(data["status"] == "lapsed" for data in c.named("session")), "the lapse")
    assert web.post("/api/update_training", {"session_id": first, "data": {"n": 9}})[0] == 403
    again = register(web, run_id="the-run-secret")
    assert again.split(".")[1] == first.split(".")[1]
    log(web, again, n=2)
    client.wait(lambda c: numbers(c) == [1, 2], "both updates")


def test_viewers_of_all_replicas_are_counted_and_a_killed_replica_is_forgotten(
    serve: Callable[..., WebServer], watch: Callable[..., SseClient]
) -> None:
    first, second = serve(), serve()
    session_id = register(first)
    watch(first), watch(first), watch(second)

    def viewers() -> int:
        return int(first.post("/api/heartbeat", {"session_id": session_id})[1]["viewers"])

    poll(lambda: viewers() == 3, "three viewers")
    second.kill()
    poll(lambda: viewers() == 2, "two viewers")


class SlowReader:
    """A viewer that reads only when told to."""

    def __init__(self, web: WebServer, query: str = "", *, version: str = "1.1", behind: bytes = b"") -> None:
        self._socket = socket.create_connection(("127.0.0.1", web.port))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        head = f"GET /stream?{query} HTTP/{version}\r\nHost: localhost\r\n\r\n"
        self._socket.sendall(head.encode() + behind)
        self._raw = b""

    @property
    def head(self) -> str:
        """The head of the answer, in lower case."""
        return self._raw.partition(b"\r\n\r\n")[0].decode().lower()

    def read_until(self, text: str, timeout_s: float = 20.0) -> None:
        self._socket.settimeout(timeout_s)
        while text not in self.body:
            data = self._socket.recv(1 << 16)
            assert data, f"the stream ended before {text!r}"
            self._raw += data

    @property
    def body(self) -> str:
        """The received body, without its chunk headers."""
        rest = self._raw.partition(b"\r\n\r\n")[2]
        if "transfer-encoding: chunked" not in self.head:
            return rest.decode()
        found = []
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            found.append(rest[: int(size or b"0", 16)])
            rest = rest[int(size or b"0", 16) + 2 :]
        return b"".join(found).decode()

    def say(self, data: bytes) -> None:
        self._socket.sendall(data)

    def close(self) -> None:
        self._socket.close()


def test_a_request_from_a_viewer_while_it_watches_disturbs_nothing(web: WebServer) -> None:
    viewer = SlowReader(web)
    viewer.read_until("event: snapshot")
    viewer.say(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    session_id = register(web)
    log(web, session_id, n=1)
    viewer.read_until('{"n":1,')
    assert "healthy" not in viewer.body
    viewer.close()


def test_a_request_that_was_sent_right_behind_the_streams_own_does_not_end_it(web: WebServer) -> None:
    viewer = SlowReader(web, behind=b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    viewer.read_until("event: snapshot")
    session_id = register(web)
    for n in range(3):
        log(web, session_id, n=n)
        viewer.read_until(f'{{"n":{n},')
    viewer.close()


def test_a_client_of_http_1_0_gets_the_stream_without_chunks(web: WebServer) -> None:
    viewer = SlowReader(web, version="1.0")
    viewer.read_until("event: snapshot")
    assert "transfer-encoding" not in viewer.head
    session_id = register(web)
    log(web, session_id, n=1)
    viewer.read_until('{"n":1,')
    assert viewer.body.startswith("retry: ")
    web.terminate()
    viewer.read_until("\n\nretry: ")
    assert set(re.findall("^([a-z]*)(?=:)", viewer.body, re.MULTILINE)) <= {"retry", "event", "data", "id", ""}
    assert "\r" not in viewer.body
    viewer.close()


def test_a_viewer_that_reads_late_gets_every_metric_and_no_stale_frames_and_costs_nobody_else(
    web: WebServer, watch: Callable[..., SseClient]
) -> None:
    session_id = register(web)
    slow, quick = SlowReader(web), watch(web)
    slow.read_until("event: snapshot")
    quick.wait(lambda c: c.named("snapshot"), "a snapshot")
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x09\x00\x00\x00\x09\x08\x02"
    image = head + b"\0" * 40_000 + b"IEND\xaeB`\x82"
    body = {"session_id": session_id, "image_base64": base64.b64encode(image).decode()}
    for n in range(60):
        log(web, session_id, n=n)
        assert web.post("/api/update_vision", body)[0] == 200
        quick.wait(lambda c, n=n: numbers(c)[-1:] == [n], "the number")
        quick.wait(lambda c, n=n: len(c.named("vision_update")) > n, "the frame")
    log(web, session_id, n=60)
    slow.read_until('{"n":60,')
    assert [int(n) for n in re.findall(r'"n":(\d+),', slow.body)] == list(range(61))
    assert slow.body.count("event: vision_update") < 40
    slow.read_until(web.get("/api/state")[1]["frame"]["id"])
    slow.close()


def test_a_replica_that_goes_away_ends_its_streams_bit_by_bit_and_asks_newcomers_to_come_again(web: WebServer) -> None:
    viewers = [SlowReader(web) for _ in range(100)]
    for viewer in viewers:
        viewer.read_until("event: snapshot")
    code: list[int] = []
    ending = threading.Thread(target=lambda: code.append(web.terminate(20.0)))
    ending.start()
    poll(lambda: web.get("/ready")[0] == 503, "the replica to say so")
    newcomer = SlowReader(web)
    newcomer.read_until("retry: ")
    assert "event:" not in newcomer.body
    began = time.monotonic()
    ended: list[float] = []
    for viewer in viewers:
        viewer.read_until("\n\nretry: ")
        ended.append(time.monotonic() - began)
    ending.join()
    assert code == [0]
    assert ended[-1] > 0.3  # of the 5 s that 100 viewers are given
    for viewer in (*viewers, newcomer):
        viewer.close()
