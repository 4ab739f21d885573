"""Log lines for people or, with HUD_LOG_FORMAT=json, one JSON object per line for a cluster's log store.

Each line that is logged while a request is served has the id of that request. Called by the command line and, for the
id, by `request_log`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from contextvars import ContextVar
from types import TracebackType
from typing import TextIO

from hud_publisher.protocol.texts import one_line

#: The id of the request that is being served, "" outside of a request.
request_id: ContextVar[str] = ContextVar("hud_request_id", default="")

logger = logging.getLogger("hud")

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
#: The attributes that logging itself sets; all others of a record came with `extra=`.
_KNOWN = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}
#: The longest line for people, in characters.
_MAX_LINE = 10_000


class TextFormatter(logging.Formatter):
    """A line for people; characters that are not printable are escaped, so no request can forge a line."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line without the traceback."""
        return one_line(super().formatMessage(record), _MAX_LINE)

    def formatException(self, ei: object) -> str:
        """Return the traceback, indented: the text of an exception may hold newlines."""
        lines = super().formatException(ei).splitlines()  # type: ignore[arg-type]
        return "\n".join(f"    {one_line(line, _MAX_LINE)}" for line in lines)


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (RFC 3339, UTC), level, logger, message, request_id, fields of `extra=`, error."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; newlines within a message are escaped, so no request can forge a line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03d}Z", "level": record.levelname.lower(), "logger": record.name,
            "message": record.getMessage(),
        }  # fmt: skip
        if identity := request_id.get():
            line["request_id"] = identity
        line |= {name: value for name, value in vars(record).items() if name not in _KNOWN}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def wants_json() -> bool:
    """Whether HUD_LOG_FORMAT is json; read before the settings, because their errors must be JSON too."""
    return os.environ.get("HUD_LOG_FORMAT", "").strip().lower() == "json"


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Send every log line of this process to standard error in this format.

    With JSON, Python's warnings and the errors that end a thread or the process are lines too.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if form == "json":
        logging.captureWarnings(True)
        logging.raiseExceptions = False  # a line that cannot be written must not cause a line that is not JSON
        sys.excepthook = _log_uncaught
        threading.excepthook = _log_uncaught_in_thread
        sys.unraisablehook = _log_unraisable


def is_json() -> bool:
    """Whether `configure` chose JSON."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logger.critical("the process ends by %s", kind.__name__, exc_info=(kind, error, trace))


def _log_uncaught_in_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_type is not SystemExit:
        error = ended.exc_value or ended.exc_type()
        logger.error("a thread ended by %s", ended.exc_type.__name__, exc_info=error)


def _log_unraisable(found: sys.UnraisableHookArgs) -> None:
    logger.error("an error was ignored: %s", found.err_msg or found.exc_type.__name__, exc_info=found.exc_value)
