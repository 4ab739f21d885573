"""Keeps the helper off the processor where training's thread runs, so that it takes its turns on another one.

Where all processors are full, the kernel lets who wakes run where it last ran, which may be that of its own env runner:
then that one loses twice, by what it does for its frames and by what the helper does, and the others wait for it. Linux
only; elsewhere, and where a single processor is allowed, nothing happens. Called by hud_publisher.helper_process.
"""

from __future__ import annotations

import contextlib
import os

#: Where the kernel says on which processor a process' first thread ran last: proc(5), field 39, here behind the name.
_PROCESSOR_FIELD = 36


class Elsewhere:
    """Where this process may run.

    Args:
        pid: the process whose first thread is to be left alone.
    """

    def __init__(self, pid: int) -> None:
        self._file = -1
        self._left_alone: int | None = None
        with contextlib.suppress(AttributeError, OSError):  # no Linux, or none that shows it
            self._allowed = os.sched_getaffinity(0)
            if len(self._allowed) > 1:
                self._file = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)

    def move(self) -> None:
        """Leave the processor on which that thread is now. Costs one read of a file, and a call where it has moved."""
        if self._file < 0:
            return
        try:
            processor = processor_in(os.pread(self._file, 1024, 0))
            if processor != self._left_alone:
                os.sched_setaffinity(0, self._allowed - {processor})
                self._left_alone = processor
        except (OSError, ValueError, IndexError):  # it is gone, or this process may not choose
            os.close(self._file)
            self._file = -1


def processor_in(stat: bytes) -> int:
    """Return the processor that a process' `stat` names; its name, in brackets, may hold anything.

    Raises:
        ValueError: there is no number where it should be.
        IndexError: the text ends before it.
    """
    return int(stat[stat.rindex(b")") + 1 :].split()[_PROCESSOR_FIELD])
