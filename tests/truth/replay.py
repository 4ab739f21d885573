"""Replays recordings into a real Redis, all at once and in real time, and notes which entries Redis appended and when.

Each recording has a separate channel. A recording of any length takes `lasts_s`: its calls, and the times in them,
are moved proportionally. The calls go through the publisher's `RedisSink`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from redis import Redis

from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.entries import Entry, Limits
from hud_publisher.protocol.keys import ChannelKeys, SessionId, SessionKeys
from hud_publisher.sinks.redis_sink import RedisSink
from tests.truth.recording import Line, Recording

_BASE_MS = 1_000_000


@dataclass(frozen=True)
class Sent:
    """One appended entry.

    Attributes:
        id: that Redis gave it.
        entry: the entry as it was sent.
        writer: the process that sent it.
    """

    id: str
    entry: Entry
    writer: str

    @property
    def at_ms(self) -> int:
        """When Redis appended it, in Unix milliseconds."""
        return int(self.id.partition("-")[0])


@dataclass
class Replayed:
    """A recording on its channel.

    Attributes:
        sent: the entries that were appended until now, in order; the replay's thread appends to it.
        ended_ms: when Redis released the session; None before.
    """

    recording: Recording
    channel: str
    sink: RedisSink
    redis: Redis
    name: str
    sid: str = ""
    session_id: SessionId | None = None
    started_ms: int = 0
    ended_ms: int | None = None
    sent: list[Sent] = field(default_factory=list)

    def play(self, line: Line, began_ms: int, pace: float) -> None:
        """Make one call."""
        if line.kind == "register":
            registered = self.sink.register()
            self.session_id, self.sid = registered.session_id, str(registered.sid)
            self.started_ms = int(self.sid)
        elif line.kind == "batch":
            batch = _moved(line, began_ms, pace)
            assert self.session_id is not None
            published = self.sink.publish(self.session_id, batch)
            assert not published.is_duplicate
            # Redis drops the frames of an env whose claim to be shown it does not grant.
            is_shown = batch.claim is None or published.shown == batch.claim.env
            kept = [entry for entry in batch.entries if entry.stream != "frames" or is_shown]
            ids = self._newest_ids(kept)
            self.sent += [Sent(next(ids[entry.stream]), entry, batch.writer) for entry in kept]
        else:
            assert self.session_id is not None
            self.sink.release(self.session_id)
            ended: Any = self.redis.hget(self._session.info, "ended")
            self.ended_ms = int(ended)

    @property
    def _session(self) -> SessionKeys:
        return ChannelKeys(self.channel).session(self.sid)

    def _newest_ids(self, entries: Sequence[Entry]) -> dict[str, Iterator[str]]:
        """The ids of just-appended entries by stream: Redis 7.0 may append those of one batch in two milliseconds."""
        counts = Counter(entry.stream for entry in entries)
        newest: dict[str, Any] = {
            name: self.redis.xrevrange(self._session.stream(name), count=count) for name, count in counts.items()
        }
        return {name: iter([entry_id.decode() for entry_id, _ in reversed(found)]) for name, found in newest.items()}


def _moved(line: Line, began_ms: int, pace: float) -> Batch:
    batch = line.batch(_BASE_MS)  # a batch's times must not be negative; a frame may be older than its session
    moved = (replace(one, time_ms=began_ms + round((one.time_ms - _BASE_MS) * pace)) for one in batch.entries)
    return replace(batch, entries=tuple(moved))


class Replay:
    """Plays recordings in a thread.

    Attributes:
        runs: by the recordings' names.
        began_s: when it started, by `time.monotonic`.
    """

    def __init__(self, recordings: Sequence[Recording], redis_url: str, *, lasts_s: float) -> None:
        self.runs = {one.name: _prepared(one, redis_url) for one in recordings}
        self.lasts_s = lasts_s
        self.began_s = 0.0
        self.late_s = 0.0
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self.began_s = time.monotonic()
        self._thread.start()

    def join(self) -> None:
        """Return when all is played; raise its error."""
        self._thread.join(self.lasts_s * 2 + 60)
        for run in self.runs.values():
            run.sink.close()
            run.redis.close()
        if self._error is not None:
            raise self._error
        assert not self._thread.is_alive(), "expected the replay to have ended"

    def _run(self) -> None:
        try:
            self._play()
        except BaseException as error:
            self._error = error

    def _play(self) -> None:
        began_ms = time.time_ns() // 1_000_000
        calls: list[tuple[float, str, Line]] = []
        paces: dict[str, float] = {}
        for name, run in self.runs.items():
            paces[name] = self.lasts_s * 1000 / run.recording.duration_ms
            calls += [(line.at_ms * paces[name], name, line) for line in run.recording.lines]
        for at_ms, name, line in sorted(calls, key=lambda call: call[0]):
            wait_s = self.began_s + at_ms / 1000 - time.monotonic()
            self.late_s = max(self.late_s, -wait_s)
            time.sleep(max(0.0, wait_s))
            self.runs[name].play(line, began_ms, paces[name])


def _prepared(recording: Recording, redis_url: str) -> Replayed:
    first = recording.lines[0]
    given: dict[str, Any] = dict(first.fields)
    channel = recording.name.replace("_", "-")
    sink = RedisSink(
        redis_url,
        channel=channel,
        run_id=f"run-id-of-{recording.name}",
        name=given.get("name") or recording.name,
        info=given.get("info") or {},
        limits=Limits(),
        roles=given.get("roles") or {},
    )
    return Replayed(recording, channel, sink, Redis.from_url(redis_url), given.get("name") or recording.name)
