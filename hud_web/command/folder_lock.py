"""A lock on a folder that only one `hud up` may use, and what the running one tells about itself in it.

flock(2): the kernel ends the lock when the last process that inherited it has ended. The embedded Redis inherits it, so
a `hud up` that follows a killed one never starts a second Redis on files that the first still writes. Called by
`embedded`, and by the commands that query the running `hud up`.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from hud_publisher.protocol.errors import ConfigError
from hud_publisher.protocol.settings import Settings
from hud_publisher.protocol.texts import one_line
from hud_publisher.protocol.transport.local_redis import is_private, local_folder

#: The name of the lock in the folder of the socket.
SOCKET_LOCK = "up.lock"
#: The Redis of a killed `hud up` gets its signal within milliseconds; a disk may keep it from ending for a while.
RELEASE_S = 10.0
_RETRY_S = 0.02
_MOST_BYTES = 4096


class HeldError(ConfigError):
    """Another process has the lock; the message names that process and the fix."""


class FolderLock:
    """An exclusive lock on a file of the folder, held until `close` and in every process that inherits `number`.

    Attributes:
        number: the file descriptor.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock; waits up to RELEASE_S for a process whose parent was killed.

        Raises:
            HeldError: another `hud up` or `hud demo` runs.
            ConfigError: the folder's file system has no locks, or refuses the file.
        """
        import fcntl

        try:
            self.number = os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o600)
        except OSError as error:
            raise ConfigError(f"{path} cannot be opened ({error.strerror}): choose another folder") from error
        deadline = time.monotonic() + RELEASE_S
        while True:
            try:
                fcntl.flock(self.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                told = self._read()
                if _lives(told.get("process")) or time.monotonic() > deadline:
                    os.close(self.number)
                    raise HeldError(_what_runs(told)) from error
                time.sleep(_RETRY_S)
            except OSError as error:
                os.close(self.number)
                raise ConfigError(
                    f"{path} cannot be locked ({error.strerror}): choose a folder on a disk of this machine"
                ) from error
        self._facts: dict[str, str | int] = {"process": os.getpid()}
        self.tell()

    def tell(self, **facts: str) -> None:
        """Add facts about this process for those that find the lock held: `page`, `data` and `redis`."""
        self._facts |= facts
        os.ftruncate(self.number, 0)
        os.pwrite(self.number, json.dumps(self._facts).encode() + b"\n", 0)

    def close(self) -> None:
        """Give the lock up."""
        os.ftruncate(self.number, 0)
        os.close(self.number)

    def _read(self) -> dict[str, object]:
        try:
            told = json.loads(os.pread(self.number, _MOST_BYTES, 0))
        except ValueError:  # between the two calls of `tell`, or of an earlier version
            return {}
        return told if isinstance(told, dict) else {}


def running_page(settings: Settings) -> str | None:
    """Return the address of the page of this user's `hud up`; None if none runs."""
    folder = local_folder(settings)
    if not is_private(folder):  # anybody could have written it
        return None
    try:
        told = json.loads((folder / SOCKET_LOCK).read_bytes()[:_MOST_BYTES])
    except (OSError, ValueError):
        return None
    page = told.get("page") if isinstance(told, dict) and _lives(told.get("process")) else None
    return page if isinstance(page, str) else None


def _lives(process: object) -> bool:
    if not isinstance(process, int) or process <= 0:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        pass
    return True


def _what_runs(told: dict[str, object]) -> str:
    shown = {name: one_line(str(value), 300) for name, value in told.items()}
    process = shown.get("process", "unknown")
    text = f"another `hud up` or `hud demo` of this user runs (process {process}"
    text += f", page {shown['page']}" if "page" in shown else ""
    text += f", runs in {shown['data']}" if "data" in shown else ""
    text += "): open its page, or end it"
    text += f" (kill {process})" if "process" in shown else ""
    if "redis" in shown:
        text += f", or show its runs on a second port with REDIS_URL={shown['redis']} hud up --port 0"
    return text
