"""What the publisher and its thread tell each other.

The thread writes `status`, `session` and `feedback`; the training side writes `claim` and asks it to close. Each name
is one attribute of one writer, so no lock is needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from hud_publisher.breath import Breath
from hud_publisher.doorbell import Doorbell
from hud_publisher.outbox import Outbox
from hud_publisher.pacer import Pacer
from hud_publisher.protocol.batch import Claim
from hud_publisher.protocol.replies import Published, Registered
from hud_publisher.stats import Counters

#: disabled: no REDIS_URL and no HUD_URL; connecting: nothing answers yet, or not just now; registered, joined: the
#: session is ours; refused: another run holds the channel; lost: the session ended and we wait to come back; closed.
Status = Literal["disabled", "connecting", "registered", "joined", "refused", "lost", "closed"]


@dataclass(slots=True)
class Link:
    """The shared things of one publisher in one process.

    Attributes:
        outbox: what waits to be sent.
        frames: paces live frames.
        thumbs: paces thumbnails.
        counters: the numbers behind `stats`, as far as they grow in the thread.
        refusals: those that grow in the training threads.
        wants_frames: whether pictures of envs are sent at all.
        doorbell: wakes the thread.
        status: see Status.
        session: the session that this process writes under.
        feedback: what the newest reply told.
        feedback_at: when it came, on the monotonic clock.
        claim: attached to every following batch.
        close_by: set to ask the thread to end: by then, on the monotonic clock.
        release: whether to end the session on closing; None: if this process began it.
        breath: what the thread calls between two pieces of its work.
        remote: numbers that grow in the helper's process, where there is one.
        refresh: called before `feedback` is read; a helper's is fetched then.
        clock: seconds, monotonic.
    """

    outbox: Outbox
    frames: Pacer
    thumbs: Pacer
    counters: Counters
    refusals: Counters
    wants_frames: bool = True
    doorbell: Doorbell = field(init=False)
    status: Status = "connecting"
    session: Registered | None = None
    feedback: Published = field(default_factory=Published)
    feedback_at: float = float("-inf")
    claim: Claim | None = None
    close_by: float | None = None
    release: bool | None = None
    breath: Breath = field(default_factory=Breath)
    remote: Counters = field(default_factory=Counters)
    refresh: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.doorbell = Doorbell(self.outbox.metrics_inbox)

    def hear(self, reply: Published) -> None:
        """Keep the newest reply, and when it came."""
        self.feedback, self.feedback_at = reply, self.clock()

    def set_claim(self, claim: Claim | None) -> None:
        """Wish to be the reporter, or no more; then its frames would come between those of another env."""
        if claim is None and self.claim is not None:
            self.outbox.forget_frames()
        self.claim = claim

    def close(self, close_by: float, release: bool | None) -> None:
        """Ask the thread to end by then, on the monotonic clock; the first call decides."""
        if self.close_by is None:
            self.release = release
            self.close_by = close_by
        self.breath.is_held = True
        self.frames.is_open = self.thumbs.is_open = self.wants_frames = False
        self.doorbell.ring()
