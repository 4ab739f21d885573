"""The doctor's check of the page: whether the URL given reaches each page and every file that it loads.

Follows the files as a browser does: from the pages to modules, style sheets and fonts, and from those to the files that
they name. A proxy may pass on `/api` and `/stream` only, or answer other paths with its login page. Called by `server`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from urllib.parse import urljoin

from hud_publisher.protocol.transport.http_client import HudServer
from hud_web.doctor.findings import Finding, note, ok, problem
from hud_web.doctor.reach import Answer, ask

#: The pages besides `/`.
_PAGES = ("/wall", "/runs")
#: Media types by the end of a name: a login page is HTML, for any requested file.
_TYPES = {".js": "javascript", ".css": "css", ".woff2": "font"}
#: The files that a module or a style sheet names, relative to itself.
_NAMED = {
    ".js": re.compile(r"""(?:\bfrom|\bimport)\s*\(?\s*["'](\.[^"'$]*\.\w+)["']|new URL\(\s*["'](\.[^"'$]*\.\w+)["']"""),
    ".css": re.compile(r"""\burl\(\s*["']?((?!data:)[^"')$]+)|@import\s+["']([^"']+)["']"""),
}
#: Files that are fetched at once, as by a browser.
_AT_ONCE = 6
#: A page has about a hundred; more are another program's.
_MOST_FILES = 1_000
#: Names that a finding lists at most.
_MOST_NAMED = 3


class _Files(HTMLParser):
    """Collects the addresses of scripts, style sheets and preloaded files."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Read one element."""
        address = dict(attrs).get({"script": "src", "link": "href", "img": "src"}.get(tag, ""))
        if address and not address.startswith("data:"):
            self.addresses.append(address)


def examine_page(server: HudServer) -> Iterator[Finding]:
    """Yield the findings about the pages at `server`."""
    page = ask(server, "GET", "/")
    if page is not None and page.status == 401:
        return  # the doctor's check of the session names the missing token
    named: dict[str, None] = {}
    for path in ("/", *_PAGES):
        page = page if path == "/" else ask(server, "GET", path)
        if path != "/" and page is not None and page.status == 404 and "error" in (page.body or {}):
            continue  # an older HUD answers that it has no such page
        if page is None or page.status != 200 or "html" not in page.media_type:
            yield problem(
                "page", f"{server}{path} {_came(page)}, expected the page", "page-files",
                "let the proxy pass everything below its path prefix, not only /api and /stream",
            )  # fmt: skip
            if path == "/":
                return
            continue
        parser = _Files()
        parser.feed(page.text)
        named |= dict.fromkeys(parser.addresses)
    count, missing = _follow(server, list(named))
    if missing:
        rest = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        yield problem(
            "page", f"{len(missing)} of the page's {count} files cannot be reached: "
            f"{', '.join(missing[:_MOST_NAMED])}{rest}", "page-files",
            "let the proxy pass everything below its path prefix, in particular /static, unchanged and without a "
            "separate login for these files",
        )  # fmt: skip
        return
    yield ok("page", f"the page's {count} files are served below {server}/")
    if server.path:
        bare = ask(server, "GET", "")
        if bare is not None and bare.status == 200 and "html" in bare.media_type:
            yield note(
                "page", f"{server} shows the page too, without its files: relative addresses need the trailing slash",
                "no-slash", f"open {server}/ or let the proxy redirect to it",
            )  # fmt: skip


def _follow(server: HudServer, addresses: list[str]) -> tuple[int, list[str]]:
    """Fetch these files and all that they name; return how many there are, and the faults."""
    seen, missing = dict.fromkeys(addresses), []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while addresses and len(seen) <= _MOST_FILES:
            found: dict[str, None] = {}
            for fault, more in pool.map(lambda address: _examine_file(server, address), addresses):
                missing += [fault] if fault else []
                found |= dict.fromkeys(more)
            addresses = [address for address in found if address not in seen]
            seen |= dict.fromkeys(addresses)
    return len(seen), missing


def _examine_file(server: HudServer, address: str) -> tuple[str | None, list[str]]:
    """Return the fault of a file, None if the server sent it, and the addresses of the files that it names."""
    if address.startswith(("/", "..", "http:", "https:")):
        return f"{address} leads out of {server}/", []
    answer = ask(server, "GET", f"/{address}")
    suffix = address[address.rfind(".") :]
    expected = _TYPES.get(suffix, "")
    if answer is None or answer.status != 200 or expected not in answer.media_type:
        return f"{server}/{address} {_came(answer)}", []
    if suffix not in _NAMED:
        return None, []
    named = ("".join(groups) for groups in _NAMED[suffix].findall(answer.text))
    return None, [urljoin(f"/{address}", name).removeprefix("/") for name in named]


def _came(answer: Answer | None) -> str:
    if answer is None:
        return "did not answer"
    if answer.location is not None:
        return f"answered {answer.status} and redirects"
    return f"answered {answer.status} with {answer.media_type or 'no media type'}"
