"""Which session, channel and env is shown; and how many streams that takes."""

from __future__ import annotations

from collections.abc import Callable

from tests.browser.page import Screen
from tests.browser.run import Run, color_of, png
from tests.fixtures.web import WebServer

Open = Callable[..., Screen]
StartRun = Callable[..., Run]
Serve = Callable[..., WebServer]


def test_a_past_session_is_opened_and_left_again(start_run: StartRun, open_page: Open) -> None:
    past = start_run("yesterday")
    past.log({"only_yesterday": 1})
    past.frame(color_of(1), step=1, episode=1)
    past.end()
    present = start_run("today")
    present.log({"only_today": 1})
    screen = open_page()
    screen.wait_metric("only_today", "1")
    screen.press("Control+k")
    screen.wait_text("dialog", "yesterday")
    screen.wait_text("dialog", "ended")
    screen.find("dialog .own .session", has_text="yesterday").click()
    screen.wait_metric("only_yesterday", "1")
    screen.wait_pixel(color_of(1))
    screen.wait_state("ENDED")
    assert f"session={past.sid}" in screen.page.url
    screen.page.go_back()
    screen.wait_metric("only_today", "1")
    assert screen.metric("only_yesterday") is None
    screen.page.goto(f"{screen.server.url}/?channel={screen.channel}&session={past.sid}")
    screen.wait_metric("only_yesterday", "1")


def test_another_channel_is_opened_by_its_name(run: Run, stack: WebServer, open_page: Open) -> None:
    other = Run(stack, f"{run.channel}-other", "elsewhere")
    other.log({"elsewhere": 1})
    screen = open_page()
    screen.wait_text("#run-name", "ppo-breakout")
    screen.find("#picker").click()
    screen.find("dialog [aria-label=Channel]").fill(other.channel)
    screen.find("dialog button:has-text('Open')").click()
    screen.wait_text("#run-name", "elsewhere")
    screen.wait_metric("elsewhere", "1")
    assert f"channel={other.channel}" in screen.page.url


def test_the_picker_lists_all_channels_with_those_that_have_a_run_first(
    serve: Serve, run: Run, stack: WebServer, open_page: Open
) -> None:
    """As Tune makes them with channel="auto": nobody types their names."""
    prefix = f"{run.channel}-PPO"
    for number in range(4):
        trial = Run(stack, f"{prefix}-{number}", f"trial {number}")
        trial.log({"lr": number})
        if number % 2:
            trial.end()
    screen = open_page()
    screen.wait_text("#run-name", "ppo-breakout")
    screen.press("Control+k")
    screen.find("dialog [aria-label='Filter sessions and channels']").fill(prefix)
    links = screen.find("dialog .channels a")
    screen.wait(lambda: links.count() == 4, "the four trials")
    names = [text.split("\n")[0] for text in links.all_inner_texts()]
    assert names == [f"{prefix}-2", f"{prefix}-0", f"{prefix}-3", f"{prefix}-1"]
    assert [("live" in text, "ended" in text) for text in links.all_inner_texts()] == [(True, False)] * 2 + [
        (False, True)
    ] * 2
    assert run.channel not in names  # the one that is shown
    address = links.nth(1).get_attribute("href")
    links.nth(2).click()
    screen.wait_metric("lr", "3")
    assert f"channel={prefix}-3" in screen.page.url
    screen.page.goto(f"{screen.server.url}/{address}")
    screen.wait_metric("lr", "0")


def test_an_open_picker_follows_the_runs_of_all_channels_and_compares_any_of_them(
    run: Run, stack: WebServer, open_page: Open
) -> None:
    run.log({"loss": 1.0})
    screen = open_page()
    screen.wait_text("#run-name", "ppo-breakout")
    screen.press("Control+k")
    screen.find("dialog [aria-label='Filter sessions and channels']").fill(f"{run.channel}-late tuned")
    screen.wait_text("dialog .sessions", "No session of this channel matches.")
    late = Run(stack, f"{run.channel}-late", "tuned")
    late.log({"loss": 2.0})
    row = screen.find("dialog .channels li", has_text=late.channel)
    row.get_by_text("live").wait_for()
    row.get_by_label("Compare with tuned of").check()
    row.locator("a").focus()
    late.end()
    row.get_by_text("ended").wait_for()
    assert row.get_by_label("Compare with tuned of").is_checked()
    screen.press("Escape")
    screen.wait(lambda: screen.find(".compared").count() == 1, "the run of the other channel")


def test_a_page_whose_channel_is_empty_leads_to_those_that_have_a_run(
    stack: WebServer, channel: str, open_page: Open
) -> None:
    screen = open_page()
    screen.wait_state("WAITING")
    trial = Run(stack, f"{channel}-PPO_1", "trial")
    trial.log({"lr": 3})
    screen.find("#placeholder a", has_text=f"{channel}-PPO_1").click()
    screen.wait_metric("lr", "3")
    assert f"channel={channel}-PPO_1" in screen.page.url


def test_more_channels_than_one_answer_holds_are_all_found_by_name(
    serve: Serve, start_run: StartRun, open_page: Open
) -> None:
    server = serve(environment={"HUD_SESSION_TTL": "600"})
    for number in range(230):
        server.post("/api/register_session", {"channel": f"trial-{number:03}", "run_id": f"run-{number}"})
    screen = open_page(server=server)
    screen.press("Control+k")
    screen.wait_text("dialog .channels", "130 more: filter by name")
    screen.find("dialog [aria-label='Filter sessions and channels']").fill("trial-003")
    screen.wait(lambda: screen.find("dialog .channels a").count() == 1, "the oldest one")


def test_a_click_on_a_thumbnail_asks_for_that_env_and_nothing_jumps(run: Run, open_page: Open) -> None:
    screen = open_page()
    screen.wait_text("#run-name", "ppo-breakout")
    run.frame(color_of(1), env=(1, 0), step=1)
    for env in ((1, 0), (1, 1), (2, 0)):
        run.frame(color_of(sum(env)), env=env, size=(40, 30), kind="thumbs")
    screen.wait(lambda: screen.find("#strip button").count() == 3, "three thumbnails")
    screen.wait_pixel(color_of(2), "#strip button:nth-child(2) canvas")
    screen.wait(lambda: screen.find("#strip button").first.get_attribute("aria-pressed") == "true", "the env shown")
    screen.press("3")
    screen.wait_text("#toasts", "w2/e0 will be shown from its next episode on")
    answer = run.server.post("/api/heartbeat", {"session_id": run.session_id})[1]
    assert answer["reporter"] == {"worker_index": 2, "env_index": 0}
    assert screen.pixel() == color_of(1)


def test_the_token_is_asked_for_and_kept_in_memory_only(serve: Serve, start_run: StartRun, open_page: Open) -> None:
    server = serve(environment={"HUD_TOKEN": "open sesame"})
    run = start_run(server=server, token="open sesame")
    screen = open_page(server=server)
    screen.expect_problem("401")
    screen.wait_text("#run-name", "ppo-breakout")
    for env in ((1, 0), (1, 1)):
        run.frame(color_of(sum(env)), env=env, size=(40, 30), kind="thumbs")
    screen.wait(lambda: screen.find("#strip button").count() == 2, "two thumbnails")
    screen.find("#strip button").nth(1).click()
    screen.find("dialog [aria-label=Token]").fill("wrong")
    screen.find("dialog button:has-text('Use token')").click()
    screen.wait_text("dialog", "That token was not accepted.")
    screen.find("dialog [aria-label=Token]").fill("open sesame")
    screen.find("dialog button:has-text('Use token')").click()
    screen.wait_text("#toasts", "w1/e1 will be shown")
    stored = screen.page.evaluate(
        "() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
    )
    assert "sesame" not in stored


def test_a_takeover_is_announced(serve: Serve, start_run: StartRun, open_page: Open) -> None:
    server = serve(environment={"HUD_TOKEN": "t"})
    first = start_run("first-run", server=server, token="t")
    first.log({"of_the_first": 1})
    screen = open_page(server=server)
    watching = screen.open(f"session={first.sid}")
    screen.wait_metric("of_the_first", "1")
    second = start_run("second-run", server=server, token="t", takeover=True)
    screen.wait_state("TAKEN OVER")
    screen.wait_text("#toasts", "second-run took the channel from first-run")
    assert screen.find("#toasts .toast").count() == 1
    assert screen.page.title().startswith("LIVE"), "the run that took over is not the one taken over"
    second.log({"of_the_second": 2})
    screen.wait_metric("of_the_second", "2")
    assert screen.metric("of_the_first") is None
    screen.page = watching
    for _ in range(2):
        screen.wait_state("TAKEN OVER")
        screen.wait_metric("of_the_first", "1")
        assert screen.metric("of_the_second") is None
        watching.reload()


def test_a_page_of_one_session_stays_with_it(serve: Serve, start_run: StartRun, open_page: Open) -> None:
    server = serve()
    first = start_run("first-run", server=server)
    first.log({"of_the_first": 1})
    screen = open_page(f"session={first.sid}", server=server)
    follower = screen.open()
    screen.wait_metric("of_the_first", "1")
    first.end()
    start_run("second-run", server=server).log({"of_the_second": 2})
    named, screen.page = screen.page, follower
    screen.wait_metric("of_the_second", "2")
    screen.page = named
    screen.wait_state("ENDED")
    screen.wait_metric("of_the_first", "1")
    assert screen.metric("of_the_second") is None


def test_a_run_that_stays_silent_is_reported_as_lost(serve: Serve, start_run: StartRun, open_page: Open) -> None:
    server = serve(environment={"HUD_SESSION_TTL": "2"})
    screen = open_page(server=server)
    screen.wait_state("WAITING")
    start_run(server=server).log({"n": 1})
    screen.wait_state("LAPSED")
    screen.wait_text("#verdict .level", "PROBLEM")
    screen.wait(lambda: screen.find("#banner").is_hidden(), "the verdict alone to say why")
    screen.wait_text("#toasts", "ppo-breakout was lost")


def test_tabs_of_one_browser_share_one_stream_and_a_late_tab_is_filled(run: Run, open_page: Open) -> None:
    run.log({"before": 1})
    screen = open_page()
    screen.wait_metric("before", "1")
    first = screen.page
    second = screen.open()
    screen.page = second
    screen.wait_metric("before", "1")
    run.frame(color_of(4), step=4)
    screen.wait_pixel(color_of(4))
    screen.page = first
    screen.wait_pixel(color_of(4))
    run.wait_for_viewers(1)
    first.close()
    screen.page = second
    run.frame(color_of(5), step=5)
    screen.wait_pixel(color_of(5))
    second.close()
    run.wait_for_viewers(0)


def test_a_hidden_tab_gets_no_frames_and_is_up_to_date_when_it_is_seen_again(run: Run, open_page: Open) -> None:
    screen = open_page()
    run.frame(color_of(1), step=1)
    run.log({"n": 1})
    screen.wait_pixel(color_of(1))
    screen.wait_metric("n", "1")
    screen.show_or_hide("hidden")
    marker = screen.open()  # a second tab, whose frames tell that the first could have had them
    for number in range(2, 6):
        run.frame(color_of(number), step=number)
        run.log({"n": number})
    hidden, screen.page = screen.page, marker
    screen.wait_pixel(color_of(5))
    screen.page = hidden
    assert screen.pixel() == color_of(1)
    screen.show_or_hide("visible")
    screen.wait_pixel(color_of(5))
    screen.wait_metric("n", "5")


def test_the_title_of_a_hidden_page_does_not_call_a_healthy_run_stalled(run: Run, open_page: Open) -> None:
    screen = open_page()
    run.log({"n": 1})
    screen.wait_state("LIVE")
    screen.show_or_hide("hidden")
    titles = set()
    for number in range(80):
        run.log({"n": number})
        screen.page.wait_for_timeout(100)
        titles.add(screen.page.title().split(" ")[0])
    assert titles == {"LIVE"}
    screen.wait(lambda: screen.page.title().startswith("STALLED"), "silence to be told all the same")


def test_toasts_disappear_with_their_session(start_run: StartRun, open_page: Open) -> None:
    past = start_run("yesterday")
    past.log({"n": 1})
    past.end()
    present = start_run("today")
    present.log({"m": 1})
    screen = open_page()
    screen.wait_metric("m", "1")
    present.log({"policy_loss": float("nan")})
    screen.wait_text("#toasts", "policy_loss is NaN")
    screen.press("Control+k")
    screen.find("dialog .own .session", has_text="yesterday").click()
    screen.wait_metric("n", "1")
    assert "policy_loss is NaN" not in screen.text("#toasts")


def test_without_shared_workers_each_page_opens_a_stream(run: Run, open_page: Open) -> None:
    screen = open_page(init="delete window.SharedWorker")
    run.frame(color_of(6), step=6)
    run.log({"n": 6})
    screen.wait_pixel(color_of(6))
    screen.wait_metric("n", "6")
    run.wait_for_viewers(1)


def test_a_session_id_appears_nowhere_on_the_page(run: Run, open_page: Open) -> None:
    run.log({"n": 1})
    run.vision(png((1, 1, 1)), response="seen")
    screen = open_page()
    screen.wait_metric("n", "1")
    secret = run.session_id.split(".")[2]
    assert secret not in screen.page.content()
    assert secret not in str(
        screen.page.evaluate("() => performance.getEntriesByType('resource').map((entry) => entry.name)")
    )
