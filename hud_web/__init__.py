"""The web tier: follows runs in Redis and serves the page, its live stream and the HTTP interface to viewers."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def distribution_version() -> str:
    """Return the installed version; "0" if the package runs without an installation."""
    try:
        return version("rl-hud")
    except PackageNotFoundError:
        return "0"
