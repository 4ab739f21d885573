"""The vision LLM's panel: the exact picture, the texts, the figures, and earlier calls."""

from __future__ import annotations

import time
from collections.abc import Callable

from hud_publisher.protocol.entries import VisionEntry
from tests.browser.page import Screen
from tests.browser.run import Color, Run, now_ms, png

Open = Callable[..., Screen]

_PICTURE = """async (image) => {
  await image.decode();
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  return [image.naturalWidth, image.naturalHeight, ...context.getImageData(1, 1, 1, 1).data.slice(0, 3)];
}"""


def shown(screen: Screen) -> tuple[int, ...]:
    """Size of the picture in the panel, and its colour."""
    if not screen.find("#vision img").get_attribute("src"):
        return ()
    return tuple(screen.find("#vision img").evaluate(_PICTURE))


def call(run: Run, number: int, color: Color) -> None:
    run.vision(
        png(color, (32, 28)), step=number * 10, latency_ms=100.0 * number, prompt=f"prompt {number}",
        response=f"response {number}", action=f"ACTION {number}", model="llama-4-scout",
    )  # fmt: skip


def test_a_call_is_shown_with_its_very_picture_its_words_and_its_figures(run: Run, open_page: Open) -> None:
    screen = open_page()
    screen.wait_text("#vision", "No call of a vision LLM yet.")
    run.log({"llm_calls": 318, "llm_success_rate": 0.962, "llm_alignment": 0.41})
    call(run, 4, (200, 30, 60))
    screen.wait_text("#vision", "ACTION 4")
    screen.wait_text("#vision", "response 4")
    screen.wait(lambda: shown(screen) == (32, 28, 200, 30, 60), "the picture")
    screen.wait_text("#vision-meta", "llama-4-scout · 400 ms")
    screen.wait_text("#vision", "calls 318")
    screen.wait_text("#vision", "ok 96.2 %")
    screen.wait_text("#vision", "aligned 41.0 %")
    screen.find("#vision summary").click()
    screen.wait_text("#vision pre", "prompt 4")


def test_earlier_calls_are_stepped_through_and_each_moment_shows_its_call(run: Run, open_page: Open) -> None:
    for number in range(1, 5):
        run.frame((number, 0, 0), step=number * 10, episode=1)
        time.sleep(0.01)  # the call is in a later millisecond than the frame
        call(run, number, (number * 50, 0, 0))
        time.sleep(0.01)
    screen = open_page()
    screen.wait_text("#vision", "4/4")
    screen.find("[aria-label='Older call']").click()
    screen.find("[aria-label='Older call']").click()
    screen.wait_text("#vision", "response 2")
    screen.wait(lambda: shown(screen) == (32, 28, 100, 0, 0), "the second call's picture")
    screen.find("[aria-label='Newer call']").click()
    screen.find("[aria-label='Newer call']").click()
    screen.wait_text("#vision", "response 4")
    screen.wait_pixel((4, 0, 0))
    screen.press("Space")
    screen.press("ArrowLeft")
    screen.press("ArrowLeft")
    screen.wait_pixel((2, 0, 0))
    screen.wait_text("#vision", "response 1")  # the second call came after that frame
    screen.press("l")
    screen.wait_text("#vision", "response 4")


def test_live_shows_the_newest_call_after_an_older_one_was_chosen(run: Run, open_page: Open) -> None:
    for number in range(1, 5):
        run.frame((number, 0, 0), step=number * 10, episode=1)
        call(run, number, (number * 50, 0, 0))
        time.sleep(0.03)
    screen = open_page()
    screen.wait_text("#vision", "4/4")
    screen.wait_pixel((4, 0, 0))
    screen.press("Space")
    screen.wait_state("PAUSED")
    screen.find("[aria-label='Older call']").click()
    screen.wait_text("#vision", "response 2")
    screen.press("l")
    screen.wait_text("#vision", "response 4")
    screen.find("[aria-label='Older call']").click()  # while live, too
    screen.wait_text("#vision", "response 3")
    screen.find(".bottom .live").click()
    screen.wait_text("#vision", "response 4")


def test_the_last_fifty_calls_are_stepped_through(run: Run, open_page: Open) -> None:
    for number in range(1, 56):
        call(run, number, (number * 4, 0, 0))
    screen = open_page()
    screen.wait_text("#vision", "50/50")
    for _ in range(49):
        screen.find("[aria-label='Older call']").click()
    screen.wait_text("#vision", "response 6")
    screen.wait(lambda: shown(screen) == (32, 28, 24, 0, 0), "the picture of the oldest")
    assert screen.find("[aria-label='Older call']").is_disabled()


def test_calls_of_one_millisecond_keep_their_order(run: Run, open_page: Open) -> None:
    names = [f"answer {number}" for number in range(5)]
    run.publish(*(VisionEntry(png((1, 1, 1)), now_ms(), "image/png", 1.0, 1, None, name, {}) for name in names))
    screen = open_page()
    screen.wait_text("#vision", "5/5")
    for name in reversed(names[1:]):
        screen.wait_text("#vision .vision-text", name)
        screen.find("[aria-label='Older call']").click()
    screen.wait_text("#vision .vision-text", names[0])


def test_all_choices_a_refusal_and_the_reasoning_are_shown_separately(run: Run, open_page: Open) -> None:
    screen = open_page()
    run.vision(png((1, 2, 3)), response="go left", choices=["go left", "wait"], finish_reason="stop, length")
    screen.wait_text("#vision .vision-text", "1. go left\n2. wait")
    screen.wait_text("#vision .vision-extras", "finish_reason stop, length")
    run.vision(png((1, 2, 4)), refusal="I cannot help.", finish_reason="content_filter")
    screen.wait_text("#vision .vision-action.failed", "Refused: I cannot help.")
    assert screen.find("#vision .vision-text").is_hidden()
    run.vision(png((1, 2, 5)), reasoning="There is a wall.", finish_reason="length")
    screen.wait_text("#vision [aria-label='Reasoning']", "There is a wall.")
    run.vision(png((1, 2, 6)), response="left", reasoning="A door.")
    screen.wait_text("#vision .vision-text", "left")
    assert screen.find("#vision [aria-label='Reasoning']").is_hidden()
    screen.find("#vision summary >> text=Reasoning").click()
    screen.wait_text("#vision [aria-label='Reasoning']", "A door.")


def test_the_reason_for_a_missing_picture_is_shown(run: Run, open_page: Open) -> None:
    screen = open_page()
    run.vision(
        png((1, 2, 3)), response="left", picture="the picture is at https://host/cat.png; HUD fetches no addresses"
    )
    screen.wait_text("#vision", "picture the picture is at https://host/cat.png")
    picture = png((1, 2, 4))
    run.vision(picture[:33] + bytes(60) + picture[-12:], response="right")  # a header and an end, and nothing between
    screen.wait_text("#vision .vision-text", "right")
    screen.wait_text("#vision", "picture the browser cannot decode the picture")


def test_a_failed_call_is_marked_and_hides_nothing(run: Run, open_page: Open) -> None:
    run.log({"loss": 0.25})
    screen = open_page()
    run.vision(png((1, 2, 3)), error="504 Gateway Time-out")
    screen.wait_text("#vision", "504 Gateway Time-out")
    screen.wait_metric("loss", "0.2500")
