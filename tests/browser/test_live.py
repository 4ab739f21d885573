"""The page of a live run: frames, figures and states; and hostile input does not break it."""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from hud_publisher.protocol.entries import FrameEntry, MetricsEntry
from tests.browser.page import Screen
from tests.browser.run import Run, color_of, now_ms, png

Open = Callable[..., Screen]
StartRun = Callable[..., Run]


def test_frames_move_and_the_newest_is_the_one_on_screen(run: Run, open_page: Open) -> None:
    run.frame(color_of(1), step=1, episode=1)
    screen = open_page()
    screen.wait_pixel(color_of(1))
    first = screen.find("#frame").screenshot()
    for number in range(2, 8):
        run.frame(color_of(number), step=number, episode=1)
    screen.wait_pixel(color_of(7))
    assert screen.find("#frame").screenshot() != first
    screen.wait_text("#hud-top", "STEP7")
    screen.wait_text("#hud-top", "w1/e0")
    screen.wait_state("LIVE")


#: Records each picture that is drawn on the canvas, with its time.
_NOTE_SHOWN = """() => {
  window.shown = [];
  new MutationObserver(() => window.shown.push([document.getElementById("frame").dataset.id, performance.now()]))
    .observe(document.getElementById("frame"), { attributes: true, attributeFilter: ["data-id"] });
}"""


def test_frames_that_come_with_one_call_are_seen_apart_as_they_were_taken(run: Run, open_page: Open) -> None:
    run.frame(color_of(1))
    screen = open_page()
    screen.wait_pixel(color_of(1))
    screen.page.evaluate(_NOTE_SHOWN)
    last = 1
    for _ in range(5):
        taken_ms = now_ms()
        first = FrameEntry(png(color_of(last + 1)), taken_ms, "image/png", last + 1, 1, (1, 0))
        last += 2
        run.publish(first, FrameEntry(png(color_of(last)), taken_ms + 120, "image/png", last, 1, (1, 0)))
        screen.wait_pixel(color_of(last))
        screen.page.wait_for_timeout(50)
    shown = screen.page.evaluate("() => window.shown")
    assert len({picture for picture, _ in shown}) == 10, "each was seen"
    gaps = [later[1] - earlier[1] for earlier, later in itertools.pairwise(shown)][::2]
    assert all(60 < gap < 400 for gap in gaps), gaps


@pytest.mark.parametrize(
    "size", [(160, 144), (210, 160), (84, 84), (240, 256)], ids=lambda size: f"{size[0]}x{size[1]}"
)
def test_the_frame_is_shown_at_the_largest_whole_multiple_of_its_size(
    run: Run, open_page: Open, size: tuple[int, int]
) -> None:
    run.frame(color_of(3), size=size)
    screen = open_page()
    screen.wait_pixel(color_of(3))

    def is_largest_multiple() -> bool:
        box, room = screen.find("#frame").bounding_box(), screen.find("#view").bounding_box()
        assert box is not None
        assert room is not None
        scale = box["width"] / size[0]
        is_whole = scale == box["height"] / size[1] == int(scale) >= 2
        return is_whole and ((scale + 1) * size[0] > room["width"] or (scale + 1) * size[1] > room["height"] - 60)

    screen.wait(is_largest_multiple, "the largest multiple, once the events have their room")
    assert screen.find("#frame").evaluate("(canvas) => getComputedStyle(canvas).imageRendering") == "pixelated"


def test_a_frame_larger_than_its_place_keeps_its_shape_and_its_thin_lines(
    run: Run, open_page: Open, tmp_path: Path
) -> None:
    image = Image.new("RGB", (1920, 1080))
    for x in range(0, 1920, 4):
        image.paste((255, 255, 255), (x, 0, x + 1, 1080))
    run.log({"n": 1})  # frames alone would have the whole screen
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    run.publish(FrameEntry(buffer.getvalue(), now_ms(), "image/png", 1, 1, (1, 0)))
    screen = open_page()
    screen.wait_text("#stage-meta", "1920×1080")
    box = screen.find("#frame").bounding_box()
    assert box is not None
    assert box["width"] / box["height"] == pytest.approx(16 / 9, rel=0.01)
    shade = [screen.pixel("#frame", x, 100) for x in range(40, 60)]
    assert all(color is not None and 30 < color[0] < 120 for color in shade), shade  # each line has its part
    path = screen.save(lambda: screen.press("s"), tmp_path)
    with Image.open(path) as saved:
        assert saved.size == (1920, 1080)


def test_a_page_opened_late_is_filled_at_once(run: Run, open_page: Open) -> None:
    run.iterate(3, episode_return_mean=182.4, policy_loss=-0.0312, kl=0.01)
    run.log({"health": {"current": 2, "max": 5}, "location": "Eastern Woods"}, step=1200)
    run.frame(color_of(9), step=1200, episode=4)
    screen = open_page()  # from here on the run sends nothing
    screen.wait_pixel(color_of(9))
    screen.wait_tile("Episode return (mean)", "182.4")
    screen.wait_tile("Policy loss", "−0.0312")
    screen.wait_tile("Iteration", "3")
    screen.wait_text("#game", "Eastern Woods")
    screen.wait_metric("kl", "0.0100")
    screen.wait_text("#run-name", "ppo-breakout")


def test_an_unknown_value_is_a_dash_and_never_a_zero(run: Run, open_page: Open) -> None:
    run.iterate(1, policy_loss=0.5)
    screen = open_page()
    screen.wait_tile("Policy loss", "0.5000")
    assert screen.tile("Episode length") == "—"
    assert screen.tile("Entropy") == "—"
    assert "NaN" not in screen.text("body")
    assert "undefined" not in screen.text("body")


def test_an_update_changes_only_the_fields_that_it_contains(run: Run, open_page: Open) -> None:
    run.log({"a": 1, "nested": {"x": 1, "y": 2}})
    screen = open_page()
    screen.wait_metric("nested/y", "2")
    run.log({"nested": {"x": 7}})
    screen.wait_metric("nested/x", "7")
    assert screen.metric("nested/y") == "2"
    assert screen.metric("a") == "1"


def test_the_state_is_shown_in_words(start_run: StartRun, open_page: Open) -> None:
    screen = open_page()
    screen.wait_state("WAITING")
    screen.wait_text("#view", "Waiting for a run")
    run = start_run()
    run.log({"phase": "sampling", "n": 1})
    screen.wait_state("LIVE")
    assert screen.page.title().startswith("LIVE · ppo-breakout")
    run.log({"phase": "learning"})
    screen.wait_state("LEARNING")
    screen.wait_text("#lights", "Server connected")
    for number in range(5):  # the rhythm of this run: ten times a second
        run.log({"phase": "sampling", "n": number})
        time.sleep(0.1)
    screen.wait_state("LIVE")
    screen.wait_text("#lights", "Writer sending")
    screen.wait_state("STALLED")
    screen.wait_text("#lights", "Writer silent")
    screen.wait(lambda: screen.page.title().startswith("STALLED"), "the title to say so")
    run.end()
    screen.wait_state("ENDED")
    screen.wait_text("#toasts", "ppo-breakout ended")
    screen.wait_text("#log", "The session ended")


def test_the_frame_rate_disappears_when_frames_stop(run: Run, open_page: Open) -> None:
    screen = open_page()
    screen.wait_text("#run-name", "ppo-breakout")
    for number in range(1, 9):
        run.frame(color_of(number), step=number)
    screen.wait_pixel(color_of(8))
    screen.wait(lambda: "FPS—" not in screen.text("#hud-bottom"), "a rate")
    screen.wait(lambda: "FPS—" in screen.text("#hud-bottom"), "no rate any more")


def test_the_favicon_changes_with_the_state(run: Run, open_page: Open) -> None:
    screen = open_page()
    run.log({"n": 1})
    screen.wait_state("LIVE")
    live = screen.find("#favicon").get_attribute("href")
    run.end()
    screen.wait_state("ENDED")
    assert screen.find("#favicon").get_attribute("href") != live


def test_a_takeover_is_announced_and_the_new_run_is_shown(run: Run, start_run: StartRun, open_page: Open) -> None:
    run.log({"only_of_the_first": 1})
    screen = open_page()
    screen.wait_metric("only_of_the_first", "1")
    run.end()
    second = start_run("second-run")
    second.log({"of_the_second": 2})
    screen.wait_text("#run-name", "second-run")
    screen.wait_text("#toasts", "second-run started")
    screen.wait_metric("of_the_second", "2")
    assert screen.metric("only_of_the_first") is None


def test_hostile_names_and_values_are_text_and_break_nothing(run: Run, open_page: Open, unique: str) -> None:
    screen = open_page(init="window.hurt = 0")
    hostile = {
        "<img src=x onerror=window.hurt=1>": 1,
        "x" * 10_000: 2,
        "\u202eright to left\u202c": 3,
        "مقياس": 4,
        "__proto__": 5,
        "constructor": {"prototype": {"hurt": 1}},
        "huge": 1e300,
        "tiny": 5e-324,
        "long": "y" * 10_000,
        "script": "<script>window.hurt=1</script>",
        "list": [1, "<b>", None, [2]],
        "location": "<img src=x onerror=window.hurt=1>",
        f"last-{unique}": 1,
    }
    run.log(hostile)
    run.vision(
        png_of(),
        response="<script>window.hurt=1</script>",
        prompt="<img src=x onerror=window.hurt=1>",
        action="<u>up</u>",
    )
    screen.wait_text("#vision", "<script>window.hurt=1</script>")
    screen.wait_text("#vision", "<u>up</u>")
    screen.wait_text("#game", "<img src=x onerror=window.hurt=1>")
    screen.find("#table").evaluate("(table) => { table.scrollTop = 0 }")
    screen.wait_metric("<img src=x onerror=window.hurt=1>", "1")
    screen.find("[aria-label='Filter metrics by name']").fill("مقياس")
    screen.wait_metric("مقياس", "4")
    screen.find("[aria-label='Filter metrics by name']").fill(unique)
    screen.wait_metric(f"last-{unique}", "1")
    assert screen.page.evaluate("() => window.hurt") == 0
    assert screen.page.evaluate("() => ({}).hurt") is None
    assert (
        screen.page.evaluate("() => document.querySelectorAll('#page img[src=x], #page script, #page u').length") == 0
    )
    assert screen.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_five_thousand_metrics_are_listed_and_found(run: Run, open_page: Open) -> None:
    for start in range(0, 5000, 500):
        run.publish(MetricsEntry({f"group{n // 100}/metric{n:04}": n for n in range(start, start + 500)}, now_ms(), 1))
    screen = open_page()
    screen.wait_text("#metrics-meta", "5000")
    assert screen.find("#table .row").count() < 100
    screen.find("[aria-label='Filter metrics by name']").fill("metric4321")
    screen.wait_metric("group43/metric4321", "4,321")
    assert screen.text("#metrics-meta") == "1 of 5000"
    assert screen.find(".chart canvas").count() < 60


def png_of() -> bytes:
    from tests.browser.run import png

    return png((10, 20, 30))
