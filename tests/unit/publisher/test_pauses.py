"""The publisher's thread lets others run between pieces of work, so none of its stretches is long."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from hud_publisher import Publisher
from hud_publisher.intake.intake import Intake
from hud_publisher.intake.items import Fields
from hud_publisher.intake.report import Counters
from hud_publisher.protocol.names import Paths
from hud_publisher.sender import encoder
from hud_publisher.sender.compose import compose
from hud_publisher.sender.encoder import Encoder
from hud_publisher.sender.observation import Observations
from hud_publisher.sender.pauses import REST_S, STRETCH_S, GilYield


class Bench:
    """A GilYield with a clock that moves with each piece of work."""

    def __init__(self) -> None:
        self.now = 10.0
        self.rests: list[float] = []
        self.yield_gil = GilYield(lambda: self.now, self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.rests.append(self.now)
        self.now += seconds

    def work(self) -> None:
        self.yield_gil()
        self.now += STRETCH_S / 10

    @property
    def stretches(self) -> list[float]:
        return [later - earlier - REST_S for earlier, later in zip(self.rests, self.rests[1:], strict=False)]


def test_no_stretch_is_longer_than_its_last_piece_makes_it() -> None:
    bench = Bench()
    bench.yield_gil.restart()
    for _ in range(1000):
        bench.work()
    assert len(bench.rests) > 90
    assert max(bench.stretches) <= STRETCH_S * 1.11


def test_a_thread_that_has_just_waited_needs_no_rest() -> None:
    bench = Bench()
    for _ in range(20):
        bench.yield_gil.restart()
        for _ in range(5):
            bench.work()
    assert bench.rests == []


def test_while_closing_the_thread_does_not_pause() -> None:
    bench = Bench()
    bench.yield_gil.is_off = True
    for _ in range(100):
        bench.work()
    assert bench.rests == []


def test_entries_queued_during_an_outage_are_collected_in_short_stretches() -> None:
    bench = Bench()
    intake = Intake()
    intake.inbox("metrics").extend((1, 1, {"a": 1.0}, 0) for _ in range(10_000))
    intake.collect(bench.work)
    assert len(bench.rests) > 900
    bench.rests.clear()
    compose([Fields({"a": 1.0}, 1, 1, "metrics", 1)] * 100, Encoder(), Observations(), Counters(), Paths(), bench.work)
    assert len(bench.rests) > 9


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux")
def test_pillow_encodes_where_it_gives_the_interpreter_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "HAS_SIMPLEJPEG", False)
    opened: list[str] = []
    create = os.memfd_create
    monkeypatch.setattr(os, "memfd_create", lambda name: (opened.append(name), create(name))[1])
    breaths: list[None] = []
    encoder_ = Encoder(gil_released=lambda: breaths.append(None))
    pixels = np.random.default_rng(1).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    in_file = encoder_.encode(pixels)
    assert opened
    assert breaths
    monkeypatch.delattr(os, "memfd_create")
    assert encoder_.encode(pixels) == in_file
    assert len(breaths) == 1


def test_a_small_picture_is_not_worth_the_ten_calls_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "HAS_SIMPLEJPEG", False)
    monkeypatch.setattr(os, "memfd_create", lambda _name: pytest.fail("a file was made"), raising=False)
    breaths: list[None] = []
    Encoder(gil_released=lambda: breaths.append(None)).encode(np.zeros((210, 160, 3), np.uint8))
    assert not breaths


def test_libraries_load_their_modules_before_training() -> None:
    Publisher(redis_url="redis://nowhere.invalid")
    assert "JPEG" in Image.SAVE
