"""The process beside training: the publisher's worker, fed from a mailbox. Started by hud_publisher.helper.

`python -m hud_publisher.helper_process FD` with the mailbox's file descriptor, and a pipe as standard input that wakes
it; where that pipe or the parent is gone, it sends what it has and ends. While pictures come the worker asks for no
ring, so this process is not woken: that would cost the training thread a call of the kernel, which on a busy machine
lets the process run at once where that thread ran.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import time
from collections.abc import Callable

from hud_publisher.affinity import Elsewhere
from hud_publisher.doorbell import Doorbell
from hud_publisher.helper import Word
from hud_publisher.link import Link
from hud_publisher.mailbox import Mailbox
from hud_publisher.outbox import MAX_INBOX, Fields, Picture
from hud_publisher.parcel import unpack
from hud_publisher.process import CLOSE_S

#: Between two looks into the mailbox while nobody waits for what comes: there is room there for more.
NAP_S = 0.25
#: The longest sleep without a look whether the parent still lives.
PARENT_S = 1.0
#: Between two turns without it.
ORPHAN_S = 0.003
#: Between two words, unless something matters at once.
WORD_S = 0.5
#: A parent that has sent nothing for so long is frozen, for it sends something twice a second: then this process is as
#: silent, so that its session lapses and another env runner takes its place.
SILENT_S = 3.0


class MailboxDoorbell(Doorbell):
    """In place of the doorbell of a worker: what comes while it sleeps goes into the outbox.

    Args:
        mailbox: to read.
        link: of the worker.
        wake_file: standard input.
    """

    def __init__(
        self, mailbox: Mailbox, link: Link, wake_file: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(link.outbox.metrics_inbox)
        self._mailbox, self._link, self._wake_file, self._clock = mailbox, link, wake_file, clock
        self._parent = os.getppid()
        self._elsewhere = Elsewhere(self._parent)
        self._poll = select.poll()
        self._poll.register(wake_file, select.POLLIN)
        self._came_at, self._said_at = clock(), float("-inf")
        self._said: object = None
        self._is_orphan = False

    def ring(self) -> None:
        """Nobody sleeps here while this process does something."""

    def wait(self, timeout_s: float) -> None:
        """Sleep until something has come, if the worker asks for that, at most this long.

        While the parent is frozen it takes longer.
        """
        is_armed = self.is_armed
        self.disarm()
        self.say()
        ends_at = self._clock() + timeout_s
        while True:
            if self._take_all() and (is_armed or self._link.close_by is not None):
                return
            if self._is_orphan:
                break
            left_s = ends_at - self._clock()
            if self._clock() - self._came_at > SILENT_S and self._link.close_by is None:
                left_s = PARENT_S
            elif left_s <= 0:
                return
            if is_armed:
                self._sleep_until_rung(min(left_s, PARENT_S))
            else:
                self._rest(min(left_s, NAP_S))
        self._link.close(self._clock() + CLOSE_S, False)  # the first time decides
        time.sleep(min(timeout_s, ORPHAN_S))

    def say(self, *, at_once: bool = False) -> None:
        """Tell how things stand, if that is due or news."""
        link, now = self._link, self._clock()
        feedback = link.feedback
        state = (
            link.status, link.session, feedback.viewers, feedback.reporter, feedback.shown, link.frames.period_s,
            link.frames.is_open, link.thumbs.is_open,
        )  # fmt: skip
        if at_once or state != self._said or now - self._said_at >= WORD_S:
            self._said, self._said_at = state, now
            self._mailbox.say(pickle.dumps(Word.of(link), pickle.HIGHEST_PROTOCOL))
            self._elsewhere.move()  # as often: training's thread seldom changes its processor

    def _take_all(self) -> bool:
        link, outbox = self._link, self._link.outbox
        message = self._mailbox.take()
        if message is None:
            return False
        while message is not None:
            note = unpack(message)
            link.set_claim(note.claim)
            link.frames.asked_at, link.frames.taken_at = note.frames_at
            link.thumbs.asked_at = note.thumbs_at
            for item in note.items:
                if isinstance(item, Fields):
                    inbox = outbox.metrics_inbox if item.stream == "metrics" else outbox.iterations_inbox
                    if len(inbox) >= MAX_INBOX:
                        outbox.collect()
                    inbox.append((item.time_ms * 1_000_000, item.step, item.data, item.weight))
                elif isinstance(item, Picture):
                    outbox.offer_picture(item)
                else:
                    outbox.offer_vision(item)
            if note.close_by is not None:
                link.close(note.close_by, note.release)
            message = self._mailbox.take()
        self._came_at = self._clock()
        return True

    def _sleep_until_rung(self, timeout_s: float) -> None:
        self._mailbox.sleep(True)
        try:
            if not self._mailbox.waiting:
                self._rest(timeout_s)
        finally:
            self._mailbox.sleep(False)

    def _rest(self, timeout_s: float) -> None:
        """Sleep for so long, unless the pipe has something; see whether the parent is still there."""
        if self._poll.poll(timeout_s * 1000):
            self._is_orphan = not os.read(self._wake_file, 4096)
        else:
            self._is_orphan = os.getppid() != self._parent


def main() -> None:
    """Work until the publisher closes or its process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who presses Ctrl-C means the parent, which ends this
    file = int(sys.argv[1])
    mailbox = Mailbox(file)
    os.close(file)
    publisher = pickle.loads(mailbox.take() or b"")
    link = publisher.make_link()
    link.breath.is_held = True  # nobody trains here
    link.doorbell = doorbell = MailboxDoorbell(mailbox, link, sys.stdin.fileno())
    publisher.make_worker(link).run()
    doorbell.say(at_once=True)


if __name__ == "__main__":
    main()
