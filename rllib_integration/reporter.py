"""Decides, for one env runner, which of its envs is the reporter: the one env of the run whose episode is shown.

Redis has the last word (publish.lua grants claims); this is what each runner wishes. The env that was asked for claims
with preference from its next episode on. Any other runner that keeps sampling while the reporter stays silent claims
without, and reports only once the claim is granted; it steps down as soon as somebody else is shown. Does no I/O and
reads no clock. Called by `runner`.
"""

from __future__ import annotations

from hud_publisher.protocol.batch import Claim
from hud_publisher.protocol.replies import Published

#: After so long without a sign of the reporter another env may take its place; publish.lua has the same number.
SILENT_S = 10.0
#: A reporter is silent while its learner works; whoever has sampled for so long since its last sign would have seen it.
SAMPLED_S = 1.0
#: A sign of the reporter is dated by two clocks and a way through the network, so a newer date may be the same sign.
_SAME_SIGN_S = 1.0


class Reporter:
    """One env runner's view of who is shown.

    Args:
        worker_index: of this env runner.
        wanted: the env to show while no viewer asked for another.
        last: the greatest worker index and env index of the run; a wish left over from a larger run is nobody's.

    Attributes:
        env_index: the env of this runner that reports now; None while none of them does.
        claim: what to tell Redis.
    """

    def __init__(self, worker_index: int, wanted: tuple[int, int], last: tuple[int, int]) -> None:
        self._worker_index = worker_index
        self._default = wanted
        self._last = last
        self._alive_at: float | None = None
        self._looked_at = 0.0
        self._sampled_s = 0.0
        self.env_index: int | None = None
        self.claim: Claim | None = None

    def _wanted(self, feedback: Published | None) -> tuple[int, int]:
        wish = feedback.reporter if feedback else None
        if wish is None:
            return self._default
        least = min(1, self._last[0])  # the driver's own runner, 0, samples only where there is no other
        exists = least <= wish.worker_index <= self._last[0] and wish.env_index <= self._last[1]
        return (wish.worker_index, wish.env_index) if exists else self._default

    def begin_episode(self, env_index: int, feedback: Published | None) -> None:
        """An episode of this env begins; if it is the env that was asked for, it reports from here on."""
        env = (self._worker_index, env_index)
        if env == self._wanted(feedback):
            self.env_index = env_index
            self.claim = Claim(env, is_preferred=True)

    def resume(self, now: float) -> None:
        """Sampling begins, or goes on after a pause that does not count."""
        self._looked_at = now

    def look(self, now: float, feedback: Published | None, feedback_age_s: float) -> None:
        """Consider what the newest reply says; called a few times per second while this runner samples.

        Args:
            now: seconds on a monotonic clock.
            feedback: the newest reply, None before the first.
            feedback_age_s: how old it is.
        """
        if self._alive_at is None:
            self._alive_at = self._looked_at = now
        self._sampled_s += now - self._looked_at
        self._looked_at = now
        if feedback is None:
            return
        if self.env_index is not None:
            self._keep(feedback)
            if self.env_index is not None:
                return
        shown_at = now - feedback_age_s - (feedback.shown_age_ms or 0) / 1000
        if feedback.shown is not None and shown_at > self._alive_at + _SAME_SIGN_S:
            self._alive_at, self._sampled_s = shown_at, 0.0
        self._offer(now, feedback)

    def _keep(self, feedback: Published) -> None:
        env = (self._worker_index, self.env_index or 0)
        if env == self._wanted(feedback):
            self.claim = Claim(env, is_preferred=True)
        elif feedback.shown is None or feedback.shown == env:
            self.claim = Claim(env)
        else:
            self.env_index = self.claim = None

    def _offer(self, now: float, feedback: Published) -> None:
        assert self._alive_at is not None
        mine = self.claim.env if self.claim else (self._worker_index, 0)
        if self.claim and feedback.shown == mine:
            self.env_index = mine[1]
        elif now - self._alive_at > SILENT_S and self._sampled_s >= SAMPLED_S:
            self.claim = Claim(mine)
        else:
            self.claim = None
