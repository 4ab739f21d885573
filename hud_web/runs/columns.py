"""The values of a run by path, in little memory: runs of one program share the tuple of their paths and equal values.

Ten thousand runs with a hundred values each take about 20 MB in place of 150 MB of dictionaries. No I/O.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hud_publisher.protocol.stored import MAX_STORED_DEPTH

Scalar = float | int | str | bool

#: Values of one run; a configuration of RLlib has about 300.
MAX_CELLS = 500
#: Longer texts are cut; a longer path has no column.
MAX_TEXT_CHARS, MAX_PATH_CHARS = 200, 256


class Pool:
    """Shares equal tuples of paths and equal values between runs."""

    #: Beyond it nothing more is shared; a program whose paths differ with every run must not fill the memory.
    MOST = 100_000

    def __init__(self) -> None:
        self._paths: dict[tuple[str, ...], tuple[tuple[str, ...], dict[str, int]]] = {}
        self._values: dict[tuple[type, Scalar], Scalar] = {}

    def cells(self, pairs: Iterable[tuple[str, Scalar]]) -> Cells:
        """Return the cells of these paths and values; of a path that comes twice, the first value."""
        found: dict[str, Scalar] = {}
        for path, value in pairs:
            if len(found) >= MAX_CELLS:
                break
            if len(path) <= MAX_PATH_CHARS:
                found.setdefault(path, value)
        paths = tuple(sorted(found))
        if len(self._paths) >= self.MOST // MAX_CELLS:
            self._paths.clear()
        known = self._paths.get(paths)
        if known is None:
            paths = tuple(map(sys.intern, paths))
            known = self._paths[paths] = (paths, {path: at for at, path in enumerate(paths)})
        return Cells(known[1], tuple(self._shared(found[path]) for path in known[0]))

    def _shared(self, value: Scalar) -> Scalar:
        if isinstance(value, str):
            value = value[:MAX_TEXT_CHARS]
        if len(self._values) >= self.MOST:
            self._values.clear()
        return self._values.setdefault((type(value), value), value)


class Cells:
    """Paths and values of one run."""

    __slots__ = ("_at", "_values")

    def __init__(self, at: dict[str, int], values: tuple[Scalar, ...]) -> None:
        self._at, self._values = at, values

    def get(self, path: str) -> Scalar | None:
        """Return the value of a path."""
        at = self._at.get(path)
        return None if at is None else self._values[at]

    def paths(self) -> Iterable[str]:
        """Return all paths, sorted."""
        return self._at


def scalars(tree: Mapping[str, Any], prefix: str = "", depth: int = MAX_STORED_DEPTH) -> Iterator[tuple[str, Scalar]]:
    """Yield (path with slashes, value) of the numbers, texts and flags of nested mappings; a short list is one text."""
    for name, value in tree.items():
        if isinstance(value, (str, int, float)):  # a bool is an int
            yield prefix + name, value
        elif isinstance(value, dict) and depth:
            yield from scalars(value, f"{prefix}{name}/", depth - 1)
        elif (
            isinstance(value, list) and len(value) <= 16 and all(isinstance(item, (str, int, float)) for item in value)
        ):
            yield prefix + name, ", ".join(map(str, value))
