"""The text of messages: bounded, plain, and without mentions."""

from __future__ import annotations

import pytest

from hud_web.alerts.evaluator import Alert
from hud_web.alerts.message import MAX_TITLE, Message, compose, decode_alert, plain


def message(*alerts: Alert, link: str | None = "https://hud/base", most_chars: int = 8_000) -> Message:
    stored = []
    for number, alert in enumerate(alerts):
        parts = [part.encode() for part in alert.encode("1763800000000")]
        stored.append(decode_alert(f"{number}-0", dict(zip(parts[::2], parts[1::2], strict=True))))
    return compose("team-a", stored, names={"1763800000000": "ppo"}, link=link, most_chars=most_chars)


def alert(text: str, kind: str = "collapse", *, is_end: bool = False) -> Alert:
    return Alert("rule", kind, text, 1763800000123, 51200, is_end, ("t1",))


def test_one_alert_has_its_moment_and_a_link_to_it() -> None:
    found = message(alert("The return collapsed from 17 to 3"))
    assert found == Message(
        "HUD team-a: The return collapsed from 17 to 3",
        "Run ppo, channel team-a\n2025-11-22 08:26:40 UTC, step 51,200: The return collapsed from 17 to 3\n"
        "https://hud/base/?channel=team-a&session=1763800000000&t=1763800000123",
        is_good=False,
        count=1,
    )


def test_equal_alerts_are_one_line() -> None:
    found = message(*[alert("again") for _ in range(3)], alert("another"))
    assert (found.title, found.count) == ("HUD team-a: 4 alerts", 4)
    assert [line.partition(": ")[2] for line in found.body.splitlines()[1::2]] == ["again (×3)", "another"]


def test_a_message_tells_about_as_many_alerts_as_the_service_takes() -> None:
    many = [alert(f"alert {number} {'x' * 100}") for number in range(30)]
    found = message(*many, most_chars=1_850)
    assert 5 < found.count < 10
    assert len(found.body) <= 1_850
    assert [one.text in found.body for one in many] == [number < found.count for number in range(30)]
    shortest = message(*many, most_chars=120)
    assert (shortest.count, len(shortest.body)) == (1, 120)


def test_a_message_of_ends_alone_is_good() -> None:
    assert message(alert("up", is_end=True)).is_good
    assert not message(alert("up", is_end=True), alert("down")).is_good


@pytest.mark.parametrize(
    "text", ["@everyone", "@here", "<!channel>", "&lt;!channel&gt;", "<@U123>", "[name](https://evil)", "<b>bold</b>"]
)
def test_a_run_can_mention_nobody_and_form_no_markup(text: str) -> None:
    shown = plain(text)
    assert text not in shown
    assert shown.replace("\u200b", "") == text
    assert text not in message(alert(text)).title + message(alert(text)).body


def test_control_characters_and_long_texts_are_cut() -> None:
    assert plain("a\x1b[31m\nb\u202ec\ud800") == "a [31m b c"
    found = message(alert("x" * 10_000))
    assert len(found.title) == MAX_TITLE
    assert len(found.body) < 800
