"""The cost of a search among 20,000 fields: the time of each key in the search for charts, in a real Chromium.

    PYTHONPATH=$PWD python bench/search.py      # half a minute

Publishes 20,000 nested fields, opens the page, and types two searches. Prints for each the median and the greatest time
that the page's handler of a key took, in milliseconds, and how many charts it showed. The criterion is 50 ms per key.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from hud_publisher.protocol.entries import MetricsEntry
from tests.browser.run import Run, now_ms
from tests.fixtures.browser import FLAGS, browser_path
from tests.fixtures.servers import redis_binary, running
from tests.fixtures.web import WebServer

NAMES = [
    f"learners/module_{module}/layer_{layer:02d}/weight_{weight:03d}/grad_norm"
    for module in range(10)
    for layer in range(20)
    for weight in range(100)
]
SEARCHES = (r"module_3 layer_(07|11) weight_\d*7/", "grad_norm")
#: Fields of one entry: 20,000 with these names exceed the limit on an entry.
TOGETHER = 4_000
_TYPE = """async (text) => {
  const field = document.querySelector("[aria-label='Find charts by name']");
  const times = [];
  for (let end = 1; end <= text.length; end++) {
    field.value = text.slice(0, end);
    const began = performance.now();
    field.dispatchEvent(new Event('input', { bubbles: true }));
    times.push(performance.now() - began);
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
  times.sort((a, b) => a - b);
  return [times[times.length >> 1], times[times.length - 1], document.querySelectorAll('.found .chart').length];
}"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, running(redis_binary(), Path(folder) / "redis") as redis:
        server = WebServer(redis.url)
        try:
            run = Run(server, "default", "wide")
            for first in range(0, len(NAMES), TOGETHER):
                data = {name: float(number) for number, name in enumerate(NAMES[first : first + TOGETHER])}
                run.publish(MetricsEntry(data, now_ms(), 1, "iterations"))
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=browser_path(), args=list(FLAGS))
                page = browser.new_page(viewport={"width": 1440, "height": 900})
                page.set_default_timeout(120_000)
                began = time.monotonic()
                page.goto(server.url)
                while str(len(NAMES)) not in page.locator("#metrics-meta").inner_text():
                    page.wait_for_timeout(50)
                print(f"{len(NAMES):,} fields in the table after {time.monotonic() - began:.1f} s")
                page.wait_for_timeout(2_000)
                for text in SEARCHES:
                    median, longest, charts = page.evaluate(_TYPE, text)
                    print(f"{text}: {median:.1f} ms per key, at most {longest:.1f} ms, {charts} charts")
                browser.close()
        finally:
            server.close()


if __name__ == "__main__":
    main()
