"""Charts: every number finds its place, the whole run is there, and what one chart does the others do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hud_publisher.protocol.entries import MetricsEntry
from tests.browser.page import Screen
from tests.browser.run import Run, now_ms

if TYPE_CHECKING:
    from playwright.sync_api import Locator

Open = Callable[..., Screen]
StartRun = Callable[..., Run]


def chart(screen: Screen, title: str) -> Locator:
    return screen.find(f".chart[aria-label='{title}']")


def wait_drawn(screen: Screen, title: str, more_than: int = 400) -> int:
    """Return how much is drawn once it is more than axes and grid."""
    canvas = chart(screen, title).locator("canvas")
    screen.wait(lambda: canvas.count() and screen.ink(canvas) > more_than, f"the chart {title}")
    return screen.ink(canvas)


def settled_ink(screen: Screen, title: str, more_than: int = 400) -> int:
    """Return how much is drawn once it stays the same for half a second: history and layout have come to rest."""
    seen = [wait_drawn(screen, title, more_than)]

    def is_settled() -> bool:
        screen.page.wait_for_timeout(50)
        seen.append(screen.ink(chart(screen, title).locator("canvas")))
        return len(seen) > 10 and len(set(seen[-10:])) == 1

    screen.wait(is_settled, f"the chart {title} to come to rest")
    return seen[-1]


def train(run: Run, iterations: int, *, first: int = 1, scale: float = 1.0) -> None:
    now = now_ms()
    run.publish(
        *(
            MetricsEntry(
                {
                    "iteration": n, "global_step": n * 100, "episode_return_mean": scale * n**0.5, "entropy": 1 / n,
                    "timers/sample": 1.0 + n % 3, "timers/learn": 2.0, "reward_scale": 10.0**n,
                },
                now - (first + iterations - n) * 1000, n * 100, "iterations",
            )
            for n in range(first, first + iterations)
        )
    )  # fmt: skip


def test_every_number_finds_a_chart_and_the_whole_run_is_in_it(run: Run, open_page: Open) -> None:
    train(run, 200)
    screen = open_page()
    wait_drawn(screen, "Episode return")
    screen.wait_text(".chart[aria-label='Episode return'] .legend", "14.14")
    for title in ("Entropy · KL", "Steps per second"):
        assert chart(screen, title).count() == 1
    assert screen.find(".chart-section h3", has_text="timers").count() == 1
    assert chart(screen, "sample").count() == 1
    # Hovering tells the value at that step, and every chart follows.
    plot = chart(screen, "Episode return").locator(".u-over")
    box = plot.bounding_box()
    assert box is not None
    screen.page.mouse.move(box["x"] + 2, box["y"] + 20)
    screen.wait(
        lambda: "14.14" not in chart(screen, "Episode return").locator(".legend").inner_text(), "an early value"
    )
    screen.wait(
        lambda: "0.0050" not in chart(screen, "Entropy · KL").locator(".legend").inner_text(), "the shared cursor"
    )


def test_a_zoom_holds_for_all_charts_until_the_whole_run_is_wanted(run: Run, open_page: Open) -> None:
    train(run, 200)
    screen = open_page()
    settled_ink(screen, "Episode return")
    other = chart(screen, "Entropy · KL").locator("canvas")
    settled_ink(screen, "Entropy · KL")
    whole = other.screenshot()
    box = chart(screen, "Episode return").locator(".u-over").bounding_box()
    assert box is not None
    screen.page.mouse.move(box["x"] + 10, box["y"] + 30)
    screen.page.mouse.down()
    screen.page.mouse.move(box["x"] + 60, box["y"] + 30, steps=4)
    screen.page.mouse.up()
    screen.page.mouse.move(5, 5)
    screen.wait(lambda: other.screenshot() != whole, "the other chart to zoom")
    screen.find("button:has-text('whole run')").click()
    screen.page.mouse.move(5, 5)
    screen.wait(lambda: other.screenshot() == whole, "the whole run again")


def test_axis_smoothing_and_scale_are_chosen_for_all_and_kept(run: Run, open_page: Open) -> None:
    train(run, 60)
    screen = open_page()
    wait_drawn(screen, "Episode return")
    canvas = chart(screen, "Episode return").locator("canvas")
    by_step = canvas.screenshot()
    screen.find("[aria-label='Horizontal axis']").select_option("time")
    screen.wait(lambda: canvas.count() and canvas.screenshot() != by_step, "another axis")
    by_time = canvas.screenshot()
    screen.find("button:has-text('log')").click()
    screen.wait(lambda: canvas.count() and canvas.screenshot() != by_time, "a logarithmic scale")
    screen.find("[aria-label=Smoothing]").fill("0")
    screen.page.reload()
    wait_drawn(screen, "Episode return")
    assert screen.find("[aria-label='Horizontal axis']").input_value() == "time"
    assert screen.find("[aria-label=Smoothing]").input_value() == "0"
    assert screen.find("button:has-text('log')").get_attribute("aria-pressed") == "true"


def test_over_episodes_the_whole_run_is_there_though_an_env_was_looked_at_only_now(run: Run, open_page: Open) -> None:
    now = now_ms()
    run.publish(
        *(
            MetricsEntry({"episodes_total": n * 6, "entropy": 1 / n}, now - (100 - n) * 1000, n * 100, "iterations")
            for n in range(1, 100)
        )
    )
    run.log({"episode": 3, "episode_reward": 1.0}, step=9_950)
    screen = open_page()
    wait_drawn(screen, "Entropy · KL")
    screen.find("[aria-label='Horizontal axis']").select_option("episode")
    plot = chart(screen, "Entropy · KL").locator(".u-over")
    box = plot.bounding_box()
    assert box is not None
    screen.page.mouse.move(box["x"] + 1, box["y"] + 20)
    screen.wait_text(".chart[aria-label='Entropy · KL'] .legend", "1")
    legend = chart(screen, "Entropy · KL").locator(".legend")
    screen.wait(lambda: legend.get_attribute("title") == "episode 6", "the first episode at the left edge")


def test_charts_and_sections_stand_in_the_order_of_their_names(run: Run, open_page: Open) -> None:
    for name in ("zeta/b", "layers/norm_of_the_gradients_10", "layers/norm_of_the_gradients_2", "zeta/a", "alpha/x"):
        run.log({name: 1.0})
    screen = open_page()
    sections = screen.find(".chart-section:not([hidden]) h3 .text")
    screen.wait(lambda: sections.all_inner_texts() == ["alpha", "layers", "zeta"], "the sections")
    names = [heading.text_content() for heading in screen.find(".chart h3").all()]
    assert names == ["x", "norm_of_the_gradients_2", "norm_of_the_gradients_10", "a", "b"]


def test_pinned_charts_come_first_in_the_order_chosen(run: Run, open_page: Open) -> None:
    train(run, 20)
    screen = open_page()
    wait_drawn(screen, "Episode return", 100)
    for title in ("sample", "learn"):
        chart(screen, title).scroll_into_view_if_needed()
        chart(screen, title).hover()
        chart(screen, title).get_by_label("Pin to the top").click()
    pinned = screen.find(".chart-section", has_text="Pinned").locator(".chart h3")
    screen.wait(lambda: pinned.all_inner_texts() == ["sample", "learn"], "both pinned")
    chart(screen, "learn").hover()
    chart(screen, "learn").get_by_label("Earlier among the pinned").click()
    screen.wait(lambda: pinned.all_inner_texts() == ["learn", "sample"], "the new order")
    screen.page.reload()
    screen.wait(lambda: pinned.all_inner_texts() == ["learn", "sample"], "the order kept")


def test_a_past_session_is_compared_as_faint_lines(start_run: StartRun, open_page: Open) -> None:
    past = start_run("first-try")
    train(past, 100, scale=0.3)
    past.end()
    train(start_run("second-try"), 100)
    screen = open_page()
    alone = settled_ink(screen, "Episode return")
    screen.press("Control+k")
    screen.find("[aria-label='Compare with first-try']").check()
    screen.press("Escape")
    screen.wait_text("#chart-bar", "vs first-try")
    both = settled_ink(screen, "Episode return", alone + 50)
    screen.find("[aria-label='No longer compare with first-try']").click()
    canvas = chart(screen, "Episode return").locator("canvas")
    screen.wait(lambda: canvas.count() and screen.ink(canvas) < both - 50, "the lines to go")
