"""A picture that does not change while the steps advance is reported; others are not."""

from __future__ import annotations

from hud_publisher.protocol.entries import Entry, FrameEntry, MetricsEntry
from hud_publisher.sender.stillness import MAX_ENVS, Stillness


def frames(count: int, *, image: bytes = b"same", first: int = 0, steps: int = 60, **more: object) -> list[Entry]:
    """Return one frame a second, the same picture each time."""
    return [FrameEntry(image, (first + n) * 1000, step=(first + n) * steps, **more) for n in range(count)]  # type: ignore[arg-type]


def reports(entries: list[Entry]) -> list[tuple[int, object]]:
    still = Stillness()
    found = [one for entry in entries for one in still.follow((entry,)) if isinstance(one, MetricsEntry)]
    return [(one.time_ms, one.data) for one in found]


def test_a_frozen_picture_is_reported_after_ten_seconds_and_every_five_and_its_change_once() -> None:
    found = reports([*frames(18), *frames(5, image=b"other", first=18)])
    assert found == [
        (10_000, {"picture_unchanged_s": 10.0, "picture_unchanged_steps": 600}),
        (15_000, {"picture_unchanged_s": 15.0, "picture_unchanged_steps": 900}),
        (18_000, {"picture_unchanged_s": 0.0, "picture_unchanged_steps": 0}),
    ]


def test_a_picture_without_steps_or_with_few_of_them_is_not_reported() -> None:
    assert reports(frames(60, steps=1)) == []
    assert reports([FrameEntry(b"same", n * 1000) for n in range(60)]) == []


def test_each_env_has_its_own_picture_and_thumbnails_are_left_out() -> None:
    mixed = [
        one for pair in zip(frames(30, env=(0, 0)), frames(30, image=b"b", env=(0, 1)), strict=True) for one in pair
    ]
    assert len(reports(mixed)) == 2 * 4
    assert reports(frames(30, stream="thumbs")) == []


def test_the_envs_that_are_remembered_are_bounded() -> None:
    still = Stillness()
    for number in range(10 * MAX_ENVS):
        still.follow(tuple(frames(1, env=(number, 0))))
    assert len(still._frames) <= MAX_ENVS
