"""Decides which process of a run measures its node.

Each node of a run is measured once. The processes compete for a record lock (POSIX `fcntl`) on one file of the user, at
an offset that the session decides: the kernel frees it when its process ends in any way, a forked child does not
inherit it, and no file is left per run. Called by `sampler`.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from hashlib import blake2b

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: The file's descriptor. It stays open: closing any descriptor of the file would free all locks of this process.
_descriptor: int | None = None


def take(session_id: str) -> bool:
    """Return whether this process measures the node for a session; asking again costs one system call.

    Without such locks each process does: their values agree, so this costs only entries.
    """
    if fcntl is None:
        return True
    try:
        fcntl.lockf(_file(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _offset(session_id))
    except BlockingIOError:
        return False
    except OSError as error:
        return not isinstance(error, PermissionError)  # which some systems raise for a lock that another process has
    return True


def free(session_id: str) -> None:
    """Let another process measure the node."""
    if fcntl is not None and _descriptor is not None:
        with contextlib.suppress(OSError):
            fcntl.lockf(_descriptor, fcntl.LOCK_UN, 1, _offset(session_id))


def _file() -> int:
    global _descriptor
    if _descriptor is None:
        path = os.path.join(tempfile.gettempdir(), f"hud-{os.getuid()}.nodes")
        _descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    return _descriptor


def _offset(session_id: str) -> int:
    return int.from_bytes(blake2b(session_id.encode(), digest_size=6).digest())
