"""Describes an exception for the report of a death: its type, its message with its causes, and its last frames.

Reads the lines of source files, and nothing else. Never raises: an exception is foreign code. Called by `deaths` and by
rllib_integration.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from itertools import islice
from types import TracebackType
from typing import Any

from hud_publisher.protocol.names import text_of

#: Frames of the exception that came first, and of each that it caused.
MAX_FRAMES = 20
MAX_OUTER_FRAMES = 6
#: Exceptions of a chain.
MAX_CAUSES = 5
_PACKAGES = re.compile(r".*/(?:site|dist)-packages/")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_STDLIB = os.path.dirname(os.__file__)
#: The last lines of a remote traceback.
_REMOTE_LINES = 40


def describe(error: BaseException) -> dict[str, Any]:
    """Return `exception`, `message` and `traceback` of an exception, each empty if it cannot be read.

    The traceback is a list of lines `file:line in function: code`, the newest frame last, without the home directory.
    An exception of ray is described by its cause, which another process raised.
    """
    try:
        remote = remote_traceback(error)
        cause = getattr(error, "cause", None)
        if remote is not None and isinstance(cause, BaseException):
            return _describe_chain(_chain(cause)) | {"traceback": _remote_lines(remote)}
        return _describe_chain(_chain(error))
    except Exception:
        return {"exception": type(error).__name__, "message": "", "traceback": []}


def remote_traceback(error: BaseException) -> str | None:
    """Return the traceback of another process that ray's RayTaskError holds; None for another exception."""
    if not any(kind.__name__ == "RayTaskError" for kind in type(error).__mro__):
        return None
    text = error.__dict__.get("traceback_str")  # the class that also derives from the cause's has it as its text only
    return text if isinstance(text, str) else _message(error)


def _chain(error: BaseException) -> list[BaseException]:
    """Return the exception and those that caused it, the first cause last."""
    chain = [error]
    while len(chain) < MAX_CAUSES:
        last = chain[-1]
        cause = last.__cause__ or (None if last.__suppress_context__ else last.__context__)
        if cause is None or any(cause is one for one in chain):
            break
        chain.append(cause)
    while len(chain) > 1 and not _message(chain[0]) and type(chain[0]) in (RuntimeError, Exception):
        del chain[0]  # `raise RuntimeError from error`, as RLlib does, tells nothing
    return chain


def _describe_chain(chain: list[BaseException]) -> dict[str, Any]:
    parts = [_message(chain[0])]
    inner = getattr(chain[0], "exceptions", ())  # of an ExceptionGroup
    inner = list(islice(inner, MAX_CAUSES)) if isinstance(inner, (tuple, list)) else []
    parts += [f"contains {_line(one)}" for one in inner if isinstance(one, BaseException)]
    parts += [f"caused by {_line(one)}" for one in chain[1:]]
    lines: list[str] = []
    for at, one in enumerate(reversed(chain)):
        if at:
            lines.append(f"which caused {_name(one)}:")
        lines += _frames(one.__traceback__, MAX_OUTER_FRAMES if at else MAX_FRAMES)
    return {"exception": _name(chain[0]), "message": "\n".join(part for part in parts if part), "traceback": lines}


def _name(error: BaseException) -> str:
    kind = type(error)
    module = getattr(kind, "__module__", "")
    return kind.__qualname__ if module in ("builtins", "__main__") else f"{module}.{kind.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        return plain_text(str.__str__(str(error))).strip()
    except Exception:  # its text is foreign code
        return ""


def plain_text(text: str) -> str:
    """Return a text without the escape sequences of a terminal."""
    return _ESCAPES.sub("", text) if "\x1b" in text else text


def _line(error: BaseException) -> str:
    message = _message(error)
    return f"{_name(error)}: {message}" if message else _name(error)


def _frames(trace: TracebackType | None, most: int) -> list[str]:
    if trace is None:
        return []
    try:
        found = traceback.extract_tb(trace, limit=-most)
    except Exception:  # a loader of modules that does not give the source
        return []
    return [_frame(one.filename, one.lineno, one.name, one.line) for one in found]


def _frame(file: str, line: int | None, function: str, code: str | None) -> str:
    where = f"{short_path(file)}:{line} in {function}"
    return f"{where}: {code.strip()}" if code else where


def short_path(file: str) -> str:
    """Return a path without the home directory, or from the package on that it belongs to."""
    plain = file.replace("\\", "/")
    if (packages := _PACKAGES.match(plain)) is not None:
        return plain[packages.end() :]
    if file.startswith(_STDLIB + os.sep):
        return plain[len(_STDLIB) + 1 :]
    home = os.path.expanduser("~")
    if len(home) > 1 and file.startswith(home + os.sep):
        return "~" + plain[len(home) :]
    return plain


def _remote_lines(text: str) -> list[str]:
    """Return the last lines of the traceback that another process of ray printed, in the form of `_frame`."""
    lines = plain_text(text).strip().splitlines()[-3 * _REMOTE_LINES :]
    found: list[str] = []
    for line in lines:
        frame = re.match(r'\s*File "([^"]+)", line (\d+), in (.+)', line)
        if frame is not None:
            found.append(_frame(frame[1], int(frame[2]), frame[3].strip(), None))
        elif found and line.startswith("    ") and line.strip() and not set(line.strip()) <= set("^~ "):
            found[-1] += f": {line.strip()}"
    return (found or [line.strip() for line in lines])[-MAX_FRAMES:]


def memory_use() -> dict[str, int]:
    """Return `memory_bytes` and `peak_memory_bytes` of this process, as far as they are known."""
    found: dict[str, int] = {}
    try:
        import psutil

        found["memory_bytes"] = int(psutil.Process().memory_info().rss)
    except Exception:  # not installed, or forbidden
        pass
    try:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        found["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    except Exception:  # Windows
        pass
    return found


def exit_code_of(code: object) -> tuple[int, str]:
    """Return the exit code of `SystemExit(code)`, and its message."""
    if code is None or isinstance(code, int):
        return int(code or 0), ""
    return 1, text_of(code)
