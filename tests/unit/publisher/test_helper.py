"""What the publisher's side of the helper hands over at once, and what waits for more of its kind."""

from __future__ import annotations

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

from hud_publisher.helper import LOOK_S, Helper
from hud_publisher.link import Link
from hud_publisher.mailbox import Mailbox, create_file
from hud_publisher.outbox import Fields, Outbox, Picture, Room
from hud_publisher.pacer import Pacer
from hud_publisher.parcel import unpack
from hud_publisher.stats import Counters

PICTURE = Picture(b"pixels", 0, 1, 1, (1, 0), "frames")


class Side:
    """A publisher that takes a frame of one env every `period_s`, in time that the test moves."""

    def __init__(self, *, fps: float = 20.0, gathers: bool = True) -> None:
        self.now = 100.0
        counters, refusals = Counters(), Counters()
        frames = Pacer(1 / fps, lambda: self.now)
        outbox = Outbox(counters, refusals, Room(frames=4))
        self.link = Link(outbox, frames, Pacer(1.0), counters, refusals, clock=lambda: self.now)
        self.helper = Helper(self.link, b"", lambda: None, gathers=gathers)
        file = create_file()
        self.mailbox = self.helper._mailbox = Mailbox(file)
        os.close(file)

    def frame(self, step: int, *, after_s: float) -> None:
        self.now += after_s
        assert self.link.frames.take((1, 0))
        self.link.outbox.offer_picture(replace(PICTURE, step=step))
        self.link.doorbell.ring_for_frame()

    def handed(self) -> list[int | None]:
        """The steps of what was handed over, one message or several."""
        found: list[int | None] = []
        while (message := self.mailbox.take()) is not None:
            found += [item.step for item in unpack(message).items if isinstance(item, (Picture, Fields))]
        return found


def test_frames_that_go_with_one_call_are_handed_over_together() -> None:
    side = Side()
    side.frame(0, after_s=0.0)
    assert side.handed() == [0]  # nothing says that another follows
    handed = []
    for step in range(1, 9):
        side.frame(step, after_s=0.051)
        handed.append(side.handed())
    assert handed == [[], [], [], [1, 2, 3, 4], [], [], [], [5, 6, 7, 8]]


def test_frames_that_come_slowly_do_not_wait_for_each_other() -> None:
    side = Side()
    for step in range(4):
        side.frame(step, after_s=0.08)
        assert side.handed() == [step]


@pytest.mark.parametrize(("fps", "gathers"), [(20.0, False), (4.0, True)])
def test_nobody_waits_where_each_goes_with_a_call_of_its_own(fps: float, gathers: bool) -> None:
    side = Side(fps=fps, gathers=gathers)
    for step in range(4):
        side.frame(step, after_s=1.01 / fps)
        assert side.handed() == [step]


def test_whatever_rings_takes_a_waiting_frame_along() -> None:
    side = Side()
    side.frame(0, after_s=0.0)
    side.frame(1, after_s=0.05)
    assert side.handed() == [0]
    side.link.outbox.metrics_inbox.append((0, 7, {"phase": "learning"}, 1))
    side.link.doorbell.ring()
    assert sorted(map(str, side.handed())) == ["1", "7"]
    side.frame(2, after_s=0.05)
    assert side.handed() == []
    side.helper._wait(_Ended(after=1))  # type: ignore[arg-type]
    assert side.handed() == [2], f"the thread looks every {LOOK_S} s"


class _Ended:
    """A process that ends at the second look."""

    def __init__(self, after: int) -> None:
        self.looks_left = after
        self.stdin = SimpleNamespace(close=lambda: None)

    def poll(self) -> int | None:
        self.looks_left -= 1
        return None if self.looks_left >= 0 else 0

    def wait(self) -> None: ...
