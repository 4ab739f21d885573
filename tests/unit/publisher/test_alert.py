"""`hud.alert`: its rate and its length are bounded for any arguments."""

from __future__ import annotations

from typing import Any

import pytest

from hud_publisher import Publisher
from hud_publisher.intake.allowance import Allowance
from hud_publisher.protocol.entries import MetricsEntry
from tests.fixtures.publishing import Clock, MemorySink
from tests.fixtures.servers import wait_until


def publisher(sink: MemorySink) -> Publisher:
    hud = Publisher(redis_url="redis://nowhere", run_id="r")
    hud._sink_factory = lambda _publisher: sink
    return hud


def alerts(sink: MemorySink) -> list[dict[str, Any]]:
    return [
        dict(one.data) for one in list(sink.landed) if isinstance(one, MetricsEntry) and one.data.get("kind") == "alert"
    ]


def test_an_alert_is_a_report_of_bounded_length() -> None:
    sink = MemorySink()
    with publisher(sink) as hud:
        assert hud.alert("x" * 10_000, title="y" * 10_000)
        assert hud.alert("The door is open")
        wait_until(lambda: len(alerts(sink)) == 2, "the alerts")
    long, short = alerts(sink)
    assert (len(long["text"]), len(long["title"])) == (500, 120)
    assert short["text"] == "The door is open"
    assert "title" not in short


def test_a_loop_of_alerts_is_limited_and_counted() -> None:
    sink = MemorySink()
    with publisher(sink) as hud:
        taken = sum(hud.alert(f"alert {number}") for number in range(1_000))
        dropped = hud.stats.dropped["reports/overflow"]
        wait_until(lambda: len(alerts(sink)) == taken, "the alerts")
    assert 10 <= taken < 20
    assert taken + dropped == 1_000


class Odd:
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("text", [None, 5, b"bytes", Odd(), "\ud800"])
def test_no_text_raises(text: Any) -> None:
    sink = MemorySink()
    with publisher(sink) as hud:
        hud.alert(text, title=text)
        wait_until(lambda: alerts(sink), "the alert")


def test_an_allowance_has_a_burst_and_a_rate() -> None:
    clock = Clock()
    allowance = Allowance(3, 2.0, clock)
    assert [allowance.take() for _ in range(4)] == [True, True, True, False]
    clock.advance(2.0)
    assert [allowance.take() for _ in range(2)] == [True, False]
    clock.advance(100.0)
    assert [allowance.take() for _ in range(4)] == [True, True, True, False]
