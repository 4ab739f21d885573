"""Code written against the old client works, and none of its calls waits for the server."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from typing import Any

import pytest

from hud_publisher import HUDClient, Publisher
from hud_publisher.once import log_once
from hud_publisher.protocol.entries import FrameEntry, MetricsEntry, VisionEntry
from hud_publisher.protocol.errors import Holder, SessionHeldError, UnavailableError
from tests.fixtures.publishing import JPEG, MemorySink
from tests.fixtures.servers import wait_until

IMAGE = base64.b64encode(JPEG).decode()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("HUD_", "REDIS_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(log_once, "_logged_at", {"disabled": 0.0})


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture
def client(sink: MemorySink) -> Iterator[HUDClient]:
    publisher = Publisher(redis_url="redis://nowhere.invalid")
    publisher._sink_factory = lambda _publisher: sink
    client = HUDClient(publisher=publisher)
    yield client
    client.close(0.2)


def test_an_old_programs_calls_land(client: HUDClient, sink: MemorySink) -> None:
    assert client.enabled
    assert client.register_session()
    assert client.session_id == sink.session
    assert client.update_training_data({"global_step": 12, "episode_reward": 1.5})
    assert client.update_vision_data(IMAGE, response_time=412.0)
    assert client.update_vision_data("data:image/jpeg;base64," + IMAGE)
    client.close()
    by_type = {type(entry): entry for entry in sink.landed}
    metrics, vision, frame = by_type[MetricsEntry], by_type[VisionEntry], by_type[FrameEntry]
    assert isinstance(metrics, MetricsEntry)
    assert (metrics.data, metrics.step) == ({"global_step": 12, "episode_reward": 1.5}, 12)
    assert isinstance(vision, VisionEntry)
    assert (vision.image, vision.response_time_ms) == (JPEG, 412.0)
    assert isinstance(frame, FrameEntry)
    assert frame.image == JPEG


def test_a_refused_program_is_not_enabled_and_goes_on(client: HUDClient, sink: MemorySink) -> None:
    sink.register_errors.append(SessionHeldError(Holder("1", "other", 0, 20_000)))
    assert not client.register_session()
    assert not client.enabled
    assert not client.update_training_data({"a": 1})


def test_an_update_before_registering_registers(client: HUDClient, sink: MemorySink) -> None:
    client.update_training_data({"a": 1})
    wait_until(lambda: sink.landed, "the entry")


def test_registering_at_a_server_that_is_away_ends_in_bounded_time(
    client: HUDClient, sink: MemorySink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hud_publisher.integrations.hud_client.REGISTER_WAIT_S", 0.05)
    sink.register_errors.extend(UnavailableError("away") for _ in range(1000))
    assert not client.register_session()
    assert client.enabled


@pytest.mark.parametrize("image", ["", "no base64!", "data:image/png;base64,???", None, 7, b"\xff"])
def test_an_invalid_picture_is_refused_and_raises_nothing(client: HUDClient, image: object) -> None:
    assert not client.update_vision_data(image)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("image", "is_picture"),
    [
        (base64.encodebytes(JPEG * 9).decode(), True), (IMAGE.encode(), True), (IMAGE.rstrip("="), True),
        ("DATA:image/jpeg;BASE64," + IMAGE, True), ("https://host/cat.png", False),
        ("no base64!", False), (None, False),
    ],
)  # fmt: skip
def test_a_call_is_published_with_its_time_and_any_picture(
    client: HUDClient, sink: MemorySink, image: Any, is_picture: bool
) -> None:
    assert client.update_vision_data(image, response_time=412.0) is is_picture
    client.close()
    (entry,) = sink.landed
    assert isinstance(entry, VisionEntry)
    assert entry.response_time_ms == 412.0
    assert entry.image.startswith(JPEG) is is_picture


@pytest.mark.parametrize("data", [None, 7, "text", [1]])
def test_invalid_fields_raise_nothing(client: HUDClient, data: object) -> None:
    client.update_training_data(data)  # type: ignore[arg-type]


def test_without_an_address_it_is_disabled() -> None:
    client = HUDClient()
    assert not client.enabled
    assert not client.register_session()
    assert client.session_id is None
    assert not client.update_training_data({"a": 1})
    client.close()


def test_its_address_is_an_http_one() -> None:
    client = HUDClient("http://host:8086")
    assert client.enabled
    client.close()
