"""Sends the run's configuration: after the registration, after each change, and again to each new session.

The run's first process, such as RLlib's driver, adds where the run comes from. A failure here never delays the entries:
it is retried with growing pauses, and a refusal is logged once. Called by sender.loop.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hud_publisher.once import LogOnce
from hud_publisher.origin import read_command, read_git, read_versions
from hud_publisher.protocol.configuration import encode_sections
from hud_publisher.protocol.errors import (
    HudError,
    SessionNotActiveError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
)
from hud_publisher.sender.pauses import Backoff

if TYPE_CHECKING:
    from hud_publisher.description import Description
    from hud_publisher.protocol.batch import Registered
    from hud_publisher.redaction import Redactor
    from hud_publisher.sinks.sink import Sink

#: Changes within this time are sent together, in seconds.
TOGETHER_S = 2.0


class Describer:
    """Sends the sections of one publisher.

    Args:
        description: the sections that the program gave.
        sink: the target.
        make_redactor: called once, in the sender's thread; it reads the environment.
        host: the name of this machine.
        is_first: whether this is the run's first process; None: if it was the first to register.
        draw: a random number from 0 to 1.
    """

    def __init__(
        self,
        description: Description,
        sink: Sink,
        make_redactor: Callable[[], Redactor],
        host: str,
        *,
        is_first: bool | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._description, self._sink, self._make_redactor, self._host = description, sink, make_redactor, host
        self._is_first = is_first
        self._redactor: Redactor | None = None
        #: The sections about the origin of the run; Git is None until it was read.
        self._origin: dict[str, Any] = {}
        self._git: dict[str, Any] | None = None
        self._sid = ""
        #: The sections that this session has, as JSON, and the objects that they were made of.
        self._told: dict[str, str] = {}
        self._told_of: tuple[object, object] | None = None
        self._not_before, self._is_in_trouble = float("-inf"), False
        self._backoff = Backoff(1.0, 60.0, draw)
        self._log_once = LogOnce()

    @property
    def _known(self) -> tuple[object, object]:
        return self._description.sections, self._git

    def is_pending(self) -> bool:
        """Whether a section waits to be sent, and the last call succeeded."""
        has_some = bool(self._description.sections or self._origin)
        return has_some and self._told_of != self._known and not self._is_in_trouble

    def look(self) -> None:
        """Read Git's state, once, in an idle moment: it may take a second. The next call of `tell` sends it."""
        if self._origin and self._git is None:
            self._git = self._redact({"git": read_git()}, lambda: None)["git"]

    def tell(
        self, session: Registered, now: float, *, is_ours: bool, is_closing: bool = False,
        rest: Callable[[], None] = lambda: None,
    ) -> bool:  # fmt: skip
        """Send the sections that changed, if it is time; return whether a call was made.

        Args:
            session: the current one.
            now: a monotonic clock, in seconds.
            is_ours: whether this process was the first of the run to register.
            is_closing: whether changes are sent at once, unless the last call failed.
            rest: called between two pieces of the work.
        """
        is_first = is_ours if self._is_first is None else self._is_first
        if session.sid != self._sid:
            self._sid, self._told, self._told_of = session.sid, {}, None
            self._not_before = float("-inf")
        known = self._known
        if self._told_of == known or (now < self._not_before and (self._is_in_trouble or not is_closing)):
            return False
        if is_first and not self._origin:
            redactor = self._redactor = self._redactor or self._make_redactor()
            rest()
            self._origin = {"command": read_command(redactor, self._host)}
            rest()
            self._origin["versions"] = read_versions()
            rest()
        sections = self._redact(self._description.sections, rest) | self._origin
        if self._git:
            sections["git"] = self._git
        texts = encode_sections(sections)
        changed = {name: text for name, text in texts.items() if self._told.get(name) != text}
        self._not_before = now + TOGETHER_S
        if changed and not self._send(session, now, changed, replaces=is_first):
            return True
        self._told, self._told_of = texts, known
        return bool(changed)

    def _send(self, session: Registered, now: float, sections: dict[str, str], *, replaces: bool) -> bool:
        """Send sections; return whether they are settled: stored, or refused for good."""
        self._is_in_trouble = False
        try:
            self._sink.describe(session.session_id, sections, replaces=replaces)
        except (UnavailableError, TooManyRequestsError, UnauthorizedError, SessionNotActiveError):
            # The entries meet the same trouble, and the sender tells the user.
            self._is_in_trouble, self._not_before = True, now + self._backoff.next_s()
            return False
        except HudError as error:
            self._log_once(type(error).__name__, "HUD: the configuration is not shown: %s", error)
        self._backoff.reset()
        return True

    def _redact(self, tree: dict[str, Any], rest: Callable[[], None]) -> dict[str, Any]:
        """Return nested values without secrets, one value at a time: a whole configuration takes 10 ms."""
        redactor = self._redactor = self._redactor or self._make_redactor()
        found: dict[str, Any] = {}
        for name, value in tree.items():
            is_nested = isinstance(value, dict) and redactor.tree({name: {}}) == {name: {}}
            found |= {name: self._redact(value, rest)} if is_nested else redactor.tree({name: value})
            rest()
        return found
