"""The doctor's check of the page: whether the URL given reaches each file that the page loads first.

A proxy may pass on `/api` and `/stream` only, or answer other paths with its login page. Called by `server`.
"""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

from hud_publisher.protocol.transport.http_client import HudServer
from hud_web.doctor.findings import Finding, note, ok, problem
from hud_web.doctor.reach import Answer, ask

#: Media types by the end of a name: a login page is HTML, for any requested file.
_TYPES = {".js": "javascript", ".css": "css", ".woff2": "font"}
#: Names that a finding lists at most.
_MOST_NAMED = 3


class _Files(HTMLParser):
    """Collects the addresses of scripts, style sheets and preloaded files."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Read one element."""
        address = dict(attrs).get({"script": "src", "link": "href"}.get(tag, ""))
        if address and not address.startswith("data:"):
            self.addresses.append(address)


def examine_page(server: HudServer) -> Iterator[Finding]:
    """Yield the findings about the page at `server`."""
    page = ask(server, "GET", "/")
    if page is not None and page.status == 401:
        return  # the doctor's check of the session names the missing token
    if page is None or page.status != 200 or "html" not in page.media_type:
        yield problem(
            "page", f"{server}/ {_came(page)}, expected the page", "page-files",
            "let the proxy pass everything below its path prefix, not only /api and /stream",
        )  # fmt: skip
        return
    parser = _Files()
    parser.feed(page.text)
    missing = [found for address in parser.addresses if (found := _examine_file(server, address))]
    if missing:
        rest = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        yield problem(
            "page", f"{len(missing)} of the page's {len(parser.addresses)} files cannot be reached: "
            f"{', '.join(missing[:_MOST_NAMED])}{rest}", "page-files",
            "let the proxy pass everything below its path prefix, in particular /static, without a separate login for "
            "these files",
        )  # fmt: skip
        return
    yield ok("page", f"the page's {len(parser.addresses)} files are served below {server}/")
    if server.path:
        bare = ask(server, "GET", "")
        if bare is not None and bare.status == 200 and "html" in bare.media_type:
            yield note(
                "page", f"{server} shows the page too, without its files: relative addresses need the trailing slash",
                "no-slash", f"open {server}/ or let the proxy redirect to it",
            )  # fmt: skip


def _examine_file(server: HudServer, address: str) -> str | None:
    """Return the fault of a file; None if the server sent it."""
    if address.startswith("/"):
        return f"{address} leads out of {server}/"
    answer = ask(server, "GET", f"/{address}")
    expected = _TYPES.get(address[address.rfind(".") :], "")
    if answer is not None and answer.status == 200 and expected in answer.media_type:
        return None
    return f"{address} {_came(answer)}"


def _came(answer: Answer | None) -> str:
    if answer is None:
        return "did not answer"
    if answer.location is not None:
        return f"answered {answer.status} and redirects"
    return f"answered {answer.status} with {answer.media_type or 'no media type'}"
