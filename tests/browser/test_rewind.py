"""The kept minutes: what the page showed at a moment is what it shows when it is turned back to it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from hud_publisher.protocol.entries import FrameEntry
from tests.browser.page import Screen
from tests.browser.run import Color, Run, color_of, now_ms, png

Open = Callable[..., Screen]


def wait_for_frames(screen: Screen, last: Color) -> None:
    """The page shows the newest frame and knows of the kept ones."""
    screen.wait_pixel(last)
    screen.wait(lambda: "no frames" not in screen.text(".where"), "the kept frames")


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


def test_charts_and_figures_tell_the_moment_that_is_shown(run: Run, open_page: Open) -> None:
    for number in range(1, 6):
        run.log({"entropy": float(number)}, step=number * 10)
        run.frame(color_of(number), step=number * 10, episode=1)
        time.sleep(0.03)  # so that each has a moment of its own
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
    screen = open_page()
    colors = run.play(2, frames=12)
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
    screen.wait(lambda: screen.find("button:has-text('Best')").is_enabled(), "the best episode to be known")
    screen.find("button:has-text('Best')").click()
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
