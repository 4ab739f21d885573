"""Starts the servers under test: ours, nchan, the bare C loop and a typical sse-starlette app, each on one core.

Owns processes, ports and the counters of the kernel about them. The other processes (Redis, the feed, the load client)
share the other core. Called by `run`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / ".make" / "bench"
PEERS = ROOT / ".make" / "peers"
CPUS = sorted(os.sched_getaffinity(0))
#: The server under test has the first core to itself; all other processes share the second.
TESTED, OTHERS = CPUS[0], CPUS[-1]
NCHAN_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")


def free_port() -> int:
    """A loopback port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def spawn(command: list[str], cpu: int, **options: Any) -> subprocess.Popen[str]:
    """Start a process on one core; it does not outlive this one."""

    def prepare() -> None:
        os.sched_setaffinity(0, {cpu})
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

    return subprocess.Popen(command, preexec_fn=prepare, text=True, **options)


def wait_for(claim: Callable[[], Any], what: str, deadline_s: float = 30.0) -> Any:
    """Return the claim's result once it is true."""
    end = time.monotonic() + deadline_s
    while not (result := claim()):
        if time.monotonic() > end:
            raise RuntimeError(f"{what} did not come true within {deadline_s:g} s")
        time.sleep(0.02)
    return result


def cpu_s(pid: int) -> float:
    """Seconds of processor time of a process since its start, user and system (proc(5), schedstat)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def is_listening(port: int) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Server:
    """One server under test.

    Attributes:
        kind: as `feed` names it.
        port: of the streams.
        path: of the stream.
        address: where the feed publishes to.
        processes: those whose time and memory count.
        backend: the Redis that it reads, if any; it is not under test.
    """

    kind: str
    port: int
    path: str
    address: str
    processes: list[subprocess.Popen[str]]
    backend: Redis | None = None

    @property
    def pids(self) -> list[int]:
        """All processes under test; nginx has a worker below its master."""
        pids = [process.pid for process in self.processes]
        for pid in list(pids):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            pids += [int(child) for child in children]
        return pids

    def cpu_s(self) -> float:
        """Seconds of processor time since the start."""
        return sum(cpu_s(pid) for pid in self.pids)

    def memory_kb(self) -> int:
        """Resident memory in KB; memory shared with nginx's master counts once."""
        total = 0
        for pid in self.pids:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
        return total


class Redis:
    """A redis-server with nothing on disk."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process = spawn(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            OTHERS, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(self._is_ours, "redis")

    def _is_ours(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"redis-server ended with {self.process.returncode}: was port {self.port} taken?")
        return is_listening(self.port)

    def stats(self) -> dict[str, int]:
        """Commands and blocking reads since the start, and current connections."""
        with redis.Redis.from_url(self.url) as client:
            about: dict[str, Any] = client.info("all")  # type: ignore[assignment]
        return {
            "commands": about["total_commands_processed"], "connections": about["connected_clients"],
            "reads": about.get("cmdstat_xread", {}).get("calls", 0),
        }  # fmt: skip


def stop(*processes: subprocess.Popen[str]) -> None:
    """End processes."""
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()


@contextlib.contextmanager
def hud(**environment: str) -> Iterator[Server]:
    """Our server."""
    backend = Redis()
    process = hud_process(backend.url, port := free_port(), **environment)
    try:
        yield Server("hud", port, "/stream?channel=bench", backend.url, [process], backend)
    finally:
        stop(process, backend.process)


def hud_process(redis_url: str, port: int, cpu: int = TESTED, **environment: str) -> subprocess.Popen[str]:
    """`hud serve`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HUD_", "REDIS_"))}
    process = spawn(
        [sys.executable, "-m", "hud_web", "serve", "--port", str(port), "--log-level", "error"],
        cpu, cwd=ROOT, stdout=subprocess.DEVNULL,
        env=clean | {"REDIS_URL": redis_url, "HUD_STREAMS_PER_ADDRESS": "0"} | environment,
    )  # fmt: skip
    wait_for(lambda: is_listening(port), "hud")
    return process


@contextlib.contextmanager
def typical() -> Iterator[Server]:
    """The sse-starlette app."""
    backend = Redis()
    port = free_port()
    process = spawn(
        [
            sys.executable, "-m", "uvicorn", "bench.typical:app", "--port", str(port), "--log-level", "error",
            "--no-access-log", "--backlog", "4096",
        ],
        TESTED, cwd=ROOT, env=os.environ | {"REDIS_URL": backend.url, "PYTHONPATH": f"{PEERS}:{ROOT}"},
    )  # fmt: skip
    try:
        wait_for(lambda: is_listening(port), "the sse-starlette app")
        yield Server("typical", port, "/stream", backend.url, [process], backend)
    finally:
        stop(process, backend.process)


@contextlib.contextmanager
def nchan() -> Iterator[Server]:
    """nginx with nchan, one worker, messages in its memory."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "nginx.conf").write_text(f"""
            daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; user root;
            load_module {NCHAN_MODULE}; worker_rlimit_nofile 20000;
            events {{ worker_connections 16000; }}
            http {{
              access_log off; nchan_shared_memory_size 256m; keepalive_requests 100000000;
              client_body_temp_path {folder};
              proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
              client_max_body_size 1m; client_body_buffer_size 128k;
              server {{
                listen 127.0.0.1:{port} backlog=4096;
                location = /stream {{ nchan_subscriber eventsource; nchan_channel_id bench; }}
                location = /pub {{ nchan_publisher; nchan_channel_id bench; nchan_message_buffer_length 100; }}
              }}
            }}""")
        process = spawn(["nginx", "-p", folder, "-c", f"{folder}/nginx.conf"], TESTED, stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: is_listening(port), "nginx")
            yield Server("nchan", port, "/stream", f"127.0.0.1:{port}", [process])
        finally:
            process.terminate()  # the master takes its worker with it
            process.wait(10)


@contextlib.contextmanager
def bare() -> Iterator[Server]:
    """The bare C loop."""
    port, publish_port = free_port(), free_port()
    process = spawn([str(BUILT / "bare"), str(port), str(publish_port)], TESTED)
    try:
        wait_for(lambda: is_listening(publish_port), "the bare loop")
        yield Server("bare", port, "/", f"127.0.0.1:{publish_port}", [process])
    finally:
        stop(process)


class Load:
    """The load client, with `count` open streams."""

    def __init__(self, server: Server, count: int, *, rate: float = 0, port: int = 0, resume: bool = False) -> None:
        self.count = count
        self.process = spawn(
            [
                str(BUILT / "load"), "127.0.0.1", str(port or server.port), server.path, str(count), str(rate),
                str(int(resume)),
            ],
            OTHERS, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        stop(self.process)

    def cpu_s(self) -> float:
        """Seconds of processor time since the start: the load client must not be the bottleneck."""
        return cpu_s(self.process.pid)

    def ask(self, command: str) -> dict[str, Any]:
        """Give a command, return the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def wait_open(self, deadline_s: float = 120.0) -> None:
        """Return once all streams are open."""
        wait_for(lambda: self.ask("ready")["open"] == self.count, f"{self.count} open streams", deadline_s)


class Feed:
    """The publisher, running beside."""

    def __init__(
        self, server: Server, *, rate: float, seconds: float, size: int = 300, frames: bool = False, first: int = 0
    ) -> None:
        self.process = spawn(
            [
                sys.executable, str(ROOT / "bench" / "feed.py"), server.kind, server.address, "--rate", str(rate),
                "--seconds", str(seconds), "--bytes", str(size), "--first", str(first),
                *(["--frames"] if frames else []),
            ],
            OTHERS, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
        )  # fmt: skip

    def result(self, timeout_s: float = 120.0) -> dict[str, Any]:
        """Return how much it sent, once it is done."""
        out, _ = self.process.communicate(timeout=timeout_s)
        found: dict[str, Any] = json.loads(out)
        return found
