"""A child process that logs numbers as a training process would, and notes which of them were acknowledged.

`python -m tests.faults.writer '{…}'` takes the fields of Assignment. It reads commands from its standard input: `drain`
(log no more, say "drained" once all is acknowledged), `close` (end the publisher, say how it went, and end).

What is acknowledged stands in the file `notes` before the next batch goes out, one line of JSON per batch, so a SIGKILL
loses none that mattered.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hud_publisher import Publisher, Settings
from hud_publisher.protocol.batch import Batch
from hud_publisher.protocol.entries import FrameEntry, MetricsEntry
from hud_publisher.protocol.keys import SessionId, split_session_id
from hud_publisher.protocol.replies import Published, Registered
from hud_publisher.sink import Sink
from tests.faults import memory
from tests.faults.history import STREAMS, Number
from tests.fixtures.publishing import JPEG

TICK_S = 0.01
#: Every so many entries one goes to the stream of iterations.
ITERATION_EVERY = 10


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a writer does.

    Attributes:
        writer: the field under which it logs its numbers.
        environment: HUD_ and REDIS_ variables.
        notes: file of acknowledgements.
        per_s: entries per second.
        total: entries in all, so that no stream grows beyond what Redis keeps.
        fps: frames per second; 0: none.
        memory: a folder to tell in what memory is in use, see tests.faults.memory.
    """

    writer: str
    environment: dict[str, str]
    notes: str
    per_s: int
    total: int
    fps: int = 0
    memory: str | None = None


class NotingSink:
    """Passes calls on to a sink and notes what was acknowledged."""

    def __init__(self, inner: Sink, notes: str) -> None:
        self._inner = inner
        self._notes = open(notes, "a", encoding="ascii", buffering=1)  # noqa: SIM115  # lives as long as the process

    def register(self, **options: Any) -> Registered:
        return self._inner.register(**options)

    def publish(self, session_id: SessionId, batch: Batch) -> Published:
        reply = self._inner.publish(session_id, batch)
        self._note(session_id, batch)
        return reply

    def send(self, session_id: SessionId, batch: Batch) -> Callable[[], Published] | None:
        answer = self._inner.send(session_id, batch)
        if answer is None:
            return None

        def receive() -> Published:
            reply = answer()
            self._note(session_id, batch)
            return reply

        return receive

    def _note(self, session_id: SessionId, batch: Batch) -> None:
        if batch.entries:
            parts = split_session_id(session_id)
            assert parts is not None
            self._notes.write(json.dumps({"sid": parts[1], **_numbers(batch)}) + "\n")

    def release(self, session_id: SessionId) -> None:
        self._inner.release(session_id)

    def close(self) -> None:
        self._inner.close()
        self._notes.close()


def _numbers(batch: Batch) -> dict[str, list[int]]:
    """The numbers of a batch's entries by stream; each entry's step is its number."""
    numbers: dict[str, list[int]] = {}
    for entry in batch.entries:
        if isinstance(entry, (MetricsEntry, FrameEntry)):
            numbers.setdefault(entry.stream, []).append(entry.step or 0)
    return numbers


class Work:
    """Logs numbers at a steady rate, in a thread, until told to stop; what a freeze delayed is caught up with."""

    def __init__(self, hud: Publisher, assignment: Assignment) -> None:
        self._hud, self._assignment = hud, assignment
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        hud, about = self._hud, self._assignment
        began, count, iterations, frames = time.monotonic(), 0, 0, 0
        while not self._stop.wait(TICK_S):
            due = min(about.total, int((time.monotonic() - began) * about.per_s))
            while count < due:
                if count % ITERATION_EVERY == ITERATION_EVERY - 1:
                    iterations += 1
                    hud.log_iteration({f"{about.writer}i": iterations}, step=iterations)
                else:
                    hud.log({about.writer: count - iterations + 1}, step=count - iterations + 1)
                count += 1
            if about.fps and hud.frame(JPEG, step=frames + 1, env=(1, 0)):
                frames += 1

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def _is_drained(hud: Publisher) -> bool:
    pending = hud.stats.pending
    return not any(pending.get(stream) for stream in ("metrics", "iterations"))


def publisher_of(assignment: Assignment) -> Publisher:
    """A publisher that notes what it is told."""
    settings = Settings.from_env(assignment.environment)
    hud = Publisher(settings=settings, name=assignment.environment["HUD_RUN_ID"], writer=assignment.writer)
    make_sink = hud._sink_factory
    hud._sink_factory = lambda publisher: NotingSink(make_sink(publisher), assignment.notes)
    return hud


def acknowledged(assignment: Assignment) -> Iterator[tuple[str, Number]]:
    """(SID, number) of each entry that a writer was told of, in that order."""
    path = Path(assignment.notes)
    for line in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):  # the last line of a killed writer may be cut
            note = json.loads(line)
            for stream in STREAMS:
                for n in note.get(stream, ()):
                    yield note["sid"], Number(assignment.writer, stream, n)


def main() -> None:
    assignment = Assignment(**json.loads(sys.argv[1]))
    if assignment.memory:
        memory.tell(Path(assignment.memory))
    hud = publisher_of(assignment)
    work = Work(hud, assignment)
    _say("ready")
    for line in sys.stdin:
        work.stop()
        if line.strip() == "drain":
            while not _is_drained(hud):
                time.sleep(0.01)
            _say("drained")
        else:
            hud.close(10, release=line.strip() == "release")
            break
    work.stop()
    stats: dict[str, Any] = dataclasses.asdict(hud.stats)
    _say(json.dumps(stats))


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
