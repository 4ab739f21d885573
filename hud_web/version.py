"""Which version of the distribution runs. Called by the endpoints, the metrics and the doctor."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def distribution_version() -> str:
    """Return the installed version; "0" where the package runs without having been installed."""
    try:
        return version("rl-hud")
    except PackageNotFoundError:
        return "0"
