"""The space of each part of the page: on screens of all sizes, and for runs that lack some parts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.page import Screen
from tests.browser.run import OldClient, Run, color_of, png
from tests.browser.test_access import fill
from tests.fixtures.web import WebServer

Open = Callable[..., Screen]


def box(screen: Screen, selector: str) -> dict[str, float]:
    """Where the first element of a selector is."""
    found = screen.find(selector).first.bounding_box()
    assert found is not None, selector
    return dict(found)


def test_a_run_without_frames_says_why_and_its_charts_take_the_room(run: Run, open_page: Open) -> None:
    for iteration in range(1, 9):
        run.iterate(iteration, episode_return_mean=float(iteration), policy_loss=0.1, entropy=1.0)
    run.log({"no_picture": "Breakout has no render_mode: make it with render_mode='rgb_array'"})
    screen = open_page()
    screen.wait_text("#placeholder", "make it with render_mode='rgb_array'")
    assert "within a second" not in screen.text("#placeholder")
    screen.wait(lambda: box(screen, "#charts")["width"] > 0.5 * 1440, "wide charts")
    assert screen.find("#vision").is_hidden()
    run.frame(color_of(1), step=1)
    screen.wait_pixel(color_of(1))
    screen.wait(lambda: box(screen, "#frame")["height"] > 300, "the picture's room")


def test_the_page_stops_waiting_for_frames_that_a_run_never_sends(run: Run, open_page: Open) -> None:
    screen = open_page()
    run.log({"loss": 1.0})
    screen.wait_text("#placeholder", "within a second")
    screen.wait_text("#placeholder", "This run sends no frames")
    assert "HUD_FRAMES" in screen.text("#placeholder")


def test_frames_without_charts_take_the_whole_screen(run: Run, open_page: Open) -> None:
    run.frame(color_of(1), step=1)
    screen = open_page()
    screen.wait_pixel(color_of(1))
    screen.wait(lambda: box(screen, "#stage")["width"] > 1400, "the whole width")
    run.log({"loss": 1.0})
    screen.wait(lambda: screen.find("#charts").is_visible() and box(screen, "#stage")["width"] < 800, "the charts")


def test_the_picture_of_the_vision_llm_is_large_in_a_run_without_frames(
    stack: WebServer, channel: str, open_page: Open
) -> None:
    client = OldClient(stack, channel)
    client.update({"episode_reward": 1.5, "loss": 0.25})
    client.vision(png((200, 30, 60), (160, 144)), response_time=412.0, response="A tree.")
    screen = open_page()
    screen.wait_text("#vision", "A tree.")
    screen.wait(lambda: box(screen, ".vision-picture img")["height"] > 300, "the large picture")
    assert box(screen, ".vision-picture img")["width"] > 400
    assert screen.find("#stage").is_hidden()
    phone = open_page(size=(390, 844), is_mobile=True)
    phone.wait_text("#vision", "A tree.")
    assert box(phone, ".vision-picture img")["width"] > 300


#: Pairs of the bar's parts, or of a panel and its content, that overlap or extend beyond their edge.
_COLLISIONS = """() => {
  const seen = (node) => node.checkVisibility() && node.getBoundingClientRect().width > 0;
  const box = (node) => node.getBoundingClientRect();
  const name = (node) => node.id || node.className || node.tagName;
  const meet = (a, b) =>
    a.right > b.left + 1 && b.right > a.left + 1 && a.bottom > b.top + 1 && b.bottom > a.top + 1;
  const found = [];
  const parts = [...document.querySelectorAll('.top > *')].filter((node) => seen(node) && !node.matches('.sr, .space'));
  parts.forEach((one, i) => {
    if (box(one).right > innerWidth + 1 || one.scrollWidth > one.clientWidth + 2) found.push(`${name(one)} is cut`);
    for (const other of parts.slice(i + 1)) {
      if (meet(box(one), box(other))) found.push(`${name(one)} on ${name(other)}`);
    }
  });
  for (const panel of document.querySelectorAll('.panel')) {
    if (!seen(panel)) continue;
    for (const node of panel.querySelectorAll('button, select, input, .value, h2')) {
      if (!seen(node) || node.closest('.scroll, .table, .strip, .tiles')) continue;
      if (box(node).right > box(panel).right + 1) found.push(`${name(node)} leaves ${name(panel)}`);
    }
  }
  for (const tile of document.querySelectorAll('.tile')) {
    const side = tile.querySelector('.side');
    const range = document.createRange();
    range.selectNodeContents(tile.querySelector('.value'));
    if (seen(side) && meet(range.getBoundingClientRect(), box(side))) found.push(`${tile.innerText} on its line`);
  }
  return found;
}"""


@pytest.mark.parametrize(
    "size",
    [
        (721, 900),
        (768, 1024),
        (844, 390),
        (932, 430),
        (1000, 700),
        (1024, 768),
        (1180, 800),
        (1180, 820),
        (1181, 800),
        (1280, 720),
        (1300, 800),
        (1366, 768),
        (1471, 800),
        (1440, 900),
        (1920, 1080),
        (2560, 1440),
        (3840, 2160),
    ],
    ids=lambda size: f"{size[0]}x{size[1]}",
)
def test_no_elements_overlap_at_any_width(
    start_run: Callable[..., Run], open_page: Open, size: tuple[int, int]
) -> None:
    run = start_run("a-long-name-of-a-run-ppo-breakout-seed-7")
    fill(run)
    run.iterate(30, num_env_steps_sampled_lifetime=123_456_789, vf_loss=-0.00012345, num_episodes_lifetime=98_765_432)
    screen = open_page(size=size)
    screen.wait_pixel(color_of(1))
    run.log({"policy_loss": 0.5})
    screen.wait_state("LIVE")
    screen.wait_tile("Env steps", "123.457M")
    screen.wait_text("#game", "a")
    screen.page.wait_for_timeout(500)
    assert screen.page.evaluate(_COLLISIONS) == []
    assert screen.page.evaluate("() => document.documentElement.scrollWidth") == size[0]
    assert box(screen, ".track")["width"] > 150, "the kept minutes have the room to be pointed at"
    bottom = box(screen, "#bottom")
    assert bottom["y"] + bottom["height"] <= max(size[1], screen.page.evaluate("() => document.body.scrollHeight"))


#: Legends and figures with a number that is cut: half a number reads as another one.
_CUT = """() => {
  const box = (node) => node.getBoundingClientRect();
  const ends = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    return range.getBoundingClientRect().right;
  };
  const found = [];
  for (const legend of document.querySelectorAll('.chart .legend')) {
    if (!legend.checkVisibility() || legend.tabIndex === 0) continue;
    const { right, bottom } = box(legend);
    for (const item of legend.children) {
      if (ends(item) > right + 1 || box(item).bottom > bottom + 1) found.push(`legend: ${item.innerText}`);
    }
  }
  for (const value of document.querySelectorAll('.tile .value')) {
    if (!value.checkVisibility()) continue;
    for (const part of value.children.length ? value.children : [value]) {
      if (ends(part) > box(value.parentElement).right - 4) found.push(`tile: ${part.innerText}`);
    }
  }
  return found;
}"""


@pytest.mark.parametrize("size", [(390, 844), (768, 1024), (1181, 800), (1440, 900), (1920, 1080), (2560, 1440)])
def test_no_number_is_cut(run: Run, open_page: Open, size: tuple[int, int]) -> None:
    for n in range(1, 9):
        learners = {name: {"policy_loss": n * 0.01, "entropy": 0.5} for name in ("blue_team_attacker", "red")}
        run.iterate(
            n, learners=learners, vf_loss=0.25, llm_alignment=0.5678, llm_success_rate=0.962,
            episode_return_mean=-12345.678, episode_return_max=1234.5, episode_return_min=-99999.5,
        )  # fmt: skip
    screen = open_page(f"tab={'charts' if size[0] < 500 else 'watch'}", size=size)
    screen.wait_text(".chart[aria-label='Vision LLM'] .legend", "llm_success_rate 0.9620")
    screen.wait_text(".chart[aria-label='Episode return'] .legend", "min")
    screen.page.evaluate("() => document.fonts.ready.then(() => null)")  # the font of the system is wider
    assert screen.page.evaluate(_CUT) == []
    screen.wait_text(".tile:has(dt:text-is('Entropy'))", "blue_team_attacker 0.5000")


@pytest.mark.parametrize("size", [(1440, 900), (1024, 768), (390, 844)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_a_toast_covers_no_tile(run: Run, open_page: Open, size: tuple[int, int]) -> None:
    fill(run)
    screen = open_page(size=size, is_mobile=size[0] < 500)
    screen.wait_pixel(color_of(1))
    screen.wait(lambda: screen.find(".chart").count(), "the panels, which are loaded after the picture")
    run.log({"policy_loss": float("nan")})
    screen.wait_text("#toasts", "policy_loss is NaN")
    tiles, toast = box(screen, "#tiles"), box(screen, ".toast")
    assert toast["y"] > tiles["y"] + tiles["height"]


@pytest.mark.parametrize(("size", "least_px"), [((2560, 1440), 30), ((3840, 2160), 45)])
def test_large_screens_have_large_numbers(run: Run, open_page: Open, size: tuple[int, int], least_px: int) -> None:
    fill(run)
    screen = open_page(size=size)
    screen.wait_pixel(color_of(1))
    font = screen.find(".tile .value").first.evaluate("(node) => parseFloat(getComputedStyle(node).fontSize)")
    assert font >= least_px
    chart = box(screen, ".chart")
    assert chart["height"] > 0.22 * size[1]
    assert chart["width"] > 0.09 * size[0]


def test_on_paper_the_page_is_light_and_short(run: Run, open_page: Open) -> None:
    fill(run)
    screen = open_page()
    screen.wait_pixel(color_of(1))
    screen.page.emulate_media(media="print")
    look = """() => [document.body, document.querySelector('.tile')].map((node) => getComputedStyle(node))
      .map(({ color, backgroundImage }) => [color, backgroundImage])"""
    (ink, paper), _tile = screen.page.evaluate(look)
    assert (ink, paper) == ("rgb(0, 0, 0)", "none")
    assert screen.find("#bottom").is_hidden()
    assert screen.find("#top-tools").is_hidden()
    assert screen.find("#hud-top").is_hidden(), "facts on the picture need the dark veil of the screen"
    pages = screen.page.pdf().count(b"/Type /Page\n")
    assert 1 <= pages <= 4
