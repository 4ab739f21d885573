"""The seam between the publisher's thread and where it writes: Redis itself, or a HUD server over HTTP.

A sink does one blocking call at a time, in the thread that owns it, and turns whatever goes wrong into the errors of
hud_publisher.protocol.errors. It keeps no queue and retries nothing: that is hud_publisher.worker's part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.keys import SessionId
from hud_publisher.protocol.replies import Published, Registered

#: Longest time in seconds that one call may wait for an answer: a server that takes longer is as good as away, and the
#: batch number makes sending again safe.
TIMEOUT_S = 2.0


class Sink(Protocol):
    """Where batches go. Every method blocks for at most a few times TIMEOUT_S."""

    def register(self, *, takeover: bool = False) -> Registered:
        """Take the channel or join the run's own session.

        Args:
            takeover: end another run's session instead of being refused.

        Raises:
            SessionHeldError: another run holds the channel.
            UnavailableError: no answer, or not now.
            HudError: refused for another reason, such as a wrong token.
        """
        ...

    def publish(self, session_id: SessionId, batch: Batch) -> Published:
        """Append a batch; without entries it is a heartbeat.

        Raises:
            SessionNotActiveError: nothing was written, the session is gone.
            StorageFullError: nothing was written, there is no room.
            UnavailableError: whether it landed is unknown; the same batch may be sent again.
            HudError: nothing was written, and it never will be: the content is refused.
        """
        ...

    def send(self, session_id: SessionId, batch: Batch) -> Callable[[], Published] | None:
        """Send a batch, and wait for nothing.

        Returns:
            What gives or raises as `publish` does, to be called before anything else is asked of this sink. None where
            a sink can send only what it waits for: then nothing was sent, and `publish` must be called.
        """
        ...

    def release(self, session_id: SessionId) -> None:
        """Give the channel up; no error if it was not held. Raises as `publish` does."""
        ...

    def close(self) -> None:
        """Close connections; never raises. The next call opens them again."""
        ...
