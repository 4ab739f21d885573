"""Reports the memory in use of a process once a second, from a daemon thread in that process.

`python -m tests.faults.memory …` runs the module that HUD_TEST_PROGRAM names, with the same arguments, and writes into
the file `memory-<pid>` of the folder that HUD_TEST_MEMORY names. The resident memory that the kernel reports is a
high-water mark: an allocator returns little. The memory in use rises and falls with the work, so it shows a leak.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

#: Between two samples.
PERIOD_S = 1.0
FOLDER = "HUD_TEST_MEMORY"
PROGRAM = "HUD_TEST_PROGRAM"


class _MallInfo(ctypes.Structure):
    """glibc's struct mallinfo2 (mallinfo(3)): ten numbers of type size_t."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"
        )
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class InUse:
    """Python's blocks of memory (every object is at least one), and bytes that the C library has allocated."""

    blocks: int
    heap: int


def told_by(folder: Path, pid: int) -> InUse | None:
    """The newest report of a process; None before its first report."""
    try:
        blocks, heap = (folder / f"memory-{pid}").read_text(encoding="ascii").split()
    except (FileNotFoundError, ValueError):
        return None
    return InUse(int(blocks), int(heap))


def tell(folder: Path) -> None:
    """Start the reports; they go on until the process ends."""
    file = os.open(folder / f"memory-{os.getpid()}", os.O_WRONLY | os.O_CREAT)
    threading.Thread(target=_tell, args=(file,), daemon=True).start()


def _tell(file: int) -> None:
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = _MallInfo
    while True:
        info = ask()
        os.pwrite(file, f"{sys.getallocatedblocks():12d} {info.uordblks + info.hblkhd:16d}\n".encode("ascii"), 0)
        time.sleep(PERIOD_S)


if __name__ == "__main__":
    tell(Path(os.environ[FOLDER]))
    runpy.run_module(os.environ[PROGRAM], run_name="__main__", alter_sys=True)
