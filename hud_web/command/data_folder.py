"""The folder in which the embedded Redis keeps its files: one that stays, or a temporary one. Called by `embedded`.

A folder that stays is used by one `hud up` at a time and keeps the runs of all of them. Nothing here ever deletes a
run.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hud_publisher.protocol.errors import ConfigError
from hud_web.command.folder_lock import FolderLock
from hud_web.settings import WebSettings

_PREFIX = "hud-redis-"
#: A file in a temporary folder that is locked for as long as the folder is in use.
_CLAIM = "in-use"
_FIX = "choose another folder with --data, or keep no runs with --memory"


def default_folder(settings: WebSettings) -> Path:
    """Return the folder of this user's runs, `hud` in the XDG data folder; it may not exist.

    Raises:
        ConfigError: this user has no home folder.
    """
    home = settings.data_home
    if home and Path(home).is_absolute():  # the XDG specification ignores a relative path
        return Path(home) / "hud"
    try:
        return Path.home() / ".local/share/hud"
    except RuntimeError as error:
        raise ConfigError(f"this user has no home folder to keep runs in: {_FIX}") from error


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[FolderLock]:
    """Make a folder that stays, and lock it.

    Raises:
        ConfigError: it cannot be made or used, or another `hud up` uses it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise ConfigError(f"the folder {folder} for runs cannot be made ({error.strerror}): {_FIX}") from error
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"other users can write into {folder}: `chmod go-w` it, or {_FIX}")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError(f"this user cannot write into {folder}: {_FIX}")
    with contextlib.closing(FolderLock(folder / "data.lock")) as lock:
        for pattern in ("temp-*.aof", "temp-*.rdb"):  # of a rewrite that was killed: up to the size of all runs each
            for leftover in folder.glob(pattern):
                leftover.unlink(missing_ok=True)
        yield lock


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """Make a folder that is removed at the end, or if this process is killed, by the next one."""
    _remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))  # mode 0700
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(os.close, _claim(folder))
        yield folder


def _claim(folder: Path) -> int:
    """Mark a folder as in use; the kernel removes the mark when this process ends in any way (flock(2))."""
    import fcntl

    claim = os.open(folder / "unnamed", os.O_CREAT | os.O_RDWR)
    fcntl.flock(claim, fcntl.LOCK_EX)
    (folder / "unnamed").rename(folder / _CLAIM)  # visible to others only once it is locked
    return claim


def _remove_abandoned() -> None:
    """Remove the folders of killed processes: with their frames they may take as much as Redis' memory each."""
    import fcntl

    for claim in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_CLAIM}"):
        with contextlib.suppress(OSError), claim.open() as opened:  # it belongs to another user, or is still in use
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(claim.parent, ignore_errors=True)
