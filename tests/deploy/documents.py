"""Reads the commands and snippets of the documentation: fenced blocks, commands in code spans, and docstrings.

A `Block` is a fenced block. A `Line` is one command of a shell block, a code span or the docstring of an example, split
into the simple commands that a shell would run. The tests decide which of them run and which are only checked.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from tests.deploy.manifests import ROOT

PAGES = [
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("k8s/**/*.md")), *sorted(ROOT.glob("examples/**/*.md")),
]  # fmt: skip
EXAMPLES = sorted(ROOT.glob("examples/*.py"))
#: A code span that begins with one of these is a command.
PROGRAMS = "hud rl-hud make docker kubectl oc kind pip python python3 ray redis-cli"
_SPAN = re.compile(rf"`((?:[A-Z_]+=\S+\s)*(?:{'|'.join(PROGRAMS.split())})\s[^`]+)`")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_HEREDOC = re.compile(r"<<(\w+)\n.*?\n\1$", re.M | re.S)
_OPERATORS = {"&&", "||", ";", "|", "&"}


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Line:
    """A command line."""

    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"

    def commands(self) -> Iterator[list[str]]:
        """Yield the words of each simple command, those of command substitutions included."""
        text = self.text.replace("[--", "--").replace("] ", " ").rstrip("]")  # optional parts of a usage line
        text, substitutions = _take_out_substitutions(text)
        for inner in substitutions:
            yield from Line(self.place, inner).commands()
        lexer = shlex.shlex(text, posix=True, punctuation_chars="&|;<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word not in _OPERATORS:
                words.append(word)
                continue
            while words and re.fullmatch(r"[A-Za-z_]+=.*", words[0], re.S):
                words.pop(0)
            if words:
                yield words
            words = []


def _take_out_substitutions(text: str) -> tuple[str, list[str]]:
    """Return a command line with a word for each `$(…)`, and the command lines within them."""
    rest, inner = "", []
    while "$(" in text:
        before, _, text = text.partition("$(")
        depths = accumulate(({"(": 1, ")": -1}.get(character, 0) for character in text), initial=1)
        end = next(place for place, depth in enumerate(depths) if not depth) - 1
        inner.append(text[:end])
        rest, text = f"{rest}{before}VALUE", text[end + 1 :]
    return rest + text, inner


def blocks() -> list[Block]:
    """Return every fenced block of the documentation."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in _FENCE.finditer(text):
            line = text[: match.start()].count("\n") + 1
            found.append(Block(str(page.relative_to(ROOT)), line, match[1], match[2]))
    return found


def lines() -> list[Line]:
    """Return every command line of the documentation."""
    found = [Line(str(block), text) for block in blocks() if block.language == "sh" for text in split(block.text)]
    for page in PAGES:
        prose = _FENCE.sub("", page.read_text())
        found += [Line(str(page.relative_to(ROOT)), " ".join(span.split())) for span in _SPAN.findall(prose)]
    for example in EXAMPLES:
        words = ast.get_docstring(ast.parse(example.read_text())) or ""
        usage = re.findall(r"^    (\S.*)$", words, re.M)
        found += [Line(str(example.relative_to(ROOT)), text) for text in split("\n".join(usage))]
    return found


def split(text: str) -> list[str]:
    """Return the command lines of a shell script: continuations joined, here-documents and comments left out."""
    text = _HEREDOC.sub("", text).replace("\\\n", " ")
    stripped = [re.sub(r"\s+#.*$|^#.*$", "", line).strip() for line in text.splitlines()]
    return [line for line in stripped if line]
