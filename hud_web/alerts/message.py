"""Messages: the alerts of one channel as plain text, with links to their moments. No I/O.

A run's data reach a message only through `plain`, so that they can neither mention anybody nor form a link or markup.
Called by `courier`.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from hud_publisher.protocol.stored import read_int

MAX_TITLE = 120
#: Kinds that are sent in quiet times too.
URGENT = frozenset({"process_died", "process_lost", "session_lapsed"})

#: A zero-width space after these characters ends every mention, entity and link: `@everyone`, `<!channel>`, `](url)`.
_ACTIVE = re.compile(r"[@<&\]]")


@dataclass(frozen=True, slots=True)
class DueAlert:
    """One alert of the outbox.

    Attributes:
        id: of its entry.
        sid: of the session.
        kind: of the annotation, or "condition".
        text: one sentence.
        time_ms: when it happened, in Unix milliseconds.
        step: environment steps sampled by then; None if unknown.
        is_end: whether it reports the end of an earlier alert.
        targets: ids of the targets.
    """

    id: str
    sid: str
    kind: str
    text: str
    time_ms: int
    step: int | None
    is_end: bool
    targets: frozenset[str]

    @property
    def is_urgent(self) -> bool:
        """Whether it is sent in quiet times too."""
        return self.kind in URGENT and not self.is_end


def decode_alert(entry_id: str, fields: Mapping[bytes, bytes]) -> DueAlert:
    """Return the alert of an entry of the outbox; parts that cannot be read are empty."""
    text = {name: value.decode("utf-8", "replace") for name, value in fields.items()}
    return DueAlert(
        entry_id, text.get(b"session", ""), text.get(b"kind", ""), text.get(b"text", ""),
        read_int(fields, b"time") or 0, read_int(fields, b"step"), text.get(b"state") == "resolved",
        frozenset(text.get(b"targets", "").split()),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Message:
    """A message about the first of some alerts.

    Attributes:
        title: one line.
        body: plain text.
        is_good: whether it only tells that all is well again.
        count: the number of alerts that it tells about.
    """

    title: str
    body: str
    is_good: bool
    count: int


def compose(
    channel: str, alerts: Sequence[DueAlert], *, names: Mapping[str, str], link: str | None, most_chars: int = 8_000
) -> Message:
    """Return the message about as many of a channel's alerts as it may hold; at least about the first.

    Args:
        channel: of the alerts.
        alerts: at least one, the oldest first.
        names: SID → name of the run.
        link: the page's base URL.
        most_chars: of the body.
    """
    told: dict[tuple[str, str, bool], list[str]] = {}  # the lines of each different alert
    times: Counter[tuple[str, str, bool]] = Counter()
    used, sid = 0, None
    for one in alerts:
        key = (one.sid, one.text, one.is_end)
        if key not in told:
            run = [f"Run {plain(names.get(one.sid, ''), 80) or one.sid}, channel {channel}"] if one.sid != sid else []
            lines = [*run, _line(one), *([f"{link}/?{_moment(channel, one)}"] if link else [])]
            length = sum(len(line) + 1 for line in lines)
            if told and used + length > most_chars:
                break
            told[key], used, sid = lines, used + length, one.sid
        times[key] += 1
    count = times.total()
    for key, lines in told.items():
        if times[key] > 1:
            lines[-2 if link else -1] += f" (×{times[key]})"
    is_good = all(one.is_end for one in alerts[:count])
    about = plain(alerts[0].text, MAX_TITLE) if len(told) == 1 else f"{count} alerts{' resolved' * is_good}"
    body = "\n".join(line for lines in told.values() for line in lines)
    return Message(f"HUD {channel}: {about}"[:MAX_TITLE], body[:most_chars], is_good, count)


def _moment(channel: str, one: DueAlert) -> str:
    return urlencode({"channel": channel, "session": one.sid, "t": one.time_ms})


def plain(text: str, most: int = 500) -> str:
    """Return text of a run without control characters, mentions, links with other names, and markup."""
    shown = "".join(char if char.isprintable() else " " for char in text[:most])
    return _ACTIVE.sub(lambda found: f"{found[0]}\u200b", shown).strip()


def _line(one: DueAlert) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(one.time_ms / 1000))
    step = "" if one.step is None else f", step {one.step:,}"
    return f"{at}{step}: {plain(one.text)}"
