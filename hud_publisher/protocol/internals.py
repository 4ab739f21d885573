"""Logs that an internal of a library is missing, and which documented way replaces it.

A faster way may rely on attributes that a library does not document. Its caller looks for them first, and takes the
documented way if the installed version lacks one. Called by the Redis clients, the web server and `watch_openai`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from operator import attrgetter

logger = logging.getLogger("hud")


def missing_of(thing: object, paths: Iterable[str]) -> str | None:
    """Return the first of these dotted attribute paths that `thing` lacks, after the name of its type; None if none."""
    for path in paths:
        try:
            attrgetter(path)(thing)
        except AttributeError:
            return f"{type(thing).__name__}.{path}"
    return None


@cache
def report_missing(package: str, internal: str, instead: str) -> None:
    """Log once per process that this version of a package lacks an internal.

    Args:
        package: its name on PyPI.
        internal: the missing attribute, with its class.
        instead: what works in another way now.
    """
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        version = "of an unknown version"
    logger.warning("%s %s has no %s: %s", package, version, internal, instead)
