"""The fixed address of the Redis that `hud up` starts for one user of one machine.

A publisher without an address looks here, so a script next to a running `hud up` needs no variable. The socket lies in
`$XDG_RUNTIME_DIR/hud`. If that variable is not set, as in a cron job, it lies in `/run/user/UID/hud`, which is the same
folder where systemd sets it, or in `hud-UID` in the folder for temporary files if that does not exist. Anybody can
create a folder of that name in /tmp first and read everything that is published to a socket in it, so the folder and
the socket count only if they belong to this user and nobody else can enter the folder. Called by
hud_publisher.arguments and by the `hud` command.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hud_publisher.protocol.settings import Settings

#: A local server accepts at once; one whose backlog is full is not worth a delay of training.
CONNECT_S = 0.5
#: Where systemd makes the folder that XDG_RUNTIME_DIR names.
_USUAL = "/run/user"


def local_folder(settings: Settings) -> Path:
    """Return the folder of this user's `hud up`; it may not exist."""
    if settings.runtime_dir:
        return Path(settings.runtime_dir) / "hud"
    usual = Path(_USUAL) / str(_user())
    if is_private(usual):
        return usual / "hud"
    return Path(tempfile.gettempdir()) / f"hud-{_user()}"


def local_socket(settings: Settings) -> Path:
    """Return the path of its Redis socket; it may not exist."""
    return local_folder(settings) / "redis.sock"


def local_url(settings: Settings) -> str:
    """Return its REDIS_URL, whether a `hud up` runs or not."""
    return f"unix://{local_socket(settings)}"


def find_local_redis(settings: Settings) -> str | None:
    """Return the REDIS_URL of this user's running `hud up`; None if none runs, or if its folder cannot be trusted."""
    path = local_socket(settings)
    if is_private(path.parent) and is_own_socket(path) and accepts(path):
        return local_url(settings)
    return None


def is_private(folder: Path) -> bool:
    """Whether this is a real folder of this user, which nobody else can enter."""
    with contextlib.suppress(OSError):
        found = folder.lstat()
        return stat.S_ISDIR(found.st_mode) and found.st_uid == _user() and not found.st_mode & 0o077
    return False


def is_own_socket(path: Path) -> bool:
    """Whether this is a socket that this user made."""
    with contextlib.suppress(OSError):
        found = path.lstat()
        return stat.S_ISSOCK(found.st_mode) and found.st_uid == _user()
    return False


def accepts(path: Path) -> bool:
    """Whether a server listens on this Unix socket; False on a system without Unix sockets."""
    family = getattr(socket, "AF_UNIX", None)
    if family is None:
        return False
    with contextlib.suppress(OSError), socket.socket(family) as link:
        link.settimeout(CONNECT_S)
        link.connect(str(path))
        return True
    return False


def _user() -> int:
    return os.geteuid() if hasattr(os, "geteuid") else -1
