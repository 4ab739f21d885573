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
from typing import Any
from urllib.parse import urlencode

from hud_publisher.protocol.stored import read_int

#: Alerts that one message names; the others are counted.
MAX_LINES = 20
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
    """A title of one line, a plain text, and whether it only tells that all is well again."""

    title: str
    body: str
    is_good: bool


def compose(channel: str, alerts: Sequence[DueAlert], *, names: Mapping[str, str], link: str | None) -> Message:
    """Return the message about alerts of one channel.

    Args:
        channel: of the alerts.
        alerts: at least one, the oldest first.
        names: SID → name of the run.
        link: the page's base URL.
    """
    same = Counter((one.sid, one.text, one.is_end) for one in alerts)
    shown = list({(one.sid, one.text, one.is_end): one for one in alerts}.values())
    lines: list[str] = []
    sid = None
    for one in shown[:MAX_LINES]:
        if one.sid != sid:
            sid = one.sid
            lines.append(f"Run {plain(names.get(sid, ''), 80) or sid}, channel {channel}")
        times = same[one.sid, one.text, one.is_end]
        lines.append(_line(one) + (f" (×{times})" if times > 1 else ""))
        if link:
            query: dict[str, Any] = {"channel": channel, "session": one.sid, "t": one.time_ms}
            lines.append(f"{link}/?{urlencode(query)}")
    if len(shown) > MAX_LINES:
        lines.append(f"and {len(shown) - MAX_LINES} more")
    is_good = all(one.is_end for one in alerts)
    about = plain(shown[0].text, MAX_TITLE) if len(shown) == 1 else f"{len(alerts)} alerts{' resolved' * is_good}"
    return Message(f"HUD {channel}: {about}"[:MAX_TITLE], "\n".join(lines), is_good)


def plain(text: str, most: int = 500) -> str:
    """Return text of a run without control characters, mentions, links with other names, and markup."""
    shown = "".join(char if char.isprintable() else " " for char in text[:most])
    return _ACTIVE.sub(lambda found: f"{found[0]}\u200b", shown).strip()


def _line(one: DueAlert) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(one.time_ms / 1000))
    step = "" if one.step is None else f", step {one.step:,}"
    return f"{at}{step}: {plain(one.text)}"
