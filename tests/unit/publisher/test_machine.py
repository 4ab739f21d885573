"""The use of the machine: what is measured, by whom, how often, and within which limits."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from hud_publisher import Publisher
from hud_publisher.arguments import process_name
from hud_publisher.intake.intake import Intake
from hud_publisher.machine import lock, sampler
from hud_publisher.machine.cgroup import Cgroup
from hud_publisher.machine.gpu import GpuUse
from hud_publisher.machine.node import NodeUse
from hud_publisher.machine.process import ProcessUse
from hud_publisher.machine.sampler import Machine
from hud_publisher.protocol.entries import MetricsEntry
from hud_publisher.protocol.settings import Settings
from hud_publisher.sender.compose import composer
from hud_publisher.sender.loop import Sender
from hud_publisher.sender.pauses import GilYield
from tests.fixtures.publishing import MemorySink


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Other runs of this user on this machine take no part."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(lock, "_descriptor", None)
    yield
    sampler._owners.clear()


def fields_of(sample: tuple[dict[str, Any], int] | None) -> dict[str, Any]:
    assert sample is not None
    return dict(sample[0]["machine"])


def test_a_process_and_its_node_are_measured_every_five_seconds() -> None:
    machine = Machine("driver", "host/1")
    assert machine.sample(100.0, "session") is None  # rates need two samples
    assert machine.sample(104.9, "session") is None
    found = fields_of(machine.sample(105.0, "session"))
    assert found.keys() == {"driver", "node host-1"}
    driver, node = found["driver"], found["node host-1"]
    assert driver["memory_bytes"] == pytest.approx(psutil.Process().memory_info().rss, rel=0.5)
    assert driver.keys() >= {"cpu_percent", "memory_bytes", "threads", "node"}
    assert driver["node"] == "host-1"
    assert 0 < node["memory_bytes"] < node["memory_total_bytes"]
    assert node.keys() >= {"cpu_percent", "cores", "disk_percent", "network_received_bytes_per_s"}
    assert machine.sample(106.0, "session") is None
    assert machine.sample(110.0, "session") is not None


def test_the_number_of_values_is_counted() -> None:
    machine = Machine("driver", "host")
    machine.sample(0.0, "session")
    sample = machine.sample(5.0, "session")
    assert sample is not None
    assert sample[1] == sum(len(fields) for fields in fields_of(sample).values())


def test_one_publisher_of_a_process_measures_for_a_session() -> None:
    first, second, other = Machine("driver", "h"), Machine("driver", "h"), Machine("driver", "h")
    for at_s in (0.0, 5.0):
        found = first.sample(at_s, "a"), second.sample(at_s, "a"), other.sample(at_s, "b")
    assert [sample is not None for sample in found] == [True, False, True]
    first.close()
    assert second.sample(10.0, "a")


def test_one_process_of_a_session_measures_the_node(tmp_path: Path) -> None:
    machine = Machine("env runner 1", "host")
    machine.sample(0.0, "session")
    assert "node host" in fields_of(machine.sample(5.0, "session"))
    script = (
        f"import tempfile; tempfile.tempdir = {str(tmp_path)!r}\n"
        "from hud_publisher.machine import lock\nprint(lock.take('session'), lock.take('another'))"
    )
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert other.stdout.split() == ["False", "True"]
    machine.close()
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert other.stdout.split() == ["True", "True"]


def test_further_processes_are_measured_until_they_end() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        machine = Machine("driver", "h", others := {"learner 0": child.pid})
        machine.sample(0.0, "s")
        assert fields_of(machine.sample(5.0, "s"))["learner 0"]["memory_bytes"] > 0
    finally:
        child.communicate(b"\n")
    assert "learner 0" not in fields_of(machine.sample(10.0, "s"))
    beside = Machine("driver", "h", {"learner 1": psutil.Process().pid})  # another publisher measures this process
    beside.sample(10.0, "s")
    assert fields_of(beside.sample(15.0, "s")).keys() == {"learner 1"}
    others.clear()
    assert "learner 0" not in fields_of(machine.sample(15.0, "s"))


def test_the_environments_of_a_vector_environment_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    children = [SimpleNamespace(pid=psutil.Process().pid), SimpleNamespace(pid=2**22 + 1)]  # the second has ended
    monkeypatch.setattr(multiprocessing.process, "_children", children)
    found = ProcessUse().sample(1.0, lambda: None)
    assert found["children"] == 1
    assert found["children_memory_bytes"] > 1_000_000


def test_what_psutil_cannot_read_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise psutil.AccessDenied

    for name in ("virtual_memory", "disk_usage", "disk_io_counters", "net_io_counters", "cpu_times"):
        monkeypatch.setattr(psutil, name, refuse)
    monkeypatch.setattr(psutil.Process, "memory_info", refuse)
    machine = Machine("driver", "host")
    machine.sample(0.0, "session")
    found = fields_of(machine.sample(5.0, "session"))
    assert "memory_bytes" not in found["driver"]
    assert "threads" in found["driver"]
    monkeypatch.setattr(psutil, "Process", refuse)
    blind = Machine("driver", "host")
    assert blind.sample(0.0, "other") is None


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def test_limits_of_a_container_of_version_2(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("0::/pod/box\n")
    root = tmp_path / "cgroup"
    stat = "anon 700\nactive_file 100\ninactive_file 150\nslab_reclaimable 50"
    write(root / "pod", memory__max="1000", memory__current="1000", memory__stat=stat, cpu__max="max 100000")
    write(root / "pod/box", memory__max="max", memory__current="1", cpu__max="150000 100000")
    write(root / "pod/box", **{"cpu__stat": "usage_usec 2500000\nuser_usec 1"})
    group = Cgroup(root, tmp_path / "own")
    assert group.memory() == (700, 1000)
    assert group.cpu() == (2.5, 1.5)


def test_limits_of_a_container_of_version_1(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n")
    root = tmp_path / "cgroup"
    stat = "active_file 1\ntotal_active_file 100\ntotal_inactive_file 100"
    write(root / "memory", memory__limit_in_bytes="5000", memory__usage_in_bytes="900", memory__stat=stat)
    write(root / "cpu,cpuacct", **{"cpu__cfs_quota_us": "50000", "cpu__cfs_period_us": "100000"})
    write(root / "cpu,cpuacct", **{"cpuacct__usage": "3000000000"})
    group = Cgroup(root, tmp_path / "own")
    assert group.memory() == (700, 5000)
    assert group.cpu() == (3.0, 0.5)


def test_without_limits_the_whole_machine_counts(tmp_path: Path) -> None:
    write(tmp_path / "cgroup/memory", memory__limit_in_bytes=str(2**63 - 4096), memory__usage_in_bytes="1")
    (tmp_path / "own").write_text("4:memory:/\n")
    group = Cgroup(tmp_path / "cgroup", tmp_path / "own")
    assert (group.memory(), group.cpu()) == (None, None)
    assert Cgroup(tmp_path / "none", tmp_path / "nothing").memory() is None
    node = NodeUse(cgroup=group)
    node.sample(0.0, lambda: None)
    found = node.sample(5.0, lambda: None)
    assert found["memory_total_bytes"] == psutil.virtual_memory().total
    assert 0 <= found["cpu_percent"] <= 100


def test_a_node_in_a_container_is_measured_against_its_limits(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("0::/\n")
    root = tmp_path / "cgroup"
    write(root, memory__max="1000", memory__current="400", cpu__max="200000 100000", cpu__stat="usage_usec 0")
    node = NodeUse(cgroup=Cgroup(root, tmp_path / "own"))
    node.sample(0.0, lambda: None)
    write(root, cpu__stat="usage_usec 5000000")
    found = node.sample(5.0, lambda: None)
    assert (found["memory_bytes"], found["memory_total_bytes"]) == (400, 1000)
    assert (found["cpu_percent"], found["cores"]) == (50.0, 2.0)


class FakeNvml:
    """Two GPUs, of which the second does not measure its power."""

    NVML_TEMPERATURE_GPU = 0

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUtilizationRates(self, _handle: int) -> Any:
        return SimpleNamespace(gpu=93)

    def nvmlDeviceGetMemoryInfo(self, _handle: int) -> Any:
        return SimpleNamespace(used=3, total=8)

    def nvmlDeviceGetName(self, _handle: int) -> bytes:
        return b"Tesla"

    def nvmlDeviceGetTemperature(self, _handle: int, _sensor: int) -> int:
        return 61

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        if handle:
            raise RuntimeError("Not Supported")
        return 123_456


def test_gpus_show_what_they_measure() -> None:
    first = {
        "use_percent": 93, "memory_bytes": 3, "memory_total_bytes": 8, "name": "Tesla", "temperature_celsius": 61,
        "power_watts": 123.5,
    }  # fmt: skip
    second = {name: value for name, value in first.items() if name != "power_watts"}
    assert GpuUse(FakeNvml()).sample(lambda: None) == {"gpu 0": first, "gpu 1": second}
    assert GpuUse(None).sample(lambda: None) == {}
    assert GpuUse(object()).sample(lambda: None) == {}


def test_the_sender_sends_a_sample_with_its_next_batch() -> None:
    now = [100.0]
    intake, settings, sink = Intake(clock=lambda: now[0]), Settings(), MemorySink()
    sender = Sender(
        intake, sink, settings, composer(settings, intake.counters, GilYield()), GilYield(), writer="w",
        machine=Machine("driver", "host"),
    )  # fmt: skip
    for _ in range(3):
        sender.turn()
    now[0] += 5.0
    sender.turn()
    [entry] = sink.landed
    assert isinstance(entry, MetricsEntry)
    assert entry.stream == "machine"
    assert entry.data["machine"]["driver"]["memory_bytes"] > 0  # type: ignore[index, call-overload]
    assert intake.stats().sent == {"machine": 1}


@pytest.mark.parametrize(("is_joining", "reports"), [(True, 1), (False, 0)])
def test_a_measured_process_that_leaves_a_session_says_so(is_joining: bool, reports: int) -> None:
    now = [100.0]
    intake, settings, sink = Intake(clock=lambda: now[0]), Settings(), MemorySink(is_joining=is_joining)
    sender = Sender(
        intake, sink, settings, composer(settings, intake.counters, GilYield()), GilYield(), writer="w",
        machine=Machine("env runner 2", "host"),
    )  # fmt: skip
    for _ in range(4):
        sender.turn()
        now[0] += 5.0
    intake.close(now[0] + 5.0, None)
    sender.run()
    ends = [entry.data for entry in sink.landed if entry.stream == "reports" and isinstance(entry, MetricsEntry)]
    assert ends == [{"kind": "end", "process": "env runner 2"}] * reports


@pytest.mark.parametrize(
    ("role", "name"),
    [("driver", "driver"), ("w0", "driver"), ("w2", "env runner 2"), (None, "host-1-ab"), ("actor", "host-1-ab")],
)
def test_processes_have_names_for_people(role: str | None, name: str) -> None:
    assert process_name(role, "host-1-ab") == name


def test_the_machine_is_not_measured_if_the_setting_is_off() -> None:
    assert Publisher(redis_url="redis://nowhere", machine=False)._make_machine("w") is None
    assert Publisher(redis_url="redis://nowhere", machine=True)._make_machine("w") is not None
