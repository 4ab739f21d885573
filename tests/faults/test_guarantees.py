"""docs/guarantees.md cites tests that exist, and each claim cites at least one."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TEXT = (TESTS.parent / "docs" / "guarantees.md").read_text()
CITATION = re.compile(r"`([\w/]+\.py)::(\w+)`")
#: Each claim is one item of a list.
CLAIMS = re.findall(r"^- (.+(?:\n  .+)*)", TEXT, re.MULTILINE)


@cache
def _tests_in(path: str) -> frozenset[str]:
    tree = ast.parse((TESTS / path).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds) and node.name.startswith("test_"))


@pytest.mark.parametrize(("path", "name"), sorted(set(CITATION.findall(TEXT))))
def test_every_cited_test_exists(path: str, name: str) -> None:
    assert name in _tests_in(path)


def test_every_claim_cites_a_test() -> None:
    assert len(CLAIMS) > 20
    assert [claim for claim in CLAIMS if not CITATION.search(claim)] == []
