"""With HUD_LOGS=on the program's warnings are published, and nothing else of its logging changes."""

from __future__ import annotations

import logging
import os
from typing import Any

import pytest

from hud_publisher import log_lines
from hud_publisher.intake.intake import Intake
from hud_publisher.intake.lines import AT_ONCE, MAX_LINES, PERIOD_S, LogLines
from hud_publisher.protocol.entries import MetricsEntry
from tests.fixtures.publishing import Bench, Clock


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    log_lines.follow(bench.intake, "driver")
    return bench


def lines(bench: Bench) -> list[dict[str, Any]]:
    bench.turns(3)
    return [dict(entry.data) for entry in bench.sink.landed if isinstance(entry, MetricsEntry)]


def test_warnings_and_errors_of_all_loggers_are_published_without_secrets(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_PASSWORD", "swordfish-9")
    ray = logging.getLogger("ray.rllib.fake")
    ray.propagate = False
    ray.addHandler(logging.NullHandler())
    ray.warning("worker %d uses %s", 3, os.environ["MY_PASSWORD"])
    try:
        raise ValueError("no level")
    except ValueError:
        logging.getLogger("game").exception("could not load")
    logging.getLogger("game").info("loaded")
    logging.getLogger("hud_publisher").warning("our own")
    logging.getLogger("hud.rllib").warning("our own")
    assert lines(bench) == [
        {"process": "driver", "kind": "log", "level": "WARNING", "logger": "ray.rllib.fake",
         "text": "worker 3 uses [redacted]"},
        {"process": "driver", "kind": "log", "level": "ERROR", "logger": "game",
         "text": "could not load\nValueError: no level"},
    ]  # fmt: skip


def test_a_record_that_cannot_be_formatted_is_left_to_its_handlers(bench: Bench) -> None:
    class Odd:
        def __str__(self) -> str:
            raise TypeError("no text")

    record = logging.getLogger("game").makeRecord("game", logging.WARNING, "f", 1, "%s", (Odd(),), None)
    assert record.args
    assert logging.makeLogRecord({"msg": "from another process", "levelno": logging.ERROR}).msg
    assert lines(bench) == []


def test_the_root_logger_gets_no_handler(bench: Bench) -> None:
    assert not [one for one in logging.getLogger().handlers if "hud" in type(one).__module__]
    before = logging.getLogRecordFactory()
    log_lines.follow(bench.intake, "driver")
    assert logging.getLogRecordFactory() is before


def test_a_flood_is_sent_at_a_bounded_rate_and_the_newest_lines_remain() -> None:
    clock = Clock()
    waiting = LogLines(clock)
    for number in range(1000):
        waiting.offer(number, {"text": str(number)})
    assert len(waiting) == MAX_LINES
    first = waiting.take(is_closing=False)
    assert len(first) == AT_ONCE
    assert first[0].data == {"text": "800", "left_out": 800}
    assert first[1].data == {"text": "801"}
    clock.advance(10 * PERIOD_S)
    assert len(waiting.take(is_closing=False)) == 10
    rest = waiting.take(is_closing=True)
    assert [item.data["text"] for item in rest] == [str(number) for number in range(860, 1000)]


def test_lines_of_a_closing_publisher_are_sent_and_a_closed_one_gets_no_more(bench: Bench) -> None:
    for number in range(100):
        logging.getLogger("game").warning("line %d", number)
    bench.close()
    assert len(lines(bench)) == 100
    logging.getLogger("game").warning("too late")
    assert len(bench.intake.lines) == 0


def test_a_publisher_that_is_gone_is_forgotten() -> None:
    intake = Intake()
    log_lines.follow(intake, "driver")
    before = len(log_lines._followers)
    del intake
    assert len(log_lines._followers) == before - 1
