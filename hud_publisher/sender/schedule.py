"""Decides when the sender sends: if a batch is full, a frame or a field has waited its bound, or a heartbeat is due.

The first entry after an idle time wakes the sender and goes at once. Then the sender sleeps for the bound, and entries
that come meanwhile send no signal, because a signal costs the caller some microseconds. A frame wakes the sender at
once, unless frames are batched.
"""

from __future__ import annotations

from hud_publisher.intake.intake import Intake
from hud_publisher.protocol.batch import FRAMES_TOGETHER
from hud_publisher.protocol.settings import Settings

#: Fields wait at most this long after the last batch: 25 calls per second, and a delay that no chart shows.
FIELDS_WAIT_S = 0.04
#: While frames come at least this often, fields wait for the next frame: that saves a call for a single entry, such as
#: the end of an episode.
FRAME_WAIT_S = 0.1
#: The same for batched frames, at most FRAMES_TOGETHER of them: each call costs the machine the time of three frames
#: (docs/decisions/frames-in-one-call.md). The call has room for as many thumbnails besides.
BATCH_WAIT_S = 0.2
#: Slack for frame jitter: frames arrive on step boundaries, up to this late.
LATE_S = 0.015
#: With more step metrics than this a batch is full: nothing waits for a frame.
FULL_FIELDS = 40
#: How often an idle sender looks for thumbnails, which send no signal (one call serves all envs), bounds the logged
#: entries, and checks whether training began to ask for pictures.
LOOK_S = 0.5
#: Greatest age of the viewers' count while training offers frames: the rate rises within a second of the first viewer.
FRAMES_REFRESH_S = 0.8
#: The same for thumbnails, and how often a claim is renewed; another env may take over after 10 s of silence.
CLAIM_REFRESH_S = 2.0
#: For how long a question whether a picture is due counts as interest.
INTEREST_S = 5.0


class Schedule:
    """The waits of one sender."""

    def __init__(self, intake: Intake, settings: Settings) -> None:
        self._intake = intake
        self._batches_frames = settings.batch_frames
        self._is_watched_only = settings.frames == "watched"
        self._sent_at = float("-inf")

    def note_batch(self, now: float) -> None:
        """Record that a batch is sent now."""
        self._sent_at = now

    def _frame_wait_s(self, now: float) -> float:
        """How long queued entries may wait for the next frame; 0 if none is expected soon."""
        intake, period_s = self._intake, self._intake.report.period_s["frames"]
        most_s = BATCH_WAIT_S if self._batches_frames else FRAME_WAIT_S
        if period_s is None or period_s >= most_s or intake.close_by is not None:
            return 0.0
        frames = max(1, min(FRAMES_TOGETHER, int(most_s / period_s + 1e-6)))
        return max(0.0, intake.pacers["frames"].taken_at + frames * period_s + LATE_S - now)

    def rest(self, now: float) -> float:
        """Return how long to sleep; 0 if a batch is due. Entries that are due before then wake the sender."""
        intake, frame_s = self._intake, self._frame_wait_s(now)
        wait_s = frame_s if intake.close_by is not None else max(frame_s, self._sent_at + FIELDS_WAIT_S - now)
        batches_frames = self._batches_frames and frame_s > 0.0
        fields = FULL_FIELDS if wait_s > 0.0 else 0
        intake.ask_to_wake(by_frames=not batches_frames, above_fields=fields)
        # A caller that offered an entry before this request did not wake the sender.
        if intake.has_more_than(fields, FRAMES_TOGETHER - 1 if batches_frames else 0):
            return 0.0
        return max(0.0, min(wait_s if wait_s > 0.0 else LOOK_S, self.heartbeat_at(now) - now))

    def heartbeat_at(self, now: float) -> float:
        """When a heartbeat is due, counted from the last answer."""
        intake = self._intake
        report = intake.report
        refresh_s = report.session.ttl_ms / 3000 if report.session else 0.0
        if intake.claim is not None or now - intake.pacers["thumbs"].asked_at < INTEREST_S:
            refresh_s = min(refresh_s, CLAIM_REFRESH_S)
        is_asked = now - intake.pacers["frames"].asked_at < INTEREST_S
        if self._is_watched_only and report.feedback.viewers == 0 and is_asked:
            refresh_s = min(refresh_s, FRAMES_REFRESH_S)
        return report.feedback_at + refresh_s
