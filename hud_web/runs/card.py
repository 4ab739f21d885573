"""One card of the wall: a run, with the values that the replica last read and sent of it.

No I/O. Called by the overview.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hud_publisher.protocol.replies import text
from hud_publisher.protocol.stored import read_int
from hud_web.runs.curve import Curve
from hud_web.runs.reading import labels_of, stored_number, take_places
from hud_web.runs.run import RoleField, Run
from hud_web.store.sse import order
from hud_web.store.views import read_mapping, status_of

#: The state is read whole when its number of fields changed, for new roles: soon for a new run, then at most this
#: often, in seconds.
REREAD_S = 5.0
#: A curve is sent again after this share of its duration: its last point would move by less than a pixel.
CURVE_SHARE = 1 / 240
#: Env steps per second are measured over this time in seconds, for runs that do not log them.
RATE_S = 10.0


class Card:
    """A run on the wall.

    Attributes:
        run: the run.
        version: of the verdict that was read.
        frame: id of the newest frame that was read.
        curve: of the return.
        is_filled: the curve has the history.
        sent: the parts of the card as they were sent last.
        curve_sent_ms: time of the curve's last point when it was sent.
        seen_ms: when it was first seen.
    """

    def __init__(self, run: Run, fields: int, now_ms: int) -> None:
        self.run = run
        self.version = ""
        self.frame = "0-0"
        self.curve = Curve()
        self.is_filled = False
        self.sent: dict[str, Any] = {}
        self.curve_sent_ms = 0
        self.seen_ms = now_ms
        self._fields, self._stored_fields = fields, fields
        self._reads, self._next_read_s = 1, 0.0
        self._steps: deque[tuple[float, int]] = deque()

    @property
    def fields(self) -> list[bytes]:
        """The names in the state of the fields that it shows."""
        run = self.run
        return [one.stored for one in (run.returns, run.env_steps, run.speed) if one.path]

    @property
    def is_over(self) -> bool:
        """Whether the run has ended."""
        return self.run.session.status in ("ended", "taken over")

    def is_state_due(self, now_s: float) -> bool:
        """Whether the state has other fields than those that were read, and it is time to read them."""
        return self._fields != self._stored_fields and now_s >= self._next_read_s

    def note_state(self, fields: int, now_s: float) -> None:
        """Note that the whole state was read."""
        self._fields = self._stored_fields = fields
        self._next_read_s = now_s + min(REREAD_S, 0.5 * self._reads)
        self._reads += 1

    def take(self, reply: Sequence[Any], now_s: float) -> dict[bytes, bytes] | None:
        """Take the reply of glance.lua; return the fields of a new frame."""
        is_held, about, labels, fields, verdict, metrics, iterations, frame, values = reply
        run = self.run
        self._take_session(is_held, about, verdict)
        if labels:
            run.labels = labels_of(labels[0], labels[1], labels[2], about[3])
        self._stored_fields = int(fields)
        take_places(run, metrics, iterations)
        self._take_values(values)
        self._measure(now_s)
        if not frame:
            return None
        self.frame = text(frame[0])
        run.last_ms = max(run.last_ms or 0, order(self.frame)[0])
        return dict(zip(frame[1::2], frame[2::2], strict=True))

    def _take_session(self, is_held: Any, about: Sequence[Any], verdict: Sequence[Any]) -> None:
        session = self.run.session
        ended_by = text(about[2]) if about[2] else None
        status = status_of(ended_by, is_holder=bool(is_held), has_ended=bool(about[1]))
        ended_ms = read_int({b"": about[1] or b""}, b"")
        if verdict:
            self.version = text(verdict[0])
            session = replace(session, verdict=read_mapping(verdict[1]) or None)
        if (status, ended_ms, ended_by) != (session.status, session.ended_ms, session.ended_by):
            session = replace(session, status=status, ended_ms=ended_ms, ended_by=ended_by)
        self.run.session = session

    def _take_values(self, values: Sequence[Any]) -> None:
        run, found = self.run, iter(values)

        def newer(role: RoleField) -> tuple[RoleField, int]:
            if not role.path:
                return role, 0
            at_ms, number = stored_number(next(found, None))
            is_same = number is None or number == role.value
            return role if is_same else replace(role, value=number), at_ms

        run.returns, at_ms = newer(run.returns)
        run.env_steps, _at_ms = newer(run.env_steps)
        run.speed, _at_ms = newer(run.speed)
        if at_ms and run.returns.value is not None:
            self.curve.add(at_ms, run.step, float(run.returns.value))

    def _measure(self, now_s: float) -> None:
        """Measure the rate of env steps, unless the run logs one."""
        step, steps = self.run.step, self._steps
        if step is None or self.run.speed.path or self.run.session.status != "live":
            self.run.rate = None
            steps.clear()
            return
        if steps and step < steps[-1][1]:  # the run started again
            steps.clear()
        if not steps or now_s - steps[-1][0] >= RATE_S / 10:
            steps.append((now_s, step))
        while len(steps) > 2 and now_s - steps[1][0] > RATE_S:
            steps.popleft()
        began_s, first = steps[0]
        self.run.rate = (steps[-1][1] - first) / (steps[-1][0] - began_s) if len(steps) > 1 else None

    def changes(self) -> dict[str, Any]:
        """Return the parts that changed since they were sent, and note them as sent."""
        card = self.run.card()
        changed = {name: value for name, value in card.items() if self.sent.get(name, self) != value}
        self.sent = card
        return changed

    def is_curve_due(self) -> bool:
        """Whether the curve changed by enough to send it again; notes it as sent."""
        points = self.curve.points
        if not points:
            return False
        least_ms = (points[-1][0] - points[0][0]) * CURVE_SHARE
        is_due = points[-1][0] - self.curve_sent_ms > least_ms
        if is_due:
            self.curve_sent_ms = points[-1][0]
        return is_due
