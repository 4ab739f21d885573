"""The history of a run under faults, and its verdict: `History.violations` lists every broken promise.

This module knows nothing of processes or faults. It compares three accounts of the same run: the acknowledgements that
the writers received, the entries in Redis (read directly), and the events that each viewer received.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal

from hud_web.store.sse import Position, order
from tests.faults.viewer import Seen

#: The streams in which every entry counts; of frames, the newest wins.
Stream = Literal["metrics", "iterations"]
STREAMS: tuple[Stream, ...] = ("metrics", "iterations")
#: The only loss that a viewer may receive as a reset while Redis keeps its data.
FELL_BEHIND = "this viewer fell behind"


@dataclass(frozen=True, slots=True)
class Number:
    """One entry as its writer knows it: its number among that writer's entries of a stream."""

    writer: str
    stream: Stream
    n: int


@dataclass(frozen=True, slots=True)
class Session:
    """A session as Redis stores it.

    Attributes:
        sid: its fence.
        run: the name of its run.
        started_ms: when it began, by Redis' clock.
        entries: (entry id, number) of each stream, in order.
        frames: ids of the frames that are kept.
    """

    sid: str
    run: str
    started_ms: int
    entries: Mapping[Stream, Sequence[tuple[str, Number]]]
    frames: Sequence[str] = ()


@dataclass
class History:
    """One run under faults.

    Attributes:
        sessions: by fence, oldest first.
        acknowledged: (SID, number) of each entry that was acknowledged to a writer, in that order.
        runs: which run each writer belongs to.
        viewers: the events of each viewer.
        at_takeover: SID → how many entries its streams had when another run had taken its channel.
        wiped: SIDs of the sessions that were in Redis when it was flushed.
    """

    sessions: list[Session] = field(default_factory=list)
    acknowledged: list[tuple[str, Number]] = field(default_factory=list)
    runs: dict[str, str] = field(default_factory=dict)
    viewers: list[list[Seen]] = field(default_factory=list)
    at_takeover: dict[str, int] = field(default_factory=dict)
    wiped: set[str] = field(default_factory=set)

    def violations(self) -> list[str]:
        """Every broken promise, in words; empty if all held."""
        found = [*self._of_streams(), *self._of_acknowledgements(), *self._of_sessions()]
        for index, seen in enumerate(self.viewers):
            found += [f"viewer {index}: {text}" for text in _Watched(self.sessions, seen, self.wiped).violations()]
        return found

    def resets(self) -> list[str]:
        """The reasons of all resets that viewers received."""
        return [event.data["reason"] for seen in self.viewers for event in seen if event.name == "reset"]

    def _of_streams(self) -> Iterator[str]:
        """Each writer's numbers are in order, without duplicates, in sessions of the writer's run."""
        for session in self.sessions:
            for stream, entries in session.entries.items():
                last: dict[str, int] = defaultdict(int)
                for entry_id, number in entries:
                    if number.n <= last[number.writer]:
                        yield f"{session.sid} {stream} {entry_id}: {number} after {last[number.writer]}: doubled"
                    last[number.writer] = number.n
                    if self.runs.get(number.writer) != session.run:
                        yield f"{session.sid} {stream} {entry_id}: {number} in a session of run {session.run!r}"

    def _of_acknowledgements(self) -> Iterator[str]:
        """Each acknowledged entry is in its session, and in no later session."""
        places: dict[Number, list[str]] = defaultdict(list)
        for session in self.sessions:
            for entries in session.entries.values():
                for _entry_id, number in entries:
                    places[number].append(session.sid)
        told: dict[Number, str] = {}
        for sid, number in self.acknowledged:
            if number in told:
                yield f"{number} was acknowledged twice, in {told[number]} and {sid}"
            told[number] = sid
            if sid not in places[number]:
                yield f"{number} was acknowledged in {sid} and stands in {places[number] or 'none'}: lost"
            elif places[number][-1] != sid:
                yield f"{number} was acknowledged in {sid} and stands again in {places[number][-1]}: doubled"

    def _of_sessions(self) -> Iterator[str]:
        """After a takeover, the previous session receives no entries."""
        for session, following in zip(self.sessions, self.sessions[1:], strict=False):
            for stream, entries in session.entries.items():
                if entries and order(entries[-1][0])[0] > following.started_ms:
                    yield f"{session.sid} {stream} grew after {following.sid} had begun"
        for session in self.sessions:
            count = sum(map(len, session.entries.values()))
            before = self.at_takeover.get(session.sid, count)
            if count != before:
                yield f"{session.sid} had {before} entries when it was taken over and {count} at the end"


class _Watched:
    """One viewer's events, compared with Redis."""

    def __init__(self, sessions: Sequence[Session], seen: Sequence[Seen], wiped: Set[str] = frozenset()) -> None:
        self._seen, self._wiped = seen, wiped
        self._sids = [session.sid for session in sessions]
        self._sessions = {session.sid: session for session in sessions}
        self._place = {
            (session.sid, stream, entry_id): index
            for session in sessions
            for stream in STREAMS
            for index, (entry_id, _number) in enumerate(session.entries.get(stream, ()))
        }
        self._sid: str | None = None
        self._next: dict[Stream, int] = {}
        self._is_excused = True
        self._frame = ""
        self._found: list[str] = []

    def violations(self) -> list[str]:
        for event in self._seen:
            if event.name == "connect":
                self._frame = ""  # another replica may be a frame behind
            elif event.name == "reset":
                self._is_excused = True
                if event.data["reason"] != FELL_BEHIND and self._sid not in self._wiped:
                    self._say(f"was told {event.data['reason']!r} though nothing was lost")
            elif event.name == "snapshot":
                self._take_snapshot(event)
            elif event.name == "training_update":
                self._take_update(event)
            elif event.name == "vision_update":
                self._take_frame(event.data["id"])
        self._expect_end()
        if self._sids and self._sid != self._sids[-1]:
            self._say(f"stayed in session {self._sid} and never saw {self._sids[-1]}")
        return self._found

    def _say(self, text: str) -> None:
        self._found.append(text)

    def _entries(self, sid: str | None, stream: Stream) -> Sequence[tuple[str, Number]]:
        return self._sessions[sid].entries.get(stream, ()) if sid in self._sessions else ()

    def _take_snapshot(self, event: Seen) -> None:
        assert event.position is not None
        if self._is_excused:
            self._sid = event.position.sid
            self._next = {stream: self._index(event.position, stream) for stream in STREAMS}
            self._expect_state(event.data["state"])
            self._is_excused = False
        elif event.position.sid != self._sid:
            self._turn_to(event.position.sid)
        if event.data["frame"]:
            self._take_frame(event.data["frame"]["id"])

    def _index(self, position: Position, stream: Stream) -> int:
        """The number of entries of a stream up to this position of a client."""
        at = order(position.of(stream))
        return sum(order(entry_id) <= at for entry_id, _number in self._entries(position.sid, stream))

    def _expect_state(self, state: Mapping[str, Any]) -> None:
        """A snapshot's values are those of its position: no older, no newer."""
        expected: dict[str, int] = {}
        for stream in STREAMS:
            for _entry_id, number in self._entries(self._sid, stream)[: self._next[stream]]:
                expected[_field(number)] = number.n
        if state != expected:
            self._say(f"got a snapshot of {dict(state)} at a position of {expected}")

    def _turn_to(self, sid: str) -> None:
        """Another session: the one before must have been seen to its end, and none between may be missed."""
        self._expect_end()
        if self._sid is not None and int(sid) < int(self._sid):
            self._say(f"was turned from session {self._sid} back to {sid}")
        if self._sid in self._wiped and sid not in self._wiped:
            self._say(f"was turned from session {self._sid} to {sid} and never told that Redis lost the first one")
        for between in self._sids:
            is_missed = int(self._sid or 0) < int(between) < int(sid)
            if is_missed and between not in self._wiped and any(self._entries(between, stream) for stream in STREAMS):
                self._say(f"missed session {between} between {self._sid} and {sid}")
        self._sid, self._next, self._frame = sid, {"metrics": 0, "iterations": 0}, ""

    def _expect_end(self) -> None:
        if self._sid in self._wiped:
            return  # the entries before the flush may be gone before this viewer could read them
        for stream in STREAMS:
            entries = self._entries(self._sid, stream)
            if entries and self._next[stream] < len(entries) and not self._is_excused:
                missed = entries[self._next[stream] :]
                self._say(f"missed the last {len(missed)} of {self._sid} {stream}, from {missed[0]}")

    def _take_update(self, event: Seen) -> None:
        assert event.position is not None
        about, stream = event.data["_hud"], event.data["_hud"]["stream"]
        if event.position.sid != self._sid:
            self._turn_to(event.position.sid)
        place = self._place.get((event.position.sid, stream, about["id"]))
        if place is None:
            self._say(f"saw {about} of session {event.position.sid}, which Redis does not have")
            return
        expected = self._next[stream]
        if place < expected:
            self._say(f"saw {about} again")
        elif place > expected:
            self._say(f"missed {place - expected} of {self._sid} {stream} before {about}")
        number = self._entries(self._sid, stream)[place][1]
        if event.data != {_field(number): number.n, "_hud": about}:
            self._say(f"saw {event.data} instead of {number}")
        self._next[stream] = max(expected, place + 1)

    def _take_frame(self, frame_id: str) -> None:
        """Frames may be missed, but none is older than the one before."""
        if self._frame and order(frame_id) < order(self._frame):
            self._say(f"saw frame {frame_id} after {self._frame}")
        self._frame = frame_id


def _field(number: Number) -> str:
    return number.writer if number.stream == "metrics" else f"{number.writer}i"
