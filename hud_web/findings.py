"""What a check found: one line for people, the cause for machines, and the fix.

Owns how findings look when they are printed. Called by the doctor's checks.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "note", "problem"]
#: What can be wrong, by the names that docs/troubleshooting.md lists; "" where nothing is.
Cause = Literal[
    "", "buffered", "clock-skew", "delayed", "draining", "held", "lapsed", "login", "no-backend", "no-redis",
    "no-run", "no-way", "not-a-hud", "not-a-redis", "old-client", "old-server", "redirected", "redis-cluster",
    "redis-evicts", "redis-forgets", "redis-full", "redis-loading", "redis-name", "redis-old", "redis-other",
    "redis-password", "redis-refuses", "redis-replica", "redis-rights", "redis-sentinel", "redis-silent", "redis-tls",
    "redis-unbounded", "redis-url", "server-no-redis", "server-redis-password", "server-redis-rights", "settings",
    "stream-cut", "stream-refused", "tls", "tls-untrusted", "token-missing", "token-refused", "token-views",
    "unknown-host", "unset", "view-only", "view-token", "wrong-name", "wrong-path", "wrong-port",
]  # fmt: skip

#: Entries are shown by their writers' clocks; who is further off looks stalled or from the future.
MOST_SKEW_S = 2.0

_MARK: dict[Level, str] = {"ok": "ok", "note": "--", "problem": "!!"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: "problem" is what stops training or the page from working; "note" is worth knowing.
        check: what was looked at, in a word or two.
        text: what was found.
        cause: the name of what is wrong.
        fix: what to do about it.
    """

    level: Level
    check: str
    text: str
    cause: Cause = ""
    fix: str = ""

    def lines(self) -> list[str]:
        """Return it as it is printed."""
        shown = [f"{_MARK[self.level]} {self.check:<9} {self.text}"]
        if self.fix:
            shown.append(f"              {'fix: ' if self.level == 'problem' else ''}{self.fix}")
        return shown

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON shows it."""
        return asdict(self)


def ok(check: str, text: str) -> Finding:
    """Return what is as it should be."""
    return Finding("ok", check, text)


def note(check: str, text: str, cause: Cause = "", fix: str = "") -> Finding:
    """Return what may be meant that way."""
    return Finding("note", check, text, cause, fix)


def problem(check: str, text: str, cause: Cause, fix: str) -> Finding:
    """Return what does not work."""
    return Finding("problem", check, text, cause, fix)


def clock_skew(whose: str, skew_s: float, doubt_s: float) -> list[Finding]:
    """Return what there is to say of a clock that is ahead of ours by `skew_s`, known to within `doubt_s`."""
    if abs(skew_s) - doubt_s <= MOST_SKEW_S:
        return []
    way = "ahead of" if skew_s > 0 else "behind"
    return [
        problem(
            "clock", f"the clock of {whose} is {abs(skew_s):.0f} s {way} this machine's: ages and latencies on the "
            "page are off by as much", "clock-skew",
            "let both machines keep time by NTP (timedatectl, chronyc tracking)",
        )
    ]  # fmt: skip


def evicts(whose: str, policy: str) -> Finding:
    """Return what it means that Redis drops keys by itself."""
    return problem(
        "redis", f"maxmemory-policy of {whose} is {policy}: when memory is full, it drops the session lock, and the "
        "run loses its display", "redis-evicts",
        "redis-cli config set maxmemory-policy noeviction, and the same in redis.conf",
    )  # fmt: skip
