"""The page in Chromium, with the queries that tests make."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.fixtures.web import WebServer, poll

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Locator, Page

#: Two busy cores paint a page within 1 to 2 s; this limit covers the slowest machine.
WAIT_S = 30.0

_PIXEL = """([selector, x, y]) => {
  const canvas = document.querySelector(selector);
  if (!canvas || canvas.hidden || !canvas.width) return null;
  return [...canvas.getContext('2d').getImageData(x, y, 1, 1).data].slice(0, 3);
}"""
_HIDE = """(state) => {
  Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
  Object.defineProperty(document, 'hidden', { value: state === 'hidden', configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}"""
_ROWS = """() => [...document.querySelectorAll('#table .row:not([hidden])')].map((row) => [
  Number(row.getAttribute('aria-rowindex')), row.children[0].textContent, row.children[1].textContent])"""
_INK = """(canvas) => {
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let ink = 0;
  for (let i = 3; i < data.length; i += 4) if (data[i] > 40) ink++;
  return ink;
}"""


class Screen:
    """One page in a separate browser profile."""

    def __init__(
        self,
        browser: Browser,
        server: WebServer,
        channel: str,
        query: str = "",
        size: tuple[int, int] = (1440, 900),
        *,
        path: str = "",
        init: str = "",
        is_mobile: bool = False,
        **options: Any,
    ) -> None:
        self.server, self.channel, self.path = server, channel, path
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, has_touch=is_mobile, accept_downloads=True, **options
        )
        self.context.set_default_timeout(WAIT_S * 1000)
        if init:
            self.context.add_init_script(init)
        self.problems: list[str] = []
        self.expected: list[str] = []
        self.page = self.open(query)

    def open(self, query: str = "") -> Page:
        """Open another tab of the same profile; `query` without the channel."""
        page = self.context.new_page()

        def note(message: ConsoleMessage) -> None:
            if message.type == "error":
                self.problems.append(message.text)

        page.on("console", note)
        page.on("pageerror", lambda error: self.problems.append(f"{error} {error.stack}"))
        page.goto(f"{self.server.url}/{self.path}?channel={self.channel}&{query}")
        return page

    def expect_problem(self, pattern: str) -> None:
        """The console may contain these errors: a server that the test killed cannot answer."""
        self.expected.append(pattern)

    def close(self) -> None:
        """Close the profile, and fail if the console contains a message."""
        self.context.close()
        unexpected = [text for text in self.problems if not any(re.search(pattern, text) for pattern in self.expected)]
        assert not unexpected, unexpected

    # -- texts --------------------------------------------------------------------------------------------------------

    def find(self, selector: str, **options: Any) -> Locator:
        return self.page.locator(selector, **options)

    def text(self, selector: str) -> str:
        """The text of one element."""
        return self.page.locator(selector).first.inner_text()

    def wait(self, condition: Callable[[], Any], what: str, timeout_s: float = WAIT_S) -> Any:
        """Return the condition's result once it is true. Playwright's events are served meanwhile."""

        def ask() -> Any:
            self.page.wait_for_timeout(20)
            return condition()

        return poll(ask, what, timeout_s)

    def wait_text(self, selector: str, text: str, timeout_s: float = WAIT_S) -> None:
        """Return once an element holds this text."""
        found = ""

        def holds() -> bool:
            nonlocal found
            found = " ".join(self.page.locator(selector).all_inner_texts())
            return text in found

        try:
            self.wait(holds, f"{text!r} in {selector}", timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; it says {found[:300]!r}") from None

    def wait_state(self, word: str, timeout_s: float = WAIT_S) -> None:
        """Return once the state in the bar is this word."""
        self.wait_text("#state", word, timeout_s)

    def tile(self, label: str) -> str:
        """The value of one of the big figures."""
        return self.page.locator(".tile", has=self.page.get_by_text(label, exact=True)).locator(".value").inner_text()

    def wait_tile(self, label: str, value: str) -> None:
        self.wait(lambda: self.tile(label) == value, f"{label} {value}")

    def metric(self, name: str) -> str | None:
        """The value of a row in view of the metrics table; None if there is none."""
        found = self.rows().get(name)
        return None if found is None else str(found)

    def rows(self) -> dict[str, str]:
        """The rows in view of the metrics table, from the top."""
        rows: list[tuple[int, str, str]] = self.page.evaluate(_ROWS)
        return {name: value for _index, name, value in sorted(rows)}

    def wait_metric(self, name: str, value: str | None) -> None:
        self.wait(lambda: self.metric(name) == value, f"{name} = {value}")

    # -- pictures -----------------------------------------------------------------------------------------------------

    def pixel(self, selector: str = "#frame", x: int = 3, y: int = 3) -> tuple[int, int, int] | None:
        """The colour of one pixel of a canvas; None while there is nothing on it."""
        found = self.page.evaluate(_PIXEL, [selector, x, y])
        return None if found is None else (found[0], found[1], found[2])

    def wait_pixel(self, color: tuple[int, int, int], selector: str = "#frame", timeout_s: float = WAIT_S) -> None:
        """Return once a canvas shows this colour."""
        seen: Any = None

        def shows() -> bool:
            nonlocal seen
            seen = self.pixel(selector)
            return bool(seen == color)

        try:
            self.wait(shows, f"the colour {color} on {selector}", timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; it shows {seen}") from None

    def ink(self, canvas: Locator) -> int:
        """How many pixels of a canvas are drawn on."""
        return int(canvas.evaluate(_INK))

    def show_or_hide(self, state: str) -> None:
        """Make the page believe that its tab is "visible" or "hidden"."""
        self.page.evaluate(_HIDE, state)

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)

    def save(self, click: Callable[[], Any], folder: Path) -> Path:
        """Click a control that saves a file, and return the file."""
        with self.page.expect_download() as waiting:
            click()
        path = folder / waiting.value.suggested_filename
        waiting.value.save_as(path)
        return path
