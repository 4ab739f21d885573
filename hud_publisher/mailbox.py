"""Memory that a publisher and its helper share: messages one way, the newest word the other way; nobody waits.

Each side only ever writes what is its own, so no lock is held across the two. A message is written first and counted
after, a word is written into the one of two places that is not read, and counted after. Messages lie one behind the
other, from the beginning again whenever all have been taken: so little memory is touched, however much there is room
for. Knows nothing of what is in them. Called by hud_publisher.helper on both sides.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
from collections.abc import Sequence

#: Room for messages that were not taken yet: none of it exists before it is used.
ROOM_BYTES = 64 * 1024 * 1024
#: Messages that may wait.
MOST_MESSAGES = 256
#: Longest word.
WORD_BYTES = 64 * 1024

# What stands where in the numbers at the beginning: messages written, messages taken, words said, whether the reader
# sleeps, the lengths of both words, and place and length of each message.
_WRITTEN, _TAKEN, _SAID, _SLEEPS, _LENGTHS, _PLACES = 0, 1, 2, 3, 4, 8
_NUMBERS_BYTES = (_PLACES + 2 * MOST_MESSAGES) * 8
_WORDS_AT = _NUMBERS_BYTES
_ROOM_AT = _WORDS_AT + 2 * WORD_BYTES
_ALL_BYTES = _ROOM_AT + ROOM_BYTES


def create_file() -> int:
    """Return the descriptor of a file that has no name and takes no room yet; close it once both sides have it.

    Raises:
        OSError: there can be none.
    """
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("hud-mailbox")
    else:  # macOS
        with tempfile.TemporaryFile() as temporary:
            file = os.dup(temporary.fileno())
    os.ftruncate(file, _ALL_BYTES)
    return file


class Mailbox:
    """One side's view.

    Args:
        file: of `create_file`.
    """

    def __init__(self, file: int) -> None:
        self._memory = mmap.mmap(file, _ALL_BYTES)
        self._numbers = memoryview(self._memory)[:_NUMBERS_BYTES].cast("Q")
        self._end = 0
        self._heard = 0
        # Processors may show another one what was written last before the rest. To take and give back a lock twice
        # keeps the order; nobody else has this one.
        self._fence = threading.Lock()

    # -- who writes ---------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many messages were not taken yet."""
        return self._numbers[_WRITTEN] - self._numbers[_TAKEN]

    @property
    def used_bytes(self) -> int:
        """How much was written since all had been taken."""
        return self._end if self.waiting else 0

    def post(self, parts: Sequence[bytes]) -> bool:
        """Write a message made of some parts; return whether there was room."""
        numbers, written = self._numbers, self._numbers[_WRITTEN]
        waiting = written - numbers[_TAKEN]
        if not waiting:
            self._end = 0
        size = sum(map(len, parts))
        if waiting >= MOST_MESSAGES or self._end + size > ROOM_BYTES:
            return False
        with self._fence:
            at = _ROOM_AT + self._end
            for part in parts:
                self._memory[at : at + len(part)] = part
                at += len(part)
            place = _PLACES + written % MOST_MESSAGES * 2
            numbers[place], numbers[place + 1] = _ROOM_AT + self._end, size
        with self._fence:
            numbers[_WRITTEN] = written + 1
        self._end += size
        return True

    @property
    def is_reader_asleep(self) -> bool:
        """Whether the reader has to be woken."""
        return bool(self._numbers[_SLEEPS])

    def hear(self) -> bytes | None:
        """Return the newest word, unless it was heard already."""
        numbers = self._numbers
        while (said := numbers[_SAID]) != self._heard:
            with self._fence:
                at, length = _WORDS_AT + said % 2 * WORD_BYTES, numbers[_LENGTHS + said % 2]
            with self._fence:
                word = self._memory[at : at + length]
            if numbers[_SAID] == said:  # else the place may be written over already
                self._heard = said
                return word
        return None

    # -- who reads ----------------------------------------------------------------------------------------------------

    def take(self) -> bytes | None:
        """Return the oldest message, None if there is none."""
        numbers, taken = self._numbers, self._numbers[_TAKEN]
        if numbers[_WRITTEN] == taken:
            return None
        with self._fence:
            place = _PLACES + taken % MOST_MESSAGES * 2
        with self._fence:
            at, size = numbers[place], numbers[place + 1]
            message = self._memory[at : at + size]
        with self._fence:
            numbers[_TAKEN] = taken + 1
        return message

    def sleep(self, is_asleep: bool) -> None:
        """Say whether one has to be woken; look once more before sleeping."""
        with self._fence:
            self._numbers[_SLEEPS] = is_asleep
        with self._fence:
            pass

    def say(self, word: bytes) -> bool:
        """Replace the newest word; return whether it is short enough."""
        if len(word) > WORD_BYTES:
            return False
        said = self._numbers[_SAID] + 1
        with self._fence:
            at = _WORDS_AT + said % 2 * WORD_BYTES
            self._memory[at : at + len(word)] = word
            self._numbers[_LENGTHS + said % 2] = len(word)
        with self._fence:
            self._numbers[_SAID] = said
        return True
