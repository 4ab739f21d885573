"""Looks at replayed runs in a real browser: each run's pages go through all states while the run goes on.

The timetable of a run, in seconds since its replay began:

    1    the early page opens
    11   it is read live, then paused at three moments and hidden
    20   a late page opens in another browser profile, `APART_S` after that of the run before; it is read live, and at
         one of the same moments
    37   the early page is shown again and read; both pages are compared
    40   the early page is reloaded and read
    48   the run ends: both pages are read and compared
         another run takes the channel, and the past session is opened by its number

Each reading is compared with the oracle until it agrees, for at most `AGREES_S`: a busy machine may be late, but a
wrong page stays wrong.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.async_api import async_playwright

from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.entries import Limits, MetricsEntry
from hud_publisher.sinks.redis_sink import RedisSink
from tests.fixtures.browser import FLAGS, INIT, browser_path
from tests.truth.oracle import complaints, table_complaints
from tests.truth.past import Past
from tests.truth.reading import Axis, Reading, read, read_table
from tests.truth.replay import Replay, Replayed

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

LASTS_S = 48.0
#: Longer than two busy cores take to open the late pages: until then, pages and server lag.
AGREES_S = 30.0
#: Between the late pages of two runs.
APART_S = 1.5
#: Pages that are read or opened at the same time: more would only slow each other down.
AT_ONCE = 2
#: The moments to rewind to, as shares of the time line.
MOMENTS = (0.25, 0.5, 0.75)
STATES = (
    "live", "first moment", "second moment", "third moment", "opened late", "opened late, second moment", "hidden",
    "both live", "reloaded", "ended", "ended, opened late", "past session", "past session, second moment",
)  # fmt: skip

_HIDE = """(state) => {
  Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
  Object.defineProperty(document, 'hidden', { value: state === 'hidden', configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}"""
_SEEK = """(share) => {
  const range = document.querySelector('#bottom input[type=range]');
  range.value = Math.round(share * Number(range.max));
  range.dispatchEvent(new Event('input'));
  range.dispatchEvent(new Event('change'));
}"""
_COPY = """async () => {
  window.copied = '';
  [...document.querySelectorAll('#top-tools button')].find((button) => button.title === 'Copy link').click();
  let choice;
  while (!(choice = document.querySelector("dialog[data-name='share'] button[title='This session']")))
    await new Promise((resolve) => setTimeout(resolve, 5));
  choice.click();
  while (!window.copied) await new Promise((resolve) => setTimeout(resolve, 5));
  return window.copied;
}"""


@dataclass
class Visit:
    """The pages of one run, and the wrong texts of each state.

    Attributes:
        wrong: state → complaints of the last reading; empty if a reading agreed with the oracle.
    """

    run: Replayed
    wrong: dict[str, list[str]] = field(default_factory=dict)
    readings: dict[str, Reading] = field(default_factory=dict)
    titles: list[str] = field(default_factory=list)


class Watcher:
    """Visits the runs of a replay."""

    def __init__(self, replay: Replay, server_url: str, redis_url: str, *, shots: Path | None = None) -> None:
        self.replay = replay
        self.server_url, self.redis_url = server_url, redis_url
        self.visits = {name: Visit(run) for name, run in replay.runs.items()}
        self.problems: list[str] = []
        self._shots = shots

    async def watch(self) -> None:
        """Play the runs and look at them; returns when all states were read."""
        self._turn = asyncio.Semaphore(AT_ONCE)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=browser_path(), args=list(FLAGS))
            self.replay.start()
            async with asyncio.TaskGroup() as group:
                for number, visit in enumerate(self.visits.values()):
                    group.create_task(self._visit(browser, visit, 20 + number * APART_S))
            await browser.close()

    async def _until(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, self.replay.began_s + at_s - time.monotonic()))

    async def _visit(self, browser: Browser, visit: Visit, late_s: float) -> None:
        run = visit.run
        await self._until(1)
        early = await self._open(browser, run)
        await self._until(11)
        await self._read(early, visit, "live", is_whole=True)
        moments = []
        for share, state in zip(MOMENTS, STATES[1:4], strict=True):
            moments.append(await self._seek(early, share))
            await self._read(early, visit, state, moments[-1], is_whole=state == "second moment")
        await early.keyboard.press("l")
        await early.evaluate(_HIDE, "hidden")
        await self._until(late_s)
        late = await self._open(browser, run)
        await self._read(late, visit, "opened late")
        moment_ms = _rewindable(run, moments[1])
        before = visit.readings["second moment"] if moment_ms == moments[1] else None
        await _go(late, f"{self._address(run)}&t={moment_ms:.3f}")
        await self._read(late, visit, "opened late, second moment", moment_ms, is_whole=True, before=before)
        await late.keyboard.press("l")
        visit.titles.append(await early.title())
        await self._until(37)
        await early.evaluate(_HIDE, "visible")
        await self._read(early, visit, "hidden")
        visit.wrong["both live"] = await self._both(early, late)
        await self._until(40)
        await _go(early, self._address(run))
        await self._read(early, visit, "reloaded")
        while run.ended_ms is None:
            await self._until(time.monotonic() - self.replay.began_s + 0.2)
        await asyncio.sleep(1)
        await self._read(early, visit, "ended", is_whole=True)
        await self._read(late, visit, "ended, opened late")
        visit.wrong["ended, opened late"] += await self._both(early, late)
        await late.context.close()
        await asyncio.to_thread(self._take_channel, run)
        await _go(early, f"{self._address(run)}&session={run.sid}")
        await self._read(early, visit, "past session", is_whole=True)
        moment_ms = _rewindable(run, moment_ms)
        await _go(early, f"{self._address(run)}&session={run.sid}&t={moment_ms:.3f}")
        await self._read(early, visit, "past session, second moment", moment_ms)
        await early.context.close()

    def _address(self, run: Replayed) -> str:
        return f"{self.server_url}/?channel={run.channel}"

    async def _open(self, browser: Browser, run: Replayed) -> Page:
        """Open the run's page in a new profile."""
        async with self._turn:
            context = await browser.new_context(viewport={"width": 1440, "height": 1000}, timezone_id="UTC")
            context.set_default_timeout(60_000)
            await context.add_init_script(INIT)
            page = await context.new_page()
            page.on("pageerror", lambda error: self.problems.append(f"{run.name}: {error}"))
            page.on("console", lambda line: line.type == "error" and self.problems.append(f"{run.name}: {line.text}"))
            await _go(page, self._address(run))
        return page

    async def _seek(self, page: Page, share: float) -> float:
        """Rewind by the time line; returns the moment that the page's own link names."""
        end = time.monotonic() + AGREES_S
        while True:
            await page.evaluate(_SEEK, share)
            # Frames that came with one call find their places when the index of older frames is there.
            found = ""
            while (told := await page.evaluate(_COPY)) != found:
                found = told
                await asyncio.sleep(0.5)
            if match := re.search(r"[?&]t=(\d+(?:\.\d+)?)", found):
                return float(match[1])
            # The time line begins at the first frame: while that is a second old, three quarters of it are live.
            assert time.monotonic() < end, f"expected a moment in the link, got {found}"

    async def _read(
        self,
        page: Page,
        visit: Visit,
        state: str,
        moment_ms: float | None = None,
        *,
        is_whole: bool = False,
        before: Reading | None = None,
    ) -> None:
        """Read the page until the oracle agrees, and an earlier reading of the same moment."""

        async def once() -> list[str]:
            async with self._turn:
                reading = visit.readings[state] = await read(page, moment_ms)
            wrong = complaints(reading, Past(visit.run))
            return wrong + (differences(before, reading, is_same_time=False) if before is not None else [])

        async def rows() -> list[str]:
            async with self._turn:
                table = await read_table(page)
                reading = await read(page, moment_ms)
            return table_complaints(table, reading, Past(visit.run))

        visit.wrong[state] = await _retry(once) + (await _retry(rows) if is_whole else [])
        if self._shots is not None:
            await page.screenshot(path=self._shots / f"{visit.run.recording.name}, {state}.png")

    async def _both(self, early: Page, late: Page) -> list[str]:
        """Compare two pages until they agree."""

        async def once() -> list[str]:
            async with self._turn:
                one, other = await asyncio.gather(read(early), read(late))
            return differences(one, other)

        return await _retry(once)

    def _take_channel(self, run: Replayed) -> None:
        """Begin another run on the channel."""
        sink = RedisSink(
            self.redis_url, channel=run.channel, run_id=f"next-{run.name}", name="next", info={}, limits=Limits()
        )
        session_id = sink.register().session_id
        entry = MetricsEntry({"n": 1}, time.time_ns() // 1_000_000, 1)
        sink.publish(session_id, Batch("next", 1, (entry,)))
        sink.close()


def _rewindable(run: Replayed, moment_ms: float) -> float:
    """The moment, or one after the first frame: a page with frames is rewound to its first frame at the earliest."""
    first_ms = min((shot.at_ms for shot in Past(run).shots), default=0)
    return moment_ms if moment_ms >= first_ms else first_ms + 1_000.0


async def _go(page: Page, address: str) -> None:
    """Load an address, and return when the page's script has drawn its bars."""
    await page.goto(address, wait_until="commit")
    await page.wait_for_selector("#bottom input", state="attached")


async def _retry(once: Callable[[], Awaitable[list[str]]]) -> list[str]:
    end = time.monotonic() + AGREES_S
    while True:
        wrong = await once()
        if not wrong or time.monotonic() > end:
            return wrong
        await asyncio.sleep(0.2)


def differences(one: Reading, other: Reading, *, is_same_time: bool = True) -> list[str]:
    """The differences between two pages of one run: tiles, caption, events, extremes of charts, and alerts."""
    found = []
    for mine, yours in zip(one["tiles"], other["tiles"], strict=True):
        if not is_same_time and mine["label"] != yours["label"]:
            continue  # the run sent the field of another role meanwhile
        for part in ("label", "value", "isOld"):
            if mine[part] != yours[part]:
                found.append(f"tile {mine['label']}: {part} {mine[part]!r} and {yours[part]!r}")
    if not is_same_time:
        return found
    for part in ("events", "banner"):
        if one[part] != other[part]:
            found.append(f"{part}: {one[part]} and {other[part]}")
    if one["charts"] and other["charts"]:
        shared = {chart["title"] for chart in one["charts"]} & {chart["title"] for chart in other["charts"]}
        for title in sorted(shared):
            if not _are_alike(one.axes(title), other.axes(title)):
                found.append(f"chart {title}: {one.axes(title)} and {other.axes(title)}")
    return found


def _are_alike(one: dict[str, Axis], other: dict[str, Axis]) -> bool:
    """Whether axes reach equally far: their marks are on whole pixels."""
    pairs = [(one[side], other[side]) for side in one.keys() & other.keys()]
    return all(
        abs(mine.low - yours.low) + abs(mine.high - yours.high) <= 0.02 * (mine.high - mine.low)
        for mine, yours in pairs
    )
