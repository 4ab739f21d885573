"""Ends a child process when its parent ends in any way, SIGKILL included. Called by `embedded` and `demo`."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def told_of_our_end(number: signal.Signals) -> Callable[[], None] | None:
    """Return a function for a child to run before exec: the kernel sends it this signal when its parent thread ends.

    Only Linux has this (prctl(2)); elsewhere None.
    """
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None, use_errno=True), os.getpid()

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # the parent died before the line above
            os._exit(1)

    return prepare


_WATCHDOG = """
import os, signal, sys
os.read(0, 1)
try:
    os.kill(int(sys.argv[1]), signal.SIGKILL)
except ProcessLookupError:
    pass
"""


def watch(pid: int) -> None:
    """Kill this child when our process ends, on systems where `told_of_our_end` returns None.

    A process reads a pipe until our end of it is closed.
    """
    if sys.platform == "linux":
        return
    reader, writer = os.pipe()
    os.set_inheritable(writer, False)
    subprocess.Popen([sys.executable, "-c", _WATCHDOG, str(pid)], stdin=reader, start_new_session=True, close_fds=True)
    os.close(reader)
