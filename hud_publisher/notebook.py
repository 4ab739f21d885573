"""The page inside a notebook: an IFrame with all of it or with one part.

Needs no notebook library, because notebooks show the result of `_repr_html_`. Called by hud_publisher.publisher.
"""

from __future__ import annotations

import html
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode, urlsplit

from hud_publisher.protocol.errors import ConfigError

Part = Literal["page", "stage", "card", "chart"]
#: The height of each part, in CSS pixels, unless the caller chooses another.
HEIGHTS: dict[str, int] = {"page": 800, "stage": 420, "card": 480, "chart": 320}
#: The path prefix of a user's server at JupyterHub, where jupyter-server-proxy shows the ports of that machine.
HUB_PREFIX = "JUPYTERHUB_SERVICE_PREFIX"

_UNKNOWN = (
    'The address of the page is unknown: call show(url="http://HOST:8086"), or set HUD_URL to the server that shows it.'
)


@dataclass(frozen=True, slots=True)
class View:
    """The page in a notebook.

    Attributes:
        url: of the page or of its part; None if it is unknown.
        height: of the IFrame, in CSS pixels.
    """

    url: str | None
    height: int

    def _repr_html_(self) -> str:
        """Return the IFrame, with a link for notebooks whose page may not embed another."""
        if self.url is None:
            return f"<p>{html.escape(_UNKNOWN)}</p>"
        url = html.escape(self.url)
        return (
            f'<iframe src="{url}" title="HUD" width="100%" height="{self.height}" style="border: 0" '
            f'allow="fullscreen"></iframe><br><a href="{url}" target="_blank" rel="noopener">HUD</a>'
        )


def view_of(
    page: str | None,
    channel: str,
    part: str = "page",
    *,
    chart: str | None = None,
    height: int | None = None,
    environ: Mapping[str, str],
) -> View:
    """Return the view of a channel.

    Args:
        page: the address of the page; None if it is unknown.
        channel: the display.
        part: "page" for all of it, or one of its parts: "stage", "card" or "chart".
        chart: the field whose chart "chart" shows.
        height: of the IFrame, in CSS pixels.
        environ: of the process; at JupyterHub it names the prefix below which the hub shows this machine's ports.

    Raises:
        ConfigError: there is no such part, or the chart has no field.
    """
    if part not in HEIGHTS:
        raise ConfigError(f"show(): expected one of {', '.join(map(repr, HEIGHTS))}, got {str(part)[:40]!r}")
    if (part == "chart") != (chart is not None):
        raise ConfigError('show(): a chart needs its field, and only a chart has one: show("chart", chart="loss")')
    query = {"channel": channel} | ({} if part == "page" else {"embed": part}) | ({"chart": chart} if chart else {})
    url = None if page is None else f"{_reachable(page, environ.get(HUB_PREFIX, '')).rstrip('/')}/?{urlencode(query)}"
    return View(url, height or HEIGHTS[part])


def _reachable(page: str, prefix: str) -> str:
    """Return the address at which a browser reaches the page: at JupyterHub, this machine's ports are below a path."""
    parts = urlsplit(page)
    host = parts.hostname or ""
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    return f"{prefix.rstrip('/')}/proxy/{parts.port or 80}" if prefix and is_loopback else page
