"""The kept minutes: the page rewound to a moment shows the same content that it showed live at that moment."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from hud_publisher.protocol.entries import FrameEntry
from tests.browser.page import Screen
from tests.browser.run import Color, Run, color_of, now_ms, png

if TYPE_CHECKING:
    from playwright.sync_api import Route

Open = Callable[..., Screen]


def wait_for_frames(screen: Screen, last: Color) -> None:
    """The page shows the newest frame and knows of the kept ones."""
    screen.wait_pixel(last)
    screen.wait(lambda: screen.find(".bottom .save").is_enabled(), "the kept frames")


def test_the_scrubber_shows_the_frame_of_that_moment_and_everything_else_of_it(run: Run, open_page: Open) -> None:
    colors = run.play(3)
    screen = open_page()  # after the fact: all of it comes from the server
    wait_for_frames(screen, colors[-1])
    screen.press("Space")
    screen.wait_state("PAUSED")
    for _ in range(7):  # back to the fifth frame of episode 2
        screen.press("ArrowLeft")
    screen.wait_pixel(colors[10])
    screen.wait_text("#hud-top", "EP2")
    screen.wait_text("#hud-top", "STEP11")
    screen.wait_metric("episode", "2")
    screen.wait_metric("episode_reward", "16.67")
    screen.wait_text("#hud-top", "RETURN+16.67")
    run.frame(color_of(200), step=200, episode=4)  # live data goes on arriving, and nothing jumps
    screen.press("ArrowRight")
    screen.wait_pixel(colors[11])
    screen.press("Shift+ArrowLeft")
    screen.wait_pixel(colors[6])
    screen.press("l")
    screen.wait_pixel(color_of(200))
    screen.wait_metric("episode_return", "30")
    screen.wait(lambda: "PAUSED" not in screen.text("#state"), "the live state")


class Gate:
    """Holds the page's requests for the index of frames until it is opened."""

    def __init__(self, screen: Screen) -> None:
        self._held: list[Route] = []
        self._is_open = False
        screen.page.route(re.compile(r"/api/frames\?"), self._pass)

    def _pass(self, route: Route) -> None:
        if self._is_open:
            route.continue_()
        else:
            self._held.append(route)

    def open(self) -> None:
        assert self._held
        self._is_open = True
        for route in self._held:
            route.continue_()


def test_steps_back_wait_for_the_index_of_older_frames(run: Run, open_page: Open) -> None:
    colors = run.play(3)
    screen = open_page()
    gate = Gate(screen)
    screen.page.reload()
    screen.wait_pixel(colors[-1])
    screen.press("Space")
    screen.wait_state("PAUSED")
    for _ in range(2):
        screen.press("ArrowLeft")
    screen.press("Shift+ArrowLeft")
    assert screen.pixel() == colors[-1]
    gate.open()
    screen.wait_pixel(colors[12])  # the start of the third episode, of 18 frames in all


def test_a_moment_shows_its_frame_even_if_the_page_learns_of_it_later(run: Run, open_page: Open) -> None:
    start_ms = now_ms()
    first = run.play(1)
    screen = open_page()
    wait_for_frames(screen, first[-1])
    screen.show_or_hide("hidden")
    screen.page.wait_for_timeout(600)  # the feed knows; the index after the snapshot has come
    missed = run.play(1, first=2)
    moment = now_ms() + 500
    time.sleep(1)
    run.frame(color_of(200), step=200, episode=3)
    gate = Gate(screen)
    screen.show_or_hide("visible")
    screen.wait_pixel(color_of(200))
    screen.page.evaluate(
        """(share) => { const range = document.querySelector('.track input');
          range.value = 10000 * share; range.dispatchEvent(new Event('input')); }""",
        (moment - start_ms) / (now_ms() - start_ms),
    )
    screen.wait_pixel(first[-1])
    gate.open()
    screen.wait_pixel(missed[-1])


def test_charts_and_figures_show_the_selected_moment(run: Run, open_page: Open) -> None:
    for number in range(1, 6):
        run.log({"entropy": float(number)}, step=number * 10)
        run.frame(color_of(number), step=number * 10, episode=1)
        time.sleep(0.03)  # gives each frame a distinct time
    screen = open_page()
    wait_for_frames(screen, color_of(5))
    screen.wait_text(".chart[aria-label='Entropy · KL'] .legend", "5")
    screen.wait_tile("Env steps", "50")
    with screen.page.expect_response(re.compile(r"/api/export\?")):
        screen.press("Space")
    for _ in range(3):
        screen.press("ArrowLeft")
    screen.wait_pixel(color_of(2))
    screen.wait_text(".chart[aria-label='Entropy · KL'] .legend", "2")
    screen.wait_tile("Env steps", "20")
    screen.wait_tile("Entropy", "2")
    screen.press("l")
    screen.wait_text(".chart[aria-label='Entropy · KL'] .legend", "5")


def test_a_change_is_relative_to_the_selected_moment(run: Run, open_page: Open) -> None:
    screen = open_page()
    screen.wait_text("#run-name", "ppo-breakout")
    for number in range(1, 31):
        run.log({"num_episodes_lifetime": number * 100, "episode_return_mean": 5.0}, step=number * 1_000)
        run.frame(color_of(number), step=number * 1_000, episode=number)
        time.sleep(0.2)
    screen.wait_tile("Env steps", "30,000")
    screen.wait_tile("Episodes (run)", "3,000")
    screen.press("Space")
    screen.wait_state("PAUSED")
    for _ in range(20):
        screen.press("ArrowLeft")
    screen.wait_pixel(color_of(10))
    screen.wait_tile("Env steps", "10,000")
    changes = screen.find(".tile .change").all_inner_texts()
    assert not [text for text in changes if text.startswith("−")], changes
    episodes = screen.find(".tile", has_text="EPISODES").locator(".change").inner_text()
    assert episodes.startswith("+"), episodes


def test_the_env_strip_and_the_env_shown_follow_the_moment(run: Run, open_page: Open) -> None:
    screen = open_page()
    screen.wait_text("#run-name", "ppo-breakout")
    for number, shown in ((1, (1, 0)), (2, (1, 0)), (3, (1, 1))):
        run.frame(color_of(number), step=number, env=shown)
        for env in ((1, 0), (1, 1)):
            run.frame(color_of(number * 10 + env[1]), env=env, size=(40, 30), kind="thumbs")
        screen.wait_pixel(color_of(number))
        screen.wait_pixel(color_of(number * 10), "#strip button:nth-child(1) canvas")
        screen.wait_pixel(color_of(number * 10 + 1), "#strip button:nth-child(2) canvas")
        time.sleep(0.05)
    second = screen.find("#strip button").nth(1)
    screen.wait(lambda: second.get_attribute("aria-pressed") == "true", "the second env to be the one shown")
    screen.press("Space")
    screen.wait_state("PAUSED")
    screen.press("ArrowLeft")
    screen.wait_pixel(color_of(2))
    # the pictures of frame 2's round came after it: those of the first round are the newest before it
    screen.wait_pixel(color_of(10), "#strip button:nth-child(1) canvas")
    screen.wait_pixel(color_of(11), "#strip button:nth-child(2) canvas")
    screen.wait(lambda: second.get_attribute("aria-pressed") == "false", "the first env to be the one shown")
    screen.press("ArrowLeft")
    screen.wait(lambda: "absent" in (second.get_attribute("class") or ""), "no picture from that time")
    screen.press("l")
    screen.wait_pixel(color_of(31), "#strip button:nth-child(2) canvas")


def test_the_texts_beside_a_picture_belong_to_its_moment(run: Run, open_page: Open) -> None:
    run.log({"episode": 1, "episode_reward": 7.0, "action": "LEFT"}, step=10)
    run.frame(color_of(1), step=10, episode=1)
    screen = open_page()
    screen.wait_pixel(color_of(1))
    screen.wait_text("#hud-top", "RETURN+7")
    time.sleep(0.05)
    run.log({"episode": 2, "episode_reward": 99.0, "action": "RIGHT"}, step=55)
    screen.wait_metric("episode_reward", "99")
    assert "EP1STEP10RETURN+7" in screen.text("#hud-top").replace(" ", "").replace("\n", "")
    assert screen.find(".keycap.on").inner_text() == "LEFT"
    time.sleep(2.0)
    screen.page.evaluate(  # a moment between two frames
        """() => { const range = document.querySelector('.track input');
          range.value = 7000; range.dispatchEvent(new Event('input')); }"""
    )
    screen.wait_state("PAUSED")
    screen.wait_metric("episode_reward", "99")  # the table is at the moment itself
    assert "EP1STEP10RETURN+7" in screen.text("#hud-top").replace(" ", "").replace("\n", "")


def test_returns_belong_to_the_episodes_of_one_env(run: Run, open_page: Open) -> None:
    for env, value in (((1, 0), 16.0), ((2, 0), 1_000.0)):
        for frame in range(3):
            run.frame(color_of(frame + int(value)), step=frame, episode=16, env=env)
            time.sleep(0.03)
        run.log({"episode": 16, "episode_return": value})
    run.frame(color_of(9), step=9, episode=17, env=(2, 0))
    screen = open_page()
    wait_for_frames(screen, color_of(9))
    screen.press("Space")
    screen.wait_state("PAUSED")
    screen.press("g")
    screen.wait_text("dialog", "no. 16, return 1,000")
    screen.press("Escape")
    for _ in range(5):
        screen.press("ArrowLeft")
    screen.press("g")
    screen.wait_text("dialog", "The episode shown: no. 16, return 16")


def test_an_offset_is_counted_from_the_same_end_everywhere(run: Run, open_page: Open) -> None:
    run.play(2, 40)
    run.end()
    time.sleep(2.5)
    screen = open_page(f"session={run.sid}")
    screen.wait_state("ENDED")
    screen.wait(lambda: screen.find(".bottom .save").is_enabled(), "the kept frames")
    screen.press("Space")
    screen.wait_state("PAUSED")
    screen.press("Shift+ArrowLeft")

    def is_same() -> bool:
        offset = re.search(r"−\d\d:\d\d", screen.text("#state"))
        where = screen.text(".where")  # "kept", or the second time would read as the age of the run
        return offset is not None and where.startswith(offset[0]) and "kept" in where

    screen.wait(is_same, "the same offset in the bar and at the scrubber")
    screen.page.wait_for_timeout(1_500)
    assert is_same()


@pytest.mark.parametrize("apart_ms", [0, 50])
def test_frames_of_one_batch_are_stepped_through_one_by_one(run: Run, open_page: Open, apart_ms: int) -> None:
    run.publish(
        *(FrameEntry(png(color_of(n)), now_ms() + apart_ms * n, "image/png", n, 1, (1, 0)) for n in range(1, 5))
    )  # all in one millisecond
    screen = open_page()
    wait_for_frames(screen, color_of(4))
    with screen.page.expect_response(re.compile(r"/api/export\?")):  # asked for once the index of frames is there
        screen.press("Space")
    for number in (3, 2, 1):
        screen.press("ArrowLeft")
        screen.wait_pixel(color_of(number))
    screen.press("ArrowRight")
    screen.wait_pixel(color_of(2))


def test_dragging_the_scrubber_goes_to_the_place_under_the_pointer(run: Run, open_page: Open) -> None:
    colors = run.play(2, frames=12)  # before the page opens: the scrubber starts at the session's start
    screen = open_page()
    wait_for_frames(screen, colors[-1])
    box = screen.find(".track").bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    screen.page.mouse.move(box["x"] + box["width"] - 2, y)
    screen.page.mouse.down()
    screen.page.mouse.move(box["x"] + 1, y, steps=4)
    screen.wait_pixel(colors[0])
    screen.page.mouse.up()
    screen.wait_text(".where", "ep 1")
    screen.find(".live").click()
    screen.wait_pixel(colors[-1])


def test_it_plays_from_the_moment_and_ends_live(run: Run, open_page: Open) -> None:
    colors = run.play(1, frames=8, pause_s=0.3)
    screen = open_page()
    wait_for_frames(screen, colors[-1])
    screen.press("Space")
    screen.wait_state("PAUSED")
    for _ in range(5):
        screen.press("ArrowLeft")
    screen.wait_pixel(colors[2])
    screen.press("-")
    screen.wait(lambda: screen.find("[aria-label=Speed]").input_value() == "0.5", "half the speed")
    screen.press("Space")
    seen: list[object] = []

    def is_live_again() -> bool:
        seen.append(screen.pixel())
        return "PAUSED" not in screen.text("#state")

    screen.wait(is_live_again, "playing to end live")
    assert len(set(seen)) > 2
    screen.wait_pixel(colors[-1])


def test_the_best_and_the_last_episode_are_replayed_in_one_click(run: Run, open_page: Open) -> None:
    run.play(1)
    best = run.play(1, first=9)
    last = run.play(1, first=3)
    running = run.play(1, first=4)
    screen = open_page()
    wait_for_frames(screen, running[-1])
    button = screen.page.get_by_role("button", name="Best", exact=True)
    screen.wait(button.is_enabled, "the best episode to be known")
    button.click()
    screen.wait_pixel(best[-1])
    screen.wait_text(".where", "ep 9")
    screen.wait_state("PAUSED")
    screen.find("button:has-text('Last')").click()
    screen.wait_pixel(last[-1])
    screen.wait_text(".where", "ep 3")


def test_an_episode_is_saved_as_gif_webp_and_png_strip(run: Run, open_page: Open, tmp_path: Path) -> None:
    run.play(1)
    colors = run.play(1, first=2, frames=5)
    run.play(1, first=3, frames=2)
    screen = open_page()
    screen.wait(lambda: screen.find("button:has-text('Last')").is_enabled(), "a finished episode")
    for kind, label in (("gif", "GIF"), ("webp", "WebP"), ("png", "PNG strip")):
        screen.press("g")
        path = screen.save(lambda label=label: screen.find(f"dialog button:has-text('{label}')").click(), tmp_path)  # type: ignore[misc]
        assert path.name == f"hud-episode-2.{kind}"
        with Image.open(path) as image:
            if kind == "png":
                assert image.size == (5 * 32, 24)
                assert [image.convert("RGB").getpixel((32 * n + 3, 3)) for n in range(5)] == colors
                continue
            assert image.size == (32, 24)
            frames = []
            for number in range(getattr(image, "n_frames", 1)):
                image.seek(number)
                frames.append(image.convert("RGB").getpixel((3, 3)))
            assert frames == colors


def test_a_frame_is_saved_as_png(run: Run, open_page: Open, tmp_path: Path) -> None:
    run.frame(color_of(5), step=77)
    screen = open_page()
    screen.wait_pixel(color_of(5))
    path = screen.save(lambda: screen.press("s"), tmp_path)
    assert path.name == "hud-step-77.png"
    with Image.open(path) as image:
        assert image.convert("RGB").getpixel((0, 0)) == color_of(5)


def test_a_link_leads_to_its_moment_however_late_the_modules_arrive(run: Run, open_page: Open) -> None:
    for number in range(1, 4):
        run.log({"loss": float(number)}, step=number)
        moment = now_ms()
        time.sleep(0.4)
    run.log({"loss": 9.0}, step=9)
    screen = open_page()
    screen.wait_metric("loss", "9")

    def delay(route: Route) -> None:
        time.sleep(1)  # the events come first
        route.continue_()

    screen.context.route(re.compile(r"/main\.js"), delay)
    screen.page = screen.open(f"t={moment}")
    screen.wait_state("PAUSED")
    screen.wait_metric("loss", "3")


def test_a_run_without_frames_is_rewound_by_its_fields(run: Run, open_page: Open) -> None:
    for number in range(1, 6):
        run.log({"loss": float(number)}, step=number)
        time.sleep(0.3)
    screen = open_page()
    screen.wait_metric("loss", "5")
    with screen.page.expect_response(re.compile(r"/api/export\?")):
        screen.press("Space")
    screen.wait_state("PAUSED")
    screen.wait_metric("loss", "5")
    screen.page.wait_for_timeout(200)
    screen.press("ArrowLeft")  # to the moment of the newest
    screen.press("ArrowLeft")
    screen.wait_metric("loss", "4")
    screen.press("ArrowLeft")
    screen.wait_metric("loss", "3")
    screen.press("ArrowRight")
    screen.wait_metric("loss", "4")
    run.log({"loss": 6.0}, step=6)
    screen.press("l")
    screen.wait_metric("loss", "6")


def test_the_first_frame_does_not_appear_at_a_moment_before_it(run: Run, open_page: Open) -> None:
    run.log({"loss": 1.0}, step=1)
    screen = open_page()
    screen.wait_metric("loss", "1")
    screen.press("Space")
    screen.wait_state("PAUSED")
    run.frame((250, 0, 0), step=2, episode=1)
    run.log({"loss": 2.0}, step=2)
    screen.page.wait_for_timeout(1_000)  # it would be visible within 100 ms
    assert screen.find("#frame").is_hidden()
    screen.press("l")
    screen.wait_pixel((250, 0, 0))
