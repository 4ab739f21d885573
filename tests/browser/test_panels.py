"""Figures, game panels, the metrics table and the alerts."""

from __future__ import annotations

import re
from collections.abc import Callable

from hud_publisher.protocol.entries import MetricsEntry
from tests.browser.page import Screen
from tests.browser.run import OldClient, Run, now_ms, png
from tests.fixtures.web import WebServer

Open = Callable[..., Screen]


def test_a_figure_shows_its_course_and_change_from_before_the_page_was_opened(run: Run, open_page: Open) -> None:
    for iteration in range(1, 30):
        run.iterate(iteration, episode_return_mean=float(iteration))
    screen = open_page()
    screen.wait_tile("Episode return (mean)", "29")
    spark = screen.find(".tile canvas").first
    screen.wait(lambda: screen.ink(spark) > 30, "the sparkline")


def test_panels_of_the_game_appear_when_their_fields_do(run: Run, open_page: Open) -> None:
    screen = open_page()
    run.log({"n": 1})
    screen.wait_metric("n", "1")
    assert screen.find("#game").is_hidden()
    run.log(
        {
            "location": "Eastern Woods", "room_id": 17, "position": {"x": 12, "y": 44},
            "health": {"current": 2, "max": 3},
            "entities": {"npcs": 2, "enemies": 0, "items": ["sword"]}, "boss": {"current": 310, "max": 900},
            "milestones": {"maku_tree_entered": True, "dungeon_entered": False},
            "exploration": {"rooms_discovered": 31, "grid_areas": 4}, "epoch": 5, "episode_id": 77,
        }
    )  # fmt: skip
    screen.wait_text("#game", "Eastern Woods")
    screen.wait_text("#game", "x 12 · y 44")
    assert screen.find("#game .hearts .icon").count() == 3
    assert screen.find("#game .hearts .lost").count() == 1
    assert screen.find("#game meter").count() == 1
    assert screen.find("#game .milestone.done").inner_text().startswith("maku tree entered")
    for text in ("rooms discovered", "31", "[sword]", "TRAINING PROGRESS", "EXPLORATION", "ENTITIES"):
        assert text in screen.text("#game")
    run.log({"position": "-"})  # an old client's text for an unknown value
    screen.wait(lambda: "x 12" not in screen.text("#game"), "the position to go")
    assert "undefined" not in screen.text("#game")


def test_fields_of_a_trainer_are_no_game(run: Run, open_page: Open) -> None:
    screen = open_page()
    run.log({"entities": {"npcs": 2}})
    screen.wait_text("#game", "ENTITIES")
    trainer = ("timers", "env_runners", "learners", "info", "sampler_results", "time", "rollout", "train", "losses",
               "charts", "perf", "Loss", "Train", "Perf", "replay_buffer", "Reward", "eval")  # fmt: skip
    run.log({name: {"sample": {"mean": 3.5}, "entropy": 0.5} for name in trainer} | {"inventory": ["sword"]})
    screen.wait_text("#game", "sword")
    assert screen.find("#game h3").all_inner_texts() == ["GAME STATE", "ENTITIES"]


def test_the_panels_of_the_old_page_appear_one_by_one_from_its_clients_fields(
    stack: WebServer, channel: str, open_page: Open
) -> None:
    old = OldClient(stack, channel)
    screen = open_page()
    old.update({"llm_suggestion": "UP", "llm_calls": 318, "llm_success_rate": 1.0, "llm_alignment": 0.5})
    for text in ("LLM GUIDANCE", "suggests UP", "calls 318", "ok 100 %", "aligned 50.0 %"):
        screen.wait_text("#vision", text)
    assert screen.find("#game").is_hidden()
    old.update({"epoch": 3, "episode_id": 12, "episode": 12, "global_step": 4800, "episode_length": 210})
    screen.wait_text("#game", "TRAINING PROGRESS")
    old.update({"location": "Hyrule", "room_id": 17, "position": "-", "health": {"current": 3}})
    screen.wait_text("#game", "GAME STATE")
    assert "Hyrule" in screen.text("#game")
    assert "position\n—" in screen.text("#game")
    assert "3 / —" in screen.text("#game")
    old.update({"position": {"x": 5}, "health": {"max": 4, "current": 2.5}})
    screen.wait_text("#game", "x 5 · y —")
    assert screen.find("#game .hearts .half").count() == 1
    old.update({"entities": {"npcs": [{"id": 1}, {"id": 2}], "enemies": 0, "items": []}})
    screen.wait_text("#game", "npcs\n2")
    old.update({"milestones": {"maku_tree_entered": True, "sword_usage": 14}})
    screen.wait_text("#game", "sword usage\n14")
    old.update({"exploration": {"rooms_discovered": 3, "grid_areas": 4, "buildings_entered": 0}})
    screen.wait_text("#game", "buildings entered\n0")
    for wrong in ("undefined", "NaN", "[object", "null"):
        assert wrong not in screen.text("body")


def test_numbers_of_a_client_that_knows_no_steps_are_drawn_over_time(
    stack: WebServer, channel: str, open_page: Open
) -> None:
    old = OldClient(stack, channel)
    screen = open_page()
    for number in range(1, 6):
        old.update({"entropy": 1 / number})
    chart = screen.find(".chart[aria-label='Entropy · KL']")
    screen.wait_text(".chart[aria-label='Entropy · KL'] .legend", "0.2000")
    assert chart.locator(".empty").is_hidden()
    screen.wait(lambda: screen.ink(chart.locator("canvas")) > 100, "the line")
    old.update({"global_step": 700, "entropy": 0.1})
    screen.wait_tile("Env steps", "700")
    screen.wait_text(".chart[aria-label='Entropy · KL'] .legend", "0.1000")


def test_the_steps_of_frames_and_updates_fill_figures_that_have_no_field(run: Run, open_page: Open) -> None:
    screen = open_page()
    run.log({"n": 1}, step=400)
    screen.wait_tile("Env steps", "400")
    run.frame((1, 2, 3), step=432)
    screen.wait_tile("Env steps", "432")


def test_the_table_filters_sorts_holds_and_copies(run: Run, open_page: Open) -> None:
    run.log({"alpha": 1, "beta/one": 2.5, "beta/two": "text"})
    screen = open_page(permissions=["clipboard-read", "clipboard-write"])
    screen.wait_metric("beta/two", "text")
    screen.press("/")
    screen.page.keyboard.type("beta")
    screen.wait(lambda: screen.metric("alpha") is None, "the filter")
    screen.find("[aria-label='Copy the list']").click()
    copied = screen.page.evaluate("async () => navigator.clipboard.readText()")
    assert copied == "beta/one\t2.5\nbeta/two\ttext"
    screen.find("[aria-label='Filter metrics by name']").fill("")
    screen.find("[aria-label='Newest first']").click()
    run.log({"zeta": 1})
    screen.wait(lambda: next(iter(screen.rows())) == "zeta", "the newest first")
    screen.find("[aria-label='List values or updates']").select_option("updates")
    screen.wait_text("#table", "zeta 1")
    screen.find("[aria-label='Pause the table']").click()
    run.log({"eta": 9})
    screen.find("[aria-label='List values or updates']").select_option("values")
    screen.find("[aria-label='Pause the table']").click()
    screen.wait_metric("eta", "9")


def test_alerts_are_announced_once_and_listed(run: Run, open_page: Open) -> None:
    run.frame((1, 2, 3), step=1)
    screen = open_page()
    screen.wait_text("#run-name", run.name)
    for iteration in range(1, 26):
        run.iterate(iteration, policy_loss=0.1, episode_return_mean=100.0)
    screen.wait_tile("Iteration", "25")
    run.iterate(26, policy_loss=float("nan"), episode_return_mean=100.0)
    screen.wait_text("#toasts", "policy_loss is NaN")
    screen.wait_text("#log", "policy_loss is NaN")
    for iteration in range(27, 60):
        run.iterate(iteration, policy_loss=0.1, episode_return_mean=1.0)
    screen.wait_text("#toasts", "The return collapsed")
    for _ in range(3):
        run.vision(png((9, 9, 9)), error="time-out")
    screen.wait_text("#toasts", "The vision LLM failed 3 times in a row")
    run.log({"milestones": {"dungeon_entered": False}})
    run.log({"milestones": {"dungeon_entered": True}})
    screen.wait_text("#log", "Milestone: dungeon entered")
    assert screen.text("#log").count("The return collapsed") == 1


def test_fields_that_break_together_are_one_alert(stack: WebServer, channel: str, open_page: Open) -> None:
    old = OldClient(stack, channel)
    old.update({"n": 1})
    screen = open_page()
    screen.wait_metric("n", "1")
    old.update({"learner": {"vf_loss": float("inf"), "fine": 1}, "reward": float("nan")})  # the first loss of all
    screen.wait_text("#toasts", "learner/vf_loss is Infinity")
    screen.wait_text("#toasts", "reward is NaN")
    assert screen.find("#toasts .toast").count() == 1


def test_numbers_are_as_exact_as_they_need_to_be(run: Run, open_page: Open) -> None:
    run.log({"num_env_steps_sampled_lifetime": 1_002_345_678, "episode_return_mean": 197.7}, step=1)
    run.log({"explained_variance": 0.99999, "almost_three": 2.99999, "just_one": 1.0, "share": 0.5}, step=2)
    run.publish(MetricsEntry({"seed": 18_446_744_073_709_551_557, "small": 9_007_199_254_740_991}, now_ms(), 3))
    screen = open_page()
    screen.wait_tile("Env steps", "1.00235B")
    run.log({"num_env_steps_sampled_lifetime": 1_002_365_678, "episode_return_mean": 197.577})
    screen.wait_tile("Env steps", "1.00237B")
    wanted = {
        "explained_variance": "0.99999", "almost_three": "2.99999", "just_one": "1", "share": "0.5000",
        "seed": "18446744073709551557", "small": "9.01e15",
    }  # fmt: skip
    screen.wait(lambda: wanted.items() <= screen.rows().items(), "exact numbers")
    cut = "(cells) => cells.filter((cell) => cell.scrollWidth > cell.clientWidth).map((cell) => cell.innerText)"
    screen.page.evaluate("() => document.fonts.ready.then(() => null)")  # the font of the system is wider
    assert screen.find("#table .row:not([hidden]) .value").evaluate_all(cut) == []
    change = screen.find(".tile", has_text="EPISODE RETURN").locator(".change")
    screen.wait(lambda: re.fullmatch(r"−0\.1 in \d+ s", change.inner_text()), "a change no more exact than its value")


def test_a_share_in_per_cent_stays_one_when_it_is_small(run: Run, open_page: Open) -> None:
    run.log({"llm_calls": 10, "success_rate": 42.0}, step=1)
    screen = open_page()
    screen.wait_text("#vision", "ok 42.0 %")
    run.log({"success_rate": 0.8}, step=2)
    screen.wait_text("#vision", "ok 0.8 %")


def test_a_browser_that_refuses_notifications_turns_the_switch_off(run: Run, open_page: Open) -> None:
    run.log({"n": 1})
    refusing = """window.Notification = class { constructor() { throw new TypeError('Illegal constructor'); }
      static permission = 'granted'; static requestPermission() { return Promise.resolve('granted'); } };"""
    screen = open_page(init=refusing)
    screen.wait_metric("n", "1")
    screen.find("[aria-label='Settings']").click()
    switch = screen.find("dialog label", has_text="Browser notifications").locator("input")
    switch.click()
    screen.wait(lambda: not switch.is_checked(), "the switch to be off")
