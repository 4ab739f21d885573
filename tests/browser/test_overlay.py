"""Runs of several channels in every chart: their values, the mean of a group, the axes, live points, and links."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from typing import Any

import pytest

from hud_publisher.protocol.entries import MetricsEntry
from tests.browser.page import Screen
from tests.browser.run import Run, now_ms
from tests.browser.test_charts import chart, hover, readout, wait_drawn
from tests.fixtures.web import WebServer

Open = Callable[..., Screen]
TITLE = "Entropy · KL"
STEPS = 50


def start(stack: WebServer, channel: str, name: str, scale: float, **options: Any) -> Run:
    """A run whose entropy is its scale times the number of the entry."""
    run = Run(stack, channel, name, **options)
    run.publish(*(MetricsEntry({"entropy": scale * n}, now_ms(), n * 100, "iterations") for n in range(1, STEPS + 1)))
    return run


def key(run: Run) -> str:
    return f"{run.channel}:{run.sid}"


def names(screen: Screen) -> list[str]:
    """The entries of the list of runs, with their states."""
    return [" ".join(text.split()) for text in screen.find(".runs-box li").all_inner_texts()]


def at(screen: Screen, share: float, count: int) -> tuple[int, dict[str, str]]:
    """The step and the values at a share of the chart's width, once there are `count` of them."""

    def pointed() -> dict[str, str]:
        if not chart(screen, TITLE).locator(".u-over").is_visible():
            return {}
        hover(screen, TITLE, share)  # again and again: the chart moves while the page fills
        return readout(screen, TITLE)

    screen.wait(lambda: len(pointed()) == count + 1, f"{count} values")
    there = readout(screen, TITLE)
    return int(there.pop("step").replace(",", "")), there


def test_runs_of_other_channels_have_their_values_at_the_pointer_and_follow_while_they_are_live(
    stack: WebServer, channel: str, open_page: Open
) -> None:
    start(stack, channel, "ppo", 1.0)
    past = start(stack, f"{channel}-b", "ppo", 3.0)
    past.end()
    live = start(stack, f"{channel}-c~2", "dqn", 2.0)
    screen = open_page(f"compare={key(live)},{key(past)},{channel}:1")
    wait_drawn(screen, TITLE)
    screen.wait(lambda: len(names(screen)) == 3, "three runs")
    assert names(screen) == [f"ppo ({channel}) shown", "dqn live", f"ppo ({channel}-b) ended"]
    screen.wait_text(".runs-box .missing", f"{channel}:1")
    step, there = at(screen, 0.5, 3)
    n = step // 100
    assert {name: float(text) for name, text in there.items()} == {
        "Entropy": n, f"ppo ({channel}-b)": 3 * n, "dqn": 2 * n,
    }  # fmt: skip
    assert list(there) == ["Entropy", f"ppo ({channel}-b)", "dqn"], "the run shown, then the highest value"
    screen.page.mouse.move(5, 5)
    live.log({"entropy": 700.0}, step=6_000, kind="iterations")
    screen.wait_text(f".chart[aria-label='{TITLE}'] .legend", "dqn 700", timeout_s=10.0)
    step, there = at(screen, 1.0, 2)
    assert (step, there) == (6_000, {"Entropy": "—", "dqn": "700"}), "the axis extends to the longest run"


def test_a_group_is_its_mean_and_standard_deviation_and_a_link_restores_it(
    stack: WebServer, channel: str, open_page: Open
) -> None:
    scales = (1.0, 2.0, 6.0)
    start(stack, channel, "ppo-seed1", scales[0])
    others = [start(stack, f"{channel}-{n}", f"ppo-seed{n}", scale) for n, scale in enumerate(scales[1:], start=2)]
    single = start(stack, f"{channel}-x", "dqn", 4.0)
    screen = open_page("compare=" + ",".join(map(key, [*others, single])))
    wait_drawn(screen, TITLE)
    screen.wait(lambda: len(names(screen)) == 4, "four runs")
    screen.find("[aria-label='Group runs by']").select_option("name")
    grouped = ["ppo-seed1 shown", "ppo (3 runs) mean ± sd", "dqn live"]
    screen.wait(lambda: names(screen) == grouped, "the group")
    step, there = at(screen, 0.4, 3)
    n = step // 100
    mean, deviation, count = there["ppo"].replace("±", "").replace("(", "").replace(")", "").split()
    expected = statistics.mean(scales) * n, statistics.stdev(scales) * n
    assert (float(mean), float(deviation), count) == (*(pytest.approx(value, rel=1e-3) for value in expected), "3")
    assert float(there["dqn"]) == 4 * n
    screen.find("[aria-label='Horizontal axis']").select_option("relative")
    screen.find("button:has-text('Copy link')").click()
    screen.find("button:has-text('This session')").click()
    screen.wait_text("#toasts", "Link")
    address = re.search(r"http://\S+", screen.text("#toasts"))
    assert address is not None
    other = open_page()
    other.page.goto(address[0])
    wait_drawn(other, TITLE)
    other.wait(lambda: names(other) == grouped, "the same runs and group")

    def begins_at_zero() -> bool:
        hover(other, TITLE, 0.0)
        return "00:00 (" in readout(other, TITLE).get("relative time", "")

    other.wait(begins_at_zero, "the same axis")


MATHS = """async () => {
  const { bandOf, interpolate } = await import("./static/js/charts/align.js");
  const line = [[[0, 10, 20], [0, 100, 0]]];
  const passes = [[[0, 10], [1, 1]], [[5, 15], [7, 9]]];
  const band = bandOf([line, [[[10, 20], [0, 50]]]]);
  const gap = bandOf([[[[0, 1], [1, 1]]], [[[5, 6], [1, 1]]], [[[0, 3, 6], [3, 3, 3]]]]);
  const many = Array.from({ length: 5000 }, (_, i) => i);
  const thin = bandOf([[[many, many]], [[many, many]]], 100);
  return [
    [-1, 0, 5, 12, 20, 21].map((x) => interpolate(line, x)),
    [2, 5, 10, 15, 16].map((x) => interpolate(passes, x)),
    band, [gap.xs, gap.mean], [thin.xs.length, thin.xs[0], thin.xs.at(-1), thin.low[50] === thin.xs[50]],
  ];
}"""
NAMES = """async () => {
  const { dashOf, colourOf, distinctNames, groupsOf, readKeys } = await import("./static/js/charts/run-names.js");
  const run = (channel, sid, name, more = {}) => ({ channel, sid, name, ...more });
  const numbered = (names) => names.map((name, i) => run("a", String(i), name));
  const named = (...names) => groupsOf(numbered(names), "name").map((one) => one.name);
  const tagged = [run("a", "1", "x", { tags: ["p", "q"] }), run("a", "2", "y", { tags: ["q"] }), run("a", "3", "z")];
  const rates = [1e-3, 1e-3, 2e-3].map((lr, i) => run("a", String(i), "n", { columns: { "config.opt/lr": lr } }));
  return [
    [readKeys("b~2:7,c:8,b~2:7,x,:9", "a"), readKeys("12~13", "a"), readKeys("", "a")],
    [...distinctNames([run("a", "100001", "x"), run("b", "100002", "x"), run("c", "100003", "y"),
      run("c", "200004", "y"), run("d", "5", null)]).values()],
    [named("ppo-seed1", "ppo-seed2"), named("ppo_s1", "ppo s=2"), named("lr-1e-3", "lr-1e-4"), named("td3", "td4"),
      named("same", "same")],
    [groupsOf(tagged, "tag").map(({ name, keys }) => [name, keys]), groupsOf(rates, "config.opt/lr"),
      groupsOf(tagged, "")],
    new Set(Array.from({ length: 24 }, (_, slot) => `${colourOf(slot)} ${dashOf(slot)}`)).size,
  ];
}"""


def test_lines_are_aligned_and_runs_are_named_and_grouped(open_page: Open) -> None:
    page = open_page().page
    line, passes, band, gap, thin = page.evaluate(MATHS)
    assert [str(y) for y in line] == ["nan", "0", "50", "80", "0", "nan"], "no value outside of a line"
    assert [str(y) for y in passes] == ["1", "7", "8", "9", "nan"], "the newest pass counts"
    half = 50 / 2**0.5
    assert band["xs"] == [10, 20], "only where two runs have a value"
    assert band["count"] == [2, 2]
    assert band["mean"] == [50, 25]
    assert band["low"] == pytest.approx([50 - 100 / 2**0.5, 25 - half])
    assert band["high"] == pytest.approx([50 + 100 / 2**0.5, 25 + half])
    assert gap == [[0, 1, 3, 5, 6], [2, 2, None, 2, 2]], "a gap where one run is alone"
    assert thin == [100, 0, 4999, True]
    keys, distinct, seeds, groups, looks = page.evaluate(NAMES)
    assert keys == [["b~2:7", "c:8"], ["a:12", "a:13"], []]
    assert distinct == ["x (a)", "x (b)", "y …00003", "y …00004", "unnamed run"]
    assert seeds == [["ppo"], ["ppo"], [], [], ["same"]]
    tags, rates, none = groups
    assert tags == [["q", ["a:1", "a:2"]]]
    assert [(group["name"], group["keys"]) for group in rates] == [("opt/lr 0.001", ["a:0", "a:1"])]
    assert none == []
    assert looks == 24
