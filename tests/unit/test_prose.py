"""The counter of `make prose`: each phrase that it counts, and the places that it reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.prose import count, prose


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("Sends what waits to whoever reads.", 2),
        ("Sends queued entries to each viewer.", 0),
        ("Who holds the channel?", 0),
        ("Prints `what` and `who`.", 0),
        ("The session stands where there is no more time, at the most.", 4),
        ("So long as it runs, it takes as much as it finds.", 2),
    ],
)
def test_phrases_are_counted_outside_of_questions_and_code(text: str, phrases: int) -> None:
    assert count(text)[0] == phrases


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("module.py", '"""Docstring."""\n\nvalue = "text"  # comment\n', [(1, "Docstring."), (3, "# comment")]),
        ("page.md", "Title\n```sh\ncode\n```\nend", [(1, "Title"), (5, "end")]),
        ("module.js", 'const url = "http://host"; // comment\n', [(1, "// comment")]),
        ("script.lua", "local x = 1 -- comment\n", [(1, "-- comment")]),
    ],
)
def test_docstrings_comments_and_documents_are_read(
    tmp_path: Path, name: str, text: str, found: list[tuple[int, str]]
) -> None:
    (tmp_path / name).write_text(text)
    assert [(line, part) for line, part in prose(tmp_path / name) if part] == found
