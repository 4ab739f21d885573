"""The publisher's thread lets others run between pieces of work, so none of its stretches is long."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from hud_publisher import Publisher, encoder
from hud_publisher.breath import REST_S, STRETCH_S, Breath
from hud_publisher.composer import Composer
from hud_publisher.encoder import Encoder
from hud_publisher.outbox import Fields, Outbox
from hud_publisher.stats import Counters


class Bench:
    """A breath with a clock that moves with each piece of work."""

    def __init__(self) -> None:
        self.now = 10.0
        self.rests: list[float] = []
        self.breath = Breath(lambda: self.now, self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.rests.append(self.now)
        self.now += seconds

    def work(self) -> None:
        self.breath()
        self.now += STRETCH_S / 10

    @property
    def stretches(self) -> list[float]:
        return [later - earlier - REST_S for earlier, later in zip(self.rests, self.rests[1:], strict=False)]


def test_no_stretch_is_longer_than_its_last_piece_makes_it() -> None:
    bench = Bench()
    bench.breath.begin()
    for _ in range(1000):
        bench.work()
    assert len(bench.rests) > 90
    assert max(bench.stretches) <= STRETCH_S * 1.11


def test_a_thread_that_has_just_waited_needs_no_rest() -> None:
    bench = Bench()
    for _ in range(20):
        bench.breath.begin()
        for _ in range(5):
            bench.work()
    assert bench.rests == []


def test_while_closing_nobody_trains_so_it_works_on() -> None:
    bench = Bench()
    bench.breath.is_held = True
    for _ in range(100):
        bench.work()
    assert bench.rests == []


def test_what_waited_while_nothing_could_be_sent_is_collected_in_short_stretches() -> None:
    bench = Bench()
    outbox = Outbox(Counters(), Counters(), breathe=bench.work)
    outbox.metrics_inbox.extend((1, 1, {"a": 1.0}, 0) for _ in range(10_000))
    outbox.collect()
    assert len(bench.rests) > 900
    composer = Composer(Encoder(), Counters(), bench.work)
    bench.rests.clear()
    composer.compose([Fields({"a": 1.0}, 1, 1, "metrics", 1)] * 100)
    assert len(bench.rests) > 9


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs Linux")
def test_pillow_encodes_where_it_gives_the_interpreter_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "HAS_SIMPLEJPEG", False)
    opened: list[str] = []
    create = os.memfd_create
    monkeypatch.setattr(os, "memfd_create", lambda name: (opened.append(name), create(name))[1])
    breaths: list[None] = []
    encoder_ = Encoder(has_breathed=lambda: breaths.append(None))
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
    Encoder(has_breathed=lambda: breaths.append(None)).encode(np.zeros((210, 160, 3), np.uint8))
    assert not breaths


def test_what_libraries_load_once_is_loaded_before_training() -> None:
    Publisher(redis_url="redis://nowhere.invalid")
    assert "JPEG" in Image.SAVE
