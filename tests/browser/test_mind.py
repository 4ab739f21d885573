"""The agent's mind: the numbers, bars and pictures on the page are those of the step that is shown."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import pytest

from hud_publisher.protocol.entries import FrameEntry, MetricsEntry, MindEntry
from tests.browser.page import Screen
from tests.browser.run import Run, color_of, now_ms, png
from tests.browser.test_axe import AXE, Axe

Open = Callable[..., Screen]

NAMES = ["LEFT", "RIGHT", "<b>FIRE</b>"]
NONE = "No data of the policy at this moment"
#: Of a list of bars: name, number, whether it is marked, and where the bar, the whisker and the dot are, in per cent.
_BARS = """(list) => [...list.querySelectorAll('.bar')].map((bar) => {
  const [fill, whisker, point] = bar.querySelectorAll('.bar-track > i');
  const span = ({ hidden, style }) => hidden ? null : [parseFloat(style.left), parseFloat(style.width)];
  const text = (part) => bar.querySelector(part).textContent;
  return [text('.bar-name'), text('.bar-text'), bar.matches('.marked'), span(fill), span(whisker), span(point)];
})"""


def bars(screen: Screen, label: str, inside: str = "#mind") -> list[list[Any]]:
    """The rows of a list of bars."""
    return list(screen.find(f"{inside} .bars[aria-label='{label}']").evaluate(_BARS))


def texts(screen: Screen, label: str, inside: str = "#mind") -> list[tuple[str, str]]:
    """Names and numbers of a list of bars."""
    return [(name, text) for name, text, *_ in bars(screen, label, inside)]


def view(step: int) -> dict[str, Any]:
    """A view that identifies its step."""
    first = step % 10 / 20
    return {
        "action": step % 3, "action_name": NAMES[step % 3], "action_names": NAMES,
        "probabilities": [first, 0.5, 0.5 - first], "q_values": [step, -2.0 * step, 0.25],
        "value": step + 0.5, "entropy": 0.9, "reward_parts": {"coin": float(step), "time": -0.5},
    }  # fmt: skip


def step_once(run: Run, step: int, episode: int = 1, *, has_mind: bool = True) -> None:
    """Publish a frame and the policy's view of its step in one batch."""
    at = now_ms()
    image = png(color_of(step + 100), (8, 6))
    minds = [MindEntry(view(step), at, step, episode, (1, 0), image)] if has_mind else []
    run.publish(*minds, FrameEntry(png(color_of(step)), at, "image/png", step, episode, (1, 0)))
    time.sleep(0.02)  # gives each frame a distinct time


def wait_step(screen: Screen, step: int) -> None:
    """Return when the panel shows the view of this step."""
    shown = f"{100 * (step % 10 / 20):.1f} %".replace("0.0 %", "0 %") if step % 10 == 0 else f"{5 * (step % 10):.1f} %"
    screen.wait(lambda: texts(screen, "Action probabilities")[:1] == [("LEFT", shown)], f"the view of step {step}")


def test_live_numbers_are_those_that_the_policy_sent(run: Run, open_page: Open) -> None:
    for step in range(1, 4):
        step_once(run, step)
    screen = open_page()
    screen.wait_text("#mind-meta", "step 3 · episode 1 · w1/e0")
    for step in range(4, 8):
        step_once(run, step)
    screen.wait_text("#mind-meta", "step 7 · episode 1 · w1/e0")
    wait_step(screen, 7)
    assert texts(screen, "Action probabilities") == [("LEFT", "35.0 %"), ("RIGHT", "50.0 %"), ("<b>FIRE</b>", "15.0 %")]
    marked = [name for name, _, is_marked, *_ in bars(screen, "Action probabilities") if is_marked]
    assert marked == ["RIGHT"]
    assert [span for *_, span, _, _ in bars(screen, "Action probabilities")] == [[0, 35], [0, 50], [0, 15]]
    assert texts(screen, "Q values") == [("LEFT", "7"), ("RIGHT", "−14"), ("<b>FIRE</b>", "0.2500")]
    zero = 100 * 14 / 21
    assert bars(screen, "Q values")[0][3] == pytest.approx([zero, 100 - zero], abs=0.01)
    assert bars(screen, "Q values")[1][3] == pytest.approx([0, zero], abs=0.01)
    assert texts(screen, "Reward parts") == [("coin", "+7"), ("time", "−0.5000"), ("Sum", "+6.500")]
    screen.wait_text("#mind .mind-number", "7.500")
    screen.wait_text("#mind", f"0.9000 of {math.log(3):.3f} nats")
    screen.wait_text("#mind", "episode 1: 1.500 to 7.500")
    assert screen.ink(screen.find(".mind-curve")) > 100
    screen.wait_pixel(color_of(107), ".mind-picture")
    assert "Advised" not in screen.text("#mind"), "no vision LLM, no advice"
    run.vision(png((1, 2, 3)), action="left")
    screen.wait_text("#mind", "Advised left, policy 35.0 % left")
    screen.wait_text("#mind", "The policy disagrees: it chose RIGHT")
    step_once(run, 9)
    screen.wait_text("#mind", "The policy agrees")
    run.mind({"probabilities": [None, 1.0], "advice": {"action": "UP", "probability": 0.12, "agrees": False}}, step=10)
    run.frame(color_of(10), step=10, episode=2)
    screen.wait_text("#mind", "Advised UP, policy 12.0 % UP")
    assert bars(screen, "Action probabilities") == [
        ["0", "—", False, None, None, None], ["1", "100 %", False, [0, 100], None, None],
    ]  # fmt: skip
    for part in (".mind-number", ".mind-picture", "[aria-label='Q values']", "[aria-label='Reward parts']"):
        assert screen.find(f"#mind {part}").is_hidden(), part


def test_a_rewound_moment_shows_the_view_of_its_step(run: Run, open_page: Open) -> None:
    for step in range(1, 14):
        step_once(run, step, 1 if step < 8 else 2, has_mind=step % 3 == 1)  # steps 1, 4, 7, 10, 13
    screen = open_page()
    screen.wait_pixel(color_of(13))
    screen.wait(lambda: screen.find(".bottom .save").is_enabled(), "the kept frames")
    wait_step(screen, 13)
    screen.press("Space")
    screen.wait_state("PAUSED")
    for step in range(12, 4, -1):
        screen.press("ArrowLeft")
        screen.wait_pixel(color_of(step))
        if step in (8, 9):  # the second episode has no view yet
            screen.wait_text("#mind", NONE)
            screen.wait_text(".mind-over", NONE)
            assert screen.find("#mind .mind-number").is_hidden()
            continue
        of = step - (step - 1) % 3
        screen.wait_text("#mind-meta", f"step {of}" + (f" · {step - of} before the frame" if step > of else ""))
        wait_step(screen, of)
        screen.wait_text("#mind .mind-number", f"{of + 0.5:#.4g}")
        screen.wait_pixel(color_of(of + 100), ".mind-picture")
    screen.wait_text("#mind", "episode 1: 1.500 to 7.500")
    step_once(run, 16, 2)  # live data goes on arriving, and nothing jumps
    screen.press("ArrowRight")
    screen.wait_pixel(color_of(6))
    wait_step(screen, 4)
    screen.press("l")
    wait_step(screen, 16)


def test_a_run_without_frames_shows_the_view_of_the_rewound_update(run: Run, open_page: Open) -> None:
    run.log({"loss": 1.0})
    screen = open_page()
    screen.wait_metric("loss", "1")
    for step, episode in ((1, 1), (2, 1), (3, 2), (4, 2)):
        at = now_ms()
        update = MetricsEntry({"episode": episode, "worker_index": 1, "env_index": 0}, at, step)
        minds = [] if step == 3 else [MindEntry(view(step), at, step, episode, (1, 0))]
        run.publish(update, *minds)
        time.sleep(0.02)  # gives each update a distinct time
    wait_step(screen, 4)
    assert screen.find(".mind-over").is_hidden(), "there is no picture to be on"
    screen.press("Space")
    screen.wait_state("PAUSED")
    wait_step(screen, 4)
    screen.press("ArrowLeft")
    screen.wait_text("#mind", NONE)  # the second episode has no view yet
    screen.press("ArrowLeft")
    wait_step(screen, 2)
    screen.press("ArrowLeft")
    wait_step(screen, 1)
    screen.press("l")
    wait_step(screen, 4)


def test_the_overlay_is_switched_and_remembered(run: Run, open_page: Open) -> None:
    step_once(run, 4)
    screen = open_page()
    button = screen.find("[aria-label='Agent’s mind on the picture']")
    screen.wait(lambda: texts(screen, "Actions", ".mind-over")[:1] == [("LEFT", "20.0 %")], "the overlay")
    screen.wait_text(".mind-facts", "Value 4.500")
    screen.wait_text(".mind-facts", f"Entropy 0.9000 of {math.log(3):.3f}")
    screen.press("m")
    screen.wait(lambda: screen.find(".mind-over").is_hidden(), "no overlay")
    assert button.get_attribute("aria-pressed") == "false"
    assert screen.find("#mind").is_visible()
    screen.page.reload()
    wait_step(screen, 4)
    assert screen.find(".mind-over").is_hidden()
    button.click()
    screen.wait(lambda: screen.find(".mind-over").is_visible(), "the overlay again")
    screen.press("?")
    screen.wait_text("dialog", "Agent’s mind on the picture")
    screen.press("Escape")
    screen.page.set_viewport_size({"width": 390, "height": 844})
    screen.wait(lambda: screen.find(".tabs").is_visible(), "the phone's layout")
    over, facts = screen.find(".mind-over").bounding_box(), screen.find("#hud-top").bounding_box()
    assert over
    assert facts
    assert over["y"] >= facts["y"] + facts["height"], "it covers no status"
    assert over["width"] < 200


def test_continuous_actions_many_actions_and_vectors(run: Run, open_page: Open) -> None:
    run.mind(
        {
            "mean": [0.5, -0.25, 2.0], "deviation": [0.5, 0.25, None], "action": [0.75, -0.5, 1.0],
            "action_names": ["gas", "steer"], "entropy": 1.42, "observation": [3.0, None, *range(58)],
            "observation_names": ["angle"],
        },
        step=1,
    )  # fmt: skip
    screen = open_page()
    screen.wait_text("#mind", "0.5000 ± 0.5000")
    # The scale goes from −0.5 to 2: 40 per cent are one.
    assert bars(screen, "Action mean and deviation") == [
        ["gas", "0.5000 ± 0.5000", False, [20, 20], [20, 40], [50, 0]],
        ["steer", "−0.2500 ± 0.2500", False, [10, 10], [0, 20], [0, 0]],
        ["2", "2", False, [20, 80], None, [60, 0]],
    ]
    screen.wait_text("#mind", "1.420 nats")
    assert texts(screen, "Observation")[:3] == [("angle", "3"), ("1", "—"), ("2", "0")]
    screen.wait_text("#mind [aria-label='Observation']", "… 48 more")
    screen.wait_text("#mind", "60 numbers")
    assert screen.find("#mind [aria-label='Action probabilities']").is_hidden()
    many = [0.001] * 60
    many[41], many[7] = 0.5, 0.441
    run.mind({"probabilities": many, "action": 33}, step=2)
    screen.wait(lambda: texts(screen, "Action probabilities")[:2] == [("41", "50.0 %"), ("7", "44.1 %")], "the top two")
    rows = bars(screen, "Action probabilities")
    assert len(rows) == 18
    assert [row[0] for row in rows if row[2]] == ["33"], "the chosen one is always there"
    screen.wait_text("#mind [aria-label='Action probabilities']", "… 42 more")
    run.mind(
        {
            "probabilities": [[0.25, 0.75], [1.0, 0.0, 0.0]], "action": [1, 0], "entropy": 0.56,
            "action_names": [["jump", "duck"], ["left", "stay", "right"]],
            "observation_tiles": [2, 4], "observation_range": [0, 1], "observation_note": "the text is left out",
        },
        step=3, image=png(color_of(3), (16, 12)),
    )  # fmt: skip
    screen.wait_text("#mind", f"0.5600 of {math.log(2) + math.log(3):.3f} nats")
    rows = [(name, text, is_marked) for name, text, is_marked, *_ in bars(screen, "Action probabilities")]
    assert rows == [
        ("0: jump", "25.0 %", False), ("0: duck", "75.0 %", True),
        ("1: left", "100 %", True), ("1: stay", "0 %", False), ("1: right", "0 %", False),
    ]  # fmt: skip
    screen.wait_text("#mind", "8×6, 4 channels")
    screen.wait_text("#mind", "black 0, white 1; the text is left out")


def test_a_run_without_views_says_how_to_send_them_and_axe_finds_nothing(run: Run, open_page: Open) -> None:
    run.log({"loss": 1.0})
    run.frame(color_of(1), step=1)
    axe = Axe(screen := open_page(init=AXE, reduced_motion="reduce"))
    screen.wait_pixel(color_of(1))
    screen.find("[aria-label='Agent’s mind on the picture']").wait_for()
    assert screen.find("#mind").is_hidden()
    assert screen.find(".mind-why").count() == 0
    screen.press("m")
    screen.wait_text(".mind-why", "This trainer sends no policy output.")
    axe.check("no views")
    screen.find(".mind-why button").click()
    screen.wait_text("dialog", "hud.mind(")
    axe.check("how to send them")
    screen.press("Escape")
    run.vision(png((1, 2, 3)), action="RIGHT")
    step_once(run, 4)
    wait_step(screen, 4)
    screen.wait_text("#mind", "The policy agrees")
    assert screen.find(".mind-why").count() == 0
    axe.check("with views")
    run.frame(color_of(5), step=5, episode=2)
    screen.wait_text("#mind", NONE)
    axe.check("no view of this moment")
    axe.report()
