"""Reads every text of the page at one instant, and the axis marks that charts draw on their canvases."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.async_api import Page

_READ = """() => {
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const isShown = (node) => node !== null && node.checkVisibility();
  const view = one('#chart-scroll').getBoundingClientRect();
  const isInView = (node) => {
    const { top, bottom } = node.getBoundingClientRect();
    return Math.min(bottom, view.bottom) - Math.max(top, view.top) > 40;
  };
  const textOf = (node) => (isShown(node) ? node.innerText.trim() : '');
  const text = (selector, root) => textOf(one(selector, root));
  const exact = (selector, root) => (isShown(one(selector, root)) ? one(selector, root).textContent : '');
  return {
    now: Date.now(),
    title: document.title,
    verdict: text('#verdict .clauses'),
    name: text('#run-name'),
    state: all('#state > span:nth-child(2), #state > b').map((node) => node.textContent),
    banner: text('#banner'),
    lights: all('#lights .light').filter(isShown).map((node) => node.textContent),
    chip: exact('#session-chip'),
    flow: exact('#flow-chip'),
    tiles: all('.tile').map((node) => ({
      label: one('dt', node).title || one('dt', node).textContent,
      value: one('.value', node).innerText.trim(), change: one('.change', node).textContent, title: node.title,
      isOld: node.classList.contains('old'), isShown: isShown(node) })),
    frame: one('#frame').hidden ? '' : one('#frame').dataset.id,
    aria: one('#frame').getAttribute('aria-label'),
    facts: Object.fromEntries(all('#hud-top > span, #hud-bottom > span').map((node, i) => [i, node.textContent])),
    action: one('#hud-bottom .keycap.on')?.textContent ?? '',
    meta: text('#stage-meta'),
    placeholder: text('#placeholder'),
    layout: one('#main').dataset.stage ?? '',
    events: all('#log li:not(.empty)').map((node) => ({
      kind: node.dataset.kind, tone: node.dataset.tone, id: node.dataset.id, time: one('time', node).textContent,
      text: one('.text', node).textContent, title: one('button', node).title })),
    eventCount: text('#log-meta'),
    charts: all('.chart').filter((node) => isShown(node) && isInView(node) && one('canvas', node)).map((node) => {
      const canvas = one('canvas', node), over = one('.u-over', node).getBoundingClientRect();
      const place = canvas.getBoundingClientRect(), ratio = canvas.width / place.width;
      return { title: one('h3', node).title, name: node.getAttribute('aria-label'),
        legend: all('.legend > span', node).map((line) => [line.title, line.lastElementChild.textContent]),
        texts: canvas.texts ?? [],
        top: (over.top - place.top) * ratio, bottom: (over.bottom - place.top) * ratio,
        left: (over.left - place.left) * ratio, right: (over.right - place.left) * ratio };
    }),
    rows: all('#table .row:not([hidden])').map((row) => [
      one('.name', row).title, one('.value', row).textContent, row.classList.contains('old'), Date.now()]),
    rowCount: text('#metrics-meta'),
    where: exact('#bottom .where'),
    live: text('#bottom .live'),
    vision: isShown(one('#vision')) ? {
      meta: text('#vision-meta'), where: exact('#vision .vision-where'), action: text('#vision .vision-action'),
      response: exact('#vision .vision-text'), prompt: one('#vision [aria-label=Prompt]')?.textContent ?? '',
      foot: exact('#vision .vision-foot'), empty: text('#vision .empty') } : null,
    toasts: all('#toasts .toast').map(textOf),
    link: window.copied ?? '',
  };
}"""

#: Reads all rows of the table by scrolling through it; at most this number of screens, and always the last.
_SCROLL = """async (most) => {
  const box = document.querySelector('#table'), found = new Map();
  const pause = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  const read = () => {
    const first = Math.floor(box.scrollTop / 25), end = Math.floor((box.scrollTop + box.clientHeight) / 25);
    const wanted = Math.min(Number(box.getAttribute('aria-rowcount')), end) - 1;
    let last = -1;
    for (const row of document.querySelectorAll('#table .row:not([hidden])')) {
      const at = Number(row.getAttribute('aria-rowindex')) - 1;
      if (at < first) continue;
      last = Math.max(last, at);
      found.set(row.querySelector('.name').title, [row.querySelector('.value').textContent, Date.now()]);
    }
    return last >= wanted;
  };
  const show = async (top) => {
    box.scrollTop = top;
    for (let tries = 0; tries < 200; tries++) { await pause(); if (read()) return; }
  };
  const height = box.clientHeight - 25;
  const screens = Math.ceil(box.scrollHeight / height);
  for (let i = 0; i < screens; i++) if (i < most || i === screens - 1) await show(i * height);
  await show(0);
  return [...found].map(([path, [text, at]]) => [path, text, at]);
}"""
MOST_SCREENS = 12


@dataclass(frozen=True)
class Axis:
    """The end points of a chart's y axis, computed from its marks."""

    low: float
    high: float


class Reading:
    """All texts of a page at one instant; `texts` as the page returned them."""

    def __init__(self, texts: dict[str, Any], moment_ms: float | None = None) -> None:
        self.texts = texts
        self.moment_ms = moment_ms

    def __getitem__(self, name: str) -> Any:
        return self.texts[name]

    @property
    def now_ms(self) -> float:
        return float(self.texts["now"])

    def tile(self, index: int) -> dict[str, Any]:
        tile: dict[str, Any] = self.texts["tiles"][index]
        return tile

    def axes(self, title: str) -> dict[str, Axis]:
        """The left and right y axes of a chart, as far as two marks of them are known."""
        chart = next(one for one in self.texts["charts"] if one["title"] == title)
        found = {}
        for side in ("left", "right"):
            marks = [
                (y, value)
                for text, x, y, align, baseline in chart["texts"]
                if baseline == "middle" and (value := mark(text)) is not None
                and (x < chart["left"] if side == "left" else x > chart["right"])
            ]  # fmt: skip
            if len(marks) >= 2:
                (y1, v1), (y2, v2) = min(marks), max(marks)
                slope = (v2 - v1) / (y2 - y1)
                found[side] = Axis(v1 + slope * (chart["bottom"] - y1), v1 + slope * (chart["top"] - y1))
        return found


async def read(page: Page, moment_ms: float | None = None) -> Reading:
    """Read the page."""
    return Reading(await page.evaluate(_READ), moment_ms)


async def read_table(page: Page) -> list[tuple[str, str, float]]:
    """Path, text and time of reading of the rows of the metrics table."""
    found: list[tuple[str, str, float]] = await page.evaluate(_SCROLL, MOST_SCREENS)
    return found


_SCALES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}
_NUMBER = re.compile(r"([−+-]?)(\d[\d,]*(?:\.\d+)?)(?:e(−?\d+))?([kKMGBT]?)")


def mark(text: str) -> float | None:
    """The number that a text says; None if it says none."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    sign, digits, exponent, scale = match.groups()
    size = float(digits.replace(",", "")) * 10.0 ** int((exponent or "0").replace("−", "-")) * _SCALES[scale]
    return -size if sign in ("−", "-") else size


def half_unit(text: str) -> float:
    """Half of the last digit's place: a rounded text may be this far from its value."""
    match = _NUMBER.fullmatch(text)
    assert match, text
    _sign, digits, exponent, scale = match.groups()
    places = len(digits.partition(".")[2])
    return 0.5 * 10.0 ** (int((exponent or "0").replace("−", "-")) - places) * _SCALES[scale]
