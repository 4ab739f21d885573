"""What the publishers of one process share: its end, its forks, and one log line where there is no address.

Called by hud_publisher.publisher, and by Python at exit and after a fork.
"""

from __future__ import annotations

import atexit
import logging
import os
import time
import weakref
from typing import TYPE_CHECKING

from hud_publisher.link import Link

if TYPE_CHECKING:
    from hud_publisher.publisher import Publisher

logger = logging.getLogger("hud_publisher")

#: How long closing may take, in seconds: one time-out of a server that does not answer.
CLOSE_S = 2.0

#: Every publisher of this process that is still in use.
publishers: weakref.WeakSet[Publisher] = weakref.WeakSet()
_said: set[str] = set()


def say_disabled() -> None:
    """Log once per process that nothing will be shown."""
    if "disabled" not in _said:
        _said.add("disabled")
        logger.warning("HUD is disabled: set REDIS_URL or HUD_URL to publish (`hud up` starts both and prints them)")


def close_when_forgotten(publisher: Publisher, link: Link) -> None:
    """If the publisher is forgotten without `close`, its thread sends what waits and ends; nobody waits for it."""
    weakref.finalize(publisher, _close_orphan, link).atexit = False


def _close_orphan(link: Link) -> None:
    link.close(time.monotonic() + CLOSE_S, None)


def _close_all() -> None:
    """At exit: all publishers together get CLOSE_S seconds."""
    close_by = time.monotonic() + CLOSE_S
    threads = [publisher.ask_to_close(close_by) for publisher in list(publishers)]
    for thread in threads:
        if thread is not None:
            thread.join(max(0.0, close_by - time.monotonic()) + 0.1)


def _start_anew_in_child() -> None:
    for publisher in list(publishers):
        publisher.start_anew_in_child()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew_in_child)
