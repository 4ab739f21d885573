"""Standard output of the `hud` command: one cleaned line at a time, and a quiet exit when its reader has closed it.

Called by the command line and the commands that print.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence

from hud_publisher.protocol.errors import HudError
from hud_publisher.protocol.texts import one_line

#: The longest line that is printed, in characters; JSON is printed whole.
MAX_LINE = 10_000
#: The longest cell of a table, in characters.
MAX_CELL = 60
#: The exit status of a program whose standard output was closed by its reader: 128 and SIGPIPE, as a shell reports it.
PIPE_STATUS = 141


def print_line(text: str) -> None:
    """Print a line for people; it may contain names and error texts of others, so control characters are escaped.

    Raises:
        BrokenPipeError: the reader of standard output has closed it, as in `hud sessions | head -1`.
        HudError: it cannot be written, for example because a disk is full.
    """
    _write(one_line(text, MAX_LINE) + "\n")


def print_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below the names of their columns; all but the last column are padded to the same width."""
    shown = [[one_line(cell, MAX_CELL) for cell in row[:-1]] + [row[-1]] for row in (names, *rows)]
    widths = [max(len(row[at]) for row in shown) for at in range(len(names) - 1)]
    for row in shown:
        print_line(
            "  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        )


def print_json(text: str) -> None:
    """Print a line of JSON, which escapes control characters itself."""
    _write(text + "\n")


def flush() -> None:
    """Send buffered output; at the interpreter's end it would be too late to handle a closed output."""
    if sys.stdout is not None:
        _attempt(sys.stdout.flush)


def discard() -> None:
    """Send further output to the null device, so that the interpreter reports no error at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _write(text: str) -> None:
    if sys.stdout is None:  # closed by the caller, `hud status >&-`
        return
    encoding = sys.stdout.encoding or "utf-8"
    shown = text.encode(encoding, "backslashreplace").decode(encoding)  # a terminal may know ASCII only
    _attempt(lambda: sys.stdout.write(shown))


def _attempt(action: Callable[[], object]) -> None:
    try:
        action()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard()
        raise HudError(f"the output cannot be written: {error.strerror or error}") from error
