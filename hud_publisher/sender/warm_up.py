"""Loads the modules and codecs of the sender before training begins."""

from __future__ import annotations

import contextlib
import functools
import sys
from importlib import import_module

from hud_publisher.protocol.scripts import PUBLISHER_SCRIPTS, load_script
from hud_publisher.sender.encoder import prepare
from hud_publisher.sinks.redis_client import connect


def warm_up(*, has_redis: bool) -> None:
    """Load the modules that the sender needs, once for each combination of Redis and numpy."""
    _warm_up(has_redis, "numpy" in sys.modules)


@functools.cache
def _warm_up(has_redis: bool, _has_numpy: bool) -> None:
    """Do the one-time work of libraries, which takes milliseconds each, before training begins.

    The sender then imports nothing and calls nothing of OpenSSL: a fork in the middle of that would leave a lock locked
    in the child.
    """
    prepare()
    with contextlib.suppress(Exception):  # psutil refuses systems that it does not know
        import_module("hud_publisher.machine.sampler").load()
    "localhost".encode("idna")  # the codec of host names, which Python imports at first use
    for script in PUBLISHER_SCRIPTS:
        load_script(script)
    if has_redis:
        connect("redis://localhost").close()  # opens no connection; redis-py looks up its version at the first call
