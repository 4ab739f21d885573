"""Each cause is logged once, or once in a while."""

from __future__ import annotations

import pytest

from hud_publisher.once import LogOnce
from tests.fixtures.publishing import Clock


def test_a_cause_is_logged_once_and_another_one_too(caplog: pytest.LogCaptureFixture) -> None:
    log = LogOnce()
    assert [log(cause, "HUD: %s", cause) for cause in ("full", "away", "full")] == [True, True, False]
    assert caplog.messages == ["HUD: full", "HUD: away"]


def test_a_cause_that_comes_and_goes_is_logged_again_after_its_interval(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    log = LogOnce(60.0, clock)
    logged = 0
    for _ in range(121):
        logged += log("busy", "HUD: busy")
        clock.advance(1.0)
    assert logged == len(caplog.messages) == 3


def test_the_traceback_of_a_defect_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    LogOnce()("defect", "HUD: a defect", error=ZeroDivisionError("x"))
    assert "ZeroDivisionError" in caplog.text
