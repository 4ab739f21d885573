"""The live runs of all channels, looked at twice a second while somebody watches `/stream/runs`.

One task serves all viewers of this replica: it finds the channels in the index, reads the changed values of each run
with one script, and writes one event to all viewers with equal wishes. Training does nothing for it: without a viewer
of its channel, a publisher stores a frame per second for rewinding, and the wall shows that. Called by the app's life
cycle and by the stream endpoint.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from hud_publisher.protocol import scripts
from hud_publisher.protocol.errors import UnavailableError
from hud_web.runs.card import Card
from hud_web.runs.curve import Curve, past_points
from hud_web.runs.reading import channels_since, keys_of, read_states, runs_of, sids_of
from hud_web.runs.run import Key, Run
from hud_web.runs.thumbnails import Thumbnails
from hud_web.runs.viewer import Tick, Viewer
from hud_web.store.slices import Slices
from hud_web.store.store import Store

logger = logging.getLogger("hud.runs")

#: Time between two looks, in seconds.
PERIOD_S = 0.5
#: The task pauses this time after its last viewer left, in seconds: a reloaded page finds the runs ready.
LINGER_S = 10.0
#: A run stays for this time after its end, in ms, and a channel is looked at for this time after its last activity.
SHOWN_MS = 10 * 60_000
ACTIVE_MS = 15 * 60_000
MAX_CARDS = 1_000
#: Newest sessions of a channel that are read when the channel appears.
SESSIONS = 8
#: Runs in one round trip: their frames are in memory at once.
GROUP = 50
#: Larger frames are not shown; a JPEG of 1080p has less.
MAX_FRAME_BYTES = 1024 * 1024
#: Ended runs are looked at in every n-th look, for labels and deletions.
SLOWLY = 10
#: Time that reading histories for curves may take in one look, in seconds.
FILL_S = 0.1
#: Wait before the next look after a failure by a bug, in seconds.
RESTART_S = 5.0


class Overview:
    """The cards of all live runs, and their viewers.

    Attributes:
        viewers: the open streams.
    """

    def __init__(self, store: Store, *, is_draining: Callable[[], bool] = lambda: False) -> None:
        self._store, self._is_draining = store, is_draining
        self.viewers: set[Viewer] = set()
        self._is_watched = asyncio.Event()
        self._left_s = float("-inf")
        self._looks = 0
        self._forget()

    def _forget(self) -> None:
        self.cards: dict[Key, Card] = {}
        self.thumbnails = Thumbnails()
        self._channels: dict[str, int] = {}
        self._again: set[Key] = set()
        self._trouble: str | None = "not read yet"

    def enter(self, viewer: Viewer) -> None:
        """Add a viewer; it gets all runs with the next look."""
        if not self.viewers and time.monotonic() - self._left_s > LINGER_S:
            self._forget()
        self.viewers.add(viewer)
        self._is_watched.set()

    def leave(self, viewer: Viewer) -> None:
        """Remove a viewer that was closed."""
        self.viewers.discard(viewer)
        if not self.viewers:
            self._left_s = time.monotonic()

    def read_again(self, key: Key) -> None:
        """Read a run again in the next look: its labels changed, or it was deleted."""
        self._again.add(key)

    async def run(self) -> None:
        """Look at the runs while there are viewers, until cancelled."""
        while True:
            await self._is_watched.wait()
            began_s = time.monotonic()
            try:
                await self.look()
            except Exception:  # a bug: the viewers stay, and the next look may succeed
                logger.exception("the overview of runs failed and starts again")
                await asyncio.sleep(RESTART_S)
            if not self.viewers and time.monotonic() - self._left_s > LINGER_S:
                self._is_watched.clear()
            await asyncio.sleep(max(PERIOD_S / 5, PERIOD_S - (time.monotonic() - began_s)))

    async def look(self) -> None:
        """Read the changes and write them to the viewers."""
        if self._is_draining():
            for viewer in tuple(self.viewers):
                viewer.close()
            return
        gone: list[Key] = []
        before = self._trouble
        try:
            gone = await self._read()
            self._trouble = None
        except UnavailableError as error:
            self._trouble = str(error)
        self._deliver(gone, is_back=before is not None and self._trouble is None)
        if self._trouble is None and any(viewer.wants_curves for viewer in self.viewers):
            try:
                await self._fill_curves()
            except UnavailableError as error:
                self._trouble = str(error)

    # -- reading ------------------------------------------------------------------------------------------------------

    async def _read(self) -> list[Key]:
        now_ms = int(time.time() * 1000)
        self._looks += 1
        await self._find(now_ms)
        gone = await self._glance(now_ms)
        due = [card for card in self.cards.values() if card.is_state_due(time.monotonic())]
        await self._read_states(due)
        await self.thumbnails.scale()
        return gone

    async def _find(self, now_ms: int) -> None:
        """Add the runs of channels with new activity."""
        channels = await channels_since(self._store, now_ms - ACTIVE_MS, MAX_CARDS * 2)
        changed = [name for name, at_ms in channels.items() if self._channels.get(name) != at_ms]
        found = keys_of(changed, await sids_of(self._store, changed, SESSIONS))
        new = [key for key in found if key not in self.cards]
        runs = [run for run in await runs_of(self._store, new) if run is not None and self._is_shown(run, now_ms)]
        runs.sort(key=lambda run: run.session.started_ms or 0, reverse=True)
        runs = runs[: MAX_CARDS - len(self.cards)]
        for run, fields in zip(runs, await read_states(self._store, runs), strict=True):
            self.cards[run.key] = Card(run, fields, now_ms)
        self._channels = channels

    def _is_shown(self, run: Run, now_ms: int) -> bool:
        session = run.session
        if session.status == "live":
            return True
        # The lease of a lapsed run ended at most a TTL after its channel's last activity.
        end_ms = session.ended_ms or run.last_ms or self._channels.get(session.channel) or now_ms
        return now_ms - end_ms < SHOWN_MS

    async def _glance(self, now_ms: int) -> list[Key]:
        """Look at each run; return those that are not shown any more."""
        wants_pictures = any(viewer.wants_pictures for viewer in self.viewers)
        again, self._again = self._again, set()
        cards = [
            card for key, card in self.cards.items()
            if not card.is_over or key in again or not card.sent or self._looks % SLOWLY == 0
        ]  # fmt: skip
        gone: list[Key] = []
        slices = Slices(self._store.turns)
        for first in range(0, len(cards), GROUP):
            group = cards[first : first + GROUP]
            replies = await self._store.run_all([_glance_of(card, wants_pictures) for card in group])
            for card, reply in zip(group, replies, strict=True):
                key = card.run.key
                if not (reply[0] or reply[1][0]):  # deleted, or its retention ended
                    gone.append(key)
                    continue
                frame = card.take(reply, time.monotonic())
                if frame:
                    self._store.readable(key[0], "frames", self.thumbnails.offer, key, frame)
                if not self._is_shown(card.run, now_ms):
                    gone.append(key)
                await slices.rest()
        for key in gone:
            del self.cards[key]
            self.thumbnails.drop(key)
        return gone

    async def _read_states(self, cards: Sequence[Card]) -> None:
        counts = await read_states(self._store, [card.run for card in cards])
        for card, fields in zip(cards, counts, strict=True):
            card.note_state(fields, time.monotonic())

    async def _fill_curves(self) -> None:
        """Read the histories of runs whose curve has none yet, the newest runs first."""
        ends_s, now_ms = time.monotonic() + FILL_S, int(time.time() * 1000)
        waiting = [card for card in self.cards.values() if not card.is_filled and card.run.returns.path]
        for card in sorted(waiting, key=lambda card: card.run.session.started_ms or 0, reverse=True):
            run = card.run
            from_ms, to_ms = run.session.started_ms or now_ms, run.session.ended_ms or run.last_ms or now_ms
            past = await past_points(self._store, run.key, run.returns.path, from_ms, to_ms)
            card.curve = Curve([*past, *card.curve.points])
            card.is_filled, card.curve_sent_ms = True, 0
            if time.monotonic() > ends_s:
                return

    # -- delivery -----------------------------------------------------------------------------------------------------

    def _deliver(self, gone: Sequence[Key], *, is_back: bool) -> None:
        changed: dict[Key, dict[str, object]] = {}
        curves: set[Key] = set()
        if self._trouble is None:
            for key, card in self.cards.items():
                if changes := card.changes():
                    changed[key] = changes
                if card.is_curve_due():
                    curves.add(key)
        tick = Tick(self.cards, self.thumbnails, changed, curves, gone, self._trouble)
        for viewer in tuple(self.viewers):
            viewer.follow(tick, is_back=is_back)


def _glance_of(card: Card, wants_pictures: bool) -> scripts.ScriptCall:
    channel, sid = card.run.key
    return scripts.glance(
        channel, sid, verdict=card.version, labels=card.run.labels.changed,
        frame=card.frame if wants_pictures and not card.is_over else "-", most_frame_bytes=MAX_FRAME_BYTES,
        fields=card.fields,
    )  # fmt: skip
