"""Messages between two processes come whole, in order and once; of words the newest."""

from __future__ import annotations

import os
import random
import threading
import zlib

import pytest

from hud_publisher.mailbox import MOST_MESSAGES, ROOM_BYTES, WORD_BYTES, Mailbox, create_file


@pytest.fixture
def sides() -> tuple[Mailbox, Mailbox]:
    """Who writes messages and hears words, and the other one."""
    file = create_file()
    sides = Mailbox(file), Mailbox(file)
    os.close(file)
    return sides


def test_messages_come_whole_and_in_order(sides: tuple[Mailbox, Mailbox]) -> None:
    ours, theirs = sides
    assert ours.post([b"a", b"bc", b""])
    assert ours.post([b"d" * 100_000])
    assert ours.waiting == 2
    assert [theirs.take(), theirs.take(), theirs.take()] == [b"abc", b"d" * 100_000, None]
    assert ours.waiting == 0


def test_without_room_nothing_is_written_and_there_is_room_again(sides: tuple[Mailbox, Mailbox]) -> None:
    ours, theirs = sides
    assert not ours.post([bytes(ROOM_BYTES), b"x"])
    posted = 0
    while ours.post([b"%d" % posted]):
        posted += 1
    assert posted == MOST_MESSAGES
    assert [theirs.take() for _ in range(posted + 1)] == [*(b"%d" % number for number in range(posted)), None]
    assert ours.post([b"again"])
    assert theirs.take() == b"again"


def test_memory_is_used_from_the_beginning_whenever_all_was_taken(sides: tuple[Mailbox, Mailbox]) -> None:
    ours, theirs = sides
    for _ in range(10):
        assert ours.post([bytes(ROOM_BYTES // 3)])
        assert ours.used_bytes == ROOM_BYTES // 3
        theirs.take()
        assert ours.used_bytes == 0


def test_the_newest_word_is_heard_once(sides: tuple[Mailbox, Mailbox]) -> None:
    ours, theirs = sides
    assert ours.hear() is None
    for word in (b"one", b"two", b"three"):
        assert theirs.say(word)
    assert ours.hear() == b"three"
    assert ours.hear() is None
    assert not theirs.say(bytes(WORD_BYTES + 1))
    assert ours.hear() is None


def test_who_sleeps_is_to_be_woken(sides: tuple[Mailbox, Mailbox]) -> None:
    ours, theirs = sides
    assert not ours.is_reader_asleep
    theirs.sleep(True)
    assert ours.is_reader_asleep
    theirs.sleep(False)
    assert not ours.is_reader_asleep


def test_both_sides_at_once_lose_and_mix_nothing(sides: tuple[Mailbox, Mailbox]) -> None:
    ours, theirs = sides
    rng = random.Random(1)
    messages = [rng.randbytes(rng.randrange(1, 5_000)) for _ in range(2_000)]
    heard: list[bytes] = []
    taken: list[bytes] = []

    def read() -> None:
        while len(taken) < len(messages):
            if (message := theirs.take()) is not None:
                taken.append(message)
                word = b"%d " % len(taken) + bytes(rng.randrange(100, 4_000))
                theirs.say(b"%d " % zlib.crc32(word) + word)

    reader = threading.Thread(target=read)
    reader.start()
    for message in messages:
        while not ours.post([message[:10], message[10:]]):
            pass
        if (word := ours.hear()) is not None:
            heard.append(word)
    reader.join()
    assert taken == messages
    for said in heard:
        check, _, word = said.partition(b" ")
        assert int(check) == zlib.crc32(word)
    assert heard
