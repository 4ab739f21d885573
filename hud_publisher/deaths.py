"""Reports the death of this process: an exception that nothing catches, an exit code, a signal.

Adds one function before each of the interpreter's hooks and calls the one that was there; hooks and handlers of others
are never replaced. The publishers of the process send the report within the time limit of closing. A death that no
Python code can see (SIGKILL, a crash in a library) is found by the monitor, because the process falls silent. Installed
when the first publisher starts.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from hud_publisher import lifecycle
from hud_publisher.failure import describe, exit_code_of, memory_use

#: Signals that end a process if nobody handles them. SIGINT raises KeyboardInterrupt instead.
_SIGNALS = ("SIGTERM", "SIGHUP")
#: Exceptions that end a generator or a task, not a process.
_NO_DEATH = (GeneratorExit, StopIteration, StopAsyncIteration)
#: Attribute of an exception whose report somebody else makes.
_NOTED = "_hud_is_noted"

_is_installed = False
#: Code and message of the last call of `sys.exit`, how many entries each publisher had taken, and the publishers:
#: without this reference, the publisher of a function would close before the functions of `atexit` run.
_exit: tuple[int, str, tuple[int, ...], list[Any]] | None = None


def watch_process() -> None:
    """Install the hooks, once; signal handlers only from the main thread and if the default is in place."""
    global _is_installed
    if not _is_installed:
        _is_installed = True
        sys.excepthook = _before(sys.excepthook, _report_uncaught)
        threading.excepthook = _before(threading.excepthook, _report_thread)
        sys.exit = _exit_with(sys.exit)
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and not lifecycle.is_child():
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            with contextlib.suppress(ValueError):  # an interpreter inside of another program has no handlers
                if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                    signal.signal(number, _on_signal)


def of_exception(error: BaseException | None) -> dict[str, Any] | None:
    """Return the report of a process that this exception ends; None if it ends normally."""
    if error is None or isinstance(error, _NO_DEATH) or getattr(error, _NOTED, False) is True:
        return None
    if isinstance(error, SystemExit):
        code, message = exit_code_of(error.code)
        return of_exit(code, message) if code else None
    fields = describe(error) | {"exit_code": 1}
    if isinstance(error, KeyboardInterrupt):
        fields |= {"signal": "SIGINT", "exit_code": 130}
    return {"kind": "death", **fields, **memory_use()}


def mark_as_noted(error: BaseException) -> None:
    """Leave the report of this exception to the caller, who knows more about it than a hook."""
    for one in (error, getattr(error, "cause", None)):  # ray copies its RayTaskError, and the copy shares the cause
        with contextlib.suppress(Exception):  # an exception may refuse attributes
            setattr(one, _NOTED, True)


def of_exit(code: int, message: str = "") -> dict[str, Any]:
    """Return the report of a process that calls `sys.exit` with a code other than 0."""
    return {"kind": "death", "exception": "SystemExit", "message": message, "exit_code": code, **memory_use()}


def _before(hook: Callable[..., Any], report: Callable[..., None]) -> Callable[..., Any]:
    """Return a hook that reports and then calls the one that was in place."""

    @functools.wraps(hook)
    def call(*args: Any) -> Any:
        with contextlib.suppress(Exception):  # a report must not cost the traceback
            report(*args)
        return hook(*args)

    return call


def _report_uncaught(_kind: type[BaseException], error: BaseException, *_trace: Any) -> None:
    _report(of_exception(error))


def _report_thread(args: Any) -> None:
    """Report an exception that ended a thread; the process goes on."""
    thread = args.thread.name if args.thread is not None else "?"
    if not thread.startswith("hud-") and args.exc_value is not None and args.exc_type is not SystemExit:
        fields = of_exception(args.exc_value)
        _report(fields and {**fields, "thread": thread, "exit_code": None})


def _exit_with(plain_exit: Callable[..., NoReturn]) -> Callable[..., NoReturn]:
    """Return `sys.exit` with a note of the code: nothing else tells it to functions of `atexit`."""

    @functools.wraps(plain_exit)
    def exit_and_note(status: Any = None, /) -> NoReturn:
        global _exit
        if threading.current_thread() is threading.main_thread():
            publishers = _publishers()
            _exit = (*exit_code_of(status), _counts(publishers), publishers)
        plain_exit(status)

    return exit_and_note


def _counts(publishers: list[Any]) -> tuple[int, ...]:
    """Return how many entries of training each publisher took: more show that a `SystemExit` was caught."""
    counts = (one.stats.taken for one in publishers)
    return tuple(sum(taken[name] for name in taken if name not in ("machine", "reports")) for taken in counts)


def _on_signal(number: int, _frame: FrameType | None) -> None:
    """Report the signal, close the publishers, and end the process by the same signal."""
    try:
        name = signal.Signals(number).name
        _report({"kind": "death", "signal": name, "exit_code": 128 + number, **memory_use()})
        lifecycle.close_all()
    finally:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _report_exit() -> None:
    """At exit: report the exit code, or an exception whose hook another program replaced."""
    if _exit is not None:
        code, message, counts, publishers = _exit
        if code and counts == _counts(publishers):
            _report(of_exit(code, message))
    error = getattr(sys, "last_value", None)
    if isinstance(error, BaseException) and not _is_interactive():
        _report(of_exception(error))


def _is_interactive() -> bool:
    """Whether exceptions end no process here: in a notebook or at a prompt, or under pytest."""
    notebook = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(sys, "ps1") or bool(sys.flags.interactive) or notebook is not None or "_pytest" in sys.modules


def _report(fields: dict[str, Any] | None) -> None:
    if fields is not None:
        for publisher in _publishers():
            publisher.report(fields)


def _publishers() -> list[Any]:
    return [one for one in lifecycle.publishers_in_use() if one.is_running]


def _start_anew_in_child() -> None:
    """After a fork: a parent ends its children by signals when their work is done, which is no death to report."""
    global _exit
    _exit = None
    if threading.current_thread() is threading.main_thread():
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) == _on_signal:
                signal.signal(number, signal.SIG_DFL)


atexit.register(_report_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew_in_child)
