"""A process beside training that does the publisher's work: `Helper` starts it and hands it what was offered.

A thread that encodes and sends shares the interpreter with training, whose thread then sleeps some times per frame
until it has that back. Here the publisher's thread only waits for the process's end; the training thread itself copies
what it offers into a mailbox, which takes no call of the kernel while pictures come. Where no process can be started,
or where it ends by itself, the thread does the work as in any other publisher. Called by hud_publisher.publisher.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from hud_publisher.delivery import BATCH_PICTURES
from hud_publisher.doorbell import Doorbell
from hud_publisher.link import Link, Status
from hud_publisher.mailbox import Mailbox, create_file
from hud_publisher.outbox import Fields, Item, Vision
from hud_publisher.parcel import pack
from hud_publisher.protocol.entries import STREAMS
from hud_publisher.protocol.replies import Published, Registered
from hud_publisher.protocol.values import clean_metrics
from hud_publisher.stats import Counters
from hud_publisher.worker import BATCH_VALUES, RIDE_ENTRIES, gathered

logger = logging.getLogger("hud_publisher")

#: With so many messages not taken yet no more pictures are handed over: the newest of each env waits here.
MOST_PICTURES_AHEAD = 4
#: And with so many, or so much, no fields, which wait here and are bounded here.
MOST_AHEAD = 200
MOST_BYTES_AHEAD = 1024 * 1024
#: Between two signs of life, with what waits here, and two looks whether the process is still there.
LOOK_S = 0.5
#: The same while closing.
CLOSING_LOOK_S = 0.01
#: Frames that are further apart than so many periods do not wait for each other.
APART = 1.5
#: Between two messages of what waits here: training threads want the interpreter too.
PIECE_S = 0.002


@dataclass(frozen=True, slots=True)
class Word:
    """What the helper says of itself."""

    counters: Counters
    status: Status
    session: Registered | None
    feedback: Published
    feedback_at: float
    frames_period_s: float
    has_frames: bool
    has_thumbs: bool

    @classmethod
    def of(cls, link: Link) -> Word:
        """How it stands; what it took, the publisher has counted already."""
        counters = Counters()
        counters.add(link.counters)
        counters.add(link.refusals)
        return cls(
            counters, link.status, link.session, link.feedback, link.feedback_at, link.frames.period_s,
            link.frames.is_open, link.thumbs.is_open,
        )  # fmt: skip

    def tell(self, link: Link) -> None:
        """Lay it over what the publisher knows."""
        link.remote = self.counters
        link.session, link.feedback, link.feedback_at = self.session, self.feedback, self.feedback_at
        link.frames.set_period(self.frames_period_s)
        if link.close_by is None:
            link.status = self.status
            link.frames.is_open, link.thumbs.is_open = self.has_frames, self.has_thumbs


class Helper(Doorbell):
    """The publisher's side; it stands in place of the doorbell, so that whoever offers something rings here.

    Args:
        link: of the publisher; its doorbell becomes this one.
        publisher: pickled.
        work: what the thread does where no process does it.
        gathers: frames that go with one call go with one message, too.
    """

    def __init__(self, link: Link, publisher: bytes, work: Callable[[], None], *, gathers: bool = False) -> None:
        super().__init__(link.outbox.metrics_inbox)
        self._gathers = gathers
        self._framed_at = float("-inf")
        self._link, self._publisher, self._work = link, publisher, work
        self._mailbox: Mailbox | None = None
        self._wake_file = -1
        self._turn = threading.Lock()
        self._is_closing = threading.Event()
        # Whether somebody rang while another one handed over, and whether something was left for the next message.
        self._has_more = self._has_rest = False
        link.doorbell, link.refresh = self, self._refresh

    def run(self) -> None:
        """Be the thread: start the process and wait for its end."""
        try:
            process = self._start()
        except OSError as error:
            logger.warning("HUD: no process can be started beside training, a thread does its work: %s", error)
        else:
            self._wait(process)
            self._end(process)
        if self._link.close_by is None or not self._link.outbox.is_empty():
            self._work()

    def _start(self) -> subprocess.Popen[bytes]:
        if not sys.executable:
            raise OSError("Python does not know its own program")
        file = create_file()
        try:
            mailbox = Mailbox(file)
            mailbox.post([self._publisher])
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "hud_publisher.helper_process", str(file)],
                bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[file],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )  # fmt: skip
        finally:
            os.close(file)
        assert process.stdin is not None
        self._wake_file = process.stdin.fileno()
        os.set_blocking(self._wake_file, False)
        self._link.breath.is_held = True  # what the outbox does is done in training's own thread now
        self._mailbox = mailbox
        self.arm(for_fields=True)
        self.ring()  # what was offered meanwhile
        return process

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """Return when the process has ended, with or without having been asked to."""
        assert process.stdin is not None
        while process.poll() is None and not self._is_closing.wait(PIECE_S if self._has_rest else LOOK_S):
            self.ring()
        close_by = self._link.close_by or 0.0
        while process.poll() is None and self._link.clock() < close_by:
            self.ring()  # also the request to close may have found no room
            time.sleep(0.0 if self._has_rest else CLOSING_LOOK_S)
        with self._turn:  # nobody writes into what the next file of this number may be
            self._wake_file = -1
            process.stdin.close()  # the last it hears of us, if it still hears
        process.wait()

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """The process is gone: what it was given and did not settle is lost."""
        link = self._link
        with self._turn:
            mailbox, self._mailbox = self._mailbox, None
        self._hear(mailbox)
        told, link.remote = link.remote, Counters()
        link.counters.add(told)
        waiting, offered = link.outbox.waiting(), link.outbox.offered()
        for stream in STREAMS:
            kept = waiting[stream] - offered[stream]
            lost = link.counters.taken[stream] - link.counters.settled(stream) - kept
            link.counters.drop(stream, "closed", lost)
        if link.close_by is None:
            link.breath.is_held = False
            link.session = None
            link.status = "connecting"
            logger.warning(
                "HUD: the process beside training ended (%d), a thread goes on with its work", process.returncode
            )
        else:
            link.status = "closed"

    # -- the doorbell, as training threads see it ---------------------------------------------------------------------

    def ring(self) -> None:
        """Hand over what was offered; without a process, wake the thread."""
        if self._mailbox is None:
            super().ring()
            return
        if self._link.close_by is not None:
            self._is_closing.set()
        self._has_more = True
        while self._has_more and self._turn.acquire(blocking=False):
            try:
                self._has_more = False
                if self._mailbox is not None:
                    self._hand_over(self._mailbox)
            finally:
                self._turn.release()

    def ring_for_frame(self) -> None:
        """Hand over the frames that go together; the first of them waits, while they come as fast as they may."""
        frames = self._link.frames
        apart_s, self._framed_at = frames.taken_at - self._framed_at, frames.taken_at
        waits = self._gathers and self._mailbox is not None and apart_s < APART * frames.period_s
        if not waits or self._link.outbox.has_more_than(RIDE_ENTRIES, gathered(frames.period_s) - 1):
            self.ring()

    def _hand_over(self, mailbox: Mailbox) -> None:
        link = self._link
        waiting = mailbox.waiting
        is_full = waiting >= MOST_AHEAD or mailbox.used_bytes > MOST_BYTES_AHEAD
        if is_full and link.close_by is None:
            link.outbox.collect()
            self._hear(mailbox)
            self._has_rest = False
            return
        pictures = BATCH_PICTURES if waiting < MOST_PICTURES_AHEAD else 0
        # That it is to end is said also where there is no room for more.
        items = [] if is_full else link.outbox.take(BATCH_VALUES, pictures)
        try:
            self._post(mailbox, items)
        except Exception:  # a foreign object's methods may raise anything
            for item in items:
                self._post_alone(mailbox, item)
        self._hear(mailbox)
        self._has_rest = bool(items) and link.outbox.has_more_than(0)

    def _post(self, mailbox: Mailbox, items: list[Item]) -> None:
        if not mailbox.post(pack(self._link, items)):
            for item in items:
                self._link.counters.drop(item.stream, "overflow")
        elif mailbox.is_reader_asleep:
            with contextlib.suppress(OSError):  # it has enough to read there, or is gone
                os.write(self._wake_file, b".")

    def _post_alone(self, mailbox: Mailbox, item: Item) -> None:
        """What could not be written down with others, or holds foreign objects: numbers are made of those here."""
        counters = self._link.counters
        try:
            if isinstance(item, Fields):
                item = replace(item, data=clean_metrics(item.data, counters.cannot_show))
            elif isinstance(item, Vision):
                item = replace(item, extra=clean_metrics(item.extra, counters.cannot_show))
            self._post(mailbox, [item])
        except Exception as error:  # see above
            counters.leave_out(item.stream, "unusable", error)

    def _refresh(self) -> None:
        """Hear what the process says, unless another thread does so now."""
        if self._mailbox is not None and self._turn.acquire(blocking=False):
            try:
                self._hear(self._mailbox)
            finally:
                self._turn.release()

    def _hear(self, mailbox: Mailbox | None) -> None:
        if mailbox is not None and (word := mailbox.hear()) is not None:
            pickle.loads(word).tell(self._link)
