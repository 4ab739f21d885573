"""Query parameters: the text that is checked is the text that is used."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from starlette.requests import Request

from hud_publisher.protocol.errors import HudError, MalformedError
from hud_web.http.query import channel_of, decimal_number, parameter, sid_of, whole_number
from hud_web.live.stream import StreamRequest


def request(*pairs: tuple[str, str], headers: dict[str, str] | None = None) -> Request:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    return Request({"type": "http", "query_string": urlencode(pairs).encode(), "headers": raw})


ODD_NUMBERS = [
    "", " ", "2 ", " 2", "+2", "-2", "-0", "2_000", "2e2", "2.5.1", "0x10", "nan", "inf", "-inf", "infinity", "\u0662",
    "\u00b2", "\uff12", "2\n", "2\x00", "1,000", "0" * 20 + "2" + "0" * 5_000, "0" * 5_000, "9" * 17,
    "9" * 5_000, "two",
]  # fmt: skip


@pytest.mark.parametrize("text", [*ODD_NUMBERS, "2.5", "1", "2001"])
def test_a_whole_number_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(MalformedError, match="points"):
        whole_number(request(("points", text)), "points", 7, least=2, most=2_000)


def test_a_whole_number_is_read_from_its_digits() -> None:
    for text, number in (("2", 2), ("0002", 2), ("2000", 2_000)):
        assert whole_number(request(("points", text)), "points", 7, least=2, most=2_000) == number
    assert whole_number(request(), "points", 7, least=2, most=2_000) == 7


@pytest.mark.parametrize("text", [text for text in ODD_NUMBERS if text] + ["0", "0.01", "121", "1.", ".5", "1.0000001"])
def test_a_rate_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(MalformedError, match="fps"):
        decimal_number(request(("fps", text)), "fps", least=0.05, most=120)


@pytest.mark.parametrize(
    ("text", "interval_s"), [("0.05", 20.0), ("0.5", 2.0), ("1", 1.0), ("2.5", 0.5), ("20", 0.05), ("120", 1 / 120)]
)
def test_a_rate_is_rounded_down_to_one_that_viewers_share(text: str, interval_s: float) -> None:
    assert StreamRequest.of(request(("fps", text))).interval_s == pytest.approx(interval_s)


def test_all_rates_together_are_few() -> None:
    texts = [f"{rate / 1000:.3f}" for rate in range(50, 120_001, 7)]
    assert len({StreamRequest.of(request(("fps", text))).interval_s for text in texts}) <= 140


@pytest.mark.parametrize("name", ["channel", "session", "fps", "frames", "last_event_id"])
def test_a_parameter_that_occurs_twice_is_refused(name: str) -> None:
    with pytest.raises(MalformedError, match=f"{name} once"):
        StreamRequest.of(request((name, "1"), (name, "2")))


@pytest.mark.parametrize("text", ["\u0661", "-1", "+1", "1 ", "1_0", "9" * 17, "9" * 5_000, "1.0", "1\n"])
def test_a_session_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        sid_of(request(("session", text)))


@pytest.mark.parametrize("text", ["a" * 65, "\u00e4", "a b", "a/b", ".a", "a\n", "a\x00", "\u0661"])
def test_a_channel_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(HudError, match="channel"):
        channel_of(request(("channel", text)))


@pytest.mark.parametrize("text", ["x", "1_1-0_1-0_1-0_1-0" + "0" * 5_000, "9" * 5_000, "\u00b2_1-0_1-0_1-0_1-0"])
def test_a_last_event_id_that_is_not_ours_counts_as_none(text: str) -> None:
    assert StreamRequest.of(request(headers={"Last-Event-ID": text})).since is None


def test_a_missing_parameter_is_none() -> None:
    assert parameter(request(), "format") is None
