"""Measures a node: CPU, memory, disk, network and GPUs; inside a container, CPU and memory against its limits.

The memory in use leaves out caches that the kernel frees when it needs room. The disk is the fuller one of those with
the working directory and the folder for temporary files, to which Ray spills; network file systems are left out, since
one that does not answer would block the thread. Network traffic leaves out the loopback interface. Called by `sampler`.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from typing import Any

import psutil

from hud_publisher.machine.cgroup import Cgroup
from hud_publisher.machine.gpu import GpuUse
from hud_publisher.machine.process import readable

#: Beginnings of the types of file systems on other machines.
_REMOTE = ("nfs", "cifs", "smb", "fuse", "lustre", "gpfs", "ceph", "beegfs", "afs", "panfs", "glusterfs", "sshfs")
_LOOPBACK = ("lo", "lo0", "Loopback")


class NodeUse:
    """The use of a node since the last sample.

    Args:
        nvml: the module `pynvml`, or None.
        cgroup: of this process.
    """

    def __init__(self, nvml: Any = None, cgroup: Cgroup | None = None) -> None:
        self._cgroup = cgroup or Cgroup()
        self._gpus = GpuUse(nvml)
        self._disks = _local_folders()
        self._before: dict[str, tuple[float, float]] = {}

    def sample(self, now_s: float, rest: Callable[[], None]) -> dict[str, Any]:
        """Return the fields that can be read.

        Args:
            now_s: a monotonic clock, in seconds.
            rest: called between two pieces of the work.
        """
        fields: dict[str, Any] = {}
        for read in (self._cpu, self._memory, self._disk, self._disk_traffic, self._network):
            with readable():
                fields |= {name: value for name, value in read(now_s).items() if value is not None}
            rest()
        return fields | self._gpus.sample(rest)

    def _cpu(self, now_s: float) -> dict[str, float | None]:
        limited = self._cgroup.cpu()
        if limited is not None:
            used_s, cores = limited
            share = self._rate("cpu", now_s, used_s)
            percent = None if share is None else 100 * share / cores
        else:
            cores = float(psutil.cpu_count() or 1)
            times = psutil.cpu_times()
            idle_s = times.idle + getattr(times, "iowait", 0.0)
            share = self._rate("idle", now_s, idle_s)
            percent = None if share is None else 100 * (1 - share / cores)
        return {"cpu_percent": None if percent is None else round(min(100.0, max(0.0, percent)), 1), "cores": cores}

    def _memory(self, _now_s: float) -> dict[str, float | None]:
        memory = psutil.virtual_memory()
        used, total = memory.total - memory.available, memory.total
        limited = self._cgroup.memory()
        if limited is not None and limited[1] < total:
            used, total = limited
        return {"memory_bytes": used, "memory_total_bytes": total}

    def _disk(self, _now_s: float) -> dict[str, float | None]:
        usage = max((psutil.disk_usage(folder) for folder in self._disks), key=lambda one: one.percent, default=None)
        return {} if usage is None else {"disk_percent": usage.percent, "disk_free_bytes": usage.free}

    def _disk_traffic(self, now_s: float) -> dict[str, float | None]:
        # Without `nowrap`, which would make psutil keep counters for the whole process, as for the user's own calls.
        counters = psutil.disk_io_counters(nowrap=False)
        if counters is None:
            return {}
        return {
            "disk_read_bytes_per_s": self._bytes_per_s("read", now_s, counters.read_bytes),
            "disk_write_bytes_per_s": self._bytes_per_s("write", now_s, counters.write_bytes),
        }

    def _network(self, now_s: float) -> dict[str, float | None]:
        cards = psutil.net_io_counters(pernic=True, nowrap=False)
        outside = [card for name, card in cards.items() if not name.startswith(_LOOPBACK)]
        return {
            "network_received_bytes_per_s": self._bytes_per_s("in", now_s, sum(card.bytes_recv for card in outside)),
            "network_sent_bytes_per_s": self._bytes_per_s("out", now_s, sum(card.bytes_sent for card in outside)),
        }

    def _bytes_per_s(self, name: str, now_s: float, count: float) -> int | None:
        rate = self._rate(name, now_s, count)
        return None if rate is None else max(0, round(rate))  # a counter that wrapped, or a device that was removed

    def _rate(self, name: str, now_s: float, value: float) -> float | None:
        """Return the growth per second since the last sample; None for the first one."""
        before = self._before.get(name)
        self._before[name] = (now_s, value)
        return None if before is None or now_s <= before[0] else (value - before[1]) / (now_s - before[0])


def _local_folders() -> list[str]:
    """Return the working directory and the folder for temporary files, without those on another machine."""
    folders: list[str] = []
    with contextlib.suppress(Exception):  # no working directory, or a list of mounts in an unknown form
        mounts = sorted(psutil.disk_partitions(all=True), key=lambda mount: len(mount.mountpoint))
        for folder in (os.getcwd(), tempfile.gettempdir()):
            kinds = [mount.fstype for mount in mounts if _is_below(folder, mount.mountpoint)]
            if not kinds or not kinds[-1].startswith(_REMOTE):
                folders.append(folder)
    return folders


def _is_below(folder: str, mountpoint: str) -> bool:
    return folder == mountpoint or folder.startswith(mountpoint.rstrip("/\\") + os.sep)
