"""Reads a Redis server's append-only file: every write that it did, in the order in which it did them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def commands(folder: Path) -> Iterator[list[bytes]]:
    """Yield each command with its arguments (the form of the RESP protocol), oldest first."""
    for path in sorted((folder / "appendonlydir").glob("*.incr.aof")):
        data = path.read_bytes()
        at = 0
        while at < len(data):
            count, at = _number(data, at, b"*")
            command: list[bytes] = []
            for _ in range(count):
                size, at = _number(data, at, b"$")
                command.append(data[at : at + size])
                at += size + 2
            yield command


def _number(data: bytes, at: int, mark: bytes) -> tuple[int, int]:
    end = data.index(b"\r\n", at)
    assert data[at : at + 1] == mark, f"expected {mark!r} at byte {at} of the log, got {data[at : at + 20]!r}"
    return int(data[at + 1 : end]), end + 2
