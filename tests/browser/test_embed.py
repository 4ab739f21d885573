"""The parts of the page that another page embeds: for viewing only."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.page import Screen
from tests.browser.run import Run, color_of

Open = Callable[..., Screen]

#: Controls that a viewer can click on or type into.
_CONTROLS = """() => [...document.querySelectorAll('button, input, select')]
  .filter((node) => node.checkVisibility() && !node.disabled)
  .map((node) => node.id || node.className || node.textContent)"""
#: Elements outside of the window, or wider than it.
_OUTSIDE = (
    """() => document.documentElement.scrollWidth > innerWidth || document.documentElement.scrollHeight > innerHeight"""
)


@pytest.mark.parametrize(("part", "size"), [("stage", (700, 420)), ("card", (420, 480))])
def test_a_part_is_live_fits_and_has_no_controls(run: Run, open_page: Open, part: str, size: tuple[int, int]) -> None:
    run.iterate(1, episode_return_mean=21.5)
    run.frame(color_of(1), step=100)
    screen = open_page(query=f"embed={part}", size=size)
    screen.wait_pixel(color_of(1))
    screen.wait_state("LIVE")
    run.frame(color_of(2), step=101)
    screen.wait_pixel(color_of(2))
    assert screen.text("#run-name") == run.name
    if part == "card":
        screen.wait_text("#tiles", "21.5")
    assert screen.page.evaluate(_OUTSIDE) is False
    for env in ((1, 0), (1, 1)):
        run.frame(color_of(2), env=env, kind="thumbs")
    for key in ("?", "Control+k", "c", "g"):
        screen.press(key)
    screen.page.wait_for_timeout(300)
    assert screen.find("dialog").count() == 0
    assert screen.page.evaluate(_CONTROLS) == []
    whole = screen.find("#top-tools a")
    assert whole.get_attribute("href") == f"./?channel={screen.channel}"


def test_one_chart_fills_an_embed_and_a_field_that_is_missing_is_named_as_such(run: Run, open_page: Open) -> None:
    for n in range(5):
        run.iterate(n, episode_return_mean=20.0 + n, train={"loss": 1.0 / (n + 1)})
    screen = open_page(query="embed=chart&chart=train/loss", size=(700, 320))
    screen.wait(lambda: screen.find(".chart-large canvas").count() > 0, "the chart")
    assert screen.find(".chart:visible").count() == 1
    assert "loss" in screen.text(".chart:visible h3")
    assert screen.page.evaluate(_OUTSIDE) is False
    assert screen.page.evaluate(_CONTROLS) == []
    screen.page.goto(f"{run.server.url}/?channel={run.channel}&embed=chart&chart=return")  # a key chart
    screen.wait_text(".chart:visible h3", "Episode return")
    screen.page.goto(f"{run.server.url}/?channel={run.channel}&embed=chart&chart=nothing")
    screen.wait_text("#no-charts", "No numeric field of this run has such a name")
    assert screen.find(".chart:visible").count() == 0
