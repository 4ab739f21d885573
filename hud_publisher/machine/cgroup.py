"""Reads the limits of a container: memory and CPU of the control group (cgroup) of this process, version 1 or 2.

Inside a container the numbers of psutil are those of the whole machine. Files: "Control Group v2" and "Memory Resource
Controller" in the documentation of the Linux kernel. Called by `node`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

#: Files of the two versions: memory limit, memory in use, memory statistics.
_MEMORY = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"),
)
#: Parts of the memory in use that the kernel frees when it needs room. The prefix is that of version 1.
_CACHE = ("active_file", "inactive_file", "slab_reclaimable")
#: Version 1 writes a number near 2**63 if there is no limit.
_NO_LIMIT = 2**60


class Cgroup:
    """The control group that limits this process the most, for memory and for CPU.

    Args:
        root: where the groups are mounted.
        own: the file that names the groups of this process.
    """

    def __init__(self, root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> None:
        self._memory = _tightest(_folders(root, own, "memory"), _memory_limit)
        self._cpu = _tightest(_folders(root, own, "cpu"), _cores)

    def memory(self) -> tuple[int, int] | None:
        """Return the memory in use and its limit, in bytes; None without a limit."""
        limit = _memory_limit(self._memory) if self._memory else None
        if self._memory is None or limit is None:
            return None
        for _limit, current, stat in _MEMORY:
            used = _number(self._memory / current)
            if used is not None:
                parts = _table(self._memory / stat)
                cache = sum(parts.get(f"total_{name}", parts.get(name, 0)) for name in _CACHE)
                return max(0, used - cache), int(limit)
        return None

    def cpu(self) -> tuple[float, float] | None:
        """Return the processor time used, in seconds, and the limit, in cores; None without a limit."""
        cores = _cores(self._cpu) if self._cpu else None
        if self._cpu is None or cores is None:
            return None
        used_us = _table(self._cpu / "cpu.stat").get("usage_usec")
        if used_us is not None:
            return used_us / 1e6, cores
        used_ns = _number(self._cpu / "cpuacct.usage")
        return None if used_ns is None else (used_ns / 1e9, cores)


def _folders(root: Path, own: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the groups of this process that may limit a resource, from its own group up to the root.

    A container may see its group as the root, or only below the path that the host knows.
    """
    for line in (_text(own) or "").splitlines():
        _number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        for mount in (root / controllers, root / controller) if controllers else (root,):
            folder = mount / path.lstrip("/")
            while folder != mount.parent and folder != folder.parent:
                yield folder
                folder = folder.parent


def _tightest(folders: Iterator[Path], limit_of: Callable[[Path], float | None]) -> Path | None:
    limits = [(limit, folder) for folder in folders if (limit := limit_of(folder)) is not None]
    return min(limits)[1] if limits else None


def _memory_limit(folder: Path) -> float | None:
    for limit, _current, _stat in _MEMORY:
        found = _number(folder / limit)
        if found is not None:
            return found if found < _NO_LIMIT else None
    return None


def _cores(folder: Path) -> float | None:
    quota, _space, period = (_text(folder / "cpu.max") or "").partition(" ")
    if quota.isdigit() and period.isdigit():
        return int(quota) / int(period)
    quota_us, period_us = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return quota_us / period_us if quota_us and quota_us > 0 and period_us else None


def _text(path: Path) -> str | None:
    with contextlib.suppress(OSError, ValueError):
        return path.read_text(encoding="utf-8").strip()
    return None


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text and text.removeprefix("-").isdigit() else None


def _table(path: Path) -> dict[str, int]:
    rows = (line.partition(" ") for line in (_text(path) or "").splitlines())
    return {name: int(value) for name, _space, value in rows if value.isdigit()}
