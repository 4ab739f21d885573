"""A copied link restores the view: the same texts and charts in a browser that knows nothing of the first one."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from hud_publisher.protocol.entries import MetricsEntry
from tests.browser.page import Screen
from tests.browser.run import Run, color_of, now_ms
from tests.fixtures.browser import INIT
from tests.fixtures.web import WebServer

Open = Callable[..., Screen]

#: All that a viewer sees of the view: texts, values of controls, the places of charts, and their pixels.
_READ = r"""() => {
  const seen = (node) => node.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const text = (selector) => [...document.querySelectorAll(selector)].filter(seen)
    .map((node) => node.innerText.replace(/\d+ (s|min) ago/, 'ago'));
  const box = document.querySelector('#chart-scroll').getBoundingClientRect();
  const hash = (canvas) => [...canvas.toDataURL()].reduce((sum, c) => (sum * 31 + c.charCodeAt(0)) | 0, 7);
  return {
    theme: document.documentElement.dataset.theme,
    texts: text('#state, #tiles .value, #chart-bar, #stage-meta, #hud-top, #bottom .where, #run-name, #metrics-meta'),
    controls: [...document.querySelectorAll('#page input, #page select')].filter(seen)
      .map((node) => [node.ariaLabel, node.type === 'range' && !node.step ? '' : node.value]),
    pressed: [...document.querySelectorAll('[aria-pressed=true]')].map((node) => node.title || node.innerText),
    sections: text('.chart-section h3'),
    rows: [...document.querySelectorAll('#table .row:not([hidden])')].map((row) => row.innerText).sort(),
    frame: document.querySelector('#frame').hidden ? '' : hash(document.querySelector('#frame')),
    charts: [...document.querySelectorAll('.chart')].filter(seen).map((node) => {
      const { left, top, width, height, bottom } = node.getBoundingClientRect();
      const title = node.querySelector('h3').innerText;
      const isInView = bottom > box.top && top < box.bottom;
      const canvas = node.querySelector('canvas');
      return [title, ...[left, top, width, height].map(Math.round), isInView && node.querySelector('.legend').innerText,
        isInView && canvas ? hash(canvas) : null];
    }),
  };
}"""


def differences(screen: Screen, other: Screen) -> dict[str, Any]:
    """Return the differences between two pages, by kind."""
    one, two = screen.page.evaluate(_READ), other.page.evaluate(_READ)
    return {part: (one[part], two[part]) for part in one if one[part] != two[part]}


def wait_same(screen: Screen, other: Screen, what: object) -> None:
    """Return once two pages show the same, and still do half a second later."""
    for page in (screen.page, other.page):
        page.mouse.move(3, 3)
    found: dict[str, Any] = {}

    def is_same() -> bool:
        found.clear()
        found.update(differences(screen, other))
        if not found:
            other.page.wait_for_timeout(500)
            found.update(differences(screen, other))
        return not found

    try:
        other.wait(is_same, "the same view", 15)
    except AssertionError:
        for part, (expected, shown) in found.items():
            assert shown == expected, (part, what)


def copy_link(screen: Screen, choice: str) -> str:
    screen.page.evaluate("window.copied = ''; document.activeElement.blur()")
    screen.find("#top-tools button:has-text('Copy link')").click()
    screen.find("dialog button", has_text=choice).click()
    return str(screen.wait(lambda: screen.page.evaluate("window.copied"), "the link"))


def changes(screen: Screen, chance: random.Random) -> dict[str, Callable[[], Any]]:
    """Return the controls of a page, by name."""
    page = screen.page

    def chart() -> Any:
        shown = [node for node in screen.find(".chart-grid .chart").all() if node.is_visible()]
        node = chance.choice(shown[:6])
        node.scroll_into_view_if_needed()
        return node

    def zoom() -> None:
        plot = chart().locator(".u-over").bounding_box()
        page.mouse.move(plot["x"] + 0.3 * plot["width"], plot["y"] + 20)
        page.mouse.down()
        page.mouse.move(plot["x"] + 0.7 * plot["width"], plot["y"] + 20, steps=3)
        page.mouse.up()

    def handle(name: str, *keys: str) -> None:
        chart().locator(name).focus()
        for key in keys:
            page.keyboard.press(key)

    def theme() -> None:
        page.get_by_role("button", name="Settings").click()
        page.locator(f"dialog input[value={chance.choice(['light', 'contrast'])}]").check()
        page.keyboard.press("Escape")

    def pause() -> None:
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("Space")
        for _ in range(chance.randint(1, 4)):
            page.keyboard.press("ArrowLeft")

    label = page.get_by_label
    return {
        "axis": lambda: label("Horizontal axis").select_option(chance.choice(["time", "episode"])),
        "smoothing": lambda: label("Smoothing").fill(chance.choice(["0", "0.9"])),
        "log": lambda: page.locator("#chart-bar button", has_text="log").click(),
        "zoom": zoom,
        "pin": lambda: handle("[title='Pin to the top']", "Enter"),
        "move": lambda: handle(".grip", *["ArrowRight"] * chance.randint(1, 6)),
        "resize": lambda: handle(".corner", *chance.choice([["ArrowRight"], ["ArrowDown"], ["ArrowRight"] * 2])),
        "close": lambda: handle("[title='Close this chart']", "Enter"),
        "section": lambda: chance.choice(screen.find(".chart-section h3 button:visible").all()).press("Enter"),
        "filter": lambda: label("Filter metrics by name").fill(chance.choice(["net", "loss|kl", "(x"])),
        "list": lambda: label("List values or updates").select_option("updates"),
        "newest": lambda: label("Newest first").click(),
        "rows": lambda: page.evaluate("document.querySelector('#table').scrollTop = 300"),
        "speed": lambda: label("Speed", exact=True).select_option("2"),
        "theme": theme,
        "pause": pause,
        # The last one: it hides the changes of the others.
        "last": lambda: chance.choice([
            lambda: label("Find charts by name").fill(chance.choice(["net|loss", "norm 1"])),
            lambda: handle("[title='Enlarge']", "Enter"),
            lambda: page.evaluate("document.querySelector('#chart-scroll').scrollTop = 700"),
        ])(),
    }  # fmt: skip


@pytest.fixture
def ended(run: Run) -> Run:
    """A run that has ended, so that nothing on the page changes by itself."""
    now = now_ms()
    run.publish(*(
        MetricsEntry(
            {
                "iteration": n, "episode_return_mean": n**0.5, "entropy": 1 / n, "kl": 0.01 * (n % 5),
                "policy_loss": 1 / n, "value_loss": 2 / n, "episodes_total": n // 2, "rates": [*range(n, n + 50)],
                **{f"net/layer{layer}/norm": layer + n / 10 for layer in range(12)},
                **{f"{name}/{part}": n * 1.5 for name in ("eval", "timers", "opt", "buffer") for part in "abc"},
            },
            now - (61 - n) * 1000, n * 100, "iterations",
        )
        for n in range(1, 61)
    ))  # fmt: skip
    for number in range(1, 8):
        run.log({"loss": number / 10}, step=6_000 + number)
        run.frame(color_of(number), step=6_000 + number, episode=1)
    run.end()
    return run


@pytest.mark.parametrize("seed", [1, pytest.param(range(2, 23), marks=pytest.mark.long)])
def test_a_link_copied_in_any_state_shows_the_same_texts_and_charts_in_a_new_browser(
    stack: WebServer, ended: Run, open_page: Open, seed: Any
) -> None:
    for number in [seed] if isinstance(seed, int) else seed:
        chance = random.Random(number)
        screen = open_page(f"session={ended.sid}", init=INIT)
        screen.wait(lambda screen=screen: screen.find(".chart canvas").count() > 3, "the charts")
        possible = changes(screen, chance)
        *names, last = possible
        chosen = [name for name in names if chance.random() < 0.6] + ([last] if chance.random() < 0.7 else [])
        for name in chosen:
            possible[name]()
        link = copy_link(screen, "This session")
        assert len(link) < 4_000
        assert f"session={ended.sid}" in link
        other = open_page(init=INIT)
        other.page.goto(link)
        wait_same(screen, other, (number, chosen, link))
        screen.context.close()
        other.context.close()


def test_a_link_to_the_channel_shows_the_newest_run_with_the_same_layout(
    run: Run, start_run: Callable[..., Run], open_page: Open
) -> None:
    run.log({"entropy": 1.0, "kl": 2.0, "loss": 3.0}, step=1)
    screen = open_page("find=kl&theme=light", init=INIT)
    screen.wait_metric("kl", "2")
    screen.find(".chart[aria-label='Loss']").hover()
    screen.find(".chart[aria-label='Loss']").get_by_label("Pin to the top").click()
    link = copy_link(screen, "Whatever runs in this channel")
    assert "session=" not in link
    run.end()
    start_run("next").log({"entropy": 1.0, "kl": 5.0, "loss": 3.0}, step=1)
    other = open_page(init=INIT)
    other.page.goto(link)
    other.wait_metric("kl", "5")
    assert other.rows() == {"kl": "5"}
    other.wait_text(".chart-section.pinned", "Loss")
    assert other.page.evaluate("document.documentElement.dataset.theme") == "light"
    # A copied link shows its layout, not the one that this browser remembers.
    screen.page.goto(link.replace("pins=loss", ""))
    screen.wait_metric("kl", "5")
    screen.wait(lambda: screen.find(".chart:visible").count() > 1, "the charts")
    assert screen.find(".chart-section.pinned:visible").count() == 0
