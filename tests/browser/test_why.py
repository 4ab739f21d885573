"""Why a run fails: the verdict with its evidence, the processes, the configuration and the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis as redis_client

from hud_publisher.protocol.entries import MetricsEntry
from hud_publisher.protocol.values import to_json
from tests.browser.page import Screen
from tests.browser.run import Run, now_ms
from tests.browser.test_axe import AXE, Axe

Open = Callable[..., Screen]
StartRun = Callable[..., Run]


def judge(run: Run, level: str, *clauses: dict[str, Any]) -> None:
    """Store a verdict as the monitor does."""
    parts = [{"pattern": None, "fields": [], "time_ms": None, "step": None, "entry_id": None} | one for one in clauses]
    verdict = {"level": level, "text": ", ".join(one["text"] for one in parts), "clauses": parts, "time_ms": now_ms()}
    with redis_client.Redis.from_url(run.server.redis_url) as connection:
        connection.hset(f"hud:{{{run.channel}}}:s:{run.sid}:monitor", "verdict", to_json(verdict))


def report(run: Run, writer: str = "w1", **data: Any) -> None:
    """Publish a report of a process."""
    run.publish(MetricsEntry(data, now_ms(), run.step, "reports"), writer=writer)


def use(run: Run, **processes: dict[str, Any]) -> None:
    """Publish the use of the machine by processes."""
    run.publish(MetricsEntry({"machine": processes}, now_ms(), None, "machine"))


def die(run: Run) -> None:
    """The death of an env runner, with its report."""
    report(
        run,
        kind="death",
        process="env runner 2",
        exception="ValueError",
        message="expected 4 actions, got 5",
        traceback="env.py:12 in step: self.move(action)\ngame.py:40 in move: raise ValueError",
        exit_code=1,
        memory_bytes=3_100_000_000,
    )
    report(run, kind="restart", process="env runner 2", cause="the process ended: SIGKILL")
    for level, text in (("WARNING", "the joystick lags"), ("ERROR", "no such room: <b>9</b>")):
        report(run, kind="log", process="env runner 2", level=level, logger="game", text=text)


def test_the_verdict_names_the_cause_and_leads_to_its_evidence(run: Run, open_page: Open) -> None:
    for step in range(8):
        run.log({"entropy": 1.0 / (step + 1), "odd/thing": step})
    run.play(1)
    screen = open_page(init=AXE, reduced_motion="reduce")
    screen.wait(lambda: screen.find(".chart canvas").count() > 0, "the charts")
    run.log({"odd/thing": float("nan")})
    screen.wait_text("#verdict .level", "PROBLEM")
    screen.wait_text("#verdict", "NaN: odd/thing")
    screen.wait(lambda: screen.page.title().startswith("NaN · ppo-breakout"), "the title to say so")
    screen.find("#verdict .clauses button").first.click()
    screen.wait_text(".chart.evidence", "thing")
    screen.find("#stage-title").click()
    screen.press("Space")
    screen.wait_text("#verdict .level", "NOW")
    axe = Axe(screen)
    axe.check("a verdict, rewound")
    axe.report()


def test_a_past_session_keeps_its_last_verdict(run: Run, open_page: Open) -> None:
    run.log({"entropy": 1.0, "return": 3.0}, step=3)
    run.log({"entropy": 0.02, "return": 1.0}, step=9)
    run.play(1)
    middle_ms = now_ms()
    run.play(1, first=2, pause_s=0.4)
    run.end()
    screen = open_page()
    screen.wait_text("#verdict", "Ended")
    judge(
        run,
        "warning",
        {"text": "Entropy 0.02 since step 3", "pattern": "entropy_collapse", "fields": ["entropy"], "step": 3},
        {"text": "return fell from 3 to 1", "fields": ["return"]},
        {"text": "best 10 at step 15", "fields": ["return"], "time_ms": middle_ms - 20_000, "step": 15},
        {"text": "worst 1 at step 9", "fields": ["return"], "time_ms": middle_ms, "step": 9},
    )
    screen.page.reload()
    screen.wait_text("#verdict", "WARNING")
    screen.wait(lambda: screen.page.title().startswith("Entropy 0.02 · ppo-breakout"), "the title to say so")
    screen.wait(lambda: screen.find(".chart canvas").count() > 0, "the charts")
    clauses = screen.find("#verdict .clauses button")
    assert clauses.all_inner_texts() == [
        "Entropy 0.02 since step 3", "return fell from 3 to 1", "best 10 at step 15", "worst 1 at step 9"
    ]  # fmt: skip
    for number, chart in enumerate(("Entropy", "return")):
        clauses.nth(number).click()
        screen.wait_text(".chart.evidence", chart)
    screen.wait_text("#bottom", "kept")
    clauses.nth(2).click()
    screen.wait_state("ENDED")  # no frame of that time is kept
    clauses.nth(3).click()
    screen.wait_state("PAUSED")


def test_a_dead_process_says_why_with_its_traceback_and_its_log(run: Run, open_page: Open) -> None:
    run.log({"loss": 1.0})
    screen = open_page(init=AXE, reduced_motion="reduce")
    screen.wait_metric("loss", "1")
    opener = screen.find("#verdict button:has-text('Processes')")
    assert opener.is_hidden()
    die(run)
    opener.click()
    for words in ("env runner 2 died", "ValueError: expected 4 actions, got 5", "3.1 GB", "game.py:40", "SIGKILL"):
        screen.wait_text("dialog .incidents", words)
    screen.wait_text("dialog .log-lines", "no such room: <b>9</b>")
    axe = Axe(screen)
    axe.check("processes")
    screen.find("dialog [aria-label='Search log lines']").fill("joystick")
    screen.wait(lambda: screen.find(".log-lines li").count() == 1, "one line")
    screen.wait_text("dialog .log-lines", "the joystick lags")
    axe.report()
    late = open_page(f"session={run.sid}", size=(390, 844))
    late.find("#verdict button:has-text('Processes')").click()
    late.wait_text("dialog .incidents", "game.py:40")
    late.wait_text("dialog .log-lines", "the joystick lags")


def test_the_machine_has_charts_of_its_own_with_units(run: Run, open_page: Open) -> None:
    run.log({"loss": 1.0})
    for number in range(3):
        gigabytes = 1_000_000_000 * (number + 1)
        use(
            run,
            driver={"cpu_percent": 40.0 + number, "memory_bytes": gigabytes},
            **{
                "env runner 2": {"cpu_percent": 90.0, "memory_bytes": gigabytes * 2},
                "node box": {"network_sent_bytes_per_s": 2e6, "network_received_bytes_per_s": 3e6},
            },
        )
    screen = open_page(init=AXE, reduced_motion="reduce")
    screen.wait_metric("loss", "1")
    assert set(screen.rows()) == {"loss"}
    screen.wait(lambda: screen.find(".chart canvas").count() == 1, "the chart of the loss alone")
    assert screen.find("#game").is_hidden()
    screen.find("#chart-bar button:has-text('Machine')").click()
    screen.wait_text("#chart-scroll", "All processes")
    screen.wait_text("#chart-scroll", "env runner 2 6 GB")
    screen.find("article[aria-label=Network]").scroll_into_view_if_needed()
    screen.wait_text("#chart-scroll", "Network sent 2 MB/s")
    axe = Axe(screen)
    axe.check("the machine")
    axe.report()


def configure(run: Run, **sections: Any) -> None:
    """Store sections of the run's configuration."""
    status, answer = run.server.post("/api/config", {"session_id": run.session_id, "sections": sections})
    assert status == 200, answer


def test_the_configuration_is_searched_and_compared_with_another_run(start_run: StartRun, open_page: Open) -> None:
    past = start_run("past")
    configure(past, config={"lr": 0.1, "model": {"layers": [64, 64]}, "gamma": 0.99}, versions={"ray": "2.59"})
    past.end()
    run = start_run()
    long = "x" * 500
    configure(run, config={"lr": 0.0003, "model": {"layers": [64, 64], "free": long}, "gamma": 0.99})
    screen = open_page(f"session={run.sid}", init=AXE, reduced_motion="reduce")
    screen.wait_text("#run-name", "ppo-breakout")
    screen.press("c")
    tree = screen.find("dialog .tree")
    screen.wait_text("dialog .tree", "0.0003")
    screen.find("dialog .tree summary", has_text="model").click()
    assert long not in tree.inner_text()
    screen.find("dialog .tree button", has_text="more").click()
    assert long in tree.inner_text()
    axe = Axe(screen)
    axe.check("the tree")
    screen.find("dialog [aria-label='Search the configuration']").fill("layers")
    screen.wait_text("dialog [role=status]", "1 of 4 values")
    assert "[64,64]" in tree.inner_text()
    screen.find("dialog [aria-label='Search the configuration']").fill("")
    screen.find("dialog [aria-label='Compare with another session']").select_option(index=1)
    rows = screen.find("dialog .differences tbody tr")
    screen.wait(lambda: rows.count() == 3, "the differences")
    assert rows.first.inner_text().split("\t") == ["config › lr", "0.0003", "0.1"]
    screen.wait_text("dialog .differences", "not set")
    axe.check("the differences")
    screen.find("dialog input[type=checkbox]").check()
    screen.wait(lambda: rows.count() == 5, "equal values, too")
    axe.report()
