"""One viewer of `/stream/runs`, and the events of one look for all of them.

A viewer that has no room is skipped; once it has room, it gets all runs and the pictures that changed meanwhile: the
newest of each run. So a slow viewer costs no memory besides one look's events. No I/O except writes that never block.
Called by the overview and by the stream endpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from hud_web.access.budget import Share
from hud_web.live.outlet import Outlet, Payload
from hud_web.live.subscriber import SLOW_S, STALL_S
from hud_web.runs.card import Card
from hud_web.runs.run import Key
from hud_web.runs.thumbnails import Thumbnails
from hud_web.store.sse import HEARTBEAT, dump, event

#: Bytes of pictures in one event; further ones come with the next.
PICTURES_BYTES = 4 * 1024 * 1024
#: A comment is written to a viewer after this time without an event, in seconds.
HEARTBEAT_S = 5.0

#: Wishes of a viewer: pictures, curves, live runs only.
Wishes = tuple[bool, bool, bool]


class Viewer:
    """The state of one viewer.

    Attributes:
        outlet: the connection to it; set before the first write.
        at_close: called once when the stream ends.
        is_gone: the viewer left by itself.
    """

    __slots__ = (
        "_ends_s", "_full_since_s", "_held", "_is_closed", "_is_started", "_knows_runs", "_pictures", "_share",
        "_trouble", "_wrote_s", "at_close", "is_gone", "outlet", "wishes",
    )  # fmt: skip
    outlet: Outlet

    def __init__(self, wishes: Wishes, *, ends_s: float, share: Share, at_close: Callable[[Viewer], None]) -> None:
        self.wishes = wishes
        self.at_close = at_close
        self.is_gone = self._is_closed = self._is_started = self._knows_runs = False
        self._ends_s, self._share, self._held = ends_s, share, 0
        self._full_since_s: float | None = None
        self._wrote_s = time.monotonic()
        self._pictures = 0
        self._trouble: str | None = ""

    @property
    def wants_pictures(self) -> bool:
        """Whether it shows pictures."""
        return self.wishes[0]

    @property
    def wants_curves(self) -> bool:
        """Whether it shows curves."""
        return self.wishes[1]

    def start(self, hello: bytes) -> None:
        """Write the first bytes after the head; from now on it follows."""
        self._is_started = True
        self._write(hello)

    def follow(self, tick: Tick, *, is_back: bool) -> None:
        """Write the events of a look."""
        now_s = time.monotonic()
        self._knows_runs &= not is_back
        if not self._is_started or self._is_closed:
            return
        if now_s >= self._ends_s:
            self.close()
        elif self._full_since_s is not None:
            self._knows_runs = False
            self._check_stalled(now_s - self._full_since_s)
        else:
            events = b""
            if tick.trouble != self._trouble:
                self._trouble = tick.trouble
                events = tick.status()
            if tick.trouble is None:
                news, self._pictures = tick.events(self.wishes, self._pictures, is_new=not self._knows_runs)
                self._knows_runs = True
                events += news
            if events or now_s - self._wrote_s > HEARTBEAT_S:
                self._write(events or HEARTBEAT)

    def close(self) -> None:
        """End this viewer's stream."""
        if not self._is_closed:
            self._is_closed = True
            self._let_go()
            self.at_close(self)

    def _write(self, data: bytes) -> None:
        self._wrote_s = time.monotonic()
        if not self._is_closed:
            self.outlet.write(Payload(data))

    def _check_stalled(self, full_s: float) -> None:
        if full_s < SLOW_S:
            return
        if not self._held:
            backlog = self.outlet.backlog
            if self._share.try_take(backlog):
                self._held = backlog
            else:
                full_s = STALL_S
        if full_s >= STALL_S:
            self.outlet.abort()

    def _let_go(self) -> None:
        if self._held:
            self._share.give(self._held)
            self._held = 0

    # -- called by the outlet -----------------------------------------------------------------------------------------

    def on_full(self) -> None:
        """The viewer has no room for more."""
        self._full_since_s = time.monotonic()

    def on_room(self) -> None:
        """The viewer has room again: the next look writes to it."""
        self._full_since_s = None
        self._let_go()

    def on_gone(self) -> None:
        """The viewer left."""
        self.is_gone = True
        self.close()


class Tick:
    """The result of one look; events are encoded once for all viewers with equal wishes."""

    def __init__(
        self,
        cards: Mapping[Key, Card],
        thumbnails: Thumbnails,
        changed: Mapping[Key, dict[str, Any]],
        curves: Collection[Key],
        gone: Sequence[Key],
        trouble: str | None,
    ) -> None:
        """Make the result.

        Args:
            cards: all runs.
            thumbnails: their pictures.
            changed: the changed parts of cards.
            curves: the runs whose curve is due.
            gone: runs that are not shown any more.
            trouble: why Redis could not be read; None if it was.
        """
        self._cards, self._thumbnails = cards, thumbnails
        self._changed, self._curves, self._gone = changed, curves, gone
        self.trouble = trouble
        self._now_ms = int(time.time() * 1000)
        self._encoded: dict[tuple[Wishes, int, bool], tuple[bytes, int]] = {}

    def status(self) -> bytes:
        """Return the event `status`."""
        redis = "ok" if self.trouble is None else "away"
        return event("status", dump({"redis": redis, "detail": self.trouble, "server_time_ms": self._now_ms}))

    def events(self, wishes: Wishes, since: int, *, is_new: bool) -> tuple[bytes, int]:
        """Return the events for viewers with these wishes, and the number of the newest picture in them.

        Args:
            wishes: of the viewers.
            since: number of the newest picture that they have.
            is_new: whether they need all runs.
        """
        key = wishes, since, is_new
        if key not in self._encoded:
            self._encoded[key] = self._encode(wishes, since, is_new)
        return self._encoded[key]

    def _encode(self, wishes: Wishes, since: int, is_new: bool) -> tuple[bytes, int]:
        wants_pictures, wants_curves, wants_live = wishes
        found, runs, gone, events = list[tuple[Key, Any]](), list[dict[str, Any]](), list[str](), b""
        if wants_pictures:
            found, since = self._thumbnails.since(since, PICTURES_BYTES)
            if wants_live:
                found = [(key, one) for key, one in found if self._is_live(key)]
        if is_new:
            shown = [card for key, card in self._cards.items() if not wants_live or self._is_live(key)]
            body = {"runs": [_whole(card, wants_curves) for card in shown], "server_time_ms": self._now_ms}
            events = event("runs", dump(body))
        else:
            runs, gone = self._news(wants_curves, wants_live)
        if runs or gone or found:
            pictures = b",".join(one.encoded for _key, one in found)
            head = dump({"runs": runs, "gone": gone, "server_time_ms": self._now_ms})[:-1]
            events += event("changes", b'%b,"pictures":[%b]}' % (head, pictures))
        return events, since

    def _news(self, wants_curves: bool, wants_live: bool) -> tuple[list[dict[str, Any]], list[str]]:
        runs, gone = [], [f"{channel}:{sid}" for channel, sid in self._gone]
        for key in dict.fromkeys((*self._changed, *(self._curves if wants_curves else ()))):
            changes = self._changed.get(key, {})
            card = self._cards[key]
            if wants_live and not self._is_live(key):
                if "status" in changes:
                    gone.append(card.run.name)
                continue
            if wants_live and "status" in changes:
                changes = card.sent
            part = {"channel": key[0], "sid": key[1]} | changes
            if wants_curves and (key in self._curves or "sid" in changes):
                part["curve"] = card.curve.describe()
            runs.append(part)
        return runs, gone

    def _is_live(self, key: Key) -> bool:
        card = self._cards.get(key)
        return card is not None and card.run.session.status == "live"


def _whole(card: Card, wants_curves: bool) -> dict[str, Any]:
    return card.sent | {"curve": card.curve.describe()} if wants_curves else card.sent
