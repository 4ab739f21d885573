"""Measures one process: CPU, memory, threads, open files, and the processes that multiprocessing started for it.

A vector environment steps its environments in such children. Their memory is a separate field: pages that they share
with their parent count in both. Children of other kinds are left out, because the driver of Ray is the ancestor of
every process of Ray on its node. Called by `sampler`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from multiprocessing import process as multiprocessing
from typing import Any

import psutil

#: Children that are measured: each costs about 0.1 ms.
MAX_CHILDREN = 64


class ProcessUse:
    """The use of one process since the last sample.

    Args:
        pid: of another process of this user; None: of this process.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._pid = os.getpid() if pid is None else pid
        self._is_own = pid is None
        self._process = psutil.Process(self._pid)
        self._cpu = _Cpu(self._process)
        self._children: dict[int, _Cpu] = {}

    @property
    def is_running(self) -> bool:
        """Whether the process exists; another process that got its id later is not it."""
        return bool(self._process.is_running())

    def sample(self, now_s: float, rest: Callable[[], None]) -> dict[str, Any]:
        """Return the fields that can be read.

        Args:
            now_s: a monotonic clock, in seconds.
            rest: called between two pieces of the work.
        """
        fields: dict[str, Any] = {}
        with readable():
            if (percent := self._cpu.percent(now_s)) is not None:
                fields["cpu_percent"] = percent
        rest()
        with readable():
            fields["memory_bytes"] = self._process.memory_info().rss
        with readable():
            fields["threads"] = self._process.num_threads()
        rest()
        with readable():
            fields["open_files"] = self._process.num_fds()  # not on Windows
        if self._is_own:
            rest()
            fields |= self._sample_children(now_s, rest)
        return fields

    def _sample_children(self, now_s: float, rest: Callable[[], None]) -> dict[str, Any]:
        """Return the sums over the children; a child that ended meanwhile is left out."""
        # `active_children()` would also collect those that ended, which is the main thread's affair.
        pids = [child.pid for child in tuple(getattr(multiprocessing, "_children", ())) if child.pid][:MAX_CHILDREN]
        known, self._children = self._children, {}
        cpu_percent, memory_bytes = 0.0, 0
        for pid in pids:
            with readable():
                child = self._children[pid] = known.get(pid) or _Cpu(psutil.Process(pid))
                cpu_percent += child.percent(now_s) or 0.0
                memory_bytes += child.process.memory_info().rss
            rest()
        if not self._children:
            return {}
        return {
            "children": len(self._children),
            "children_cpu_percent": round(cpu_percent, 1),
            "children_memory_bytes": memory_bytes,
        }


class _Cpu:
    """The processor time of one process: all threads, in percent of one core."""

    def __init__(self, process: psutil.Process) -> None:
        self.process = process
        self._before: tuple[float, float] | None = None

    def percent(self, now_s: float) -> float | None:
        """Return the use since the last call; None at the first call."""
        times = self.process.cpu_times()
        used_s, before = times.user + times.system, self._before
        self._before = (now_s, used_s)
        if before is None or now_s <= before[0]:
            return None
        return round(max(0.0, 100 * (used_s - before[1]) / (now_s - before[0])), 1)


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Leave out a part that cannot be read: psutil raises errors of its own and of the system."""
    with contextlib.suppress(Exception):
        yield
