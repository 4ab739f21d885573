"""Accessibility: screen readers, keyboards, themes and phones; and the page complies with a strict policy."""

from __future__ import annotations

from collections.abc import Callable

from tests.browser.page import Screen
from tests.browser.run import Run, color_of, png

Open = Callable[..., Screen]


def fill(run: Run) -> None:
    """Something in every panel."""
    for iteration in range(1, 20):
        run.iterate(
            iteration, episode_return_mean=float(iteration), policy_loss=0.1, entropy=1.0, **{"timers/sample": 1.0}
        )
    run.log(
        {"health": {"current": 1, "max": 3}, "milestones": {"a": True, "b": False}, "llm_calls": 3, "action": "LEFT"}
    )
    run.frame(color_of(1), step=1, episode=1)
    for env in ((1, 0), (1, 1)):
        run.frame(color_of(2), env=env, kind="thumbs")
    run.vision(png((1, 2, 3)), prompt="What?", response="A tree.", action="RIGHT")


def test_the_themes_look_different_and_the_choice_is_kept(run: Run, open_page: Open) -> None:
    fill(run)
    screen = open_page()
    screen.wait_pixel(color_of(1))
    backgrounds = set()
    for theme in ("Light", "High contrast", "Dark"):
        screen.find("[aria-label=Settings]").click()
        screen.find("dialog label", has_text=theme).click()
        screen.press("Escape")
        backgrounds.add(screen.page.evaluate("() => getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 3
    screen.find("[aria-label=Settings]").click()
    screen.find("dialog label", has_text="Light").click()
    screen.page.reload()
    assert screen.page.evaluate("() => document.documentElement.dataset.theme") == "light"


def test_the_keyboard_reaches_every_control_and_the_sheet_lists_the_keys(run: Run, open_page: Open) -> None:
    run.play(2)
    screen = open_page()
    screen.wait(lambda: screen.find(".bottom .save").is_enabled(), "the kept frames")
    screen.press("?")
    for what in (
        "Pause or resume",
        "Previous or next episode",
        "Back to live",
        "Full screen",
        "Filter the metrics",
        "Sessions and channels",
    ):
        assert what in screen.text("dialog")
    screen.press("Escape")
    screen.press("/")
    assert screen.page.evaluate("() => document.activeElement.getAttribute('aria-label')") == "Filter metrics by name"
    screen.page.keyboard.type("l ")  # typed, not obeyed
    assert screen.find("[aria-label='Filter metrics by name']").input_value() == "l "
    screen.find("[aria-label='Filter metrics by name']").fill("")
    screen.page.evaluate("() => document.activeElement.blur()")
    screen.press("f")
    screen.wait(lambda: screen.page.evaluate("() => document.fullscreenElement?.id") == "stage", "full screen")
    screen.press("f")
    screen.wait(lambda: screen.page.evaluate("() => document.fullscreenElement") is None, "the page again")
    names = set()
    for _ in range(60):
        screen.press("Tab")
        names.add(
            screen.page.evaluate(
                "() => document.activeElement.getAttribute('aria-label') || document.activeElement.innerText"
            )
        )
    for name in (
        "Settings",
        "Previous frame",
        "Position in the recorded minutes",
        "Speed",
        "Filter metrics by name",
        "Smoothing",
    ):
        assert name in names


def test_the_state_is_announced_to_a_screen_reader_once_and_not_at_every_frame(run: Run, open_page: Open) -> None:
    screen = open_page()
    run.log({"n": 1})
    screen.wait_state("LIVE")
    screen.page.evaluate(
        """() => {
          window.said = [];
          const live = document.querySelector('#announce');
          const heard = () => window.said.push(live.textContent);
          new MutationObserver(heard).observe(live, { childList: true, characterData: true, subtree: true });
        }"""
    )
    for number in range(10):
        run.frame(color_of(number), step=number)
    screen.wait_pixel(color_of(9))
    assert screen.page.evaluate("() => window.said") == []
    run.end()
    screen.wait(lambda: screen.page.evaluate("() => window.said.length") > 0, "the end to be said")
    assert "ENDED" in screen.page.evaluate("() => window.said.join()")


def test_a_phone_has_one_column_tabs_and_targets_large_enough_for_a_thumb(run: Run, open_page: Open) -> None:
    fill(run)
    screen = open_page(size=(390, 844), is_mobile=True)
    screen.wait_pixel(color_of(1))
    screen.find("#log li button").first.wait_for()
    assert screen.page.evaluate("() => document.documentElement.scrollWidth") == 390
    small_ones = """() => [...document.querySelectorAll('button, select, input:not([type=range]):not([type=checkbox])')]
          .filter((node) => node.checkVisibility() && node.closest('dialog') === null)
          .map((node) => [node.getAttribute('aria-label') || node.innerText, node.getBoundingClientRect().height])
          .filter(([, height]) => height < 40)"""
    assert screen.page.evaluate(small_ones) == []
    assert screen.find("#charts").is_hidden()
    for tab, panel in (("Charts", "#charts"), ("VLM", "#vision"), ("Metrics", "#metrics"), ("Watch", "#stage")):
        screen.find("#tabs button", has_text=tab).tap()
        screen.find(panel).wait_for(state="visible")
        assert screen.page.evaluate("() => document.documentElement.scrollWidth") == 390
        assert screen.page.evaluate(small_ones) == []
    assert screen.find("#metrics").is_hidden()


def test_the_essentials_need_no_scrolling_on_a_desktop_screen(run: Run, open_page: Open) -> None:
    fill(run)
    screen = open_page()
    screen.wait_pixel(color_of(1))
    for selector in ("#state", "#tiles", "#frame", "#charts .chart", "#vision", "#metrics", "#bottom"):
        part = screen.find(selector).first
        part.wait_for(state="visible")
        box = part.bounding_box()
        assert box is not None
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 900
    assert screen.page.evaluate(
        "() => [document.documentElement.scrollHeight, document.documentElement.scrollWidth]"
    ) == [900, 1440]


def test_animations_are_off_under_prefers_reduced_motion(run: Run, open_page: Open) -> None:
    run.log({"n": 1})
    screen = open_page(reduced_motion="reduce")
    screen.wait_metric("n", "1")
    run.end()
    screen.wait_text("#toasts", "ended")
    assert screen.find(".toast").first.evaluate("(node) => getComputedStyle(node).animationName") == "none"


def test_the_policy_is_strict_and_nothing_is_loaded_from_another_origin(run: Run, open_page: Open) -> None:
    fill(run)
    screen = open_page(
        init="window.refused = []; addEventListener('securitypolicyviolation', (one) => refused.push(one.blockedURI))"
    )
    screen.wait_pixel(color_of(1))
    screen.wait_text("#vision", "A tree.")
    answer = screen.page.request.get(f"{screen.server.url}/")
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert screen.page.evaluate("() => window.refused") == []
    assert (
        screen.page.evaluate(
            "() => document.querySelectorAll('[style*=\";\"] script, script:not([src]), style').length"
        )
        == 0
    )
    addresses = screen.page.evaluate("() => performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [address for address in addresses if not address.startswith((screen.server.url, "data:", "blob:"))] == []


#: Uncompressed: page, modules, style sheets and font, the worker's modules too, of a run that shows all there is.
MOST_BYTES = 380_000
_FETCHED = """() => [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
  .filter((entry) => !/^(blob|data):|[/](api|stream)\\b/.test(entry.name))
  .map((entry) => [entry.name, entry.decodedBodySize])"""


def test_the_page_and_its_modules_are_small(run: Run, open_page: Open) -> None:
    fill(run)
    screen = open_page()
    screen.wait_pixel(color_of(1))
    for env in ((1, 0), (1, 1)):
        run.frame(color_of(2), env=env, kind="thumbs")
    screen.wait(lambda: screen.find(".chart canvas").count() > 0, "the charts")
    screen.wait(lambda: screen.find("#strip button").count() == 2, "the thumbnails")
    screen.wait_text("#vision", "A tree.")
    screen.wait_text("#game", "MILESTONES")
    sizes = {name.rpartition("/")[2]: size for name, size in screen.page.evaluate(_FETCHED)}
    # The worker fetches these, and the list of the page leaves them out.
    for name in ("feed-worker.js", "feed.js", "event-stream.js"):
        sizes[name] = len(screen.page.request.get(f"{screen.server.url}/static/js/server/{name}").body())
    assert {"uplot.js", "inter.woff2", "vision.js", "game.css", "table.js"} <= set(sizes)
    assert sum(sizes.values()) < MOST_BYTES, sorted(sizes.items(), key=lambda item: -item[1])[:10]


def test_a_module_that_is_the_same_is_not_sent_again(open_page: Open) -> None:
    screen = open_page()
    address = f"{screen.server.url}/static/js/shell/main.js"
    first = screen.page.request.get(address)
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["content-type"].startswith("text/javascript")
    again = screen.page.request.get(address, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body()) == (304, b"")
