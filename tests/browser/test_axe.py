"""axe-core finds no violation in any state of the page, in any theme: one page goes through all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import axe_playwright_python  # type: ignore[import-untyped]

from tests.browser.conftest import LONG_LEASE
from tests.browser.page import Screen
from tests.browser.run import OldClient, Run, color_of, png
from tests.browser.test_access import fill
from tests.browser.test_charts import compare_with
from tests.fixtures.servers import Server
from tests.fixtures.web import WebServer

Open = Callable[..., Screen]
StartRun = Callable[..., Run]

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
#: A theme changes colours alone, so all rules run in the first theme and those about colours in the others.
_RUN_AXE = """async () => {
  const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
  const colours = { type: 'rule', values: ['color-contrast', 'link-in-text-block'] };
  const told = [];
  for (const theme of ['dark', 'light', 'contrast']) {
    document.documentElement.dataset.theme = theme;
    const runOnly = theme === 'dark' ? { type: 'tag', values: tags } : colours;
    const { violations } = await axe.run(document, { runOnly, resultTypes: ['violations'] });
    for (const { id, nodes } of violations) {
      told.push(...nodes.map((node) => `${theme} ${id} ${node.target}: ${node.failureSummary}`));
    }
  }
  return told;
}"""  # fmt: skip


class Axe:
    """One page that is checked in many states.

    Attributes:
        screen: the page.
        found: state → violations.
    """

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.found: dict[str, list[str]] = {}

    def check(self, state: str) -> None:
        """Run axe-core in each theme."""
        if violations := self.screen.page.evaluate(_RUN_AXE):
            self.found[state] = violations

    def report(self) -> None:
        """Fail with every violation of every state."""
        assert not self.found, "\n".join(f"{state}: {one}" for state, all_ in self.found.items() for one in all_)

    def visit(self, channel: str, query: str = "") -> None:
        """Show another channel."""
        self.screen.page.goto(f"{self.screen.server.url}/?channel={channel}&{query}")


def nan(run: Run) -> None:
    """A field that becomes NaN, with the alert and the event of it."""
    run.log({"policy_loss": float("nan")})


def hang(run: Run) -> None:
    """A run that stays in a phase which it usually leaves at once."""
    for phase in ("learning", "sampling") * 3:
        run.log({"phase": phase})
    run.log({"phase": "learning"})


def test_axe_finds_nothing_while_a_run_is_watched(start_run: StartRun, open_page: Open) -> None:
    for name in ("first", "second", "third"):
        past = start_run(name)
        fill(past)
        past.end()
    run = start_run()
    run.play(2)
    fill(run)
    axe = Axe(screen := open_page(init=AXE, reduced_motion="reduce"))
    screen.wait_text("#vision", "A tree.")
    screen.wait_text("#game", "a")
    for env in ((1, 0), (1, 1)):
        run.frame(color_of(2), env=env, kind="thumbs")
    screen.wait(lambda: screen.find("#strip button").count() == 2, "the thumbnails")
    nan(run)
    screen.wait_text("#toasts", "policy_loss is NaN")
    axe.check("live, NaN, with a notice")
    compare_with(screen, "first", "second", "third")
    screen.wait(lambda: screen.find(".compared").count() == 3, "three sessions")
    screen.find("[aria-label='Find charts by name']").fill("loss")
    screen.find("#metrics-find select").select_option(index=1)
    axe.check("three sessions compared, charts found, the list of updates")
    screen.find("[aria-label='Find charts by name']").fill("")
    screen.page.evaluate("() => document.activeElement.blur()")  # or the keys below would be typed into it
    for key, title in (("?", "Keyboard"), ("Control+k", "Sessions"), ("g", "Save an episode")):
        screen.press(key)
        screen.wait_text("dialog h2", title.upper())
        axe.check(title)
        screen.press("Escape")
    for opener, words in (("[aria-label=Settings]", "THEME"), (".vision-picture", "PICTURE SENT TO THE MODEL")):
        screen.find(opener).click()
        screen.wait_text("dialog", words)
        axe.check(words)
        screen.press("Escape")
    screen.find("#stage-title").click()  # away from the button, which takes the space bar for itself
    screen.press("Space")
    screen.wait_state("PAUSED")
    axe.check("paused")
    screen.press("Shift+ArrowLeft")
    screen.wait_text("#hud-top", "EP2")
    axe.check("rewound")
    screen.find("#log li button").first.click()
    axe.check("at an event")
    screen.press("l")
    run.end()
    screen.wait_state("ENDED")
    axe.check("ended")
    axe.visit(run.channel, f"session={past.sid}")
    screen.wait_text("#run-name", "third")
    screen.wait_text("#vision", "A tree.")
    axe.check("a past session")
    for size, state in (((844, 390), "a phone on its side"), ((720, 450), "200 % zoom"), ((390, 844), "a phone")):
        screen.page.set_viewport_size({"width": size[0], "height": size[1]})
        for tab in ("Watch", "Charts", "VLM", "Metrics") if size[0] <= 720 else ():
            screen.find("#tabs button", has_text=tab).click()
            axe.check(f"{state}, {tab}")
        axe.check(state)
    axe.report()


def test_axe_finds_nothing_with_parts_of_a_run_missing(stack: WebServer, channel: str, open_page: Open) -> None:
    hung, silent = Run(stack, f"{channel}-hung"), Run(stack, f"{channel}-silent")
    hang(hung)
    for number in range(6):
        silent.log({"n": number})
    axe = Axe(screen := open_page(init=AXE, reduced_motion="reduce"))
    screen.wait_state("WAITING")
    axe.check("no run")
    bare = Run(stack, f"{channel}-bare")
    bare.iterate(1, loss=1.0, learners={f"policy-{n}": {"policy_loss": 0.1, "vf_loss": 0.2} for n in range(9)})
    axe.visit(bare.channel)
    screen.wait_text("#placeholder", "within a second")
    axe.check("no frame yet")
    screen.wait_text("#placeholder", "This run sends no frames")
    axe.check("no frames and no reason, nine policies")
    bare.log({"no_picture": "the env has no render_mode"})
    screen.wait_text("#placeholder", "render_mode")
    axe.check("no frames, with the reason")
    seen = Run(stack, f"{channel}-seen")
    seen.frame(color_of(1), step=1)
    axe.visit(seen.channel)
    screen.wait_pixel(color_of(1))
    axe.check("frames alone")
    for part in ("stage", "card", "chart"):
        axe.visit(seen.channel, f"embed={part}")
        axe.screen.wait_state("LIVE")
        axe.check(f"embedded {part}")
    old = OldClient(stack, f"{channel}-old")
    old.vision(png((200, 30, 60), (160, 144)), response_time=412.0, response="A tree.")
    axe.visit(f"{channel}-old")
    screen.wait_text("#vision", "A tree.")
    axe.check("pictures of a vision LLM alone")
    much = Run(stack, f"{channel}-much")
    for step in (1, 2):
        much.log({f"group{n % 60}/metric{n:04}": n / step for n in range(3000)}, step=step)
    axe.visit(much.channel)
    screen.wait_text("#metrics-meta", "3000")
    axe.check("3,000 metrics")
    axe.visit(silent.channel)
    screen.wait_state("STALLED")
    axe.check("stalled")
    axe.visit(hung.channel)
    screen.wait_text("#verdict .level", "PROBLEM")
    axe.check("hung")
    axe.report()


def test_axe_finds_nothing_while_redis_or_the_server_is_away(
    redis_server: Server, channel: str, start_run: StartRun, open_page: Open
) -> None:
    server = WebServer(redis_server.url, environment=LONG_LEASE)
    try:
        fill(run := start_run(server=server))
        axe = Axe(screen := open_page(server=server, init=AXE, reduced_motion="reduce"))
        screen.expect_problem("503|ERR_|Failed to load")
        screen.wait_text("#vision", "A tree.")
        redis_server.stop()
        screen.wait_state("REDIS AWAY")
        axe.check("Redis away")
        redis_server.cont()
        run.log({"n": 1})  # axe may have taken so long that the run has stalled
        screen.wait_state("LIVE")
        server.kill()
        screen.wait_state("RECONNECTING")
        axe.check("reconnecting")
        axe.report()
    finally:
        server.close()
