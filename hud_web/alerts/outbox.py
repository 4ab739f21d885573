"""The outbox of alerts in Redis: the monitor's script appends to it, and the courier claims and settles its lanes.

A lane is the alerts of one channel for one target, urgent or usual ones. Its progress in Redis says up to which alert
the target has them, and which attempt is under way. Called by `courier`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from hud_publisher.protocol import scripts
from hud_publisher.protocol.entries import START
from hud_publisher.protocol.keys import ALERTS, ChannelKeys, is_channel
from hud_publisher.protocol.replies import text
from hud_web.alerts.message import DueAlert, decode_alert
from hud_web.alerts.target import Target
from hud_web.monitor.monitor import LEASE_TTL_MS
from hud_web.store.sse import order
from hud_web.store.store import Store, is_entry_id

#: The mark of a channel in the index stays this long after its newest alert: it is stored before the alert.
MARK_MS = 60_000


@dataclass(slots=True)
class Lane:
    """The alerts of one channel, target and urgency that are not delivered yet, the oldest first."""

    channel: str
    target: Target
    name: str
    alerts: list[DueAlert] = field(default_factory=list)


class Claim(NamedTuple):
    """A claimed lane.

    Attributes:
        alerts: that are not delivered yet, the oldest first.
        failures: attempts that failed since the last success.
        now_ms: Redis' time, in Unix milliseconds.
    """

    alerts: list[DueAlert]
    failures: int
    now_ms: int


class Outbox:
    """The outboxes of all channels whose monitor's lease this replica holds."""

    def __init__(self, store: Store, targets: Mapping[str, Target]) -> None:
        self._store, self._targets = store, targets
        self._first: dict[str, str] = {}  # channel → the alerts before this id are delivered

    async def take_leases(self, token: str) -> set[str]:
        """Take or keep the leases of all channels with alerts, also of those whose run has ended; return ours."""
        [found] = await self._store.pipelined([("ZRANGE", ALERTS, 0, -1, "WITHSCORES")])
        scored = zip((found or ())[::2], (found or ())[1::2], strict=True)
        marked = {text(name): int(float(at_ms)) for name, at_ms in scored if is_channel(text(name))}
        calls = [scripts.lease(channel, token, LEASE_TTL_MS) for channel in marked]
        replies = await self._store.run_all(calls)
        over = []
        for (channel, at_ms), reply in zip(marked.items(), replies, strict=True):
            if reply[0] and int(reply[3]) - at_ms > MARK_MS and not await self.lanes(channel):
                over.append(scripts.unmark_alerts(channel, at_ms))
        await self._store.run_all(over)
        return {channel for channel, reply in zip(marked, replies, strict=True) if reply[0]}

    async def lanes(self, channel: str) -> list[Lane]:
        """Return the channel's lanes that have alerts."""
        keys = ChannelKeys(channel)
        entries, progress = await self._store.pipelined(
            [("XRANGE", keys.alerts, self._first.get(channel, "-"), "+"), ("HGETALL", keys.delivered)]
        )
        positions = _positions(progress)
        alerts = [decode_alert(text(entry_id), fields) for entry_id, fields in entries or ()]
        lanes: dict[str, Lane] = {}
        for alert in alerts:
            for identity in alert.targets & self._targets.keys():
                name = f"{identity}:{'urgent' if alert.is_urgent else 'usual'}"
                if order(alert.id) > order(positions.get(name, START)):
                    lane = lanes.setdefault(name, Lane(channel, self._targets[identity], name))
                    lane.alerts.append(alert)
        pending = [lane.alerts[0].id for lane in lanes.values()]
        if alerts:
            self._first[channel] = min(pending, key=order, default=alerts[-1].id)
        return list(lanes.values())

    async def claim(self, lane: Lane, *, token: str, attempt: str, lasts_s: float) -> Claim | None:
        """Claim a lane for an attempt; None if another replica has the lease, or the next attempt is not due yet."""
        call = scripts.claim_alerts(lane.channel, lane.name, token=token, attempt=attempt, lasts_ms=int(lasts_s * 1000))
        reply = await self._store.run(call)
        if text(reply[0]) != "claimed":
            return None
        position = order(text(reply[1]))
        return Claim([one for one in lane.alerts if order(one.id) > position], int(reply[2]), int(reply[3]))

    async def settle(self, lane: Lane, *, attempt: str, sent: str, delay_ms: int = 0) -> None:
        """Store the result of an attempt: the id of the newest delivered alert, or START and the time to wait."""
        await self._store.run(
            scripts.settle_alerts(lane.channel, lane.name, attempt=attempt, position=sent, delay_ms=delay_ms)
        )


def _positions(progress: Mapping[bytes, bytes] | None) -> dict[str, str]:
    """Return lane → id of its newest delivered alert; a text that HUD did not write counts as none."""
    found = {text(lane): text(value).partition(" ")[0] for lane, value in (progress or {}).items()}
    return {lane: position for lane, position in found.items() if is_entry_id(position)}
