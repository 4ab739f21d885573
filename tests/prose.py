"""Counts phrases that make prose hard to read, per 1,000 words, in docstrings, comments and documents: `make prose`.

It counts nounless clauses ("what waits" instead of "queued entries"), "stands" for "is", and other phrases that need a
second reading. A package above its limit fails, and so does a limit that exceeds the count by more than 1: limits only
fall. `python -m tests.prose --lines` prints each counted line.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Package → its limit and its paths.
PACKAGES = {
    "hud_publisher": (1.0, ("hud_publisher",)),
    "hud_web": (1.0, ("hud_web",)),
    "rllib_integration": (1.0, ("rllib_integration",)),
    "tests": (1.0, ("tests",)),
    "bench": (1.0, ("bench",)),
    "docs": (1.0, ("docs", "examples", *(path.name for path in ROOT.glob("*.md")))),
}
NOUNLESS = re.compile(r"\b(?:what|who|whoever|whatever)\b", re.IGNORECASE)
OTHERS = re.compile(
    r"\bso (?:many|long|far|much)\b|\bas much as\b|\bstands?\b|\bno more\b|\bat the (?:most|least)\b"
    r"|\bwhere (?:there (?:is|are)|no|none|nobody|nothing)\b",
    re.IGNORECASE,
)


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line number and the text of each docstring, comment or line of a document."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield getattr(node, "lineno", 1), ast.get_docstring(node) or ""
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string
    elif path.suffix == ".md":
        without_code = re.sub(
            r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE
        )
        yield from enumerate(without_code.splitlines(), 1)
    elif path.suffix in {".js", ".lua"}:
        comment = r"--[^\n]*" if path.suffix == ".lua" else r"/\*.*?\*/|(?<![:\"'`])//[^\n]*"
        for found in re.finditer(comment, text, re.DOTALL):
            yield text.count("\n", 0, found.start()) + 1, found[0]


def count(text: str) -> tuple[int, int]:
    """Return the numbers of counted phrases and of words; code in backquotes counts as one word."""
    text = re.sub(r"`[^`]*`", "x", text)
    statements = [part for part in re.split(r"(?<=[.!?:;])\s+", text) if not part.rstrip().endswith("?")]
    nounless = sum(len(NOUNLESS.findall(part)) for part in statements)
    return nounless + len(OTHERS.findall(text)), len(re.findall(r"[A-Za-z']+", text))


def main() -> int:
    """Print each package's rate; return 1 if a limit is exceeded or too high."""
    wrong = 0
    for package, (limit, names) in PACKAGES.items():
        phrases = words = 0
        roots = [ROOT / name for name in names]
        for path in sorted(path for root in roots for path in ([root] if root.is_file() else root.rglob("*.*"))):
            if path.suffix not in {".py", ".md", ".js", ".lua"} or "vendor" in path.parts:
                continue
            for line, text in prose(path):
                found, length = count(text)
                phrases, words = phrases + found, words + length
                if found and "--lines" in sys.argv:
                    print(f"{path.relative_to(ROOT)}:{line}: {' '.join(text.split())[:150]}")
        rate = 1000 * phrases / max(1, words)
        verdict = "above the limit: reword" if rate > limit else "lower the limit" if rate < limit - 1 else "ok"
        wrong += verdict != "ok"
        print(f"{package:18} {rate:5.1f} per 1,000 of {words:6,} words, limit {limit:g}: {verdict}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
