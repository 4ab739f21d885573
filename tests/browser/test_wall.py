"""The wall: all live runs on one page, and its kiosk."""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import LONG_LEASE
from tests.browser.page import Screen
from tests.browser.run import Run, color_of, png
from tests.browser.test_axe import AXE, Axe
from tests.fixtures.servers import redis_binary, running
from tests.fixtures.web import WebServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: Replaces the browser's EventSource by one whose events the test sends with `tell`.
_STREAM = """
window.EventSource = class {
  static CONNECTING = 0; static OPEN = 1; static CLOSED = 2;
  constructor() {
    this.listeners = {};
    window.stream = this;
    setTimeout(() => { this.readyState = 1; this.onopen?.(); });
  }
  addEventListener(name, listener) { this.listeners[name] = listener; }
  close() { this.readyState = 2; }
};
window.tell = (name, data) => stream.listeners[name]({ target: stream, data: JSON.stringify(data), lastEventId: '' });
"""
_TILES = (
    "() => [...document.querySelectorAll('.run:not([hidden])')].map((run) => run.querySelector('.name').textContent)"
)
_OVERFLOW = """() => [...document.querySelectorAll('.run:not([hidden])')].filter((run) => {
  const [{ left, top, right, bottom }, link] = [run.getBoundingClientRect(), run.firstElementChild];
  return left < 0 || top < 0 || right > innerWidth || bottom > innerHeight || link.scrollHeight > link.clientHeight + 1
    || run.querySelector('.return').scrollWidth > run.querySelector('.return').clientWidth
    || run.querySelector('.shot').clientWidth < 0.4 * link.clientWidth;
}).length"""
_TYPE = """() => Math.min(...[...document.querySelectorAll('.run:not([hidden]) :is(.name, .return b, .foot b)')]
  .map((node) => parseFloat(getComputedStyle(node).fontSize)))"""

Open = Callable[..., "Wall"]


class Wall(Screen):
    """The wall in a separate browser profile."""

    def tell(self, name: str, data: dict[str, Any]) -> None:
        """Send an event to a page whose stream is the test's."""
        self.page.evaluate("([name, data]) => tell(name, data)", [name, data | {"server_time_ms": now_ms()}])

    def tiles(self) -> list[str]:
        """The names of the runs shown, in their order."""
        names: list[str] = self.page.evaluate(_TILES)
        return names

    def wait_tiles(self, *names: str) -> None:
        self.wait(lambda: self.tiles() == list(names), f"{names}, not {self.tiles()}")


@pytest.fixture
def open_wall(chromium: Browser, stack: WebServer) -> Iterator[Open]:
    """Open the wall; without `is_real`, the test sends the events of its stream."""
    with contextlib.ExitStack() as screens:

        def open_(query: str = "", *, server: WebServer = stack, is_real: bool = False, **options: Any) -> Wall:
            options |= {"init": options.get("init", "") + ("" if is_real else _STREAM)}
            wall = Wall(chromium, server, "", query, options.pop("size", (1440, 900)), path="wall", **options)
            screens.callback(wall.close)
            return wall

        yield open_


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def card(number: int, **changes: Any) -> dict[str, Any]:
    """A run of `/stream/runs`; later numbers started later."""
    started = now_ms() - 3_600_000 + number * 1000
    values = [number + at * 0.5 for at in range(20)]
    return {
        "channel": f"team-{number:03}", "sid": str(started), "name": f"run-{number}", "status": "live",
        "started_ms": started, "ended_ms": None, "ended_by": None, "last_ms": now_ms(),
        "info": {"env": "Pong-v5" if number % 2 else "Breakout-v5", "algorithm": "PPO"},
        "verdict": {"level": "good", "text": "Learning: return +0.4 in 10 min"}, "step": 1000 * number,
        "steps_per_s": 100.0 + number, "return": {"value": values[-1], "label": "Episode return", "path": "return"},
        "tags": [], "note": "", "pinned": False,
        "curve": {"time_ms": [started + at * 1000 for at in range(20)], "step": list(range(20)), "value": values},
    } | changes  # fmt: skip


def picture(run: dict[str, Any], color: tuple[int, int, int], age_ms: int = 0) -> dict[str, Any]:
    """A picture of `/stream/runs`."""
    return {
        "run": f"{run['channel']}:{run['sid']}", "time_ms": now_ms() - age_ms, "mime": "image/png", "width": 16,
        "height": 12, "image": base64.b64encode(png(color)).decode(),
    }  # fmt: skip


def test_each_live_run_has_a_tile_with_its_newest_values(stack: WebServer, channel: str, open_wall: Open) -> None:
    first = Run(stack, f"{channel}-first", "ppo-pong", info={"env": "Pong-v5"})
    first.log({"episode_return_mean": 12.5}, step=10)
    first.frame(color_of(1), step=10)
    wall = open_wall(f"filter=^{channel}-", is_real=True)
    wall.wait_tiles("ppo-pong")
    wall.wait_pixel(color_of(1), ".run .shot canvas")
    wall.wait_text(".run .return b", "12.5")
    assert wall.find(".run a").get_attribute("href") == f"./?channel={first.channel}"
    first.log({"episode_return_mean": 14.25}, step=20)
    first.frame(color_of(2), step=20)
    wall.wait_pixel(color_of(2), ".run .shot canvas")
    wall.wait_text(".run .return b", "14.25")
    began = time.monotonic()
    Run(stack, f"{channel}-second", "dqn-pong").log({"episode_return_mean": 1.0}, step=1)
    wall.wait_tiles("dqn-pong", "ppo-pong")
    assert time.monotonic() - began < 5, "two seconds on a machine that does nothing else"
    first.end()
    wall.wait_text(".run[data-status='ended'] .run-state", "ENDED")
    wall.find(".run a", has_text="ppo-pong").click()
    wall.page.wait_for_url(f"{stack.url}/?channel={first.channel}&session={first.sid}")


def test_tiles_are_sorted_filtered_and_grouped_as_the_link_says(open_wall: Open) -> None:
    worst = {"verdict": {"level": "bad", "text": "No data for 3 min"}, "tags": ["sweep"]}
    runs = [card(1, name="b"), card(2, name="a", steps_per_s=None), card(3, name="c", **worst), card(4, name="d")]
    runs[3] |= {"status": "ended", "return": {"value": 99.0, "label": "Episode return", "path": "return"}}
    wall = open_wall()
    wall.tell("runs", {"runs": runs})
    wall.wait_tiles("c", "a", "b", "d")  # the newest first, and those that have ended last
    wall.wait_text("#counts", "3 live · 1 ended · 1 with a problem")
    orders = {"name": "abcd", "verdict": "cabd", "return": "cabd", "rate": "cbad", "duration": "bacd"}
    for sort, names in orders.items():
        wall.find("select").first.select_option(sort)
        wall.wait_tiles(*names)
    wall.find("select").nth(1).select_option("env")
    wall.wait(lambda: wall.find(".group h2").all_inner_texts() == ["Breakout-v5 2 runs", "Pong-v5 2 runs"], "groups")
    wall.wait_tiles("a", "d", "b", "c")
    wall.find("input").fill("STALL|no data|^[ad]$")
    wall.wait_tiles("a", "d", "c")
    wall.page.reload()
    wall.tell("runs", {"runs": runs})
    wall.wait_tiles("a", "d", "c")
    assert wall.find("input").input_value() == "STALL|no data|^[ad]$"
    wall.find("input").fill("(")
    wall.wait_text("#filter-error", "Not a regular expression")
    wall.wait(lambda: len(wall.tiles()) == 4, "all runs")
    wall.find("input").fill("nothing like this")
    wall.wait_text("#nothing", "No run matches")
    wall.find("input").fill("")
    wall.tell("changes", {"gone": [f"{run['channel']}:{run['sid']}" for run in runs]})
    wall.wait_text("#nothing", "hud.log(")


def test_an_old_picture_shows_its_age_and_a_run_without_one_its_curve(open_wall: Open) -> None:
    runs = [card(1, name="old"), card(2, name="skewed"), card(3, name="bare"), card(4, name="empty", curve=None)]
    wall = open_wall("sort=name")
    wall.tell("runs", {"runs": runs})
    red = (250, 20, 30)
    wall.tell("changes", {"pictures": [picture(runs[0], red, 60_000), picture(runs[1], red, 90_000)]})
    wall.tell("changes", {"pictures": [picture(runs[1], red, 89_000)]})  # of a clock that is 89 s slow
    old, skewed, bare, empty = (wall.find(".run", has_text=name) for name in ("old", "skewed", "bare", "empty"))
    wall.wait(lambda: old.locator(".age").inner_text() == "1 min old", "the age of the picture")
    wall.wait(lambda: not skewed.locator(".age").is_visible(), "a picture that is new")
    assert not skewed.locator(".age").is_visible()
    assert wall.ink(bare.locator("canvas.curve")) > 100
    assert bare.locator("canvas.curve").bounding_box()["height"] > 100  # type: ignore[index]
    assert empty.locator(".age").is_hidden()
    wall.tell("changes", {"runs": [{"channel": "team-004", "sid": runs[3]["sid"], "return": None}]})
    wall.wait_text(".run:has-text('empty') .return b", "—")


@pytest.mark.parametrize("size", [(1920, 1080), (3840, 2160)])
def test_the_kiosk_fits_any_number_of_runs_on_the_screen(open_wall: Open, size: tuple[int, int]) -> None:
    wall = open_wall("kiosk=1", size=size)
    for count, shown in ((1, 1), (7, 7), (40, 14), (200, 15)):
        verdict = {"level": "good", "text": "Learning: return +27.1 in 34 s, best 30.1 at step 1,204,000"}
        runs = [card(number, name=f"run-with-a-long-name-{number:03}", verdict=verdict) for number in range(count)]
        for run in runs:
            run["return"]["value"] = -1234.5 - len(run["name"])
        wall.tell("runs", {"runs": runs})
        wall.wait(lambda shown=shown: len(wall.tiles()) == shown, f"{shown} tiles, not {len(wall.tiles())}")
        assert wall.page.evaluate("() => [document.documentElement.scrollHeight, innerHeight]") == [size[1]] * 2
        assert wall.page.evaluate(_OVERFLOW) == 0
        assert wall.page.evaluate(_TYPE) >= 0.022 * size[1]
    wall.press("Escape")
    wall.wait(lambda: len(wall.tiles()) == 200, "the wall")
    assert "kiosk" not in wall.page.url


def test_the_kiosk_shows_problems_first_and_all_runs_in_turn(open_wall: Open) -> None:
    faster = "const every = setInterval; window.setInterval = (act, ms) => every(act, ms === 12000 ? 400 : ms);"
    wall = open_wall("kiosk=1", size=(1280, 720), init=faster)
    runs = [card(number) for number in range(30)]
    runs[3]["verdict"] = {"level": "bad", "text": "NaN: loss since step 800"}
    wall.tell("runs", {"runs": runs})
    wall.wait(lambda: wall.tiles()[:1] == ["run-3"], "the problem")
    wall.wait_text("#kiosk-count", "30 runs · 1 problem")
    assert wall.find(".dot").count() == 2
    first = set(wall.tiles())
    wall.wait(lambda: len(first | set(wall.tiles())) == 30, "the second page")
    wall.wait(lambda: set(wall.tiles()) == first, "the first page")


def test_the_kiosk_says_since_when_it_is_cut_off_and_recovers_with_the_servers_new_page(
    open_wall: Open, tmp_path: Path
) -> None:
    with running(redis_binary(), tmp_path / "redis") as redis:
        server = WebServer(redis.url, environment=LONG_LEASE)
        try:
            run = Run(server, "lasting", "before")
            wall = open_wall("kiosk=1", server=server, is_real=True)
            wall.expect_problem("ERR_|503|Failed to load")
            wall.wait_tiles("before")
            wall.page.evaluate("() => { window.isOld = true; }")
            server.kill()
            wall.wait_text("#kiosk-news", "No connection since")
            wall.page.route("**/wall?*", lambda route: route.fulfill(headers={"ETag": '"of other files"'}), times=1)
            server.start()
            run.log({"n": 1})
            wall.page.wait_for_function("() => !window.isOld")
            wall.wait_tiles("before")
        finally:
            server.close()


def test_axe_finds_nothing_on_the_wall(open_wall: Open) -> None:
    wall = open_wall(init=AXE, reduced_motion="reduce")
    axe = Axe(wall)
    wall.tell("runs", {"runs": []})
    wall.wait_text("#nothing", "No live runs")
    axe.check("no runs")
    runs = [card(number) for number in range(8)]
    states: list[tuple[str, str, str]] = [
        ("live", "bad", "No data for 3 min"), ("live", "warning", "Memory grows"), ("live", "flat", "Flat for 2 h"),
        ("live", "early", "Too early to tell: no return yet"), ("ended", "ended", "Ended"),
        ("lapsed", "bad", "Died 12:04:11: OutOfMemoryError"), ("taken over", "good", "Learning"),
    ]  # fmt: skip
    for run, (status, level, text) in zip(runs, states, strict=False):
        run |= {"status": status, "verdict": {"level": level, "text": text}, "tags": ["sweep", "gpu"], "pinned": True}
    wall.tell("runs", {"runs": runs})
    wall.tell("changes", {"pictures": [picture(run, (250, 250, 250), 60_000) for run in runs[::2]]})
    wall.wait(lambda: wall.find(".run.pictured").count() == 4, "the pictures")
    wall.find("select").nth(1).select_option("status")
    wall.find("input").fill("(")
    wall.wait_text("#filter-error", "Not a regular expression")
    axe.check("runs in all states, in groups, with an error")
    wall.find("input").blur()
    wall.press("k")
    wall.wait(lambda: wall.find("body.kiosk").count(), "the kiosk")
    axe.check("the kiosk")
    wall.press("Escape")
    wall.page.set_viewport_size({"width": 390, "height": 844})
    assert wall.page.evaluate("() => document.documentElement.scrollWidth") == 390, "nothing is cut on a phone"
    axe.report()
