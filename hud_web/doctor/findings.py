"""The finding of a check: one line for people, the cause for machines, and the fix.

Owns the printed form of findings. Called by the doctor's checks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "problem"]
#: The causes of trouble, by the names that docs/troubleshooting.md lists; "" if there is none.
Cause = Literal[
    "", "buffered", "clock-skew", "delayed", "draining", "held", "lapsed", "login", "no-backend", "no-redis",
    "no-run", "no-slash", "no-way", "not-a-hud", "not-a-redis", "old-client", "old-server", "page-files", "redirected",
    "redis-clients", "redis-cluster", "redis-evicts", "redis-forgets", "redis-full", "redis-loading", "redis-name",
    "redis-old", "redis-other", "redis-password", "redis-refuses", "redis-replica", "redis-rights", "redis-sentinel",
    "redis-silent", "redis-tls", "redis-unbounded", "redis-url", "server-no-redis", "settings", "stream-cut",
    "stream-refused", "tls", "tls-untrusted", "token-missing", "token-refused", "token-views", "unknown-host", "unset",
    "view-only", "view-token", "wrong-name", "wrong-path", "wrong-port",
]  # fmt: skip

#: The page shows entries by their writers' clocks; with a clock that is further off they look old, or in the future.
MOST_SKEW_S = 2.0

_MARK: dict[Level, str] = {"ok": "ok", "note": "--", "problem": "!!"}


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        level: a "problem" stops training or the page from working; a "note" may be intended.
        check: the subject, in a word or two.
        text: the result.
        cause: the name of the fault.
        fix: the remedy.
    """

    level: Level
    check: str
    text: str
    cause: Cause = ""
    fix: str = ""

    def lines(self) -> list[str]:
        """Return the lines to print."""
        shown = [f"{_MARK[self.level]} {self.check:<9} {self.text}"]
        if self.fix:
            shown.append(f"{'':14}{'fix: ' if self.level == 'problem' else ''}{self.fix}")
        return shown


def ok(check: str, text: str) -> Finding:
    """Return a finding without trouble."""
    return Finding("ok", check, text)


def note(check: str, text: str, cause: Cause = "", fix: str = "") -> Finding:
    """Return a finding that may be intended."""
    return Finding("note", check, text, cause, fix)


def problem(check: str, text: str, cause: Cause, fix: str) -> Finding:
    """Return a finding that stops training or the page."""
    return Finding("problem", check, text, cause, fix)


def clock_skew(whose: str, skew_s: float, doubt_s: float) -> list[Finding]:
    """Return the findings about a clock that is ahead of ours by `skew_s`, known to within `doubt_s`."""
    if abs(skew_s) - doubt_s <= MOST_SKEW_S:
        return []
    way = "ahead of" if skew_s > 0 else "behind"
    return [
        problem(
            "clock", f"the clock of {whose} is {abs(skew_s):.0f} s {way} this machine's: ages and latencies on the "
            "page are wrong by this time", "clock-skew",
            "synchronize both machines by NTP (timedatectl, chronyc tracking)",
        )
    ]  # fmt: skip


def evicts(whose: str, policy: str) -> Finding:
    """Return the finding about a Redis whose policy evicts keys."""
    return problem(
        "redis", f"maxmemory-policy of {whose} is {policy}: when memory is full, Redis evicts the session lock, and "
        "the run loses its display", "redis-evicts",
        "redis-cli config set maxmemory-policy noeviction, and the same in redis.conf",
    )  # fmt: skip
