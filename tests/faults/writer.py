"""A child process that logs numbers as a training process would, and notes which of them were acknowledged.

`python -m tests.faults.writer '{…}'` takes the fields of Assignment. It reads commands from its standard input: `drain`
(stop logging, print "drained" once every entry is acknowledged), `close` (close the publisher, print its statistics,
and end), `child HOW FIELD NOTES COUNT` (start a child process that logs COUNT numbers under FIELD; HOW names a start
method of multiprocessing, or the end of a child by os.fork), `copy` (copy the publisher and log through the copies).

Acknowledgements are in the file `notes` before the next batch is sent, one line of JSON per batch, so a SIGKILL loses
none of them. A child locks the file `notes` + ".lock" until its process ends.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import fcntl
import gc
import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hud_publisher import Publisher, Settings
from hud_publisher.protocol.batch import Batch, Published, Registered
from hud_publisher.protocol.entries import FrameEntry, MetricsEntry
from hud_publisher.protocol.keys import SessionId, split_session_id
from hud_publisher.publisher import SinkFactory
from hud_publisher.sinks.sink import Sink
from tests.faults import memory
from tests.faults.history import STREAMS, Number
from tests.fixtures.publishing import JPEG

TICK_S = 0.01
#: One entry of this many goes to the stream of iterations.
ITERATION_EVERY = 10


@dataclass(frozen=True, slots=True)
class Assignment:
    """The task of a writer.

    Attributes:
        writer: the field under which it logs its numbers.
        environment: HUD_ and REDIS_ variables.
        notes: file of acknowledgements.
        per_s: entries per second.
        total: entries in all, so that no stream grows beyond the retention in Redis.
        fps: frames per second; 0: none.
        memory: a folder for the reports of memory in use, see tests.faults.memory.
    """

    writer: str
    environment: dict[str, str]
    notes: str
    per_s: int
    total: int
    fps: int = 0
    memory: str | None = None


class NotingSink:
    """Passes calls on to a sink and notes the acknowledged entries."""

    def __init__(self, inner: Sink, notes: str) -> None:
        self._inner = inner
        self.destination = inner.destination
        self._notes = open(notes, "a", encoding="ascii", buffering=1)  # noqa: SIM115  # lives as long as the process

    def register(self, **options: Any) -> Registered:
        return self._inner.register(**options)

    def publish(self, session_id: SessionId, batch: Batch) -> Published:
        reply = self._inner.publish(session_id, batch)
        self._note(session_id, batch)
        return reply

    def _note(self, session_id: SessionId, batch: Batch) -> None:
        if batch.entries:
            parts = split_session_id(session_id)
            assert parts is not None
            self._notes.write(json.dumps({"sid": parts[1], **_numbers(batch)}) + "\n")

    def describe(self, session_id: SessionId, sections: Mapping[str, str], *, replaces: bool = True) -> None:
        self._inner.describe(session_id, sections, replaces=replaces)

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
    """Logs numbers at a steady rate, in a thread, until told to stop; it catches up after a freeze."""

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


@dataclass(frozen=True, slots=True)
class NotingFactory:
    """Makes sinks that note acknowledgements; can be pickled, as the publisher of a spawned child must be."""

    make_sink: SinkFactory
    notes: str

    def __call__(self, publisher: Publisher) -> Sink:
        return NotingSink(self.make_sink(publisher), self.notes)


def log_as_child(hud: Publisher, field: str, notes: str, count: int) -> None:
    """Log the numbers 1 to `count` through a publisher that came into this process by a fork or a pickle."""
    # Never closed: the kernel releases the lock when this process ends.
    lock = os.open(f"{notes}.lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    factory = hud._sink_factory
    assert isinstance(factory, NotingFactory)
    hud._sink_factory = NotingFactory(factory.make_sink, notes)
    for n in range(1, count + 1):
        hud.log({field: n}, step=n)


def log_through_copies(hud: Publisher) -> None:
    """Copies are silent: these entries must appear nowhere."""
    for twin in (copy.copy(hud), copy.deepcopy(hud)):
        twin.log({"copy": 1}, step=1)
        twin.log_iteration({"copyi": 1}, step=1)
        twin.frame(JPEG, step=1)
        twin.close()


def _is_drained(hud: Publisher) -> bool:
    pending = hud.stats.pending
    return not any(pending.get(stream) for stream in ("metrics", "iterations"))


def publisher_of(assignment: Assignment) -> Publisher:
    """A publisher that notes its acknowledgements."""
    settings = Settings.from_env(assignment.environment)
    hud = Publisher(settings=settings, name=assignment.environment["HUD_RUN_ID"], writer=assignment.writer)
    hud._sink_factory = NotingFactory(hud._sink_factory, assignment.notes)
    return hud


def acknowledged(assignment: Assignment) -> Iterator[tuple[str, Number]]:
    """(SID, number) of each entry that was acknowledged to a writer, in that order."""
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
        command, *options = line.split()
        if command == "copy":
            log_through_copies(hud)
        elif command == "child":
            how, field, notes, count = options
            if how in multiprocessing.get_all_start_methods():
                context: Any = multiprocessing.get_context(how)
                context.Process(target=log_as_child, args=(hud, field, notes, int(count))).start()
            elif os.fork() == 0:
                log_as_child(hud, field, notes, int(count))
                del work
                end_child(hud, how)
                return
        elif command == "drain":
            work.stop()
            while not _is_drained(hud):
                time.sleep(0.01)
            _say("drained")
        else:
            work.stop()
            hud.close(10, release=command == "release")
            break
    work.stop()
    stats: dict[str, Any] = dataclasses.asdict(hud.stats)
    _say(json.dumps(stats))


def end_child(hud: Publisher, how: str) -> None:
    """End a forked child in one of many ways; with "return" and "del" the caller returns from `main`."""
    if how == "close":
        hud.close()
        os._exit(0)
    if how == "os._exit":
        time.sleep(0.2)
        os._exit(0)
    if how == "sys.exit":
        sys.exit(0)
    if how == "del":
        del hud
        gc.collect()


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
