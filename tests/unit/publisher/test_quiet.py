"""Errors of foreign code are swallowed, counted, and logged once for each cause."""

from __future__ import annotations

import copy
import logging
import pickle

import pytest

from hud_publisher.once import MAX_CAUSES
from hud_publisher.quiet import Quiet


class Broken(Exception):
    """The error that the broken part raises."""


def broken() -> None:
    raise Broken("on purpose")


def test_a_cause_is_logged_once_and_counted_each_time(caplog: pytest.LogCaptureFixture) -> None:
    quiet = Quiet("hud.test")

    @quiet.guarded
    def on_episode_step() -> None:
        raise Broken("on purpose")

    for _ in range(3):
        assert on_episode_step() is None
        assert quiet.attempt("render", broken) is None
    assert [record.getMessage() for record in caplog.records] == [
        "HUD: on_episode_step failed with Broken: on purpose. Training goes on; this is logged once.",
        "HUD: render failed with Broken: on purpose. Training goes on; this is logged once.",
    ]
    assert quiet.causes == {("on_episode_step", "Broken"): 3, ("render", "Broken"): 3}


def test_a_result_and_an_interrupt_pass() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    quiet = Quiet("hud.test")
    assert quiet.attempt("counting", len, "abc") == 3
    with pytest.raises(KeyboardInterrupt):
        quiet.attempt("an interrupt", interrupted)


def test_a_program_with_ever_new_causes_fills_neither_the_log_nor_the_memory(caplog: pytest.LogCaptureFixture) -> None:
    quiet = Quiet("hud.test")
    for number in range(3 * MAX_CAUSES):
        quiet.note(f"place {number}", Broken())
    assert len(caplog.records) == MAX_CAUSES + 1
    assert len(quiet.causes) == MAX_CAUSES


def test_the_log_keeps_no_frame_of_an_error_alive(caplog: pytest.LogCaptureFixture) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    quiet = Quiet("hud.test")
    for error in (ValueError("on purpose"), Mute()):
        quiet.note("here", error)
    assert [(type(argument), record.exc_info) for record in caplog.records for argument in record.args or ()] == [
        (str, None), (str, None)
    ]  # fmt: skip
    assert [record.getMessage().split(". ")[0] for record in caplog.records] == [
        "HUD: here failed with ValueError: on purpose", "HUD: here failed with Mute"
    ]  # fmt: skip


def test_an_object_that_uses_it_can_be_copied_and_pickled() -> None:
    quiet = Quiet("hud.test", logging.DEBUG)
    quiet.attempt("here", broken)
    for copied in (copy.deepcopy(quiet), pickle.loads(pickle.dumps(quiet))):
        copied.attempt("here", broken)
        assert copied.causes[("here", "Broken")] == 2
    assert quiet.causes[("here", "Broken")] == 1
