"""Decides for one env runner whether one of its envs reports: is the one env of the run whose episode is shown.

Each runner sends claims, and publish.lua grants them. The env that a viewer requested claims with preference from its
next episode on. Any other runner that keeps sampling while the reporter is
silent claims without preference, and reports only once the claim is granted; it stops as soon as another env is shown.
Does no I/O and reads no clock. Called by `runner`.
"""

from __future__ import annotations

from hud_publisher.protocol.batch import Claim, Published

#: After this time without a claim of the reporter another env may replace it; publish.lua has the same number.
SILENT_S = 10.0
#: A reporter is silent while its learner works. A runner that has sampled for this time since the reporter's last claim
#: would have seen a newer one.
SAMPLED_S = 1.0
#: The time of a claim comes from two clocks and a network delay, so a time that is newer by less may be the same claim.
_SAME_SIGN_S = 1.0


class Reporter:
    """One env runner's view of the reporter.

    Args:
        worker_index: of this env runner.
        wanted: the env to show until a viewer requests another.
        last: the greatest worker index and env index of the run; a request for a larger one is ignored.

    Attributes:
        env_index: the env of this runner that reports now; None while none of them does.
        claim: the claim for the next batches.
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
        least = min(1, self._last[0])  # worker 0, the driver's runner, samples only if there is no other
        exists = least <= wish.worker_index <= self._last[0] and wish.env_index <= self._last[1]
        return (wish.worker_index, wish.env_index) if exists else self._default

    def begin_episode(self, env_index: int, feedback: Published | None) -> None:
        """An episode of this env begins; if it is the wanted env, it reports from now on."""
        env = (self._worker_index, env_index)
        if env == self._wanted(feedback):
            self.env_index = env_index
            self.claim = Claim(env, is_preferred=True)

    def resume(self, now: float) -> None:
        """Record that sampling begins, or continues after a pause."""
        self._looked_at = now

    def look(self, now: float, feedback: Published | None, feedback_age_s: float) -> None:
        """Process the newest reply; called a few times per second while this runner samples.

        Args:
            now: seconds on a monotonic clock.
            feedback: the newest reply, None before the first.
            feedback_age_s: the age of that reply, in seconds.
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
