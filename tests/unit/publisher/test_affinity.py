"""Which processor the helper leaves alone, and what happens where it cannot know or choose."""

from __future__ import annotations

import os

import pytest

from hud_publisher.affinity import Elsewhere, processor_in


def stat(processor: int, name: str = "python") -> bytes:
    """What the kernel says of a process: 52 fields, the processor as the 39th."""
    return f"1234 ({name}) S {' '.join(str(number) for number in range(4, 39))} {processor} 0 0".encode()


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """What was chosen, where processors 0 to 2 are allowed."""
    calls: list[set[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2})
    monkeypatch.setattr(os, "sched_setaffinity", lambda _pid, processors: calls.append(set(processors)))
    return calls


@pytest.mark.parametrize("name", ["python", "ray::Env Runner", "a) S 1 2 (b", ""])
def test_the_processor_is_read_whatever_the_process_is_called(name: str) -> None:
    assert processor_in(stat(7, name)) == 7


def test_it_moves_only_when_training_has_moved(chosen: list[set[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    at = [1]
    monkeypatch.setattr(os, "pread", lambda *_args: stat(at[0]))
    elsewhere = Elsewhere(os.getpid())
    for processor in (1, 1, 0, 0, 5, 1):
        at[0] = processor
        elsewhere.move()
    assert chosen == [{0, 2}, {1, 2}, {0, 1, 2}, {0, 2}]


def test_where_there_is_one_processor_it_stays(chosen: list[set[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3})
    Elsewhere(os.getpid()).move()
    assert chosen == []


def test_what_the_kernel_refuses_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(_pid: int, processors: set[int]) -> None:
        asked.append(processors)
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2})
    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    elsewhere = Elsewhere(os.getpid())
    elsewhere.move()
    elsewhere.move()
    assert len(asked) == 1


@pytest.mark.parametrize("said", [b"", b"1 (python) S 2 3", stat(0).replace(b" 0 0 0", b" x 0 0")])
def test_a_text_that_says_nothing_changes_nothing(
    said: bytes, chosen: list[set[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pread", lambda *_args: said)
    Elsewhere(os.getpid()).move()
    assert chosen == []


def test_a_process_that_does_not_exist_and_other_systems_change_nothing(
    chosen: list[set[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    Elsewhere(2**22 + 1).move()
    monkeypatch.delattr(os, "sched_getaffinity")
    Elsewhere(os.getpid()).move()
    assert chosen == []
