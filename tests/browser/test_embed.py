"""The parts of the page that another page embeds: for viewing only."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.page import Screen
from tests.browser.run import Run, color_of

Open = Callable[..., Screen]

#: What a viewer can click on or type into.
_CONTROLS = """() => [...document.querySelectorAll('button, input, select, [tabindex="0"]')]
  .filter((node) => node.checkVisibility() && !node.disabled && node.tagName !== 'DL')
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
