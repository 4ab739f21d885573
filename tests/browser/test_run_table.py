"""The page /runs: one table of the runs of all channels, whose state is in its URL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.conftest import LONG_LEASE
from tests.browser.page import Screen
from tests.browser.run import Run
from tests.browser.test_axe import AXE, Axe
from tests.fixtures.servers import free_port
from tests.fixtures.web import WebServer

Open = Callable[..., Screen]
Serve = Callable[..., WebServer]

#: Everything that a viewer reads in the table and above it.
_TEXTS = """() => ['#count', '#bar', '#chosen', '#rows'].map((one) => document.querySelector(one).innerText
  .replace(/\\d+ (s|min \\d\\d s)/g, ''))"""


def configure(run: Run, **config: Any) -> None:
    """Publish the run's configuration."""
    body = {"session_id": run.session_id, "sections": {"config": config}}
    status, answer = run.server.post("/api/config", body, run.headers)
    assert status == 200, answer


@pytest.fixture
def sweep(stack: WebServer, channel: str) -> list[Run]:
    """Three runs, each on a channel of its own; the last one is live."""
    runs = []
    for number, (name, lr) in enumerate((("ppo", 0.001), ("ppo", 0.0003), ("sac", 0.001)), 1):
        runs.append(Run(stack, f"{channel}-{number}", name, info={"env": "Pong", "algorithm": name.upper()}))
        configure(runs[-1], lr=lr, gamma=0.99, model={"layers": number})
        runs[-1].log({"episode_return_mean": 100.0 * number}, step=1000 * number)
        if number < 3:
            runs[-1].end()
    return runs


@pytest.fixture
def open_table(open_page: Open, channel: str) -> Open:
    """Open the table with the runs of the test."""

    def open_(query: str = "", **options: Any) -> Screen:
        every = "&".join(f"channel={channel}-{number}" for number in range(1, 6))
        return open_page(f"{every}&{query}", path="runs", **options)

    return open_


def names(screen: Screen) -> list[str]:
    return screen.find(".runs .run-name").all_inner_texts()


def cells(screen: Screen, title: str) -> list[str]:
    """The texts of a column, from the top."""
    titles = [text.strip() for text in screen.find(".runs thead th").all_inner_texts()]
    return screen.find(f".runs tbody tr:not(.spacer) > :nth-child({titles.index(title) + 1})").all_inner_texts()


def wait_returns(screen: Screen, *returns: str) -> None:
    try:
        screen.wait(lambda: cells(screen, "Return") == list(returns), f"the returns {returns}")
    except AssertionError as error:
        raise AssertionError(f"{error}; it shows {screen.text('#rows')!r} {screen.text('#count')!r}") from None


def test_the_runs_of_all_channels_are_sorted_filtered_grouped_and_the_url_restores_it(
    sweep: list[Run], open_table: Open, chromium: Any, stack: WebServer, channel: str
) -> None:
    screen = open_table("sort=started")
    wait_returns(screen, "300", "200", "100")
    screen.find(".runs thead button", has_text="Return").click()
    assert screen.find(".runs th[aria-sort=descending]").inner_text().strip() == "Return"
    screen.find(".runs thead button", has_text="Return").click()
    wait_returns(screen, "100", "200", "300")
    screen.find("button", has_text="Columns").click()
    screen.find("[aria-label='Search columns']").fill("/lr$|layers/")
    screen.find(".columns-offered button", has_text="layers").click()
    screen.find(".columns-offered button", has_text="lr").click()
    screen.find("[aria-label='Move lr up']").click()
    screen.find("[aria-label='Remove Duration']").click()
    screen.press("Escape")
    screen.wait(lambda: cells(screen, "lr") == ["0.001", "0.0003", "0.001"], "the settings")
    assert cells(screen, "model/layers") == ["1", "2", "3"]
    screen.find(".runs thead button", has_text="lr").click()
    screen.wait(lambda: cells(screen, "lr") == ["0.001", "0.001", "0.0003"], "the greatest settings first")
    screen.expect_problem("400")
    field = screen.find("[aria-label='Filter runs by a regular expression']")
    field.fill("(ppo")
    screen.wait_text("#filter-error", "regular expression")
    field.fill("^ppo$|lr=0.0003")
    wait_returns(screen, "100", "200")
    screen.find("[aria-label='Group runs']").select_option("name")
    screen.wait_text("#count", "1 groups of 2 runs")
    assert cells(screen, "Return") == ["150 ± 70.71"]
    screen.find(".opener").click()
    wait_returns(screen, "150 ± 70.71", "100", "200")
    screen.find(".group .tick").click()
    screen.wait_text("#chosen", "2 ticked")
    texts = screen.page.evaluate(_TEXTS)
    fresh = chromium.new_page()
    fresh.goto(screen.page.url)
    screen.wait(lambda: fresh.evaluate(_TEXTS) == texts, "the same table in a fresh browser")
    fresh.close()


def test_ticked_runs_are_told_apart_by_their_settings_and_overlaid(sweep: list[Run], open_table: Open) -> None:
    screen = open_table("sort=started")
    wait_returns(screen, "300", "200", "100")
    screen.find(".runs .tick").first.click()
    screen.find(".runs .tick").nth(2).click(modifiers=["Shift"])
    screen.wait_text("#chosen", "3 ticked")
    screen.find("button", has_text="Only differences").click()
    screen.wait_text("#chosen", "2 settings differ")
    assert cells(screen, "lr") == ["0.001", "0.0003", "0.001"]
    assert "gamma" not in screen.text(".runs thead")
    screen.find(".runs .tick").nth(1).click()
    screen.wait_text("#chosen", "1 setting differs")
    screen.find("#chosen a").click()
    screen.wait_text("#run-name", "sac")
    assert f"session={sweep[2].sid}" in screen.page.url
    assert f"compare={sweep[0].channel}:{sweep[0].sid}" in screen.page.url


def test_a_live_run_is_followed_and_a_new_one_appears_on_top(
    sweep: list[Run], open_table: Open, stack: WebServer, channel: str
) -> None:
    screen = open_table()
    wait_returns(screen, "300", "200", "100")
    sweep[2].log({"episode_return_mean": 333.0}, step=4000)
    wait_returns(screen, "333", "200", "100")
    assert cells(screen, "Step")[0] == "4,000"
    fourth = Run(stack, f"{channel}-4", "newest")
    fourth.log({"episode_return_mean": 1.0})
    wait_returns(screen, "1", "333", "200", "100")
    screen.find(".runs thead button", has_text="Return").click()
    wait_returns(screen, "333", "200", "100", "1")
    Run(stack, f"{channel}-5", "offered").log({"episode_return_mean": 400.0})
    screen.find(".fresh", has_text="1 new run").click()
    wait_returns(screen, "400", "333", "200", "100", "1")


def test_labels_and_deletion_need_the_token_and_survive_a_reload(serve: Serve, open_page: Open) -> None:
    view_port = free_port()
    server = serve(environment=LONG_LEASE | {"HUD_TOKEN": "open sesame", "HUD_VIEW_PORT": str(view_port)})
    for name in ("old", "live"):
        run = Run(server, name, name, token="open sesame")
        run.log({"n": 1})
        if name == "old":
            run.end()
    screen = open_page("sort=name&order=asc&channel=live&channel=old", path="runs", server=server)
    screen.expect_problem("401")
    screen.wait(lambda: names(screen) == ["live", "old"], "both runs")
    screen.find("[aria-label='Pin old']").click()
    screen.find("dialog [aria-label=Token]").fill("open sesame")
    screen.find("dialog button", has_text="Use token").click()
    screen.find("[aria-label='Pin old'][aria-pressed=true]").wait_for()
    screen.find("[aria-label='Details of old']").click()
    screen.find("[aria-label='Add a tag']").fill("baseline")
    screen.press("Enter")
    screen.wait_text(".saved", "Saved")
    screen.find("#run-note").fill("keep <b>this</b>")
    screen.press("Escape")
    screen.page.wait_for_timeout(200)
    screen.page.reload()
    screen.wait(lambda: names(screen) == ["old", "live"], "the pinned run first")
    assert screen.find(".runs .tag").all_inner_texts() == ["baseline"]
    screen.find("[aria-label='Details of live']").click()
    assert screen.find("dialog button", has_text="Delete …").is_disabled()
    assert "It is live" in screen.text("dialog")
    screen.press("Escape")
    screen.find("[aria-label='Details of old']").click()
    assert screen.find("#run-note").input_value() == "keep <b>this</b>"
    screen.find("dialog button", has_text="Delete …").click()
    assert "cannot be undone" in screen.text("dialog[data-name=delete]")
    screen.find("dialog button", has_text="Delete this run").click()
    screen.find("dialog [aria-label=Token]").fill("open sesame")
    screen.find("dialog button", has_text="Use token").click()
    screen.wait(lambda: names(screen) == ["live"], "the run to disappear")
    screen.page.goto(f"http://127.0.0.1:{view_port}/runs")
    screen.find("[aria-label='Details of live']").click()
    assert screen.find("#run-note").is_disabled()
    assert "view-only" in screen.text("dialog")


def test_axe_finds_nothing_in_the_table(sweep: list[Run], open_table: Open) -> None:
    axe = Axe(screen := open_table("sort=started&column=status&column=return&column=config.lr", init=AXE))
    wait_returns(screen, "300", "200", "100")
    screen.find(".runs .tick").first.click()
    screen.wait_text("#chosen", "1 ticked")
    screen.find("[aria-label='Group runs']").select_option("name")
    screen.find(".opener").first.click()
    axe.check("groups, with a ticked run")
    screen.find("button", has_text="Columns").click()
    screen.find(".columns-offered button", has_text="layers").wait_for()
    axe.check("columns")
    screen.press("Escape")
    screen.find(".details").first.click()
    screen.find("#run-note").wait_for()
    axe.check("details")
    screen.press("Escape")
    screen.find("[aria-label='Filter runs by a regular expression']").fill("nosuch")
    screen.wait_text("#rows", "No run matches")
    screen.page.set_viewport_size({"width": 390, "height": 844})
    assert screen.page.evaluate("() => document.documentElement.scrollWidth") <= 390
    axe.check("no run on a phone")
    axe.report()
