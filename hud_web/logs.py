"""Log lines for people or, with HUD_LOG_FORMAT=json, one JSON object a line for a cluster's log store.

Each line that is written while a request is served carries that request's id. Called by the command line and, for the
id, by `request_log`.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from contextvars import ContextVar
from typing import TextIO

#: The id of the request that is being served, "" outside of one.
request_id: ContextVar[str] = ContextVar("hud_request_id", default="")

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
#: What a caller added with `extra=`: everything in a record that logging itself does not put there.
_KNOWN = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}


#: What would begin another line, or colour a terminal: a path may hold it.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class TextFormatter(logging.Formatter):
    """A line for people; control characters in a message are escaped, so nobody can forge a line."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line without the traceback."""
        return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), super().formatMessage(record))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, message, request_id, what `extra=` gave, error."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; newlines within a message are escaped, so nobody can forge a line."""
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


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Send every log line of this process to standard error in this form."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
