"""Reads where a run comes from: its command line, its Git commit, and the versions of its packages.

Nothing here raises: a part that cannot be read is left out. No package is imported for its version, since
that may take seconds and change the program. Called by sender.describer, in the sender's thread.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from hud_publisher.redaction import Redactor

#: Packages whose versions explain a training, by their normalized names.
PACKAGES = frozenset({
    "rl-hud", "ray", "torch", "tensorflow", "jax", "flax", "numpy", "gymnasium", "gym", "ale-py", "pettingzoo", "pyboy",
    "mujoco", "stable-baselines3", "sb3-contrib", "sample-factory", "tianshou", "torchrl", "cleanrl", "skrl",
    "dopamine-rl", "transformers", "openai", "redis", "pillow",
})  # fmt: skip
#: A repository with very many files takes longer to compare; then only the commit is known.
GIT_TIMEOUT_S = 1.0
_DISTRIBUTION = re.compile(r"(.+?)-(\d[^-]*)(?:-.*)?\.(?:dist|egg)-info")


def read_command(redactor: Redactor, host: str) -> dict[str, Any]:
    """Return the command line without secrets, the working directory, the interpreter, and the machine."""
    found: dict[str, Any] = {"host": host, "pid": os.getpid(), "system": _system()}
    with contextlib.suppress(Exception):  # an interpreter that another program embeds has no arguments
        line: Sequence[str] = getattr(sys, "orig_argv", None) or sys.argv
        found["line"] = without_home(redactor.command([str(part) for part in line]))
    with contextlib.suppress(OSError):  # the directory was removed
        found["folder"] = redactor.text(without_home(os.getcwd()))
    if sys.executable:
        found["python"] = redactor.text(without_home(sys.executable))
    return found


def _system() -> str:
    uname = getattr(os, "uname", None)
    return " ".join((uname().sysname, uname().release, uname().machine)) if uname else sys.platform


def without_home(text: str) -> str:
    """Return a text with `~` in place of the home directory, whose name is often that of the user."""
    home = os.path.expanduser("~")
    return text.replace(home + os.sep, f"~{os.sep}") if len(home) > 3 else text


def read_versions(paths: Sequence[str] | None = None) -> dict[str, str]:
    """Return the versions of Python and of the installed PACKAGES, from the names of their folders.

    Args:
        paths: instead of `sys.path`.
    """
    found = {"python": sys.version.split()[0]}
    for path in tuple(sys.path if paths is None else paths):
        with contextlib.suppress(OSError):
            for folder in os.listdir(path or "."):
                match = _DISTRIBUTION.fullmatch(folder) if folder.endswith("-info") else None
                name = re.sub(r"[-_.]+", "-", match[1]).lower() if match else ""
                if match and name in PACKAGES:
                    found.setdefault(name, match[2])  # the first on the path is the one that is imported
    return found


def read_git(folders: Sequence[str] | None = None) -> dict[str, Any]:
    """Return commit, branch, whether tracked files are changed, and the address of `origin`; {} outside of Git.

    Takes at most about 2 * GIT_TIMEOUT_S for each folder.

    Args:
        folders: the first one in a repository counts; None: the working directory, then that of the program.
    """
    git = shutil.which("git")
    for folder in (_folders() if folders is None else folders) if git else ():
        # Untracked files are left out: a repository may hold a million pictures.
        status = _run(git, folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
        if status is None:
            continue
        head = dict(line[2:].split(" ", 1) for line in status.splitlines() if re.match(r"# branch\.\w+ .", line))
        found: dict[str, Any] = {
            "commit": head.get("branch.oid"),
            "branch": head.get("branch.head"),
            "changed": any(not line.startswith("#") for line in status.splitlines()),
        }
        if remote := _run(git, folder, "config", "--get", "remote.origin.url"):
            found["remote"] = _without_user(remote.strip())
        return found
    return {}


def _folders() -> list[str]:
    folders = ["."]
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return [*folders, os.path.dirname(os.path.abspath(file))] if isinstance(file, str) else folders


def _run(git: str | None, folder: str, *arguments: str) -> str | None:
    """Return the output of a Git command; None if it failed or took too long."""
    environment: Mapping[str, str] = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            [git or "git", "-C", folder, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
            timeout=GIT_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _without_user(remote: str) -> str:
    """Return the address of a repository without user and password."""
    return re.sub(r"^([a-zA-Z][\w+.\-]*://)[^/]*@", r"\1", remote)
