"""Shared by all test folders: signals as in a foreground job, and real servers to start, kill and restart."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

from tests.fixtures.signals import restore_signals

restore_signals()

pytest_plugins = [
    "tests.fixtures.servers", "tests.fixtures.web", "tests.fixtures.up", "tests.fixtures.browser",
    "tests.fixtures.receiver",
]  # fmt: skip

# Publishers without an address look here for the `hud up` of this user, which a developer may be running.
os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="hud-tests-")
# A `hud up` of a test must not keep its runs among those of the developer.
os.environ["XDG_DATA_HOME"] = os.environ["XDG_RUNTIME_DIR"] + "/data"
atexit.register(shutil.rmtree, os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)

# A test that compares a run's state expects the fields that it logged; those about the machine switch it on.
os.environ["HUD_MACHINE"] = "0"
