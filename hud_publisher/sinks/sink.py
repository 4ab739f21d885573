"""The interface between the sender thread and its target: Redis, or a HUD server over HTTP.

A sink makes one blocking call at a time, in the thread that owns it, and turns every failure into the errors of
hud_publisher.protocol.errors. It has no queue and retries nothing: hud_publisher.sender does that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hud_publisher.protocol.batch import Batch, Published, Registered
    from hud_publisher.protocol.keys import SessionId

#: Longest time in seconds that one call may wait for an answer: a slower server counts as unreachable, and the batch
#: number makes sending again safe.
TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Destination:
    """The target of a sink, for log lines.

    Attributes:
        address: without user, password and path.
        channel: the display.
        note: how the address was chosen, if several were set.
    """

    address: str
    channel: str
    note: str = ""


class Sink(Protocol):
    """The target of batches. Every method blocks for at most a few times TIMEOUT_S.

    Attributes:
        destination: for log lines.
    """

    destination: Destination

    def register(self, *, takeover: bool = False, aside: bool = False) -> Registered:
        """Take the channel or join the session of the same run, in whichever channel the run continues.

        Args:
            takeover: end another run's session instead of being refused.
            aside: if another run holds the channel, take a free one beside it, `NAME~2` or higher.

        Raises:
            SessionHeldError: another run holds the channel.
            UnavailableError: no answer, or a temporary refusal.
            HudError: refused for another reason, such as a wrong token.
        """
        ...

    def publish(self, session_id: SessionId, batch: Batch) -> Published:
        """Append a batch; without entries it is a heartbeat.

        Raises:
            SessionNotActiveError: nothing was written, the session has ended.
            StorageFullError: nothing was written, there is no room.
            UnavailableError: it is unknown whether the batch was stored; it may be sent again.
            HudError: nothing was written, and it never will be: the content is refused.
        """
        ...

    def describe(self, session_id: SessionId, sections: Mapping[str, str], *, replaces: bool = True) -> None:
        """Store sections of the run's configuration, name → JSON. Raises as `publish` does.

        Args:
            session_id: of the run's session.
            sections: from protocol.configuration.encode_sections.
            replaces: whether sections that are stored already are replaced.
        """
        ...

    def release(self, session_id: SessionId) -> None:
        """Give the channel up; no error if the session did not hold it. Raises as `publish` does."""
        ...

    def close(self) -> None:
        """Close connections; never raises. The next call opens them again."""
        ...
