"""Figures, game panels, the metrics table and the alerts."""

from __future__ import annotations

from collections.abc import Callable

from tests.browser.page import Screen
from tests.browser.run import OldClient, Run, png
from tests.fixtures.web import WebServer

Open = Callable[..., Screen]


def test_a_figure_shows_its_way_and_its_change_from_before_the_page_was_opened(run: Run, open_page: Open) -> None:
    for iteration in range(1, 30):
        run.iterate(iteration, episode_return_mean=float(iteration))
    screen = open_page()
    screen.wait_tile("Episode return", "29")
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
    run.log({"position": "-"})  # an old client's way of saying that it does not know
    screen.wait(lambda: "x 12" not in screen.text("#game"), "the position to go")
    assert "undefined" not in screen.text("#game")


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
    screen.find("[aria-label='Copy what is listed']").click()
    copied = screen.page.evaluate("async () => navigator.clipboard.readText()")
    assert copied == "beta/one\t2.5\nbeta/two\ttext"
    screen.find("[aria-label='Filter metrics by name']").fill("")
    screen.find("[aria-label='Newest first']").click()
    run.log({"zeta": 1})
    screen.wait(lambda: next(iter(screen.rows())) == "zeta", "the newest first")
    screen.find("[aria-label='What to list']").select_option("updates")
    screen.wait_text("#table", "zeta 1")
    screen.find("[aria-label='Hold the table']").click()
    run.log({"eta": 9})
    screen.find("[aria-label='What to list']").select_option("values")
    screen.find("[aria-label='Hold the table']").click()
    screen.wait_metric("eta", "9")


def test_alerts_are_said_once_listed_and_marked(run: Run, open_page: Open) -> None:
    run.frame((1, 2, 3), step=1)
    for iteration in range(1, 14):
        run.iterate(iteration, policy_loss=0.1, episode_return_mean=100.0)
    screen = open_page()
    screen.wait_tile("Iteration", "13")
    for iteration in range(14, 26):
        run.iterate(iteration, policy_loss=0.1, episode_return_mean=100.0)
    screen.wait_tile("Iteration", "25")
    run.iterate(26, policy_loss=float("nan"), episode_return_mean=100.0)
    screen.wait_text("#toasts", "Loss is not a number")
    screen.wait_text("#log", "policy_loss")
    for iteration in range(27, 32):
        run.iterate(iteration, policy_loss=0.1, episode_return_mean=1.0)
    screen.wait_text("#toasts", "The return collapses")
    for _ in range(3):
        run.vision(png((9, 9, 9)), error="time-out")
    screen.wait_text("#toasts", "The vision LLM fails")
    run.log({"milestones": {"dungeon_entered": False}})
    run.log({"milestones": {"dungeon_entered": True}})
    screen.wait_text("#log", "Milestone dungeon entered")
    assert screen.text("#log").count("The return collapses") == 1


def test_an_alert_needs_no_iterations_and_no_luck(stack: WebServer, channel: str, open_page: Open) -> None:
    old = OldClient(stack, channel)
    old.update({"n": 1, "llm_calls": 0, "llm_success_rate": 0})
    screen = open_page()
    screen.wait_metric("n", "1")
    old.update({"learner": {"vf_loss": float("inf"), "fine": 1}, "reward": float("nan")})  # the first loss of all
    screen.wait_text("#toasts", "learner/vf_loss: NaN or infinite")
    old.update({"n": 2})  # says nothing of the loss: that is no mistake
    for _ in range(12):
        old.update({"episode_return": 100.0})
    screen.wait_tile("Episode return", "100")
    assert "success rate is low" not in screen.text("#log")  # there was no call yet
    for _ in range(12):
        old.update({"episode_return": 0.0})
    screen.wait_text("#toasts", "The return collapses")
    old.update({"llm_calls": 10, "llm_success_rate": 0.2})
    screen.wait_text("#log", "success rate is low: 20.0 %")
    assert screen.text("#log").count("not a number") == 1


def test_the_limits_of_the_alerts_are_the_viewers(run: Run, open_page: Open) -> None:
    run.log({"llm_success_rate": 0.9})
    screen = open_page()
    screen.wait_metric("llm_success_rate", "0.9000")
    run.vision(png((1, 1, 1)), response="fine")
    screen.wait_text("#vision", "fine")
    screen.wait_text("#vision", "ok 90.0 %")
    assert "success rate is low" not in screen.text("#log")
    screen.find("[aria-label=Settings]").click()
    field = screen.page.get_by_label("Vision LLM fails below")
    field.fill("95")
    field.press("Tab")
    screen.press("Escape")
    run.vision(png((1, 1, 1)), response="fine again")
    screen.wait_text("#toasts", "success rate is low")
