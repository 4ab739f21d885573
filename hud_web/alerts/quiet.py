"""Quiet times: hours of the day in which only deaths are sent. No I/O except for the time zones of the system."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

_SPAN = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*(?:-|–)\s*([01]?\d|2[0-3]):([0-5]\d)(?:\s+(\S+))?")


@dataclass(frozen=True, slots=True)
class QuietTime:
    """A span of every day, which may pass midnight.

    Attributes:
        begin: minutes after midnight.
        end: minutes after midnight; the first minute that is not quiet.
        zone: the time zone of both.
    """

    begin: int
    end: int
    zone: tzinfo

    @classmethod
    def parse(cls, text: str) -> QuietTime:
        """Read a span such as `22:00-07:00 Europe/Berlin`; without a zone it is in UTC.

        Raises:
            ValueError: the text has another form, or no such zone is installed.
        """
        match = _SPAN.fullmatch(text.strip())
        begin, end = (int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])) if match else (0, 0)
        if match is None or begin == end:
            raise ValueError(f"expected a span such as '22:00-07:00 Europe/Berlin', got {text[:60]!r}")
        return cls(begin, end, _zone(match[5] or "UTC"))

    def holds_at(self, time_ms: int) -> bool:
        """Whether a moment, in Unix milliseconds, is within the span."""
        moment = datetime.fromtimestamp(time_ms / 1000, self.zone)
        minute = moment.hour * 60 + moment.minute
        if self.begin < self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end


def _zone(name: str) -> tzinfo:
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError) as error:  # LookupError: not found
        raise ValueError(
            f"expected a time zone such as Europe/Berlin, got {name[:40]!r}: correct it, or install the package tzdata"
        ) from error
