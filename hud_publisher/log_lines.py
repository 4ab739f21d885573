"""Passes the program's log lines at WARNING and above to publishers with `HUD_LOGS=on`.

Follows the creation of log records (`logging.setLogRecordFactory`) instead of adding a handler. A handler of the root
logger would turn `logging.basicConfig` into a call without effect, and would miss loggers that do not propagate, such
as those of ray. HUD's own lines are left out. Called by the publisher.
"""

from __future__ import annotations

import contextlib
import logging
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hud_publisher.failure import describe, plain_text
from hud_publisher.protocol.names import MAX_TEXT_CHARS

if TYPE_CHECKING:
    from hud_publisher.intake.intake import Intake

_OWN = ("hud", "hud_publisher", "hud_web")
#: Intakes that want the lines, with the name of the process.
_followers: dict[weakref.ref[Intake], str] = {}
_is_installed = False


def follow(intake: Intake, process: str) -> None:
    """Offer the lines from now on to this intake, until it closes.

    Args:
        intake: of a publisher.
        process: the name of this process in the lines.
    """
    global _is_installed
    _followers[weakref.ref(intake, lambda gone: _followers.pop(gone, None))] = process
    if not _is_installed:
        _is_installed = True
        logging.setLogRecordFactory(_noting(logging.getLogRecordFactory()))


def _noting(make: Callable[..., logging.LogRecord]) -> Callable[..., logging.LogRecord]:
    """Return a factory of log records that calls the given one and notes what it made."""

    def make_and_note(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if _followers and isinstance(record.levelno, int) and record.levelno >= logging.WARNING:
            with contextlib.suppress(Exception):  # the arguments of a record are foreign objects
                _note(record)
        return record

    return make_and_note


def _note(record: logging.LogRecord) -> None:
    name = str(record.name)
    if name.partition(".")[0] in _OWN:
        return
    text = plain_text(record.getMessage()[:MAX_TEXT_CHARS])
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    if error is not None:
        found = describe(error)
        text += f"\n{found['exception']}: {found['message']}"[:MAX_TEXT_CHARS]
    line = {"kind": "log", "level": record.levelname, "logger": name[:200], "text": text}
    for follower, process in list(_followers.items()):
        intake = follower()
        if intake is None or intake.close_by is not None:
            _followers.pop(follower, None)
        else:
            intake.offer_line(time.time_ns() // 1_000_000, {"process": process, **line})
