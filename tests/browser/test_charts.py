"""Charts: each number has a chart, each chart covers the whole run, and all charts share cursor and zoom."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from hud_publisher.protocol.entries import MetricsEntry
from tests.browser.page import Screen
from tests.browser.run import Run, color_of, now_ms
from tests.fixtures.browser import INIT
from tests.fixtures.web import WebServer

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
    """Return how much is drawn once it stays the same for 0.5 s: history and layout are complete."""
    seen = [wait_drawn(screen, title, more_than)]

    def is_settled() -> bool:
        screen.page.wait_for_timeout(50)
        seen.append(screen.ink(chart(screen, title).locator("canvas")))
        return len(seen) > 10 and len(set(seen[-10:])) == 1

    screen.wait(is_settled, f"the chart {title} to come to rest")
    return seen[-1]


def x_marks(screen: Screen, title: str) -> list[str]:
    """The numbers under a chart; the page was opened with `init=INIT`."""
    marks: list[str] = chart(screen, title).evaluate("""(node) => {
      const canvas = node.querySelector('canvas'), over = node.querySelector('.u-over').getBoundingClientRect();
      const place = canvas.getBoundingClientRect();
      const bottom = (over.bottom - place.top) * canvas.height / place.height;
      return canvas.texts.filter(([text, x, y]) => y > bottom).map(([text]) => text);
    }""")
    return marks


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


def test_every_number_has_a_chart_of_the_whole_run(run: Run, open_page: Open) -> None:
    train(run, 200)
    screen = open_page()
    wait_drawn(screen, "Episode return")
    screen.wait_text(".chart[aria-label='Episode return'] .legend", "14.14")
    for title in ("Entropy · KL", "Steps / s"):
        assert chart(screen, title).count() == 1
    assert screen.find(".chart-section h3", has_text="timers").count() == 1
    assert chart(screen, "sample").count() == 1
    # Hovering shows the value at that step, and every chart follows.
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


def test_a_zoom_applies_to_all_charts_until_it_is_reset(run: Run, open_page: Open) -> None:
    train(run, 200)
    screen = open_page(init=INIT)
    for title in ("Episode return", "Entropy · KL"):
        settled_ink(screen, title)
    # The picture of a chart may change meanwhile, for the monitor marks events of the run.
    whole = x_marks(screen, "Entropy · KL")
    assert len(whole) > 2
    box = chart(screen, "Episode return").locator(".u-over").bounding_box()
    assert box is not None
    screen.page.mouse.move(box["x"] + 10, box["y"] + 30)
    screen.page.mouse.down()
    screen.page.mouse.move(box["x"] + 60, box["y"] + 30, steps=4)
    screen.page.mouse.up()
    screen.wait(lambda: x_marks(screen, "Entropy · KL") != whole, "the other chart to zoom")
    zoomed = x_marks(screen, "Entropy · KL")
    assert x_marks(screen, "Episode return") == zoomed
    screen.find("button:has-text('whole run')").click()
    screen.wait(lambda: x_marks(screen, "Entropy · KL") == whole, "the whole run again")


def test_axis_smoothing_and_scale_are_chosen_for_all_and_kept(run: Run, open_page: Open) -> None:
    train(run, 60)
    screen = open_page()
    settled_ink(screen, "Episode return")
    canvas = chart(screen, "Episode return").locator("canvas")
    hover(screen, "Episode return", 0.5)
    screen.wait(lambda: "step" in readout(screen, "Episode return"), "steps on the axis")
    screen.find("[aria-label='Horizontal axis']").select_option("time")
    hover(screen, "Episode return", 0.4)
    screen.wait(lambda: "time" in readout(screen, "Episode return"), "another axis")
    screen.page.mouse.move(5, 5)
    settled_ink(screen, "Episode return")
    by_time = canvas.screenshot()
    screen.find("button:has-text('log')").click()
    screen.wait(lambda: canvas.count() and canvas.screenshot() != by_time, "a logarithmic scale")
    screen.find("[aria-label=Smoothing]").fill("0")
    screen.page.reload()
    wait_drawn(screen, "Episode return")
    assert screen.find("[aria-label='Horizontal axis']").input_value() == "time"
    assert screen.find("[aria-label=Smoothing]").input_value() == "0"
    assert screen.find("button:has-text('log')").get_attribute("aria-pressed") == "true"


def test_the_episode_axis_covers_the_whole_run_although_the_env_was_selected_late(run: Run, open_page: Open) -> None:
    for n in range(1, 100):
        run.publish(MetricsEntry({"episodes_total": n * 6, "entropy": 1 / n}, now_ms(), n * 100, "iterations"))
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


def test_charts_and_sections_are_sorted_by_name(run: Run, open_page: Open) -> None:
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
    chart(screen, "learn").locator(".grip").focus()
    screen.press("ArrowLeft")
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
    screen.wait_text("#chart-bar", "first-try")
    both = settled_ink(screen, "Episode return", alone + 50)
    screen.find("[aria-label='Stop comparing with first-try']").click()
    canvas = chart(screen, "Episode return").locator("canvas")
    screen.wait(lambda: canvas.count() and screen.ink(canvas) < both - 50, "the lines to go")


def test_a_spike_stays_in_a_page_that_is_open_all_the_time(run: Run, open_page: Open) -> None:
    screen = open_page()
    screen.wait_text("#run-name", "ppo-breakout")
    for iteration in (1, 2):
        run.iterate(iteration, loss=1.0)
    wait_drawn(screen, "Loss")
    now = now_ms()
    for first in range(2, 12_000, 500):
        run.publish(*(
            MetricsEntry({"loss": 500.0 if n == 3_001 else 1.0 + n % 7 / 100}, now + n, n * 100, "iterations")
            for n in range(first, first + 500)
        ))  # fmt: skip
    screen.wait_metric("loss", "1.030")
    settled_ink(screen, "Loss")
    spike = (
        chart(screen, "Loss")
        .locator("canvas")
        .evaluate(
            """(canvas) => {  // the rows of the upper third, where only the spike reaches
          const height = Math.floor(canvas.height / 3);
          const data = canvas.getContext('2d').getImageData(60, 10, canvas.width - 80, height).data;
          let ink = 0;
          for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 40 && data[i + 2] > 150) ink++;
          return ink;
        }"""
        )
    )
    assert spike > 20, spike


def test_steps_are_those_of_the_field_that_goes_on_longest(run: Run, open_page: Open) -> None:
    now = now_ms()
    run.publish(
        *(MetricsEntry({"policy_loss": 0.1}, now - (750 - n) * 100, n * 100, "iterations") for n in range(1, 301))
    )
    run.publish(
        *(MetricsEntry({"entropy": 0.5}, now - (750 - n) * 100, n * 100, "iterations") for n in range(301, 751))
    )
    run.end()
    screen = open_page(f"session={run.sid}")
    screen.wait_state("ENDED")
    screen.wait_tile("Env steps", "75,000")


def compare_with(screen: Screen, *names: str) -> None:
    screen.press("Control+k")
    for name in names:
        screen.find(f"[aria-label='Compare with {name}']").check()
    screen.press("Escape")


def hover(screen: Screen, title: str, share: float) -> None:
    """Put the pointer at a share of a chart's width."""
    box = chart(screen, title).locator(".u-over").bounding_box()
    assert box is not None
    screen.page.mouse.move(box["x"] + 1 + min(share, 0.997) * (box["width"] - 2), box["y"] + box["height"] / 2)


def readout(screen: Screen, title: str) -> dict[str, str]:
    """The labels and values of a chart at the pointer."""
    pairs = "(rows) => rows.map((row) => [row.firstChild.textContent, row.lastChild.textContent])"
    return dict(chart(screen, title).locator(".readout:not([hidden]) div").evaluate_all(pairs))


def test_passes_over_the_same_steps_are_separate_lines(run: Run, open_page: Open) -> None:
    now = now_ms()
    run.publish(*(
        MetricsEntry({"loss": level + n % 2 / 100}, now + int(level * 1000) + n, n * 100, "iterations")
        for level in (0.0, 5.0, 10.0)
        for n in range(1, 101)
    ))  # fmt: skip
    screen = open_page()
    wait_drawn(screen, "Loss")
    # one line through all passes would fill the area; three lines leave it empty
    assert settled_ink(screen, "Loss") < 6_000
    hover(screen, "Loss", 0.5)
    screen.wait(lambda: readout(screen, "Loss").get("Total loss", "").startswith("10"), "the value of the newest pass")


def test_the_readout_shows_the_values_and_the_step_at_the_pointer(run: Run, open_page: Open) -> None:
    now = now_ms()
    run.publish(*(
        MetricsEntry({"entropy": n / 100, "kl": 1.0}, now - (101 - n) * 1000, n * 512, "iterations")
        for n in range(1, 101)
    ))  # fmt: skip
    screen = open_page()
    wait_drawn(screen, "Entropy · KL")
    hover(screen, "Entropy · KL", 0.0)
    first = {"step": "512", "Entropy": "0.0100", "KL": "1"}
    screen.wait(lambda: readout(screen, "Entropy · KL") == first, "the values at the first step")
    hover(screen, "Entropy · KL", 0.5)
    screen.wait(lambda: readout(screen, "Entropy · KL").get("step", "512") != "512", "another step")
    there = readout(screen, "Entropy · KL")
    assert float(there["Entropy"]) == int(there["step"].replace(",", "")) / 51_200
    screen.page.mouse.move(5, 5)
    screen.wait(lambda: chart(screen, "Entropy · KL").locator(".readout").is_hidden(), "the place to be left")


def test_the_values_at_the_pointer_stay_while_data_and_lines_come(run: Run, open_page: Open) -> None:
    title, now = "Entropy · KL", now_ms()

    def iterate(*numbers: int, **data: float) -> None:
        run.publish(*(
            MetricsEntry({"entropy": n / 100, **data}, now - (101 - n) * 1000, n * 512, "iterations") for n in numbers
        ))  # fmt: skip

    def is_early() -> bool:
        return 0 < float(readout(screen, title).get("Entropy", 0)) < 0.5

    iterate(*range(1, 101))
    screen = open_page()
    wait_drawn(screen, title)
    hover(screen, title, 0.25)
    screen.wait(is_early, "an early value")
    iterate(101)
    screen.wait_metric("entropy", "1.010")
    screen.page.wait_for_timeout(500)
    assert is_early()
    iterate(102, kl=0.5)  # one more line is another plot
    screen.wait(lambda: "KL" in readout(screen, title), "the new line")
    assert is_early()


def test_each_compared_session_has_a_distinct_colour_name_and_values(start_run: StartRun, open_page: Open) -> None:
    for number, name in enumerate(("first", "second", "third"), start=1):
        past = start_run(name)
        train(past, 100, scale=float(number))
        past.end()
    train(start_run("fourth"), 100, scale=4.0)
    screen = open_page()
    wait_drawn(screen, "Episode return")
    compare_with(screen, "first", "second", "third")
    screen.wait(lambda: screen.find(".compared").count() == 3, "three sessions")
    marks = "(marks) => marks.map((mark) => getComputedStyle(mark).color)"
    assert len(set(screen.find(".compared > i").evaluate_all(marks))) == 3
    screen.wait_text(".chart[aria-label='Episode return'] .legend", "third 30")
    hover(screen, "Episode return", 0.5)
    screen.wait(lambda: len(readout(screen, "Episode return")) == 5, "x and four values")
    there = readout(screen, "Episode return")
    root = (int(there.pop("step").replace(",", "")) / 100) ** 0.5
    expected = {"mean": 4 * root, "first": root, "second": 2 * root, "third": 3 * root}
    assert {name: float(text) for name, text in there.items()} == pytest.approx(expected, rel=1e-3)


def test_fields_of_one_role_are_compared_although_their_names_differ(start_run: StartRun, open_page: Open) -> None:
    names = {"past": ("learners/default_policy/policy_loss", 1.0), "present": ("train/policy_gradient_loss", 3.0)}
    for name, (field, scale) in names.items():
        run = start_run(name)
        for n in range(1, 51):
            run.log({field: scale * n, "ep_rew_mean" if name == "past" else "charts/episodic_return": scale}, step=n)
        if name == "past":
            run.end()
    screen = open_page()
    wait_drawn(screen, "Loss")
    compare_with(screen, "past")
    screen.wait_text(".chart[aria-label='Loss'] .legend", "past 50")
    legend = screen.text(".chart[aria-label='Episode return'] .legend")
    assert "past" not in legend, "a mean is not compared with single episodes"


@pytest.mark.parametrize("episodes", ["episodes_total", "env_runners/num_episodes_lifetime", "time/episodes"])
def test_a_session_is_compared_on_every_axis(start_run: StartRun, open_page: Open, episodes: str) -> None:
    now = now_ms()
    for name, scale in (("past", 1.0), ("present", 3.0)):
        run = start_run(name)
        run.publish(*(
            MetricsEntry({episodes: n * 5, "loss": scale * n}, now - (100 - n) * 1000, n * 100, "iterations")
            for n in range(1, 101)
        ))  # fmt: skip
        if name == "past":
            run.end()
    screen = open_page()
    wait_drawn(screen, "Loss")
    compare_with(screen, "past")
    for axis in ("step", "time", "relative", "episode"):
        screen.page.mouse.move(5, 5)
        screen.find("[aria-label='Horizontal axis']").select_option(axis)
        screen.wait_text(".chart[aria-label='Loss'] .legend", "past 100")
        for share in itertools.cycle((1.0, 0.0)):  # over times, either run may be first
            hover(screen, "Loss", share)
            if readout(screen, "Loss").get("past"):
                break

    def last_place() -> bool:
        hover(screen, "Loss", 1.0)
        there = readout(screen, "Loss")
        if set(there) != {"episode", "Total loss", "past"}:
            return False
        number = int(there["episode"]) // 5
        return (there["Total loss"], there["past"]) == (str(3 * number), str(number))

    screen.wait(last_place, "both values at one episode")


def test_a_compared_live_session_is_updated(stack: WebServer, channel: str, open_page: Open) -> None:
    """A session is live on one channel at a time: the page shows a past one beside it."""
    past = Run(stack, channel, "past")
    train(past, 50)
    past.end()
    live = Run(stack, channel, "live")
    train(live, 20)
    screen = open_page(f"session={past.sid}")
    wait_drawn(screen, "Episode return")
    compare_with(screen, "live")
    screen.wait_text(".chart[aria-label='Episode return'] .legend", "live 4.472")
    live.iterate(21, episode_return_mean=77.0)
    screen.wait_text(".chart[aria-label='Episode return'] .legend", "live 77")


def test_a_session_is_never_compared_with_itself_and_the_choice_outlives_a_reload(
    start_run: StartRun, open_page: Open
) -> None:
    past = start_run("past")
    train(past, 50)
    past.end()
    train(start_run("present"), 50)
    screen = open_page()
    wait_drawn(screen, "Episode return")
    compare_with(screen, "past")
    screen.wait_text("#chart-bar", "past")
    screen.page.reload()
    screen.wait_text("#chart-bar", "past")
    screen.wait_text(".chart[aria-label='Episode return'] .legend", "past 7.071")
    screen.press("Control+k")
    screen.find("dialog .own .session", has_text="past").click()
    screen.wait_state("ENDED")
    wait_drawn(screen, "Episode return")
    assert screen.find(".compared").count() == 0
    assert "past" not in screen.text(".chart[aria-label='Episode return'] .legend")
    screen.page.go_back()
    screen.wait_text("#chart-bar", "past")


def test_one_point_has_an_axis_that_names_it_alone(run: Run, open_page: Open) -> None:
    run.log({"entropy": 0.5}, step=2_000)
    screen = open_page()
    chart(screen, "Entropy · KL").wait_for()
    hover(screen, "Entropy · KL", 0.5)
    screen.wait(
        lambda: readout(screen, "Entropy · KL") == {"step": "2,000", "Entropy": "0.5000"}, "the point in the middle"
    )
    hover(screen, "Entropy · KL", 1.0)
    screen.wait(lambda: readout(screen, "Entropy · KL").get("step") == "2,000", "no other step at the edge")


@pytest.mark.parametrize(("field", "other", "title"), [("kl", "entropy", "Entropy · KL"), ("vf_loss", "loss", "Loss")])
def test_an_axis_without_a_line_is_left_out(run: Run, open_page: Open, field: str, other: str, title: str) -> None:
    for n in range(1, 6):
        run.log({field: n * 1e-12}, step=n)
    screen = open_page()
    wait_drawn(screen, title)
    axes = chart(screen, title).locator(".u-axis")
    assert axes.count() == 2, "x and one of values"
    run.log({other: 3.0}, step=6)
    screen.wait(lambda: axes.count() == 3, "two axes of values")


def test_counts_and_discrete_actions_are_drawn_as_they_are(run: Run, open_page: Open) -> None:
    now = now_ms()
    run.publish(*(
        MetricsEntry(
            {"net/action": 3 * (n % 2), "net/loss_like": float(n % 2)}, now - (201 - n) * 1000, n * 100, "iterations"
        )
        for n in range(1, 201)
    ))  # fmt: skip
    screen = open_page()
    screen.find("[aria-label='Smoothing']").fill("0.98")
    for title in ("action", "loss_like"):
        settled_ink(screen, title)
    # as it is, the line jumps between the edges in its full colour; smoothed, that colour is the line of the mean
    strong = """(canvas) => { const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
      let ink = 0; for (let i = 3; i < data.length; i += 4) if (data[i] > 200) ink++; return ink; }"""
    full = {title: int(chart(screen, title).locator("canvas").evaluate(strong)) for title in ("action", "loss_like")}
    assert full["action"] > 3 * full["loss_like"], full


def test_any_chart_is_found_and_no_section_ends_at_its_first_ones(run: Run, open_page: Open) -> None:
    now = now_ms()
    run.publish(*(
        MetricsEntry({f"net/layer{n}/norm": n * 1.5 for n in range(first, first + 100)}, now, 1, "iterations")
        for first in range(0, 1_500, 100)
    ))  # fmt: skip
    run.log({f"flat_{n}": float(n) for n in range(120)}, step=2)
    screen = open_page()
    screen.wait(lambda: "of 1620" not in screen.text("#metrics-meta") and "1620" in screen.text("#metrics-meta"), "all")
    find = screen.find("[aria-label='Find charts by name']")
    find.fill("layer1234")
    screen.wait(lambda: screen.find(".chart:visible").count() == 1, "the one chart")
    find.fill("/layer(7|1499).norm$/")
    screen.wait(lambda: screen.find(".chart:visible").count() == 2, "two charts")
    find.fill("/layer(")  # half typed: no error
    screen.wait_text("#no-charts", "No numeric field of this run has such a name.")
    find.fill("")
    section = screen.find(".chart-section", has_text="flat")
    screen.wait_text(".chart-section:has-text('flat')", "48 of 120")
    for shown in (96, 120):
        section.get_by_role("button", name="48 more").click()
        screen.wait(lambda shown=shown: section.locator(".chart").count() == shown, f"{shown} charts")
    assert section.get_by_role("button", name="48 more").is_hidden()


def test_a_row_of_the_table_opens_its_chart_by_click_and_by_key(run: Run, open_page: Open) -> None:
    for number in range(1, 4):
        run.log({"alpha/x": float(number), "beta/y": -float(number), "word": "text"}, step=number)
    screen = open_page()
    screen.wait_metric("beta/y", "−3")
    screen.find(".row", has_text="beta").click()
    screen.wait(lambda: screen.find(".chart:visible h3").all_inner_texts() == ["y"], "the chart of the row")
    wait_drawn(screen, "y")
    assert screen.find("#no-charts").is_hidden()
    screen.find("#table").focus()
    screen.press("ArrowDown")
    screen.press("Enter")
    screen.wait(lambda: screen.find(".chart:visible h3").all_inner_texts() == ["x"], "the chart of the first row")
    screen.press("Escape")
    screen.wait(lambda: screen.find(".chart:visible").count() > 1, "all charts again")
    phone = open_page(size=(390, 844), is_mobile=True)
    phone.find("#tabs button", has_text="Metrics").tap()
    phone.find(".row", has_text="beta").tap()
    phone.wait(lambda: phone.find(".chart:visible h3").all_inner_texts() == ["y"], "the chart on its tab")


def test_a_link_leads_to_the_same_view(start_run: StartRun, open_page: Open) -> None:
    past = start_run("past")
    train(past, 50)
    past.end()
    run = start_run("present")
    train(run, 100)
    for number in range(1, 8):
        run.log({"policy_loss": number / 10, "value_loss": 1.0}, step=10_000 + number)
        run.frame(color_of(number), step=10_000 + number, episode=1)
        time.sleep(0.05)
    screen = open_page(permissions=["clipboard-read", "clipboard-write"])
    screen.wait_pixel(color_of(7))
    compare_with(screen, "past")
    screen.find("[aria-label='Horizontal axis']").select_option("time")
    screen.find("button:has-text('log')").click()
    screen.find("[aria-label='Filter metrics by name']").fill("loss")
    screen.find("[aria-label='Find charts by name']").fill("entropy")
    screen.page.evaluate("() => document.activeElement.blur()")
    screen.press("Space")
    screen.wait_state("PAUSED")
    for _ in range(3):
        screen.press("ArrowLeft")
    screen.wait_pixel(color_of(4))
    screen.find("button:has-text('Copy link')").click()
    screen.find("dialog button", has_text="This session").click()
    screen.wait_text("#toasts", "Link")
    address = re.search(r"http://\S+", screen.text("#toasts"))
    assert address is not None
    other = open_page()
    other.page.goto(address[0])
    other.wait_state("PAUSED")
    other.wait_pixel(color_of(4))
    other.wait_metric("policy_loss", "0.4000")
    assert set(other.rows()) == {"policy_loss", "value_loss"}
    assert other.find("[aria-label='Horizontal axis']").input_value() == "time"
    assert other.find("button:has-text('log')").get_attribute("aria-pressed") == "true"
    other.wait(lambda: other.find(".chart:visible h3").all_inner_texts() == ["entropy"], "the chart looked for")
    other.wait_text("#chart-bar", "past")


def titles(screen: Screen) -> list[str]:
    return [title.replace("\n", "") for title in screen.find(".chart:visible h3").all_inner_texts()]


def drag(screen: Screen, handle: Locator, to: tuple[float, float]) -> None:
    """Drag with the mouse; `to` is relative to the middle of the handle."""
    box = handle.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    screen.page.mouse.move(x, y)
    screen.page.mouse.down()
    screen.page.mouse.move(x + to[0], y + to[1], steps=4)
    screen.page.mouse.up()


def test_a_chart_is_moved_resized_enlarged_and_closed_and_the_layout_is_kept(run: Run, open_page: Open) -> None:
    train(run, 60)
    screen = open_page()
    wait_drawn(screen, "Entropy · KL")
    screen.wait(lambda: len(titles(screen)) > 4, "the charts")
    first, second = titles(screen)[:2]
    # By keys: the second chart comes first, and is two columns wide.
    chart(screen, second).locator(".grip").focus()
    screen.press("ArrowLeft")
    screen.wait(lambda: titles(screen)[:2] == [second, first], "the order changed by a key")
    chart(screen, second).locator(".corner").focus()
    width = chart(screen, second).bounding_box()
    screen.press("ArrowRight")
    assert width is not None
    wide = lambda title: (chart(screen, title).bounding_box() or {"width": 0})["width"]  # noqa: E731
    screen.wait(lambda: wide(second) > 1.8 * width["width"], "two columns")
    # By mouse: back behind the other one, and to one column.
    from_, to = chart(screen, second).bounding_box(), chart(screen, first).bounding_box()
    assert from_ is not None
    assert to is not None
    chart(screen, second).hover()
    grip = chart(screen, second).locator(".grip").bounding_box()
    assert grip is not None
    middle = (to["x"] + 0.8 * to["width"] - grip["x"], to["y"] + 60 - grip["y"])
    drag(screen, chart(screen, second).locator(".grip"), middle)
    screen.wait(lambda: titles(screen)[:2] == [first, second], "the order changed by the mouse")
    drag(screen, chart(screen, second).locator(".corner"), (-from_["width"] / 2, from_["height"]))
    screen.wait(lambda: wide(second) < 1.1 * width["width"], "one column")
    assert (chart(screen, second).bounding_box() or from_)["height"] > 1.8 * from_["height"], "two rows"
    chart(screen, first).hover()
    chart(screen, first).get_by_role("button", name="Close this chart").click()
    screen.wait(lambda: first not in titles(screen), "the chart to be closed")
    chart(screen, second).get_by_role("button", name="Enlarge").click()
    screen.wait(lambda: titles(screen) == [second], "the chart alone")
    screen.page.reload()
    screen.wait(lambda: titles(screen) == [second], "the chart alone after a reload")
    wait_drawn(screen, second)
    screen.press("Escape")
    screen.wait(lambda: titles(screen)[:1] == [second] and first not in titles(screen), "the layout after a reload")
    screen.find("button", has_text="1 closed").click()
    screen.find("dialog button", has_text=first).click()
    screen.wait(lambda: titles(screen)[:2] == [first, second], "the closed chart in its place again")


def test_a_chart_moves_to_another_section_and_an_invalid_expression_is_searched_as_text(
    run: Run, open_page: Open
) -> None:
    train(run, 30)
    screen = open_page()
    screen.wait(lambda: "sample" in titles(screen), "the charts")
    chart(screen, "learn").locator(".grip").focus()
    for _place in titles(screen):  # from the edge of a section it goes to the end of the section before
        screen.press("ArrowLeft")
    screen.wait(lambda: titles(screen)[0] == "learn", "the first place")
    assert screen.find(".chart-section", has_text="timers").first.locator("h3 .muted").inner_text() == "1"
    find = screen.find("[aria-label='Find charts by name']")
    find.fill("^TIMERS sample|learn")
    screen.wait(lambda: titles(screen) == ["learn", "sample"], "two charts")
    find.fill("sample(")
    screen.wait_text("#chart-bar", "“sample(” is searched for as text")
    find.fill("")
    screen.wait(lambda: titles(screen)[0] == "learn", "the layout as before")


def test_many_numbers_are_a_histogram_over_time(run: Run, open_page: Open) -> None:
    for n in range(1, 41):
        run.log({"net/weights": [n + index / 10 for index in range(100)], "position": [1.5, 2.5]}, step=n * 100)
    screen = open_page()
    screen.wait_metric("net/weights", "44.95 ± 2.887")
    assert screen.metric("position") == "[1.500, 2.500]"
    wait_drawn(screen, "weights", 4_000)
    screen.wait_text(".chart[aria-label='weights'] .legend", "mean 44.95")
    hover(screen, "weights", 0.0)
    screen.wait(lambda: readout(screen, "weights").get("mean") == "5.950", "the first histogram")
    assert readout(screen, "weights").items() >= {"step": "100", "mean": "5.950", "values": "100"}.items()
    plot = chart(screen, "weights").locator(".u-over").bounding_box()
    assert plot is not None
    screen.page.mouse.move(plot["x"] + 1, plot["y"] + 0.9 * plot["height"])
    shares = lambda: [text for name, text in readout(screen, "weights").items() if " to " in name]  # noqa: E731
    screen.wait(lambda: shares() in (["1 %"], ["2 %"], ["1.0 %"], ["2.0 %"]), "the share of the interval")
    run.log({"net/weights": [7.0] * 50}, step=4_100)
    screen.wait_text(".chart[aria-label='weights'] .legend", "mean 7")
    screen.find(".row", has_text="weights").click()
    screen.wait(lambda: titles(screen) == ["weights"], "the chart of the row")
