"""Measures the GPUs of a node through NVML, the library of NVIDIA's driver.

`load` imports the Python binding if there is a driver: the import takes 12 ms, and it must not happen in the sender's
thread, because a fork in the middle of it would leave its lock locked in the child. Called by `node`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

#: Files that exist where NVIDIA's driver is loaded: on Linux, and in the Linux of Windows.
_DRIVER = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")
MAX_GPUS = 16


@cache
def load() -> Any:
    """Return the module `pynvml`; None without a driver or without the module."""
    if sys.platform == "darwin" or (sys.platform == "linux" and not any(map(os.path.exists, _DRIVER))):
        return None
    with contextlib.suppress(Exception):
        return import_module("pynvml")
    return None


class GpuUse:
    """All GPUs of this node; none if NVML does not answer.

    Args:
        nvml: the module `pynvml`, or None.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._handles: list[Any] = []
        if nvml is not None:
            with contextlib.suppress(Exception):  # no driver, no permission, or a driver of another version
                nvml.nvmlInit()
                count = min(MAX_GPUS, nvml.nvmlDeviceGetCount())
                self._handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]

    def sample(self, rest: Callable[[], None]) -> dict[str, dict[str, Any]]:
        """Return the fields of each GPU that it supports; `rest` is called between two of them."""
        found: dict[str, dict[str, Any]] = {}
        for index, handle in enumerate(self._handles):
            fields: dict[str, Any] = {}
            for read in (self._use, self._memory, self._name, self._temperature, self._power):
                with contextlib.suppress(Exception):  # few GPUs measure everything
                    fields |= read(handle)
            if fields:
                found[f"gpu {index}"] = fields
            rest()
        return found

    def _use(self, handle: Any) -> dict[str, Any]:
        return {"use_percent": self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu}

    def _memory(self, handle: Any) -> dict[str, Any]:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        return {"memory_bytes": memory.used, "memory_total_bytes": memory.total}

    def _name(self, handle: Any) -> dict[str, Any]:
        name = self._nvml.nvmlDeviceGetName(handle)
        return {"name": name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)}

    def _temperature(self, handle: Any) -> dict[str, Any]:
        return {"temperature_celsius": self._nvml.nvmlDeviceGetTemperature(handle, self._nvml.NVML_TEMPERATURE_GPU)}

    def _power(self, handle: Any) -> dict[str, Any]:
        return {"power_watts": round(self._nvml.nvmlDeviceGetPowerUsage(handle) / 1000, 1)}
